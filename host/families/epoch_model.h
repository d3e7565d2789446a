// epoch_model.h - what the families that train by epochs share: the plan, its members, and what is told of them.
#pragma once

#include <algorithm>
#include <functional>
#include <string>
#include <vector>

#include "engine/training/record.h"
#include "engine/training/training_plan.h"
#include "host/families/family.h"
#include "host/preparation/prepare.h"

namespace idem {

class EpochModel : public FamilyModel {
 public:
  TrainingPlan training;  // input_noise is per bin here; noise_on_input() of the preparation scales it

  std::string length() const override;
  std::string batch() const override;
  double n_trained_bins(std::size_t n_train) const override;
  std::vector<std::string> warnings(std::size_t n_train) const override;
};

// The training section of a study, complete. Throws ConfigError for what makes no sense together.
TrainingPlan read_training(const nlohmann::json& training, const std::string& source);

// The model's plan for a recording, with no more bins a step than train: a larger one would hold empty rows only. Of
// all splits, so that a run does not depend on which others are trained with it.
TrainingPlan training_plan(const EpochModel& model, const Preparation& preparation, const Subject& subject);

// One for each run, but for beta.
std::vector<MemberPlan> member_plans(const ModelConfig& model, const std::vector<const PlannedRun*>& runs,
                                     const PreparedData& prepared);

// A run's entry in metrics.json, "training".
nlohmann::json training_entry(const MemberResult& result, const TrainingPlan& plan, std::int64_t n_parameters);

// Of a run's entry in metrics.json: by which seeds are ranked. NaN: not known.
double kept_valid_loss(const nlohmann::json& entry);

// Why a run came to nothing; "" where it did not.
std::string fault_of(const MemberResult& result, bool has_finite_latents);

// What is odd about a run, one sentence each. is_control: of shuffled labels nothing need be learned.
std::vector<std::string> doubts_of(const MemberResult& result, bool is_control = false);

// Of a fleet whose validation losses were still falling, a sentence. valid_losses: [runs][epochs].
std::vector<std::string> falling_doubts(const std::vector<std::vector<double>>& valid_losses,
                                        const std::vector<MemberResult>& results);
template <class Fleet>
std::vector<std::string> falling_doubts(const std::vector<std::vector<double>>& valid_losses, const Fleet& fleet) {
  std::vector<MemberResult> results;
  for (std::size_t run = 0; run < valid_losses.size(); ++run)
    results.push_back(fleet.result(static_cast<std::int32_t>(run)));
  return falling_doubts(valid_losses, results);
}

template <class Loss, class PartsOf>
TrainingRecord record_of(const EpochRecordOf<Loss>& record, const PartsOf& parts_of) {
  return {.done = record.epoch,
          .is_running = record.is_running,
          .train = parts_of(record.train),
          .valid = parts_of(record.valid),
          .more = {{"learning_rate", record.learning_rate}, {"best", record.is_best}}};
}

// Trains a fleet of the engine's, with its log and its progress; parts_of(loss) gives a loss's parts by name. Returns
// the validation losses after each epoch, [members][epochs].
template <class Fleet, class PartsOf>
std::vector<std::vector<double>> train_by_epochs(Fleet& fleet, const std::vector<MemberPlan>& members,
                                                 TrainingStage stage, const PartsOf& parts_of, RunLog& log,
                                                 Progress& progress, const std::function<bool()>& is_interrupted) {
  std::vector<std::vector<double>> losses(members.size());
  std::vector<TrainingRecord> shown(members.size());
  stage.validates = std::ranges::all_of(members, [](const auto& member) { return !member.valid_rows.empty(); });
  progress.begin_stage(std::move(stage));
  fleet.train([&](const auto& records) {
    for (std::size_t member = 0; member < members.size(); ++member) {
      shown[member] = record_of(records[member], parts_of);
      if (shown[member].is_running) log.record(members[member].name, TrainingUnit::epoch, shown[member]);
      losses[member].push_back(records[member].valid.loss);
    }
    progress.show(shown);
    return !is_interrupted();
  });
  progress.end_stage();
  return losses;
}

}  // namespace idem
