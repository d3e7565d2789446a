// decoding.h - how well labels can be read out of an embedding: the protocol `published` of the rat-hippocampus tables (cebra-figures,
// CEBRA), made general, with cosine and Euclidean nearest neighbours and a linear decoder side by side.
//
// Protocol. Each decoder has one setting (number of neighbours, ridge penalty). It is fitted on the train rows for every setting of its grid
// and scored on the valid rows; the setting with the highest total R2 there wins (the smallest one among equals, or where no label varies there). `valid` scores are those of
// that fit; for `test` scores the decoder is refitted on train followed by valid rows with the setting kept.
// Neighbours (NeighboursBy::score): each label has a number of its own, the one with the best of what is reported of it
// on the valid rows: the smallest median error (continuous, circular) or the highest accuracy (categorical), the
// smallest number among equals. All scores, the R2s and the total too, are then those of each label's values with its
// own number. NeighboursBy::r2, the published rule: one number by total R2, as above.
//
// Labels. All labels of the recording are decoded. Neighbours: a continuous label is the mean over the neighbours, a circular one their
// circular mean, a categorical one their vote (ties to the first category). Linear: ridge regression with intercept from the embedding to the
// label columns below; a circular label's phase is that of the predicted (cosine, sine), a category the largest of its predicted columns.
// A direction of two categories is decoded by a linear support vector machine too (linear.h), from inputs standardised by the rows it is fitted on;
// its setting, the cost, is the one of most validation bins right.
// Label columns: a continuous label is one column, a circular one two (sine and cosine of its phase), a categorical one as many as it has
// categories (one-hot). Predicted columns of the neighbour decoder are those of the predicted value; of the linear decoder, its outputs.
// Position is the first continuous or circular label, direction the first categorical one, unless named.
//   position_error       median |decoded - true| (circular: the shorter way round) in the label's unit
//   position_r2, direction_r2   unweighted mean of R2 over the label's columns that vary in the scored rows: of categories, those that occur there and are
//                        not all that does. Where none varies there is no score
//   direction_accuracy   share of rows whose category is right
//   total_r2             unweighted mean of R2 over such columns of all labels: for [position, right/left], (position + 2 direction) / 3
#pragma once

#include <nlohmann/json.hpp>
#include <optional>
#include <span>
#include <string>
#include <vector>

#include "host/evaluation/knn.h"
#include "host/recordings/recording.h"
#include "host/preparation/splits.h"

