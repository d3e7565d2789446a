#include "host/families/epoch_model.h"

#include <algorithm>
#include <limits>

#include <fmt/format.h>

#include "host/support/errors.h"
#include "kernels/common/to_size.h"

namespace idem {
namespace {

using nlohmann::json;

// A twentieth or more of all that the validation loss has ever come down, it came down in the last tenth of the epochs.
bool was_falling(const std::vector<double>& losses, const MemberResult& result) {
  const std::size_t n = losses.size(), before = n - 1 - std::max<std::size_t>(1, n / 10);
  if (n < 3 || result.best_epoch != static_cast<std::int32_t>(n)) return false;
  return losses[before] - losses.back() > 0.05 * (result.initial_valid_loss - losses.back());
}

}  // namespace

std::string EpochModel::length() const { return fmt::format("{} epochs", training.epochs); }
std::string EpochModel::batch() const { return fmt::format("batch {}", training.batch); }
double EpochModel::n_trained_bins(std::size_t n_train) const { return training.epochs * static_cast<double>(n_train); }

std::vector<std::string> EpochModel::warnings(std::size_t n_train) const {
  std::vector<std::string> list;
  if (to_size(training.batch) > n_train)
    list.push_back(fmt::format("training.batch {} is more than the {} training bins: a step takes them all",
                               training.batch, n_train));
  if (training.patience >= training.epochs)
    list.push_back(fmt::format("training.patience {} is no less than training.epochs {}: nothing stops early",
                               training.patience, training.epochs));
  return list;
}

TrainingPlan read_training(const json& training, const std::string& source) {
  TrainingPlan plan;
  plan.batch = training.at("batch");
  plan.epochs = training.at("epochs");
  plan.shuffle = training.at("shuffle");
  plan.adam_beta1 = training.at("beta1");
  plan.adam_beta2 = training.at("beta2");
  plan.adam_epsilon = training.at("epsilon");
  plan.coupled_decay = training.at("weight_decay");
  plan.decoupled_decay = training.at("decoupled_weight_decay");
  plan.clip_norm = training.at("clip_norm");
  plan.input_noise = training.at("input_noise");
  plan.noisy_target = training.at("noisy_target");
  plan.initialisation = enum_from<Initialisation>(training.at("initialisation"));
  const json& schedule = training.at("schedule");
  const std::string kind = schedule.at("kind");
  plan.schedule.kind = enum_from<ScheduleKind>(kind);
  plan.schedule.warmup_epochs = schedule.at("warmup_epochs");
  plan.schedule.milestones = schedule.at("milestones").get<std::vector<std::int32_t>>();
  plan.schedule.factor = schedule.at("factor");
  plan.schedule.final_fraction = schedule.at("final_fraction");
  plan.patience = training.at("patience");
  plan.keep_best = training.at("keep") == "best";
  if (kind == "multi-step" && plan.schedule.milestones.empty())
    throw ConfigError(source +
                      ": training.schedule.milestones: a multi-step schedule without milestones never steps; list some "
                      "or use \"constant\"");
  if (plan.schedule.warmup_epochs >= plan.epochs)
    throw ConfigError(fmt::format("{}: training.schedule.warmup_epochs: {} is not below training.epochs = {}", source,
                                  plan.schedule.warmup_epochs, plan.epochs));
  return plan;
}

TrainingPlan training_plan(const EpochModel& model, const Preparation& preparation, const Subject& subject) {
  std::size_t most = 0;
  for (const auto& split : subject.splits) most = std::max(most, split.train.size());
  TrainingPlan plan = model.training;
  plan.batch = std::min(plan.batch, static_cast<std::int32_t>(most));
  plan.input_noise = noise_on_input(preparation, subject.recording.bin_width_s, model.training.input_noise);
  return plan;
}

std::vector<MemberPlan> member_plans(const ModelConfig& model, const std::vector<const PlannedRun*>& runs,
                                     const PreparedData& prepared) {
  std::vector<MemberPlan> members;
  for (const auto* run : runs) {
    const Split& rows = prepared.rows[run->split];
    members.push_back({.name = run->name,
                       .seed = run->seed,
                       .learning_rate = model.learning_rate,
                       .train_rows = rows.train,
                       .valid_rows = rows.valid});
  }
  return members;
}

json training_entry(const MemberResult& result, const TrainingPlan& plan, std::int64_t n_parameters) {
  return {{"best_epoch", result.best_epoch},
          {"kept_epoch", plan.keep_best ? result.best_epoch : result.epochs},
          {"epochs", result.epochs},
          {"initial_valid_loss", result.initial_valid_loss},
          {"best_valid_loss", result.best_valid_loss},
          {"kept_valid_loss", result.kept_valid_loss},
          {"nonfinite_steps", result.nonfinite_steps},
          {"parameters", n_parameters}};
}

double kept_valid_loss(const json& entry) {
  const json& loss = entry.at("training").at("kept_valid_loss");
  return loss.is_number() ? loss.get<double>() : std::numeric_limits<double>::quiet_NaN();
}

std::string fault_of(const MemberResult& result, bool has_finite_latents) {
  if (result.failed) return "its validation loss was never finite";
  return has_finite_latents ? "" : "its latents are not finite";
}

std::vector<std::string> doubts_of(const MemberResult& result, bool is_control) {
  std::vector<std::string> doubts;
  if (result.nonfinite_steps > 0)
    doubts.push_back(
        fmt::format("{} steps had a gradient that was not finite and were skipped (without "
                    "training.clip_norm: by the parameters it hit); {}",
                    result.nonfinite_steps, kStabilityRemedy));
  if (is_control) return doubts;
  if (result.kept_valid_loss >= result.initial_valid_loss)
    doubts.push_back(
        fmt::format("its validation loss ({:.4g}) ended no lower than before training ({:.4g}): it learned "
                    "nothing, or diverged; {}",
                    result.kept_valid_loss, result.initial_valid_loss, kStabilityRemedy));
  else if (result.best_epoch == 1 && result.epochs > 1)
    doubts.push_back(fmt::format("no epoch after the first lowered its validation loss ({:.4g}); {}",
                                 result.best_valid_loss, kStabilityRemedy));
  return doubts;
}

std::vector<std::string> falling_doubts(const std::vector<std::vector<double>>& valid_losses,
                                        const std::vector<MemberResult>& results) {
  std::size_t n_falling = 0;
  for (std::size_t run = 0; run < results.size(); ++run)
    n_falling += results[run].finished && was_falling(valid_losses[run], results[run]);
  if (n_falling == 0) return {};
  return {
      fmt::format("the validation loss of {} of {} runs was still falling when training ended: raise training.epochs",
                  n_falling, results.size())};
}

}  // namespace idem
