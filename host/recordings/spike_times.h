// spike_times.h - from spike times and sampled labels to bins.
//
// Bin k is [edge(k), edge(k + 1)), edge(k) = start + (k * bin width). A spike exactly on an edge belongs to the bin
// that begins there: edges are computed as (k * bin_width_ms) / 1000 seconds, or (k * bin_width_ms * sampling rate) /
// 1000 samples, each rounded once, so that 0.075 s is the edge of bin 3 of 25 ms and not 7.500000000000001e-2.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "host/recordings/recording.h"

namespace idem {

struct SpikeTimes {
  std::vector<double> times;        // in any order; seconds, or samples when sampling_rate_hz is given
  std::vector<std::int64_t> units;  // who fired, as long as times
  double sampling_rate_hz = 0;      // 0: times are seconds
  std::string where;                // file, for messages
};

struct Binning {
  double bin_width_ms = 0;
  std::optional<double> start_s =
      {};  // the first edge; none: 0, or where the first spike of the units and first_sample_s both lie more than 10
           // bins after it (or one as much before), the whole multiple of the bin width that holds the earlier of them
  std::optional<double> first_sample_s = {};  // of the labels that have their own times
  std::optional<double> stop_s = {};          // only whole bins before it; none: up to the bin of the last spike
  std::vector<std::int64_t> units = {};       // which units, in this order; empty: all, ascending
};

struct BinnedSpikes {
  std::int32_t n_bins = 0;
  std::int64_t first_bin = 0;       // where the clock starts late: how many bins after 0 s the first begins
  std::vector<std::int64_t> units;  // one per column
  std::vector<float> counts;        // [n_bins x n_units]
  std::vector<double> time_s = {};  // [n_bins], edge at which the bin starts
  std::int64_t n_outside = 0;       // spikes before the first or after the last bin
  std::int64_t n_other_units = 0;   // spikes of units that were not asked for
};

// Throws DataError for unequal lengths, no spikes, times that are not finite, units without a spike, sessions of an
// impossible length.
BinnedSpikes bin_spikes(const SpikeTimes& spikes, const Binning& binning);

// How a categorical label is taken at a time between two samples: it keeps the value of the last sample at or before
// it, also after the last one, or takes that of the nearest (ties to the earlier).
enum class SampleChoice { previous, nearest };

// One label column sampled at its own times.
struct SampledLabel {
  std::vector<double> time_s = {};  // strictly ascending
  std::vector<double> values = {};  // NaN: no sample
  LabelKind kind = LabelKind::continuous;
  double period = 0;     // circular
  double max_gap_s = 0;  // bins between two samples farther apart, and (previous) that long after the last, stay
                         // without a value; 0: no limit
  SampleChoice choice = SampleChoice::previous;  // categorical
};

// The label at the given times: linear interpolation (continuous), along the shorter arc (circular), previous or
// nearest sample (categorical). NaN before the first sample, after the last (but for previous) and inside gaps.
std::vector<double> align_label(const SampledLabel& label, const std::vector<double>& at_s);

}  // namespace idem
