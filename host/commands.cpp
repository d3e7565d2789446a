#include "host/commands.h"

#include <cmath>

#include <fmt/format.h>

#include "host/config/json_text.h"
#include "host/config/schema.h"
#include "host/families/families.h"
#include "host/formats/npz.h"
#include "host/parity/parity.h"
#include "host/profile/compare_profiles.h"
#include "host/profile/ncu.h"
#include "host/profile/profile.h"
#include "host/profile/profile_table.h"
#include "host/recordings/read_recording.h"
#include "host/recordings/recording_npz.h"
#include "host/recordings/simulators.h"
#include "host/report/profile_page.h"
#include "host/report/report.h"
#include "host/study/data_info.h"
#include "host/study/transform.h"
#include "host/support/files.h"

namespace idem {

namespace fs = std::filesystem;

Study load_study(const StudyArguments& arguments) {
  return load_study(arguments.config, arguments.overrides, arguments.recording);
}

std::vector<Recording> load_recordings(const std::string& path) {
  check_named_file("", path);
  std::vector<Recording> recordings;
  if (looks_like_json(path)) {
    for (const auto& section : load_study(path).recordings) recordings.push_back(load_recording(section, {}));
  } else {
    recordings.push_back(load_recording_file(path));
  }
  return recordings;
}

std::string describe_recordings(const std::string& path) {
  check_named_file("", path);
  // A recording alone is split as in a study that says nothing of splits.
  const nlohmann::json splits = looks_like_json(path) ? load_study(path).splits : schema_defaults().at("splits");
  std::string text;
  for (const auto& recording : load_recordings(path)) {
    StudySplits chosen;
    try {
      chosen = split_recording(splits, recording, path);
    } catch (const std::runtime_error& error) {  // the recording is described all the same
      chosen.note = fmt::format("splits: none, a run would end here: {}", error.what());
    }
    text += (text.empty() ? "" : "\n") + describe_recording(recording, chosen);
  }
  return text;
}

namespace {

// What is there already may be replaced by what the same command wrote, and nothing else.
void check_replaceable(const fs::path& target, const char* command,
                       bool (*is_own)(const std::map<std::string, NumpyArray>&)) {
  if (!fs::is_regular_file(target)) return;
  try {
    if (is_own(read_npz(target))) return;
  } catch (const DataError&) {  // no .npz
  }
  throw ConfigError(
      fmt::format("--out {}: holds something that idem {} did not write; choose another file, or remove it",
                  target.string(), command));
}

bool is_latents_npz(const std::map<std::string, NumpyArray>& arrays) {
  return arrays.contains("label_names") && (arrays.contains("encoder_mean") || arrays.contains("posterior_mean"));
}

// The files that a recording is read from: itself, or those that a configuration names.
std::vector<std::string> files_of(const std::string& recording) {
  std::vector<std::string> files = {recording};
  if (!looks_like_json(recording)) return files;
  for (const auto& section : load_study(recording).recordings)
    for (const auto& value : section.flatten())
      if (value.is_string()) files.push_back(value.get<std::string>());
  return files;
}

}  // namespace

std::string run_simulate(const SimulateArguments& arguments) {
  check_replaceable(arguments.out, "simulate", is_recording_npz);
  Simulation simulation;
  simulation.name = arguments.name;
  simulation.seed = arguments.seed;
  if (!arguments.animal.empty()) {
    if (arguments.name != "linear-track")
      throw ConfigError(fmt::format("--animal {}: only linear-track has animals; leave it out", arguments.animal));
    simulation.animal = arguments.animal;
  }
  const Recording recording = simulate(simulation);
  write_recording_npz(recording, arguments.out);
  return fmt::format("{}: {} bins of {} neurons\n", arguments.out, recording.n_times, recording.n_neurons);
}

std::string run_transform(const std::string& model, const std::string& recording, const std::string& out,
                          const std::string& device, int n_threads) {
  if (!fs::exists(model))
    throw DataError(model + ": no such model; name that of a run, as out/STUDY/runs/RUN/model.safetensors");
  const SavedModel saved = read_model(model);
  const auto recordings = load_recordings(recording);
  if (recordings.size() != 1)
    throw ConfigError(fmt::format("{}: names {} recordings; transform one at a time", recording, recordings.size()));
  const fs::path target = out.empty() ? fs::path(fs::path(recording).stem().string() + "-latents.npz") : fs::path(out);
  auto inputs = files_of(recording);
  inputs.push_back(model);
  for (const auto& input : inputs) {
    std::error_code ignored;
    if (fs::equivalent(target, input, ignored))
      throw ConfigError(fmt::format("--out {}: is {} itself; choose another file", target.string(), input));
  }
  check_replaceable(target, "transform", is_latents_npz);
  const auto on = make_device(device, n_threads);
  ThreadPool pool(n_threads);
  return transform_recording(saved, model, recordings.front(), *on, pool, target) + "\n";
}

std::string run_report(const std::string& folder) {
  const fs::path config = fs::path(folder) / "config.json";
  if (fs::is_directory(folder) && !fs::exists(config))
    throw DataError(
        fmt::format("{}: is no folder that idem run wrote: it has no config.json; name one, as out/STUDY", folder));
  if (fs::is_directory(folder) && !fs::exists(fs::path(folder) / "metrics.json"))
    throw DataError(fmt::format("{}: has no metrics.json; idem run {} --out {} --resume computes what is missing",
                                folder, config.string(), folder));
  write_report(folder);
  return (fs::path(folder) / "report.html").string() + "\n";
}

std::string write_profile_page_of(const std::string& folder) {
  if (folder.empty() || !fs::exists(fs::path(folder) / "profile.json")) return {};
  const fs::path page = fs::path(folder) / "profile.html";
  write_profile_page(page, read_profile(folder));
  return fmt::format("\nlook at {}; profile.json beside it can be compared\n", page.string());
}

namespace {

std::vector<NcuKernel> read_ncu(const std::string& option, const std::string& path) {
  check_named_file(option, path);
  return parse_ncu(read_file_bytes(path), path);
}

void keep_step(Profile& profile, const std::string& path, const std::string& name) {
  const auto found = std::ranges::find(profile.steps, name, &StepProfile::name);
  if (found == profile.steps.end())
    throw DataError(
        fmt::format("--step {}: {} holds no such step; its steps are: {}", name, path, names_of(profile.steps)));
  profile.steps = {*found};
  profile.phases.clear();
  profile.device_peak_mib = 0;
}

}  // namespace

std::string run_profile_ncu(const std::string& ncu) { return ncu_json(read_ncu("", ncu)); }

std::string run_profile_show(const std::string& path, const std::string& step, const std::string& ncu) {
  check_named_file("", path);
  Profile profile = read_profile(path);
  if (!step.empty()) keep_step(profile, path, step);
  if (!ncu.empty() && profile.steps.size() > 1)
    throw ConfigError(
        fmt::format("--ncu {}: name the step that ncu looked at with --step, one of {}", ncu, names_of(profile.steps)));
  return profile_text(profile, ncu.empty() ? std::vector<NcuKernel>{} : read_ncu("--ncu ", ncu));
}

std::string run_profile_compare(const std::vector<std::string>& paths, const std::string& page) {
  if (paths.size() % 2 != 0)
    throw ConfigError(fmt::format("{} profile{}: name as many before as after the change, those before it first",
                                  paths.size(), paths.size() == 1 ? "" : "s"));
  std::vector<Profile> profiles;
  std::vector<fs::path> files;
  for (const auto& path : paths) {
    check_named_file("", path);
    const fs::path file = profile_file(path);
    std::error_code ignored;
    if (fs::equivalent(page, file, ignored))
      throw ConfigError(fmt::format("--out {}: is a profile that is compared; choose another file", page));
    if (std::ranges::any_of(files, [&](const fs::path& other) { return fs::equivalent(other, file, ignored); }))
      throw ConfigError(fmt::format("{}: is named twice; a run counts once", path));
    files.push_back(file);
    profiles.push_back(read_profile(path));
  }
  const ComparedRuns runs = compared_runs(std::move(profiles), paths);
  const Comparison comparison = compare_profiles(runs);
  if (!page.empty()) write_comparison_page(page, runs, comparison);
  return changes_text(runs, comparison);
}

std::string run_parity_case(const std::string& golden, const std::string& out, const std::string& precision,
                            const std::string& convolutions, const std::string& device, int n_threads) {
  check_named_file("", golden);
  std::error_code ignored;
  if (fs::equivalent(out, golden, ignored))
    throw ConfigError(fmt::format("--out {}: is the case {} itself; choose another file", out, golden));
  const bool oracle = precision == "fp64";
  const auto on =
      make_device(device, n_threads, oracle ? ProductPrecision::fp32 : enum_from<ProductPrecision>(precision),
                  enum_from<ConvolutionMethod>(convolutions));
  const auto wanted = read_npz(golden);
  const auto computed = run_parity(*on, golden_cases(), wanted, oracle ? Precision::fp64 : Precision::fp32, golden);
  write_npz(out, computed);
  double worst = 0;
  std::string name;
  const auto differences = compare_parity(wanted, computed);
  for (const auto& difference : differences)
    if (!std::isnan(worst) && !(difference.relative <= worst)) {
      worst = difference.relative;
      name = difference.name;
    }
  return fmt::format("{}: {} tensors; farthest from the case: {} by {:.2g} of its norm\n", out, computed.size(),
                     name.empty() ? "none" : name, worst);
}

}  // namespace idem
