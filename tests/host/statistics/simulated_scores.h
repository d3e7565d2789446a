// simulated_scores.h - two models whose true difference is known, with all that makes their scores uncertain: trials of
// which some are hard for every model and some for one, seeds, bins that depend on their neighbours.
#pragma once

#include <cmath>
#include <cstdint>
#include <deque>
#include <vector>

#include "host/statistics/score_interval.h"
#include "host/support/numpy_random.h"

namespace idem {

// Deviations in the unit of the score.
struct SimulatedStudy {
  int n_splits = 3, n_seeds = 3, n_trials = 6, n_bins = 200;  // of a split, of a trial: about Buddy's
  double seed_sd = 0;                                         // of the training, one for each run
  double trial_sd = 1;                                        // of a trial's paired difference
  double shared_trial_sd = 2;                                 // of what a trial does to every model
  bool heavy_tails = false;                                   // trials by Student's t of 3 degrees, else normal
  double bin_sd = 1.5, autocorrelation = 0.8;                 // of a run's bins, and between neighbouring ones
  double difference = 0;                                      // of the models' true scores
  int n_draws = 400;
};

inline constexpr double kTrueScore = 10;  // of the second model

class SimulatedModels {
 public:
  SimulatedModels(const SimulatedStudy& study, std::uint32_t number) : study_(study), random_(number) {
    for (int split = 0; split < study.n_splits; ++split) {
      const auto shared = trial_effects(study.shared_trial_sd);
      const TrialDraws draws(study.n_trials, study.n_draws, number * 16 + static_cast<std::uint32_t>(split));
      add_split(first, kTrueScore + study.difference, shared, draws);
      add_split(second, kTrueScore, shared, draws);
    }
  }
  SimulatedModels(const SimulatedModels&) = delete;
  SimulatedModels& operator=(const SimulatedModels&) = delete;

  ModelRuns first, second;

 private:
  std::vector<double> trial_effects(double sd) {
    std::vector<double> effects;
    for (int trial = 0; trial < study_.n_trials; ++trial) {
      double effect = random_.normal();
      if (study_.heavy_tails) {
        double squares = 0;
        for (int i = 0; i < 3; ++i) squares += std::pow(random_.normal(), 2);
        effect /= std::sqrt(squares);  // of 3 degrees, whose standard deviation is the root of 3
      }
      effects.push_back(sd * effect);
    }
    return effects;
  }

  void add_split(ModelRuns& model, double score, const std::vector<double>& shared, const TrialDraws& draws) {
    const auto own = trial_effects(study_.trial_sd / std::sqrt(2.0));
    SplitRuns& runs = model.splits.emplace_back(SplitRuns{.n_trials = study_.n_trials, .seeds = {}});
    for (int seed = 0; seed < study_.n_seeds; ++seed) {
      const double of_seed = score + study_.seed_sd * random_.normal();
      ScoredTrials of{.trials = {}, .n_trials = study_.n_trials};
      std::vector<double> values;
      for (std::size_t trial = 0; trial < shared.size(); ++trial) {
        double state = random_.normal();
        for (int bin = 0; bin < study_.n_bins; ++bin) {
          of.trials.push_back(static_cast<std::int32_t>(trial));
          values.push_back(of_seed + shared[trial] + own[trial] + study_.bin_sd * state);
          state = study_.autocorrelation * state +
                  std::sqrt(1 - study_.autocorrelation * study_.autocorrelation) * random_.normal();
        }
      }
      scores_.push_back(resampled(*median_score(of, values), draws));
      runs.seeds.push_back(&scores_.back());
    }
  }

  SimulatedStudy study_;
  NumpyRandom random_;
  std::deque<ResampledScore> scores_;  // whose addresses stay
};

// In how many of as many cases, of which the number is the seed, the models are told apart, and the second one's
// interval holds its true score.
struct SimulatedCounts {
  int n_verdicts = 0, n_covered = 0;
};
inline SimulatedCounts counts_of(const SimulatedStudy& study, int n_cases) {
  SimulatedCounts counts;
  for (int number = 0; number < n_cases; ++number) {
    const SimulatedModels models(study, static_cast<std::uint32_t>(number));
    counts.n_verdicts += interval_of_difference(models.first, models.second).interval.excludes_zero();
    const Interval own = interval_of_score(models.second).interval;
    counts.n_covered += own.low <= kTrueScore && kTrueScore <= own.high;
  }
  return counts;
}

}  // namespace idem
