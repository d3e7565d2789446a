#include <algorithm>
#include <cmath>

#include <fmt/format.h>
#include <fmt/ranges.h>

#include "engine/training/row_lists.h"
#include "host/evaluation/collapse.h"
#include "host/families/vae/marginal_decoding.h"
#include "host/families/family.h"
#include "host/support/numpy_random.h"

namespace idem {
namespace {

using nlohmann::json;

// The model of a study for a recording.
ModelDesign complete_design(const ModelConfig& model, const Recording& recording, const LabelScaling& scaling) {
  ModelDesign design = model.design;
  design.n_neurons = recording.n_neurons;
  design.n_labels = static_cast<std::int32_t>(scaling.names.size());
  if (design.decoder_kind == DecoderKind::gin) {
    if (design.flow.width == 0) design.flow.width = std::max(30, design.n_outputs() / 4);
    for (std::size_t block = 0; block < design.flow.permutations.size(); ++block)
      design.flow.permutations[block] = NumpyRandom(static_cast<std::uint32_t>(block)).permutation(design.n_outputs());
  }
  return design;
}

bool all_finite(const LatentTable& table) {
  for (const auto* values : {&table.encoder_mean, &table.encoder_log_var, &table.posterior_mean, &table.posterior_log_var, &table.prior_mean,
                             &table.prior_log_var})
    if (!std::all_of(values->begin(), values->end(), [](float value) { return std::isfinite(value); })) return false;
  return true;
}

// A twentieth or more of all that the validation loss has ever come down, it came down in the last tenth of the epochs.
bool was_falling(const std::vector<double>& losses, const MemberResult& result) {
  const std::size_t n = losses.size(), before = n - 1 - std::max<std::size_t>(1, n / 10);
  if (n < 3 || result.best_epoch != static_cast<std::int32_t>(n)) return false;
  return losses[before] - losses.back() > 0.05 * (result.initial_valid_loss - losses.back());
}

// One recording of the fleet, prepared.
struct Session {
  const Subject& subject;
  ModelConfig model;  // for the subject's recording
  PreparedData prepared;
  ModelDesign design;

  // scaling: of the labels of each split, of a joint model; else empty.
  Session(const Subject& of, const ModelConfig& model_of_it, const std::vector<LabelScaling>& scaling, ThreadPool& pool)
      : subject(of),
        model(model_of_it),
        prepared(prepare(recording_for(model, subject.recording), model.preparation, subject.splits, pool, scaling)),
        design(complete_design(model, subject.recording, prepared.scaling.front())) {}
};

// What a fleet is made of: the recordings of a joint model, else one.
struct Ingredients {
  std::vector<Session> sessions;
  TrainingPlan plan;
  std::vector<MemberPlan> members;  // one for each run

  Ingredients(const Study& study, const std::vector<Subject>& subjects, const std::vector<const PlannedRun*>& runs, ThreadPool& pool) {
    const ModelConfig& written = study.models[runs.front()->model];
    const std::size_t n_sessions = written.is_joint ? subjects.size() : 1;
    std::vector<ModelConfig> models;
    for (std::size_t i = 0; i < n_sessions; ++i) models.push_back(model_for(study, written, subjects[runs[i]->subject].recording));
    const auto scaling = written.is_joint ? joint_scaling(models, subjects) : std::vector<LabelScaling>();
    for (std::size_t i = 0; i < n_sessions; ++i) sessions.emplace_back(subjects[runs[i]->subject], models[i], scaling, pool);
    plan = training_plan(models.front(), sessions.front().subject);
    for (const auto& session : sessions) plan.batch = std::max(plan.batch, training_plan(session.model, session.subject).batch);
    for (std::size_t i = 0; i < runs.size(); ++i) {
      const Session& session = sessions[i % n_sessions];
      members.push_back(member_plans(session.model, {runs[i]}, session.prepared).front());
      members.back().seed = session_seed(runs[i]->seed, i % n_sessions);
    }
  }

  std::vector<FleetSession> fleet_sessions() const {
    std::vector<FleetSession> list;
    for (const auto& session : sessions) list.push_back({session.design, session.prepared.data});
    return list;
  }

