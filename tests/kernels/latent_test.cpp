#include "kernels/latent/latent.h"

#include <gtest/gtest.h>

#include <cmath>
#include <limits>
#include <vector>

#include "tests/support/host_rows.h"

namespace idem {
namespace {

// One batch through the bottleneck and back, with arrays of its own.
template <class Real>
struct Bottleneck {
  ThreadPool pool{1};
  std::vector<std::uint8_t> active;
  std::int64_t n_members, batch, n_latents;
  HostRows<Real> mean, raw, prior_mean, prior_raw, noise_encoder, noise_posterior;
  HostRows<Real> log_var, prior_log_var, posterior_mean, posterior_log_var, z_encoder, z_posterior;
  HostRows<Real> d_z_encoder, d_z_posterior, d_mean, d_log_var, d_prior_mean, d_prior_log_var;
  LogVarBound bound = LogVarBound::smooth;

  Bottleneck(std::int64_t members, std::int64_t rows, std::int64_t latents)
      : n_members(members), batch(rows), n_latents(latents) {
    for (HostRows<Real>* inputs : this->inputs()) *inputs = HostRows<Real>(members, rows, latents);
    for (HostRows<Real>* outputs :
         {&log_var, &prior_log_var, &posterior_mean, &posterior_log_var, &z_encoder, &z_posterior}) {
      *outputs = HostRows<Real>(members, rows, latents, std::numeric_limits<Real>::quiet_NaN());
    }
    for (HostRows<Real>* gradients : this->gradients()) *gradients = HostRows<Real>(members, rows, latents);
    d_z_encoder = d_z_posterior = HostRows<Real>(members, rows, latents);
  }
  std::vector<HostRows<Real>*> inputs() {
    return {&mean, &raw, &prior_mean, &prior_raw, &noise_encoder, &noise_posterior};
  }
  std::vector<HostRows<Real>*> gradients() { return {&d_mean, &d_log_var, &d_prior_mean, &d_prior_log_var}; }

