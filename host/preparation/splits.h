// splits.h - which bins train, validate and test, and what a window may see.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "host/recordings/recording.h"
#include "kernels/common/enum_names.h"

namespace idem {

// Round trips on a linear track, as CEBRA (Schneider et al. 2023, Nature 617) cuts them: bins i whose direction differs
// from bin i + 1 are turns; trials begin at 0 and at every second turn (the 2nd, 4th, ...), so a trial begins one bin
// before the animal has turned and the last may be partial. Throws DataError when there are fewer than two turns,
// ConfigError when the label is missing or not categorical.
std::vector<Segment> round_trip_trials(const Recording& recording, const std::string& direction_label);

// The 3-fold split of the same paper: trials in 3 contiguous blocks (sizes differ by at most 1, larger first), each
// block in 3 contiguous folds (the same way); fold number `fold` of each block is held out and cut in two, the first
// half (larger if odd) tests, the second validates. Named "0", "1", "2". Throws DataError when the trials are too few
// to fill every part (18 always suffice), ConfigError for another fold number.
Split three_fold_split(const std::vector<Segment>& trials, std::int32_t fold);

// round_trip_trials, or the recording's declared trials where direction_label is empty (DataError when there are none).
std::vector<Segment> trials_of(const Recording& recording, const std::string& direction_label);

// three_fold_split of trials_of.
Split three_fold_trials(const Recording& recording, const std::string& direction_label, std::int32_t fold);

// The first, the next and the last part of the session: at bins round(f * n_times) of the running sums. A fraction may
// be 0 except for train. Throws ConfigError for fractions below 0 or a sum above 1, DataError when a part would be
// empty. Bins beyond the sum are unused.
struct SplitFractions {
  double train = 0, valid = 0, test = 0;
};
Split time_split(const Recording& recording, const SplitFractions& fractions);

// Half-open ranges [from, to), in bins, or in seconds of the recording's own clock (a bin belongs to the range that its
// start lies in). Throws ConfigError for a range that is empty, reversed, outside the recording or overlaps another.
struct SplitRange {
  double from = 0, to = 0;
};
enum class RangeUnit { bins, seconds };
struct SplitRanges {
  RangeUnit unit = RangeUnit::bins;
  std::vector<SplitRange> train = {}, valid = {}, test = {};
};
Split range_split(const Recording& recording, const SplitRanges& ranges);

// How a window is cut at the borders of what it may see (windows.edges of the configuration).
enum class EdgePolicy {
  segment_clamped,       // windows stay inside their segment; every bin keeps a latent
  clamped_concatenated,  // published conv-pi-VAE: the bins of each part of the split are strung together and windows
                         // cross the seams
  whole_session,         // published CEBRA and PCA: one segment, whatever its gaps
};
template <>
struct EnumNames<EdgePolicy> {
  static constexpr const char* what = "windows.edges";
  static constexpr EnumName<EdgePolicy> all[] = {{EdgePolicy::segment_clamped, "segment-clamped"},
                                                 {EdgePolicy::clamped_concatenated, "clamped-concatenated"},
                                                 {EdgePolicy::whole_session, "whole-session"}};
};

// The recording as windows see it: row r is bin source_bins[r], and windows around r read rows [segment_begin[r],
// segment_end[r]) only. source_bins is a permutation of all bins: the identity but for clamped_concatenated, whose rows
// are the train, valid, test and then unused bins.
struct WindowSource {
  std::vector<std::int32_t> source_bins, segment_begin, segment_end;  // [n_times] each
  std::vector<std::int32_t> row_of_bin;                               // the inverse of source_bins
  Split rows;                                                         // the split, as rows
};
WindowSource window_source(const Recording& recording, const Split& split, EdgePolicy policy);

}  // namespace idem