 private:
  // Of each split: the labels of all recordings' training bins measure alike.
  static std::vector<LabelScaling> joint_scaling(const std::vector<ModelConfig>& models, const std::vector<Subject>& subjects) {
    std::vector<Recording> seen;
    for (std::size_t i = 0; i < subjects.size(); ++i) seen.push_back(recording_for(models[i], subjects[i].recording));
    std::vector<const Recording*> recordings;
    for (const auto& recording : seen) recordings.push_back(&recording);
    std::vector<LabelScaling> scaling;
    for (std::size_t split = 0; split < subjects.front().splits.size(); ++split) {
      std::vector<const std::vector<std::int32_t>*> bins;
      for (const auto& subject : subjects) bins.push_back(&subject.splits[split].train);
      scaling.push_back(label_scaling(recordings, models.front().preparation, bins));
    }
    return scaling;
  }
};

class VaeFleet : public ModelFleet {
 public:
  VaeFleet(const FleetSetting& setting, const std::vector<const PlannedRun*>& runs)
      : setting_(setting),
        runs_(runs),
        of_(setting.study, setting.subjects, runs, setting.pool),
        fleet_(setting.device, of_.fleet_sessions(), of_.plan, of_.members),
        losses_(runs.size()) {}

  std::vector<std::string> warnings() const override {
    std::vector<std::string> list;
    for (const auto& session : of_.sessions)
      if (session.design.output == OutputMap::sigmoid && session.prepared.targets_above_one > 0)
        list.push_back(fmt::format("decoder.output sigmoid stays below 1, but {:.2g} % of the target counts of {} are above it (largest {:g}): they "
                                   "cannot be reached; \"auto\" can",
                                   100 * session.prepared.targets_above_one, session.subject.recording.subject, session.prepared.largest_target));
    return list;
  }

  void train(RunLog& log, Progress& progress, const std::function<bool()>& is_interrupted) override {
    std::vector<std::string> subjects;
    for (const auto& session : of_.sessions) subjects.push_back(session.subject.recording.subject);
    const ModelConfig& model = of_.sessions.front().model;
    progress.begin_stage(fmt::format("{} {}", fmt::join(subjects, " + "), model.name), model.training.epochs);
    fleet_.train([&](std::span<const EpochRecord> records) {
      for (std::size_t member = 0; member < records.size(); ++member) {
        if (records[member].is_running) log.epoch(of_.members[member].name, records[member]);
        losses_[member].push_back(records[member].valid.loss);
      }
      progress.epoch(records);
      return !is_interrupted();
    });
    progress.end_stage();
  }

  std::vector<std::string> doubts() const override {
    std::size_t n_falling = 0;
    for (std::size_t member = 0; member < runs_.size(); ++member) {
      const MemberResult& result = fleet_.result(static_cast<std::int32_t>(member));
      n_falling += result.finished && was_falling(losses_[member], result);
    }
    if (n_falling == 0) return {};
    return {fmt::format("the validation loss of {} of {} runs was still falling when training ended: raise training.epochs", n_falling,
                        runs_.size())};
  }

  TrainedRun result(std::size_t of) override {
    const Session& session = session_of(of);
    const auto member = static_cast<std::int32_t>(of);
    const MemberResult& result = fleet_.result(member);
    TrainedRun run;
    run.is_finished = result.finished;
    if (!result.finished) return run;
    const LatentTable rows = result.failed ? LatentTable{} : fleet_.latents(member);
    if (result.failed) run.fault = "its validation loss was never finite";
    else if (!all_finite(rows)) run.fault = "its latents are not finite";
    run.training = {{"best_epoch", result.best_epoch},
                    {"kept_epoch", session.model.training.keep_best ? result.best_epoch : result.epochs},
                    {"epochs", result.epochs},
                    {"initial_valid_loss", result.initial_valid_loss},
                    {"best_valid_loss", result.best_valid_loss},
                    {"kept_valid_loss", result.kept_valid_loss},
                    {"nonfinite_steps", result.nonfinite_steps},
                    {"parameters", fleet_.n_parameters(member)}};
    if (!run.fault.empty()) return run;
    run.doubts = doubts_of(result);
    const PlannedRun& planned = *runs_[of];
    const auto& row_of_bin = session.prepared.row_of_bin[planned.split];
    for (const auto part : {&LatentTable::encoder_mean, &LatentTable::encoder_log_var, &LatentTable::posterior_mean, &LatentTable::posterior_log_var,
                            &LatentTable::prior_mean, &LatentTable::prior_log_var})
      run.latents.*part = of_bins(rows.*part, session.design.n_latents, row_of_bin);
    run.model = {.cebra = {},
                 .gcl = {},
                 .design = session.design,
                 .preparation = session.model.preparation,
                 .scaling = session.prepared.scaling[planned.split],
                 .bin_width_s = session.subject.recording.bin_width_s,
                 .provenance = {},
                 .parameters = fleet_.parameters(member)};
    run.scores = scores_of(session, planned, run);
    return run;
  }

