#include <algorithm>
#include <cmath>
#include <limits>

#include <fmt/format.h>

#include "host/contrastive_data.h"
#include "host/model_fleet.h"

namespace idem {
namespace {

using nlohmann::json;

PreparedData prepared_split(const ModelConfig& model, const Subject& subject, std::size_t split, ThreadPool& pool) {
  return prepare(recording_for(model, subject.recording), model.preparation, {subject.splits[split]}, pool, nullptr, model.sees_labels());
}

CebraDesign complete_design(const ModelConfig& model, const Recording& recording) {
  CebraDesign design = model.cebra->design;
  design.n_neurons = recording.n_neurons;
  return design;
}

std::vector<CebraMemberPlan> member_plans(const ModelConfig& model, const std::vector<const PlannedRun*>& runs, bool can_validate) {
  std::vector<CebraMemberPlan> members;
  for (const auto* run : runs)
    members.push_back({.name = run->name,
                       .seed = run->seed,
                       .learning_rate = model.learning_rate,
                       .temperature = model.cebra->temperature,
                       .delta_sd = model.cebra->delta_sd,
                       .train_set = 0,
                       .valid_set = can_validate ? 1 : -1});
  return members;
}

class StudyCebraFleet : public ModelFleet {
 public:
  StudyCebraFleet(const FleetSetting& setting, const std::vector<const PlannedRun*>& runs)
      : setting_(setting),
        split_(runs.front()->split),
        prepared_(prepared_split(setting.model, setting.subject, split_, setting.pool)),
        design_(complete_design(setting.model, setting.subject.recording)),
        contrastive_(contrastive_data(setting.model, recording_for(setting.model, setting.subject.recording), prepared_)),
        members_(member_plans(setting.model, runs, contrastive_.can_validate)),
        fleet_(setting.device, design_, contrastive_.plan, contrastive_.data, members_),
        last_(members_.size()) {}

  std::vector<std::string> warnings() const override {
    std::vector<std::string> list;
    if (!contrastive_.can_validate)
      list.push_back(fmt::format("no validation bin of split {} has another one contrastive.time_offset later: its InfoNCE there is not known",
                                 setting_.subject.split_numbers[split_]));
    return list;
  }

  void train(RunLog& log, Progress& progress, const std::function<bool()>& is_interrupted) override {
    progress.begin_stage(fmt::format("{} {} split {}", setting_.subject.recording.subject, setting_.model.name, setting_.subject.split_numbers[split_]),
                         contrastive_.plan.steps);
    fleet_.train([&](std::span<const CebraRecord> records) {
      for (std::size_t member = 0; member < records.size(); ++member) log.steps(members_[member].name, records[member]);
      std::copy(records.begin(), records.end(), last_.begin());
      progress.steps(records);
      return !is_interrupted();
    });
    progress.end_stage();
  }

  std::vector<std::string> doubts() const override { return {}; }

  TrainedRun result(std::size_t of) override {
    const auto member = static_cast<std::int32_t>(of);
    const CebraResult& result = fleet_.result(member);
    TrainedRun run;
    run.is_finished = result.finished;
    if (!result.finished) return run;
    run.training = {{"steps", result.steps},
                    {"batch", fleet_.batch()},
                    {"kept_valid_loss", last_[of].valid.loss},
                    {"nonfinite_steps", result.nonfinite_steps},
                    {"parameters", fleet_.parameters_per_member()}};
    run.model = {.cebra = design_,
                 .design = {},
                 .preparation = setting_.model.preparation,
                 .scaling = {},
                 .bin_width_s = setting_.subject.recording.bin_width_s,
                 .provenance = {},
                 .parameters = fleet_.parameters(member)};
    const std::vector<float> rows =
        result.failed ? std::vector<float>() : embed_recording(setting_.device, design_, run.model.parameters, contrastive_.data);
    if (result.failed) run.fault = "its training loss is not finite";
    else if (!std::all_of(rows.begin(), rows.end(), [](float value) { return std::isfinite(value); })) run.fault = "its embedding is not finite";
    if (!run.fault.empty()) return run;
    run.latents.encoder_mean = of_bins(rows, design_.n_features, prepared_.row_of_bin.front());
    run.scores["fit"] = {{"train", fit(last_[of].train)}, {"valid", fit(last_[of].valid)}, {"temperature", last_[of].temperature}};
    run.doubts = doubts_of(result, last_[of]);
    return run;
  }

 private:
  bool is_hybrid() const { return design_.n_behaviour_features > 0; }

  json fit(const CebraLoss& loss) const {
    const auto one = [&](double info_nce) {
      return json{{"info_nce", info_nce}, {"goodness_of_fit_bits", goodness_of_fit_bits(info_nce, fleet_.batch())}};
    };
    json result = one(loss.alignment + loss.uniformity);
    if (is_hybrid()) result["behaviour"] = one(loss.behaviour_alignment + loss.behaviour_uniformity);
    return result;
  }

  std::vector<std::string> doubts_of(const CebraResult& result, const CebraRecord& last) const {
    std::vector<std::string> doubts;
    if (result.nonfinite_steps > 0)
      doubts.push_back(fmt::format("{} steps had a gradient that was not finite and were skipped by the parameters it hit; lower training.learning_rate",
                                   result.nonfinite_steps));
    const double nothing = (is_hybrid() ? 2 : 1) * std::log(static_cast<double>(fleet_.batch()));
    if (last.valid.loss >= nothing && !setting_.model.shuffle_labels)
      doubts.push_back(fmt::format("its InfoNCE on validation bins ({:.4g}) is no lower than that of an embedding that tells nothing ({:.4g}): it learned "
                                   "nothing that holds there",
                                   last.valid.loss, nothing));
    return doubts;
  }

  FleetSetting setting_;
  std::size_t split_;
  PreparedData prepared_;
  CebraDesign design_;
  ContrastiveData contrastive_;
  std::vector<CebraMemberPlan> members_;
  CebraFleet fleet_;
  std::vector<CebraRecord> last_;  // of each member
};

}  // namespace

std::unique_ptr<ModelFleet> make_cebra_fleet(const FleetSetting& setting, const std::vector<const PlannedRun*>& runs) {
  return std::make_unique<StudyCebraFleet>(setting, runs);
}

FleetCost cost_of_cebra_fleet(const Subject& subject, const ModelConfig& model, const std::vector<const PlannedRun*>& runs, ThreadPool& pool) {
  const PreparedData prepared = prepared_split(model, subject, runs.front()->split, pool);
  const ContrastiveData contrastive = contrastive_data(model, recording_for(model, subject.recording), prepared);
  FleetCost cost;
  cost.bytes = measure_memory([&](Device& device) {
    cost.n_parameters = CebraFleet(device, complete_design(model, subject.recording), contrastive.plan, contrastive.data,
                                   member_plans(model, runs, contrastive.can_validate))
                            .parameters_per_member();
  });
  return cost;
}

}  // namespace idem
