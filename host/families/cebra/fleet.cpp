#include <algorithm>
#include <cmath>
#include <numbers>

#include <fmt/format.h>
#include <fmt/ranges.h>

#include "engine/families/cebra/embed_recording.h"
#include "engine/training/row_lists.h"
#include "host/families/cebra/cebra_family.h"
#include "host/families/cebra/contrastive_data.h"
#include "kernels/common/to_size.h"

namespace idem {
namespace {

using nlohmann::json;

// One recording of the fleet, prepared for its split.
struct Session {
  const Subject* subject;
  ModelConfig model;  // for the subject's recording
  CebraDesign design;
  PreparedData prepared;
  ContrastiveData contrastive;

  Session(const FleetSetting& setting, const PlannedRun& run)
      : subject(&setting.subjects[run.subject]),
        model(model_for(setting.model, subject->recording)),
        design(cebra_of(model).design) {
    design.n_neurons = subject->recording.n_neurons;
    const Recording seen = recording_for(model, subject->recording);
    prepared = prepare(seen, model.preparation, {subject->splits[run.split]}, setting.pool, {},
                       {.labels = model.sees_labels()});
    if (!model.shuffle_labels) {
      contrastive = contrastive_data(model, seen, prepared);
      return;
    }
    // Shuffled labels would tell nothing of any embedding: what the control learned is asked of the true ones.
    ModelConfig true_to_labels = model;
    true_to_labels.shuffle_labels.reset();
    const PreparedData truth = prepare(recording_for(true_to_labels, subject->recording), model.preparation,
                                       {subject->splits[run.split]}, setting.pool, {}, {.counts = false});
    contrastive = contrastive_data(model, seen, prepared, &truth.data.labels);
  }
};

// What a fleet is made of: the recordings of a joint model, else one.
struct Ingredients {
  std::vector<Session> sessions;
  CebraDesign design;
  ContrastiveData contrastive;
  std::vector<CebraMemberPlan> members;  // one for each run

  Ingredients(const FleetSetting& setting, const std::vector<const PlannedRun*>& runs) {
    const std::size_t n_sessions = setting.model.is_joint ? setting.subjects.size() : 1;
    std::vector<const ContrastiveData*> data;
    std::vector<std::int32_t> n_neurons;
    for (std::size_t i = 0; i < n_sessions; ++i) sessions.emplace_back(setting, *runs[i]);
    for (const auto& session : sessions) {
      data.push_back(&session.contrastive);
      n_neurons.push_back(session.design.n_neurons);
    }
    contrastive = n_sessions > 1 ? joined_data(data, n_neurons) : sessions.front().contrastive;
    design = sessions.front().design;
    design.n_neurons = *std::max_element(n_neurons.begin(), n_neurons.end());
    const auto n_sets = static_cast<std::int32_t>(contrastive.can_validate ? 2 : 1);
    for (std::size_t i = 0; i < runs.size(); ++i) {
      const auto session = static_cast<std::int32_t>(i % n_sessions);
      const ModelConfig& model = sessions.front().model;
      members.push_back({.name = runs[i]->name,
                         // Of a joint model every encoder has weights and draws of its own.
                         .seed = session_seed(runs[i]->seed, i % n_sessions),
                         .learning_rate = model.learning_rate,
                         .temperature = cebra_of(model).temperature,
                         .delta_sd = cebra_of(model).delta_sd,
                         .train_set = session * n_sets,
                         .valid_set = contrastive.can_validate ? session * n_sets + 1 : -1,
                         .n_neurons = n_neurons[to_size(session)]});
    }
  }
};

NamedParts named_parts(const CebraLoss& loss) {
  NamedParts parts{{"loss", loss.loss}, {"alignment", loss.alignment}, {"uniformity", loss.uniformity}};
  if (std::isfinite(loss.behaviour_alignment))
    parts.insert(parts.end(), {{"behaviour_alignment", loss.behaviour_alignment},
                               {"behaviour_uniformity", loss.behaviour_uniformity}});
  return parts;
}

TrainingRecord record_of(const CebraRecord& record) {
  return {.done = record.step,
          .train = named_parts(record.train),
          .valid = named_parts(record.valid),
          .more = {{"valid_loss_error", record.valid_error.loss},
                   {"valid_batches", record.valid_batches},
                   {"temperature", record.temperature}}};
}

class StudyCebraFleet : public ModelFleet {
 public:
  StudyCebraFleet(const FleetSetting& setting, const std::vector<const PlannedRun*>& runs)
      : device_(setting.device),
        split_(runs.front()->split),
        of_(setting, runs),
        fleet_(setting.device, of_.design, of_.contrastive.plan, of_.contrastive.data, of_.members),
        last_(of_.members.size() / of_.sessions.size()) {}

  std::int64_t n_parameters() const override { return fleet_.parameters_per_member(); }

  std::vector<std::string> warnings() const override {
    std::vector<std::string> list;
    if (!of_.contrastive.can_validate && !cebra_of(of_.sessions.front().model).fits_session)
      list.push_back(fmt::format(
          "no validation bin of split {} has another one contrastive.time_offset later: its InfoNCE there is not known",
          split_number()));
    return list;
  }