 private:
  static std::vector<std::string> doubts_of(const MemberResult& result) {
    std::vector<std::string> doubts;
    if (result.nonfinite_steps > 0)
      doubts.push_back(fmt::format("{} steps had a gradient that was not finite and were skipped (without training.clip_norm: by the parameters it "
                                   "hit); {}",
                                   result.nonfinite_steps, kStabilityRemedy));
    if (result.kept_valid_loss >= result.initial_valid_loss)
      doubts.push_back(fmt::format("its validation loss ({:.4g}) ended no lower than before training ({:.4g}): it learned nothing, or diverged; {}",
                                   result.kept_valid_loss, result.initial_valid_loss, kStabilityRemedy));
    else if (result.best_epoch == 1 && result.epochs > 1)
      doubts.push_back(fmt::format("no epoch after the first lowered its validation loss ({:.4g}); {}", result.best_valid_loss, kStabilityRemedy));
    return doubts;
  }

  // What the generative model alone says of labels, and how far the labels alone explain its latents.
  json scores_of(const Session& session, const PlannedRun& planned, const TrainedRun& run) const {
    json scores = json::object();
    const Recording& recording = session.subject.recording;
    const Split& split = session.subject.splits[planned.split];
    const DecodingOptions decoding = decoding_options(setting_.study);
    const json marginal = decode_by_marginal_likelihood(
        setting_.device, {session.design, session.model.preparation, run.model.scaling, run.model.parameters, planned.seed},
        session.prepared.data, session.prepared.rows[planned.split], recording, split, decoding);
    if (!marginal.empty()) scores["metrics"]["marginal"] = marginal;
    const bool product = !session.design.encoder_sees_labels;
    const LatentDistributions distributions{.n_rows = recording.n_times,
                                            .n_latents = session.design.n_latents,
                                            .encoder_mean = product ? run.latents.encoder_mean : run.latents.posterior_mean,
                                            .encoder_log_var = product ? run.latents.encoder_log_var : run.latents.posterior_log_var,
                                            .prior_mean = run.latents.prior_mean,
                                            .prior_log_var = run.latents.prior_log_var,
                                            .is_product = product};
    const auto bins = label_bins(recording, decoding);
    for (const auto& [name, part] : {std::pair{"valid", &split.valid}, {"test", &split.test}})
      if (!part->empty()) scores["collapse"][name] = to_json(measure_collapse(distributions, *part, bins, planned.seed));
    return scores;
  }

  const Session& session_of(std::size_t run) const { return of_.sessions[run % of_.sessions.size()]; }

  FleetSetting setting_;
  std::vector<const PlannedRun*> runs_;
  Ingredients of_;
  Fleet fleet_;
  std::vector<std::vector<double>> losses_;  // on the validation bins, after each epoch
};

}  // namespace

std::unique_ptr<ModelFleet> make_vae_fleet(const FleetSetting& setting, const std::vector<const PlannedRun*>& runs) {
  return std::make_unique<VaeFleet>(setting, runs);
}

FleetCost cost_of_vae_fleet(const Study& study, const std::vector<Subject>& subjects, const std::vector<const PlannedRun*>& runs, ThreadPool& pool) {
  const Ingredients of(study, subjects, runs, pool);
  FleetCost cost;
  cost.bytes = measure_memory([&](Device& device) { cost.n_parameters = Fleet(device, of.fleet_sessions(), of.plan, of.members).n_parameters(0); });
  return cost;
}

}  // namespace idem
