#include "host/support/remaining_time.h"

#include <cmath>
#include <limits>

namespace idem {

void RemainingTime::begin_stage(double now_s) {
  if (n_begun_ > 0) {
    Pace& pace = of_model_[current().model];
    pace.seconds += now_s - began_s_;
    pace.rows += current().rows;
  }
  ++n_begun_;
  began_s_ = now_s;
}

double RemainingTime::left_s(double now_s, double share_done) const {
  const PlannedStage now = current();
  auto paces = of_model_;
  if (share_done > 0) {
    paces[now.model].seconds += now_s - began_s_;
    paces[now.model].rows += share_done * now.rows;
  }
  Pace mean;
  for (const auto& [model, pace] : paces) {
    mean.seconds += pace.seconds;
    mean.rows += pace.rows;
  }
  if (!(mean.rows > 0)) return std::numeric_limits<double>::quiet_NaN();
  const auto seconds_of = [&](const PlannedStage& stage) {
    const auto found = paces.find(stage.model);
    const Pace& pace = found != paces.end() && found->second.rows > 0 ? found->second : mean;
    return stage.rows * pace.seconds / pace.rows;
  };
  // What is left of this stage goes at its own pace, not at that of the stages of its model before it.
  double left = share_done > 0 ? (now_s - began_s_) * (1 - share_done) / share_done : seconds_of(now);
  for (std::size_t i = n_begun_; i < plan_.size(); ++i) left += seconds_of(plan_[i]);
  return left;
}

}  // namespace idem