  LatentSample<Real> parameters() {
    LatentSample<Real> p;
    p.fleet = {static_cast<std::int32_t>(n_members), active.empty() ? nullptr : active.data()};
    p.batch = static_cast<std::int32_t>(batch);
    p.n_latents = static_cast<std::int32_t>(n_latents);
    p.bound = bound;
    p.encoder_mean = mean.rows(), p.encoder_raw = raw.rows(), p.prior_mean = prior_mean.rows(),
    p.prior_raw = prior_raw.rows();
    p.noise_encoder = noise_encoder.rows(), p.noise_posterior = noise_posterior.rows();
    p.encoder_log_var = log_var.rows(), p.prior_log_var = prior_log_var.rows();
    p.posterior_mean = posterior_mean.rows(), p.posterior_log_var = posterior_log_var.rows();
    p.z_encoder = z_encoder.rows(), p.z_posterior = z_posterior.rows();
    return p;
  }
  void forward() { latent_sample_forward_cpu(parameters(), pool); }
  void backward() {
    LatentSampleGradient<Real> p;
    p.forward = parameters();
    p.d_z_encoder = d_z_encoder.rows(), p.d_z_posterior = d_z_posterior.rows();
    p.d_mean = d_mean.rows(), p.d_log_var = d_log_var.rows(), p.d_prior_mean = d_prior_mean.rows(),
    p.d_prior_log_var = d_prior_log_var.rows();
    latent_sample_backward_cpu(p, pool);
  }
  void set(std::int64_t row, Real m, Real l, Real lambda, Real r) {
    mean.at(0, row, 0) = m, raw.at(0, row, 0) = l, prior_mean.at(0, row, 0) = lambda, prior_raw.at(0, row, 0) = r;
  }
};

template <class Real>
class LatentSampleOf : public testing::Test {};
using Scalars = testing::Types<float, double>;
TYPED_TEST_SUITE(LatentSampleOf, Scalars);

TYPED_TEST(LatentSampleOf, PosteriorIsTheGoldenProductOfEncoderAndPrior) {
  using Real = TypeParam;
  const double tolerance = std::is_same_v<Real, float> ? 1e-6 : 6e-9;  // the vectors have nine digits
  Bottleneck<Real> b(1, 3, 1);
  b.bound = LogVarBound::none;
  b.set(0, Real(.7), Real(-1.2), Real(-.4), Real(.3));
  b.set(1, -2, Real(1.5), 1, Real(-.5));
  b.set(2, 5, -14, 4, 1);
  b.forward();
  const double want_mean[] = {.499331924, .642391234, 4.99999969},
               want_log_var[] = {-1.40141328, -.626928011, -14.0000003};
  for (std::int64_t row = 0; row < 3; ++row) {
    const double mean = static_cast<double>(b.posterior_mean.at(0, row, 0)),
                 log_var = static_cast<double>(b.posterior_log_var.at(0, row, 0));
    EXPECT_TRUE(std::fabs(mean - want_mean[row]) <= tolerance * std::fabs(want_mean[row])) << row << ": " << mean;
    EXPECT_TRUE(std::fabs(log_var - want_log_var[row]) <= tolerance * std::fabs(want_log_var[row]))
        << row << ": " << log_var;
  }
}

TYPED_TEST(LatentSampleOf, SamplesAreMeansPlusNoiseInStandardDeviations) {
  using Real = TypeParam;
  Bottleneck<Real> b(1, 1, 1);
  b.bound = LogVarBound::none;
  b.set(0, 3, Real(2 * std::log(2.0)), 1,
        Real(2 * std::log(2.0)));  // both of variance 4: a posterior half way, of variance 2
  b.noise_encoder.at(0, 0, 0) = Real(0.5);
  b.noise_posterior.at(0, 0, 0) = -1;
  b.forward();
  EXPECT_NEAR(b.z_encoder.at(0, 0, 0), 4, 1e-6);
  EXPECT_NEAR(b.posterior_mean.at(0, 0, 0), 2, 1e-6);
  EXPECT_NEAR(b.z_posterior.at(0, 0, 0), 2 - std::sqrt(2.0), 1e-6);
}

TYPED_TEST(LatentSampleOf, LogVariancesSweptOverThePlusMinus120StayFinite) {
  using Real = TypeParam;
  for (const LogVarBound bound : {LogVarBound::smooth, LogVarBound::none}) {
    Bottleneck<Real> b(1, 49 * 49, 1);
    b.bound = bound;
    for (std::int64_t row = 0; row < b.batch; ++row)
      b.set(row, 8, static_cast<Real>(row / 49 * 5 - 120), -7, static_cast<Real>(row % 49 * 5 - 120));
    std::mt19937_64 random(1);
    for (HostRows<Real>* noise : {&b.noise_encoder, &b.noise_posterior, &b.d_z_encoder, &b.d_z_posterior})
      noise->fill_normal(random);
    b.forward();
    b.backward();
    for (std::int64_t row = 0; row < b.batch; ++row) {
      for (const HostRows<Real>* values :
           {&b.log_var, &b.prior_log_var, &b.posterior_mean, &b.posterior_log_var, &b.z_encoder, &b.z_posterior,
            &b.d_mean, &b.d_log_var, &b.d_prior_mean, &b.d_prior_log_var}) {
        ASSERT_TRUE(std::isfinite(values->at(0, row, 0)))
            << "log variances " << b.raw.at(0, row, 0) << ", " << b.prior_raw.at(0, row, 0);
      }
      if (bound == LogVarBound::smooth) {
        ASSERT_TRUE(b.log_var.at(0, row, 0) >= Real(-12.0000001) && b.log_var.at(0, row, 0) <= 6);
        ASSERT_TRUE(b.posterior_log_var.at(0, row, 0) >= Real(-12.7) && b.posterior_log_var.at(0, row, 0) <= 6);
      }
    }
  }
}

TEST(LatentSample, PosteriorEqualsThePublishedFormWhereThatIsFinite) {
  Bottleneck<double> b(1, 500, 3);
  std::mt19937_64 random(2);
  b.bound = LogVarBound::none;
  for (HostRows<double>* input : b.inputs()) input->fill_normal(random, 3);
  b.forward();
  for (std::int64_t row = 0; row < b.batch; ++row) {
    for (std::int64_t k = 0; k < b.n_latents; ++k) {
      const double m = b.mean.at(0, row, k), l = b.raw.at(0, row, k), lambda = b.prior_mean.at(0, row, k),
                   r = b.prior_raw.at(0, row, k);
      ASSERT_NEAR(b.posterior_mean.at(0, row, k), m / (1 + std::exp(l - r)) + lambda / (1 + std::exp(r - l)), 1e-12);
      ASSERT_NEAR(b.posterior_log_var.at(0, row, k), l + r - std::log(std::exp(l) + std::exp(r)), 1e-12);
    }
  }
}

// A random projection of the samples and of (m, l, lambda, r) themselves, which stands for the decoder and the
// objective.
struct Projection {
  HostRows<double> of_z_encoder, of_z_posterior, of_mean, of_log_var, of_prior_mean, of_prior_log_var;

