#include "host/study/run.h"

#include <algorithm>
#include <chrono>
#include <cmath>
#include <map>
#include <set>

#include <fmt/format.h>
#include <fmt/ranges.h>
#include <zlib.h>

#include "host/evaluation/collapse.h"
#include "host/study/consistency.h"
#include "host/evaluation/baselines.h"
#include "host/evaluation/decoding.h"
#include "host/evaluation/neighbour_decoder.h"
#include "host/support/files.h"
#include "host/evaluation/identifiability.h"
#include "host/study/latents_file.h"
#include "host/formats/metrics_file.h"
#include "host/families/family.h"
#include "host/study/model_match.h"
#include "host/formats/npz.h"
#include "host/support/one_line.h"
#include "host/support/output.h"
#include "host/recordings/read_recording.h"
#include "host/report/report.h"
#include "host/report/closing_table.h"
#include "host/study/run_folder.h"
#include "host/preparation/splits.h"

namespace idem {
namespace {

using nlohmann::json;
namespace fs = std::filesystem;

std::vector<PlannedRun> planned_runs(const Study& study, const std::vector<Subject>& subjects) {
  std::vector<PlannedRun> runs;
  for (std::size_t subject = 0; subject < subjects.size(); ++subject)
    for (std::size_t model = 0; model < study.models.size(); ++model)
      for (std::size_t split = 0; split < subjects[subject].splits.size(); ++split)
        for (const auto seed : study.seeds)
          runs.push_back({fmt::format("{}-{}-s{}-f{}", subjects[subject].recording.subject, study.models[model].name, seed,
                                      subjects[subject].split_numbers[split]),
                          subject, model, split, seed});
  constexpr std::size_t kLongestName = 240;  // file systems take 255 bytes, and a figure is called "decoding-RUN.svg"
  for (const auto& run : runs)
    if (run.name.size() > kLongestName)
      throw ConfigError(fmt::format("{}: run {} needs a folder of that name, {} letters, at most {} can be; shorten the model's name or recording.subject",
                                    study.source, one_line(run.name), run.name.size(), kLongestName));
  return runs;
}

// The runs of a model on a subject that `is_wanted`, those together that train together: all of the VAE family, of CEBRA those of a split, so that how
// a step takes its bins (a full batch; each bin once) follows from that split alone. Of a joint model with the first subject those of all subjects,
// for every split and seed of which one run is wanted.
template <class Wanted>
std::vector<std::vector<const PlannedRun*>> fleets_of(const Study& study, const std::vector<PlannedRun>& runs, std::size_t subject, std::size_t model,
                                                      const Wanted& is_wanted) {
  const ModelConfig& config = study.models[model];
  std::map<std::size_t, std::vector<const PlannedRun*>> fleets;
  for (const auto& run : runs) {
    if (run.subject != subject || run.model != model) continue;
    auto& fleet = fleets[config.cebra ? run.split : 0];
    if (!config.is_joint) {
      if (is_wanted(run)) fleet.push_back(&run);
      continue;
    }
    if (subject > 0) continue;
    std::vector<const PlannedRun*> sessions;
    for (const auto& other : runs)
      if (other.model == model && other.split == run.split && other.seed == run.seed) sessions.push_back(&other);
    if (std::any_of(sessions.begin(), sessions.end(), [&](const PlannedRun* of) { return is_wanted(*of); }))
      fleet.insert(fleet.end(), sessions.begin(), sessions.end());
  }
  std::vector<std::vector<const PlannedRun*>> list;
  for (auto& [split, fleet] : fleets)
    if (!fleet.empty()) list.push_back(std::move(fleet));
  return list;
}

// "cpu (2 threads)" -> "cpu": the number of threads changes no bit of a model.
std::string device_kind(const std::string& name) { return name.substr(0, name.find(" (")); }

// A model is passed on without the paths of the machine it was trained on.
json without_paths(json study) {
  study.erase("recording");
  const auto shorten = [](json& model) {
    if (!model.contains("contrastive") || !model.at("contrastive").contains("adapt_from") || model.at("contrastive").at("adapt_from").is_null()) return;
    json& path = model["contrastive"]["adapt_from"];
    path = fs::path(path.get<std::string>()).filename().string();
  };
  shorten(study["model"]);
  for (auto& model : study["models"]) shorten(model);
  return study;
}

// What a run was trained on: neurons, bins, where time breaks, counts and labels.
std::string recording_checksum(const Recording& recording) {
  uLong checksum = crc32_z(0, nullptr, 0);
  const auto add = [&](const void* bytes, std::size_t n_bytes) { checksum = crc32_z(checksum, static_cast<const Bytef*>(bytes), n_bytes); };
  add(&recording.n_neurons, sizeof recording.n_neurons);
  add(&recording.bin_width_s, sizeof recording.bin_width_s);
  add(recording.counts.data(), recording.counts.size() * sizeof(float));
  for (const auto& segment : recording.segments) add(&segment.begin, sizeof segment.begin);
  for (const auto& label : recording.labels) {
    add(label.name.data(), label.name.size());
    add(&label.kind, sizeof label.kind);
    add(&label.period, sizeof label.period);
    add(label.values.data(), label.values.size() * sizeof(double));
  }
  return fmt::format("{:08x}", checksum);
}

// Every file of a run is there and whole.
bool is_complete(const fs::path& folder) {
  try {
    read_model(fs::exists(folder / kModelFile) ? folder / kModelFile : folder / kOldModelFile);
    read_npz(folder / "latents.npz");
    return true;
  } catch (const DataError&) {
    return false;
  }
}

// By which the seeds of a model are ranked: the validation loss of the kept weights, or CEBRA's training loss at its last step, as it need not validate.
double loss_of(const json& entry) {
  const auto number = [](const json& value) { return value.is_number() ? value.get<double>() : std::numeric_limits<double>::quiet_NaN(); };
  if (!entry.contains("fit")) return number(entry.at("training").at("kept_valid_loss"));
  const json& train = entry.at("fit").at("train");
  return number(train.at("info_nce")) + (train.contains("behaviour") ? number(train.at("behaviour").at("info_nce")) : 0);
}

class StudyRun {
 public:
  StudyRun(const Study& study, const RunOptions& options, fs::path out)
      : study_(study),
        options_(options),
        out_(std::move(out)),
        device_(make_device(options.device, options.n_threads, options.precision, options.convolutions)),
        pool_(options.n_threads),
        subjects_(load_subjects(study)),
        runs_(planned_runs(study, subjects_)),
        progress_(stderr, Progress::style_for(stderr, options.quiet)) {}

