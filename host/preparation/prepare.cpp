#include "host/preparation/prepare.h"

#include <algorithm>
#include <array>
#include <cmath>
#include <limits>
#include <numeric>

#include <fmt/format.h>
#include <fmt/ranges.h>

#include "host/support/errors.h"
#include "kernels/common/to_size.h"
#include "kernels/input/input.h"

namespace idem {
namespace {

Taps window_taps(const Preparation& preparation) {
  return {preparation.left, std::vector<float>(to_size(preparation.left + preparation.right), 1.0f)};
}

// What lies between two borders that windows may not cross, for messages.
std::string describe_stretch(const WindowSource& source, const Split& split, EdgePolicy edges, std::int32_t begin,
                             std::int32_t end) {
  if (edges == EdgePolicy::whole_session) return "the session";
  if (edges == EdgePolicy::segment_clamped) return fmt::format("the segment of bins {} to {}", begin, end - 1);
  for (const auto& [rows, part] : {std::pair(&source.rows.train, "training"),
                                   std::pair(&source.rows.valid, "validation"), std::pair(&source.rows.test, "test")})
    if (!rows->empty() && rows->front() == begin) return fmt::format("the {} part of split {}", part, split.name);
  return fmt::format("the unused part of split {}", split.name);
}

void require_window_fits(const std::string& subject, const WindowSource& source, const Split& split, EdgePolicy edges,
                         std::int32_t n_taps) {
  std::int32_t begin = 0, shortest = std::numeric_limits<std::int32_t>::max(), longest = 0;
  for (std::size_t row = 0; row < source.segment_begin.size(); ++row) {
    const auto length = source.segment_end[row] - source.segment_begin[row];
    longest = std::max(longest, length);
    if (length >= shortest) continue;
    shortest = length;
    begin = source.segment_begin[row];
  }
  if (shortest >= n_taps) return;
  const std::string message = fmt::format(
      "{}: windows.left + windows.right = {} bins is longer than {} ({} bins): lower it, or leave those bins out of "
      "the recording",
      subject, n_taps, describe_stretch(source, split, edges, begin, begin + shortest), shortest);
  if (longest < n_taps)  // no window fits anywhere: the recording is too short, or cut into pieces
    throw DataError(fmt::format("{}; nor is any stretch of it longer than {} bins", message, longest));
  throw ConfigError(message);
}

bool is_joined(const Preparation& preparation, const std::vector<Split>& splits) {
  return preparation.edges == EdgePolicy::clamped_concatenated && !splits.empty();
}

EdgePolicy edges_of(const Preparation& preparation, const std::vector<Split>& splits) {
  const bool without_splits = preparation.edges == EdgePolicy::clamped_concatenated && !is_joined(preparation, splits);
  return without_splits ? EdgePolicy::segment_clamped : preparation.edges;
}

// Windows differ from split to split where parts are joined; else one set of rows serves all.
std::vector<Split> window_sets(const Preparation& preparation, const std::vector<Split>& splits) {
  return is_joined(preparation, splits) ? splits : std::vector<Split>(1);
}

// Whether the splits' own training bins give their labels different values.
bool scales_by_split(const Recording& recording, const Preparation& preparation, const std::vector<Split>& splits) {
  return preparation.standardise_labels && splits.size() > 1 &&
         std::any_of(preparation.labels.begin(), preparation.labels.end(),
                     [&](const auto& name) { return recording.label(name).kind == LabelKind::continuous; });
}

// Values of all bins [n_times x n_columns] as rows of `source`.
std::vector<float> gather(const std::vector<float>& values, std::int64_t n_columns, const WindowSource& source) {
  std::vector<float> rows;
  rows.reserve(values.size());
  for (const auto bin : source.source_bins) {
    const auto row = values.begin() + bin * n_columns;
    rows.insert(rows.end(), row, row + n_columns);
  }
  return rows;
}

std::vector<float> filter(const std::vector<float>& counts, std::int32_t n_neurons, const WindowSource& source,
                          const Taps& taps, EdgeMode edge, ThreadPool& pool) {
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

// Inputs and targets of the rows of `source`, behind those that are there.
void add_counts(const Recording& recording, const Preparation& preparation, const WindowSource& source,
                const Taps& taps, ThreadPool& pool, FleetData& data) {
  std::vector<float> targets = gather(recording.counts, recording.n_neurons, source), inputs = targets;
  const auto filtered = [&](const std::vector<float>& counts, const Taps& by, EdgeMode edge) {
    return filter(counts, recording.n_neurons, source, by, edge, pool);
  };
  const auto smooth = [&](std::vector<float>& counts) {
    if (preparation.smoothing != SmoothingKind::none) counts = filtered(counts, taps, edge_mode(preparation));
  };
  if (!preparation.windowed_input) smooth(inputs);
  if (preparation.target == TargetKind::window_sum)
    targets = filtered(targets, window_taps(preparation), EdgeMode::shift_window);
  if (preparation.target == TargetKind::smoothed) smooth(targets);
  if (preparation.square_root)
    for (float& value : inputs) value = std::sqrt(value);
  data.inputs.insert(data.inputs.end(), inputs.begin(), inputs.end());
  data.targets.insert(data.targets.end(), targets.begin(), targets.end());
}

}  // namespace

LabelScaling label_scaling(const Recording& recording, const Preparation& preparation,
                           const std::vector<std::int32_t>& bins) {
  return label_scaling(std::vector{&recording}, preparation, {&bins});
}

LabelScaling label_scaling(const std::vector<const Recording*>& recordings, const Preparation& preparation,
                           const std::vector<const std::vector<std::int32_t>*>& bins) {
  LabelScaling scaling;
  for (const auto& name : preparation.labels) {
    const LabelColumn& column = recordings.front()->label(name);
    Recording only;
    only.subject = recordings.front()->subject;
    only.labels = {column};
    const auto features = encode_labels(only, {name});
    scaling.names.insert(scaling.names.end(), features.names.begin(), features.names.end());
    scaling.mean.resize(scaling.names.size(), 0);
    scaling.scale.resize(scaling.names.size(), 1);
    std::vector<double> values;
    for (std::size_t i = 0; i < recordings.size(); ++i)
      for (const auto bin : *bins[i]) values.push_back(recordings[i]->label(name).values[to_size(bin)]);
    if (column.kind != LabelKind::continuous || !preparation.standardise_labels || values.empty()) continue;
    const auto n = static_cast<double>(values.size());
    const double mean = std::accumulate(values.begin(), values.end(), 0.0) / n;
    double squares = 0;
    for (const double value : values) squares += (value - mean) * (value - mean);
    const double deviation = std::sqrt(squares / n);
    scaling.mean.back() = mean;
    // A constant label stays a constant, also where its mean is off by a rounding.
    scaling.scale.back() = deviation > 1e-12 * std::abs(mean) ? deviation : 1;
  }
  return scaling;
}

void check_windows(const Recording& recording, const Preparation& preparation, const std::vector<Split>& splits) {
  if (!preparation.uses_window()) return;
  const EdgePolicy edges = edges_of(preparation, splits);
  for (const auto& split : window_sets(preparation, splits))
    require_window_fits(recording.subject, window_source(recording, split, edges), split, edges,
                        preparation.left + preparation.right);
}

BorderBins bins_across_borders(const Recording& recording, const Preparation& preparation, const Split& split,
                               ThreadPool& pool) {
  // Three neurons that fire in the bins of one part each: what of them gets through the filters has been read.
  constexpr std::size_t n_parts = 3;
  const WindowSource source = window_source(recording, split, edges_of(preparation, {split}));
  const std::array<const std::vector<std::int32_t>*, n_parts> bins{&split.train, &split.valid, &split.test};
  std::vector<float> belongs(to_size(recording.n_times) * n_parts);
  for (std::size_t part = 0; part < n_parts; ++part)
    for (const auto bin : *bins[part]) belongs[to_size(bin) * n_parts + part] = 1;
  const std::vector<float> rows = gather(belongs, n_parts, source);
  std::vector<std::vector<float>> seen;
  const bool smooths = !preparation.windowed_input || preparation.target == TargetKind::smoothed;
  if (smooths && preparation.smoothing != SmoothingKind::none) {
    Taps taps = smoothing_taps(preparation, recording.bin_width_s);
    std::fill(taps.weights.begin(), taps.weights.end(), 1.0f);
    seen.push_back(filter(rows, n_parts, source, taps, edge_mode(preparation), pool));
  }
  if (preparation.gathers_windows() || preparation.target == TargetKind::window_sum)
    seen.push_back(filter(rows, n_parts, source, window_taps(preparation), EdgeMode::shift_window, pool));

  std::array<std::int32_t, n_parts> n_across{};
  for (std::size_t part = 0; part < n_parts; ++part)
    for (const auto bin : *bins[part]) {
      const auto row = to_size(source.row_of_bin[to_size(bin)]) * n_parts;
      n_across[part] += std::any_of(seen.begin(), seen.end(), [&](const auto& sums) {
        return sums[row + (part + 1) % n_parts] > 0 || sums[row + (part + 2) % n_parts] > 0;
      });
    }
  return {n_across[0], n_across[1], n_across[2]};
}

PreparedData prepare(const Recording& recording, const Preparation& preparation, const std::vector<Split>& splits,
                     ThreadPool& pool, const std::vector<LabelScaling>& scaling, PreparedParts parts) {
  PreparedData prepared;
  FleetData& data = prepared.data;
  LabelFeatures features;
  if (parts.labels) {
    features = encode_labels(recording, preparation.labels);
    std::vector<std::int32_t> all_bins(to_size(recording.n_times));
    std::iota(all_bins.begin(), all_bins.end(), 0);
    if (!scaling.empty())
      prepared.scaling = scaling;
    else if (splits.empty())
      prepared.scaling = {label_scaling(recording, preparation, all_bins)};
    else
      for (const auto& split : splits) prepared.scaling.push_back(label_scaling(recording, preparation, split.train));
    if (features.names != prepared.scaling.front().names)
      throw DataError(fmt::format("{}: its labels are [{}], the model knows [{}]: name categories alike",
                                  recording.subject, fmt::join(features.names, ", "),
                                  fmt::join(prepared.scaling.front().names, ", ")));
    prepared.n_labels = features.n_features;
  }

  check_windows(recording, preparation, splits);
  const Taps taps = smoothing_taps(preparation, recording.bin_width_s);
  const bool own_rows =
      is_joined(preparation, splits) || (parts.labels && scales_by_split(recording, preparation, splits));
  const std::size_t n_sets = own_rows ? splits.size() : 1;
  for (std::size_t set = 0; set < n_sets; ++set) {
    const Split split = own_rows ? splits[set] : Split();
    const WindowSource source = window_source(recording, split, edges_of(preparation, splits));
    if (parts.counts) add_counts(recording, preparation, source, taps, pool, data);

    const auto first_row = static_cast<std::int32_t>(data.n_rows);
    if (preparation.gathers_windows())
      for (std::int32_t row = 0; row < recording.n_times; ++row) {
        const auto at = to_size(row);
        const std::int32_t last =
            source.segment_end[at] - preparation.left - preparation.right;  // of the windows that stay inside
        data.window_begin.push_back(first_row + std::clamp(row - preparation.left, source.segment_begin[at], last));
      }
    for (const auto begin : source.segment_begin) prepared.segments.push_back(first_row + begin);
    data.n_rows += recording.n_times;
    for (const auto bin : source.source_bins)
      for (std::size_t feature = 0; feature < features.names.size(); ++feature) {
        const double raw = features.values[to_size(bin) * features.names.size() + feature];
        const LabelScaling& of_split = prepared.scaling[set];
        data.labels.push_back(static_cast<float>((raw - of_split.mean[feature]) / of_split.scale[feature]));
      }
    if (!own_rows) {
      prepared.rows = splits;
      prepared.row_of_bin.assign(std::max<std::size_t>(1, splits.size()), source.row_of_bin);
      break;
    }
    prepared.rows.push_back(source.rows);
    prepared.row_of_bin.push_back(source.row_of_bin);
    for (auto* rows : {&prepared.rows.back().train, &prepared.rows.back().valid, &prepared.rows.back().test,
                       &prepared.row_of_bin.back()})
      for (auto& row : *rows) row += first_row;
  }

  std::size_t above = 0;
  for (const float target : data.targets) {
    prepared.largest_target = std::max(prepared.largest_target, static_cast<double>(target));
    above += target > 1;
  }
  if (!data.targets.empty())
    prepared.targets_above_one = static_cast<double>(above) / static_cast<double>(data.targets.size());
  return prepared;
}

std::vector<float> of_bins(const std::vector<float>& rows, std::int64_t n_columns,
                           const std::vector<std::int32_t>& row_of_bin) {
  std::vector<float> values;
  if (rows.empty()) return values;
  values.reserve(row_of_bin.size() * to_size(n_columns));
  for (const auto row : row_of_bin)
    values.insert(values.end(), rows.begin() + row * n_columns, rows.begin() + (row + 1) * n_columns);
  return values;
}

}  // namespace idem
