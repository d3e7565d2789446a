#include "engine/families/vae/marginal_likelihood.h"

#include <algorithm>
#include <array>
#include <cmath>
#include <limits>
#include <numbers>
#include <stdexcept>

#include "engine/device/array.h"
#include "engine/families/vae/decoder.h"
#include "engine/families/vae/vae_fleet.h"
#include "engine/training/source_matrix.h"
#include "kernels/common/to_size.h"
#include "kernels/decode/decode.h"
#include "kernels/input/input.h"
#include "kernels/sampling/sampling.h"

namespace idem {
namespace {

constexpr std::int64_t kDecodedRows = 4096, kScoredRows = 1024;  // at a time

std::size_t index_of(std::int64_t i) { return to_size(i); }

std::vector<float> normal_draws(std::int64_t n_rows, std::int32_t n_latents, std::uint64_t seed) {
  const std::uint32_t step = 0;
  std::vector<float> draws(index_of(n_rows * n_latents));
  ThreadPool pool(1);
  draw_normals_cpu(DrawNormals<float>{.n_rows = n_rows,
                                      .n_cols = n_latents,
                                      .stream = RandomStream::decoding_draws,
                                      .seed = &seed,
                                      .step = &step,
                                      .out = {draws.data(), 0, n_latents}},
                   pool);
  return draws;
}

// Where the priors of the candidates are looked at: group g of n_draws places is block g % n_blocks of candidate g /
// n_blocks.
class PriorPlaces {
 public:
  PriorPlaces(Device& device, const ModelDesign& design, const NamedTensors& parameters,
              const LabelCandidates& candidates)
      : n_latents_(design.n_latents), nodes_(candidates.nodes) {
    // An encoder that sees windows needs one, whatever is in it.
    FleetData grid;
    grid.n_rows = std::max<std::int64_t>(candidates.n_candidates, design.encoder_window());
    grid.inputs.assign(index_of(grid.n_rows * design.n_neurons), 0.0f);
    grid.labels = candidates.labels;
    grid.labels.resize(index_of(grid.n_rows * design.n_labels), 0.0f);
    if (design.encoder_window() > 1) grid.window_begin.assign(index_of(grid.n_rows), 0);
    prior_ = infer_latents(device, design, parameters, grid);
    const bool are_shared = !nodes_.values.empty();
    n_draws_ = are_shared ? static_cast<std::int32_t>(nodes_.log_weights.size()) / nodes_.n_blocks : candidates.n_draws;
    n_groups_ = candidates.n_candidates * (are_shared ? nodes_.n_blocks : 1);
    if (!are_shared) own_ = normal_draws(n_groups_ * n_draws_, n_latents_, candidates.seed);
  }
  std::int64_t n_groups() const { return n_groups_; }
  std::int32_t n_draws() const { return n_draws_; }

  // z of place `row` of all groups'.
  void copy(std::int64_t row, float* z) const {
    const bool are_shared = own_.empty();
    const std::int64_t group = row / n_draws_, candidate = are_shared ? group / nodes_.n_blocks : group;
    const float* normal =
        are_shared ? &nodes_.values[index_of(node_of(row) * n_latents_)] : &own_[index_of(row * n_latents_)];
    for (std::int32_t latent = 0; latent < n_latents_; ++latent) {
      const std::size_t at = index_of(candidate * n_latents_ + latent);
      z[latent] = prior_.prior_mean[at] + std::exp(0.5f * prior_.prior_log_var[at]) * normal[latent];
    }
  }
  // What log_mean_exp, which weighs all places of a group alike, has to add to the log likelihood at `row`; 0 for
  // draws.
  float log_weight(std::int64_t row) const {
    return nodes_.log_weights.empty()
               ? 0.0f
               : nodes_.log_weights[index_of(node_of(row))] + std::log(static_cast<float>(n_draws_));
  }
  bool are_weighted() const { return !nodes_.log_weights.empty(); }

 private:
  std::int64_t node_of(std::int64_t row) const { return row / n_draws_ % nodes_.n_blocks * n_draws_ + row % n_draws_; }

