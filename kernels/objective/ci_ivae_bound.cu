#include <vector>

#include "kernels/common/cuda.h"
#include "kernels/common/fixed_order_sum.h"
#include "kernels/common/stable_math.h"
#include "kernels/objective/objective.h"

// The skew terms are means over draws of log(a + c e^t), with (a, c) = (alpha, 1 - alpha) or the reverse and t a log ratio of densities. With
// e = e^-|t| this is max(t, 0) plus the log of a factor: a + c e for t <= 0, a e + c else. Only the factor depends on alpha, and it lies
// between the smaller of a and c and 1, so that many factors are multiplied before one logarithm is taken.

namespace idem {

// The parts of a latent that take an exponential or a logarithm.
template <class Real>
struct LatentParts {
  Real e, log_sum, inverse_prior_sd;  // e^-|d| with d = l - r, log(1 + e), e^{-r/2}

  HD LatentParts(Real log_var, Real prior_log_var)
      : e(stable::exp(-stable::magnitude(log_var - prior_log_var))), log_sum(stable::log1p_of_unit(e)),
        inverse_prior_sd(stable::exp(Real(-0.5) * prior_log_var)) {}
  HD LatentParts(Real e_, Real log_sum_, Real inverse_prior_sd_) : e(e_), log_sum(log_sum_), inverse_prior_sd(inverse_prior_sd_) {}
};

// One latent of one row: what KLs, log ratios and gradients need of (m, l, lambda, r).
template <class Real>
struct LatentGap {
  Real exp_gap, prior_weight, data_weight;   // e^d, s = sigmoid(d), 1 - s
  Real softplus, softplus_minus;             // of d and -d
  Real inverse_prior_sd, mean_gap;           // e^{-r/2}, Delta
  Real root_prior_weight, root_data_weight;  // sqrt s, sqrt(1 - s)
  Real stretch, stretch_minus_one;           // kappa = 1 / sqrt(1 - s), and what is left of it when d is very negative
  Real shift, d_shift;                       // delta = -Delta sqrt s, d delta / d d

  HD LatentGap(Real mean, Real log_var, Real prior_mean, Real prior_log_var, const LatentParts<Real>& parts) {
    const Real gap = log_var - prior_log_var, e = parts.e, larger_weight = Real(1) / (Real(1) + e);
    const bool encoder_is_narrower = gap < Real(0);
    exp_gap = encoder_is_narrower ? e : Real(1) / e;
    prior_weight = encoder_is_narrower ? e * larger_weight : larger_weight;
    data_weight = encoder_is_narrower ? larger_weight : e * larger_weight;
    softplus = stable::larger(gap, Real(0)) + parts.log_sum;
    softplus_minus = stable::larger(-gap, Real(0)) + parts.log_sum;
    inverse_prior_sd = parts.inverse_prior_sd;
    mean_gap = (mean - prior_mean) * inverse_prior_sd;
    root_prior_weight = stable::sqrt(prior_weight);
    root_data_weight = stable::sqrt(data_weight);
    stretch = stable::sqrt(Real(1) + exp_gap);
    if (gap > Real(80)) {  // only without a bound on log variances: e is about to become 0, before e^d overflows and long before its root does
      exp_gap = stable::exp(gap);
      stretch = stable::exp(Real(0.5) * gap);
    }
    stretch_minus_one = encoder_is_narrower ? e / (Real(1) + stretch) : stretch - Real(1);
    shift = -mean_gap * root_prior_weight;
    d_shift = Real(0.5) * shift * data_weight;
  }

