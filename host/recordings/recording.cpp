#include "host/recordings/recording.h"

#include <fmt/format.h>
#include <zlib.h>

#include <algorithm>
#include <cmath>
#include <numbers>

#include "host/support/errors.h"
#include "host/support/one_line.h"
#include "kernels/common/to_size.h"

namespace idem {

const LabelColumn& Recording::label(const std::string& name) const {
  std::string known;
  for (const auto& column : labels) {
    if (column.name == name) return column;
    known += (known.empty() ? "" : ", ") + column.name;
  }
  throw ConfigError("label \"" + name + "\" is not in the recording of " + subject +
                    "; labels there: " + (known.empty() ? "none" : known));
}

double wrap_to_period(double value, double period) {
  const double wrapped = value - period * std::floor(value / period);
  return wrapped >= 0 && wrapped < period ? wrapped : 0;  // a tiny negative value rounds to the period itself
}

void check_recording(const Recording& recording, const std::string& where) {
  constexpr float largest_count = 1e15f;  // squares of sums over a window stay far from float32's end at 3e38
  const auto fail = [&](const std::string& what) { throw DataError(where + ": " + what); };
  const std::int64_t n_times = recording.n_times, n_neurons = recording.n_neurons;
  if (recording.subject.empty() ||
      recording.subject.find_first_not_of("ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789_.-") !=
          std::string::npos)
    fail("the subject \"" + one_line(recording.subject) +
         "\" is used in file names: set recording.subject to letters, digits, '_', '.' and '-'");
  if (recording.subject.front() == '.')
    fail("the subject \"" + one_line(recording.subject) +
         "\" is used in file names, where a leading '.' hides them or names a folder above: set "
         "recording.subject to another");
  if (n_neurons <= 0)
    fail("the recording has no neurons; check the counts array (time along the first axis) and recording.spikes.units");
  if (n_times <= 0) fail("the recording has no bins; check the counts array, recording.start_s and stop_s");
  if (!(recording.bin_width_s > 0) || !std::isfinite(recording.bin_width_s))
    fail("the bin width must be above 0; set recording.bin_width_ms");
  if (static_cast<std::int64_t>(recording.counts.size()) != n_times * n_neurons)
    fail(fmt::format("{} counts for {} bins of {} neurons; the counts array must be [time x neuron]",
                     recording.counts.size(), n_times, n_neurons));
  bool any_spike = false;
  for (std::int64_t i = 0; i < n_times * n_neurons; ++i) {
    const float count = recording.counts[to_size(i)];
    if (!std::isfinite(count))
      fail(fmt::format(
          "row {}, column {} of the counts is {}; remove the bin or fill it (and declare the jump in recording.gaps)",
          i / n_neurons, i % n_neurons, count));
    if (count < 0 && !recording.has_negative_values)
      fail(fmt::format(
          "row {}, column {} of the counts is {}; spike counts cannot be negative: give raw counts, not z-scores",
          i / n_neurons, i % n_neurons, count));
    if (!(std::abs(count) <= largest_count))
      fail(
          fmt::format("row {}, column {} of the counts is {:g}, too large to be squared and summed; give counts or "
                      "rates in a sensible unit",
                      i / n_neurons, i % n_neurons, count));
    any_spike = any_spike || count != 0;
  }
  if (!any_spike) fail("every count is 0: nobody fires; check the counts array, or the unit ids and times");
  if (static_cast<std::int64_t>(recording.time_s.size()) != n_times) fail("there must be one time per bin");
  std::int32_t end = 0;
  for (const auto& segment : recording.segments) {
    if (segment.begin != end || segment.end <= segment.begin)
      fail("the segments must follow each other and cover the recording; check recording.gaps");
    end = segment.end;
  }
  if (end != recording.n_times)
    fail("the segments must follow each other and cover the recording; check recording.gaps");
  end = 0;
  for (const auto& trial : recording.trials) {
    if (trial.begin < end || trial.end <= trial.begin || trial.end > recording.n_times)
      fail("the trials must be in order and disjoint; check recording.trials");
    end = trial.end;
  }
  for (const auto& column : recording.labels) {
    if (static_cast<std::int64_t>(column.values.size()) != n_times)
      fail(fmt::format("label {} has {} values for {} bins; each bin needs one (or give the label its own times)",
                       column.name, column.values.size(), n_times));
    if (column.kind == LabelKind::circular && !(column.period > 0))
      fail("label " + column.name + " is circular and needs a period above 0");
    if (column.kind == LabelKind::categorical && column.categories.empty())
      fail("label " + column.name + " is categorical and has no categories");
    for (std::int64_t time = 0; time < n_times; ++time) {
      const double value = column.values[to_size(time)];
      if (!std::isfinite(value))
        fail(fmt::format("label {} is {} in bin {}; fill it, or drop such bins with \"missing\": \"drop\"", column.name,
                         value, time));
      if (column.kind == LabelKind::circular && !(value >= 0 && value < column.period))
        fail(fmt::format("label {} is {} in bin {}, outside [0, {})", column.name, value, time, column.period));
      if (column.kind == LabelKind::categorical &&
          !(value >= 0 && value < static_cast<double>(column.categories.size()) && value == std::floor(value)))
        fail(fmt::format("label {} is {} in bin {}, which is none of its {} categories", column.name, value, time,
                         column.categories.size()));
    }
    for (const auto& other : recording.labels)
      if (&other != &column && other.name == column.name) fail("two labels are called " + column.name + "; rename one");
  }
}

void require_whole_counts(const Recording& recording) {
  constexpr float largest_whole = 16777216;  // 2^24; beyond it float32 skips whole numbers
  for (std::int64_t i = 0; i < static_cast<std::int64_t>(recording.counts.size()); ++i) {
    const float count = recording.counts[to_size(i)];
    if (count > largest_whole)
      throw DataError(fmt::format(
          "{}: row {}, column {} of the counts is {:g}, which is no number of spikes in a bin; give raw spike counts",
          recording.subject, i / recording.n_neurons, i % recording.n_neurons, count));
    if (count < 0 || count != std::floor(count))
      throw DataError(
          fmt::format("{}: row {}, column {} of the counts is {}, and a Poisson model needs whole counts from 0 on; "
                      "give raw spike counts, or choose the "
                      "gaussian observation model",
                      recording.subject, i / recording.n_neurons, i % recording.n_neurons, count));
  }
}

std::vector<std::int32_t> segment_of_bins(const Recording& recording) {
  std::vector<std::int32_t> segment_of(to_size(recording.n_times), 0);
  for (std::size_t segment = 0; segment < recording.segments.size(); ++segment)
    std::fill(segment_of.begin() + recording.segments[segment].begin,
              segment_of.begin() + recording.segments[segment].end, static_cast<std::int32_t>(segment));
  return segment_of;
}

Recording with_time(const Recording& recording, const std::vector<std::string>& label_names) {
  Recording result = recording;
  const auto is_time = [](const std::string& name) { return name == "time"; };
  if (std::any_of(label_names.begin(), label_names.end(), is_time) &&
      std::none_of(result.labels.begin(), result.labels.end(),
                   [&](const LabelColumn& label) { return is_time(label.name); }))
    result.labels.push_back({.name = "time", .unit = "s", .values = result.time_s});
  return result;
}

LabelFeatures encode_labels(const Recording& recording, const std::vector<std::string>& label_names) {
  LabelFeatures features;
  std::vector<const LabelColumn*> columns;
  for (const auto& name : label_names) {
    columns.push_back(&recording.label(name));
    const auto& column = *columns.back();
    switch (column.kind) {
      case LabelKind::continuous: features.names.push_back(column.name); break;
      case LabelKind::circular:
        features.names.push_back(column.name + ".sin");
        features.names.push_back(column.name + ".cos");
        break;
      case LabelKind::categorical:
        for (const auto& category : column.categories) features.names.push_back(column.name + "=" + category);
        break;
    }
  }
  features.n_features = static_cast<std::int32_t>(features.names.size());
  features.values.reserve(to_size(recording.n_times) * features.names.size());
  for (std::int32_t time = 0; time < recording.n_times; ++time)
    for (const auto* column : columns) {
      const double value = column->values[to_size(time)];
      switch (column->kind) {
        case LabelKind::continuous: features.values.push_back(static_cast<float>(value)); break;
        case LabelKind::circular: {
          const double phase = 2 * std::numbers::pi * value / column->period;
          features.values.push_back(static_cast<float>(std::sin(phase)));
          features.values.push_back(static_cast<float>(std::cos(phase)));
          break;
        }
        case LabelKind::categorical:
          for (std::size_t category = 0; category < column->categories.size(); ++category)
            features.values.push_back(to_size(value) == category ? 1.0f : 0.0f);
          break;
      }
    }
  return features;
}

std::string checksum_of(const Recording& recording) {
  uLong checksum = crc32_z(0, nullptr, 0);
  const auto add = [&](const void* bytes, std::size_t n_bytes) {
    checksum = crc32_z(checksum, static_cast<const Bytef*>(bytes), n_bytes);
  };
  add(&recording.n_neurons, sizeof recording.n_neurons);
  add(&recording.bin_width_s, sizeof recording.bin_width_s);
  add(recording.counts.data(), recording.counts.size() * sizeof(float));
  for (const auto& segment : recording.segments) add(&segment.begin, sizeof segment.begin);
  for (const auto& label : recording.labels) {
    add(label.name.data(), label.name.size());
    add(&label.kind, sizeof label.kind);
    add(&label.period, sizeof label.period);
    add(label.values.data(), label.values.size() * sizeof(double));
  }
  return fmt::format("{:08x}", checksum);
}

}  // namespace idem
