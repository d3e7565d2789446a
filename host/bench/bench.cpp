#include "host/bench/bench.h"

#include <algorithm>
#include <filesystem>
#include <fstream>
#include <regex>
#include <sstream>

#include <fmt/format.h>
#include <fmt/ranges.h>
#include <nlohmann/json.hpp>

#include "host/bench/measure.h"
#include "host/bench/roofs.h"
#include "host/profile/profile_table.h"
#include "host/support/errors.h"
#include "host/support/files.h"
#include "host/support/peak_memory.h"
#include "kernels/common/to_size.h"

namespace idem {
namespace {

using nlohmann::json;

std::string share(double value, double limit) {
  return limit > 0 && value > 0 ? fmt::format("{:.0f}", 100 * value / limit) : std::string();
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

// Those that the filter names of other sizes than the listed ones: "step/pi-vae-60/16$|adam".
std::vector<BenchCase> steps_of_any_size(const std::string& filter, const std::vector<StepBench>& steps,
                                         const Device& device) {
  const auto listed = step_cases(steps, device.execution().cuda);
  std::vector<BenchCase> named;
  std::stringstream alternatives(filter);
  for (std::string name; std::getline(alternatives, name, '|');) {
    if (name.ends_with('$')) name.pop_back();
    const std::string exact = name.starts_with('^') ? name.substr(1) : name;
    if (auto step = step_case_named(steps, exact);
        step && step->name == exact && std::ranges::find(listed, exact, &BenchCase::name) == listed.end()) {
      check_memory(device, steps, exact, "--filter " + exact);
      named.push_back(std::move(*step));
    }
  }
  return named;
}

// The chosen ones, limits first: everything after is told against them.
std::vector<BenchCase> chosen_cases(const std::string& filter, const std::vector<StepBench>& steps,
                                    const Device& device) {
  const bool on_gpu = device.execution().cuda;
  std::regex pattern;
  try {
    pattern = std::regex(filter);
  } catch (const std::regex_error&) {
    throw ConfigError("--filter " + filter + ": is no regular expression; as in --filter 'step/|adam'");
  }
  std::vector<BenchCase> cases;
  for (auto list : {operation_cases(on_gpu), step_cases(steps, on_gpu), steps_of_any_size(filter, steps, device)})
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
  const bool tells_peak = !device.execution().cuda && forget_peak_memory();
  auto prepared = bench.prepare(device, limits, bench);
  const Measurement time = measure(device, prepared, repetitions);
  if (bench.name == kCopy) limits.copy_bytes_per_s = bench.work.bytes / time.median_s;
  if (bench.name == kProduct) limits.product_flops_per_s = bench.work.flops / time.median_s;
  json result = {{"name", bench.name},
                 {"median_s", time.median_s},
                 {"minimum_s", time.minimum_s},
                 {"bytes", bench.work.bytes},
                 {"flops", bench.work.flops}};
  if (tells_peak) result["peak_mib"] = peak_memory_mib();
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
                     seconds_text(seconds), giga_text(bytes_per_s), share(bytes_per_s, limits.copy_bytes_per_s),
                     giga_text(flops_per_s), share(flops_per_s, limits.product_flops_per_s), seconds_text(floor_s),
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

// Makes the profile's folder before anything is measured, and its roofs.
Profile begin_profile(const BenchArguments& arguments, Device& device, const std::vector<BenchCase>& cases) {
  const std::filesystem::path folder = arguments.profile;
  const auto step = std::ranges::find_if(cases, [](const BenchCase& bench) { return bench.name.starts_with("step/"); });
  if (step == cases.end())
    throw ConfigError("--profile " + arguments.profile +
                      ": looks at training steps, and --filter chooses none; as --filter step/pi-vae-60/16");
  if (std::filesystem::exists(folder / "profile.json"))
    throw ConfigError("--profile " + arguments.profile +
                      ": holds a profile already; choose another folder, or remove it");
  std::error_code failed;
  std::filesystem::create_directories(folder, failed);
  if (failed)
    throw DataError(
        fmt::format("--profile {}: cannot be made ({}); choose another folder", arguments.profile, failed.message()));
  if (device.execution().cuda) write_file_bytes(folder / "nsight.sh", profilers_script(arguments, step->name));
  return {.version = IDEM_VERSION,
          .device = device.name(),
          .method = {},  // known when a step has been looked at
          .roofs = measure_roofs(device, arguments.device, arguments.n_threads, arguments.precision),
          .steps = {},
          .phases = {}};
}

}  // namespace

bool run_bench(const BenchArguments& arguments, const std::function<void(std::string_view)>& print,
               const std::function<bool()>& is_interrupted) {
  std::error_code ignored;
  if (!arguments.out.empty() && std::filesystem::equivalent(arguments.out, arguments.floors, ignored))
    throw ConfigError(
        fmt::format("--out {}: is what --floors reads, {}; choose another file", arguments.out, arguments.floors));
  const auto device = make_device(arguments.device, arguments.n_threads, arguments.precision, arguments.convolutions);
  auto cases = chosen_cases(arguments.filter, arguments.steps, *device);
  if (!arguments.floors.empty()) take_counts(arguments.floors, cases);
  std::optional<Profile> profile;
  if (!arguments.profile.empty()) profile = begin_profile(arguments, *device, cases);
  MeasuredLimits limits;
  print(fmt::format("{} on {}, idem {}\n{:52} {:>12} {:>9} {:>7} {:>9} {:>7} {:>11} {:>7}\n", "idem bench",
                    device->name(), IDEM_VERSION, "case", "time", "GB/s", "% copy", "GFLOP/s", "% GEMM", "floor",
                    "x floor"));
  json results = json::array();
  for (auto& bench : cases) {
    if (is_interrupted && is_interrupted()) break;
    json result = result_of(*device, bench, arguments.repetitions, limits);
    print(result_line(result, bench.floor_s, limits));
    if (profile)
      if (auto step = profile_step(*device, arguments.steps, bench.name, arguments.repetitions, &profile->method)) {
        result["profile"] = to_json(*step, profile->roofs);
        profile->steps.push_back(std::move(*step));
        write_profile(std::filesystem::path(arguments.profile) / "profile.json", *profile);
      }
    results.push_back(std::move(result));
    if (!arguments.out.empty()) write_results(arguments.out, device->name(), limits, results);
  }
  if (profile) print("\n" + profile_text(*profile));
  return results.size() == cases.size();
}

}  // namespace idem
