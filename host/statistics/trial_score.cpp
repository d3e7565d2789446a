#include "host/statistics/trial_score.h"

#include <algorithm>
#include <limits>
#include <numeric>

#include "kernels/common/to_size.h"

namespace idem {
namespace {

constexpr double kNone = std::numeric_limits<double>::quiet_NaN();

class MedianScore final : public TrialScore {
 public:
  MedianScore(const ScoredTrials& of, std::span<const double> values) : bins_of_trial_(to_size(of.n_trials)) {
    std::vector<std::size_t> order(values.size());
    std::iota(order.begin(), order.end(), std::size_t{0});
    std::ranges::stable_sort(order, {}, [&](std::size_t bin) { return values[bin]; });
    for (const std::size_t bin : order) {
      values_.push_back(values[bin]);
      trials_.push_back(of.trials[bin]);
      ++bins_of_trial_[to_size(of.trials[bin])];
    }
  }
  double under(std::span<const std::int32_t> counts) const override {
    std::int64_t n = 0;
    for (std::size_t trial = 0; trial < counts.size(); ++trial) n += counts[trial] * bins_of_trial_[trial];
    if (n == 0) return kNone;
    std::size_t at = 0;
    std::int64_t passed = 0;
    const auto value_of_rank = [&](std::int64_t rank) {  // ranks come in their order
      while (passed <= rank) passed += counts[to_size(trials_[at++])];
      return values_[at - 1];
    };
    const double lower = value_of_rank((n - 1) / 2);
    return n % 2 == 1 ? lower : 0.5 * (lower + value_of_rank(n / 2));
  }

 private:
  std::vector<double> values_;  // ascending
  std::vector<std::int32_t> trials_;
  std::vector<std::int64_t> bins_of_trial_;
};

class MeanScore final : public TrialScore {
 public:
  MeanScore(const ScoredTrials& of, std::span<const double> values)
      : sums_(to_size(of.n_trials)), bins_(to_size(of.n_trials)) {
    for (std::size_t bin = 0; bin < values.size(); ++bin) {
      sums_[to_size(of.trials[bin])] += values[bin];
      ++bins_[to_size(of.trials[bin])];
    }
  }
  double under(std::span<const std::int32_t> counts) const override {
    double sum = 0, n = 0;
    for (std::size_t trial = 0; trial < counts.size(); ++trial) {
      sum += counts[trial] * sums_[trial];
      n += counts[trial] * bins_[trial];
    }
    return n > 0 ? sum / n : kNone;
  }

 private:
  std::vector<double> sums_, bins_;
};

class R2Score final : public TrialScore {
 public:
  R2Score(const ScoredTrials& of, std::span<const double> truth, std::span<const double> predicted, int n_columns)
      : columns_(to_size(n_columns), std::vector<Sums>(to_size(of.n_trials))) {
    const double n_bins = static_cast<double>(of.trials.size());
    for (std::size_t column = 0; column < columns_.size(); ++column) {
      const auto at = [&](std::size_t bin) { return bin * columns_.size() + column; };
      double mean = 0;  // about which sums of squares lose no digits
      for (std::size_t bin = 0; bin < of.trials.size(); ++bin) mean += truth[at(bin)] / n_bins;
      for (std::size_t bin = 0; bin < of.trials.size(); ++bin) {
        const double value = truth[at(bin)] - mean, error = truth[at(bin)] - predicted[at(bin)];
        columns_[column][to_size(of.trials[bin])] += {1, value, value * value, error * error};
      }
    }
  }
  double under(std::span<const std::int32_t> counts) const override {
    double sum = 0, n_varying = 0;
    for (const auto& column : columns_) {
      Sums all;
      for (std::size_t trial = 0; trial < counts.size(); ++trial) all += column[trial] * counts[trial];
      const double total = all.square - all.value * all.value / all.n;
      if (!(total > 1e-12 * all.square)) continue;
      sum += 1 - all.error / total;
      ++n_varying;
    }
    return n_varying > 0 ? sum / n_varying : kNone;
  }

 private:
  struct Sums {
    double n = 0, value = 0, square = 0, error = 0;
    Sums& operator+=(const Sums& more) {
      n += more.n, value += more.value, square += more.square, error += more.error;
      return *this;
    }
    Sums operator*(double times) const { return {n * times, value * times, square * times, error * times}; }
  };
  std::vector<std::vector<Sums>> columns_;  // of each trial
};

}  // namespace

std::unique_ptr<TrialScore> median_score(const ScoredTrials& of, std::span<const double> values) {
  return std::make_unique<MedianScore>(of, values);
}
std::unique_ptr<TrialScore> mean_score(const ScoredTrials& of, std::span<const double> values) {
  return std::make_unique<MeanScore>(of, values);
}
std::unique_ptr<TrialScore> r2_score(const ScoredTrials& of, std::span<const double> truth,
                                     std::span<const double> predicted, int n_columns) {
  return std::make_unique<R2Score>(of, truth, predicted, n_columns);
}

}  // namespace idem
