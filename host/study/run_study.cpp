#include "host/study/run_study.h"

#include <algorithm>
#include <chrono>
#include <map>
#include <set>

#include <fmt/format.h>
#include <fmt/ranges.h>

#include "host/bench/roofs.h"
#include "host/evaluation/baselines.h"
#include "host/evaluation/decoding.h"
#include "host/formats/metrics_file.h"
#include "host/profile/observed_device.h"
#include "host/profile/phases.h"
#include "host/profile/profile.h"
#include "host/report/closing_table.h"
#include "host/report/report.h"
#include "host/study/consistency.h"
#include "host/study/evidence.h"
#include "host/study/finished_run.h"
#include "host/study/run_folder.h"
#include "host/study/study_runs.h"
#include "host/support/output.h"

namespace idem {
namespace {

using nlohmann::json;
namespace fs = std::filesystem;

// "cpu (2 threads)" -> "cpu": the number of threads changes no bit of a model.
std::string device_kind(const std::string& name) { return name.substr(0, name.find(" (")); }

class StudyRun {
 public:
  StudyRun(const Study& study, const RunOptions& options, fs::path out)
      : study_(study),
        options_(options),
        out_(std::move(out)),
        phases_(options.profile),
        device_(device_of(options, phases_)),
        observed_(*device_, options.profile ? Observes::times : Observes::nothing),
        pool_(options.n_threads),
        runs_(study, subjects_of(study, phases_)),
        progress_(stderr, Progress::style_for(stderr, options.quiet)) {}

  ExitCode run() {
    const std::vector<std::string> names = runs_.names();
    if (is_interrupted()) {
      say(stderr, "idem: interrupted before anything was trained or written\n");
      return ExitCode::interrupted;
    }
    claim_folder(out_, study_, names, options_.resume);
    log_.emplace(out_ / "log.jsonl", options_.resume);
    if (options_.resume) remove_strays(out_, names);  // behind the log's lock: nobody else is writing here
    metrics_ = {{"runs", json::array()}, {"baselines", json::array()}};
    for (const auto& subject : runs_.subjects()) {
      const Recording& recording = subject.recording;
      metrics_["labels"][recording.subject] = decoded_labels(recording, study_.decoding);
      checksums_.push_back(checksum_of(recording));
    }
    if (options_.resume) keep_complete_runs();
    say_start();
    if (options_.profile) {
      phases_.begin("roofs, for the profile");
      roofs_ = measure_roofs(*device_, options_.device, options_.n_threads, options_.precision);
    }
    add_baselines();
    train();
    phases_.end();
    write_metrics();
    return entries_.size() < runs_.all().size() ? end_interrupted() : end_finished();
  }

 private:
  static std::unique_ptr<Device> device_of(const RunOptions& options, StudyPhases& phases) {
    phases.begin("starting");
    return make_device(options.device, options.n_threads, options.precision, options.convolutions);
  }
  static std::vector<Subject> subjects_of(const Study& study, StudyPhases& phases) {
    phases.begin("reading");
    return load_subjects(study);
  }

  bool is_interrupted() const { return options_.is_interrupted && options_.is_interrupted(); }

  void warn(const std::string& message) {
    log_->message("warning", message);
    progress_.warning(message);
  }

  void say_start() {
    const std::string start =
        fmt::format("{}: {} of {} runs to train on {}", study_.resolved.at("name").get<std::string>(),
                    runs_.all().size() - entries_.size(), runs_.all().size(), device_->name());
    log_->message("start", start);
    progress_.note("idem: " + start);
    for (const auto& warning : study_.warnings) warn(warning);
    for (const auto& subject : runs_.subjects()) {
      for (const auto& note : subject.notes) {
        log_->message("note", subject.recording.subject + ": " + note);
        progress_.note(fmt::format("idem: {}: {}", subject.recording.subject, note));
      }
      for (const auto& warning : subject.warnings) warn(subject.recording.subject + ": " + warning);
    }
  }

  ExitCode end_interrupted() {
    const std::string message = fmt::format(
        "interrupted: {} of {} runs are finished and kept, what was still training is lost; go on with: idem run {} "
        "--out "
        "{} --resume",
        entries_.size(), runs_.all().size(), (out_ / "config.json").string(), out_.string());
    log_->message("interrupted", message);
    if (options_.profile) write_profile();
    say(stderr, "idem: " + message + "\n");
    return ExitCode::interrupted;
  }

