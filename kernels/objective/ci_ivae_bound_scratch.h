// ci_ivae_bound_scratch.h - what the CPU twin of the CI-iVAE bound (objective.h) keeps of its rows: draws and alphas
// padded to whole registers.
#pragma once

#include <cstdint>
#include <vector>

#include "kernels/objective/ci_ivae_bound_row.h"

#if IDEM_COMPILES_CPU_TWINS

namespace idem {

// Draws and alphas lie along registers of 32 bytes, spelt out where a sum has to stay in them.
template <class Real>
struct Register {
  static constexpr int kLanes = 32 / sizeof(Real);
  typedef Real Value __attribute__((vector_size(32), aligned(sizeof(Real)), may_alias));

  static HD Real sum(const Value& value) {
    Real partial[kLanes];
    for (int lane = 0; lane < kLanes; ++lane) partial[lane] = value[lane];
    for (int width = kLanes / 2; width > 0; width /= 2) {
      for (int lane = 0; lane < width; ++lane) partial[lane] += partial[lane + width];
    }
    return partial[0];
  }
};

// What all rows of one call share: the grid padded to whole tiles. In the weights, the ends of the grid (where the skew
// terms are exactly 0) and the padding are replaced by 1/2, so that every factor has a logarithm.
template <class Real>
struct AlphaGrid {
  static constexpr int kTile = 2 * Register<Real>::kLanes;
  std::int32_t n_padded;
  std::vector<Real> weights;  // [2 x n_padded]: alpha, then 1 - alpha
  std::int32_t group;

  explicit AlphaGrid(const CiIvaeBound<Real>& p)
      : n_padded(static_cast<std::int32_t>(padded(p.n_alphas, kTile))),
        weights(static_cast<std::size_t>(2 * n_padded), Real(0.5)) {
    Real smallest = Real(0.5);
    for (std::int32_t i = 0; i < p.n_alphas; ++i) {
      if (!has_skew(p.skew_term, p.alphas[i])) continue;
      weights[static_cast<std::size_t>(i)] = p.alphas[i];
      weights[static_cast<std::size_t>(n_padded + i)] = Real(1) - p.alphas[i];
      smallest = stable::smaller(smallest, stable::smaller(p.alphas[i], Real(1) - p.alphas[i]));
    }
    group = factors_per_logarithm(smallest);
  }
};

// One of the two log ratios at every draw of a row. A factor is e + b (1 - e), with b = alpha or 1 - alpha by the
// ratio's sign.
template <class Real>
struct DrawRatios {
  std::vector<Real> log_ratio, e, one_minus_e, positive;
  std::vector<std::int32_t> weight_offset;  // of b in AlphaGrid::weights
  Real positive_sum = 0;

  explicit DrawRatios(std::size_t n_draws)
      : log_ratio(n_draws), e(n_draws), one_minus_e(n_draws), positive(n_draws), weight_offset(n_draws) {}
};

// Room for the rows of one task. Draws are padded to whole tiles with noise 0.
template <class Real>
struct BoundScratch {
  std::int64_t n_draws;
  std::vector<Real> noise;
  DrawRatios<Real> encoder, posterior;  // log q_p/q_e at the encoder's, log q_e/q_p at the posterior's samples
  std::vector<Real> skew_encoder, skew_posterior, loss;  // [alpha]
  std::vector<Real> e, log_sum, inverse_prior_sd;        // [row x latent], see LatentParts
  std::vector<LatentGap<Real>> gaps;                     // [latent]

  BoundScratch(const CiIvaeBound<Real>& p, const AlphaGrid<Real>& grid, std::int64_t n_rows)
      : n_draws(p.skew_term == SkewTerm::none ? 0 : padded(p.n_samples)),
        noise(static_cast<std::size_t>(n_draws * p.n_latents)),
        encoder(static_cast<std::size_t>(n_draws)),
        posterior(static_cast<std::size_t>(n_draws)) {
    for (std::vector<Real>* per_alpha : {&skew_encoder, &skew_posterior, &loss})
      per_alpha->resize(static_cast<std::size_t>(grid.n_padded));
    for (std::vector<Real>* per_latent : {&e, &log_sum, &inverse_prior_sd})
      per_latent->resize(static_cast<std::size_t>(n_rows * p.n_latents));
    gaps.reserve(static_cast<std::size_t>(p.n_latents));
  }
};

}  // namespace idem

#endif
