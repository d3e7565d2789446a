#include "host/statistics/score_interval.h"

#include <algorithm>

#include "host/support/numpy_random.h"
#include "kernels/common/to_size.h"

namespace idem {
namespace {

double mean_of(std::span<const double> values) {
  double sum = 0;
  for (const double value : values) sum += value;
  return sum / static_cast<double>(values.size());
}
double variance_of(std::span<const double> values) {
  const double mean = mean_of(values);
  double sum = 0;
  for (const double value : values) sum += (value - mean) * (value - mean);
  return sum / static_cast<double>(values.size() - 1);
}

double variance_of_finite(std::vector<double> values) {
  std::erase_if(values, [](double value) { return value != value; });
  return values.size() > 1 ? variance_of(values) : 0;
}

std::vector<double> values_of_seeds(const SplitRuns& runs) {
  std::vector<double> values;
  for (const auto* run : runs.seeds) values.push_back(run->value);
  return values;
}

// Adds `sign` times the mean over seeds in every draw.
void add_draws(const SplitRuns& runs, double sign, std::vector<double>& draws) {
  draws.resize(runs.seeds.front()->draws.size());
  for (const auto* run : runs.seeds)
    for (std::size_t i = 0; i < draws.size(); ++i)
      draws[i] += sign * run->draws[i] / static_cast<double>(runs.seeds.size());
}

// What is left of a trial's chance that is another in every seed: the part of their mean's variance that resampling
// trials finds too. Of two-way tables: the mean square of the interaction by the number of cells.
double variance_of_both(const SplitRuns& runs) {
  if (runs.n_trials < 2) return 0;
  const auto n_seeds = static_cast<double>(runs.seeds.size()), n_trials = static_cast<double>(runs.n_trials);
  std::vector<double> together;
  add_draws(runs, 1, together);
  double of_one = 0;
  for (const auto* run : runs.seeds) of_one += variance_of_finite(run->draws) / n_seeds;
  return (of_one - variance_of_finite(together)) * n_trials / (n_trials - 1) / (n_seeds - 1);
}

// Estimates and sources of variance of one or two models, split by split.
class Sources {
 public:
  explicit Sources(const ModelRuns& of)
      : n_splits_(static_cast<double>(of.splits.size())), least_trials_(of.least_trials) {}

  void add_seeds(const ModelRuns& model, double sign) {
    for (const auto& split : model.splits) {
      const auto values = values_of_seeds(split);
      estimate_ += sign * mean_of(values) / n_splits_;
      const auto n = static_cast<double>(values.size());
      if (!model.has_seeds) continue;
      if (values.size() < 2)
        has_one_seed_ = true;
      else
        add(std::max(0.0, variance_of(values) / n - variance_of_both(split)), n - 1);
    }
  }
  // draws: of the mean over seeds, or of the difference of two models'.
  void add_trials(std::int32_t n_trials, std::vector<double> draws) {
    n_trials_ += n_trials;
    const auto n = static_cast<double>(n_trials);
    if (n_trials > 1) add(variance_of_finite(std::move(draws)) * n / (n - 1), n - 1);
  }
  ScoreInterval interval() const {
    return {.interval = interval_of(estimate_, sources_),
            .grounds = n_trials_ < least_trials_ ? Grounds::few_trials
                       : has_one_seed_           ? Grounds::one_seed
                                                 : Grounds::trials_and_seeds};
  }

 private:
  void add(double variance, double degrees) { sources_.push_back({variance / (n_splits_ * n_splits_), degrees}); }

  double n_splits_;
  std::int32_t least_trials_;
  double estimate_ = 0;
  std::int32_t n_trials_ = 0;
  bool has_one_seed_ = false;
  std::vector<VarianceSource> sources_;
};

}  // namespace

TrialDraws::TrialDraws(std::int32_t n_trials, int n_draws, std::uint32_t seed)
    : n_trials_(n_trials), n_draws_(n_draws), counts_(to_size(std::int64_t{n_trials} * n_draws)) {
  NumpyRandom random(seed);
  for (int draw = 0; draw < n_draws; ++draw)
    for (std::int32_t i = 0; i < n_trials; ++i) {
      const auto trial = std::min(static_cast<std::int32_t>(random.uniform() * n_trials), n_trials - 1);
      ++counts_[to_size(std::int64_t{draw} * n_trials + trial)];
    }
}

std::span<const std::int32_t> TrialDraws::counts(int draw) const {
  return std::span(counts_).subspan(to_size(std::int64_t{draw} * n_trials_), to_size(n_trials_));
}

ResampledScore resampled(const TrialScore& score, const TrialDraws& draws) {
  const std::vector<std::int32_t> ones(to_size(draws.n_trials()), 1);
  ResampledScore result{.value = score.under(ones), .draws = {}};
  result.draws.reserve(to_size(draws.n_draws()));
  for (int draw = 0; draw < draws.n_draws(); ++draw) result.draws.push_back(score.under(draws.counts(draw)));
  return result;
}

ScoreInterval interval_of_score(const ModelRuns& model) {
  Sources sources(model);
  sources.add_seeds(model, 1);
  for (const auto& split : model.splits) {
    std::vector<double> draws;
    add_draws(split, 1, draws);
    sources.add_trials(split.n_trials, std::move(draws));
  }
  return sources.interval();
}

ScoreInterval interval_of_difference(const ModelRuns& a, const ModelRuns& b) {
  Sources sources(a);
  sources.add_seeds(a, 1);
  sources.add_seeds(b, -1);
  for (std::size_t split = 0; split < a.splits.size(); ++split) {
    std::vector<double> draws;
    add_draws(a.splits[split], 1, draws);
    add_draws(b.splits[split], -1, draws);
    sources.add_trials(a.splits[split].n_trials, std::move(draws));
  }
  return sources.interval();
}

}  // namespace idem
