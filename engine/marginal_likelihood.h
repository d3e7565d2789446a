// marginal_likelihood.h - which labels explain the counts best, by a trained generative model alone: no decoder is fitted to its latents.
//
// Source: Zhou & Wei 2020 (arXiv 2011.04798), for windows Schneider, Lee & Mathis 2023 (Nature 617); in log space, with the draws shared by all
// rows, so that the errors of the estimate go together (kernels/decode/decode.h).
#pragma once

#include <vector>

#include "engine/design.h"
#include "engine/device.h"
#include "engine/parameters.h"

namespace idem {

// What the counts may have been recorded under.
struct LabelCandidates {
  std::int64_t n_candidates = 0;
  std::vector<float> labels;    // [n_candidates x n_labels], as the model sees them
  std::int32_t n_draws = 100;   // of the label prior, for each candidate
  std::uint64_t seed = 0;       // of the draws
};

// log p(x|u) of what the decoder explains of each row (FleetData::targets, or all bins of its window) under each candidate u, but for a term of x
// alone: [rows x n_candidates]. Every output counts once, whatever weights the objective gives it. Draws are made on the host: the same on every
// device. Throws std::invalid_argument for no candidates or draws.
std::vector<float> marginal_log_likelihoods(Device& device, const ModelDesign& design, const NamedTensors& parameters, const FleetData& data,
                                            const std::vector<std::int32_t>& rows, const LabelCandidates& candidates);

}  // namespace idem