namespace idem {

double centimetres_per_unit(const std::string& unit);  // of m, cm and mm; 0 of others
double distance_on_label(const LabelColumn& label, double a, double b);  // in its unit; circular: the shorter way round

enum class NeighboursBy { score, r2 };

struct DecodingOptions {
  std::string position_label = {}, direction_label = {};  // empty: the first label of a fitting kind
  std::vector<int> neighbours = {1, 4, 9, 16, 25, 36, 49, 64, 81, 100, 121, 144};
  NeighboursBy neighbours_by = NeighboursBy::score;
  std::vector<double> ridge_penalties = {0, 0.01, 1, 100};
  std::vector<double> support_vector_costs = {0.01, 1, 100};
  std::vector<double> field_smoothing_bins = {0.5, 1, 2, 4};
  std::optional<int> marginal_draws = {};  // marginal_decoding.h; none: as many as it takes
  int marginal_candidates = 100;
};

// The label that plays the part, or null where the recording has none and none is named. A name that the recording lacks, or of the wrong
// kind, is a ConfigError.
const LabelColumn* position_label(const Recording& recording, const std::string& name = {});
const LabelColumn* direction_label(const Recording& recording, const std::string& name = {});

// Absent where the recording has no such label.
struct DecodingScores {
  std::optional<double> position_error, position_r2, direction_r2, direction_accuracy, total_r2;
  struct Other {
    const LabelColumn* label;
    double score;  // categorical: accuracy, else the median error in the label's unit
  };
  std::vector<Other> others;  // every label that is neither position nor direction
};

// {"position_error_cm", "position_r2", "direction_r2", "direction_accuracy", "total_r2"}, those there are. The error is in cm where the position's
// unit is m, cm or mm; else it is in the label's own unit and its key is "position_error".
nlohmann::json to_json(const DecodingScores& scores, const Recording& recording, const DecodingOptions& options);

// What "position" and "direction" of those keys are: {"position": {"name", "unit" of the error}, "direction": {"name"}}, those there are; and the
// labels as they were read: "columns": {name: {"kind", "unit", and of a circular one its "period"}}.
nlohmann::json decoded_labels(const Recording& recording, const DecodingOptions& options);

// {"cosine": {"neighbours": k, "valid": {...}, "test": {...}}, "euclidean": {...}, "linear": {"penalty": p, "valid": ..., "test": ...}}; in each,
// where there are other labels, "labels": {name: {"valid": {"median_error", "unit"} or {"accuracy"}, "test": ...}}.
// "neighbours" is the position's (of a recording without one the direction's), "direction_neighbours" the direction's,
// labels[name]["neighbours"] another label's. Where such a number is an end of a grid of several, beyond which there
// may be a better one, "grid_end" beside it has an entry {"neighbours" or "direction_neighbours": "largest" or
// "smallest"}. The largest is none of a grid that the training set has cut short, 1 is none.
// Without test rows there is no "test"; without valid rows no "valid", and each grid must then hold one setting. Numbers of neighbours larger
// than the training set are left out. A recording without labels gives {}.
// Where the direction has two categories also "support_vectors": {"cost": c, "valid": {"direction_accuracy"}, "test": ...}.
// Throws ConfigError (empty grids, no train rows, wrong label names) and DataError (an embedding that is not finite or not of this recording).
// Determinism: the same for any number of threads.
nlohmann::json decode_embedding(const Embedding& embedding, const Recording& recording, const Split& split, const DecodingOptions& options,
                                ThreadPool& pool);

// The supervised limit: Bayes' rule with each neuron's mean activity as a function of all labels (Zhang et al. 1998, J. Neurophysiol. 79, 1017).
// activity [n_times x n_neurons]: of the window that a model sees, for example. {"smoothing_bins": s, "activity": "poisson" or "gaussian", "valid",
// "test", "labels"} as one decoder's above; {} where there are no labels, or cells times neurons are more than 2e7 (of Gaussian activity 1e7).
//   Cells   40 bins of each continuous label (the train rows' range) and circular one (once round), times all categories.
//   Fields  mean counts of the train rows in a cell, at least 1 % of the neuron's mean; counts and visits are each smoothed by a Gaussian of s bins
//           along continuous and circular labels first, so that a cell that was never visited has its neighbours' (none where there are none).
//   Decoded is the middle of the cell that maximises sum (x log f - f) + log visits, the first of equals.
// Activity that is not whole numbers of at least 0 (fluorescence, for example) is Gaussian, of a mean f and a variance v in each cell: decoded is the
// middle of the cell that maximises -sum ((x - f)^2 / v + log v) / 2 + log visits. The sums of squares are smoothed as the others; a variance is at
// least a quarter of the neuron's mean variance within cells, and 1e-6 of its variance over the train rows. A neuron whose standard deviation there
// is at most 1e-6 of its mean is left out.
nlohmann::json decode_by_place_fields(const Embedding& activity, const Recording& recording, const Split& split, const DecodingOptions& options,
                                      ThreadPool& pool);

// Adds the scores of labels that were decoded by other means to `result`, as those of one decoder above. part: "valid" or "test"; values
// [rows x labels of the recording]; nothing where there are no rows or no labels.
void score_decoded(nlohmann::json& result, const char* part, const std::vector<double>& values, std::span<const std::int32_t> rows,
                   const Recording& recording, const DecodingOptions& options);

// Nearest-neighbour prediction of the test rows after refitting on train and valid rows, for the figure "decoded against true".
struct DecodedPosition {
  std::string unit;
  std::vector<std::int32_t> rows;      // split.test
  std::vector<double> truth, decoded;  // one per row, in `unit`; circular: in [0, period)
};
DecodedPosition decode_position(const Embedding& embedding, const Recording& recording, const Split& split, const DecodingOptions& options,
                                Distance distance, int neighbours, ThreadPool& pool);

// What a model must beat, on the same rows with the same decoders. Built once per recording (kept by
// reference), used for all its splits.
//   chance        {"valid", "test"}: the median of the train positions (circular: their circular mean) and their most frequent categories
//   pca           two principal components (fewer where there are fewer numbers) of the flattened windows of the whole recording: bins
//                 [t - left, t + right), all neurons
//   window_sums   spikes per neuron in that window, not reduced
//   place_fields  decode_by_place_fields of the window sums: what labels can be had from these counts by one who knows the tuning
// Windows are cut as the study's own (splits.h) and shifted inside what they may see; the published ones are whole-session. `split` is looked at for
// clamped-concatenated windows alone, which are right for that split only.
class Baselines {
 public:
  Baselines(const Recording& recording, int left, int right, EdgePolicy edges = EdgePolicy::segment_clamped, const Split& split = {});
  nlohmann::json decode(const Split& split, const DecodingOptions& options, ThreadPool& pool) const;

  Embedding pca() const { return {recording_.n_times, n_components_, pca_}; }
  Embedding window_sums() const { return {recording_.n_times, recording_.n_neurons, window_sums_}; }

 private:
  const Recording& recording_;
  int n_components_ = 2;
  std::vector<float> pca_, window_sums_;
};

}  // namespace idem