  // What asks all runs at once, and the report.
  ExitCode end_finished() {
    std::vector<FinishedRun> finished;
    for (const auto& run : runs_.all())
      if (const json& entry = entries_.at(run.name); !entry.value("failed", false))
        finished.push_back(
            {&run, folder_of(run) / "latents.npz", runs_.model_of(run).own->family().ranking_loss(entry)});
    phases_.begin("statistics");
    metrics_["consistency"] = {{"runs", seed_consistency(runs_, finished)},
                               {"animals", animal_consistency(runs_, finished, pool_)}};
    metrics_["evidence"] = {{"decoding", decoding_evidence(runs_, finished, baseline_labels_, metrics_)}};
    write_metrics();
    const std::size_t n_runs = runs_.all().size(), n_failed = n_runs - finished.size();
    for (const auto& algorithm : device_->chosen_algorithms()) log_->message("algorithm", algorithm);
    log_->message("finished", fmt::format("{} runs, {} failed", n_runs, n_failed));
    phases_.begin("report");
    write_report(out_);
    if (options_.profile) {
      write_profile();
      write_report(out_);  // again, as its own time is in it
    }
    progress_.note(fmt::format("idem: {} run{} in {}; look at {}", n_runs, n_runs == 1 ? "" : "s", out_.string(),
                               (out_ / "report.html").string()));
    if (n_failed > 0)
      progress_.warning(
          fmt::format("{} of {} runs FAILED and are in no result; {}", n_failed, n_runs, kStabilityRemedy));
    if (!options_.quiet && has_standard_output()) print_result(closing_table(read_study(out_)));
    return n_failed == n_runs ? ExitCode::failure : ExitCode::ok;
  }

  // Of all calls that worked on this study, where --resume goes on with one that was profiled.
  void write_profile() {
    phases_.end();
    Profile profile{.version = IDEM_VERSION,
                    .device = device_->name(),
                    .method = observed_.method(),
                    .roofs = roofs_,
                    .steps = observed_.step_profiles(),
                    .phases = phases_.all(),
                    .device_peak_mib = static_cast<double>(observed_.peak_bytes()) / 0x1p20};
    const fs::path file = out_ / "profile.json";
    if (options_.resume && fs::exists(file)) add_earlier(profile, read_profile(file));
    std::ranges::stable_sort(profile.steps, std::greater{}, &StepProfile::all_s);
    idem::write_profile(file, profile);
    progress_.note(fmt::format("idem: {} says where the time went; idem profile show {}",
                               (out_ / "profile.json").string(), out_.string()));
  }

  fs::path folder_of(const PlannedRun& run) const { return out_ / "runs" / run.name; }

  // A run is complete when its files are whole and it has its line in the metrics; anything less is trained again. One
  // that failed has no files and would fail again.
  void keep_complete_runs() {
    const fs::path path = out_ / "metrics.json";
    if (!fs::exists(path)) return;
    try {
      keep_complete_runs_of(read_metrics_file(path));
    } catch (const json::exception&) {
      throw DataError(path.string() +
                      ": does not hold what idem run writes; put a whole copy back, or remove the file to train all of "
                      "its runs again");
    }
  }

  void keep_complete_runs_of(const json& before) {
    std::map<std::string, std::vector<std::string>> trained_elsewhere;
    for (const auto& entry : before.value("runs", json::array())) {
      const std::string name = entry.at("run");
      const auto run = std::ranges::find(runs_.all(), name, &PlannedRun::name);
      if (run == runs_.all().end() || !(entry.value("failed", false) || is_complete(out_ / "runs" / name))) continue;
      if (entry.value("recording_crc32", "") != checksums_[run->subject])
        throw DataError(
            fmt::format("--resume: {} was trained on other counts or labels of {} than {} holds now; give another "
                        "--out, or put the "
                        "recording back as it was",
                        name, entry.at("subject").get<std::string>(), recording_file(run->subject)));
      const std::string device = entry.value("device", "?"), version = entry.value("version", "?");
      if (device != device_kind(device_->name()) || version != IDEM_VERSION)
        trained_elsewhere[fmt::format("{} by idem {}", device, version)].push_back(name);
      entries_[name] = entry;
    }
    for (const auto& [where, names] : trained_elsewhere)
      warn(
          fmt::format("{} of the {} runs kept were trained on {}, the rest will be on {} by idem {}: their last digits "
                      "may differ for that alone",
                      names.size(), entries_.size(), where, device_kind(device_->name()), IDEM_VERSION));
  }

  // Where the recording of a subject comes from, for people.
  std::string recording_file(std::size_t subject) const {
    const json& section = study_.recordings[subject];
    for (const char* key : {"file", "counts", "spikes"})
      if (section.contains(key) && section.at(key).is_string()) return section.at(key);
    return "the configuration's recording";
  }

  // The device and version of all the runs: a resumed study may hold runs of several.
  std::string all_of(const char* key, const std::string& own, const std::string& shown) const {
    std::set<std::string> found;
    for (const auto& [name, entry] : entries_) found.insert(entry.value(key, "?"));
    return found.empty() || found == std::set<std::string>{own} ? shown : fmt::format("{}", fmt::join(found, " and "));
  }

  void write_metrics() {
    metrics_["runs"] = json::array();
    for (const auto& run : runs_.all())
      if (const auto entry = entries_.find(run.name); entry != entries_.end())
        metrics_["runs"].push_back(entry->second);
    metrics_["planned_runs"] = runs_.all().size();
    metrics_["device"] = all_of("device", device_kind(device_->name()), device_->name());
    metrics_["version"] = all_of("version", IDEM_VERSION, IDEM_VERSION);
    write_metrics_file(out_ / "metrics.json", metrics_);
  }

