// epoch_loop.h - training in epochs: which epoch is best, whose weights are kept, who stops early. One for all families
// that train so.
//
// Runs of n_sessions members each, run after run, start, stop and keep their weights together.
#pragma once

#include <functional>
#include <span>
#include <vector>

#include "engine/training/record.h"
#include "engine/training/training_plan.h"

namespace idem {

// The decisions of a run's epochs, by losses alone.
class EpochDecisions {
 public:
  EpochDecisions(const TrainingPlan& plan, const std::vector<MemberPlan>& members, std::size_t n_sessions);

  // Before the first epoch. valid: of each member, NaN where it has no validation rows.
  void begin(const std::vector<double>& valid);
  struct OfRun {
    bool was_running = false, is_best = false, keeps = false;
  };
  // After epoch number `epoch`, from 0. train and valid: of each member.
  std::vector<OfRun> end_epoch(std::int32_t epoch, const std::vector<double>& train, const std::vector<double>& valid);
  // nonfinite_steps [n_members]: of the whole training so far.
  void count_nonfinite(const std::vector<std::uint32_t>& nonfinite_steps);

  const std::vector<std::uint8_t>& is_enabled() const { return is_enabled_; }  // [n_runs]
  bool any_enabled() const;
  const MemberResult& result(std::size_t member) const { return results_.at(member); }

 private:
  OfRun end_epoch_of_run(std::int32_t epoch, std::size_t run, const std::vector<double>& train,
                         const std::vector<double>& valid);

  TrainingPlan plan_;
  std::vector<bool> validates_;  // [n_runs] all members have validation rows
  std::size_t n_sessions_;
  std::vector<std::uint8_t> is_enabled_;
  std::vector<double> lowest_;  // of each run, the loss that says which epoch is best
  std::vector<MemberResult> results_;
};

// Of the fleet:
//   train_epoch(epoch, is_enabled), validate(is_enabled)   the means of each member as std::vector<Loss>, of runs not
//                                                          enabled NaN
//   keep(run), enable(is_enabled)                          the run's weights; who takes part from now on
//   nonfinite_steps()                                      [n_members]
// on_epoch is called after every epoch with one record per member; returning false ends the training there.
template <class Loss, class Fleet>
void epoch_loop(const TrainingPlan& plan, const std::vector<MemberPlan>& members, std::size_t n_sessions, Fleet& fleet,
                EpochDecisions& decisions, const std::function<bool(std::span<const EpochRecordOf<Loss>>)>& on_epoch) {
  const auto loss_of = [](const std::vector<Loss>& parts) {
    std::vector<double> losses;
    for (const auto& of_member : parts) losses.push_back(of_member.loss);
    return losses;
  };
  decisions.begin(loss_of(fleet.validate(decisions.is_enabled())));
  for (std::int32_t epoch = 0; epoch < plan.epochs && decisions.any_enabled(); ++epoch) {
    const auto train = fleet.train_epoch(epoch, decisions.is_enabled());
    const auto valid = fleet.validate(decisions.is_enabled());
    const auto runs = decisions.end_epoch(epoch, loss_of(train), loss_of(valid));
    for (std::size_t run = 0; run < runs.size(); ++run)
      if (runs[run].keeps) fleet.keep(static_cast<std::int32_t>(run));
    decisions.count_nonfinite(fleet.nonfinite_steps());
    fleet.enable(decisions.is_enabled());
    std::vector<EpochRecordOf<Loss>> records;
    for (std::size_t member = 0; member < members.size(); ++member)
      records.push_back({.epoch = epoch + 1,
                         .learning_rate = members[member].learning_rate * plan.schedule.at(epoch, plan.epochs),
                         .train = train[member],
                         .valid = valid[member],
                         .is_best = runs[member / n_sessions].is_best,
                         .is_running = runs[member / n_sessions].was_running});
    if (!on_epoch(records)) return;
  }
}

}  // namespace idem
