#include "host/bench/bench.h"

#include <algorithm>
#include <filesystem>
#include <fstream>
#include <regex>

#include <benchmark/benchmark.h>
#include <fmt/format.h>
#include <nlohmann/json.hpp>

#include "host/errors.h"
#include "host/files.h"

namespace idem {
namespace {

using nlohmann::json;

struct Measurement {
  double median_s = 0, minimum_s = 0;
};

// Keeps Google Benchmark's repetitions and prints nothing.
class Collector final : public benchmark::BenchmarkReporter {
 public:
  bool ReportContext(const Context&) override { return true; }
  void ReportRuns(const std::vector<Run>& runs) override {
    for (const auto& run : runs)
      if (run.run_type == Run::RT_Iteration && !run.error_occurred) seconds.push_back(run.real_accumulated_time / static_cast<double>(run.iterations));
  }
  std::vector<double> seconds;
};

Measurement measure(Device& device, PreparedBench& bench, const std::string& name) {
  benchmark::ClearRegisteredBenchmarks();
  benchmark::RegisterBenchmark(name.c_str(), [&](benchmark::State& state) {
    for ([[maybe_unused]] auto _ : state) {
      if (bench.reset) bench.reset();
      state.SetIterationTime(device.seconds(*bench.sequence, bench.n_replays) / static_cast<double>(bench.n_replays));
    }
  })->UseManualTime()->Repetitions(5)->MinTime(0.05)->MinWarmUpTime(0.05);
  Collector collector;
  benchmark::RunSpecifiedBenchmarks(&collector);
  auto& seconds = collector.seconds;
  std::sort(seconds.begin(), seconds.end());
  return {seconds.at(seconds.size() / 2), seconds.front()};
}

// Has Linux forget the most memory that this process has held at once; false where it does not.
bool forget_peak() { return static_cast<bool>(std::ofstream("/proc/self/clear_refs") << '5' << std::flush); }
double peak_mib() {
  std::ifstream status("/proc/self/status");
  std::string line;
  while (std::getline(status, line))
    if (line.starts_with("VmHWM:")) return std::stod(line.substr(6)) / 1024;
  return 0;
}

std::string in_unit(double seconds) {
  if (seconds <= 0) return "";
  return seconds < 1e-3 ? fmt::format("{:.2f} us", 1e6 * seconds) : fmt::format("{:.2f} ms", 1e3 * seconds);
}

// Prints the operations of every step by time and writes the profilers' script.
std::string profile(Device& device, const std::vector<BenchCase>& cases, const BenchArguments& arguments) {
  std::string table;
  for (const auto& bench : cases) {
    const auto times = profile_step(device, bench.name);
    if (times.empty()) continue;
    std::vector<std::pair<std::string, OperationTime>> sorted(times.begin(), times.end());
    std::sort(sorted.begin(), sorted.end(), [](const auto& a, const auto& b) { return a.second.seconds > b.second.seconds; });
    double all = 0;
    for (const auto& [operation, time] : sorted) all += time.seconds;
    table += fmt::format("\n{}: operations by time\n", bench.name);
    for (const auto& [operation, time] : sorted)
      table += fmt::format("  {:32} {:>12} {:5.1f} %  {:3} calls\n", operation, in_unit(time.seconds), 100 * time.seconds / all, time.calls);
  }
  const std::filesystem::path folder = arguments.profile;
  std::error_code failed;
  std::filesystem::create_directories(folder, failed);
  if (failed) throw DataError(fmt::format("--profile {}: cannot be made ({}); choose another folder", folder.string(), failed.message()));
  const std::string filter = arguments.filter.empty() ? "step/" : arguments.filter;
  write_file_bytes(folder / "nsight.sh",
                   fmt::format("#!/usr/bin/env bash\n# nsight.sh IDEM - where the GPU's time goes: a timeline (nsys) and every kernel's limits (ncu). IDEM: the program.\n"
                               "set -euo pipefail\ncd \"$(dirname \"$0\")\"\n"
                               "nsys profile --trace=cuda,nvtx,cublas --cuda-graph-trace=node --force-overwrite=true --output=timeline \"$1\" bench --device {0} "
                               "--filter '{1}'\n"
                               "nsys stats --report cuda_gpu_kern_sum timeline.nsys-rep | tee kernels.txt\n"
                               "ncu --set full --nvtx --graph-profiling node --launch-count 200 --force-overwrite --export kernels \"$1\" bench --device {0} "
                               "--filter '{1}'\n",
                               arguments.device, filter));
  return table;
}

}  // namespace

std::string run_bench(const BenchArguments& arguments) {
  std::regex filter;
  try {
    filter = std::regex(arguments.filter);
  } catch (const std::regex_error&) {
    throw ConfigError("--filter " + arguments.filter + ": is no regular expression; as in --filter 'step/|adam'");
  }
  const auto device = make_device(arguments.device, arguments.n_threads, arguments.precision, arguments.convolutions);
  const bool on_gpu = device->execution().cuda;
  MeasuredLimits limits;
  std::vector<BenchCase> cases;
  const std::string copy_name = "operation/copy", product_name = "operation/product/large";
  for (auto list : {operation_cases(on_gpu), step_cases(on_gpu)})
    for (auto& bench : list)
      if (std::regex_search(bench.name, filter) || bench.name == copy_name || bench.name == product_name) cases.push_back(std::move(bench));
  if (cases.size() == 2 && !std::regex_search(copy_name, filter) && !std::regex_search(product_name, filter))
    throw ConfigError("--filter " + arguments.filter + ": matches none of the cases; leave it out to see their names");

  char program[] = "idem";
  char* argv[] = {program, nullptr};
  int argc = 1;
  benchmark::Initialize(&argc, argv);
  // Limits first: everything after is told against them.
  std::stable_sort(cases.begin(), cases.end(), [&](const BenchCase& a, const BenchCase& b) {
    const auto rank = [&](const BenchCase& bench) { return bench.name == copy_name ? 0 : bench.name == product_name ? 1 : 2; };
    return rank(a) < rank(b);
  });
  std::string table = fmt::format("{} on {}, idem {}\n{:52} {:>12} {:>9} {:>7} {:>9} {:>7} {:>11} {:>7}\n", "idem bench", device->name(), IDEM_VERSION,
                                  "case", "time", "GB/s", "% copy", "GFLOP/s", "% GEMM", "floor", "x floor");
  json results = json::array();
  for (auto& bench : cases) {
    const bool tells_peak = !on_gpu && forget_peak();
    auto prepared = bench.prepare(*device, limits, bench);
    const Measurement time = measure(*device, prepared, bench.name);
    const double bytes_per_s = bench.bytes / time.median_s, flops_per_s = bench.flops / time.median_s;
    if (bench.name == copy_name) limits.copy_bytes_per_s = bytes_per_s;
    if (bench.name == product_name) limits.product_flops_per_s = flops_per_s;
    json result = {{"name", bench.name}, {"median_s", time.median_s}, {"minimum_s", time.minimum_s}, {"bytes", bench.bytes}, {"flops", bench.flops}};
    if (tells_peak) result["peak_mib"] = peak_mib();
    if (limits.copy_bytes_per_s > 0) result["copy_fraction"] = bytes_per_s / limits.copy_bytes_per_s;
    if (limits.product_flops_per_s > 0) result["product_fraction"] = flops_per_s / limits.product_flops_per_s;
    if (bench.floor_s > 0) result["floor_s"] = bench.floor_s;
    const auto share = [](double value, double limit) { return limit > 0 && value > 0 ? fmt::format("{:.0f}", 100 * value / limit) : std::string(); };
    const auto giga = [](double value) { return value > 0 ? fmt::format("{:.1f}", value / 1e9) : std::string(); };
    table += fmt::format("{:52} {:>12} {:>9} {:>7} {:>9} {:>7} {:>11} {:>7}\n", bench.name, in_unit(time.median_s), giga(bytes_per_s),
                         share(bytes_per_s, limits.copy_bytes_per_s), giga(flops_per_s), share(flops_per_s, limits.product_flops_per_s),
                         in_unit(bench.floor_s), bench.floor_s > 0 ? fmt::format("{:.2f}", time.median_s / bench.floor_s) : "");
    results.push_back(std::move(result));
  }
  benchmark::Shutdown();
  if (!arguments.profile.empty()) table += profile(*device, cases, arguments);
  if (!arguments.out.empty())
    write_file_bytes(arguments.out, json{{"version", IDEM_VERSION},
                                         {"device", device->name()},
                                         {"copy_bytes_per_s", limits.copy_bytes_per_s},
                                         {"product_flops_per_s", limits.product_flops_per_s},
                                         {"cases", results}}
                                            .dump(2) +
                                        "\n");
  return table;
}

}  // namespace idem
