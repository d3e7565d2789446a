#include "engine/marginal_likelihood.h"

#include <algorithm>
#include <cmath>
#include <stdexcept>

#include "engine/decoder.h"
#include "engine/fleet.h"
#include "engine/source_matrix.h"
#include "kernels/decode/decode.h"
#include "kernels/input/input.h"
#include "kernels/sampling/sampling.h"

namespace idem {
namespace {

constexpr std::int64_t kDecodedRows = 4096, kScoredRows = 1024;  // at a time

std::size_t index_of(std::int64_t i) { return static_cast<std::size_t>(i); }

// z ~ p(z|u), [n_candidates * n_draws x n_latents].
std::vector<float> prior_draws(Device& device, const ModelDesign& design, const NamedTensors& parameters, const LabelCandidates& candidates) {
  // An encoder that sees windows needs one, whatever is in it.
  FleetData grid;
  grid.n_rows = std::max<std::int64_t>(candidates.n_candidates, design.encoder_window());
  grid.inputs.assign(index_of(grid.n_rows * design.n_neurons), 0.0f);
  grid.labels = candidates.labels;
  grid.labels.resize(index_of(grid.n_rows * design.n_labels), 0.0f);
  if (design.encoder_window() > 1) grid.window_begin.assign(index_of(grid.n_rows), 0);
  const LatentTable prior = infer_latents(device, design, parameters, grid);

  const std::uint32_t step = 0;
  const std::int64_t n_rows = candidates.n_candidates * candidates.n_draws;
  std::vector<float> z(index_of(n_rows * design.n_latents));
  ThreadPool pool(1);
  draw_normals_cpu(DrawNormals<float>{.n_rows = n_rows,
                                      .n_cols = design.n_latents,
                                      .stream = RandomStream::decoding_draws,
                                      .seed = &candidates.seed,
                                      .step = &step,
                                      .out = {z.data(), 0, design.n_latents}},
                   pool);
  for (std::int64_t row = 0; row < n_rows; ++row)
    for (std::int32_t latent = 0; latent < design.n_latents; ++latent) {
      const std::size_t at = index_of(row / candidates.n_draws * design.n_latents + latent);
      float& value = z[index_of(row * design.n_latents + latent)];
      value = prior.prior_mean[at] + std::exp(0.5f * prior.prior_log_var[at]) * value;
    }
  return z;
}

}  // namespace

std::vector<float> marginal_log_likelihoods(Device& device, const ModelDesign& design, const NamedTensors& tensors, const FleetData& data,
                                            const std::vector<std::int32_t>& rows, const LabelCandidates& candidates) {
  if (candidates.n_candidates < 1 || candidates.n_draws < 1) throw std::invalid_argument("a marginal likelihood needs candidates and draws");
  const std::int64_t n_rows = static_cast<std::int64_t>(rows.size());
  if (n_rows == 0) return {};
  const std::vector<float> z = prior_draws(device, design, tensors, candidates);

  ParameterLayout layout;
  const auto decoder = make_decoder<float>(layout, design);
  const bool learned = design.observation == Observation::gaussian_learned;
  const std::int32_t log_variance = learned ? layout.add_bias("observation.log_variance", design.n_outputs(), design.n_outputs()) : -1;
  Parameters<float> parameters(device, layout, 1, false);
  parameters.set(0, tensors);

  const SourceMatrix source(device, data.targets, data.n_rows, design.n_neurons);
  const Activations<float> target(device, 1, n_rows, design.n_outputs());
  const Array<std::int32_t> window_begin(device, design.decodes_window ? data.window_begin : std::vector<std::int32_t>());
  const Array<std::int32_t> chosen(device, rows);
  gather_rows(device.execution(), GatherRows<float>{.batch = static_cast<std::int32_t>(n_rows),
                                                    .n_features = design.n_neurons,
                                                    .window = design.decodes_window ? design.window : 1,
                                                    .source = source.data.data(),
                                                    .source_stride = source.stride,
                                                    .rows = chosen.data(),
                                                    .window_begin = design.decodes_window ? window_begin.data() : nullptr,
                                                    .side_by_side = true,
                                                    .out = target});

  const std::int64_t n_draws = candidates.n_draws, at_once = std::clamp<std::int64_t>(kDecodedRows / n_draws, 1, candidates.n_candidates);
  const std::int64_t n_decoded = at_once * n_draws, n_scored = std::min(n_rows, kScoredRows);
  decoder->plan(device, 1, n_decoded);
  const Activations<float> draws(device, 1, n_decoded, design.n_latents), scores(device, 1, n_scored, n_decoded);
  const Activations<float> values(device, 1, n_scored, at_once);
  const Array<float> offset(device, index_of(n_decoded));

  std::vector<float> result(index_of(n_rows * candidates.n_candidates)), part(values.memory().size());
  std::vector<float> chunk(draws.memory().size());
  for (std::int64_t first = 0; first < candidates.n_candidates; first += at_once) {
    const std::int64_t n_here = std::min(at_once, candidates.n_candidates - first);
    // What a last, short chunk has too many of repeats an earlier draw and is not looked at.
    for (std::int64_t row = 0; row < n_decoded; ++row) {
      const std::int64_t from = std::min(first * n_draws + row, candidates.n_candidates * n_draws - 1);
      std::copy_n(z.begin() + from * design.n_latents, design.n_latents, chunk.begin() + row * draws.rows().row_stride);
    }
    draws.memory().upload(chunk);
    decoder->forward(device, parameters, {}, draws);
    const Rows<float> decoded = decoder->value();
    natural_parameters(device.execution(), NaturalParameters<float>{.n_rows = n_decoded,
                                                                    .n_outputs = design.n_outputs(),
                                                                    .observation = design.observation,
                                                                    .output = design.output,
                                                                    .gaussian_variance = static_cast<float>(design.gaussian_variance),
                                                                    .pre = decoded,
                                                                    .log_variance = learned ? Rows<const float>(parameters.weights(log_variance))
                                                                                            : Rows<const float>(),
                                                                    .natural = decoded,
                                                                    .offset = offset.data(),
                                                                    .offset_stride = n_decoded});
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
                                                         .n_draws = candidates.n_draws,
                                                         .score = scores,
                                                         .offset = offset.data(),
                                                         .offset_stride = n_decoded,
                                                         .value = values});
      device.copy_out(part.data(), values.memory().data(), part.size() * sizeof(float));
      for (std::int64_t row = 0; row < n; ++row)
        std::copy_n(part.begin() + row * values.rows().row_stride, n_here, result.begin() + (begin + row) * candidates.n_candidates + first);
    }
  }
  return result;
}

}  // namespace idem