  void add_baselines() {
    const Preparation& windows = study_.models.front().preparation;
    phases_.begin("baselines");
    for (const auto& subject : runs_.subjects()) {
      if (is_interrupted()) break;
      progress_.note(fmt::format("idem: baselines of {} ({} bins, {} neurons)", subject.recording.subject,
                                 subject.recording.n_times, subject.recording.n_neurons));
      std::optional<Baselines> baselines;
      auto& decoded = baseline_labels_.emplace_back();
      for (std::size_t split = 0; split < subject.splits.size(); ++split) {
        // Windows cut after joining the parts of a split are another set for each.
        if (!baselines || windows.edges == EdgePolicy::clamped_concatenated)
          baselines.emplace(subject.recording, windows.left, windows.right, windows.edges, subject.splits[split]);
        json entry = baselines->decode(subject.splits[split], study_.decoding, pool_, &decoded.emplace_back());
        entry["subject"] = subject.recording.subject;
        entry["split"] = subject.split_numbers[split];
        metrics_["baselines"].push_back(std::move(entry));
      }
    }
    write_metrics();
  }

  void train() {
    const auto fleets = runs_.fleets([&](const PlannedRun& run) { return !entries_.contains(run.name); });
    std::vector<PlannedStage> stages;
    for (const auto& fleet : fleets) stages.push_back({fleet.front()->model, n_trained_bins(fleet)});
    progress_.plan(std::move(stages));
    for (const auto& fleet : fleets)
      if (!is_interrupted()) train_fleet(fleet);
  }

  // Over all runs of a fleet, while it trains.
  double n_trained_bins(const PlannedFleet& fleet) const {
    double bins = 0;
    for (const auto* run : fleet) bins += runs_.model_of(*run).own->n_trained_bins(runs_.split_of(*run).train.size());
    return bins;
  }

  void train_fleet(const PlannedFleet& runs) {
    const ModelConfig& model = runs_.model_of(*runs.front());
    const auto began = std::chrono::steady_clock::now();
    phases_.begin("training");
    Device& device = options_.profile ? static_cast<Device&>(observed_) : *device_;
    const std::string of = fmt::format(
        "{} of {}", model.name, model.is_joint ? "all recordings" : runs_.subject_of(*runs.front()).recording.subject);
    observed_.begin_section(of);
    const DeviceRange range(device, of.c_str());
    const FleetSetting setting{model, runs_.subjects(), study_.decoding, device, pool_};
    const auto fleet = model.own->make_fleet(setting, runs);
    const auto warn_of = [&](const std::vector<std::string>& messages) {
      for (const auto& message : messages) warn(fmt::format("model {}: {}", model.name, message));
    };
    warn_of(fleet->warnings());
    fleet->train(*log_, progress_, [&] { return is_interrupted(); });
    const double seconds = std::chrono::duration<double>(std::chrono::steady_clock::now() - began).count();
    warn_of(fleet->doubts());
    for (std::size_t i = 0; i < runs.size(); ++i) {
      phases_.begin("latents");
      TrainedRun trained = fleet->result(i);
      if (!trained.is_finished) continue;
      phases_.begin("decoding");
      json entry =
          entry_of(runs_, *runs[i], trained, {device_kind(device_->name()), checksums_[runs[i]->subject]}, pool_);
      entry["training"].update({{"fleet_seconds", seconds}, {"fleet_size", runs.size()}});
      phases_.begin("writing");
      keep(*runs[i], trained, std::move(entry));
    }
    phases_.end();
  }

  // Writes the files of a run and its entry of the metrics.
  void keep(const PlannedRun& run, TrainedRun& trained, json entry) {
    if (trained.fault.empty()) {
      for (const auto& doubt : trained.doubts) warn(fmt::format("{}: {}", run.name, doubt));
      write_run(folder_of(run), runs_, run, trained, entry);
    } else {
      warn(fmt::format("{} FAILED: {}; it is in no result; {}", run.name, trained.fault, kStabilityRemedy));
    }
    entries_[run.name] = std::move(entry);
    write_metrics();
  }

  const Study& study_;
  const RunOptions& options_;
  fs::path out_;
  StudyPhases phases_;
  std::unique_ptr<Device> device_;
  ObservedDevice observed_;  // the same, looked at
  Roofs roofs_;
  BaselineReadings baseline_labels_;
  ThreadPool pool_;
  StudyRuns runs_;
  Progress progress_;
  std::optional<RunLog> log_;
  json metrics_;
  std::vector<std::string> checksums_;   // of the subjects' recordings
  std::map<std::string, json> entries_;  // of the runs that are done
};

}  // namespace

ExitCode run_study(const Study& study, const RunOptions& options) {
  const fs::path out =
      options.out.empty() ? fs::path("out") / study.resolved.at("name").get<std::string>() : options.out;
  return StudyRun(study, options, out).run();
}

}  // namespace idem
