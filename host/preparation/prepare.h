// prepare.h - from a recording to what a model sees: windows cut and smoothed, targets, labels scaled.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "engine/training/training_plan.h"
#include "host/preparation/preparation.h"
#include "host/recordings/recording.h"
#include "host/preparation/splits.h"
#include "kernels/common/thread_pool.h"

namespace idem {

// Per feature: value = (raw - mean) / scale. Features that are not continuous labels keep mean 0 and scale 1. The
// statistics are those of the given bins (the training bins of a split): held-out labels stay unseen.
struct LabelScaling {
  std::vector<std::string> names;
  std::vector<double> mean, scale;
};
LabelScaling label_scaling(const Recording& recording, const Preparation& preparation,
                           const std::vector<std::int32_t>& bins);

// The same of the bins of several recordings together, whose labels are alike. bins: of each.
LabelScaling label_scaling(const std::vector<const Recording*>& recordings, const Preparation& preparation,
                           const std::vector<const std::vector<std::int32_t>*>& bins);

// A recording as the engine takes it: row t is bin t. Where splits differ in what a row holds (labels scaled by each
// split's training bins, or clamped-concatenated windows), every split has n_times rows of its own, one split after the
// other; with clamped-concatenated windows they are the bins of its parts, joined (train, valid, test, unused).
struct PreparedData {
  FleetData data;
  std::int32_t n_labels = 0;
  std::vector<LabelScaling> scaling;  // of each split
  // [data.n_rows] of each row; rows are neighbours in time where they follow each other in one
  std::vector<std::int32_t> segments;
  std::vector<Split> rows;  // of each split: its train, valid and test bins as rows of data, in the bins' order
  std::vector<std::vector<std::int32_t>> row_of_bin;  // [split][n_times]
  double largest_target = 0, targets_above_one = 0;   // the latter as a fraction
};

// What prepare checks of the windows, without preparing anything: throws ConfigError naming a stretch shorter than the
// window, DataError where every stretch is.
void check_windows(const Recording& recording, const Preparation& preparation, const std::vector<Split>& splits);

// How many bins of each part of a split have an input or target that also reads bins of another part (train, valid or
// test).
struct BorderBins {
  std::int32_t train = 0, valid = 0, test = 0;
};
BorderBins bins_across_borders(const Recording& recording, const Preparation& preparation, const Split& split,
                               ThreadPool& pool);

// What of it is prepared: without counts there are no inputs and targets, for who looks at bins and labels alone.
struct PreparedParts {
  bool labels = true, counts = true;
};

// Computed on the CPU, so that a model sees the same bits on every device.
// splits may be empty (transform): then windows that would be cut after joining are kept inside their segments, and
// rows are bins. scaling: of each split (one without splits); empty: each split has its own (without splits: that of
// all bins). Throws as check_windows, ConfigError for a label that is not there and DataError for one whose categories
// are not those of `scaling`.
PreparedData prepare(const Recording& recording, const Preparation& preparation, const std::vector<Split>& splits,
                     ThreadPool& pool, const std::vector<LabelScaling>& scaling = {}, PreparedParts parts = {});

// Values of rows [.. x n_columns] for every bin of a split, by its row_of_bin; empty for no rows.
std::vector<float> of_bins(const std::vector<float>& rows, std::int64_t n_columns,
                           const std::vector<std::int32_t>& row_of_bin);

}  // namespace idem
