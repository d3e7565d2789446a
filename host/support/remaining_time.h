// remaining_time.h - how long a study still takes, told by what it has taken so far.
#pragma once

#include <cstddef>
#include <map>
#include <vector>

namespace idem {

// One fleet that is to be trained. model: fleets of one model go at one pace; rows: bins it goes through, over all its
// runs and steps.
struct PlannedStage {
  std::size_t model = 0;
  double rows = 0;
};

// Stages begin in the order of the plan. A stage lasts until the next begins, so that the scoring after a training
// counts with it. A model that has not been trained yet is taken to go at the mean pace of those that have, per row:
// the first estimates of a study of unlike models are rough. now_s: seconds on any clock that only goes forward.
class RemainingTime {
 public:
  explicit RemainingTime(std::vector<PlannedStage> plan = {}) : plan_(std::move(plan)) {}
  void begin_stage(double now_s);
  // Seconds left when a share of the stage that began last is done; 0 of it: NaN where nothing has been timed yet.
  double left_s(double now_s, double share_done) const;

 private:
  struct Pace {
    double seconds = 0, rows = 0;
  };
  PlannedStage current() const {
    return n_begun_ > 0 && n_begun_ <= plan_.size() ? plan_[n_begun_ - 1] : PlannedStage{0, 1};
  }

  std::vector<PlannedStage> plan_;
  std::size_t n_begun_ = 0;
  double began_s_ = 0;
  std::map<std::size_t, Pace> of_model_;  // of the stages that have ended
};

}  // namespace idem