  HD Real kl_encoder() const { return Real(0.5) * (exp_gap - (softplus - softplus_minus) + mean_gap * mean_gap - Real(1)); }
  HD Real kl_posterior() const {
    const Real shrunk = data_weight * mean_gap;
    return Real(0.5) * (softplus_minus + prior_weight + shrunk * shrunk - Real(1));
  }
};

// This latent's part of the log ratios at a standard normal draw, as products of a difference and a sum, which keep their digits.
// 2 log q_p/q_e at the encoder's sample, less softplus(d).
template <class Real, class Value>
HD void add_twice_log_ratio_encoder(const LatentGap<Real>& g, const Value& noise, Value& sum) {
  sum += (g.shift - g.stretch_minus_one * noise) * ((Real(1) + g.stretch) * noise - g.shift);
}
// 2 log q_e/q_p at the posterior's sample, plus softplus(d). 1 - sqrt(1 - s) = s / (1 + sqrt(1 - s)).
template <class Real, class Value>
HD void add_twice_log_ratio_posterior(const LatentGap<Real>& g, const Value& noise, Value& sum) {
  const Real narrowing = g.prior_weight / (Real(1) + g.root_data_weight), shift = g.root_data_weight * g.shift;
  sum += (narrowing * noise - shift) * ((Real(1) + g.root_data_weight) * noise + shift);
}

// Gradients of the loss of a row with respect to its skew terms S_e and S_p at the chosen alpha.
template <class Real>
struct SkewWeights {
  Real encoder = 0, posterior = 0;
};
template <class Real>
HD Real sign_of(Real x) {
  return x > Real(0) ? Real(1) : (x < Real(0) ? Real(-1) : Real(0));
}
template <class Real>
HD SkewWeights<Real> skew_weights(SkewTerm term, Real skew_scale, Real alpha, Real skew_encoder, Real skew_posterior) {
  if (term == SkewTerm::paper) return {-skew_scale * alpha, -skew_scale * (Real(1) - alpha)};
  return {alpha * sign_of(skew_encoder), (Real(1) - alpha) * sign_of(skew_posterior)};
}
template <class Real>
HD Real skew_part(SkewTerm term, Real skew_scale, Real alpha, Real skew_encoder, Real skew_posterior) {
  if (term == SkewTerm::paper) return -skew_scale * (alpha * skew_encoder + (Real(1) - alpha) * skew_posterior);
  return alpha * stable::magnitude(skew_encoder) + (Real(1) - alpha) * stable::magnitude(skew_posterior);
}

template <class Real>
HD bool has_skew(SkewTerm term, Real alpha) {
  return term != SkewTerm::none && alpha > Real(0) && alpha < Real(1);
}

// alpha L1 + (1 - alpha) L0. A loss of weight 0 is not looked at: nothing may have computed it.
template <class Real>
HD Real mixed_loss(Real alpha, Real loss_posterior, Real loss_encoder) {
  return (alpha > Real(0) ? alpha * loss_encoder : Real(0)) + (alpha < Real(1) ? (Real(1) - alpha) * loss_posterior : Real(0));
}

// Whether `loss` takes over from `best` before it in the grid. A NaN takes over from any number, so that it stays visible.
template <class Real>
HD bool is_better(Real loss, Real best) {
  return loss < best || (loss != loss && best == best);
}

// d log(a + c e^t) / dt, with e = e^-|t|.
template <class Real>
HD Real log_mixture_slope(Real weight_of_one, Real weight_of_ratio, Real log_ratio, Real e) {
  const Real of_one = log_ratio > Real(0) ? weight_of_one * e : weight_of_one, of_ratio = log_ratio > Real(0) ? weight_of_ratio : weight_of_ratio * e;
  return of_ratio / (of_one + of_ratio);
}

// Weighted sums over the draws, which the gradients of one latent are made of. With q = kappa eps - delta and w = eps + delta; the weights are
// d loss / d log ratio of each draw.
template <class Real>
struct DrawSums {
  Real encoder_q = 0, encoder_q_noise = 0, posterior_w = 0, posterior_w_square = 0;
};

// The gradient of one latent, with the row's weight. A KL of weight 0 is left out: it may be infinite.
template <class Real>
struct LatentBoundGradient {
  Real mean, log_var, prior_mean, prior_log_var;

