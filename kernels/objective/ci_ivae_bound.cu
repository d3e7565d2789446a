#include <vector>

#include "kernels/common/cuda.h"
#include "kernels/common/fixed_order_sum.h"
#include "kernels/common/stable_math.h"
#include "kernels/objective/ci_ivae_bound_row.h"
#include "kernels/objective/ci_ivae_bound_scratch.h"
#include "kernels/objective/ci_ivae_bound_warp.h"
#include "kernels/objective/objective.h"

namespace idem {

#if IDEM_COMPILES_CPU_TWINS
// In: log variances in place of e and log_sum.
template <class Real>
IDEM_SIMD_CLONES static void latent_parts(Real* e, Real* log_sum, Real* inverse_prior_sd, std::int64_t n) {
  for (std::int64_t i = 0; i < n; ++i) {
    const LatentParts<Real> parts(e[i], log_sum[i]);
    e[i] = parts.e;
    log_sum[i] = parts.log_sum;
    inverse_prior_sd[i] = parts.inverse_prior_sd;
  }
}

template <class Real>
HD void split_log_ratios(Real* log_ratio, Real* e, Real* one_minus_e, Real* positive, std::int64_t n_draws) {
  for (std::int64_t draw = 0; draw < n_draws; ++draw) {
    const Real t = Real(0.5) * log_ratio[draw], magnitude_e = stable::exp(-stable::magnitude(t));
    log_ratio[draw] = t;
    e[draw] = magnitude_e;
    one_minus_e[draw] = Real(1) - magnitude_e;
    positive[draw] = stable::larger(t, Real(0));
  }
}

template <class Real>
IDEM_SIMD_CLONES static void log_ratios(const CiIvaeBound<Real>& p, const AlphaGrid<Real>& grid, const Real* noise,
                                        BoundScratch<Real>& scratch) {
  DrawRatios<Real>&encoder = scratch.encoder, &posterior = scratch.posterior;
  Real *log_ratio_encoder = encoder.log_ratio.data(), *log_ratio_posterior = posterior.log_ratio.data();
  const std::int64_t n_draws = scratch.n_draws;
  Real softplus = 0;
  for (const LatentGap<Real>& gap : scratch.gaps) softplus += gap.softplus;
  for (std::int64_t draw = 0; draw < n_draws; ++draw) log_ratio_encoder[draw] = softplus;
  for (std::int64_t draw = 0; draw < n_draws; ++draw) log_ratio_posterior[draw] = -softplus;
  for (std::int32_t latent = 0; latent < p.n_latents; ++latent) {
    const LatentGap<Real> gap = scratch.gaps[static_cast<std::size_t>(latent)];
    Real* padded_noise = scratch.noise.data() + latent * n_draws;
    const Real* from = noise + static_cast<std::int64_t>(latent) * p.n_samples;
    for (std::int32_t draw = 0; draw < p.n_samples; ++draw) padded_noise[draw] = from[draw];
    for (std::int64_t draw = 0; draw < n_draws; ++draw) {
      add_twice_log_ratio_encoder(gap, padded_noise[draw], log_ratio_encoder[draw]);
      add_twice_log_ratio_posterior(gap, padded_noise[draw], log_ratio_posterior[draw]);
    }
  }
  split_log_ratios(log_ratio_encoder, encoder.e.data(), encoder.one_minus_e.data(), encoder.positive.data(), n_draws);
  split_log_ratios(log_ratio_posterior, posterior.e.data(), posterior.one_minus_e.data(), posterior.positive.data(),
                   n_draws);
  std::int32_t *offset_encoder = encoder.weight_offset.data(), *offset_posterior = posterior.weight_offset.data();
  const std::int32_t n_padded = grid.n_padded;
  for (std::int64_t draw = 0; draw < n_draws; ++draw)
    offset_encoder[draw] = log_ratio_encoder[draw] > Real(0) ? n_padded : 0;
  for (std::int64_t draw = 0; draw < n_draws; ++draw)
    offset_posterior[draw] = log_ratio_posterior[draw] > Real(0) ? 0 : n_padded;
  encoder.positive_sum = fixed_order_sum(encoder.positive.data(), p.n_samples);
  posterior.positive_sum = fixed_order_sum(posterior.positive.data(), p.n_samples);
}

// S_e and S_p for every alpha of the grid, vectorised over alphas.
template <class Real>
IDEM_SIMD_CLONES static void skew_terms(const CiIvaeBound<Real>& p, const AlphaGrid<Real>& grid,
                                        BoundScratch<Real>& scratch) {
  using Value = typename Register<Real>::Value;
  constexpr int kLanes = Register<Real>::kLanes, kTile = AlphaGrid<Real>::kTile;
  const Real scale = Real(-1) / static_cast<Real>(p.n_samples);
  const DrawRatios<Real>&encoder = scratch.encoder, &posterior = scratch.posterior;
  const Real *e_encoder = encoder.e.data(), *e_posterior = posterior.e.data();
  const Real *rest_encoder = encoder.one_minus_e.data(), *rest_posterior = posterior.one_minus_e.data();
  const std::int32_t *offset_encoder = encoder.weight_offset.data(), *offset_posterior = posterior.weight_offset.data();
  for (std::int32_t first = 0; first < grid.n_padded; first += kTile) {
    const Real* weights = grid.weights.data() + first;
    Real log_encoder[kTile] = {}, log_posterior[kTile] = {};
    for (std::int32_t begin = 0; begin < p.n_samples; begin += grid.group) {
      const std::int32_t end = begin + grid.group < p.n_samples ? begin + grid.group : p.n_samples;
      Value encoder_0 = Value{} + Real(1), encoder_1 = encoder_0, posterior_0 = encoder_0, posterior_1 = encoder_0;
      for (std::int32_t draw = begin; draw < end; ++draw) {
        const auto* weight = reinterpret_cast<const Value*>(weights + offset_encoder[draw]);
        encoder_0 *= e_encoder[draw] + weight[0] * rest_encoder[draw];
        encoder_1 *= e_encoder[draw] + weight[1] * rest_encoder[draw];
        weight = reinterpret_cast<const Value*>(weights + offset_posterior[draw]);
        posterior_0 *= e_posterior[draw] + weight[0] * rest_posterior[draw];
        posterior_1 *= e_posterior[draw] + weight[1] * rest_posterior[draw];
      }
      Real product_encoder[kTile], product_posterior[kTile];
      *reinterpret_cast<Value*>(product_encoder) = encoder_0;
      *reinterpret_cast<Value*>(product_encoder + kLanes) = encoder_1;
      *reinterpret_cast<Value*>(product_posterior) = posterior_0;
      *reinterpret_cast<Value*>(product_posterior + kLanes) = posterior_1;
      for (int i = 0; i < kTile; ++i) log_encoder[i] += stable::log_of_normal(product_encoder[i]);
      for (int i = 0; i < kTile; ++i) log_posterior[i] += stable::log_of_normal(product_posterior[i]);
    }
    Real *skew_encoder = scratch.skew_encoder.data() + first, *skew_posterior = scratch.skew_posterior.data() + first;
    for (int i = 0; i < kTile; ++i) skew_encoder[i] = scale * (encoder.positive_sum + log_encoder[i]);
    for (int i = 0; i < kTile; ++i) skew_posterior[i] = scale * (posterior.positive_sum + log_posterior[i]);
  }
}

// The loss of a row for every alpha.
template <class Real>
IDEM_SIMD_CLONES static void losses(const CiIvaeBound<Real>& p, Real skew_scale, Real loss_posterior, Real loss_encoder,
                                    BoundScratch<Real>& scratch) {
  Real* loss = scratch.loss.data();
  const Real *alphas = p.alphas, *skew_encoder = scratch.skew_encoder.data(),
             *skew_posterior = scratch.skew_posterior.data();
  const std::int32_t n_alphas = p.n_alphas;
  const SkewTerm term = p.skew_term;
  for (std::int32_t i = 0; i < n_alphas; ++i) loss[i] = mixed_loss(alphas[i], loss_posterior, loss_encoder);
  if (term == SkewTerm::none) return;
  for (std::int32_t i = 0; i < n_alphas; ++i) {
    const Real part = skew_part(term, skew_scale, alphas[i], skew_encoder[i], skew_posterior[i]);
    loss[i] += has_skew(term, alphas[i]) ? part : Real(0);
  }
}

// Replaces log ratios by weights: d loss / d log ratio of each draw at the chosen alpha. Returns their sum.
template <class Real>
IDEM_SIMD_CLONES static Real draw_weights(Real weight_of_one, Real weight_of_ratio, Real scale, std::int64_t n_samples,
                                          DrawRatios<Real>& ratios) {
  Real* log_ratio = ratios.log_ratio.data();
  const Real* e = ratios.e.data();
  const auto n_draws = static_cast<std::int64_t>(ratios.e.size());
  for (std::int64_t draw = 0; draw < n_draws; ++draw) {
    log_ratio[draw] = scale * log_mixture_slope(weight_of_one, weight_of_ratio, log_ratio[draw], e[draw]);
  }
  for (std::int64_t draw = n_samples; draw < n_draws; ++draw) log_ratio[draw] = Real(0);
  return fixed_order_sum(log_ratio, n_draws);
}

template <class Real>
IDEM_SIMD_CLONES static DrawSums<Real> draw_sums(const LatentGap<Real>& gap, const Real* noise,
                                                 const BoundScratch<Real>& scratch) {
  using Value = typename Register<Real>::Value;
  constexpr int kLanes = Register<Real>::kLanes;
  Value encoder_q{}, encoder_q_noise{}, posterior_w{}, posterior_w_square{};
  for (std::int64_t draw = 0; draw < scratch.n_draws; draw += kLanes) {
    const Value eps = *reinterpret_cast<const Value*>(noise + draw);
    const Value encoder = *reinterpret_cast<const Value*>(scratch.encoder.log_ratio.data() + draw);
    const Value posterior = *reinterpret_cast<const Value*>(scratch.posterior.log_ratio.data() + draw);
    const Value q = encoder * (gap.stretch * eps - gap.shift), w = eps + gap.shift, weighted_w = posterior * w;
    encoder_q += q;
    encoder_q_noise += q * eps;
    posterior_w += weighted_w;
    posterior_w_square += weighted_w * w;
  }
  return {Register<Real>::sum(encoder_q), Register<Real>::sum(encoder_q_noise), Register<Real>::sum(posterior_w),
          Register<Real>::sum(posterior_w_square)};
}

// parts_row: the row's place in the scratch's latent parts.
template <class Real>
static void bound_row(const CiIvaeBound<Real>& p, const AlphaGrid<Real>& grid, std::int64_t member, std::int64_t row,
                      std::int64_t parts_row, BoundScratch<Real>& scratch) {
  const std::int64_t at = member * p.row_scalar_stride + row;
  const Real *mean = p.mean.row(member, row), *log_var = p.log_var.row(member, row);
  const Real *prior_mean = p.prior_mean.row(member, row), *prior_log_var = p.prior_log_var.row(member, row);
  const Real row_weight = p.row_weight[at], kl_scale = p.kl_scale[member];
  Real kl_encoder = 0, kl_posterior = 0;
  scratch.gaps.clear();
  for (std::int32_t latent = 0; latent < p.n_latents; ++latent) {
    const auto part = static_cast<std::size_t>(parts_row * p.n_latents + latent);
    const LatentParts<Real> parts(scratch.e[part], scratch.log_sum[part], scratch.inverse_prior_sd[part]);
    const LatentGap<Real>& gap =
        scratch.gaps.emplace_back(mean[latent], log_var[latent], prior_mean[latent], prior_log_var[latent], parts);
    kl_encoder += gap.kl_encoder();
    kl_posterior += gap.kl_posterior();
  }
  const Real skew_scale = p.skew_term == SkewTerm::paper ? p.skew_scale[member] : Real(1);
  if (p.skew_term != SkewTerm::none) {
    log_ratios(p, grid, p.noise.row(member, row), scratch);
    skew_terms(p, grid, scratch);
  }
  losses(p, skew_scale, scalar_or(p.loss_posterior, at, Real(0)) + kl_scale * kl_posterior,
         scalar_or(p.loss_encoder, at, Real(0)) + kl_scale * kl_encoder, scratch);
  std::int32_t chosen = 0;
  Real best = scratch.loss[0];
  for (std::int32_t i = 1; i < p.n_alphas; ++i) {
    const Real loss = scratch.loss[static_cast<std::size_t>(i)];
    if (is_better(loss, best)) best = loss, chosen = i;
  }
  if (p.loss_grid) {
    for (std::int32_t i = 0; i < p.n_alphas; ++i)
      p.loss_grid.row(member, row)[i] = scratch.loss[static_cast<std::size_t>(i)];
  }
  const Real alpha = p.alphas[chosen];
  const bool skew_has_gradient = has_skew(p.skew_term, alpha);
  const Real skew_encoder = scratch.skew_encoder[static_cast<std::size_t>(chosen)];
  const Real skew_posterior = scratch.skew_posterior[static_cast<std::size_t>(chosen)];
  p.loss[at] = best;
  p.kl_encoder[at] = kl_encoder;
  p.kl_posterior[at] = kl_posterior;
  p.skew[at] = skew_has_gradient ? skew_part(p.skew_term, skew_scale, alpha, skew_encoder, skew_posterior) : Real(0);
  p.alpha[at] = alpha;
  p.alpha_index[at] = chosen;
  if (p.weight_posterior) p.weight_posterior[at] = row_weight * (Real(1) - alpha);
  if (p.weight_encoder) p.weight_encoder[at] = row_weight * alpha;

  Real encoder_weight_sum = 0, posterior_weight_sum = 0;
  if (skew_has_gradient) {
    const SkewWeights<Real> d_skew = skew_weights(p.skew_term, skew_scale, alpha, skew_encoder, skew_posterior);
    const Real n = static_cast<Real>(p.n_samples);
    encoder_weight_sum = draw_weights(alpha, Real(1) - alpha, -d_skew.encoder / n, p.n_samples, scratch.encoder);
    posterior_weight_sum = draw_weights(Real(1) - alpha, alpha, -d_skew.posterior / n, p.n_samples, scratch.posterior);
  }
  Real *d_mean = p.d_mean.row(member, row), *d_log_var = p.d_log_var.row(member, row);
  Real *d_prior_mean = p.d_prior_mean.row(member, row), *d_prior_log_var = p.d_prior_log_var.row(member, row);
  for (std::int32_t latent = 0; latent < p.n_latents; ++latent) {
    const LatentGap<Real>& gap = scratch.gaps[static_cast<std::size_t>(latent)];
    DrawSums<Real> sums;
    if (skew_has_gradient) sums = draw_sums(gap, scratch.noise.data() + latent * scratch.n_draws, scratch);
    const LatentBoundGradient<Real> d(gap, row_weight, kl_scale * alpha, kl_scale * (Real(1) - alpha),
                                      encoder_weight_sum, posterior_weight_sum, sums);
    d_mean[latent] = d.mean;
    d_log_var[latent] = d.log_var;
    d_prior_mean[latent] = d.prior_mean;
    d_prior_log_var[latent] = d.prior_log_var;
  }
}

template <class Real>
void ci_ivae_bound_cpu(const CiIvaeBound<Real>& p, ThreadPool& pool) {
  const AlphaGrid<Real> grid(p);
  for_each_row_block(pool, p.fleet, p.batch, 16, [&](std::int64_t member, std::int64_t begin, std::int64_t end) {
    BoundScratch<Real> scratch(p, grid, end - begin);
    std::size_t part = 0;
    for (std::int64_t row = begin; row < end; ++row) {
      for (std::int32_t latent = 0; latent < p.n_latents; ++latent, ++part) {
        scratch.e[part] = p.log_var.row(member, row)[latent];
        scratch.log_sum[part] = p.prior_log_var.row(member, row)[latent];
      }
    }
    latent_parts(scratch.e.data(), scratch.log_sum.data(), scratch.inverse_prior_sd.data(),
                 static_cast<std::int64_t>(part));
    for (std::int64_t row = begin; row < end; ++row) bound_row(p, grid, member, row, row - begin, scratch);
  });
}
IDEM_INSTANTIATE_CPU(ci_ivae_bound, CiIvaeBound)
#endif

#if IDEM_COMPILES_CUDA_TWINS
static __device__ __forceinline__ std::int32_t factors_of_grid(const CiIvaeBound<float>& p, int lane) {
  float smallest = 0.5f;
  for (std::int32_t i = lane; i < p.n_alphas; i += 32) {
    if (has_skew(p.skew_term, p.alphas[i])) smallest = fminf(smallest, fminf(p.alphas[i], 1.0f - p.alphas[i]));
  }
  return factors_per_logarithm(-cu::warp_max(-smallest));
}

// Leaves twice the log ratios; returns the KLs.
static __device__ __forceinline__ OfBoth sum_over_latents(const CiIvaeBound<float>& p, const BoundRow& row,
                                                          const BoundShared& of) {
  OfBoth kl;
  for (std::int32_t latent = 0; latent < p.n_latents; ++latent) {
    const LatentGap<float> gap = row.gap(latent);
    kl.encoder += gap.kl_encoder();
    kl.posterior += gap.kl_posterior();
    for (int draw = row.lane; draw < row.n_draws; draw += 32) {
      const float eps = row.noise[static_cast<std::int64_t>(latent) * row.n_draws + draw];
      float encoder = latent == 0 ? 0.0f : of.log_ratio_encoder[draw];
      float posterior = latent == 0 ? 0.0f : of.log_ratio_posterior[draw];
      encoder += gap.softplus;
      posterior -= gap.softplus;
      add_twice_log_ratio_encoder(gap, eps, encoder);
      add_twice_log_ratio_posterior(gap, eps, posterior);
      of.log_ratio_encoder[draw] = encoder;
      of.log_ratio_posterior[draw] = posterior;
    }
  }
  return kl;
}

// Leaves log ratios and the parts of their factors; returns the sums of max(log ratio, 0).
static __device__ __forceinline__ OfBoth split_into_factors(const BoundRow& row, const BoundShared& of) {
  OfBoth positive;
  for (int draw = row.lane; draw < row.n_draws; draw += 32) {
    const float t = 0.5f * of.log_ratio_encoder[draw], u = 0.5f * of.log_ratio_posterior[draw];
    const float e_encoder = stable::exp(-stable::magnitude(t)), e_posterior = stable::exp(-stable::magnitude(u));
    of.log_ratio_encoder[draw] = t;
    of.log_ratio_posterior[draw] = u;
    of.encoder_one[draw] = t > 0.0f ? e_encoder : 1.0f;
    of.encoder_ratio[draw] = t > 0.0f ? 1.0f : e_encoder;
    of.posterior_one[draw] = u > 0.0f ? e_posterior : 1.0f;
    of.posterior_ratio[draw] = u > 0.0f ? 1.0f : e_posterior;
    positive.encoder += t > 0.0f ? t : 0.0f;
    positive.posterior += u > 0.0f ? u : 0.0f;
  }
  positive.encoder = cu::warp_sum(positive.encoder);
  positive.posterior = cu::warp_sum(positive.posterior);
  return positive;
}

// Leaves log_sums [2 * half + (0: encoder, 1: posterior)][alpha]. A lane takes one half of one ratio of an alpha at a
// time: of 39 alphas that keeps 31 of 32 lanes busy, where an alpha each would leave 12 idle.
static __device__ __forceinline__ void sum_logarithms(const CiIvaeBound<float>& p, const BoundShared& of, int n_draws,
                                                      std::int32_t group, int lane) {
  const int n_groups = (n_draws + group - 1) / group,
            half = (n_groups + BoundShared::kHalves - 1) / BoundShared::kHalves * group;
  for (std::int32_t task = lane; task < 2 * BoundShared::kHalves * p.n_alphas; task += 32) {
    const std::int32_t part = task / p.n_alphas;
    const float alpha = p.alphas[task - part * p.n_alphas], other = 1.0f - alpha;
    const bool is_encoder = part % 2 == 0;
    const float *one = is_encoder ? of.encoder_one : of.posterior_one,
                *ratio = is_encoder ? of.encoder_ratio : of.posterior_ratio;
    const float of_one = is_encoder ? alpha : other, of_ratio = is_encoder ? other : alpha;
    const int first = part / 2 * half, last = first + half < n_draws ? first + half : n_draws;
    float sum = 0.0f;
    for (int begin = first; begin < last && has_skew(p.skew_term, alpha); begin += group) {
      const int end = begin + group < last ? begin + group : last;
      float factors = 1.0f;
      for (int draw = begin; draw < end; ++draw) factors *= of_one * one[draw] + of_ratio * ratio[draw];
      sum += stable::log_of_normal(factors);
    }
    of.log_sums[task] = sum;
  }
}

// An alpha of the grid, its loss and its skew terms.
struct ChosenAlpha {
  float loss = 0.0f;
  OfBoth skew;
  std::int32_t index = -1;
};

// The lanes' best of all, the lowest index on ties.
static __device__ __forceinline__ ChosenAlpha best_of_lanes(ChosenAlpha best) {
  for (int offset = 16; offset > 0; offset /= 2) {
    const float loss = __shfl_xor_sync(0xffffffffu, best.loss, offset);
    const float skew_encoder = __shfl_xor_sync(0xffffffffu, best.skew.encoder, offset);
    const float skew_posterior = __shfl_xor_sync(0xffffffffu, best.skew.posterior, offset);
    const std::int32_t index = __shfl_xor_sync(0xffffffffu, best.index, offset);
    const bool equal = loss == best.loss || (loss != loss && best.loss != best.loss);
    if (index >= 0 && (best.index < 0 || is_better(loss, best.loss) || (equal && index < best.index))) {
      best.loss = loss;
      best.skew.encoder = skew_encoder;
      best.skew.posterior = skew_posterior;
      best.index = index;
    }
  }
  return best;
}

static __device__ __forceinline__ ChosenAlpha search_grid(const CiIvaeBound<float>& p, const BoundRow& row,
                                                          const BoundShared& of, const OfBoth& kl,
                                                          const OfBoth& positive) {
  const float loss_posterior = scalar_or(p.loss_posterior, row.at, 0.0f) + row.kl_scale * kl.posterior;
  const float loss_encoder = scalar_or(p.loss_encoder, row.at, 0.0f) + row.kl_scale * kl.encoder;
  ChosenAlpha best;
  for (std::int32_t i = row.lane; i < p.n_alphas; i += 32) {
    const float alpha = p.alphas[i];
    OfBoth skew_terms;
    if (has_skew(p.skew_term, alpha)) {
      const float log_encoder = of.log_sums[i] + of.log_sums[2 * p.n_alphas + i];
      const float log_posterior = of.log_sums[p.n_alphas + i] + of.log_sums[3 * p.n_alphas + i];
      skew_terms.encoder = -(positive.encoder + log_encoder) / static_cast<float>(row.n_draws);
      skew_terms.posterior = -(positive.posterior + log_posterior) / static_cast<float>(row.n_draws);
    }
    const float skew = has_skew(p.skew_term, alpha)
                           ? skew_part(p.skew_term, row.skew_scale, alpha, skew_terms.encoder, skew_terms.posterior)
                           : 0.0f;
    const float loss = mixed_loss(alpha, loss_posterior, loss_encoder) + skew;
    if (p.loss_grid) p.loss_grid.row(row.member, row.row)[i] = loss;
    if (best.index < 0 || is_better(loss, best.loss)) {
      best.loss = loss;
      best.skew = skew_terms;
      best.index = i;
    }
  }
  return best_of_lanes(best);
}

static __device__ __forceinline__ void write_scalars(const CiIvaeBound<float>& p, const BoundRow& row, const OfBoth& kl,
                                                     const ChosenAlpha& chosen, float alpha, bool skew_has_gradient) {
  p.loss[row.at] = chosen.loss;
  p.kl_encoder[row.at] = kl.encoder;
  p.kl_posterior[row.at] = kl.posterior;
  p.skew[row.at] = skew_has_gradient
                       ? skew_part(p.skew_term, row.skew_scale, alpha, chosen.skew.encoder, chosen.skew.posterior)
                       : 0.0f;
  p.alpha[row.at] = alpha;
  p.alpha_index[row.at] = chosen.index;
  if (p.weight_posterior) p.weight_posterior[row.at] = row.row_weight * (1.0f - alpha);
  if (p.weight_encoder) p.weight_encoder[row.at] = row.row_weight * alpha;
}

// Replaces log ratios by weights: d loss / d log ratio of each draw at the chosen alpha. Returns their sums. The log
// ratios are read and replaced by the lane that wrote them.
static __device__ __forceinline__ OfBoth weigh_draws(const CiIvaeBound<float>& p, const BoundRow& row,
                                                     const BoundShared& of, const ChosenAlpha& chosen, float alpha) {
  OfBoth sum;
  const SkewWeights<float> d_skew =
      skew_weights(p.skew_term, row.skew_scale, alpha, chosen.skew.encoder, chosen.skew.posterior);
  const float scale_encoder = -d_skew.encoder / static_cast<float>(row.n_draws);
  const float scale_posterior = -d_skew.posterior / static_cast<float>(row.n_draws);
  for (int draw = row.lane; draw < row.n_draws; draw += 32) {
    const float t = of.log_ratio_encoder[draw], u = of.log_ratio_posterior[draw];
    of.log_ratio_encoder[draw] =
        scale_encoder * log_mixture_slope(alpha, 1.0f - alpha, t, stable::exp(-stable::magnitude(t)));
    of.log_ratio_posterior[draw] =
        scale_posterior * log_mixture_slope(1.0f - alpha, alpha, u, stable::exp(-stable::magnitude(u)));
    sum.encoder += of.log_ratio_encoder[draw];
    sum.posterior += of.log_ratio_posterior[draw];
  }
  sum.encoder = cu::warp_sum(sum.encoder);
  sum.posterior = cu::warp_sum(sum.posterior);
  return sum;
}

static __device__ __forceinline__ DrawSums<float> sum_draws(const BoundRow& row, const BoundShared& of,
                                                            const LatentGap<float>& gap, std::int32_t latent) {
  DrawSums<float> sums;
  for (int draw = row.lane; draw < row.n_draws; draw += 32) {
    const float eps = row.noise[static_cast<std::int64_t>(latent) * row.n_draws + draw];
    const float q = of.log_ratio_encoder[draw] * (gap.stretch * eps - gap.shift);
    const float w = eps + gap.shift, weighted_w = of.log_ratio_posterior[draw] * w;
    sums.encoder_q += q;
    sums.encoder_q_noise += q * eps;
    sums.posterior_w += weighted_w;
    sums.posterior_w_square += weighted_w * w;
  }
  return {cu::warp_sum(sums.encoder_q), cu::warp_sum(sums.encoder_q_noise), cu::warp_sum(sums.posterior_w),
          cu::warp_sum(sums.posterior_w_square)};
}

// One warp per row. Draws lie along the lanes while log ratios and gradients are made, alphas while the grid is
// searched.
__global__ void __launch_bounds__(128, 6) ci_ivae_bound_kernel(CiIvaeBound<float> p) {
  CU_DYN_SHARED(float, shared);
  const int lane = static_cast<int>(threadIdx.x % 32), warps = static_cast<int>(blockDim.x / 32),
            warp = static_cast<int>(threadIdx.x / 32);
  const bool skewed = p.skew_term != SkewTerm::none;
  const int n_draws = skewed ? p.n_samples : 0;
  const BoundShared of(shared, warp, n_draws, p.n_alphas);
  const std::int32_t group = factors_of_grid(p, lane);

  for (std::int64_t member = blockIdx.y; member < p.fleet.n_members; member += gridDim.y) {
    if (!p.fleet.is_active(member)) continue;
    const float kl_scale = p.kl_scale[member],
                skew_scale = p.skew_term == SkewTerm::paper ? p.skew_scale[member] : 1.0f;
    for (std::int64_t place = static_cast<std::int64_t>(blockIdx.x) * warps + warp; place < p.batch;
         place += static_cast<std::int64_t>(gridDim.x) * warps) {
      const BoundRow row(p, member, place, kl_scale, skew_scale, lane, n_draws);
      const OfBoth kl = sum_over_latents(p, row, of), positive = split_into_factors(row, of);
      __syncwarp();
      if (skewed) sum_logarithms(p, of, row.n_draws, group, lane);
      __syncwarp();
      const ChosenAlpha chosen = search_grid(p, row, of, kl, positive);
      const float alpha = p.alphas[chosen.index];
      const bool skew_has_gradient = has_skew(p.skew_term, alpha);
      if (lane == 0) write_scalars(p, row, kl, chosen, alpha, skew_has_gradient);
      OfBoth weight_sum;
      if (skew_has_gradient) weight_sum = weigh_draws(p, row, of, chosen, alpha);
      for (std::int32_t latent = 0; latent < p.n_latents; ++latent) {
        const LatentGap<float> gap = row.gap(latent);
        DrawSums<float> sums;
        if (skew_has_gradient) sums = sum_draws(row, of, gap, latent);
        if (lane == 0) {
          const LatentBoundGradient<float> d(gap, row.row_weight, kl_scale * alpha, kl_scale * (1.0f - alpha),
                                             weight_sum.encoder, weight_sum.posterior, sums);
          p.d_mean.row(member, place)[latent] = d.mean;
          p.d_log_var.row(member, place)[latent] = d.log_var;
          p.d_prior_mean.row(member, place)[latent] = d.prior_mean;
          p.d_prior_log_var.row(member, place)[latent] = d.prior_log_var;
        }
      }
    }
  }
}

void ci_ivae_bound_cuda(const CiIvaeBound<float>& p, Stream stream) {
  const std::size_t bytes_per_warp =
      BoundShared::n_floats(p.skew_term == SkewTerm::none ? 0 : p.n_samples, p.n_alphas) * sizeof(float);
  int warps = cu::threads(128) / 32;
  while (warps > 1 && static_cast<std::size_t>(warps) * bytes_per_warp > 48 * 1024) --warps;
  const dim3 grid(cu::grid_extent((p.batch + warps - 1) / warps, 0x7fffffffu), cu::grid_extent(p.fleet.n_members));
  cu::launch("ci_ivae_bound", ci_ivae_bound_kernel, grid, dim3(static_cast<unsigned>(32 * warps)),
             static_cast<std::size_t>(warps) * bytes_per_warp, stream, p);
}
#endif

}  // namespace idem
