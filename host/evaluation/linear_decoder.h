// linear_decoder.h - labels as linear functions of an embedding: ridge regression, and support vectors for a direction
// of two categories.
#pragma once

#include <Eigen/Core>
#include <cstdint>
#include <nlohmann/json.hpp>
#include <span>
#include <vector>

#include "host/evaluation/targets.h"

namespace idem {

Eigen::MatrixXd matrix_of(const Embedding& embedding, std::span<const std::int32_t> rows);

// One prediction for each penalty in `settings`, fitted on the rows `train`, of the rows `query`.
std::vector<Prediction> predict_linearly(const Problem& problem, std::span<const std::int32_t> train,
                                         std::span<const std::int32_t> query, const std::vector<double>& settings);

// {"cost": c, "valid": {"direction_accuracy"}, "test": ...}; of equals the first of `costs` is kept.
nlohmann::json decode_direction_by_support_vectors(const Problem& problem, const Split& split,
                                                   const std::vector<double>& costs);

}  // namespace idem