  HD LatentBoundGradient(const LatentGap<Real>& g, Real row_weight, Real kl_encoder_weight, Real kl_posterior_weight, Real encoder_weight_sum,
                         Real posterior_weight_sum, const DrawSums<Real>& sums) {
    const Real s = g.prior_weight, t = g.data_weight;
    Real d_gap = 0, d_mean_gap = 0;
    if (kl_encoder_weight != Real(0)) {
      d_gap += kl_encoder_weight * Real(0.5) * (g.exp_gap - Real(1));
      d_mean_gap += kl_encoder_weight * g.mean_gap;
    }
    if (kl_posterior_weight != Real(0)) {
      d_gap -= kl_posterior_weight * Real(0.5) * t * t * (Real(1) + Real(2) * s * g.mean_gap * g.mean_gap);
      d_mean_gap += kl_posterior_weight * t * t * g.mean_gap;
    }
    d_gap += g.d_shift * sums.encoder_q - Real(0.5) * g.stretch * s * sums.encoder_q_noise + Real(0.5) * s * encoder_weight_sum;
    d_mean_gap -= g.root_prior_weight * sums.encoder_q;
    d_gap += Real(0.5) * s * t * sums.posterior_w_square - t * g.d_shift * sums.posterior_w - Real(0.5) * s * posterior_weight_sum;
    d_mean_gap += t * g.root_prior_weight * sums.posterior_w;
    mean = row_weight * d_mean_gap * g.inverse_prior_sd;
    log_var = row_weight * d_gap;
    prior_mean = -mean;
    prior_log_var = row_weight * (-d_gap - Real(0.5) * g.mean_gap * d_mean_gap);
  }
};

// How many factors may be multiplied without leaving the normal numbers, when the smallest is min(alpha, 1 - alpha) over the interior of the grid.
template <class Real>
HD std::int32_t factors_per_logarithm(Real smallest) {
  const Real room = sizeof(Real) == 4 ? Real(80) : Real(600), count = room / -stable::log(smallest);
  return count < Real(1) ? 1 : (count > Real(64) ? 64 : static_cast<std::int32_t>(count));
}

template <class Real>
HD Real scalar_or(const Real* values, std::int64_t at, Real otherwise) {
  return values ? values[at] : otherwise;
}

#if IDEM_COMPILES_CPU_TWINS
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

// What all rows of one call share: the grid padded to whole tiles. In the weights, the ends of the grid (where the skew terms are exactly 0) and
// the padding are replaced by 1/2, so that every factor has a logarithm.
template <class Real>
struct AlphaGrid {
  static constexpr int kTile = 2 * Register<Real>::kLanes;
  std::int32_t n_padded;
  std::vector<Real> weights;  // [2 x n_padded]: alpha, then 1 - alpha
  std::int32_t group;