  void train(RunLog& log, Progress& progress, const std::function<bool()>& is_interrupted) override {
    std::vector<std::string> subjects;
    for (const auto& session : of_.sessions) subjects.push_back(session.subject->recording.subject);
    progress.begin_stage({.name = fmt::format("{} {} split {}", fmt::join(subjects, " + "),
                                              of_.sessions.front().model.name, split_number()),
                          .unit = TrainingUnit::step,
                          .n = of_.contrastive.plan.steps,
                          .loss_title = "InfoNCE",
                          .shown = {{"alignment", {"alignment", "behaviour_alignment"}},
                                    {"uniformity", {"uniformity", "behaviour_uniformity"}}}});
    fleet_.train([&](std::span<const CebraRecord> records) {
      std::vector<TrainingRecord> shown;
      for (const auto& record : records) shown.push_back(record_of(record));
      for (std::size_t member = 0; member < of_.members.size(); ++member)
        log.record(of_.members[member].name, TrainingUnit::step, shown[member / of_.sessions.size()]);
      std::copy(records.begin(), records.end(), last_.begin());
      progress.show(shown);
      return !is_interrupted();
    });
    progress.end_stage();
  }

  std::vector<std::string> doubts() const override { return {}; }

  TrainedRun result(std::size_t of) override {
    const Session& session = of_.sessions[of % of_.sessions.size()];
    const std::size_t group = of / of_.sessions.size();
    const CebraResult& result = fleet_.result(static_cast<std::int32_t>(group));
    TrainedRun run;
    run.is_finished = result.finished;
    if (!result.finished) return run;
    run.training = {{"steps", result.steps},
                    {"batch", fleet_.batch()},
                    {"kept_valid_loss", last_[group].valid.loss},
                    {"kept_valid_loss_error", last_[group].valid_error.loss},
                    {"valid_batches", last_[group].valid_batches},
                    {"nonfinite_steps", result.nonfinite_steps}};
    run.model = {.design = std::make_shared<CebraSavedDesign>(session.design),
                 .preparation = session.model.preparation,
                 .scaling = {},
                 .bin_width_s = session.subject->recording.bin_width_s,
                 .provenance = {},
                 .parameters = fleet_.parameters(static_cast<std::int32_t>(of))};
    std::size_t n_parameters = 0;
    for (const auto& [name, tensor] : run.model.parameters) n_parameters += tensor.values.size();
    run.training["parameters"] = n_parameters;
    LatentTable rows;
    if (!result.failed)
      rows.encoder_mean = embed_recording(device_, session.design, run.model.parameters, session.contrastive.data);
    if (result.failed)
      run.fault = "its training loss is not finite";
    else if (!rows.is_finite())
      run.fault = "its embedding is not finite";
    if (!run.fault.empty()) return run;
    run.latents.encoder_mean =
        of_bins(rows.encoder_mean, session.design.n_features, session.prepared.row_of_bin.front());
    run.scores["fit"] = {{"train", fit(last_[group].train)},
                         {"valid", fit(last_[group].valid)},
                         {"temperature", last_[group].temperature}};
    add_errors(run.scores["fit"]["valid"], last_[group].valid_error);
    run.doubts = doubts_of(result, last_[group]);
    return run;
  }

 private:
  int split_number() const { return of_.sessions.front().subject->split_numbers[split_]; }
  bool is_hybrid() const { return of_.design.n_behaviour_features > 0; }

  json fit(const CebraLoss& loss) const {
    const auto one = [&](double info_nce) {
      return json{{"info_nce", info_nce}, {"goodness_of_fit_bits", goodness_of_fit_bits(info_nce, fleet_.batch())}};
    };
    json result = one(loss.alignment + loss.uniformity);
    if (is_hybrid()) result["behaviour"] = one(loss.behaviour_alignment + loss.behaviour_uniformity);
    return result;
  }

  void add_errors(json& valid, const CebraError& error) const {
    const auto add = [](json& of, double info_nce) {
      of["info_nce_error"] = info_nce;
      of["goodness_of_fit_bits_error"] = info_nce * std::numbers::log2e;
    };
    add(valid, error.info_nce);
    if (is_hybrid()) add(valid["behaviour"], error.behaviour_info_nce);
  }

  std::vector<std::string> doubts_of(const CebraResult& result, const CebraRecord& last) const {
    std::vector<std::string> doubts;
    if (result.nonfinite_steps > 0)
      doubts.push_back(
          fmt::format("{} steps had a gradient that was not finite and were skipped by the parameters it hit; lower "
                      "training.learning_rate",
                      result.nonfinite_steps));
    const double nothing = (is_hybrid() ? 2 : 1) * std::log(static_cast<double>(fleet_.batch()));
    // Of a single batch no error is known.
    const double error = std::isfinite(last.valid_error.loss) ? last.valid_error.loss : 0;
    if (last.valid.loss + 2 * error >= nothing && !of_.sessions.front().model.shuffle_labels)
      doubts.push_back(
          fmt::format("its InfoNCE on validation bins ({:.4f} ± {:.4f} over {} batches) is not lower, by two such "
                      "errors, than that of an "
                      "embedding that tells nothing ({:.4f}): it learned nothing that is seen to hold there",
                      last.valid.loss, error, last.valid_batches, nothing));
    return doubts;
  }

  Device& device_;
  std::size_t split_;
  Ingredients of_;
  CebraFleet fleet_;
  std::vector<CebraRecord> last_;  // of each run, of a joint model each group of runs
};

}  // namespace

std::unique_ptr<ModelFleet> CebraModel::make_fleet(const FleetSetting& setting,
                                                   const std::vector<const PlannedRun*>& runs) const {
  return std::make_unique<StudyCebraFleet>(setting, runs);
}

}  // namespace idem
