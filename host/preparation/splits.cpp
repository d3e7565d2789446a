#include "host/preparation/splits.h"

#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <cmath>
#include <numeric>

#include "host/support/errors.h"
#include "host/support/one_line.h"
#include "kernels/common/to_size.h"

namespace idem {
namespace {

// [0, n) in 3 contiguous parts whose sizes differ by at most 1, the larger first: begin of part 0, 1, 2 and the end.
std::array<std::size_t, 4> thirds(std::size_t n) {
  std::array<std::size_t, 4> bounds{};
  for (std::size_t part = 0; part < 3; ++part) bounds[part + 1] = bounds[part] + n / 3 + (part < n % 3 ? 1 : 0);
  return bounds;
}

void append_bins(std::vector<std::int32_t>& bins, const Segment& range) {
  for (std::int32_t bin = range.begin; bin < range.end; ++bin) bins.push_back(bin);
}

}  // namespace

std::vector<Segment> round_trip_trials(const Recording& recording, const std::string& direction_label) {
  const LabelColumn& direction = recording.label(direction_label);
  if (direction.kind != LabelKind::categorical)
    throw ConfigError(fmt::format(
        "{}: label {} is not categorical, so it has no round trips; name the label of the running direction",
        recording.subject, one_line(direction_label)));
  std::vector<std::int32_t> turns;
  for (std::int32_t bin = 0; bin + 1 < recording.n_times; ++bin)
    if (direction.values[to_size(bin) + 1] != direction.values[to_size(bin)]) turns.push_back(bin);
  if (turns.size() < 2)
    throw DataError(fmt::format("{}: label {} changes {} times, so there are no round trips; split by time instead",
                                recording.subject, one_line(direction_label), turns.size()));
  std::vector<Segment> trials = {{0, 0}};
  for (std::size_t turn = 1; turn < turns.size(); turn += 2) {
    trials.back().end = turns[turn];
    trials.push_back({turns[turn], 0});
  }
  trials.back().end = recording.n_times;
  return trials;
}

Split three_fold_split(const std::vector<Segment>& trials, std::int32_t fold) {
  if (fold < 0 || fold > 2) throw ConfigError(fmt::format("split {}: a 3-fold split has folds 0, 1 and 2", fold));
  Split split;
  split.name = std::to_string(fold);
  const auto blocks = thirds(trials.size());
  for (std::size_t block = 0; block < 3; ++block) {
    const auto folds = thirds(blocks[block + 1] - blocks[block]);
    const std::size_t held_begin = blocks[block] + folds[to_size(fold)],
                      held_end = blocks[block] + folds[to_size(fold) + 1];
    const std::size_t middle = held_begin + (held_end - held_begin + 1) / 2;
    for (std::size_t trial = blocks[block]; trial < blocks[block + 1]; ++trial) {
      const bool is_held = trial >= held_begin && trial < held_end;
      append_bins(!is_held ? split.train : trial < middle ? split.test : split.valid, trials[trial]);
    }
  }
  if (split.train.empty() || split.valid.empty() || split.test.empty())
    throw DataError(
        fmt::format("{} trials are too few for fold {} of the 3-fold split: no trial is left to {}; 18 always suffice, "
                    "so declare shorter trials or split "
                    "by time",
                    trials.size(), fold,
                    split.test.empty()    ? "test"
                    : split.valid.empty() ? "validate"
                                          : "train"));
  return split;
}

std::vector<Segment> trials_of(const Recording& recording, const std::string& direction_label) {
  if (!direction_label.empty()) return round_trip_trials(recording, direction_label);
  if (recording.trials.empty())
    throw DataError(recording.subject +
                    ": has no declared trials; set recording.trials, or name the label whose changes are the turns of "
                    "a round trip");
  return recording.trials;
}

Split three_fold_trials(const Recording& recording, const std::string& direction_label, std::int32_t fold) {
  return three_fold_split(trials_of(recording, direction_label), fold);
}

Split time_split(const Recording& recording, const SplitFractions& fractions) {
  const double sum = fractions.train + fractions.valid + fractions.test;
  if (!(fractions.train > 0 && fractions.valid >= 0 && fractions.test >= 0 && sum <= 1 + 1e-9))
    throw ConfigError(
        fmt::format("splits.fractions {}, {}, {}: train must be above 0, the others at least 0, and the sum at most 1",
                    fractions.train, fractions.valid, fractions.test));
  const auto cut = [&](double fraction) {
    return static_cast<std::int32_t>(std::llround(std::min(fraction, 1.0) * recording.n_times));
  };
  const std::int32_t train_end = cut(fractions.train), valid_end = cut(fractions.train + fractions.valid),
                     test_end = cut(sum);
  Split split;
  split.name = "time";
  append_bins(split.train, {0, train_end});
  append_bins(split.valid, {train_end, valid_end});
  append_bins(split.test, {valid_end, test_end});
  if (split.train.empty() || (fractions.valid > 0 && split.valid.empty()) || (fractions.test > 0 && split.test.empty()))
    throw DataError(
        fmt::format("{}: {} bins are too few for splits.fractions {}, {}, {}: a part would be empty; give it more, or "
                    "list splits.ranges",
                    recording.subject, recording.n_times, fractions.train, fractions.valid, fractions.test));
  return split;
}

Split range_split(const Recording& recording, const SplitRanges& ranges) {
  Split split;
  split.name = "ranges";
  std::vector<char> is_taken(to_size(recording.n_times), 0);
  const auto fill = [&](const char* part, const std::vector<SplitRange>& wanted, std::vector<std::int32_t>& bins) {
    for (const auto& range : wanted) {
      const std::string shown = fmt::format("{}: splits.ranges.{} [{}, {}) {}", recording.subject, part, range.from,
                                            range.to, ranges.unit == RangeUnit::bins ? "bins" : "s");
      if (!(range.from < range.to)) throw ConfigError(shown + ": is empty; the end must come after the beginning");
      if (ranges.unit == RangeUnit::bins) {
        if (range.from != std::floor(range.from) || range.to != std::floor(range.to) || range.from < 0 ||
            range.to > recording.n_times)
          throw ConfigError(fmt::format("{}: must be whole bins between 0 and {}", shown, recording.n_times));
      }
      bool has_bins = false;
      // A bin that starts at the edge belongs to the range that begins there, whatever the last digit of a sum says.
      const double slack = 1e-6 * recording.bin_width_s;
      for (std::int32_t bin = 0; bin < recording.n_times; ++bin) {
        const double at = ranges.unit == RangeUnit::bins ? bin : recording.time_s[to_size(bin)] + slack;
        if (!(at >= range.from && at < range.to)) continue;
        if (is_taken[to_size(bin)]++)
          throw ConfigError(fmt::format("{}: overlaps another range at bin {}; ranges must be disjoint", shown, bin));
        bins.push_back(bin);
        has_bins = true;
      }
      if (!has_bins)
        throw ConfigError(fmt::format("{}: holds no bin; the recording lasts from {:.6g} s to {:.6g} s", shown,
                                      recording.time_s.front(), recording.time_s.back() + recording.bin_width_s));
    }
    std::sort(bins.begin(), bins.end());
  };
  fill("train", ranges.train, split.train);
  fill("valid", ranges.valid, split.valid);
  fill("test", ranges.test, split.test);
  if (split.train.empty()) throw ConfigError("splits.ranges.train: names no range; give at least one");
  return split;
}

WindowSource window_source(const Recording& recording, const Split& split, EdgePolicy policy) {
  const auto n_times = to_size(recording.n_times);
  WindowSource source;
  source.rows = split;
  source.source_bins.resize(n_times);
  std::iota(source.source_bins.begin(), source.source_bins.end(), 0);
  source.row_of_bin = source.source_bins;
  source.segment_begin.assign(n_times, 0);
  source.segment_end.assign(n_times, recording.n_times);
  const auto bound = [&](std::int32_t begin, std::int32_t end) {
    std::fill(source.segment_begin.begin() + begin, source.segment_begin.begin() + end, begin);
    std::fill(source.segment_end.begin() + begin, source.segment_end.begin() + end, end);
  };
  if (policy == EdgePolicy::segment_clamped)
    for (const auto& segment : recording.segments) bound(segment.begin, segment.end);
  if (policy != EdgePolicy::clamped_concatenated) return source;

  std::vector<char> is_used(n_times, 0);
  source.source_bins.clear();
  const auto add_part = [&](const std::vector<std::int32_t>& bins, std::vector<std::int32_t>& rows) {
    const auto begin = static_cast<std::int32_t>(source.source_bins.size());
    rows.clear();
    for (const auto bin : bins) {
      is_used[to_size(bin)] = 1;
      source.row_of_bin[to_size(bin)] = static_cast<std::int32_t>(source.source_bins.size());
      rows.push_back(static_cast<std::int32_t>(source.source_bins.size()));
      source.source_bins.push_back(bin);
    }
    bound(begin, static_cast<std::int32_t>(source.source_bins.size()));
  };
  add_part(split.train, source.rows.train);
  add_part(split.valid, source.rows.valid);
  add_part(split.test, source.rows.test);
  std::vector<std::int32_t> unused, unused_rows;
  for (std::int32_t bin = 0; bin < recording.n_times; ++bin)
    if (!is_used[to_size(bin)]) unused.push_back(bin);
  add_part(unused, unused_rows);
  return source;
}

}  // namespace idem
