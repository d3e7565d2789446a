// ci_ivae_bound_row.h - one row of the CI-iVAE bound (objective.h) as both twins compute it.
//
// The skew terms are means over draws of log(a + c e^t), with (a, c) = (alpha, 1 - alpha) or the reverse and t a log
// ratio of densities. With e = e^-|t| this is max(t, 0) plus the log of a factor: a + c e for t <= 0, a e + c else.
// Only the factor depends on alpha, and it lies between the smaller of a and c and 1, so that many factors are
// multiplied before one logarithm is taken.
#pragma once

#include <cstdint>

#include "kernels/common/stable_math.h"
#include "kernels/objective/objective.h"

namespace idem {

// The parts of a latent that take an exponential or a logarithm.
template <class Real>
struct LatentParts {
  Real e, log_sum, inverse_prior_sd;  // e^-|d| with d = l - r, log(1 + e), e^{-r/2}

  HD LatentParts(Real log_var, Real prior_log_var)
      : e(stable::exp(-stable::magnitude(log_var - prior_log_var))),
        log_sum(stable::log1p_of_unit(e)),
        inverse_prior_sd(stable::exp(Real(-0.5) * prior_log_var)) {}
  HD LatentParts(Real e_, Real log_sum_, Real inverse_prior_sd_)
      : e(e_), log_sum(log_sum_), inverse_prior_sd(inverse_prior_sd_) {}
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
    if (gap > Real(80)) {  // only without a bound on log variances: e is about to become 0, before e^d overflows and
                           // long before its root does
      exp_gap = stable::exp(gap);
      stretch = stable::exp(Real(0.5) * gap);
    }
    stretch_minus_one = encoder_is_narrower ? e / (Real(1) + stretch) : stretch - Real(1);
    shift = -mean_gap * root_prior_weight;
    d_shift = Real(0.5) * shift * data_weight;
  }

  HD Real kl_encoder() const {
    return Real(0.5) * (exp_gap - (softplus - softplus_minus) + mean_gap * mean_gap - Real(1));
  }
  HD Real kl_posterior() const {
    const Real shrunk = data_weight * mean_gap;
    return Real(0.5) * (softplus_minus + prior_weight + shrunk * shrunk - Real(1));
  }
};

// This latent's part of the log ratios at a standard normal draw, as products of a difference and a sum, which keep
// their digits. 2 log q_p/q_e at the encoder's sample, less softplus(d).
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
  return (alpha > Real(0) ? alpha * loss_encoder : Real(0)) +
         (alpha < Real(1) ? (Real(1) - alpha) * loss_posterior : Real(0));
}

// Whether `loss` takes over from `best` before it in the grid. A NaN takes over from any number, so that it stays
// visible.
template <class Real>
HD bool is_better(Real loss, Real best) {
  return loss < best || (loss != loss && best == best);
}

// d log(a + c e^t) / dt, with e = e^-|t|.
template <class Real>
HD Real log_mixture_slope(Real weight_of_one, Real weight_of_ratio, Real log_ratio, Real e) {
  const Real of_one = log_ratio > Real(0) ? weight_of_one * e : weight_of_one,
             of_ratio = log_ratio > Real(0) ? weight_of_ratio : weight_of_ratio * e;
  return of_ratio / (of_one + of_ratio);
}

// Weighted sums over the draws, which the gradients of one latent are made of. With q = kappa eps - delta and w = eps +
// delta; the weights are d loss / d log ratio of each draw.
template <class Real>
struct DrawSums {
  Real encoder_q = 0, encoder_q_noise = 0, posterior_w = 0, posterior_w_square = 0;
};

// The gradient of one latent, with the row's weight. A KL of weight 0 is left out: it may be infinite.
template <class Real>
struct LatentBoundGradient {
  Real mean, log_var, prior_mean, prior_log_var;

  HD LatentBoundGradient(const LatentGap<Real>& g, Real row_weight, Real kl_encoder_weight, Real kl_posterior_weight,
                         Real encoder_weight_sum, Real posterior_weight_sum, const DrawSums<Real>& sums) {
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
    d_gap += g.d_shift * sums.encoder_q - Real(0.5) * g.stretch * s * sums.encoder_q_noise +
             Real(0.5) * s * encoder_weight_sum;
    d_mean_gap -= g.root_prior_weight * sums.encoder_q;
    d_gap += Real(0.5) * s * t * sums.posterior_w_square - t * g.d_shift * sums.posterior_w -
             Real(0.5) * s * posterior_weight_sum;
    d_mean_gap += t * g.root_prior_weight * sums.posterior_w;
    mean = row_weight * d_mean_gap * g.inverse_prior_sd;
    log_var = row_weight * d_gap;
    prior_mean = -mean;
    prior_log_var = row_weight * (-d_gap - Real(0.5) * g.mean_gap * d_mean_gap);
  }
};

// How many factors may be multiplied without leaving the normal numbers, when the smallest is min(alpha, 1 - alpha)
// over the interior of the grid.
template <class Real>
HD std::int32_t factors_per_logarithm(Real smallest) {
  const Real room = sizeof(Real) == 4 ? Real(80) : Real(600), count = room / -stable::log(smallest);
  return count < Real(1) ? 1 : (count > Real(64) ? 64 : static_cast<std::int32_t>(count));
}

template <class Real>
HD Real scalar_or(const Real* values, std::int64_t at, Real otherwise) {
  return values ? values[at] : otherwise;
}

}  // namespace idem
