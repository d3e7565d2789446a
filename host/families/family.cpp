#include "host/families/family.h"

#include <algorithm>

namespace idem {
namespace {

// A larger one would hold empty rows only. Of all splits, so that a run does not depend on which others are trained with it.
std::int32_t largest_batch(const Subject& subject) {
  std::size_t most = 0;
  for (const auto& split : subject.splits) most = std::max(most, split.train.size());
  return static_cast<std::int32_t>(most);
}

const ModelConfig& model_of(const Study& study, const std::vector<const PlannedRun*>& runs) { return study.models[runs.front()->model]; }

}  // namespace

TrainingPlan training_plan(const ModelConfig& model, const Subject& subject) {
  TrainingPlan plan = model.training;
  plan.batch = std::min(plan.batch, largest_batch(subject));
  plan.input_noise = noise_on_input(model.preparation, subject.recording.bin_width_s, model.training.input_noise);
  return plan;
}

std::vector<MemberPlan> member_plans(const ModelConfig& model, const std::vector<const PlannedRun*>& runs, const PreparedData& prepared) {
  std::vector<MemberPlan> members;
  for (const auto* run : runs) {
    const Split& rows = prepared.rows[run->split];
    members.push_back({.name = run->name,
                       .seed = run->seed,
                       .learning_rate = model.learning_rate,
                       .beta = model.beta,
                       .train_rows = rows.train,
                       .valid_rows = rows.valid});
  }
  return members;
}

std::unique_ptr<ModelFleet> make_model_fleet(const FleetSetting& setting, const std::vector<const PlannedRun*>& runs) {
  const ModelConfig& model = model_of(setting.study, runs);
  return model.cebra ? make_cebra_fleet(setting, runs) : model.gcl ? make_gcl_fleet(setting, runs) : make_vae_fleet(setting, runs);
}

FleetCost cost_of_fleet(const Study& study, const std::vector<Subject>& subjects, const std::vector<const PlannedRun*>& runs, ThreadPool& pool) {
  const ModelConfig& model = model_of(study, runs);
  return (model.cebra ? cost_of_cebra_fleet : model.gcl ? cost_of_gcl_fleet : cost_of_vae_fleet)(study, subjects, runs, pool);
}

}  // namespace idem