  explicit AlphaGrid(const CiIvaeBound<Real>& p)
      : n_padded(static_cast<std::int32_t>(padded(p.n_alphas, kTile))), weights(static_cast<std::size_t>(2 * n_padded), Real(0.5)) {
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

// One of the two log ratios at every draw of a row. A factor is e + b (1 - e), with b = alpha or 1 - alpha by the ratio's sign.
template <class Real>
struct DrawRatios {
  std::vector<Real> log_ratio, e, one_minus_e, positive;
  std::vector<std::int32_t> weight_offset;  // of b in AlphaGrid::weights
  Real positive_sum = 0;

  explicit DrawRatios(std::size_t n_draws) : log_ratio(n_draws), e(n_draws), one_minus_e(n_draws), positive(n_draws), weight_offset(n_draws) {}
};

// Room for the rows of one task. Draws are padded to whole tiles with noise 0.
template <class Real>
struct BoundScratch {
  std::int64_t n_draws;
  std::vector<Real> noise;
  DrawRatios<Real> encoder, posterior;                   // log q_p/q_e at the encoder's, log q_e/q_p at the posterior's samples
  std::vector<Real> skew_encoder, skew_posterior, loss;  // [alpha]
  std::vector<Real> e, log_sum, inverse_prior_sd;        // [row x latent], see LatentParts
  std::vector<LatentGap<Real>> gaps;                     // [latent]

  BoundScratch(const CiIvaeBound<Real>& p, const AlphaGrid<Real>& grid, std::int64_t n_rows)
      : n_draws(p.skew_term == SkewTerm::none ? 0 : padded(p.n_samples)), noise(static_cast<std::size_t>(n_draws * p.n_latents)),
        encoder(static_cast<std::size_t>(n_draws)), posterior(static_cast<std::size_t>(n_draws)) {
    for (std::vector<Real>* per_alpha : {&skew_encoder, &skew_posterior, &loss}) per_alpha->resize(static_cast<std::size_t>(grid.n_padded));
    for (std::vector<Real>* per_latent : {&e, &log_sum, &inverse_prior_sd}) per_latent->resize(static_cast<std::size_t>(n_rows * p.n_latents));
    gaps.reserve(static_cast<std::size_t>(p.n_latents));
  }
};

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
IDEM_SIMD_CLONES static void log_ratios(const CiIvaeBound<Real>& p, const AlphaGrid<Real>& grid, const Real* noise, BoundScratch<Real>& scratch) {
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
  split_log_ratios(log_ratio_posterior, posterior.e.data(), posterior.one_minus_e.data(), posterior.positive.data(), n_draws);
  std::int32_t *offset_encoder = encoder.weight_offset.data(), *offset_posterior = posterior.weight_offset.data();
  const std::int32_t n_padded = grid.n_padded;
  for (std::int64_t draw = 0; draw < n_draws; ++draw) offset_encoder[draw] = log_ratio_encoder[draw] > Real(0) ? n_padded : 0;
  for (std::int64_t draw = 0; draw < n_draws; ++draw) offset_posterior[draw] = log_ratio_posterior[draw] > Real(0) ? 0 : n_padded;
  encoder.positive_sum = fixed_order_sum(encoder.positive.data(), p.n_samples);
  posterior.positive_sum = fixed_order_sum(posterior.positive.data(), p.n_samples);
}

// S_e and S_p for every alpha of the grid, vectorised over alphas.
template <class Real>
IDEM_SIMD_CLONES static void skew_terms(const CiIvaeBound<Real>& p, const AlphaGrid<Real>& grid, BoundScratch<Real>& scratch) {
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
  const Real *alphas = p.alphas, *skew_encoder = scratch.skew_encoder.data(), *skew_posterior = scratch.skew_posterior.data();
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
IDEM_SIMD_CLONES static Real draw_weights(Real weight_of_one, Real weight_of_ratio, Real scale, std::int64_t n_samples, DrawRatios<Real>& ratios) {
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
IDEM_SIMD_CLONES static DrawSums<Real> draw_sums(const LatentGap<Real>& gap, const Real* noise, const BoundScratch<Real>& scratch) {
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
static void bound_row(const CiIvaeBound<Real>& p, const AlphaGrid<Real>& grid, std::int64_t member, std::int64_t row, std::int64_t parts_row,
                      BoundScratch<Real>& scratch) {
  const std::int64_t at = member * p.row_scalar_stride + row;
  const Real *mean = p.mean.row(member, row), *log_var = p.log_var.row(member, row);
  const Real *prior_mean = p.prior_mean.row(member, row), *prior_log_var = p.prior_log_var.row(member, row);
  const Real row_weight = p.row_weight[at], kl_scale = p.kl_scale[member];
  Real kl_encoder = 0, kl_posterior = 0;
  scratch.gaps.clear();
  for (std::int32_t latent = 0; latent < p.n_latents; ++latent) {
    const auto part = static_cast<std::size_t>(parts_row * p.n_latents + latent);
    const LatentParts<Real> parts(scratch.e[part], scratch.log_sum[part], scratch.inverse_prior_sd[part]);
    const LatentGap<Real>& gap = scratch.gaps.emplace_back(mean[latent], log_var[latent], prior_mean[latent], prior_log_var[latent], parts);
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
    for (std::int32_t i = 0; i < p.n_alphas; ++i) p.loss_grid.row(member, row)[i] = scratch.loss[static_cast<std::size_t>(i)];
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
    const LatentBoundGradient<Real> d(gap, row_weight, kl_scale * alpha, kl_scale * (Real(1) - alpha), encoder_weight_sum, posterior_weight_sum,
                                      sums);
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
    latent_parts(scratch.e.data(), scratch.log_sum.data(), scratch.inverse_prior_sd.data(), static_cast<std::int64_t>(part));
    for (std::int64_t row = begin; row < end; ++row) bound_row(p, grid, member, row, row - begin, scratch);
  });
}
IDEM_INSTANTIATE_CPU(ci_ivae_bound, CiIvaeBound)
#endif

#if IDEM_COMPILES_CUDA_TWINS
// What a warp keeps of its row in shared memory: of each draw the log ratios and the two parts of its factors (what multiplies a, what multiplies c), and
// of each alpha the sums of the factors' logarithms over either half of the draws.
struct BoundShared {
  float *log_ratio_encoder, *log_ratio_posterior, *encoder_one, *encoder_ratio, *posterior_one, *posterior_ratio, *log_sums;
  static constexpr std::int32_t kHalves = 2;

  static HD std::size_t n_floats(std::int32_t n_draws, std::int32_t n_alphas) {
    return n_draws == 0 ? 0 : 6 * static_cast<std::size_t>(n_draws) + 2 * kHalves * static_cast<std::size_t>(n_alphas);
  }
  __device__ __forceinline__ BoundShared(float* shared, int warp, std::int32_t n_draws, std::int32_t n_alphas) {
    log_ratio_encoder = shared + static_cast<std::size_t>(warp) * n_floats(n_draws, n_alphas);
    log_ratio_posterior = log_ratio_encoder + n_draws;
    encoder_one = log_ratio_posterior + n_draws;
    encoder_ratio = encoder_one + n_draws;
    posterior_one = encoder_ratio + n_draws;
    posterior_ratio = posterior_one + n_draws;
    log_sums = posterior_ratio + n_draws;
  }
};

// Leaves log_sums [2 * half + (0: encoder, 1: posterior)][alpha]. A lane takes one half of one ratio of an alpha at a time: of 39 alphas that keeps 31
// of 32 lanes busy, where an alpha each would leave 12 idle.
static __device__ __forceinline__ void sum_logarithms(const CiIvaeBound<float>& p, const BoundShared& of, int n_draws, std::int32_t group, int lane) {
  const int n_groups = (n_draws + group - 1) / group, half = (n_groups + BoundShared::kHalves - 1) / BoundShared::kHalves * group;
  for (std::int32_t task = lane; task < 2 * BoundShared::kHalves * p.n_alphas; task += 32) {
    const std::int32_t part = task / p.n_alphas;
    const float alpha = p.alphas[task - part * p.n_alphas], other = 1.0f - alpha;
    const bool is_encoder = part % 2 == 0;
    const float *one = is_encoder ? of.encoder_one : of.posterior_one, *ratio = is_encoder ? of.encoder_ratio : of.posterior_ratio;
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

// One warp per row. Draws lie along the lanes while log ratios and gradients are made, alphas while the grid is searched.
__global__ void __launch_bounds__(128, 6) ci_ivae_bound_kernel(CiIvaeBound<float> p) {
  CU_DYN_SHARED(float, shared);
  const int lane = static_cast<int>(threadIdx.x % 32), warps = static_cast<int>(blockDim.x / 32), warp = static_cast<int>(threadIdx.x / 32);
  const bool skewed = p.skew_term != SkewTerm::none;
  const int n_draws = skewed ? p.n_samples : 0;
  const BoundShared of(shared, warp, n_draws, p.n_alphas);
  const auto [log_ratio_encoder, log_ratio_posterior, encoder_one, encoder_ratio, posterior_one, posterior_ratio, log_sums] = of;

  float smallest = 0.5f;
  for (std::int32_t i = lane; i < p.n_alphas; i += 32) {
    if (has_skew(p.skew_term, p.alphas[i])) smallest = fminf(smallest, fminf(p.alphas[i], 1.0f - p.alphas[i]));
  }
  const std::int32_t group = factors_per_logarithm(-cu::warp_max(-smallest));

  for (std::int64_t member = blockIdx.y; member < p.fleet.n_members; member += gridDim.y) {
    if (!p.fleet.is_active(member)) continue;
    const float kl_scale = p.kl_scale[member], skew_scale = p.skew_term == SkewTerm::paper ? p.skew_scale[member] : 1.0f;
    for (std::int64_t row = static_cast<std::int64_t>(blockIdx.x) * warps + warp; row < p.batch;
         row += static_cast<std::int64_t>(gridDim.x) * warps) {
      const std::int64_t at = member * p.row_scalar_stride + row;
      const float *mean = p.mean.row(member, row), *log_var = p.log_var.row(member, row);
      const float *prior_mean = p.prior_mean.row(member, row), *prior_log_var = p.prior_log_var.row(member, row);
      const float* noise = skewed ? p.noise.row(member, row) : nullptr;
      const float row_weight = p.row_weight[at];

      float kl_encoder = 0.0f, kl_posterior = 0.0f;
      for (std::int32_t latent = 0; latent < p.n_latents; ++latent) {
        const LatentGap<float> gap(mean[latent], log_var[latent], prior_mean[latent], prior_log_var[latent],
                                   LatentParts<float>(log_var[latent], prior_log_var[latent]));
        kl_encoder += gap.kl_encoder();
        kl_posterior += gap.kl_posterior();
        for (int draw = lane; draw < n_draws; draw += 32) {
          const float eps = noise[static_cast<std::int64_t>(latent) * n_draws + draw];
          float encoder = latent == 0 ? 0.0f : log_ratio_encoder[draw], posterior = latent == 0 ? 0.0f : log_ratio_posterior[draw];
          encoder += gap.softplus;
          posterior -= gap.softplus;
          add_twice_log_ratio_encoder(gap, eps, encoder);
          add_twice_log_ratio_posterior(gap, eps, posterior);
          log_ratio_encoder[draw] = encoder;
          log_ratio_posterior[draw] = posterior;
        }
      }
      float positive_encoder = 0.0f, positive_posterior = 0.0f;
      for (int draw = lane; draw < n_draws; draw += 32) {
        const float t = 0.5f * log_ratio_encoder[draw], u = 0.5f * log_ratio_posterior[draw];
        const float e_encoder = stable::exp(-stable::magnitude(t)), e_posterior = stable::exp(-stable::magnitude(u));
        log_ratio_encoder[draw] = t;
        log_ratio_posterior[draw] = u;
        encoder_one[draw] = t > 0.0f ? e_encoder : 1.0f;
        encoder_ratio[draw] = t > 0.0f ? 1.0f : e_encoder;
        posterior_one[draw] = u > 0.0f ? e_posterior : 1.0f;
        posterior_ratio[draw] = u > 0.0f ? 1.0f : e_posterior;
        positive_encoder += t > 0.0f ? t : 0.0f;
        positive_posterior += u > 0.0f ? u : 0.0f;
      }
      positive_encoder = cu::warp_sum(positive_encoder);
      positive_posterior = cu::warp_sum(positive_posterior);
      __syncwarp();
      if (skewed) sum_logarithms(p, of, n_draws, group, lane);
      __syncwarp();

      const float loss_posterior = scalar_or(p.loss_posterior, at, 0.0f) + kl_scale * kl_posterior;
      const float loss_encoder = scalar_or(p.loss_encoder, at, 0.0f) + kl_scale * kl_encoder;
      float best = 0.0f, best_skew_encoder = 0.0f, best_skew_posterior = 0.0f;
      std::int32_t chosen = -1;
      for (std::int32_t i = lane; i < p.n_alphas; i += 32) {
        const float alpha = p.alphas[i];
        float skew_encoder = 0.0f, skew_posterior = 0.0f;
        if (has_skew(p.skew_term, alpha)) {
          const float log_encoder = log_sums[i] + log_sums[2 * p.n_alphas + i];
          const float log_posterior = log_sums[p.n_alphas + i] + log_sums[3 * p.n_alphas + i];
          skew_encoder = -(positive_encoder + log_encoder) / static_cast<float>(n_draws);
          skew_posterior = -(positive_posterior + log_posterior) / static_cast<float>(n_draws);
        }
        const float skew = has_skew(p.skew_term, alpha) ? skew_part(p.skew_term, skew_scale, alpha, skew_encoder, skew_posterior) : 0.0f;
        const float loss = mixed_loss(alpha, loss_posterior, loss_encoder) + skew;
        if (p.loss_grid) p.loss_grid.row(member, row)[i] = loss;
        if (chosen < 0 || is_better(loss, best)) {
          best = loss;
          best_skew_encoder = skew_encoder;
          best_skew_posterior = skew_posterior;
          chosen = i;
        }
      }
      // The lanes' best of all, the lowest index on ties.
      for (int offset = 16; offset > 0; offset /= 2) {
        const float loss = __shfl_xor_sync(0xffffffffu, best, offset);
        const float skew_encoder = __shfl_xor_sync(0xffffffffu, best_skew_encoder, offset);
        const float skew_posterior = __shfl_xor_sync(0xffffffffu, best_skew_posterior, offset);
        const std::int32_t index = __shfl_xor_sync(0xffffffffu, chosen, offset);
        const bool equal = loss == best || (loss != loss && best != best);
        if (index >= 0 && (chosen < 0 || is_better(loss, best) || (equal && index < chosen))) {
          best = loss;
          best_skew_encoder = skew_encoder;
          best_skew_posterior = skew_posterior;
          chosen = index;
        }
      }
      const float alpha = p.alphas[chosen];
      const bool skew_has_gradient = has_skew(p.skew_term, alpha);
      if (lane == 0) {
        p.loss[at] = best;
        p.kl_encoder[at] = kl_encoder;
        p.kl_posterior[at] = kl_posterior;
        p.skew[at] = skew_has_gradient ? skew_part(p.skew_term, skew_scale, alpha, best_skew_encoder, best_skew_posterior) : 0.0f;
        p.alpha[at] = alpha;
        p.alpha_index[at] = chosen;
        if (p.weight_posterior) p.weight_posterior[at] = row_weight * (1.0f - alpha);
        if (p.weight_encoder) p.weight_encoder[at] = row_weight * alpha;
      }

      // From here on the log ratios are read and replaced by the lane that wrote them.
      float encoder_weight_sum = 0.0f, posterior_weight_sum = 0.0f;
      if (skew_has_gradient) {
        const SkewWeights<float> d_skew = skew_weights(p.skew_term, skew_scale, alpha, best_skew_encoder, best_skew_posterior);
        const float scale_encoder = -d_skew.encoder / static_cast<float>(n_draws), scale_posterior = -d_skew.posterior / static_cast<float>(n_draws);
        for (int draw = lane; draw < n_draws; draw += 32) {
          const float t = log_ratio_encoder[draw], u = log_ratio_posterior[draw];
          log_ratio_encoder[draw] = scale_encoder * log_mixture_slope(alpha, 1.0f - alpha, t, stable::exp(-stable::magnitude(t)));
          log_ratio_posterior[draw] = scale_posterior * log_mixture_slope(1.0f - alpha, alpha, u, stable::exp(-stable::magnitude(u)));
          encoder_weight_sum += log_ratio_encoder[draw];
          posterior_weight_sum += log_ratio_posterior[draw];
        }
        encoder_weight_sum = cu::warp_sum(encoder_weight_sum);
        posterior_weight_sum = cu::warp_sum(posterior_weight_sum);
      }
      for (std::int32_t latent = 0; latent < p.n_latents; ++latent) {
        const LatentGap<float> gap(mean[latent], log_var[latent], prior_mean[latent], prior_log_var[latent],
                                   LatentParts<float>(log_var[latent], prior_log_var[latent]));
        DrawSums<float> sums;
        if (skew_has_gradient) {
          for (int draw = lane; draw < n_draws; draw += 32) {
            const float eps = noise[static_cast<std::int64_t>(latent) * n_draws + draw];
            const float q = log_ratio_encoder[draw] * (gap.stretch * eps - gap.shift);
            const float w = eps + gap.shift, weighted_w = log_ratio_posterior[draw] * w;
            sums.encoder_q += q;
            sums.encoder_q_noise += q * eps;
            sums.posterior_w += weighted_w;
            sums.posterior_w_square += weighted_w * w;
          }
          sums = {cu::warp_sum(sums.encoder_q), cu::warp_sum(sums.encoder_q_noise), cu::warp_sum(sums.posterior_w),
                  cu::warp_sum(sums.posterior_w_square)};
        }
        if (lane == 0) {
          const LatentBoundGradient<float> d(gap, row_weight, kl_scale * alpha, kl_scale * (1.0f - alpha), encoder_weight_sum, posterior_weight_sum,
                                             sums);
          p.d_mean.row(member, row)[latent] = d.mean;
          p.d_log_var.row(member, row)[latent] = d.log_var;
          p.d_prior_mean.row(member, row)[latent] = d.prior_mean;
          p.d_prior_log_var.row(member, row)[latent] = d.prior_log_var;
        }
      }
    }
  }
}

void ci_ivae_bound_cuda(const CiIvaeBound<float>& p, Stream stream) {
  const std::size_t bytes_per_warp = BoundShared::n_floats(p.skew_term == SkewTerm::none ? 0 : p.n_samples, p.n_alphas) * sizeof(float);
  int warps = cu::threads(128) / 32;
  while (warps > 1 && static_cast<std::size_t>(warps) * bytes_per_warp > 48 * 1024) --warps;
  const dim3 grid(cu::grid_extent((p.batch + warps - 1) / warps, 0x7fffffffu), cu::grid_extent(p.fleet.n_members));
  cu::launch("ci_ivae_bound", ci_ivae_bound_kernel, grid, dim3(static_cast<unsigned>(32 * warps)), static_cast<std::size_t>(warps) * bytes_per_warp,
             stream, p);
}
#endif

}  // namespace idem
