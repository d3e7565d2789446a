#include <algorithm>
#include <numeric>
#include <utility>
#include <vector>

#include <fmt/format.h>

#include "host/bench/bench.h"
#include "host/errors.h"

namespace idem {
namespace {

// How many characters have to be put in, taken out or exchanged to make one of the other.
std::size_t distance_between(const std::string& a, const std::string& b) {
  std::vector<std::size_t> row(b.size() + 1);
  std::iota(row.begin(), row.end(), std::size_t{0});
  for (std::size_t i = 0; i < a.size(); ++i) {
    std::size_t diagonal = std::exchange(row[0], i + 1);
    for (std::size_t j = 0; j < b.size(); ++j) {
      const std::size_t exchanged = diagonal + (a[i] != b[j]);
      diagonal = row[j + 1];
      row[j + 1] = std::min({exchanged, row[j] + 1, row[j + 1] + 1});
    }
  }
  return row.back();
}

BenchCase case_named(const std::string& name, bool on_gpu) {
  if (auto step = step_case_named(name)) return *step;
  std::vector<BenchCase> cases = operation_cases(on_gpu);
  for (auto& bench : cases)
    if (bench.name == name) return bench;
  const auto steps = step_cases(on_gpu);
  cases.insert(cases.end(), steps.begin(), steps.end());
  std::stable_sort(cases.begin(), cases.end(), [&](const BenchCase& a, const BenchCase& b) {
    return distance_between(a.name, name) < distance_between(b.name, name);
  });
  throw ConfigError(
      fmt::format("--once {}: there is no such case; near it are {}, {} and {}; steps take any number of members, as "
                  "step/pi-vae-60/7",
                  name, cases[0].name, cases[1].name, cases[2].name));
}

}  // namespace

std::string run_once(const BenchArguments& arguments) {
  const auto device = make_device(arguments.device, arguments.n_threads, arguments.precision, arguments.convolutions);
  BenchCase bench = case_named(arguments.once, device->execution().cuda);
  bench.count.emplace();  // no floor is told
  const PreparedBench prepared = bench.prepare(*device, {}, bench);
  const auto reset = [&] {
    if (prepared.reset) prepared.reset();
  };
  reset();
  prepared.sequence->run(1);
  reset();
  device->profiled([&] { prepared.sequence->run(1); });
  return fmt::format("{} ran once on {}\n", bench.name, device->name());
}

}  // namespace idem
