// training_plan.h - how a fleet trains and on what, where an epoch walks through lists of rows.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "engine/networks/parameters.h"

namespace idem {

enum class ScheduleKind { constant, cosine, multi_step };
template <>
struct EnumNames<ScheduleKind> {
  static constexpr const char* what = "schedule";
  static constexpr EnumName<ScheduleKind> all[] = {
      {ScheduleKind::constant, "constant"}, {ScheduleKind::cosine, "cosine"}, {ScheduleKind::multi_step, "multi-step"}};
};

struct LearningRateSchedule {
  ScheduleKind kind = ScheduleKind::constant;
  std::int32_t warmup_epochs = 0;  // linear from 1 / (warmup_epochs + 1)
  // multi_step: the rate is multiplied by factor at the start of each of these epochs
  std::vector<std::int32_t> milestones;
  double factor = 0.5;
  double final_fraction = 0.01;  // cosine: rate of the last epoch over that of the first

  double at(std::int32_t epoch, std::int32_t n_epochs) const;  // multiplies the base rate; epoch counts from 0
};

// The defaults here are those of a configuration.
struct TrainingPlan {
  std::int32_t batch = 128, epochs = 100;
  bool shuffle = true;
  double adam_beta1 = 0.9, adam_beta2 = 0.999, adam_epsilon = 1e-8;
  double coupled_decay = 0, decoupled_decay = 0;
  double clip_norm = 1;    // 0: off
  double input_noise = 0;  // standard deviation of the noise on the encoder's input, in its units
  double beta_warmup =
      0;  // fraction of the epochs over which the weight of the KL terms grows linearly to beta; validation uses beta
  bool noisy_target = false;  // the reconstruction target carries the same noise (published Conv-CI-iVAE)
  Initialisation initialisation = Initialisation::torch_linear;
  LearningRateSchedule schedule;
  std::int32_t patience = 0;  // epochs without a better validation loss before a member stops; 0: never
  bool keep_best = true;      // result: the weights of the best validation epoch (else of the last)

  double beta_factor_at(std::int32_t epoch) const;  // multiplies beta while training; epoch counts from 0
};

// What may differ between the members of a fleet.
struct MemberPlan {
  std::string name;  // of the run, for messages
  std::uint64_t seed = 0;
  double learning_rate = 1e-3, beta = 1;
  std::vector<std::int32_t> train_rows,
      valid_rows;  // rows of the fleet's data; training needs at least one, validation may be empty
};

// Row-major host arrays that a fleet copies to its device. inputs: what the encoder sees; targets: what the decoder
// explains (decodes_window: of each bin of a row's window).
struct FleetData {
  std::int64_t n_rows = 0;
  std::vector<float> inputs, targets;  // [n_rows x n_neurons]
  std::vector<float> labels;           // [n_rows x n_labels]
  // [n_rows] first row of each row's window of inputs or targets; empty where only rows are read
  std::vector<std::int32_t> window_begin;
};

}  // namespace idem
