#include "engine/training/training_plan.h"

#include <algorithm>
#include <cmath>
#include <numbers>
#include <stdexcept>

namespace idem {

double TrainingPlan::beta_factor_at(std::int32_t epoch) const {
  return beta_warmup > 0 ? std::min(1.0, (epoch + 1) / (beta_warmup * epochs)) : 1.0;
}

double LearningRateSchedule::at(std::int32_t epoch, std::int32_t n_epochs) const {
  if (epoch < warmup_epochs) return static_cast<double>(epoch + 1) / (warmup_epochs + 1);
  switch (kind) {
    case ScheduleKind::constant: return 1;
    case ScheduleKind::multi_step:
      return std::pow(factor, static_cast<double>(std::count_if(milestones.begin(), milestones.end(),
                                                                [&](auto m) { return m <= epoch; })));
    case ScheduleKind::cosine: {
      const std::int32_t last = n_epochs - 1;
      const double progress =
          last > warmup_epochs ? static_cast<double>(epoch - warmup_epochs) / (last - warmup_epochs) : 1;
      return final_fraction + (1 - final_fraction) * 0.5 * (1 + std::cos(std::numbers::pi * progress));
    }
  }
  throw std::invalid_argument("unknown learning rate schedule");
}

}  // namespace idem
