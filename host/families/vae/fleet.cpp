#include <algorithm>

#include <fmt/format.h>
#include <fmt/ranges.h>

#include "engine/training/row_lists.h"
#include "host/evaluation/collapse.h"
#include "host/families/vae/marginal_decoding.h"
#include "host/families/vae/model.h"
#include "host/families/vae/saved_design.h"
#include "host/families/vae/words.h"
#include "host/support/numpy_random.h"

namespace idem {
namespace {

using nlohmann::json;

// The model of a study for a recording.
ModelDesign complete_design(const ModelConfig& model, const Recording& recording, const LabelScaling& scaling) {
  ModelDesign design = vae_of(model).design;
  design.n_neurons = recording.n_neurons;
  design.n_labels = static_cast<std::int32_t>(scaling.names.size());
  if (design.decoder_kind == DecoderKind::gin) {
    if (design.flow.width == 0) design.flow.width = std::max(30, design.n_outputs() / 4);
    for (std::size_t block = 0; block < design.flow.permutations.size(); ++block)
      design.flow.permutations[block] = NumpyRandom(static_cast<std::uint32_t>(block)).permutation(design.n_outputs());
  }
  return design;
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

  Ingredients(const FleetSetting& setting, const std::vector<const PlannedRun*>& runs) {
    const ModelConfig& written = setting.model;
    const VaeModel& model = vae_of(written);
    const std::vector<Subject>& subjects = setting.subjects;
    const std::size_t n_sessions = written.is_joint ? subjects.size() : 1;
    std::vector<ModelConfig> models;
    for (std::size_t i = 0; i < n_sessions; ++i)
      models.push_back(model_for(written, subjects[runs[i]->subject].recording));
    const auto scaling = written.is_joint ? joint_scaling(models, subjects) : std::vector<LabelScaling>();
    for (std::size_t i = 0; i < n_sessions; ++i)
      sessions.emplace_back(subjects[runs[i]->subject], models[i], scaling, setting.pool);
    const auto plan_of = [&](const Session& session) {
      return training_plan(model, session.model.preparation, session.subject);
    };
    plan = plan_of(sessions.front());
    for (const auto& session : sessions) plan.batch = std::max(plan.batch, plan_of(session).batch);
    for (std::size_t i = 0; i < runs.size(); ++i) {
      const Session& session = sessions[i % n_sessions];
      members.push_back(member_plans(session.model, {runs[i]}, session.prepared).front());
      members.back().beta = model.beta;
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
  static std::vector<LabelScaling> joint_scaling(const std::vector<ModelConfig>& models,
                                                 const std::vector<Subject>& subjects) {
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
        of_(setting, runs),
        fleet_(setting.device, of_.fleet_sessions(), of_.plan, of_.members) {}

  std::int64_t n_parameters() const override { return fleet_.n_parameters(0); }

  std::vector<std::string> warnings() const override {
    std::vector<std::string> list;
    for (const auto& session : of_.sessions)
      if (session.design.output == OutputMap::sigmoid && session.prepared.targets_above_one > 0)
        list.push_back(
            fmt::format("decoder.output sigmoid stays below 1, but {:.2g} % of the target counts of {} are above it "
                        "(largest {:g}): they "
                        "cannot be reached; \"auto\" can",
                        100 * session.prepared.targets_above_one, session.subject.recording.subject,
                        session.prepared.largest_target));
    return list;
  }

  void train(RunLog& log, Progress& progress, const std::function<bool()>& is_interrupted) override {
    std::vector<std::string> subjects;
    for (const auto& session : of_.sessions) subjects.push_back(session.subject.recording.subject);
    TrainingStage stage{.name = fmt::format("{} {}", fmt::join(subjects, " + "), setting_.model.name),
                        .n = of_.plan.epochs,
                        .shown = vae_shown_parts()};
    losses_ = train_by_epochs(fleet_, of_.members, std::move(stage), named_parts, log, progress, is_interrupted);
  }

  std::vector<std::string> doubts() const override { return falling_doubts(losses_, fleet_); }

  TrainedRun result(std::size_t of) override {
    const Session& session = session_of(of);
    const auto member = static_cast<std::int32_t>(of);
    const MemberResult& result = fleet_.result(member);
    TrainedRun run;
    run.is_finished = result.finished;
    if (!result.finished) return run;
    const LatentTable rows = result.failed ? LatentTable{} : fleet_.latents(member);
    run.fault = fault_of(result, rows.is_finite());
    run.training = training_entry(result, of_.plan, fleet_.n_parameters(member));
    if (!run.fault.empty()) return run;
    run.doubts = doubts_of(result);
    const PlannedRun& planned = *runs_[of];
    const auto& row_of_bin = session.prepared.row_of_bin[planned.split];
    for (const auto part : {&LatentTable::encoder_mean, &LatentTable::encoder_log_var, &LatentTable::posterior_mean,
                            &LatentTable::posterior_log_var, &LatentTable::prior_mean, &LatentTable::prior_log_var})
      run.latents.*part = of_bins(rows.*part, session.design.n_latents, row_of_bin);
    run.model = {.design = std::make_shared<VaeDesign>(session.design),
                 .preparation = session.model.preparation,
                 .scaling = session.prepared.scaling[planned.split],
                 .bin_width_s = session.subject.recording.bin_width_s,
                 .provenance = {},
                 .parameters = fleet_.parameters(member)};
    run.scores = scores_of(session, planned, run);
    return run;
  }

 private:
  // What the generative model alone says of labels, and how far the labels alone explain its latents.
  json scores_of(const Session& session, const PlannedRun& planned, TrainedRun& run) const {
    json scores = json::object();
    const Recording& recording = session.subject.recording;
    const Split& split = session.subject.splits[planned.split];
    const DecodingOptions& decoding = setting_.decoding;
    std::vector<double> by_likelihood;
    const json marginal = decode_by_marginal_likelihood(
        setting_.device,
        {session.design, session.model.preparation, run.model.scaling, run.model.parameters, planned.seed},
        session.prepared.data, session.prepared.rows[planned.split], recording, split, decoding, &by_likelihood);
    if (!marginal.empty()) {
      scores["metrics"]["marginal"] = marginal;
      run.decoded["marginal"] = std::move(by_likelihood);
    }
    const bool product = !session.design.encoder_sees_labels;
    const LatentDistributions distributions{
        .n_rows = recording.n_times,
        .n_latents = session.design.n_latents,
        .encoder_mean = product ? run.latents.encoder_mean : run.latents.posterior_mean,
        .encoder_log_var = product ? run.latents.encoder_log_var : run.latents.posterior_log_var,
        .prior_mean = run.latents.prior_mean,
        .prior_log_var = run.latents.prior_log_var,
        .is_product = product};
    const auto bins = label_bins(recording, decoding);
    for (const auto& [name, part] : {std::pair{"valid", &split.valid}, {"test", &split.test}})
      if (!part->empty())
        scores["collapse"][name] = to_json(measure_collapse(distributions, *part, bins, planned.seed));
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

std::unique_ptr<ModelFleet> VaeModel::make_fleet(const FleetSetting& setting,
                                                 const std::vector<const PlannedRun*>& runs) const {
  return std::make_unique<VaeFleet>(setting, runs);
}

}  // namespace idem
