// targets.h - what is decoded: the labels of a recording, which of them are position and direction, and the columns
// that stand for them in the decoders. decoding.h says what a label's columns are.
#pragma once

#include <cstdint>
#include <map>
#include <nlohmann/json.hpp>
#include <optional>
#include <span>
#include <string>
#include <vector>

#include "host/evaluation/knn.h"
#include "host/preparation/splits.h"
#include "host/recordings/recording.h"

namespace idem {

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

double centimetres_per_unit(const std::string& unit);  // of m, cm and mm; 0 of others
// How scores call the position's error, and what it is multiplied by: in cm where the label's unit is a length.
struct PositionError {
  const char* key;  // "position_error_cm" or "position_error"
  double scale;
};
PositionError position_error_of(const LabelColumn& position);
double distance_on_label(const LabelColumn& label, double a, double b);  // in its unit; circular: the shorter way round

// The label that plays the part, or null where the recording has none and none is named. A name that the recording
// lacks, or of the wrong kind, is a ConfigError.
const LabelColumn* position_label(const Recording& recording, const std::string& name = {});
const LabelColumn* direction_label(const Recording& recording, const std::string& name = {});

// What "position" and "direction" are in the keys of scores: {"position": {"name", "unit" of the error}, "direction":
// {"name"}}, those there are; and the labels as they were read: "columns": {name: {"kind", "unit", and of a circular
// one its "period"}}.
nlohmann::json decoded_labels(const Recording& recording, const DecodingOptions& options);

// One label as the decoders see it: the columns of all bins, and how to get back from columns to the label.
struct Target {
  const LabelColumn* label = nullptr;
  int n_columns = 0, first_column = 0;

  double value_from_columns(const double* columns) const;
  void columns_from_value(double value, double* columns) const;
};

int column_count(const std::vector<Target>& targets);

// What is to be decoded.
struct Labels {
  const Recording& recording;
  const DecodingOptions& options;
  std::vector<Target> targets;
  const LabelColumn* position;
  const LabelColumn* direction;

  Labels(const Recording& recording, const DecodingOptions& options);

  std::vector<double> true_columns(std::span<const std::int32_t> rows) const;
  // values [n_rows x n_labels]
  std::vector<double> columns_of(const std::vector<double>& values) const;
};

// One embedding whose rows are decoded.
struct Problem : Labels {
  const Embedding& embedding;
  ThreadPool& pool;

  // Throws DataError for an embedding that is not of this recording.
  Problem(const Embedding& embedding, const Recording& recording, const DecodingOptions& options, ThreadPool& pool);
};

// Predictions for some rows. columns [n_rows x n_columns]; values [n_rows x n_labels].
struct Prediction {
  std::vector<double> columns, values;
};

// Labels that were read for the test rows, by the name of the reading ("euclidean"): [test row x label].
using TestReadings = std::map<std::string, std::vector<double>>;

std::vector<std::int32_t> train_and_valid(const Split& split);  // train rows first

}  // namespace idem
