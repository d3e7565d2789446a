// bound_case.h - inputs and outputs of one call of ci_ivae_bound.
#pragma once

#include <random>
#include <utility>
#include <vector>

#include "kernels/objective/objective.h"
#include "tests/kernels/one_thread.h"
#include "tests/support/host_rows.h"
#include "kernels/common/to_size.h"

namespace idem {

template <class Real>
struct BoundCase {
  std::vector<std::uint8_t> active;
  std::int64_t n_members, batch, n_latents, n_samples;
  SkewTerm skew_term = SkewTerm::paper;
  std::vector<Real> alphas;
  HostRows<Real> mean, log_var, prior_mean, prior_log_var, noise;
  HostRows<Real> loss_posterior, loss_encoder, row_weight;  // [member][0][row]
  std::vector<Real> kl_scale, skew_scale;
  HostRows<Real> loss, kl_encoder, kl_posterior, skew, alpha, weight_posterior, weight_encoder;
  HostRows<std::int32_t> alpha_index;
  HostRows<Real> d_mean, d_log_var, d_prior_mean, d_prior_log_var, loss_grid;

  BoundCase(std::int64_t members, std::int64_t rows, std::int64_t latents, std::int64_t samples, std::vector<Real> grid)
      : n_members(members),
        batch(rows),
        n_latents(latents),
        n_samples(samples),
        alphas(std::move(grid)),
        kl_scale(to_size(members), Real(1)),
        skew_scale(to_size(members), Real(1)) {
    for (HostRows<Real>* input : inputs()) *input = HostRows<Real>(members, rows, latents);
    for (HostRows<Real>* gradient : gradients()) *gradient = HostRows<Real>(members, rows, latents, kNan<Real>);
    noise = HostRows<Real>(members, rows, latents * samples);
    loss_posterior = loss_encoder = HostRows<Real>(members, 1, rows);
    row_weight = HostRows<Real>(members, 1, rows, Real(1));
    for (HostRows<Real>* output :
         {&loss, &kl_encoder, &kl_posterior, &skew, &alpha, &weight_posterior, &weight_encoder}) {
      *output = HostRows<Real>(members, 1, rows, kNan<Real>);
    }
    alpha_index = HostRows<std::int32_t>(members, 1, rows, -1);
    loss_grid = HostRows<Real>(members, rows, static_cast<std::int64_t>(alphas.size()), kNan<Real>);
  }
  std::vector<HostRows<Real>*> inputs() { return {&mean, &log_var, &prior_mean, &prior_log_var}; }
  std::vector<HostRows<Real>*> gradients() { return {&d_mean, &d_log_var, &d_prior_mean, &d_prior_log_var}; }

  void fill(std::mt19937_64& random, double spread = 1) {
    for (HostRows<Real>* input : inputs()) input->fill_normal(random, spread);
    for (HostRows<Real>* scalars : {&loss_posterior, &loss_encoder}) scalars->fill_normal(random);
    noise.fill_normal(random);
  }
  CiIvaeBound<Real> parameters() {
    CiIvaeBound<Real> p;
    p.fleet = {static_cast<std::int32_t>(n_members), active.empty() ? nullptr : active.data()};
    p.batch = static_cast<std::int32_t>(batch), p.n_latents = static_cast<std::int32_t>(n_latents);
    p.n_samples = static_cast<std::int32_t>(n_samples), p.n_alphas = static_cast<std::int32_t>(alphas.size());
    p.skew_term = skew_term;
    p.mean = mean.rows(), p.log_var = log_var.rows(), p.prior_mean = prior_mean.rows(),
    p.prior_log_var = prior_log_var.rows();
    p.noise = noise.rows();
    p.alphas = alphas.data();
    p.loss_posterior = loss_posterior.values.data(), p.loss_encoder = loss_encoder.values.data(),
    p.row_weight = row_weight.values.data();
    p.row_scalar_stride = loss.row_stride;
    p.kl_scale = kl_scale.data(), p.skew_scale = skew_scale.data();
    p.loss = loss.values.data(), p.kl_encoder = kl_encoder.values.data(), p.kl_posterior = kl_posterior.values.data();
    p.skew = skew.values.data(), p.alpha = alpha.values.data(), p.alpha_index = alpha_index.values.data();
    p.weight_posterior = weight_posterior.values.data(), p.weight_encoder = weight_encoder.values.data();
    p.d_mean = d_mean.rows(), p.d_log_var = d_log_var.rows(), p.d_prior_mean = d_prior_mean.rows(),
    p.d_prior_log_var = d_prior_log_var.rows();
    p.loss_grid = loss_grid.rows();
    return p;
  }
  void run() { ci_ivae_bound_cpu(parameters(), one_thread()); }
  void set(Real m, Real l, Real lambda, Real r) {
    mean.at(0, 0, 0) = m, log_var.at(0, 0, 0) = l, prior_mean.at(0, 0, 0) = lambda, prior_log_var.at(0, 0, 0) = r;
  }
  template <class Other>
  BoundCase<Other> as() {
    BoundCase<Other> other(n_members, batch, n_latents, n_samples, std::vector<Other>(alphas.begin(), alphas.end()));
    for (std::size_t i = 0; i < 4; ++i) *other.inputs()[i] = inputs()[i]->template as<Other>();
    other.noise = noise.template as<Other>();
    other.loss_posterior = loss_posterior.template as<Other>(), other.loss_encoder = loss_encoder.template as<Other>();
    other.row_weight = row_weight.template as<Other>();
    other.kl_scale.assign(kl_scale.begin(), kl_scale.end()),
        other.skew_scale.assign(skew_scale.begin(), skew_scale.end());
    other.skew_term = skew_term, other.active = active;
    return other;
  }
};

template <class Real>
std::vector<Real> even_grid(int n_steps, bool with_ends) {
  std::vector<Real> grid;
  const int skipped = with_ends ? 0 : 1;
  for (int i = skipped; i <= n_steps - skipped; ++i)
    grid.push_back(static_cast<Real>(static_cast<float>(i) / static_cast<float>(n_steps)));
  return grid;
}

inline constexpr SkewTerm kAllSkewTerms[] = {SkewTerm::none, SkewTerm::paper, SkewTerm::published};

}  // namespace idem
