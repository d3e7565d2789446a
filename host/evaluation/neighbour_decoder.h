// neighbour_decoder.h - labels as those of the nearest rows of an embedding: a mean, a circular mean or a vote.
#pragma once

#include <cstdint>
#include <span>
#include <string>
#include <vector>

#include "host/evaluation/targets.h"

namespace idem {

// One prediction for each number of neighbours in `settings`, from the rows `train` for the rows `query`.
std::vector<Prediction> predict_by_neighbours(const Problem& problem, Distance distance,
                                              std::span<const std::int32_t> train, std::span<const std::int32_t> query,
                                              const std::vector<double>& settings);

// Nearest-neighbour prediction of the test rows after refitting on train and valid rows, for the figure "decoded
// against true".
struct DecodedPosition {
  std::string unit;
  std::vector<std::int32_t> rows;      // split.test
  std::vector<double> truth, decoded;  // one per row, in `unit`; circular: in [0, period)
};
DecodedPosition decode_position(const Embedding& embedding, const Recording& recording, const Split& split,
                                const DecodingOptions& options, Distance distance, int neighbours, ThreadPool& pool);

}  // namespace idem
