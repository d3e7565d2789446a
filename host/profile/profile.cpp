#include "host/profile/profile.h"

#include <algorithm>
#include <numeric>

#include <fmt/format.h>
#include <nlohmann/json.hpp>

#include "host/evaluation/scores.h"
#include "host/support/errors.h"
#include "host/support/files.h"
#include "host/support/named.h"
#include "host/support/one_line.h"

namespace idem {
namespace {

using nlohmann::json;

// The roofs by their keys, once for both ways.
template <class Roofs, class Each>
void for_each_roof(Roofs& roofs, const Each& each) {
  each("copy_bytes_per_s", roofs.copy_bytes_per_s);
  each("cache_bytes_per_s", roofs.cache_bytes_per_s);
  each("multiply_add_flops_per_s", roofs.multiply_add_flops_per_s);
  each("product_flops_per_s", roofs.product_flops_per_s);
  each("tf32_flops_per_s", roofs.tf32_flops_per_s);
  each("bf16_flops_per_s", roofs.bf16_flops_per_s);
}

json kernel_json(const KernelProfile& of) {
  return {{"kernel", of.kernel},
          {"seconds", of.seconds},
          {"calls", of.calls},
          {"blocks", of.launch.blocks},
          {"threads", of.launch.threads},
          {"registers", of.launch.registers},
          {"shared_bytes", of.launch.shared_bytes},
          {"waves", of.launch.waves},
          {"occupancy", of.launch.occupancy}};
}
KernelProfile kernel_from(const json& of) {
  return {.kernel = of.at("kernel"),
          .seconds = of.at("seconds"),
          .calls = of.at("calls"),
          .launch = {.blocks = of.at("blocks"),
                     .threads = of.at("threads"),
                     .registers = of.at("registers"),
                     .shared_bytes = of.at("shared_bytes"),
                     .waves = of.at("waves"),
                     .occupancy = of.at("occupancy")}};
}

json operation_json(const OperationProfile& of, const Roofs& roofs) {
  json entry = {{"name", of.name},   {"part", of.part},        {"seconds", of.seconds},
                {"calls", of.calls}, {"bytes", of.work.bytes}, {"flops", of.work.flops}};
  if (const double seconds = of.median_s(); seconds > 0) entry["roof_fraction"] = roofs.seconds(of.work) / seconds;
  for (const auto& kernel : of.kernels) entry["kernels"].push_back(kernel_json(kernel));
  return entry;
}
OperationProfile operation_from(const json& of) {
  OperationProfile operation{.name = of.at("name"),
                             .part = of.at("part"),
                             .seconds = of.at("seconds"),
                             .calls = of.at("calls"),
                             .work = {of.at("bytes"), of.at("flops")},
                             .kernels = {}};
  for (const auto& kernel : of.value("kernels", json::array())) operation.kernels.push_back(kernel_from(kernel));
  return operation;
}

StepProfile step_from(const json& of) {
  StepProfile step{.name = of.at("name"),
                   .n_steps = of.at("n_steps"),
                   .n_run = of.at("n_run"),
                   .seconds = of.at("seconds"),
                   .profiled_seconds = of.at("profiled_seconds"),
                   .operations = {}};
  for (const auto& operation : of.at("operations")) step.operations.push_back(operation_from(operation));
  return step;
}

Profile profile_from(const json& all) {
  Profile profile{.version = all.at("version"),
                  .device = all.at("device"),
                  .method = all.at("method"),
                  .roofs = {},
                  .steps = {},
                  .phases = {},
                  .device_peak_mib = all.at("device_peak_mib")};
  for_each_roof(profile.roofs, [&](const char* key, double& rate) { rate = all.at("roofs").value(key, 0.0); });
  profile.roofs.precision = named<ProductPrecision, DataError>(all.at("roofs").at("precision"));
  for (const auto& step : all.at("steps")) profile.steps.push_back(step_from(step));
  for (const auto& phase : all.at("phases"))
    profile.phases.push_back(
        {.name = phase.at("name"), .seconds = phase.at("seconds"), .peak_mib = phase.at("peak_mib")});
  return profile;
}

}  // namespace

double Roofs::fp32_flops_per_s() const { return std::max(multiply_add_flops_per_s, product_flops_per_s); }

double Roofs::seconds(const Work& work) const {
  const auto at = [](double amount, double rate) { return rate > 0 ? amount / rate : 0; };
  return std::max(at(work.bytes, copy_bytes_per_s), at(work.flops, flops_per_s()));
}
double Roofs::flops_per_s() const {
  const double products = precision == ProductPrecision::tf32   ? tf32_flops_per_s
                          : precision == ProductPrecision::bf16 ? bf16_flops_per_s
                                                                : product_flops_per_s;
  return std::max(multiply_add_flops_per_s, products);
}

double OperationProfile::median_s() const { return seconds.empty() ? 0 : median(seconds); }
double StepProfile::median_s() const { return seconds.empty() ? 0 : median(seconds); }
double StepProfile::profiled_median_s() const { return profiled_seconds.empty() ? 0 : median(profiled_seconds); }
double StepProfile::operations_s() const {
  return std::accumulate(operations.begin(), operations.end(), 0.0,
                         [](double sum, const OperationProfile& of) { return sum + of.median_s(); });
}

double seconds_of(const std::vector<StudyPhase>& phases) {
  return std::accumulate(phases.begin(), phases.end(), 0.0,
                         [](double sum, const StudyPhase& of) { return sum + of.seconds; });
}

std::string names_of(const std::vector<StepProfile>& steps) {
  std::string names;
  for (const auto& step : steps) names += (names.empty() ? "" : ", ") + step.name;
  return names.empty() ? "none" : names;
}

std::filesystem::path profile_file(const std::filesystem::path& path) {
  return std::filesystem::is_directory(path) ? path / "profile.json" : path;
}

double StepProfile::all_s() const { return profiled_median_s() * static_cast<double>(n_run); }

void add_earlier(Profile& profile, const Profile& earlier) {
  for (const auto& phase : earlier.phases) {
    const auto found = std::ranges::find(profile.phases, phase.name, &StudyPhase::name);
    auto& of = found == profile.phases.end() ? profile.phases.emplace_back(StudyPhase{.name = phase.name}) : *found;
    of.seconds += phase.seconds;
    of.peak_mib = std::max(of.peak_mib, phase.peak_mib);
  }
  for (const auto& step : earlier.steps)
    if (std::ranges::find(profile.steps, step.name, &StepProfile::name) == profile.steps.end())
      profile.steps.push_back(step);
  profile.device_peak_mib = std::max(profile.device_peak_mib, earlier.device_peak_mib);
}

json to_json(const StepProfile& of, const Roofs& roofs) {
  json operations = json::array();
  for (const auto& operation : of.operations) operations.push_back(operation_json(operation, roofs));
  return {{"name", of.name},
          {"n_steps", of.n_steps},
          {"n_run", of.n_run},
          {"seconds", of.seconds},
          {"profiled_seconds", of.profiled_seconds},
          {"operations", std::move(operations)}};
}
json to_json(const Profile& profile) {
  json steps = json::array(), phases = json::array(), roofs = json::object();
  for (const auto& step : profile.steps) steps.push_back(to_json(step, profile.roofs));
  for (const auto& phase : profile.phases)
    phases.push_back({{"name", phase.name}, {"seconds", phase.seconds}, {"peak_mib", phase.peak_mib}});
  for_each_roof(profile.roofs, [&](const char* key, double rate) {
    if (rate > 0) roofs[key] = rate;
  });
  roofs["precision"] = to_string(profile.roofs.precision);
  return {{"version", profile.version},
          {"device", profile.device},
          {"method", profile.method},
          {"roofs", std::move(roofs)},
          {"steps", std::move(steps)},
          {"phases", std::move(phases)},
          {"device_peak_mib", profile.device_peak_mib}};
}

namespace {

// Times, work and rates: numbers from 0 on, and lists of times as long as they should be.
void check_numbers(const Profile& profile) {
  const auto check = [](const std::string& where, std::initializer_list<double> numbers) {
    for (const double number : numbers)
      if (!(number >= 0 && number < 1e30))
        throw DataError(fmt::format("{} holds {}, which nothing can have taken", where, number));
  };
  const auto check_times = [&](const std::string& where, const std::vector<double>& times) {
    if (times.empty()) throw DataError(where + " has no times");
    for (const double time : times) check(where, {time});
  };
  for_each_roof(profile.roofs, [&](const char* key, double rate) { check(key, {rate}); });
  for (const auto& phase : profile.phases) check("phase " + phase.name, {phase.seconds, phase.peak_mib});
  for (const auto& step : profile.steps) {
    check_times(step.name, step.seconds);
    check_times(step.name, step.profiled_seconds);
    for (const auto& of : step.operations) {
      check_times(step.name + ", " + of.name, of.seconds);
      check(step.name + ", " + of.name, {of.calls, of.work.bytes, of.work.flops});
    }
  }
}

}  // namespace

Profile read_profile(const std::filesystem::path& path) {
  const auto file = profile_file(path);
  if (file != path && !std::filesystem::exists(file))
    throw DataError(path.string() +
                    ": holds no profile.json; idem run --profile and idem bench --profile DIR write one");
  check_named_file("", file.string());
  constexpr const char* kMend = "; put a whole copy back, or make it anew with idem run or idem bench and --profile";
  try {
    Profile profile = profile_from(json::parse(read_file_bytes(file)));
    check_numbers(profile);
    return profile;
  } catch (const json::exception& error) {
    const std::string_view why = error.what();  // behind "[json.exception.parse_error.101] "
    throw DataError(fmt::format("{}: is no whole profile ({}){}", file.string(),
                                one_line(why.substr(std::min(why.size(), why.find("] ") + 2))), kMend));
  } catch (const DataError& error) {
    throw DataError(fmt::format("{}: is no whole profile: {}{}", file.string(), error.what(), kMend));
  }
}

void write_profile(const std::filesystem::path& file, const Profile& profile) {
  write_file_bytes(file, to_json(profile).dump(1) + "\n");
}

}  // namespace idem
