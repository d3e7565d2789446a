#include "kernels/objective/objective.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <filesystem>
#include <limits>
#include <map>
#include <string>
#include <vector>

#include "host/formats/npz.h"
#include "kernels/latent/latent.h"
#include "tests/support/host_rows.h"

namespace idem {
namespace {

template <class Real>
constexpr Real kNan = std::numeric_limits<Real>::quiet_NaN();

ThreadPool& one_thread() {
  static ThreadPool pool(1);
  return pool;
}

// ---- reconstruction ----

template <class Real>
struct ReconstructionCase {
  std::vector<std::uint8_t> active;
  Observation observation;
  OutputMap output;
  bool mean_over_neurons = false, keep_constants = true;
  Real gaussian_variance = Real(0.7);
  HostRows<Real> pre, target, log_variance, loss, d_pre, d_log_variance;

  ReconstructionCase(Observation observation_, OutputMap output_, std::int64_t members, std::int64_t rows, std::int64_t target_rows,
                     std::int64_t neurons)
      : observation(observation_), output(output_), pre(members, rows, neurons), target(members, target_rows, neurons),
        log_variance(members, 1, neurons), loss(members, 1, rows, kNan<Real>), d_pre(members, rows, neurons, kNan<Real>),
        d_log_variance(members, rows, neurons, kNan<Real>) {}

