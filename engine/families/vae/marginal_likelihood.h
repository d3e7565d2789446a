// marginal_likelihood.h - which labels explain the counts best, by a trained generative model alone: no decoder is
// fitted to its latents.
//
// Source: Zhou & Wei 2020 (arXiv 2011.04798), for windows Schneider, Lee & Mathis 2023 (Nature 617); in log space, with
// the draws shared by all rows, so that the errors of the estimate go together (kernels/decode/decode.h). With draws of
// its own for each candidate, as published, the candidate with the luckiest draws wins; nodes that all candidates share
// move with each prior and leave what differs between candidates.
#pragma once

#include <vector>

#include "engine/families/vae/design.h"
#include "engine/device/device.h"
#include "engine/networks/parameters.h"
#include "engine/training/training_plan.h"

namespace idem {

// Places to take the mean over a label prior at: z = mean + standard deviation * node. In blocks that are each an
// estimate of their own.
struct PriorNodes {
  std::int32_t n_blocks = 1;
  std::vector<float> values;       // [n_blocks x nodes of a block x n_latents]
  std::vector<float> log_weights;  // [n_blocks x nodes of a block]; the weights of each block have the sum 1, a node of
                                   // weight 0 only fills its block
};

// A lattice of about n_nodes (at least 16) for 1 to 3 latents, cut to a ball, weighted by the normal density: the
// trapezoidal rule, whose error falls faster than any power of the spacing once that is about what the likelihood
// changes over. The more nodes, the closer they lie and the farther they reach. Two blocks, by the parity of a node's
// coordinates: lattices of half as many nodes.
PriorNodes lattice_nodes(std::int32_t n_latents, std::int32_t n_nodes);
// Four blocks of independent normal draws, n_nodes in all, of which fewer would be the first ones.
PriorNodes drawn_nodes(std::int32_t n_latents, std::int32_t n_nodes, std::uint64_t seed);

// What the counts may have been recorded under.
struct LabelCandidates {
  std::int64_t n_candidates = 0;
  std::vector<float> labels;   // [n_candidates x n_labels], as the model sees them
  std::int32_t n_draws = 100;  // of the label prior, for each candidate its own
  std::uint64_t seed = 0;      // of the draws
  PriorNodes nodes = {};       // where there are any: instead of draws
};

// log p(x|u) of what the decoder explains of each row (FleetData::targets, or all bins of its window) under each
// candidate u, but for a term of x alone: [rows x n_candidates x blocks of the nodes, or 1]. Every output counts once,
// whatever weights the objective gives it. Draws and nodes are made on the host: the same on every device. Throws
// std::invalid_argument for no candidates or draws.
std::vector<float> marginal_log_likelihoods(Device& device, const ModelDesign& design, const NamedTensors& parameters,
                                            const FleetData& data, const std::vector<std::int32_t>& rows,
                                            const LabelCandidates& candidates);

}  // namespace idem
