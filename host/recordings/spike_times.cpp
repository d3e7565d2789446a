#include "host/recordings/spike_times.h"

#include <fmt/format.h>

#include <algorithm>
#include <cmath>
#include <limits>
#include <unordered_map>
#include <unordered_set>

#include "host/support/errors.h"
#include "kernels/common/to_size.h"

namespace idem {
namespace {

// Bin edges in the unit of the spike times (seconds or samples).
struct Edges {
  double start = 0, width_per_mille = 0;  // edge(k) = start + (first_bin + k) * width_per_mille / 1000
  std::int64_t first_bin = 0;

  double operator()(std::int64_t bin) const {
    return start + static_cast<double>(first_bin + bin) * width_per_mille / 1000;
  }
  std::int64_t bin_of(double time) const {
    auto bin = static_cast<std::int64_t>(std::floor((time - start) * 1000 / width_per_mille)) - first_bin;
    while ((*this)(bin) > time) --bin;  // the quotient can be off by one ulp, the edges decide
    while ((*this)(bin + 1) <= time) ++bin;
    return bin;
  }
};

// Where nobody says when the recording begins: its first bin counted from 0 s.
std::int64_t first_bin_of(const SpikeTimes& spikes, const Binning& binning, const Edges& from_zero,
                          double ticks_per_s) {
  constexpr double most_bins_from_zero = 10;
  const std::unordered_set<std::int64_t> kept(binning.units.begin(), binning.units.end());
  double first =
      binning.first_sample_s ? *binning.first_sample_s * ticks_per_s : std::numeric_limits<double>::infinity();
  for (std::size_t spike = 0; spike < spikes.times.size(); ++spike)
    if (kept.empty() || kept.count(spikes.units[spike])) first = std::min(first, spikes.times[spike]);
  const double bins_from_zero = std::abs(first) * 1000 / from_zero.width_per_mille;
  return bins_from_zero > most_bins_from_zero && bins_from_zero < 1e15 ? from_zero.bin_of(first) : 0;
}

}  // namespace

BinnedSpikes bin_spikes(const SpikeTimes& spikes, const Binning& binning) {
  if (!(binning.bin_width_ms > 0)) throw ConfigError("recording.bin_width_ms: needs a width above 0 ms");
  if (spikes.times.size() != spikes.units.size())
    throw DataError(fmt::format("{}: {} spike times but {} unit ids; both files must come from the same sorting",
                                spikes.where, spikes.times.size(), spikes.units.size()));
  if (spikes.times.empty()) throw DataError(spikes.where + ": holds no spikes; check the file");
  const bool in_samples = spikes.sampling_rate_hz > 0;
  const double ticks_per_s = in_samples ? spikes.sampling_rate_hz : 1;
  const double start_s = binning.start_s.value_or(0);
  Edges edges{start_s * ticks_per_s, binning.bin_width_ms * ticks_per_s};

  double last = -std::numeric_limits<double>::infinity();
  for (std::size_t spike = 0; spike < spikes.times.size(); ++spike) {
    if (!std::isfinite(spikes.times[spike]))
      throw DataError(
          fmt::format("{}: row {} has the spike time {}; remove that spike", spikes.where, spike, spikes.times[spike]));
    last = std::max(last, spikes.times[spike]);
  }
  BinnedSpikes binned;
  if (!binning.start_s) edges.first_bin = binned.first_bin = first_bin_of(spikes, binning, edges, ticks_per_s);
  // Where numbers are so large that edges coincide, no bin has an end.
  constexpr double most_bins_from_zero = 0x1p50;
  const double farthest =
      std::max({std::abs(edges.start), std::abs(last), std::abs(binning.stop_s.value_or(0) * ticks_per_s)});
  if (!(farthest * 1000 / edges.width_per_mille < most_bins_from_zero))
    throw DataError(
        fmt::format("{}: times, recording.start_s or stop_s reach {:.3g} s, where numbers tell no bins of {} ms apart; "
                    "subtract the clock's "
                    "offset, or, if the times are in another unit, set recording.spikes.sampling_rate_hz (1000 for "
                    "milliseconds, 1000000 for "
                    "microseconds)",
                    spikes.where, farthest / ticks_per_s, binning.bin_width_ms));
  const double span = (binning.stop_s ? *binning.stop_s * ticks_per_s : last) - edges(0);
  const double n_bins = span * 1000 / edges.width_per_mille;
  if (!(n_bins < 5e7))
    throw DataError(fmt::format("{}: spans {:.3g} s, too long for {} ms bins; {}", spikes.where, span / ticks_per_s,
                                binning.bin_width_ms,
                                in_samples ? "check recording.spikes.sampling_rate_hz"
                                           : "if the times are sample numbers, set recording.spikes.sampling_rate_hz"));
  if (span >= 0) {
    const std::int64_t end_bin = edges.bin_of(binning.stop_s ? *binning.stop_s * ticks_per_s : last);
    binned.n_bins = static_cast<std::int32_t>(binning.stop_s ? end_bin : end_bin + 1);
  }
  if (binned.n_bins <= 0)
    throw DataError(
        fmt::format("{}: no whole bin of {} ms between {} s and {:.6g} s; check recording.start_s and stop_s (the last "
                    "spike is at {:.6g} s)",
                    spikes.where, binning.bin_width_ms, edges(0) / ticks_per_s,
                    binning.stop_s.value_or(last / ticks_per_s), last / ticks_per_s));

  binned.units = binning.units;
  if (binned.units.empty()) {
    binned.units = spikes.units;
    std::sort(binned.units.begin(), binned.units.end());
    binned.units.erase(std::unique(binned.units.begin(), binned.units.end()), binned.units.end());
  }
  const auto n_units = static_cast<std::int64_t>(binned.units.size());
  if (static_cast<double>(binned.n_bins) * static_cast<double>(n_units) > 2e9)
    throw DataError(fmt::format(
        "{}: {} bins of {} units are too many; take wider bins or name fewer units in recording.spikes.units",
        spikes.where, binned.n_bins, n_units));
  std::unordered_map<std::int64_t, std::int64_t> column_of;
  for (std::int64_t column = 0; column < n_units; ++column)
    if (!column_of.emplace(binned.units[to_size(column)], column).second)
      throw ConfigError(fmt::format("recording.spikes.units: unit {} is listed twice; list each once",
                                    binned.units[to_size(column)]));

  binned.counts.assign(to_size(binned.n_bins * n_units), 0.0f);
  std::vector<bool> has_fired(to_size(n_units), false);
  for (std::size_t spike = 0; spike < spikes.times.size(); ++spike) {
    const auto found = column_of.find(spikes.units[spike]);
    if (found == column_of.end()) {
      ++binned.n_other_units;
      continue;
    }
    has_fired[to_size(found->second)] = true;
    // Compared in floating point first: a time far outside has no bin number.
    const double time = spikes.times[spike];
    if (time < edges(0) || time >= edges(binned.n_bins)) {
      ++binned.n_outside;
      continue;
    }
    ++binned.counts[to_size(edges.bin_of(time) * n_units + found->second)];
  }
  for (std::int64_t column = 0; column < n_units; ++column)
    if (!has_fired[to_size(column)])
      throw DataError(fmt::format("{}: unit {} has no spikes; remove it from recording.spikes.units", spikes.where,
                                  binned.units[to_size(column)]));
  binned.time_s.resize(to_size(binned.n_bins));
  for (std::int32_t bin = 0; bin < binned.n_bins; ++bin)
    binned.time_s[to_size(bin)] = start_s + static_cast<double>(binned.first_bin + bin) * binning.bin_width_ms / 1000;
  return binned;
}

std::vector<double> align_label(const SampledLabel& label, const std::vector<double>& at_s) {
  constexpr double missing = std::numeric_limits<double>::quiet_NaN();
  std::vector<double> times, values;
  // A state ends at a sample without a value; between measured values such a sample says nothing.
  const bool holds_previous = label.kind == LabelKind::categorical && label.choice == SampleChoice::previous;
  for (std::size_t sample = 0; sample < label.values.size(); ++sample)
    if (holds_previous || !std::isnan(label.values[sample])) {
      times.push_back(label.time_s[sample]);
      values.push_back(label.values[sample]);
    }
  std::vector<double> aligned(at_s.size(), missing);
  for (std::size_t i = 0; i < at_s.size(); ++i) {
    const double at = at_s[i];
    const auto after = to_size(std::upper_bound(times.begin(), times.end(), at) - times.begin());
    if (after == 0) continue;
    const std::size_t before = after - 1;
    if (times[before] == at) {
      aligned[i] = values[before];
      continue;
    }
    if (after == times.size()) {
      if (holds_previous && !(label.max_gap_s > 0 && at - times[before] > label.max_gap_s)) aligned[i] = values[before];
      continue;
    }
    const double gap = times[after] - times[before];
    if (label.max_gap_s > 0 && gap > label.max_gap_s) continue;
    const double weight = (at - times[before]) / gap;
    switch (label.kind) {
      case LabelKind::continuous: aligned[i] = values[before] + weight * (values[after] - values[before]); break;
      case LabelKind::circular: {
        const double arc = std::remainder(values[after] - values[before], label.period);
        aligned[i] = wrap_to_period(values[before] + weight * arc, label.period);
        break;
      }
      case LabelKind::categorical: aligned[i] = values[holds_previous || weight <= 0.5 ? before : after]; break;
    }
  }
  return aligned;
}

}  // namespace idem