  void fill(std::mt19937_64& random) {
    pre.fill_normal(random, 1.5);
    std::poisson_distribution<int> count(1.2);
    target.fill([&] { return count(random); });
    log_variance.fill_normal(random, 0.5);
  }
  Reconstruction<Real> parameters() {
    Reconstruction<Real> p;
    p.fleet = {static_cast<std::int32_t>(pre.n_members), active.empty() ? nullptr : active.data()};
    p.n_rows = pre.n_rows, p.n_target_rows = target.n_rows, p.n_neurons = static_cast<std::int32_t>(pre.n_features);
    p.observation = observation, p.output = output;
    p.mean_over_neurons = mean_over_neurons, p.keep_constants = keep_constants;
    p.gaussian_variance = gaussian_variance;
    p.pre = pre.rows(), p.target = target.rows(), p.log_variance = log_variance.rows();
    p.loss = loss.values.data(), p.loss_stride = loss.row_stride;
    p.d_pre = d_pre.rows();
    if (observation == Observation::gaussian_learned) p.d_log_variance_rows = d_log_variance.rows();
    return p;
  }
  void run() { reconstruction_cpu(parameters(), one_thread()); }
  double loss_of(std::int64_t row, std::int64_t member = 0) const { return static_cast<double>(loss.at(member, 0, row)); }
};

struct Choice {
  Observation observation;
  OutputMap output;
  std::string name;
};
std::vector<Choice> all_choices() {
  const char* const observations[] = {"squared_error", "gaussian_fixed", "gaussian_learned", "poisson"};
  const char* const outputs[] = {"identity", "softplus", "sigmoid", "exponential"};
  std::vector<Choice> choices;
  for (int observation = 0; observation < 4; ++observation) {
    for (int output = 0; output < 4; ++output) {
      if (observation == 3 && output == 0) continue;
      choices.push_back({static_cast<Observation>(observation), static_cast<OutputMap>(output),
                         std::string(observations[observation]) + " of " + outputs[output]});
    }
  }
  return choices;
}

// The definitions, written plainly.
double plain_term(const Choice& choice, bool keep_constants, double fixed_variance, double pre, double target, double log_variance) {
  double f = pre;
  if (choice.output == OutputMap::softplus) f = std::log1p(std::exp(pre));
  if (choice.output == OutputMap::sigmoid) f = 1 / (1 + std::exp(-pre));
  if (choice.output == OutputMap::exponential) f = std::exp(pre);
  const double two_pi = 2 * 3.14159265358979323846;
  if (choice.observation == Observation::squared_error) return (target - f) * (target - f);
  if (choice.observation == Observation::gaussian_fixed) {
    return (target - f) * (target - f) / (2 * fixed_variance) + (keep_constants ? std::log(two_pi * fixed_variance) / 2 : 0);
  }
  if (choice.observation == Observation::gaussian_learned) {
    return (target - f) * (target - f) / (2 * std::exp(log_variance)) + log_variance / 2 + (keep_constants ? std::log(two_pi) / 2 : 0);
  }
  return f - target * std::log(f) + (keep_constants ? std::lgamma(target + 1) : 0);
}

TEST(Reconstruction, EveryObservationOfEveryOutputIsItsDefinition) {
  for (const Choice& choice : all_choices()) {
    for (const bool mean_over_neurons : {false, true}) {
      for (const bool keep_constants : {false, true}) {
        SCOPED_TRACE(choice.name);
        std::mt19937_64 random(1);
        ReconstructionCase<double> oracle(choice.observation, choice.output, 2, 6, 3, 300);
        ReconstructionCase<float> single(choice.observation, choice.output, 2, 6, 3, 300);
        oracle.fill(random);
        single.pre = oracle.pre.as<float>(), single.target = oracle.target.as<float>(), single.log_variance = oracle.log_variance.as<float>();
        oracle.mean_over_neurons = single.mean_over_neurons = mean_over_neurons;
        oracle.keep_constants = single.keep_constants = keep_constants;
        oracle.run(), single.run();
        for (std::int64_t member = 0; member < 2; ++member) {
          for (std::int64_t row = 0; row < 6; ++row) {
            double want = 0;
            for (std::int64_t neuron = 0; neuron < 300; ++neuron) {
              want += plain_term(choice, keep_constants, 0.7, oracle.pre.at(member, row, neuron), oracle.target.at(member, row % 3, neuron),
                                 oracle.log_variance.at(member, 0, neuron));
            }
            if (mean_over_neurons) want /= 300;
            ASSERT_TRUE(std::fabs(oracle.loss_of(row, member) - want) <= 1e-12 * (1 + std::fabs(want))) << oracle.loss_of(row, member) << " " << want;
            ASSERT_TRUE(std::fabs(single.loss_of(row, member) - want) <= 2e-6 * (1 + std::fabs(want))) << single.loss_of(row, member) << " " << want;
          }
        }
      }
    }
  }
}

TEST(Reconstruction, GradientsAreThoseOfFiniteDifferences) {
  for (const Choice& choice : all_choices()) {
    SCOPED_TRACE(choice.name);
    std::mt19937_64 random(2);
    ReconstructionCase<double> c(choice.observation, choice.output, 1, 4, 2, 19);
    c.fill(random);
    c.mean_over_neurons = true;
    c.run();
    const HostRows<double> d_pre = c.d_pre, d_log_variance = c.d_log_variance;
    const HostRows<double> weight = HostRows<double>(1, 1, 4).fill_normal(random);
    const auto weighted_loss = [&] {
      c.run();
      double sum = 0;
      for (std::int64_t row = 0; row < 4; ++row) sum += weight.at(0, 0, row) * c.loss.at(0, 0, row);
      return sum;
    };
    const auto slope = [&](double& x) {
      const double kept = x, h = 1e-5;
      x = kept + h;
      const double above = weighted_loss();
      x = kept - h;
      const double below = weighted_loss();
      x = kept;
      return (above - below) / (2 * h);
    };
    for (std::int64_t neuron = 0; neuron < 19; ++neuron) {
      double summed = 0;
      for (std::int64_t row = 0; row < 4; ++row) {
        const double want = slope(c.pre.at(0, row, neuron)), got = weight.at(0, 0, row) * d_pre.at(0, row, neuron);
        ASSERT_TRUE(std::fabs(got - want) <= 1e-8 * (1 + std::fabs(want))) << row << ", " << neuron << ": " << got << " for " << want;
        summed += weight.at(0, 0, row) * d_log_variance.at(0, row, neuron);
      }
      if (choice.observation == Observation::gaussian_learned) {
        const double want = slope(c.log_variance.at(0, 0, neuron));
        ASSERT_TRUE(std::fabs(summed - want) <= 1e-8 * (1 + std::fabs(want))) << neuron << ": " << summed << " for " << want;
      }
    }
  }
}

TEST(Reconstruction, OneSpikeAtRateTwoCostsTwoMinusLogTwo) {
  ReconstructionCase<double> c(Observation::poisson, OutputMap::exponential, 1, 1, 1, 1);
  c.pre.at(0, 0, 0) = std::log(2.0);
  c.target.at(0, 0, 0) = 1;
  c.run();
  EXPECT_NEAR(c.loss_of(0), 2 - std::log(2.0), 1e-15);
  EXPECT_NEAR(c.d_pre.at(0, 0, 0), 1, 1e-15);
}

TEST(Reconstruction, ThreeSpikesAtRateOneCostOnePlusLogSix) {
  ReconstructionCase<float> c(Observation::poisson, OutputMap::exponential, 1, 1, 1, 1);
  c.target.at(0, 0, 0) = 3;
  c.run();
  EXPECT_FLOAT_EQ(c.loss.at(0, 0, 0), static_cast<float>(1 + std::log(6.0)));
  c.keep_constants = false;
  c.run();
  EXPECT_FLOAT_EQ(c.loss.at(0, 0, 0), 1);
}

template <class Real>
void expect_stable_poisson(double tolerance) {
  const std::vector<double> pres = {-1e4, -200, -90, -60, -15.01, -14.99, -3, 0, 3, 60, 90, 1e4};
  ReconstructionCase<Real> c(Observation::poisson, OutputMap::softplus, 1, static_cast<std::int64_t>(pres.size()), 1, 2);
  c.keep_constants = false;
  c.target.at(0, 0, 1) = 2;
  for (std::size_t row = 0; row < pres.size(); ++row) {
    for (int neuron = 0; neuron < 2; ++neuron) c.pre.at(0, static_cast<std::int64_t>(row), neuron) = static_cast<Real>(pres[row]);
  }
  c.run();
  for (std::size_t i = 0; i < pres.size(); ++i) {
    const auto row = static_cast<std::int64_t>(i);
    const double pre = static_cast<double>(static_cast<Real>(pres[i])), rate = pre > 30 ? pre : std::log1p(std::exp(pre));
    const double log_rate = pre < -30 ? pre : std::log(rate), slope = 1 / (1 + std::exp(-pre)), share = pre < -30 ? 1 : slope / rate;
    const double want = 2 * rate - 2 * log_rate;
    EXPECT_TRUE(std::fabs(c.loss_of(row) - want) <= tolerance * (1 + std::fabs(want))) << pre << ": " << c.loss_of(row) << " for " << want;
    EXPECT_NEAR(c.d_pre.at(0, row, 0), slope, tolerance) << pre;
    EXPECT_NEAR(c.d_pre.at(0, row, 1), slope - 2 * share, 3 * tolerance) << pre;
  }
}
TEST(Reconstruction, PoissonWithSoftplusHoldsForAnyPre) {
  expect_stable_poisson<float>(1e-6);
  expect_stable_poisson<double>(1e-12);
}

TEST(Reconstruction, SigmoidCannotReachTwoSpikesAndItsGradientSaysSo) {
  ReconstructionCase<float> c(Observation::squared_error, OutputMap::sigmoid, 1, 1, 1, 1);
  c.pre.at(0, 0, 0) = 1e4f;
  c.target.at(0, 0, 0) = 2;
  c.run();
  EXPECT_EQ(c.loss.at(0, 0, 0), 1.0f);
  EXPECT_EQ(c.d_pre.at(0, 0, 0), 0.0f);
}

TEST(Reconstruction, TheGradientMayOverwriteItsInput) {
  for (const Choice& choice : all_choices()) {
    SCOPED_TRACE(choice.name);
    std::mt19937_64 random(3);
    ReconstructionCase<float> c(choice.observation, choice.output, 1, 3, 3, 530);
    c.fill(random);
    c.run();
    const std::vector<float> loss = c.loss.values, d_pre = c.d_pre.values;
    Reconstruction<float> p = c.parameters();
    p.d_pre = c.pre.rows();
    reconstruction_cpu(p, one_thread());
    EXPECT_EQ(c.loss.values, loss);
    EXPECT_EQ(c.pre.values, d_pre);
  }
}

TEST(Reconstruction, AnIdleMemberAndTheLossAloneAreLeftAsTheyWere) {
  std::mt19937_64 random(4);
  ReconstructionCase<float> c(Observation::gaussian_learned, OutputMap::identity, 2, 3, 3, 5);
  c.fill(random);
  c.active = {0, 1};
  Reconstruction<float> p = c.parameters();
  p.d_pre = {}, p.d_log_variance_rows = {};
  reconstruction_cpu(p, one_thread());
  EXPECT_TRUE(std::isnan(c.loss_of(0, 0)));
  EXPECT_FALSE(std::isnan(c.loss_of(2, 1)));
  EXPECT_TRUE(std::isnan(c.d_pre.at(1, 0, 0)));
}

TEST(Reconstruction, PoissonOfTheIdentityIsRefused) {
  ReconstructionCase<float> c(Observation::poisson, OutputMap::identity, 1, 1, 1, 1);
  EXPECT_THROW(c.run(), std::invalid_argument);
}

// ---- the bound ----

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
      : n_members(members), batch(rows), n_latents(latents), n_samples(samples), alphas(std::move(grid)),
        kl_scale(static_cast<std::size_t>(members), Real(1)), skew_scale(static_cast<std::size_t>(members), Real(1)) {
    for (HostRows<Real>* input : inputs()) *input = HostRows<Real>(members, rows, latents);
    for (HostRows<Real>* gradient : gradients()) *gradient = HostRows<Real>(members, rows, latents, kNan<Real>);
    noise = HostRows<Real>(members, rows, latents * samples);
    loss_posterior = loss_encoder = HostRows<Real>(members, 1, rows);
    row_weight = HostRows<Real>(members, 1, rows, Real(1));
    for (HostRows<Real>* output : {&loss, &kl_encoder, &kl_posterior, &skew, &alpha, &weight_posterior, &weight_encoder}) {
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
    p.mean = mean.rows(), p.log_var = log_var.rows(), p.prior_mean = prior_mean.rows(), p.prior_log_var = prior_log_var.rows();
    p.noise = noise.rows();
    p.alphas = alphas.data();
    p.loss_posterior = loss_posterior.values.data(), p.loss_encoder = loss_encoder.values.data(), p.row_weight = row_weight.values.data();
    p.row_scalar_stride = loss.row_stride;
    p.kl_scale = kl_scale.data(), p.skew_scale = skew_scale.data();
    p.loss = loss.values.data(), p.kl_encoder = kl_encoder.values.data(), p.kl_posterior = kl_posterior.values.data();
    p.skew = skew.values.data(), p.alpha = alpha.values.data(), p.alpha_index = alpha_index.values.data();
    p.weight_posterior = weight_posterior.values.data(), p.weight_encoder = weight_encoder.values.data();
    p.d_mean = d_mean.rows(), p.d_log_var = d_log_var.rows(), p.d_prior_mean = d_prior_mean.rows(), p.d_prior_log_var = d_prior_log_var.rows();
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
    other.kl_scale.assign(kl_scale.begin(), kl_scale.end()), other.skew_scale.assign(skew_scale.begin(), skew_scale.end());
    other.skew_term = skew_term, other.active = active;
    return other;
  }
};

template <class Real>
std::vector<Real> even_grid(int n_steps, bool with_ends) {
  std::vector<Real> grid;
  const int skipped = with_ends ? 0 : 1;
  for (int i = skipped; i <= n_steps - skipped; ++i) grid.push_back(static_cast<Real>(static_cast<float>(i) / static_cast<float>(n_steps)));
  return grid;
}

constexpr SkewTerm kAllSkewTerms[] = {SkewTerm::none, SkewTerm::paper, SkewTerm::published};

template <class Real>
void expect_golden_vectors(double tolerance, double skew_tolerance) {
  struct Golden {
    double m, l, lambda, r, kl_encoder, kl_posterior;
  };
  for (const Golden& g : {Golden{.7, -1.2, -.4, .3, .809760104, .741505515}, Golden{-2, 1.5, 1, -.5, 9.61377377, .109285104},
                          Golden{5, -14, 4, 1, 7.18393987, 7.18393991}}) {
    BoundCase<Real> c(1, 1, 1, 1, {Real(0)});
    c.skew_term = SkewTerm::none;
    c.set(static_cast<Real>(g.m), static_cast<Real>(g.l), static_cast<Real>(g.lambda), static_cast<Real>(g.r));
    c.run();
    EXPECT_NEAR(c.kl_encoder.at(0, 0, 0), g.kl_encoder, tolerance * (1 + g.kl_encoder));
    EXPECT_NEAR(c.kl_posterior.at(0, 0, 0), g.kl_posterior, tolerance * (1 + g.kl_posterior));
  }
  BoundCase<Real> c(1, 1, 1, 4, {Real(.3)});
  c.skew_term = SkewTerm::published;
  c.set(Real(.7), Real(-1.2), Real(-.4), Real(.3));
  for (int draw = 0; draw < 4; ++draw) c.noise.at(0, 0, draw) = static_cast<Real>(draw - 1.5);
  c.run();
  EXPECT_NEAR(c.skew.at(0, 0, 0), .3 * .053533171 + .7 * .000531507, skew_tolerance);
}
TEST(CiIvaeBound, GoldenVectorsAreReproduced) {
  expect_golden_vectors<double>(1e-9, 1e-9);
  expect_golden_vectors<float>(1e-6, 1e-6);
}

// The loss grid from densities, without any stable form: for moderate values in double only.
std::vector<double> plain_loss_grid(const BoundCase<double>& c, std::int64_t member, std::int64_t row) {
  double kl_encoder = 0, kl_posterior = 0;
  std::vector<double> encoder(static_cast<std::size_t>(c.n_samples), 0), posterior = encoder;  // log q_p/q_e, log q_e/q_p
  for (std::int64_t k = 0; k < c.n_latents; ++k) {
    const double m = c.mean.at(member, row, k), l = c.log_var.at(member, row, k), lambda = c.prior_mean.at(member, row, k),
                 r = c.prior_log_var.at(member, row, k);
    const double rho = -std::log(std::exp(-l) + std::exp(-r)), mu = std::exp(rho) * (m * std::exp(-l) + lambda * std::exp(-r));
    const auto kl = [&](double a, double log_var) {
      return 0.5 * (r - log_var + (std::exp(log_var) + (a - lambda) * (a - lambda)) / std::exp(r) - 1);
    };
    kl_encoder += kl(m, l), kl_posterior += kl(mu, rho);
    const auto log_density = [](double z, double a, double log_var) { return -0.5 * (log_var + (z - a) * (z - a) / std::exp(log_var)); };
    for (std::int64_t draw = 0; draw < c.n_samples; ++draw) {
      const double eps = c.noise.at(member, row, k * c.n_samples + draw);
      const double at_encoder = m + std::exp(l / 2) * eps, at_posterior = mu + std::exp(rho / 2) * eps;
      encoder[static_cast<std::size_t>(draw)] += log_density(at_encoder, mu, rho) - log_density(at_encoder, m, l);
      posterior[static_cast<std::size_t>(draw)] += log_density(at_posterior, m, l) - log_density(at_posterior, mu, rho);
    }
  }
  const double kl_scale = c.kl_scale[static_cast<std::size_t>(member)], skew_scale = c.skew_scale[static_cast<std::size_t>(member)];
  std::vector<double> grid;
  for (const double alpha : c.alphas) {
    double skew_encoder = 0, skew_posterior = 0;
    for (std::size_t draw = 0; draw < encoder.size(); ++draw) {
      skew_encoder -= std::log(alpha + (1 - alpha) * std::exp(encoder[draw])) / static_cast<double>(c.n_samples);
      skew_posterior -= std::log((1 - alpha) + alpha * std::exp(posterior[draw])) / static_cast<double>(c.n_samples);
    }
    double loss = alpha * (c.loss_encoder.at(member, 0, row) + kl_scale * kl_encoder) +
                  (1 - alpha) * (c.loss_posterior.at(member, 0, row) + kl_scale * kl_posterior);
    if (c.skew_term == SkewTerm::paper && alpha > 0 && alpha < 1) loss -= skew_scale * (alpha * skew_encoder + (1 - alpha) * skew_posterior);
    if (c.skew_term == SkewTerm::published && alpha > 0 && alpha < 1) {
      loss += alpha * std::fabs(skew_encoder) + (1 - alpha) * std::fabs(skew_posterior);
    }
    grid.push_back(loss);
  }
  return grid;
}

TEST(CiIvaeBound, LossGridIsTheDefinitionForAnyShape) {
  struct Shape {
    std::int64_t latents, samples;
    int steps;
  };
  for (const SkewTerm term : kAllSkewTerms) {
    for (const Shape shape : {Shape{1, 1, 2}, {2, 50, 40}, {2, 7, 3}, {3, 33, 16}, {5, 64, 17}, {17, 20, 100}}) {
      SCOPED_TRACE(testing::Message() << "term " << static_cast<int>(term) << ", " << shape.latents << " latents, " << shape.samples << " draws");
      std::mt19937_64 random(11);
      BoundCase<double> c(2, 35, shape.latents, shape.samples, even_grid<double>(shape.steps, true));
      c.fill(random);
      c.skew_term = term;
      c.kl_scale = {1, 0.3}, c.skew_scale = {1, 0.05};
      BoundCase<float> single = c.as<float>();
      c.run(), single.run();
      for (std::int64_t member = 0; member < 2; ++member) {
        for (std::int64_t row = 0; row < c.batch; ++row) {
          const std::vector<double> want = plain_loss_grid(c, member, row);
          for (std::size_t i = 0; i < want.size(); ++i) {
            const auto column = static_cast<std::int64_t>(i);
            ASSERT_TRUE(std::fabs(c.loss_grid.at(member, row, column) - want[i]) <= 1e-12 * (1 + std::fabs(want[i]))) << row << ", " << i;
            ASSERT_TRUE(std::fabs(static_cast<double>(single.loss_grid.at(member, row, column)) - want[i]) <= 1e-6 * (1 + std::fabs(want[i])))
                << row << ", " << i << ": " << single.loss_grid.at(member, row, column) << " for " << want[i];
          }
          const auto best = std::min_element(want.begin(), want.end()) - want.begin();
          ASSERT_EQ(c.alpha_index.at(member, 0, row), best);
          ASSERT_EQ(c.alpha.at(member, 0, row), c.alphas[static_cast<std::size_t>(best)]);
          ASSERT_EQ(c.loss.at(member, 0, row), c.loss_grid.at(member, row, best));
        }
      }
    }
  }
}

// Golden cases computed by an independent implementation (tests/golden).
template <class Real>
struct GoldenBound {
  std::map<std::string, NumpyArray> arrays;
  BoundCase<Real> c;

