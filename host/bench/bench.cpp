#include "host/bench/bench.h"

#include <algorithm>
#include <filesystem>
#include <fstream>
#include <regex>

#include <fmt/format.h>
#include <fmt/ranges.h>
#include <nlohmann/json.hpp>

#include "host/support/errors.h"
#include "host/support/files.h"
#include "host/support/output.h"
#include "kernels/common/to_size.h"

namespace idem {
namespace {

using nlohmann::json;

struct Measurement {
  double median_s = 0, minimum_s = 0;
};

constexpr double kLeastSeconds = 0.05;  // that a mean is taken over

// Median and least of that many means of a replay, after one that warms caches and clocks.
Measurement measure(Device& device, PreparedBench& bench, int repetitions) {
  const auto mean = [&] {
    double seconds = 0;
    std::int64_t n_replays = 0;
    for (; seconds < kLeastSeconds; n_replays += bench.n_replays) {
      if (bench.reset) bench.reset();
      seconds += device.seconds(*bench.sequence, bench.n_replays);
    }
    return seconds / static_cast<double>(n_replays);
  };
  mean();
  std::vector<double> seconds(to_size(repetitions));
  std::generate(seconds.begin(), seconds.end(), mean);
  std::sort(seconds.begin(), seconds.end());
  return {seconds[seconds.size() / 2], seconds.front()};
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

std::string share(double value, double limit) {
  return limit > 0 && value > 0 ? fmt::format("{:.0f}", 100 * value / limit) : std::string();
}
std::string giga(double value) { return value > 0 ? fmt::format("{:.1f}", value / 1e9) : std::string(); }

// What the device would take for this work at the measured limits.
double roof_s(const Work& work, const MeasuredLimits& limits) {
  const auto seconds = [](double amount, double rate) { return rate > 0 ? amount / rate : 0; };
  return std::max(seconds(work.bytes, limits.copy_bytes_per_s), seconds(work.flops, limits.product_flops_per_s));
}

// The operations of a step by time, as lines; and for the results.
std::string operations_table(const std::string& step, const std::map<std::string, OperationTime>& times,
                             const MeasuredLimits& limits) {
  std::vector<std::pair<std::string, OperationTime>> sorted(times.begin(), times.end());
  std::sort(sorted.begin(), sorted.end(),
            [](const auto& a, const auto& b) { return a.second.seconds > b.second.seconds; });
  double all = 0;
  for (const auto& [operation, time] : sorted) all += time.seconds;
  std::string table = fmt::format("\n{}: operations by time\n  {:32} {:>12} {:>7} {:>5} {:>9} {:>9} {:>6}\n", step, "",
                                  "time", "", "calls", "GB/s", "GFLOP/s", "% roof");
  for (const auto& [operation, time] : sorted)
    table += fmt::format("  {:32} {:>12} {:5.1f} % {:5} {:>9} {:>9} {:>6}\n", operation, in_unit(time.seconds),
                         100 * time.seconds / all, time.calls, giga(time.work.bytes / time.seconds),
                         giga(time.work.flops / time.seconds), share(roof_s(time.work, limits), time.seconds));
  return table;
}
json operations_json(const std::map<std::string, OperationTime>& times, const MeasuredLimits& limits) {
  json operations = json::object();
  for (const auto& [operation, time] : times)
    operations[operation] = {{"seconds", time.seconds},
                             {"calls", time.calls},
                             {"bytes", time.work.bytes},
                             {"flops", time.work.flops},
                             {"roof_fraction", roof_s(time.work, limits) / time.seconds}};
  return operations;
}

void write_profilers_script(const BenchArguments& arguments, const std::string& default_case) {
  const std::filesystem::path folder = arguments.profile;
  std::error_code failed;
  std::filesystem::create_directories(folder, failed);
  if (failed)
    throw DataError(
        fmt::format("--profile {}: cannot be made ({}); choose another folder", folder.string(), failed.message()));
  write_file_bytes(folder / "nsight.sh", profilers_script(arguments.device, default_case));
}

// Of an earlier bench; throws where it is no number of operations.
double count_in(const json& counts, const char* name, const std::string& where) {
  constexpr double kMost = 1e18;  // a GPU takes hours for so many
  const double count = counts.at(name);
  if (!(count > 0 && count <= kMost))
    throw DataError(
        fmt::format("{}: {} is {}, which no step multiplies; make the file anew with idem bench --filter "
                    "step/ --out NEW.json",
                    where, name, count));
  return count;
}

// Takes the counts of steps' products from the results of another bench.
void take_counts(const std::string& file, std::vector<BenchCase>& cases) {
  check_named_file("--floors ", file);
  std::map<std::string, ProductCount> counts;
  // Members are counted alike.
  const auto model_of = [](const std::string& step) { return step.substr(0, step.rfind('/')); };
  try {
    const json earlier = json::parse(read_file_bytes(file));
    for (const auto& result : earlier.at("cases"))
      if (const auto found = result.find("products_of_a_member"); found != result.end()) {
        const std::string name = result.at("name"), where = fmt::format("--floors {}: {}", file, name);
        counts[model_of(name)] = {count_in(*found, "forward_flops", where), count_in(*found, "weight_flops", where)};
      }
  } catch (const json::exception&) {
    throw DataError("--floors " + file +
                    ": is no result of idem bench; make one with idem bench --filter step/ --out NEW.json");
  }
  std::size_t n_steps = 0, n_counted = 0;
  for (auto& bench : cases) {
    n_steps += bench.name.starts_with("step/");
    if (const auto found = counts.find(model_of(bench.name)); found != counts.end()) {
      bench.count = found->second;
      ++n_counted;
    }
  }
  if (n_steps > 0 && n_counted == 0)
    throw DataError("--floors " + file +
                    ": counts products of none of the chosen steps; leave it out, or make one with idem bench --filter "
                    "step/ --out NEW.json");
}

const std::string kCopy = "operation/copy", kProduct = "operation/product/large";

std::vector<std::string> nearest(const std::string& filter, const std::vector<StepBench>& steps, bool on_gpu) {
  auto names = cases_near(filter, steps, on_gpu);
  names.resize(std::min<std::size_t>(names.size(), 8));
  return names;
}

// The chosen ones, limits first: everything after is told against them.
std::vector<BenchCase> chosen_cases(const std::string& filter, const std::vector<StepBench>& steps, bool on_gpu) {
  std::regex pattern;
  try {
    pattern = std::regex(filter);
  } catch (const std::regex_error&) {
    throw ConfigError("--filter " + filter + ": is no regular expression; as in --filter 'step/|adam'");
  }
  std::vector<BenchCase> cases;
  for (auto list : {operation_cases(on_gpu), step_cases(steps, on_gpu)})
    for (auto& bench : list)
      if (std::regex_search(bench.name, pattern) || bench.name == kCopy || bench.name == kProduct)
        cases.push_back(std::move(bench));
  if (cases.size() == 2 && !std::regex_search(kCopy, pattern) && !std::regex_search(kProduct, pattern))
    throw ConfigError(fmt::format("--filter {}: matches none of the cases; near it are {}", filter,
                                  fmt::join(nearest(filter, steps, on_gpu), ", ")));
  const auto rank = [](const BenchCase& bench) { return bench.name == kCopy ? 0 : bench.name == kProduct ? 1 : 2; };
  std::stable_sort(cases.begin(), cases.end(),
                   [&](const BenchCase& a, const BenchCase& b) { return rank(a) < rank(b); });
  return cases;
}

// Times one case; a limit is kept.
json result_of(Device& device, BenchCase& bench, int repetitions, MeasuredLimits& limits) {
  const bool tells_peak = !device.execution().cuda && forget_peak();
  auto prepared = bench.prepare(device, limits, bench);
  const Measurement time = measure(device, prepared, repetitions);
  if (bench.name == kCopy) limits.copy_bytes_per_s = bench.work.bytes / time.median_s;
  if (bench.name == kProduct) limits.product_flops_per_s = bench.work.flops / time.median_s;
  json result = {{"name", bench.name},
                 {"median_s", time.median_s},
                 {"minimum_s", time.minimum_s},
                 {"bytes", bench.work.bytes},
                 {"flops", bench.work.flops}};
  if (tells_peak) result["peak_mib"] = peak_mib();
  if (limits.copy_bytes_per_s > 0) result["copy_fraction"] = bench.work.bytes / time.median_s / limits.copy_bytes_per_s;
  if (limits.product_flops_per_s > 0)
    result["product_fraction"] = bench.work.flops / time.median_s / limits.product_flops_per_s;
  if (bench.floor_s > 0) result["floor_s"] = bench.floor_s;
  if (bench.count)
    result["products_of_a_member"] = {{"forward_flops", bench.count->forward_flops},
                                      {"weight_flops", bench.count->weight_flops}};
  return result;
}

std::string result_line(const json& result, double floor_s, const MeasuredLimits& limits) {
  const double seconds = result.at("median_s"), bytes_per_s = result.at("bytes").get<double>() / seconds,
               flops_per_s = result.at("flops").get<double>() / seconds;
  return fmt::format("{:52} {:>12} {:>9} {:>7} {:>9} {:>7} {:>11} {:>7}\n", result.at("name").get<std::string>(),
                     in_unit(seconds), giga(bytes_per_s), share(bytes_per_s, limits.copy_bytes_per_s),
                     giga(flops_per_s), share(flops_per_s, limits.product_flops_per_s), in_unit(floor_s),
                     floor_s > 0 ? fmt::format("{:.2f}", seconds / floor_s) : "");
}

// After every case anew: what is stopped half way has told what it measured.
void write_results(const std::string& file, const std::string& device, const MeasuredLimits& limits,
                   const json& results) {
  const json all = {{"version", IDEM_VERSION},
                    {"device", device},
                    {"copy_bytes_per_s", limits.copy_bytes_per_s},
                    {"product_flops_per_s", limits.product_flops_per_s},
                    {"cases", results}};
  write_file_bytes(file, all.dump(2) + "\n");
}

}  // namespace

std::string profilers_script(const std::string& device, const std::string& default_case) {
  return fmt::format(R"sh(#!/usr/bin/env bash
# nsight.sh IDEM [CASE] - where the GPU's time goes: a timeline (nsys) and every kernel's limits (ncu), of one run of
# CASE. IDEM: the program.
if [ -z "$1" ]; then
  echo "usage: nsight.sh IDEM [CASE], as nsight.sh build/cuda/idem {1}" >&2
  exit 2
fi
program=$(realpath "$1")
if [ ! -x "$program" ]; then
  echo "nsight.sh: $1: there is no such program; name idem itself, as build/cuda/idem" >&2
  exit 2
fi
cd "$(dirname "$0")" || exit 1
once=("$program" bench --device {0} --once "${{2:-{1}}}")
if command -v nsys; then
  nsys profile --trace=cuda,nvtx,cublas --cuda-graph-trace=node --capture-range=cudaProfilerApi --force-overwrite=true \
    --output=timeline "${{once[@]}}"
  nsys stats --report cuda_gpu_kern_sum timeline.nsys-rep | tee kernels.txt
fi
if ! command -v ncu; then
  echo 'nsight.sh: there is no ncu; call it with PATH="$PATH:/usr/local/cuda/bin", or where CUDA is' >&2
  exit 1
fi
ncu --profile-from-start off --clock-control none --set full --graph-profiling node --force-overwrite --export kernels \
  "${{once[@]}}"
)sh",
                     device, default_case);
}

bool run_bench(const BenchArguments& arguments, const std::function<void(std::string_view)>& print,
               const std::function<bool()>& is_interrupted) {
  std::error_code ignored;
  if (!arguments.out.empty() && std::filesystem::equivalent(arguments.out, arguments.floors, ignored))
    throw ConfigError(
        fmt::format("--out {}: is what --floors reads, {}; choose another file", arguments.out, arguments.floors));
  const auto device = make_device(arguments.device, arguments.n_threads, arguments.precision, arguments.convolutions);
  const bool on_gpu = device->execution().cuda;
  auto cases = chosen_cases(arguments.filter, arguments.steps, on_gpu);
  if (!arguments.floors.empty()) take_counts(arguments.floors, cases);
  if (!arguments.profile.empty() && on_gpu) {
    const auto step = std::find_if(cases.begin(), cases.end(),
                                   [](const BenchCase& bench) { return bench.name.starts_with("step/"); });
    write_profilers_script(arguments, step != cases.end() ? step->name : cases.back().name);
  } else if (!arguments.profile.empty()) {
    say(stderr, "idem: --profile " + arguments.profile +
                    ": no nsight.sh is written, NVIDIA's profilers look at GPUs alone; the steps' operations by time "
                    "are printed at the end\n");
  }
  MeasuredLimits limits;
  print(fmt::format("{} on {}, idem {}\n{:52} {:>12} {:>9} {:>7} {:>9} {:>7} {:>11} {:>7}\n", "idem bench",
                    device->name(), IDEM_VERSION, "case", "time", "GB/s", "% copy", "GFLOP/s", "% GEMM", "floor",
                    "x floor"));
  std::string of_operations;
  json results = json::array();
  for (auto& bench : cases) {
    if (is_interrupted && is_interrupted()) break;
    json result = result_of(*device, bench, arguments.repetitions, limits);
    print(result_line(result, bench.floor_s, limits));
    if (!arguments.profile.empty())
      if (const auto times = profile_step(*device, arguments.steps, bench.name); !times.empty()) {
        of_operations += operations_table(bench.name, times, limits);
        result["operations"] = operations_json(times, limits);
      }
    results.push_back(std::move(result));
    if (!arguments.out.empty()) write_results(arguments.out, device->name(), limits, results);
  }
  print(of_operations);
  return results.size() == cases.size();
}

}  // namespace idem
