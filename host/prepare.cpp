#include "host/prepare.h"

#include <algorithm>
#include <cmath>
#include <limits>
#include <numeric>

#include <fmt/format.h>
#include <fmt/ranges.h>

#include "host/errors.h"
#include "kernels/input/input.h"

namespace idem {
namespace {

Taps window_taps(const Preparation& preparation) {
  return {preparation.left, std::vector<float>(static_cast<std::size_t>(preparation.left + preparation.right), 1.0f)};
}

// What lies between two borders that windows may not cross, for messages.
std::string describe_stretch(const WindowSource& source, const Split& split, EdgePolicy edges, std::int32_t begin, std::int32_t end) {
  if (edges == EdgePolicy::whole_session) return "the session";
  if (edges == EdgePolicy::segment_clamped) return fmt::format("the segment of bins {} to {}", begin, end - 1);
  for (const auto& [rows, part] :
       {std::pair(&source.rows.train, "training"), std::pair(&source.rows.valid, "validation"), std::pair(&source.rows.test, "test")})
    if (!rows->empty() && rows->front() == begin) return fmt::format("the {} part of split {}", part, split.name);
  return fmt::format("the unused part of split {}", split.name);
}

void require_window_fits(const WindowSource& source, const Split& split, EdgePolicy edges, std::int32_t n_taps) {
  std::int32_t begin = 0, shortest = std::numeric_limits<std::int32_t>::max();
  for (std::size_t row = 0; row < source.segment_begin.size(); ++row)
    if (const auto length = source.segment_end[row] - source.segment_begin[row]; length < shortest) {
      shortest = length;
      begin = source.segment_begin[row];
    }
  if (shortest < n_taps)
    throw ConfigError(
        fmt::format("windows.left + windows.right = {} bins is longer than {} ({} bins): lower it, or leave those bins out of the recording", n_taps,
                    describe_stretch(source, split, edges, begin, begin + shortest), shortest));
}

bool is_joined(const Preparation& preparation, const std::vector<Split>& splits) {
  return preparation.edges == EdgePolicy::clamped_concatenated && !splits.empty();
}

EdgePolicy edges_of(const Preparation& preparation, const std::vector<Split>& splits) {
  const bool without_splits = preparation.edges == EdgePolicy::clamped_concatenated && !is_joined(preparation, splits);
  return without_splits ? EdgePolicy::segment_clamped : preparation.edges;
}

// Joined rows differ from split to split; else one set serves all.
std::vector<Split> row_sets(const Preparation& preparation, const std::vector<Split>& splits) {
  return is_joined(preparation, splits) ? splits : std::vector<Split>(1);
}

// The recording's counts as rows of `source`.
std::vector<float> gather_counts(const Recording& recording, const WindowSource& source) {
  const std::int64_t n_neurons = recording.n_neurons;
  std::vector<float> counts;
  counts.reserve(source.source_bins.size() * static_cast<std::size_t>(n_neurons));
  for (const auto bin : source.source_bins) {
    const auto row = recording.counts.begin() + bin * n_neurons;
    counts.insert(counts.end(), row, row + n_neurons);
  }
  return counts;
}

std::vector<float> filter(const std::vector<float>& counts, std::int32_t n_neurons, const WindowSource& source, const Taps& taps, EdgeMode edge,
                          ThreadPool& pool) {
  std::vector<float> smoothed(counts.size());
  TemporalFilter<float> p;
  p.n_times = p.n_rows = static_cast<std::int64_t>(source.source_bins.size());
  p.n_neurons = n_neurons;
  p.n_taps = static_cast<std::int32_t>(taps.weights.size());
  p.left = taps.left;
  p.edge = edge;
  p.counts = counts.data();
  p.counts_stride = n_neurons;
  p.segment_begin = source.segment_begin.data();
  p.segment_end = source.segment_end.data();
  p.taps = taps.weights.data();
  p.smoothed = smoothed.data();
  p.smoothed_stride = n_neurons;
  temporal_filter_forward_cpu(p, pool);
  return smoothed;
}

}  // namespace

LabelScaling label_scaling(const Recording& recording, const Preparation& preparation) {
  LabelScaling scaling;
  for (const auto& name : preparation.labels) {
    const LabelColumn& column = recording.label(name);
    Recording only;
    only.subject = recording.subject;
    only.labels = {column};
    const auto features = encode_labels(only, {name});
    scaling.names.insert(scaling.names.end(), features.names.begin(), features.names.end());
    scaling.mean.resize(scaling.names.size(), 0);
    scaling.scale.resize(scaling.names.size(), 1);
    if (column.kind != LabelKind::continuous || !preparation.standardise_labels || column.values.empty()) continue;
    const auto n = static_cast<double>(column.values.size());
    const double mean = std::accumulate(column.values.begin(), column.values.end(), 0.0) / n;
    double squares = 0;
    for (const double value : column.values) squares += (value - mean) * (value - mean);
    const double deviation = std::sqrt(squares / n);
    scaling.mean.back() = mean;
    scaling.scale.back() = deviation > 0 ? deviation : 1;  // a constant label stays a constant
  }
  return scaling;
}

void check_windows(const Recording& recording, const Preparation& preparation, const std::vector<Split>& splits) {
  const bool smooths_window = preparation.smoothing != SmoothingKind::none && edge_mode(preparation) == EdgeMode::shift_window;
  if (!smooths_window && !preparation.windowed_input && preparation.target != TargetKind::window_sum) return;
  const EdgePolicy edges = edges_of(preparation, splits);
  for (const auto& split : row_sets(preparation, splits))
    require_window_fits(window_source(recording, split, edges), split, edges, preparation.left + preparation.right);
}

PreparedData prepare(const Recording& recording, const Preparation& preparation, const std::vector<Split>& splits, ThreadPool& pool,
                     const LabelScaling* scaling, bool with_labels) {
  PreparedData prepared;
  FleetData& data = prepared.data;
  LabelFeatures features;
  if (with_labels) {
    features = encode_labels(recording, preparation.labels);
    prepared.scaling = scaling ? *scaling : label_scaling(recording, preparation);
    if (features.names != prepared.scaling.names)
      throw DataError(fmt::format("the labels of {} are [{}], the model knows [{}]: name categories alike", recording.subject,
                                  fmt::join(features.names, ", "), fmt::join(prepared.scaling.names, ", ")));
    prepared.n_labels = features.n_features;
  }

  check_windows(recording, preparation, splits);
  const Taps taps = smoothing_taps(preparation, recording.bin_width_s);
  const bool joined = is_joined(preparation, splits);
  for (const auto& split : row_sets(preparation, splits)) {
    const WindowSource source = window_source(recording, split, edges_of(preparation, splits));
    std::vector<float> targets = gather_counts(recording, source), inputs = targets;
    const auto smooth = [&](std::vector<float>& counts) {
      if (preparation.smoothing != SmoothingKind::none) counts = filter(counts, recording.n_neurons, source, taps, edge_mode(preparation), pool);
    };
    if (!preparation.windowed_input) smooth(inputs);
    if (preparation.target == TargetKind::window_sum)
      targets = filter(targets, recording.n_neurons, source, window_taps(preparation), EdgeMode::shift_window, pool);
    if (preparation.target == TargetKind::smoothed) smooth(targets);
    if (preparation.square_root)
      for (float& value : inputs) value = std::sqrt(value);

    const auto first_row = static_cast<std::int32_t>(data.n_rows);
    if (preparation.windowed_input)
      for (std::int32_t row = 0; row < recording.n_times; ++row) {
        const auto at = static_cast<std::size_t>(row);
        const std::int32_t last = source.segment_end[at] - preparation.left - preparation.right;  // of the windows that stay inside
        data.window_begin.push_back(first_row + std::clamp(row - preparation.left, source.segment_begin[at], last));
      }
    data.n_rows += recording.n_times;
    data.inputs.insert(data.inputs.end(), inputs.begin(), inputs.end());
    data.targets.insert(data.targets.end(), targets.begin(), targets.end());
    for (const auto bin : source.source_bins)
      for (std::size_t feature = 0; feature < features.names.size(); ++feature) {
        const double raw = features.values[static_cast<std::size_t>(bin) * features.names.size() + feature];
        data.labels.push_back(static_cast<float>((raw - prepared.scaling.mean[feature]) / prepared.scaling.scale[feature]));
      }
    if (!joined) {
      prepared.rows = splits;
      prepared.row_of_bin.assign(std::max<std::size_t>(1, splits.size()), source.row_of_bin);
      break;
    }
    prepared.rows.push_back(source.rows);
    prepared.row_of_bin.push_back(source.row_of_bin);
    for (auto* rows : {&prepared.rows.back().train, &prepared.rows.back().valid, &prepared.rows.back().test, &prepared.row_of_bin.back()})
      for (auto& row : *rows) row += first_row;
  }

  std::size_t above = 0;
  for (const float target : data.targets) {
    prepared.largest_target = std::max(prepared.largest_target, static_cast<double>(target));
    above += target > 1;
  }
  if (!data.targets.empty()) prepared.targets_above_one = static_cast<double>(above) / static_cast<double>(data.targets.size());
  return prepared;
}

}  // namespace idem
