// recording.h - a neural population recording: counts, labels and the stretches of unbroken time.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "kernels/common/enum_names.h"
#include "kernels/common/to_size.h"

namespace idem {

enum class LabelKind { continuous, circular, categorical };
template <>
struct EnumNames<LabelKind> {
  static constexpr const char* what = "label kind";
  static constexpr EnumName<LabelKind> all[] = {{LabelKind::continuous, "continuous"},
                                                {LabelKind::circular, "circular"},
                                                {LabelKind::categorical, "categorical"}};
};

// One label. values [n_times]: continuous in `unit`; circular in [0, period); categorical: index into categories. NaN
// is not allowed.
struct LabelColumn {
  std::string name;
  LabelKind kind = LabelKind::continuous;
  std::string unit;
  double period = 0;                    // circular only, in `unit`
  std::vector<std::string> categories;  // categorical only
  std::vector<double> values;
};

// Bins [begin, end) that follow each other in time without a gap.
struct Segment {
  std::int32_t begin = 0, end = 0;
};

struct Recording {
  std::string subject;  // animal id; used in run names, so [A-Za-z0-9_-][A-Za-z0-9_.-]*
  std::int32_t n_times = 0, n_neurons = 0;
  double bin_width_s = 0;
  // [n_times x n_neurons], spikes per bin (or non-negative reals where no Poisson model is asked)
  std::vector<float> counts;
  bool has_negative_values = false;  // simulations with Gaussian observations: counts are real numbers of either sign
  std::vector<double> time_s;        // [n_times], start of the bin
  // cover [0, n_times) in order; no window, tap, label difference or time offset crosses one
  std::vector<Segment> segments;
  std::vector<Segment> trials;  // declared units of splitting, in order, disjoint; empty: none declared
                                // (host/preparation/splits.h finds round trips)
  std::vector<LabelColumn> labels;
  std::vector<std::int64_t> neuron_ids;  // [n_neurons], the unit ids of the file, or 0, 1, 2, ... (columns of a table
                                         // whose labels are left out skip some)
  std::vector<std::string> unit_names;   // [n_neurons], the columns' names where a table has a header, else empty
  bool has_unit_ids =
      false;  // the ids tell which neuron is which; else they are places in an array, alike in every recording
  // what the reader did that the user should know, one sentence each ("12 bins before ... dropped")
  std::vector<std::string> notes;
  std::vector<std::string> warnings;      // what was read as asked and is probably not meant
  std::vector<double> true_latents;       // simulations only: [n_times x n_true_latents], else empty
  std::vector<double> true_latent_means;  // simulations of a label prior only: the mean of true_latents given the
                                          // labels, same shape, else empty
  std::int32_t n_true_latents = 0;

  float count(std::int64_t time, std::int64_t neuron) const { return counts[to_size(time * n_neurons + neuron)]; }
  const LabelColumn& label(const std::string& name) const;  // throws ConfigError naming the labels there are
};

// The recording with a label "time" [s], of the bins, where `label_names` asks for one and it has none of that name:
// what a model without behaviour can still be told.
Recording with_time(const Recording& recording, const std::vector<std::string>& label_names);

// value moved by whole periods into [0, period).
double wrap_to_period(double value, double period);

// Every rule above, with `where` (a file) in front of the message: sizes agree, nothing is NaN, no count is negative,
// somebody fires, segments cover the recording, labels lie in their range. Throws DataError.
void check_recording(const Recording& recording, const std::string& where);

// What a Poisson model needs. Throws DataError naming the first count that is fractional or negative.
void require_whole_counts(const Recording& recording);

// CRC-32 of what models are trained on: neurons, bins, where time breaks, counts and labels; eight hexadecimal digits.
std::string checksum_of(const Recording& recording);

// The segment of each bin, 0, 1, 2, ...
std::vector<std::int32_t> segment_of_bins(const Recording& recording);

// Labels as the networks see them: [n_times x n_features] row-major. continuous: its value; circular: sine, cosine of
// its phase; categorical: one-hot in the order of categories. names: one per feature, as "position", "heading.sin",
// "direction=right".
struct LabelFeatures {
  std::int32_t n_features = 0;
  std::vector<float> values;
  std::vector<std::string> names;
};
LabelFeatures encode_labels(const Recording& recording, const std::vector<std::string>& label_names);

// Which bins train, validate and test: disjoint, each in time order. Bins in none are unused.
struct Split {
  std::string name;
  std::vector<std::int32_t> train, valid, test;
};

}  // namespace idem
