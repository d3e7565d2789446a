// trial_score.h - a score of test bins as a function of how often each trial counts: what resampling trials needs.
//
// Trials are the units: bins of one are alike. trials[bin] is the trial of a scored bin, from 0; n_trials how many there
// are. A draw says how often each trial counts; that of all ones is the score itself. A score that a draw leaves without
// a value (no bin at all, a label that does not vary) is NaN.
#pragma once

#include <cstdint>
#include <memory>
#include <span>
#include <vector>

namespace idem {

struct ScoredTrials {
  std::vector<std::int32_t> trials;  // of the scored bins
  std::int32_t n_trials = 0;
};

class TrialScore {
 public:
  virtual ~TrialScore() = default;
  virtual double under(std::span<const std::int32_t> counts) const = 0;  // [n_trials]
};

// Median of the bins' values, the mean of the two middle ones of an even number. values [bin], finite.
std::unique_ptr<TrialScore> median_score(const ScoredTrials& of, std::span<const double> values);

// Their mean: an accuracy of values 0 and 1.
std::unique_ptr<TrialScore> mean_score(const ScoredTrials& of, std::span<const double> values);

// mean_r2 (host/evaluation/scores.h) without the columns that do not vary. Both [bin x n_columns].
std::unique_ptr<TrialScore> r2_score(const ScoredTrials& of, std::span<const double> truth,
                                     std::span<const double> predicted, int n_columns);

}  // namespace idem