  Projection(std::int64_t members, std::int64_t rows, std::int64_t latents, std::mt19937_64& random) {
    for (HostRows<double>* weights :
         {&of_z_encoder, &of_z_posterior, &of_mean, &of_log_var, &of_prior_mean, &of_prior_log_var}) {
      *weights = HostRows<double>(members, rows, latents).fill_normal(random);
    }
  }
  double operator()(const Bottleneck<double>& b) const {
    double sum = 0;
    for (std::size_t i = 0; i < of_mean.values.size(); ++i) {
      sum += of_z_encoder.values[i] * b.z_encoder.values[i] + of_z_posterior.values[i] * b.z_posterior.values[i] +
             of_mean.values[i] * b.mean.values[i] + of_log_var.values[i] * b.log_var.values[i] +
             of_prior_mean.values[i] * b.prior_mean.values[i] + of_prior_log_var.values[i] * b.prior_log_var.values[i];
    }
    return sum;
  }
};

TEST(LatentSample, GradientsAreThoseOfFiniteDifferences) {
  for (const LogVarBound bound : {LogVarBound::smooth, LogVarBound::none}) {
    std::mt19937_64 random(3);
    Bottleneck<double> b(2, 5, 3);
    b.bound = bound;
    for (HostRows<double>* input : b.inputs()) input->fill_normal(random, 1.5);
    b.raw.at(0, 0, 0) = -13, b.raw.at(0, 0, 1) = 7, b.prior_raw.at(0, 1, 0) = -11, b.prior_raw.at(0, 1, 1) = 6;
    const Projection projection(2, 5, 3, random);
    b.forward();
    b.d_z_encoder = projection.of_z_encoder, b.d_z_posterior = projection.of_z_posterior;
    b.d_mean = projection.of_mean, b.d_log_var = projection.of_log_var;
    b.d_prior_mean = projection.of_prior_mean, b.d_prior_log_var = projection.of_prior_log_var;
    b.backward();
    const std::vector<HostRows<double>*> inputs = b.inputs(), gradients = b.gradients();
    for (std::size_t input = 0; input < gradients.size(); ++input) {
      for (std::int64_t member = 0; member < 2; ++member) {
        for (std::int64_t row = 0; row < 5; ++row) {
          for (std::int64_t latent = 0; latent < 3; ++latent) {
            double& x = inputs[input]->at(member, row, latent);
            const double kept = x, h = 1e-5;
            x = kept + h;
            b.forward();
            const double above = projection(b);
            x = kept - h;
            b.forward();
            const double below = projection(b), slope = (above - below) / (2 * h),
                         got = gradients[input]->at(member, row, latent);
            x = kept;
            ASSERT_TRUE(std::fabs(got - slope) <= 1e-7 * (1 + std::fabs(slope)))
                << "input " << input << ", row " << row << ": " << got << " for " << slope;
          }
        }
      }
    }
  }
}

TEST(LatentSample, FloatGradientsAreThoseOfTheOracle) {
  std::mt19937_64 random(4);
  Bottleneck<float> b(1, 300, 2);
  for (HostRows<float>* input : b.inputs()) input->fill_normal(random, 2);
  for (HostRows<float>* gradient :
       {&b.d_z_encoder, &b.d_z_posterior, &b.d_mean, &b.d_log_var, &b.d_prior_mean, &b.d_prior_log_var}) {
    gradient->fill_normal(random);
  }
  Bottleneck<double> oracle(1, 300, 2);
  for (std::size_t i = 0; i < 6; ++i) *oracle.inputs()[i] = b.inputs()[i]->as<double>();
  for (std::size_t i = 0; i < 4; ++i) *oracle.gradients()[i] = b.gradients()[i]->as<double>();
  oracle.d_z_encoder = b.d_z_encoder.as<double>(), oracle.d_z_posterior = b.d_z_posterior.as<double>();
  b.forward(), b.backward(), oracle.forward(), oracle.backward();
  for (std::size_t array = 0; array < 4; ++array) {
    for (std::size_t i = 0; i < b.d_mean.values.size(); ++i) {
      const double want = oracle.gradients()[array]->values[i],
                   got = static_cast<double>(b.gradients()[array]->values[i]);
      ASSERT_TRUE(std::fabs(got - want) <= 4e-6 * (1 + std::fabs(want)))
          << "gradient " << array << ", element " << i << ": " << got << " for " << want;
    }
  }
}

TEST(LatentSample, MembersAndRowsDoNotMixAndAnIdleMemberIsLeftAlone) {
  std::mt19937_64 random(5);
  Bottleneck<float> fleet(3, 130, 3);
  fleet.active = {1, 0, 1};
  for (HostRows<float>* input : fleet.inputs()) input->fill_normal(random);
  for (HostRows<float>* gradient : fleet.gradients()) gradient->fill_normal(random);
  const HostRows<float> before = fleet.d_mean;
  fleet.forward(), fleet.backward();
  for (std::int64_t row = 0; row < 130; ++row) {
    for (std::int64_t latent = 0; latent < 3; ++latent) {
      ASSERT_TRUE(std::isnan(fleet.z_posterior.at(1, row, latent)));
      ASSERT_EQ(fleet.d_mean.at(1, row, latent), before.at(1, row, latent));
      ASSERT_FALSE(std::isnan(fleet.z_posterior.at(2, row, latent)));
    }
    for (std::int64_t feature = 3; feature < 16; ++feature) ASSERT_EQ(fleet.z_posterior.at(2, row, feature), 0.0f);
  }
  Bottleneck<float> alone(1, 130, 3);
  for (std::size_t i = 0; i < 6; ++i) {
    const std::vector<float>& from = fleet.inputs()[i]->values;
    alone.inputs()[i]->values.assign(from.begin() + 2 * 130 * 16, from.end());
  }
  alone.forward();
  EXPECT_EQ(alone.z_posterior.values,
            std::vector<float>(fleet.z_posterior.values.begin() + 2 * 130 * 16, fleet.z_posterior.values.end()));
}

TEST(LatentSample, WhatNobodyAskedForIsSkipped) {
  std::mt19937_64 random(6);
  Bottleneck<double> whole(1, 7, 400), part(1, 7, 400);  // more latents than one tile holds
  for (HostRows<double>* input : whole.inputs()) input->fill_normal(random);
  for (std::size_t i = 0; i < 6; ++i) *part.inputs()[i] = *whole.inputs()[i];
  whole.d_z_posterior.fill_normal(random);
  part.d_z_posterior = whole.d_z_posterior;
  whole.forward(), whole.backward();
  LatentSample<double> p = part.parameters();
  p.noise_encoder = {}, p.z_encoder = {}, p.encoder_log_var = {}, p.posterior_log_var = {};
  latent_sample_forward_cpu(p, part.pool);
  EXPECT_EQ(part.z_posterior.values, whole.z_posterior.values);
  EXPECT_TRUE(std::isnan(part.z_encoder.at(0, 0, 0)));
  LatentSampleGradient<double> d;
  d.forward = p;
  d.d_z_posterior = part.d_z_posterior.rows();
  d.d_mean = part.d_mean.rows(), d.d_log_var = part.d_log_var.rows();
  d.d_prior_mean = part.d_prior_mean.rows(), d.d_prior_log_var = part.d_prior_log_var.rows();
  latent_sample_backward_cpu(d, part.pool);
  EXPECT_EQ(part.d_log_var.values, whole.d_log_var.values);
  EXPECT_EQ(part.d_prior_log_var.values, whole.d_prior_log_var.values);
}

}  // namespace
}  // namespace idem