  ExitCode run() {
    std::vector<std::string> names;
    for (const auto& run : runs_) names.push_back(run.name);
    if (is_interrupted()) {
      say(stderr, "idem: interrupted before anything was trained or written\n");
      return ExitCode::interrupted;
    }
    claim_folder(out_, study_, names, options_.resume);
    log_.emplace(out_ / "log.jsonl", options_.resume);
    if (options_.resume) remove_strays(out_, names);  // behind the log's lock: nobody else is writing here
    metrics_ = {{"runs", json::array()}, {"baselines", json::array()}};
    for (const auto& subject : subjects_) metrics_["labels"][subject.recording.subject] = decoded_labels(subject.recording, decoding_options(study_));
    for (const auto& subject : subjects_) checksums_.push_back(recording_checksum(subject.recording));
    if (options_.resume) keep_complete_runs();
    const std::string start = fmt::format("{}: {} of {} runs to train on {}", study_.resolved.at("name").get<std::string>(),
                                          runs_.size() - entries_.size(), runs_.size(), device_->name());
    log_->message("start", start);
    progress_.note("idem: " + start);
    for (const auto& warning : study_.warnings) warn(warning);
    for (const auto& subject : subjects_) {
      for (const auto& note : subject.notes) {
        log_->message("note", subject.recording.subject + ": " + note);
        progress_.note(fmt::format("idem: {}: {}", subject.recording.subject, note));
      }
      for (const auto& warning : subject.warnings) warn(subject.recording.subject + ": " + warning);
    }
    add_baselines();
    train();
    write_metrics();
    if (entries_.size() < runs_.size()) {
      const std::string message =
          fmt::format("interrupted: {} of {} runs are finished and kept, what was still training is lost; go on with: idem run {} --out {} --resume",
                      entries_.size(), runs_.size(), (out_ / "config.json").string(), out_.string());
      log_->message("interrupted", message);
      say(stderr, "idem: " + message + "\n");
      return ExitCode::interrupted;
    }
    std::vector<FinishedRun> finished;
    for (const auto& run : runs_)
      if (const json& entry = entries_.at(run.name); !entry.value("failed", false))
        finished.push_back({&run, folder_of(run) / "latents.npz", loss_of(entry)});
    metrics_["consistency"] = {{"runs", seed_consistency(study_, subjects_, finished)},
                               {"animals", animal_consistency(study_, subjects_, finished, pool_)}};
    write_metrics();
    const auto n_failed = static_cast<std::size_t>(
        std::count_if(entries_.begin(), entries_.end(), [](const auto& entry) { return entry.second.value("failed", false); }));
    for (const auto& algorithm : device_->chosen_algorithms()) log_->message("algorithm", algorithm);
    log_->message("finished", fmt::format("{} runs, {} failed", runs_.size(), n_failed));
    write_report(out_);
    progress_.note(fmt::format("idem: {} run{} in {}; look at {}", runs_.size(), runs_.size() == 1 ? "" : "s", out_.string(), (out_ / "report.html").string()));
    if (n_failed > 0) progress_.warning(fmt::format("{} of {} runs FAILED and are in no result; {}", n_failed, runs_.size(), kStabilityRemedy));
    if (!options_.quiet && has_standard_output()) print_result(closing_table(read_study(out_)));
    return n_failed == runs_.size() ? ExitCode::failure : ExitCode::ok;
  }