  std::int32_t n_latents_, n_draws_ = 0;
  std::int64_t n_groups_ = 0;
  const PriorNodes& nodes_;
  LatentTable prior_;
  std::vector<float> own_;
};

}  // namespace

PriorNodes lattice_nodes(std::int32_t n_latents, std::int32_t n_nodes) {
  if (n_latents < 1 || n_latents > 3 || n_nodes < 16)
    throw std::invalid_argument("a lattice is of 1 to 3 latents and at least 16 nodes");
  constexpr double ball[] = {2, std::numbers::pi, 4 * std::numbers::pi / 3};
  const double across = 2 * std::pow(n_nodes / ball[n_latents - 1], 1.0 / n_latents);  // nodes
  const double reach = std::max(2.5, 3 + 0.5 * std::log2(across / 9)), spacing = 2 * reach / across;
  std::vector<std::array<double, 3>> points[2];
  const int most = static_cast<int>(across / 2) + 1;
  const auto visit = [&](auto&& self, std::array<double, 3>& point, int latent, int parity, double square) -> void {
    if (square > reach * reach) return;
    if (latent == n_latents) {
      points[parity].push_back(point);
      return;
    }
    for (int i = -most; i < most; ++i) {
      point[to_size(latent)] = (i + 0.5) * spacing;
      self(self, point, latent + 1, (parity + i + most) % 2, square + (i + 0.5) * spacing * (i + 0.5) * spacing);
    }
  };
  std::array<double, 3> point{};
  visit(visit, point, 0, 0, 0);
  PriorNodes nodes{.n_blocks = 2, .values = {}, .log_weights = {}};
  const std::size_t per_block = std::max(points[0].size(), points[1].size());
  for (const auto& of_block : points) {
    std::vector<double> exponents;
    double sum = 0;
    for (const auto& at : of_block) {
      exponents.push_back(-0.5 * (at[0] * at[0] + at[1] * at[1] + at[2] * at[2]));
      sum += std::exp(exponents.back());
    }
    for (std::size_t i = 0; i < per_block; ++i) {
      const bool is_node = i < of_block.size();
      for (std::int32_t latent = 0; latent < n_latents; ++latent)
        nodes.values.push_back(is_node ? static_cast<float>(of_block[i][to_size(latent)]) : 0.0f);
      nodes.log_weights.push_back(is_node ? static_cast<float>(exponents[i] - std::log(sum))
                                          : -std::numeric_limits<float>::infinity());
    }
  }
  return nodes;
}

PriorNodes drawn_nodes(std::int32_t n_latents, std::int32_t n_nodes, std::uint64_t seed) {
  constexpr std::int32_t n_blocks = 4;
  const std::int32_t per_block = n_nodes / n_blocks;
  if (n_latents < 1 || per_block < 1) throw std::invalid_argument("drawn nodes are of at least 1 latent and 4 nodes");
  const std::vector<float> draws = normal_draws(std::int64_t{per_block} * n_blocks, n_latents, seed);
  PriorNodes nodes{.n_blocks = n_blocks,
                   .values = {},
                   .log_weights = std::vector<float>(index_of(std::int64_t{per_block} * n_blocks))};
  std::fill(nodes.log_weights.begin(), nodes.log_weights.end(), -std::log(static_cast<float>(per_block)));
  // Dealt out in turn, so that the blocks of fewer nodes are the first ones of these.
  for (std::int32_t block = 0; block < n_blocks; ++block)
    for (std::int32_t i = 0; i < per_block; ++i) {
      const auto row = draws.begin() + (std::int64_t{i} * n_blocks + block) * n_latents;
      nodes.values.insert(nodes.values.end(), row, row + n_latents);
    }
  return nodes;
}

std::vector<float> marginal_log_likelihoods(Device& device, const ModelDesign& design, const NamedTensors& tensors,
                                            const FleetData& data, const std::vector<std::int32_t>& rows,
                                            const LabelCandidates& candidates) {
  if (candidates.n_candidates < 1 || (candidates.n_draws < 1 && candidates.nodes.values.empty()))
    throw std::invalid_argument("a marginal likelihood needs candidates and draws");
  const std::int64_t n_rows = static_cast<std::int64_t>(rows.size());
  if (n_rows == 0) return {};
  const PriorPlaces places(device, design, tensors, candidates);

  ParameterLayout layout;
  const auto decoder = make_decoder<float>(layout, design);
  const bool learned = design.observation == Observation::gaussian_learned;
  const std::int32_t log_variance =
      learned ? layout.add_bias("observation.log_variance", design.n_outputs(), design.n_outputs()) : -1;
  Parameters<float> parameters(device, layout, 1, false);
  parameters.set(0, tensors);

  const SourceMatrix source(device, data.targets, data.n_rows, design.n_neurons);
  const Activations<float> target(device, 1, n_rows, design.n_outputs());
  const Array<std::int32_t> window_begin(device,
                                         design.decodes_window ? data.window_begin : std::vector<std::int32_t>());
  const Array<std::int32_t> chosen(device, rows);
  gather_rows(device.execution(),
              GatherRows<float>{.batch = static_cast<std::int32_t>(n_rows),
                                .n_features = design.n_neurons,
                                .window = design.decodes_window ? design.window : 1,
                                .source = source.data.data(),
                                .source_stride = source.stride,
                                .rows = chosen.data(),
                                .window_begin = design.decodes_window ? window_begin.data() : nullptr,
                                .side_by_side = true,
                                .out = target});

  const std::int64_t n_draws = places.n_draws(), n_groups = places.n_groups(),
                     at_once = std::clamp<std::int64_t>(kDecodedRows / n_draws, 1, n_groups);
  const std::int64_t n_decoded = at_once * n_draws, n_scored = std::min(n_rows, kScoredRows);
  decoder->plan(device, 1, n_decoded);
  const Activations<float> draws(device, 1, n_decoded, design.n_latents), scores(device, 1, n_scored, n_decoded);
  const Activations<float> values(device, 1, n_scored, at_once);
  Array<float> offset(device, index_of(n_decoded));

  std::vector<float> result(index_of(n_rows * n_groups)), part(values.memory().size());
  std::vector<float> chunk(draws.memory().size());
  for (std::int64_t first = 0; first < n_groups; first += at_once) {
    const std::int64_t n_here = std::min(at_once, n_groups - first);
    // What a last, short chunk has too many of repeats an earlier draw and is not looked at.
    const auto place_of = [&](std::int64_t row) { return std::min(first * n_draws + row, n_groups * n_draws - 1); };
    for (std::int64_t row = 0; row < n_decoded; ++row)
      places.copy(place_of(row), &chunk[index_of(row * draws.rows().row_stride)]);
    draws.memory().upload(chunk);
    decoder->forward(device, parameters, {}, draws);
    const Rows<float> decoded = decoder->value();
    natural_parameters(
        device.execution(),
        NaturalParameters<float>{
            .n_rows = n_decoded,
            .n_outputs = design.n_outputs(),
            .observation = design.observation,
            .output = design.output,
            .gaussian_variance = static_cast<float>(design.gaussian_variance),
            .pre = decoded,
            .log_variance = learned ? Rows<const float>(parameters.weights(log_variance)) : Rows<const float>(),
            .natural = decoded,
            .offset = offset.data(),
            .offset_stride = n_decoded});
    if (places.are_weighted()) {
      std::vector<float> weighted = offset.download();
      for (std::int64_t row = 0; row < n_decoded; ++row) weighted[index_of(row)] += places.log_weight(place_of(row));
      offset.upload(weighted);
    }
    for (std::int64_t begin = 0; begin < n_rows; begin += n_scored) {
      const std::int64_t n = std::min(n_scored, n_rows - begin);
      device.multiply(MatrixProduct<float>{.m = n,
                                           .n = n_decoded,
                                           .k = design.n_outputs(),
                                           .transpose_b = true,
                                           .a = target.rows().from_row(begin),
                                           .b = decoded,
                                           .c = scores});
      log_mean_exp(device.execution(), LogMeanExp<float>{.n_rows = n,
                                                         .n_groups = static_cast<std::int32_t>(at_once),
                                                         .n_draws = places.n_draws(),
                                                         .score = scores,
                                                         .offset = offset.data(),
                                                         .offset_stride = n_decoded,
                                                         .value = values});
      device.copy_out(part.data(), values.memory().data(), part.size() * sizeof(float));
      for (std::int64_t row = 0; row < n; ++row)
        std::copy_n(part.begin() + row * values.rows().row_stride, n_here,
                    result.begin() + (begin + row) * n_groups + first);
    }
  }
  return result;
}

}  // namespace idem
