// marginal_decoding.h - decoding by the model alone: of a grid of labels, the ones under which it finds the counts most
// likely.
//
// p(x|u) is estimated as engine/families/vae/marginal_likelihood.h says; the decoded labels are those of the most
// likely point of the grid (the first of equals). No decoder is fitted, and no label of a decoded bin is looked at.
#pragma once

#include <nlohmann/json.hpp>

#include "engine/device/device.h"
#include "engine/families/vae/design.h"
#include "engine/networks/parameters.h"
#include "host/evaluation/targets.h"
#include "host/preparation/prepare.h"

namespace idem {

// A recording of labels alone, one bin for each point of the grid: every combination of `n_values` values of the
// continuous and circular labels together (the whole root of it of each, two at least) and of all categories; the first
// label changes slowest. Continuous values run evenly from the smallest to the largest of `bins`, both included;
// circular ones go once round.
Recording label_grid(const Recording& recording, const std::vector<std::int32_t>& bins, int n_values);

struct DecodingModel {
  const ModelDesign& design;
  const Preparation& preparation;
  const LabelScaling& scaling;
  const NamedTensors& parameters;
  std::uint64_t seed = 0;  // of the draws
};

// {"candidates": points of the grid, "draws": of each, "valid", "test", "labels": as one decoder's of
// decode_embedding}. {} where options ask for no draws, the model does not see just the labels of the recording, a
// likelihood is NaN, or the grid would have more than kMostCandidates points.
// Where options leave the draws open, nodes that all candidates share (a lattice for up to 3 latents, else draws) are
// doubled from kFewestNodes until decoding by halves of them instead of all is near enough to the same in both parts:
// the position's median error (the mean of the middle fifth of its errors, which tells more of what moves) changes by
// at most kLargestChange of itself (root mean square over the halves: of independent draws that is the standard error,
// with what few draws bias it by) or, without a position, that share of the bins gets another category (the mean over
// the halves). At most kMostNodes. Then besides "numerical_error": {"of": "position_error_cm", "position_error" or
// "direction_accuracy", "valid", "test": that change, in its unit, "is_converged": whether it was small enough}. The
// labels of decoded bins judge that change alone.
// of_test: where it is given, gets the labels of the test bins, [bin x label].
//   rows  the split's bins as rows of `data`, in the bins' order
// Determinism: that of the likelihoods (kernels/decode/decode.h).
inline constexpr std::int64_t kMostCandidates = 20000;
inline constexpr std::int32_t kFewestNodes = 100, kMostNodes = 12800;
inline constexpr double kLargestChange = 0.01;
nlohmann::json decode_by_marginal_likelihood(Device& device, const DecodingModel& model, const FleetData& data,
                                             const Split& rows, const Recording& recording, const Split& split,
                                             const DecodingOptions& options, std::vector<double>* of_test = nullptr);

}  // namespace idem
