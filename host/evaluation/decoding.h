// decoding.h - how well labels can be read out of an embedding: the protocol `published` of the rat-hippocampus tables
// (cebra-figures, CEBRA), made general, with cosine and Euclidean nearest neighbours and a linear decoder side by side.
//
// Protocol. Each decoder has one setting (number of neighbours, ridge penalty). It is fitted on the train rows for
// every setting of its grid and scored on the valid rows; the setting with the highest total R2 there wins (the
// smallest one among equals, or where no label varies there). `valid` scores are those of that fit; for `test` scores
// the decoder is refitted on train followed by valid rows with the setting kept.
// Neighbours (NeighboursBy::score): each label has a number of its own, the one with the best of what is reported of it
// on the valid rows: the smallest median error (continuous, circular) or the highest accuracy (categorical), the
// smallest number among equals. All scores, the R2s and the total too, are then those of each label's values with its
// own number. NeighboursBy::r2, the published rule: one number by total R2, as above.
//
// Labels. All labels of the recording are decoded. Neighbours: a continuous label is the mean over the neighbours, a
// circular one their circular mean, a categorical one their vote (ties to the first category). Linear: ridge regression
// with intercept from the embedding to the label columns below; a circular label's phase is that of the predicted
// (cosine, sine), a category the largest of its predicted columns. A direction of two categories is decoded by a linear
// support vector machine too (linear.h), from inputs standardised by the rows it is fitted on; its setting, the cost,
// is the one of most validation bins right.
// Label columns: a continuous label is one column, a circular one two (sine and cosine of its phase), a categorical one
// as many as it has categories (one-hot). Predicted columns of the neighbour decoder are those of the predicted value;
// of the linear decoder, its outputs.
// Position is the first continuous or circular label, direction the first categorical one, unless named.
//   position_error       median |decoded - true| (circular: the shorter way round) in the label's unit
//   position_r2, direction_r2   unweighted mean of R2 over the label's columns that vary in the scored rows: of
//                        categories, those that occur there and are not all that does. Where none varies there is no
//                        score
//   direction_accuracy   share of rows whose category is right
//   total_r2             unweighted mean of R2 over such columns of all labels: for [position, right/left],
//                        (position + 2 direction) / 3
#pragma once

#include <functional>
#include <nlohmann/json.hpp>
#include <span>
#include <string>
#include <vector>

#include "host/evaluation/targets.h"

namespace idem {

// {"cosine": {"neighbours": k, "valid": {...}, "test": {...}}, "euclidean": {...}, "linear": {"penalty": p, "valid":
// ..., "test": ...}}; in each, where there are other labels, "labels": {name: {"valid": {"median_error", "unit"} or
// {"accuracy"}, "test": ...}}.
// "neighbours" is the position's (of a recording without one the direction's), "direction_neighbours" the direction's,
// labels[name]["neighbours"] another label's. Where such a number is an end of a grid of several, beyond which there
// may be a better one, "grid_end" beside it has an entry {"neighbours" or "direction_neighbours": "largest" or
// "smallest"}. The largest is none of a grid that the training set has cut short, 1 is none.
// Without test rows there is no "test"; without valid rows no "valid", and each grid must then hold one setting.
// Numbers of neighbours larger than the training set are left out. A recording without labels gives {}.
// Where the direction has two categories also "support_vectors": {"cost": c, "valid": {"direction_accuracy"}, "test":
// ...}.
// Throws ConfigError (empty grids, no train rows, wrong label names) and DataError (an embedding that is not finite or
// not of this recording).
// decoded: where it is given, gets what "cosine", "euclidean" and "linear" read.
// Determinism: the same for any number of threads.
nlohmann::json decode_embedding(const Embedding& embedding, const Recording& recording, const Split& split,
                                const DecodingOptions& options, ThreadPool& pool, TestReadings* decoded = nullptr);

// The prediction of each setting, fitted on `train`, for the rows `query`.
using FitAndPredict = std::function<std::vector<Prediction>(
    std::span<const std::int32_t> train, std::span<const std::int32_t> query, const std::vector<double>& settings)>;

struct DecoderResult {
  nlohmann::json scores;
  std::vector<double> settings;  // of each label
  std::vector<double> of_test;   // [test row x label]
};

// The protocol above for one decoder. `grid` as grid_of leaves it; setting_name is for messages.
DecoderResult run_protocol(const Problem& problem, const Split& split, const std::vector<double>& grid,
                           const std::string& setting_name, NeighboursBy by, const FitAndPredict& decode);

// Ascending, each once, so that "the smallest among equals" is the first. Throws ConfigError for an empty one.
std::vector<double> grid_of(std::vector<double> grid, const std::string& name);

}  // namespace idem
