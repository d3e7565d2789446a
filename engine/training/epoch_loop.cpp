#include "engine/training/epoch_loop.h"

#include <algorithm>
#include <cmath>
#include <limits>

namespace idem {

EpochDecisions::EpochDecisions(const TrainingPlan& plan, const std::vector<MemberPlan>& members, std::size_t n_sessions)
    : plan_(plan), validates_(members.size() / n_sessions, true), n_sessions_(n_sessions), results_(members.size()) {
  for (std::size_t member = 0; member < members.size(); ++member)
    if (members[member].valid_rows.empty()) validates_[member / n_sessions] = false;
  is_enabled_.assign(validates_.size(), 1);
}

void EpochDecisions::begin(const std::vector<double>& valid) {
  constexpr double kInfinity = std::numeric_limits<double>::infinity();
  lowest_.assign(validates_.size(), kInfinity);
  for (std::size_t member = 0; member < results_.size(); ++member)
    results_[member] = {.best_valid_loss = kInfinity, .initial_valid_loss = valid[member]};
}

bool EpochDecisions::any_enabled() const {
  return std::any_of(is_enabled_.begin(), is_enabled_.end(), [](auto value) { return value != 0; });
}

void EpochDecisions::count_nonfinite(const std::vector<std::uint32_t>& nonfinite_steps) {
  for (std::size_t member = 0; member < results_.size(); ++member)
    results_[member].nonfinite_steps = nonfinite_steps[member];
}

std::vector<EpochDecisions::OfRun> EpochDecisions::end_epoch(std::int32_t epoch, const std::vector<double>& train,
                                                             const std::vector<double>& valid) {
  std::vector<OfRun> runs(validates_.size());
  for (std::size_t run = 0; run < runs.size(); ++run)
    if (is_enabled_[run]) runs[run] = end_epoch_of_run(epoch, run, train, valid);
  return runs;
}

EpochDecisions::OfRun EpochDecisions::end_epoch_of_run(std::int32_t epoch, std::size_t run,
                                                       const std::vector<double>& train,
                                                       const std::vector<double>& valid) {
  const std::size_t first = run * n_sessions_, end = first + n_sessions_;
  const auto& criteria = validates_[run] ? valid : train;
  double loss = 0;
  for (std::size_t member = first; member < end; ++member) loss += criteria[member];
  // Training losses under different weights of the KL terms do not compare: then the later epoch counts.
  const std::int32_t best_before = results_[first].best_epoch;
  const bool replaces =
      !validates_[run] && best_before > 0 && plan_.beta_factor_at(best_before - 1) < plan_.beta_factor_at(epoch);
  OfRun of_run{.was_running = true, .is_best = std::isfinite(loss) && (replaces || loss < lowest_[run])};
  of_run.keeps = of_run.is_best || !plan_.keep_best;
  if (of_run.is_best) lowest_[run] = loss;
  const bool out_of_patience =
      plan_.patience > 0 && epoch + 1 - (of_run.is_best ? epoch + 1 : best_before) >= plan_.patience;
  const bool finished = out_of_patience || epoch + 1 == plan_.epochs;
  if (finished) is_enabled_[run] = 0;
  for (std::size_t member = first; member < end; ++member) {
    auto& result = results_[member];
    result.epochs = epoch + 1;
    result.finished = finished;
    if (of_run.is_best) {
      result.best_valid_loss = criteria[member];
      result.best_epoch = epoch + 1;
    }
    if (of_run.keeps) result.kept_valid_loss = criteria[member];
    result.failed = result.best_epoch == 0 || !std::isfinite(result.kept_valid_loss);
  }
  return of_run;
}

}  // namespace idem