  explicit GoldenBound(const std::string& path) : GoldenBound(read_npz(path)) {}
  explicit GoldenBound(std::map<std::string, NumpyArray> read_arrays)
      : arrays(std::move(read_arrays)),
        c(1, arrays.at("eps").shape[0], arrays.at("eps").shape[1], arrays.at("eps").shape[2], arrays.at("alphas").as<Real>()) {
    fill("z_mean", c.mean), fill("z_log_var", c.log_var), fill("lam_mean", c.prior_mean), fill("lam_log_var", c.prior_log_var);
    fill("eps", c.noise);
    fill("loglik_post", c.loss_posterior, -1), fill("loglik_encoded", c.loss_encoder, -1);
    c.row_weight.fill([&] { return Real(1) / static_cast<Real>(c.batch); });
  }
  void fill(const std::string& name, HostRows<Real>& rows, Real sign = 1) const {
    std::size_t next = 0;
    const std::vector<Real> values = arrays.at(name).as<Real>();
    rows.fill([&] { return sign * values.at(next++); });
  }
  // Norm of the difference over the norm.
  double relative_error(const std::string& name, const HostRows<Real>& rows, double sign = 1) const {
    const std::vector<double> want = arrays.at(name).template as<double>();
    double difference = 0, norm = 0;
    std::size_t next = 0;
    for (std::int64_t row = 0; row < rows.n_rows; ++row) {
      for (std::int64_t feature = 0; feature < rows.n_features; ++feature, ++next) {
        difference += std::pow(sign * static_cast<double>(rows.at(0, row, feature)) - want.at(next), 2);
        norm += want[next] * want[next];
      }
    }
    EXPECT_EQ(next, want.size());
    return std::sqrt(difference / norm);
  }
};

template <class Real>
void expect_golden(const GoldenBound<Real>& g, const std::string& prefix, double tolerance) {
  const BoundCase<Real>& c = g.c;
  const std::vector<std::pair<std::string, double>> errors = {
      {"loss_grid", g.relative_error(prefix + "loss_grid", c.loss_grid)},
      {"grad_z_mean", g.relative_error(prefix + "grad_z_mean", c.d_mean)},
      {"grad_z_log_var", g.relative_error(prefix + "grad_z_log_var", c.d_log_var)},
      {"grad_lam_mean", g.relative_error(prefix + "grad_lam_mean", c.d_prior_mean)},
      {"grad_lam_log_var", g.relative_error(prefix + "grad_lam_log_var", c.d_prior_log_var)},
      {"grad_loglik_post", g.relative_error(prefix + "grad_loglik_post", c.weight_posterior, -1)},
      {"grad_loglik_encoded", g.relative_error(prefix + "grad_loglik_encoded", c.weight_encoder, -1)}};
  for (const auto& [name, error] : errors) EXPECT_TRUE(error <= tolerance) << prefix << name << ": relative error " << error;
  double loss = 0;
  for (std::int64_t row = 0; row < c.batch; ++row) loss += static_cast<double>(c.loss.at(0, 0, row)) / static_cast<double>(c.batch);
  const double want = g.arrays.at(prefix + "loss").template scalar<double>();
  EXPECT_TRUE(std::fabs(loss - want) <= tolerance * std::fabs(want)) << loss << " for " << want;
  EXPECT_EQ(c.alpha_index.values, [&] {
    HostRows<std::int32_t> want_index = c.alpha_index;
    std::size_t next = 0;
    const auto values = g.arrays.at(prefix + "argmin").template as<std::int32_t>();
    want_index.fill([&] { return values.at(next++); });
    return want_index.values;
  }());
}

std::vector<std::string> golden_paths(const std::string& name) {
  std::vector<std::string> paths = {std::string(IDEM_SOURCE_DIR) + "/tests/golden/" + name};
  const std::string shared = std::string(IDEM_SHARED_DIR) + "/golden/" + name;
  if (std::filesystem::exists(shared)) paths.push_back(shared);
  return paths;
}

template <class Real>
void expect_published_golden(double tolerance) {
  for (const std::string& path : golden_paths("civae_objective.npz")) {
    SCOPED_TRACE(path);
    GoldenBound<Real> g(path);
    g.c.skew_term = SkewTerm::published;
    g.c.kl_scale = {static_cast<Real>(0.01) / static_cast<Real>(g.c.n_latents)};
    g.c.run();
    expect_golden(g, "", tolerance);
  }
}
TEST(CiIvaeBound, KlsAndPosteriorReproduceTheGoldenCase) {
  for (const std::string& path : golden_paths("civae_objective.npz")) {
    SCOPED_TRACE(path);
    GoldenBound<double> g(path);
    BoundCase<double>& c = g.c;
    c.skew_term = SkewTerm::none;
    c.run();
    // There as means over latents.
    const double n_latents = static_cast<double>(c.n_latents);
    EXPECT_LE(g.relative_error("kl_enc", c.kl_encoder, 1 / n_latents), 1e-9);
    EXPECT_LE(g.relative_error("kl_post", c.kl_posterior, 1 / n_latents), 1e-9);
    HostRows<double> posterior_mean = c.mean, posterior_log_var = c.mean;
    LatentSample<double> p;
    p.batch = static_cast<std::int32_t>(c.batch), p.n_latents = static_cast<std::int32_t>(c.n_latents);
    p.bound = LogVarBound::none;
    p.encoder_mean = c.mean.rows(), p.encoder_raw = c.log_var.rows(), p.prior_mean = c.prior_mean.rows(), p.prior_raw = c.prior_log_var.rows();
    p.posterior_mean = posterior_mean.rows(), p.posterior_log_var = posterior_log_var.rows();
    latent_sample_forward_cpu(p, one_thread());
    EXPECT_LE(g.relative_error("post_mean", posterior_mean), 1e-9);
    EXPECT_LE(g.relative_error("post_log_var", posterior_log_var), 1e-9);
  }
}

TEST(CiIvaeBound, PublishedObjectiveReproducesTheGoldenCase) {
  expect_published_golden<double>(1e-9);
  expect_published_golden<float>(1e-4);
}

template <class Real>
void expect_paper_golden(double tolerance) {
  for (const std::string& path : golden_paths("civae_objective_paper.npz")) {
    for (const std::string unit : {"sum", "mean"}) {
      SCOPED_TRACE(path + " " + unit);
      GoldenBound<Real> g(path);
      g.c.skew_term = SkewTerm::paper;
      const Real beta = g.arrays.at("paper_" + unit + "_beta").template scalar<Real>();
      g.c.kl_scale = g.c.skew_scale = {unit == "sum" ? beta : beta / static_cast<Real>(g.c.n_latents)};
      g.c.run();
      expect_golden(g, "paper_" + unit + "_", tolerance);
    }
  }
}
TEST(CiIvaeBound, PaperObjectiveReproducesTheGoldenCase) {
  expect_paper_golden<double>(1e-9);
  expect_paper_golden<float>(1e-4);
}

TEST(CiIvaeBound, GradientsAreThoseOfFiniteDifferencesAtAFixedAlpha) {
  for (const SkewTerm term : kAllSkewTerms) {
    for (const double alpha : {0.0, 0.15, 0.6, 1.0}) {
      SCOPED_TRACE(testing::Message() << "term " << static_cast<int>(term) << ", alpha " << alpha);
      std::mt19937_64 random(21);
      BoundCase<double> c(2, 4, 3, 11, {alpha});
      c.fill(random);
      c.skew_term = term;
      c.kl_scale = {0.7, 0.2}, c.skew_scale = {0.4, 1.1};
      c.row_weight.fill_normal(random);
      c.log_var.at(0, 0, 0) = 5, c.log_var.at(0, 1, 0) = -6;
      c.run();
      const auto weighted_loss = [&] {
        c.run();
        double sum = 0;
        for (std::int64_t member = 0; member < 2; ++member) {
          for (std::int64_t row = 0; row < 4; ++row) sum += c.row_weight.at(member, 0, row) * c.loss.at(member, 0, row);
        }
        return sum;
      };
      const auto slope = [&](double& x) {
        const double kept = x, h = 1e-5;
        x = kept + h;
        const double above = weighted_loss();
        x = kept - h;
        const double below = weighted_loss();
        x = kept;
        return (above - below) / (2 * h);
      };
      const std::vector<HostRows<double>*> inputs = c.inputs();
      std::vector<HostRows<double>> gradients;
      for (const HostRows<double>* gradient : c.gradients()) gradients.push_back(*gradient);
      for (std::int64_t member = 0; member < 2; ++member) {
        for (std::int64_t row = 0; row < 4; ++row) {
          for (std::size_t input = 0; input < 4; ++input) {
            for (std::int64_t latent = 0; latent < 3; ++latent) {
              const double want = slope(inputs[input]->at(member, row, latent)), got = gradients[input].at(member, row, latent);
              ASSERT_TRUE(std::fabs(got - want) <= 1e-7 * (1 + std::fabs(want)))
                  << "input " << input << ", row " << row << ", latent " << latent << ": " << got << " for " << want;
            }
          }
          ASSERT_NEAR(c.weight_posterior.at(member, 0, row), slope(c.loss_posterior.at(member, 0, row)), 1e-8);
          ASSERT_NEAR(c.weight_encoder.at(member, 0, row), slope(c.loss_encoder.at(member, 0, row)), 1e-8);
        }
      }
    }
  }
}

TEST(CiIvaeBound, FloatGradientsFollowTheOracle) {
  for (const SkewTerm term : kAllSkewTerms) {
    std::mt19937_64 random(22);
    BoundCase<float> single(1, 200, 2, 50, even_grid<float>(40, true));
    single.fill(random);
    single.skew_term = term;
    BoundCase<double> oracle = single.as<double>();
    single.run(), oracle.run();
    for (std::int64_t row = 0; row < 200; ++row) {
      ASSERT_EQ(single.alpha_index.at(0, 0, row), oracle.alpha_index.at(0, 0, row)) << "a near tie: choose another seed";
      for (std::size_t array = 0; array < 4; ++array) {
        for (std::int64_t latent = 0; latent < 2; ++latent) {
          const double want = oracle.gradients()[array]->at(0, row, latent), got = static_cast<double>(single.gradients()[array]->at(0, row, latent));
          ASSERT_TRUE(std::fabs(got - want) <= 5e-6 * (1 + std::fabs(want)))
              << "gradient " << array << ", row " << row << ": " << got << " for " << want;
        }
      }
    }
  }
}

TEST(CiIvaeBound, TheEndsOfTheGridHaveNoSkewAtAll) {
  for (const SkewTerm term : {SkewTerm::paper, SkewTerm::published}) {
    for (const float end : {0.0f, 1.0f}) {
      std::mt19937_64 random(23);
      BoundCase<float> c(1, 40, 2, 9, {end});
      c.fill(random, 3);
      c.skew_term = term;
      c.run();
      for (std::int64_t row = 0; row < 40; ++row) {
        ASSERT_EQ(c.skew.at(0, 0, row), 0.0f);
        const float reconstruction = (end > 0 ? c.loss_encoder : c.loss_posterior).at(0, 0, row);
        ASSERT_EQ(c.loss.at(0, 0, row), reconstruction + (end > 0 ? c.kl_encoder : c.kl_posterior).at(0, 0, row));
      }
    }
  }
}

TEST(CiIvaeBound, OneAlphaAtAnEndReadsNeitherNoiseNorTheOtherLoss) {
  for (const float end : {0.0f, 1.0f}) {
    std::mt19937_64 random(24);
    BoundCase<float> c(1, 5, 2, 3, {end});
    c.fill(random);
    c.skew_term = SkewTerm::none;
    c.run();
    const std::vector<float> loss = c.loss.values, d_log_var = c.d_log_var.values;
    CiIvaeBound<float> p = c.parameters();
    p.noise = {}, p.n_samples = 0, p.skew_scale = nullptr;
    (end > 0 ? p.loss_posterior : p.loss_encoder) = nullptr;
    ci_ivae_bound_cpu(p, one_thread());
    EXPECT_EQ(c.loss.values, loss);
    EXPECT_EQ(c.d_log_var.values, d_log_var);
    EXPECT_EQ(c.weight_posterior.at(0, 0, 0), 1 - end);
    EXPECT_EQ(c.weight_encoder.at(0, 0, 0), end);
  }
}

TEST(CiIvaeBound, AnInfiniteEncoderKlDoesNotReachAlphaZero) {
  BoundCase<float> c(1, 1, 1, 4, {0.0f, 0.5f, 1.0f});
  c.set(0, 100, 0, 0);
  c.run();
  EXPECT_EQ(c.alpha_index.at(0, 0, 0), 0);
  for (const HostRows<float>* gradient : c.gradients()) EXPECT_TRUE(std::isfinite(gradient->at(0, 0, 0)));
  EXPECT_TRUE(std::isfinite(c.loss.at(0, 0, 0)));
}

TEST(CiIvaeBound, TiesGoToTheLowestIndexAndNanWins) {
  BoundCase<float> c(1, 3, 1, 1, even_grid<float>(8, true));
  c.skew_term = SkewTerm::none;
  c.log_var.fill([] { return -1e4f; });  // prior weight 0: the posterior is the encoder, both KLs are equal
  c.log_var.at(0, 0, 0) = c.log_var.at(0, 1, 0) = c.log_var.at(0, 2, 0) = -200;
  c.loss_encoder.at(0, 0, 1) = -1;
  c.loss_encoder.at(0, 0, 2) = kNan<float>;
  c.run();
  EXPECT_EQ(c.kl_encoder.at(0, 0, 0), c.kl_posterior.at(0, 0, 0));
  EXPECT_EQ(c.alpha_index.at(0, 0, 0), 0);
  EXPECT_EQ(c.alpha_index.at(0, 0, 1), 8);
  EXPECT_TRUE(std::isnan(c.loss.at(0, 0, 2)));
  EXPECT_EQ(c.alpha_index.at(0, 0, 2), 1);
}

TEST(CiIvaeBound, RawLogVariancesSweptOverPlusMinus120GiveNothingNonFinite) {
  for (const SkewTerm term : kAllSkewTerms) {
    SCOPED_TRACE(testing::Message() << "term " << static_cast<int>(term));
    BoundCase<float> c(1, 49 * 49, 1, 20, even_grid<float>(40, true));
    std::mt19937_64 random(25);
    c.noise.fill_normal(random);
    c.skew_term = term;
    HostRows<float> raw = c.mean, prior_raw = c.mean, noise = c.mean, d_z = c.mean;
    for (std::int64_t row = 0; row < c.batch; ++row) {
      raw.at(0, row, 0) = static_cast<float>(row / 49 * 5 - 120);
      prior_raw.at(0, row, 0) = static_cast<float>(row % 49 * 5 - 120);
      c.mean.at(0, row, 0) = static_cast<float>(row % 11) - 5;  // up to thousands of prior standard deviations away
    }
    noise.fill_normal(random), d_z.fill_normal(random);
    LatentSampleGradient<float> latent;
    LatentSample<float>& p = latent.forward;
    p.batch = static_cast<std::int32_t>(c.batch), p.n_latents = 1;
    p.encoder_mean = c.mean.rows(), p.encoder_raw = raw.rows(), p.prior_mean = c.prior_mean.rows(), p.prior_raw = prior_raw.rows();
    p.noise_encoder = p.noise_posterior = noise.rows();
    p.encoder_log_var = c.log_var.rows(), p.prior_log_var = c.prior_log_var.rows();
    latent_sample_forward_cpu(p, one_thread());
    BoundCase<double> oracle = c.as<double>();
    c.run(), oracle.run();
    for (std::int64_t row = 0; row < c.batch; ++row) {
      for (std::int64_t i = 0; i < 41; ++i) {
        const double want = oracle.loss_grid.at(0, row, i);
        ASSERT_TRUE(std::fabs(static_cast<double>(c.loss_grid.at(0, row, i)) - want) <= 2e-6 * (1 + std::fabs(want))) << row << ", " << i;
      }
    }
    latent.d_z_encoder = latent.d_z_posterior = d_z.rows();
    latent.d_mean = c.d_mean.rows(), latent.d_log_var = c.d_log_var.rows();
    latent.d_prior_mean = c.d_prior_mean.rows(), latent.d_prior_log_var = c.d_prior_log_var.rows();
    latent_sample_backward_cpu(latent, one_thread());
    for (std::int64_t row = 0; row < c.batch; ++row) {
      for (const HostRows<float>* gradient : c.gradients()) ASSERT_TRUE(std::isfinite(gradient->at(0, row, 0))) << row;
    }
  }
}

TEST(CiIvaeBound, LogRatiosOfHundredsAreSummedWithoutOverflow) {
  std::mt19937_64 random(26);
  BoundCase<float> c(1, 100, 6, 50, even_grid<float>(40, false));
  c.fill(random, 2.5);
  c.skew_term = SkewTerm::published;
  BoundCase<double> oracle = c.as<double>();
  c.run(), oracle.run();
  for (std::int64_t row = 0; row < 100; ++row) {
    for (std::int64_t i = 0; i < 39; ++i) {
      const double want = oracle.loss_grid.at(0, row, i);
      ASSERT_TRUE(std::fabs(static_cast<double>(c.loss_grid.at(0, row, i)) - want) <= 1e-6 * (1 + std::fabs(want))) << row << ", " << i;
    }
  }
}

// ---- properties of the exact bound, by draws at the quantiles of the normal and by quadrature ----

double normal_quantile(double probability) {
  double low = -10, high = 10;
  for (int i = 0; i < 80; ++i) {
    const double middle = 0.5 * (low + high);
    (0.5 * std::erfc(-middle / std::sqrt(2.0)) < probability ? low : high) = middle;
  }
  return 0.5 * (low + high);
}

struct Gaussians {
  double m, l, lambda, r;
  double gap() const { return l - r; }
  double rho() const { return -std::log(std::exp(-l) + std::exp(-r)); }
  double mu() const { return std::exp(rho()) * (m * std::exp(-l) + lambda * std::exp(-r)); }
  static double density(double z, double mean, double log_var) {
    return std::exp(-0.5 * (z - mean) * (z - mean) / std::exp(log_var)) / std::sqrt(2 * 3.14159265358979323846 * std::exp(log_var));
  }
  // Skewed Jensen-Shannon divergence of encoder and posterior, by the trapezoidal rule.
  double divergence(double alpha) const {
    const double encoder_reach = 12 * std::exp(l / 2), posterior_reach = 12 * std::exp(rho() / 2);
    const double low = std::min(m - encoder_reach, mu() - posterior_reach), high = std::max(m + encoder_reach, mu() + posterior_reach);
    const int n = 4000;
    double sum = 0;
    for (int i = 0; i <= n; ++i) {
      const double z = low + (high - low) * i / n, e = density(z, m, l), q = density(z, mu(), rho()), mixture = alpha * e + (1 - alpha) * q;
      if (e > 0) sum += alpha * e * std::log(e / mixture);
      if (q > 0) sum += (1 - alpha) * q * std::log(q / mixture);
    }
    return sum * (high - low) / n;
  }
  double kl(double mean_a, double log_var_a, double mean_b, double log_var_b) const {
    return 0.5 * (log_var_b - log_var_a + (std::exp(log_var_a) + (mean_a - mean_b) * (mean_a - mean_b)) / std::exp(log_var_b) - 1);
  }
  double kl_encoder_posterior() const { return kl(m, l, mu(), rho()); }
  double kl_posterior_encoder() const { return kl(mu(), rho(), m, l); }
};

const Gaussians kPairs[] = {{.7, -1.2, -.4, .3}, {-2, 1.5, 1, -.5}, {0, 0, 0, 0}, {1, -2, -1, 0.5}, {0.3, 1, 0, -1}};

BoundCase<double> quantile_case(const Gaussians& g, std::vector<double> alphas) {
  static const std::vector<double> quantiles = [] {
    std::vector<double> values;
    for (int i = 0; i < 4000; ++i) values.push_back(normal_quantile((i + 0.5) / 4000));
    return values;
  }();
  BoundCase<double> c(1, 1, 1, 4000, std::move(alphas));
  c.set(g.m, g.l, g.lambda, g.r);
  std::size_t next = 0;
  c.noise.fill([&] { return quantiles[next++]; });
  return c;
}

TEST(CiIvaeBound, TheBoundIsConcaveInAlphaAndItsSkewIsTheQuadraturesDivergence) {
  for (const Gaussians& g : kPairs) {
    BoundCase<double> c = quantile_case(g, even_grid<double>(20, true));
    c.run();
    std::vector<double> bound, exact;
    const double end_0 = -c.loss_grid.at(0, 0, 0), end_1 = -c.loss_grid.at(0, 0, 20);
    for (std::int64_t i = 0; i <= 20; ++i) {
      const double alpha = c.alphas[static_cast<std::size_t>(i)];
      bound.push_back(-c.loss_grid.at(0, 0, i));
      exact.push_back((1 - alpha) * end_0 + alpha * end_1 + (i > 0 && i < 20 ? g.divergence(alpha) : 0));
      EXPECT_NEAR(bound.back(), exact.back(), 2e-3) << "alpha " << alpha;
      EXPECT_TRUE(exact.back() - ((1 - alpha) * end_0 + alpha * end_1) <= std::log(2.0) + 1e-9);
    }
    for (std::size_t i = 1; i < 20; ++i) {
      EXPECT_TRUE(exact[i] - 0.5 * (exact[i - 1] + exact[i + 1]) >= -1e-9) << "at " << i;
      EXPECT_TRUE(bound[i] - 0.5 * (bound[i - 1] + bound[i + 1]) >= -1e-6) << "at " << i;
    }
  }
}

TEST(CiIvaeBound, AlphaSitsAtAnEndExactlyWhenTheClosedFormSaysSo) {
  for (const Gaussians& g : kPairs) {
    if (g.gap() == 0) continue;
    const std::vector<double> alphas = {0, 1e-8, 0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 0.9, 1 - 1e-8, 1};
    BoundCase<double> c = quantile_case(g, alphas);
    c.run();
    const double gap = c.kl_posterior.at(0, 0, 0) - c.kl_encoder.at(0, 0, 0);  // ELBO(1) - ELBO(0) before the reconstructions
    const auto index_for = [&](double elbo_1_minus_elbo_0) {
      c.loss_posterior.at(0, 0, 0) = elbo_1_minus_elbo_0 - gap;
      c.run();
      return c.alpha_index.at(0, 0, 0);
    };
    // Inside by 0.7 rather than 1: the grid's first step is 1e-8, where the slope has already fallen a little.
    const double to_zero = g.kl_encoder_posterior(), to_one = g.kl_posterior_encoder();
    EXPECT_EQ(index_for(-1.05 * to_zero), 0);
    EXPECT_GT(index_for(-0.7 * to_zero), 0);
    EXPECT_EQ(index_for(1.05 * to_one), 12);
    EXPECT_LT(index_for(0.7 * to_one), 12);
  }
}

TEST(CiIvaeBound, PublishedNeverPrefersTheInterior) {
  std::mt19937_64 random(27);
  BoundCase<float> c(1, 300, 2, 50, even_grid<float>(40, true));
  c.fill(random);
  c.skew_term = SkewTerm::published;
  c.run();
  for (std::int64_t row = 0; row < 300; ++row) EXPECT_TRUE(c.alpha_index.at(0, 0, row) == 0 || c.alpha_index.at(0, 0, row) == 40);
}

TEST(CiIvaeBound, AMemberAloneEqualsTheMemberInAFleetAndAnIdleOneIsLeftAlone) {
  std::mt19937_64 random(28);
  BoundCase<float> fleet(3, 37, 2, 13, even_grid<float>(10, true));
  fleet.fill(random);
  fleet.active = {1, 0, 1};
  fleet.kl_scale = {1, 2, 0.5f}, fleet.skew_scale = {0.1f, 1, 2};
  fleet.run();
  for (std::int64_t row = 0; row < 37; ++row) {
    ASSERT_TRUE(std::isnan(fleet.loss.at(1, 0, row)) && std::isnan(fleet.d_mean.at(1, row, 0)) && fleet.alpha_index.at(1, 0, row) == -1);
  }
  BoundCase<float> alone(1, 37, 2, 13, fleet.alphas);
  const auto take = [](const HostRows<float>& from, HostRows<float>& to) {
    const auto size = static_cast<std::ptrdiff_t>(to.values.size());
    to.values.assign(from.values.begin() + 2 * size, from.values.begin() + 3 * size);
  };
  for (std::size_t i = 0; i < 4; ++i) take(*fleet.inputs()[i], *alone.inputs()[i]);
  take(fleet.noise, alone.noise), take(fleet.loss_posterior, alone.loss_posterior), take(fleet.loss_encoder, alone.loss_encoder);
  alone.kl_scale = {0.5f}, alone.skew_scale = {2};
  ThreadPool two_threads(2);
  ci_ivae_bound_cpu(alone.parameters(), two_threads);
  for (std::int64_t row = 0; row < 37; ++row) {
    ASSERT_EQ(alone.loss.at(0, 0, row), fleet.loss.at(2, 0, row));
    for (std::int64_t latent = 0; latent < 2; ++latent) ASSERT_EQ(alone.d_log_var.at(0, row, latent), fleet.d_log_var.at(2, row, latent));
  }
}

// ---- sums over an epoch ----

TEST(EpochSums, RowsOfWeightZeroAreLeftOutAndSumsRunOn) {
  const std::vector<std::uint8_t> active = {1, 0};
  const std::vector<float> weight = {.5f, .5f, 0, 0, 1, 1, 1, 1}, loss = {1, 2, kNan<float>, 4, 5, 6, 7, 8}, kl = {10, 20, 30, 40, 50, 60, 70, 80};
  std::vector<float> sums = {100, 200, 300, 1, 2, 3};
  EpochSums<float> p;
  p.fleet = {2, active.data()};
  p.batch = 4, p.n_columns = 3, p.row_scalar_stride = 4;
  p.row_weight = weight.data();
  p.columns[0].values = loss.data(), p.columns[2].values = kl.data();
  p.sums = sums.data();
  epoch_sums_cpu(p, one_thread());
  EXPECT_EQ(sums, (std::vector<float>{103, 200, 330, 1, 2, 3}));
}

// As of a grid of alphas: how many rows are at one of its ends, whether the grid reaches it or not.
TEST(EpochSums, CountsTheRowsThatHaveAValue) {
  const std::vector<float> weight = {1, 1, 1, 0, 1}, alpha = {0, 1, 1, 1, .5f};
  std::vector<float> sums = {0, 0, 0, 0};
  EpochSums<float> p;
  p.batch = 5, p.n_columns = 4, p.row_scalar_stride = 5;
  p.row_weight = weight.data();
  p.columns[0] = {alpha.data(), false, 0};
  for (const int counted : {0, 1, 2}) p.columns[1 + counted] = {alpha.data(), true, static_cast<float>(counted)};
  p.sums = sums.data();
  epoch_sums_cpu(p, one_thread());
  EXPECT_EQ(sums, (std::vector<float>{2.5f, 1, 2, 0}));
}

TEST(EpochSums, ANanStaysInItsColumn) {
  const std::vector<double> weight = {1, 1}, loss = {kNan<double>, 1}, kl = {2, 3};
  std::vector<double> sums = {0, 0, 0};
  EpochSums<double> p;
  p.batch = 2, p.n_columns = 3, p.row_scalar_stride = 2;
  p.row_weight = weight.data();
  p.columns[0].values = loss.data(), p.columns[1].values = kl.data(), p.columns[2] = {loss.data(), true, 1};
  p.sums = sums.data();
  epoch_sums_cpu(p, one_thread());
  EXPECT_TRUE(std::isnan(sums[0]));
  EXPECT_EQ(sums[1], 5);
  EXPECT_EQ(sums[2], 1);  // a NaN is no value that is counted
}

}  // namespace
}  // namespace idem
