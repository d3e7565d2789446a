// score_interval.h - how far a model's score, or the difference of two models', can be trusted.
//
// The score of a model is the mean over splits of the mean over seeds of the score of its test bins. What would be other
// another time: the trials of each split, the same for all models and seeds (two models are paired by trial), and the
// seeds, drawn for each model and split on its own: seed 1 of one model is no partner of seed 1 of another. Splits are
// fixed. The interval is about new trials and seeds, not about new training sets, sessions or animals.
//
// Each source's variance is that of its resampled scores times n / (n - 1), of trials by bootstrap, of seeds in closed
// form, as the mean over seeds is linear in them; the sources together give the interval (interval.h). What trials and
// seeds do together is in both: the interval is no shorter for it. A percentile bootstrap would be too short at the five
// to eighteen trials of a recording.
#pragma once

#include <cstdint>
#include <span>
#include <vector>

#include "host/statistics/interval.h"
#include "host/statistics/trial_score.h"

namespace idem {

inline constexpr int kTrialDraws = 10000;
inline constexpr std::int32_t kLeastTrials = 6;  // over all splits, for a verdict

// How often each trial counts in each draw; the same numbers for the same seed and sizes.
class TrialDraws {
 public:
  TrialDraws(std::int32_t n_trials, int n_draws, std::uint32_t seed);

  std::int32_t n_trials() const { return n_trials_; }
  int n_draws() const { return n_draws_; }
  std::span<const std::int32_t> counts(int draw) const;  // [n_trials]

 private:
  std::int32_t n_trials_;
  int n_draws_;
  std::vector<std::int32_t> counts_;
};

// The score of one run's test bins, as it is and in every draw of its split.
struct ResampledScore {
  double value = 0;
  std::vector<double> draws;
};
ResampledScore resampled(const TrialScore& score, const TrialDraws& draws);

// The runs of a model in one split. Of what has no seeds (a baseline) there is one.
struct SplitRuns {
  std::int32_t n_trials = 0;
  std::vector<const ResampledScore*> seeds;
};
struct ModelRuns {
  bool has_seeds = true;
  std::int32_t least_trials = kLeastTrials;  // over all splits, for a verdict; of blocks of time kLeastBlocks
  std::vector<SplitRuns> splits;             // those of two models that are compared in one order, with the same draws
};

// What the interval can speak of.
enum class Grounds {
  trials_and_seeds,
  one_seed,    // of a model that has seeds: the interval is about these runs and new trials alone; no verdict
  few_trials,  // fewer than least_trials over all splits: likewise no verdict
};
struct ScoreInterval {
  Interval interval;
  Grounds grounds = Grounds::trials_and_seeds;
};

ScoreInterval interval_of_score(const ModelRuns& model);
ScoreInterval interval_of_difference(const ModelRuns& a, const ModelRuns& b);  // a - b

}  // namespace idem
