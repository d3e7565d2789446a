// decoding_scores.h - how well predicted labels fit the true ones. decoding.h says what each score is.
#pragma once

#include <cstdint>
#include <nlohmann/json.hpp>
#include <optional>
#include <span>
#include <vector>

#include "host/evaluation/targets.h"

namespace idem {

// Absent where the recording has no such label.
struct DecodingScores {
  std::optional<double> position_error, position_r2, direction_r2, direction_accuracy, total_r2;
  struct Other {
    const LabelColumn* label;
    double score;  // categorical: accuracy, else the median error in the label's unit
  };
  std::vector<Other> others;  // every label that is neither position nor direction
};

// {"position_error_cm", "position_r2", "direction_r2", "direction_accuracy", "total_r2"}, those there are. The error is
// in cm where the position's unit is m, cm or mm; else it is in the label's own unit and its key is "position_error".
nlohmann::json to_json(const DecodingScores& scores, const Recording& recording, const DecodingOptions& options);

DecodingScores score(const Labels& problem, std::span<const std::int32_t> rows, const Prediction& prediction);

// Accuracy of a categorical label, else the median error in the label's unit.
double label_score(const Labels& problem, std::span<const std::int32_t> rows, const Prediction& prediction,
                   std::size_t number);

// The scores of one part of the split, "valid" or "test".
void add_scores(nlohmann::json& result, const char* part, const DecodingScores& scores, const Labels& problem);

// Adds the scores of labels that were decoded by other means to `result`, as those of one decoder of decode_embedding.
// part: "valid" or "test"; values [rows x labels of the recording]; nothing where there are no rows or no labels.
void score_decoded(nlohmann::json& result, const char* part, const std::vector<double>& values,
                   std::span<const std::int32_t> rows, const Recording& recording, const DecodingOptions& options);

}  // namespace idem