 private:
  bool is_interrupted() const { return options_.is_interrupted && options_.is_interrupted(); }

  void warn(const std::string& message) {
    log_->message("warning", message);
    progress_.warning(message);
  }

  fs::path folder_of(const PlannedRun& run) const { return out_ / "runs" / run.name; }

  // A run is complete when its files are whole and it has its line in the metrics; anything less is trained again. One that failed has no files and
  // would fail again.
  void keep_complete_runs() {
    const fs::path path = out_ / "metrics.json";
    if (!fs::exists(path)) return;
    try {
      keep_complete_runs_of(read_metrics_file(path));
    } catch (const json::exception&) {
      throw DataError(path.string() + ": does not hold what idem run writes; put a whole copy back, or remove the file to train all of its runs again");
    }
  }

  void keep_complete_runs_of(const json& before) {
    std::map<std::string, std::vector<std::string>> trained_elsewhere;
    for (const auto& entry : before.value("runs", json::array())) {
      const std::string name = entry.at("run");
      const auto run = std::find_if(runs_.begin(), runs_.end(), [&](const PlannedRun& planned) { return planned.name == name; });
      if (run == runs_.end() || !(entry.value("failed", false) || is_complete(out_ / "runs" / name))) continue;
      if (entry.value("recording_crc32", "") != checksums_[run->subject])
        throw DataError(fmt::format("--resume: {} was trained on other counts or labels of {} than {} holds now; give another --out, or put the "
                                    "recording back as it was",
                                    name, entry.at("subject").get<std::string>(), recording_file(run->subject)));
      const std::string device = entry.value("device", "?"), version = entry.value("version", "?");
      if (device != device_kind(device_->name()) || version != IDEM_VERSION)
        trained_elsewhere[fmt::format("{} by idem {}", device, version)].push_back(name);
      entries_[name] = entry;
    }
    for (const auto& [where, names] : trained_elsewhere)
      warn(fmt::format("{} of the {} runs kept were trained on {}, the rest will be on {} by idem {}: their last digits may differ for that alone",
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
    for (const auto& run : runs_)
      if (const auto entry = entries_.find(run.name); entry != entries_.end()) metrics_["runs"].push_back(entry->second);
    metrics_["planned_runs"] = runs_.size();
    metrics_["device"] = all_of("device", device_kind(device_->name()), device_->name());
    metrics_["version"] = all_of("version", IDEM_VERSION, IDEM_VERSION);
    write_metrics_file(out_ / "metrics.json", metrics_);
  }

  void add_baselines() {
    const Preparation& windows = study_.models.front().preparation;
    for (const auto& subject : subjects_) {
      if (is_interrupted()) break;
      progress_.note(fmt::format("idem: baselines of {} ({} bins, {} neurons)", subject.recording.subject, subject.recording.n_times,
                                 subject.recording.n_neurons));
      std::optional<Baselines> baselines;
      for (std::size_t split = 0; split < subject.splits.size(); ++split) {
        // Windows cut after joining the parts of a split are another set for each.
        if (!baselines || windows.edges == EdgePolicy::clamped_concatenated)
          baselines.emplace(subject.recording, windows.left, windows.right, windows.edges, subject.splits[split]);
        json entry = baselines->decode(subject.splits[split], decoding_options(study_), pool_);
        entry["subject"] = subject.recording.subject;
        entry["split"] = subject.split_numbers[split];
        metrics_["baselines"].push_back(std::move(entry));
      }
    }
    write_metrics();
  }

  void train() {
    std::vector<std::vector<const PlannedRun*>> fleets;
    for (std::size_t subject = 0; subject < subjects_.size(); ++subject)
      for (std::size_t model = 0; model < study_.models.size(); ++model)
        for (auto& fleet : fleets_of(study_, runs_, subject, model, [&](const PlannedRun& run) { return !entries_.count(run.name); }))
          fleets.push_back(std::move(fleet));
    std::vector<PlannedStage> stages;
    for (const auto& fleet : fleets) stages.push_back({fleet.front()->model, rows_of(fleet)});
    progress_.plan(std::move(stages));
    for (const auto& fleet : fleets)
      if (!is_interrupted()) train_fleet(fleet);
  }

  // Bins that a fleet goes through while it trains, over all its runs.
  double rows_of(const std::vector<const PlannedRun*>& fleet) const {
    const ModelConfig& model = study_.models[fleet.front()->model];
    double rows = 0;
    for (const auto* run : fleet) {
      const auto n_train = static_cast<double>(subjects_[run->subject].splits[run->split].train.size());
      rows += !model.cebra                      ? model.training.epochs * n_train
              : model.cebra->plan.is_full_batch ? model.cebra->plan.steps * n_train
                                                : static_cast<double>(model.cebra->plan.steps) * model.cebra->plan.batch;
    }
    return rows;
  }

  void train_fleet(const std::vector<const PlannedRun*>& runs) {
    const ModelConfig& model = study_.models[runs.front()->model];
    const auto began = std::chrono::steady_clock::now();
    const FleetSetting setting{study_, subjects_, *device_, pool_};
    const auto fleet = make_model_fleet(setting, runs);
    const auto warn_of = [&](const std::vector<std::string>& messages) {
      for (const auto& message : messages) warn(fmt::format("model {}: {}", model.name, message));
    };
    warn_of(fleet->warnings());
    fleet->train(*log_, progress_, [&] { return is_interrupted(); });
    const double seconds = std::chrono::duration<double>(std::chrono::steady_clock::now() - began).count();
    warn_of(fleet->doubts());
    for (std::size_t i = 0; i < runs.size(); ++i) {
      TrainedRun trained = fleet->result(i);
      if (trained.is_finished) finish_run(*runs[i], model, trained, {{"fleet_seconds", seconds}, {"fleet_size", runs.size()}});
    }
  }

  // Writes the files of a run and its entry of the metrics.
  void finish_run(const PlannedRun& run, const ModelConfig& model, TrainedRun& trained, const json& fleet) {
    const Subject& subject = subjects_[run.subject];
    json entry = {{"run", run.name},
                  {"subject", subject.recording.subject},
                  {"model", model.name},
                  {"objective", model.objective()},
                  {"seed", run.seed},
                  {"split", subject.split_numbers[run.split]},
                  {"sees_labels", model.sees_labels()},
                  {"target", model.is_vae() ? model.preparation.to_json().at("target") : json()},
                  {"recording_crc32", checksums_[run.subject]},
                  {"device", device_kind(device_->name())},
                  {"version", IDEM_VERSION},
                  {"training", trained.training}};
    entry["training"].update(fleet);
    if (trained.fault.empty()) {
      for (const auto& doubt : trained.doubts) warn(fmt::format("{}: {}", run.name, doubt));
      entry.merge_patch(trained.scores);
      score(run, trained, entry);
      write_files(run, model, trained, entry);
    } else {
      entry["failed"] = true;
      entry["reason"] = trained.fault;
      warn(fmt::format("{} FAILED: {}; it is in no result; {}", run.name, trained.fault, kStabilityRemedy));
    }
    entries_[run.name] = std::move(entry);
    write_metrics();
  }

  // What every family's latents are asked.
  void score(const PlannedRun& run, const TrainedRun& trained, json& entry) {
    const Subject& subject = subjects_[run.subject];
    const Split& split = subject.splits[run.split];
    const DecodingOptions decoding = decoding_options(study_);
    const auto bins = label_bins(subject.recording, decoding);
    for (const auto& [name, embedding] : embeddings_of(subject.recording, trained.latents)) {
      entry["metrics"][name] = decode_embedding(embedding, subject.recording, split, decoding, pool_);
      if (subject.recording.n_true_latents > 0 && !split.test.empty())
        entry["identifiability"][name] = identifiability_report(embedding, subject.recording, split, bins);
    }
    const auto embeddings = embeddings_of(subject.recording, trained.latents);
    if (embeddings.size() == 2) entry["agreement"] = affine_agreement(embeddings.at("encoder"), embeddings.at("posterior"), split);
  }

  // The latents that a run has, by name: "encoder" label-free, "posterior" with labels. Into `table`.
  static std::map<std::string, Embedding> embeddings_of(const Recording& recording, const LatentTable& table) {
    std::map<std::string, Embedding> embeddings;
    for (const auto& [name, values] : {std::pair{"encoder", &table.encoder_mean}, {"posterior", &table.posterior_mean}})
      if (!values->empty())
        embeddings.emplace(name, Embedding{recording.n_times, static_cast<int>(static_cast<std::int64_t>(values->size()) / recording.n_times), *values});
    return embeddings;
  }

  void write_files(const PlannedRun& run, const ModelConfig& model, TrainedRun& trained, const json& entry) {
    const Subject& subject = subjects_[run.subject];
    const Recording& recording = subject.recording;
    const Split& split = subject.splits[run.split];
    const auto embeddings = embeddings_of(recording, trained.latents);
    auto arrays = latent_arrays(recording, trained.latents, embeddings.begin()->second.n_dims);
    std::vector<std::int32_t> part(static_cast<std::size_t>(recording.n_times), -1);
    for (const auto bin : split.train) part[static_cast<std::size_t>(bin)] = 0;
    for (const auto bin : split.valid) part[static_cast<std::size_t>(bin)] = 1;
    for (const auto bin : split.test) part[static_cast<std::size_t>(bin)] = 2;
    arrays["split"] = NumpyArray::of<std::int32_t>({recording.n_times}, part);
    std::vector<float> decoded(static_cast<std::size_t>(recording.n_times), std::nanf(""));
    const DecodingOptions decoding = decoding_options(study_);
    // Of latents that were given the labels the decoded position would be the answer itself.
    if (const auto label_free = embeddings.find("encoder");
        label_free != embeddings.end() && position_label(recording, decoding.position_label) && !split.test.empty()) {
      const int neighbours = entry.at("metrics").at("encoder").at("euclidean").at("neighbours");
      const DecodedPosition position = decode_position(label_free->second, recording, split, decoding, Distance::euclidean, neighbours, pool_);
      for (std::size_t i = 0; i < position.rows.size(); ++i)
        decoded[static_cast<std::size_t>(position.rows[i])] = static_cast<float>(position.decoded[i]);
    }
    arrays["decoded_position"] = NumpyArray::of<float>({recording.n_times}, decoded);

    std::error_code failed;
    fs::create_directories(folder_of(run), failed);
    if (failed) throw DataError(fmt::format("{}: cannot be made ({}); is the disk full?", folder_of(run).string(), failed.message()));
    write_npz(folder_of(run) / "latents.npz", arrays);
    trained.model.provenance = {{"program", "idem " IDEM_VERSION},
                                {"device", device_kind(device_->name())},
                                {"study", without_paths(study_.resolved)},
                                {"run", run.name},
                                {"subject", recording.subject},
                                {"model", model.name},
                                {"seed", run.seed},
                                {"split", subject.split_numbers[run.split]},
                                {"shuffled_labels", model.shuffle_labels.has_value()},
                                {"training", trained.training}};
    remember_recording(trained.model, recording);
    write_model(folder_of(run) / kModelFile, trained.model);
    fs::remove(folder_of(run) / kOldModelFile, failed);  // of an older idem, of a run that was trained again
  }

  const Study& study_;
  const RunOptions& options_;
  fs::path out_;
  std::unique_ptr<Device> device_;
  ThreadPool pool_;
  std::vector<Subject> subjects_;
  std::vector<PlannedRun> runs_;
  Progress progress_;
  std::optional<RunLog> log_;
  json metrics_;
  std::vector<std::string> checksums_;   // of the subjects' recordings
  std::map<std::string, json> entries_;  // of the runs that are done
};

}  // namespace

ExitCode run_study(const Study& study, const RunOptions& options) {
  const fs::path out = options.out.empty() ? fs::path("out") / study.resolved.at("name").get<std::string>() : options.out;
  return StudyRun(study, options, out).run();
}

std::string describe_study(const Study& study) {
  const auto subjects = load_subjects(study);
  const auto runs = planned_runs(study, subjects);
  ThreadPool pool(0);
  std::string text = fmt::format("{}: {} run{}\n", study.resolved.at("name").get<std::string>(), runs.size(), runs.size() == 1 ? "" : "s");
  for (const auto& warning : study.warnings) text += fmt::format("  warning: {}\n", warning);
  for (std::size_t subject = 0; subject < subjects.size(); ++subject) {
    const Recording& recording = subjects[subject].recording;
    text += fmt::format("{}: {} bins of {:g} ms, {} neurons, {} segment{}\n", recording.subject, recording.n_times, 1000 * recording.bin_width_s,
                        recording.n_neurons, recording.segments.size(), recording.segments.size() == 1 ? "" : "s");
    for (const auto& note : subjects[subject].notes) text += fmt::format("  {}\n", note);
    for (const auto& warning : subjects[subject].warnings) text += fmt::format("  warning: {}\n", warning);
    for (std::size_t split = 0; split < subjects[subject].splits.size(); ++split)
      text += fmt::format("  split {}: {} train, {} valid, {} test bins\n", subjects[subject].split_numbers[split],
                          subjects[subject].splits[split].train.size(), subjects[subject].splits[split].valid.size(),
                          subjects[subject].splits[split].test.size());
    for (std::size_t model = 0; model < study.models.size(); ++model) {
      const ModelConfig config = model_for(study, study.models[model], recording);
      const auto fleets = fleets_of(study, runs, subject, model, [](const PlannedRun&) { return true; });
      if (fleets.empty()) {
        text += fmt::format("  model {}: together with {}\n", config.name, subjects.front().recording.subject);
        continue;
      }
      const FleetCost cost = cost_of_fleet(study, subjects, fleets.front(), pool);
      const std::string length =
          config.cebra ? fmt::format("{} steps", config.cebra->plan.steps) : fmt::format("{} epochs", config.training.epochs);
      const std::string batch = config.cebra && config.cebra->plan.is_full_batch
                                    ? "every bin in each step"
                                    : fmt::format("batch {}", config.cebra ? config.cebra->plan.batch : config.training.batch);
      // A preset may have its own.
      const double shared_rate = study.resolved.at("training").at("learning_rate");
      const std::string rate = config.learning_rate == shared_rate
                                   ? fmt::format("learning rate {:g}", config.learning_rate)
                                   : fmt::format("learning rate {:g} (the model's own; training has {:g})", config.learning_rate, shared_rate);
      const auto bytes = static_cast<double>(cost.bytes);
      const std::size_t n_runs = fleets.front().size();
      text += fmt::format("  model {}: {}, {}, {} parameters each, {}, {}, {}, {:.3g} {}\n", config.name, config.objective(),
                          n_runs == 1 ? "1 run" : fmt::format("{} runs together", n_runs), cost.n_parameters, length, batch, rate,
                          bytes < 1e9 ? bytes / 1e6 : bytes / 1e9, bytes < 1e9 ? "MB" : "GB");
    }
  }
  return text;
}

}  // namespace idem
