#include "host/bench/roofs.h"

#include <algorithm>

#include "host/bench/bench.h"
#include "host/bench/measure.h"

namespace idem {
namespace {

constexpr int kRepetitions = 3;

struct Rates {
  double bytes_per_s = 0, flops_per_s = 0;
};

Rates rates_of(Device& device, const std::string& operation) {
  auto cases = operation_cases(device.execution().cuda);
  auto& bench = *std::ranges::find(cases, "operation/" + operation, &BenchCase::name);
  auto prepared = bench.prepare(device, {}, bench);
  const double seconds = measure(device, prepared, kRepetitions).minimum_s;  // a roof is what is reached at best
  return {bench.work.bytes / seconds, bench.work.flops / seconds};
}

}  // namespace

Roofs measure_roofs(Device& device, const std::string& device_name, int n_threads, ProductPrecision precision) {
  Roofs roofs{.copy_bytes_per_s = rates_of(device, "copy").bytes_per_s,
              .cache_bytes_per_s = rates_of(device, "copy/in-cache").bytes_per_s,
              .multiply_add_flops_per_s = rates_of(device, "multiply_adds").flops_per_s,
              .precision = precision};
  const auto product = [](Device& on) { return rates_of(on, "product/large").flops_per_s; };
  if (!device.execution().cuda) {
    roofs.product_flops_per_s = product(device);
    return roofs;
  }
  const auto of_precision = [&](ProductPrecision of) { return product(*make_device(device_name, n_threads, of)); };
  roofs.product_flops_per_s = of_precision(ProductPrecision::fp32);
  roofs.tf32_flops_per_s = of_precision(ProductPrecision::tf32);
  roofs.bf16_flops_per_s = of_precision(ProductPrecision::bf16);
  return roofs;
}

}  // namespace idem
