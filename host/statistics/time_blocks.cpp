#include "host/statistics/time_blocks.h"

#include <algorithm>
#include <vector>

#include "kernels/common/to_size.h"

namespace idem {
namespace {

constexpr double kTimesOfWindow = 5;

double autocovariance(std::span<const double> deviations, std::span<const std::int32_t> stretches, std::size_t lag) {
  double sum = 0;
  for (std::size_t bin = lag; bin < deviations.size(); ++bin)
    if (stretches[bin] == stretches[bin - lag]) sum += deviations[bin] * deviations[bin - lag];
  return sum / static_cast<double>(deviations.size());
}

}  // namespace

double autocorrelation_time(std::span<const double> series, std::span<const std::int32_t> stretches) {
  double mean = 0;
  for (const double value : series) mean += value / static_cast<double>(series.size());
  std::vector<double> deviations(series.begin(), series.end());
  for (double& deviation : deviations) deviation -= mean;
  const double variance = series.empty() ? 0 : autocovariance(deviations, stretches, 0);
  if (!(variance > 1e-24 * mean * mean)) return 1;  // but for rounding
  double time = 1;
  for (std::size_t lag = 1; lag < series.size() && static_cast<double>(lag) < kTimesOfWindow * time; ++lag)
    time += 2 * autocovariance(deviations, stretches, lag) / variance;
  return std::max(time, 1.0);
}

ScoredTrials time_blocks(std::span<const std::int32_t> stretches, std::int32_t length) {
  ScoredTrials blocks;
  blocks.trials.resize(stretches.size());
  for (std::size_t begin = 0; begin < stretches.size();) {
    std::size_t end = begin;
    while (end < stretches.size() && stretches[end] == stretches[begin]) ++end;
    const auto n_blocks = std::max<std::int32_t>(1, static_cast<std::int32_t>(end - begin) / length);
    for (std::size_t bin = begin; bin < end; ++bin)
      blocks.trials[bin] = blocks.n_trials + std::min(static_cast<std::int32_t>(bin - begin) / length, n_blocks - 1);
    blocks.n_trials += n_blocks;
    begin = end;
  }
  return blocks;
}

}  // namespace idem
