// marginal_decoding.h - decoding by the model alone: of a grid of labels, the ones under which it finds the counts most likely.
//
// p(x|u) is estimated as engine/marginal_likelihood.h says; the decoded labels are those of the most likely point of the grid (the first of equals).
// No decoder is fitted, and no label of a decoded bin is looked at.
#pragma once

#include <nlohmann/json.hpp>

#include "engine/device.h"
#include "engine/parameters.h"
#include "host/decoding.h"
#include "host/prepare.h"

namespace idem {

// A recording of labels alone, one bin for each point of the grid: every combination of `n_values` values of the continuous and circular labels
// together (the whole root of it of each, two at least) and of all categories; the first label changes slowest. Continuous values run evenly from the
// smallest to the largest of `bins`, both included; circular ones go once round.
Recording label_grid(const Recording& recording, const std::vector<std::int32_t>& bins, int n_values);

struct DecodingModel {
  const ModelDesign& design;
  const Preparation& preparation;
  const LabelScaling& scaling;
  const NamedTensors& parameters;
  std::uint64_t seed = 0;  // of the draws
};

// {"candidates": points of the grid, "draws": of each, "valid", "test", "labels": as one decoder's of decode_embedding}. {} where options ask for no
// draws, the model does not see just the labels of the recording, a likelihood is NaN, or the grid would have more than kMostCandidates points.
//   rows  the split's bins as rows of `data`, in the bins' order
inline constexpr std::int64_t kMostCandidates = 20000;
nlohmann::json decode_by_marginal_likelihood(Device& device, const DecodingModel& model, const FleetData& data, const Split& rows,
                                             const Recording& recording, const Split& split, const DecodingOptions& options);

}  // namespace idem
