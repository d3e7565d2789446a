#include "kernels/objective/objective.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <random>
#include <vector>

#include "kernels/latent/latent.h"
#include "tests/kernels/bound_case.h"
#include "kernels/common/to_size.h"

namespace idem {
namespace {

// The loss grid from densities, without any stable form: for moderate values in double only.
std::vector<double> plain_loss_grid(const BoundCase<double>& c, std::int64_t member, std::int64_t row) {
  double kl_encoder = 0, kl_posterior = 0;
  std::vector<double> encoder(to_size(c.n_samples), 0), posterior = encoder;  // log q_p/q_e, log q_e/q_p
  for (std::int64_t k = 0; k < c.n_latents; ++k) {
    const double m = c.mean.at(member, row, k), l = c.log_var.at(member, row, k),
                 lambda = c.prior_mean.at(member, row, k), r = c.prior_log_var.at(member, row, k);
    const double rho = -std::log(std::exp(-l) + std::exp(-r)),
                 mu = std::exp(rho) * (m * std::exp(-l) + lambda * std::exp(-r));
    const auto kl = [&](double a, double log_var) {
      return 0.5 * (r - log_var + (std::exp(log_var) + (a - lambda) * (a - lambda)) / std::exp(r) - 1);
    };
    kl_encoder += kl(m, l), kl_posterior += kl(mu, rho);
    const auto log_density = [](double z, double a, double log_var) {
      return -0.5 * (log_var + (z - a) * (z - a) / std::exp(log_var));
    };
    for (std::int64_t draw = 0; draw < c.n_samples; ++draw) {
      const double eps = c.noise.at(member, row, k * c.n_samples + draw);
      const double at_encoder = m + std::exp(l / 2) * eps, at_posterior = mu + std::exp(rho / 2) * eps;
      encoder[to_size(draw)] += log_density(at_encoder, mu, rho) - log_density(at_encoder, m, l);
      posterior[to_size(draw)] += log_density(at_posterior, m, l) - log_density(at_posterior, mu, rho);
    }
  }
  const double kl_scale = c.kl_scale[to_size(member)], skew_scale = c.skew_scale[to_size(member)];
  std::vector<double> grid;
  for (const double alpha : c.alphas) {
    double skew_encoder = 0, skew_posterior = 0;
    for (std::size_t draw = 0; draw < encoder.size(); ++draw) {
      skew_encoder -= std::log(alpha + (1 - alpha) * std::exp(encoder[draw])) / static_cast<double>(c.n_samples);
      skew_posterior -= std::log((1 - alpha) + alpha * std::exp(posterior[draw])) / static_cast<double>(c.n_samples);
    }
    double loss = alpha * (c.loss_encoder.at(member, 0, row) + kl_scale * kl_encoder) +
                  (1 - alpha) * (c.loss_posterior.at(member, 0, row) + kl_scale * kl_posterior);
    if (c.skew_term == SkewTerm::paper && alpha > 0 && alpha < 1)
      loss -= skew_scale * (alpha * skew_encoder + (1 - alpha) * skew_posterior);
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
      SCOPED_TRACE(testing::Message() << "term " << static_cast<int>(term) << ", " << shape.latents << " latents, "
                                      << shape.samples << " draws");
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
            ASSERT_TRUE(std::fabs(c.loss_grid.at(member, row, column) - want[i]) <= 1e-12 * (1 + std::fabs(want[i])))
                << row << ", " << i;
            ASSERT_TRUE(std::fabs(static_cast<double>(single.loss_grid.at(member, row, column)) - want[i]) <=
                        1e-6 * (1 + std::fabs(want[i])))
                << row << ", " << i << ": " << single.loss_grid.at(member, row, column) << " for " << want[i];
          }
          const auto best = std::min_element(want.begin(), want.end()) - want.begin();
          ASSERT_EQ(c.alpha_index.at(member, 0, row), best);
          ASSERT_EQ(c.alpha.at(member, 0, row), c.alphas[to_size(best)]);
          ASSERT_EQ(c.loss.at(member, 0, row), c.loss_grid.at(member, row, best));
        }
      }
    }
  }
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
              const double want = slope(inputs[input]->at(member, row, latent)),
                           got = gradients[input].at(member, row, latent);
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
      ASSERT_EQ(single.alpha_index.at(0, 0, row), oracle.alpha_index.at(0, 0, row))
          << "a near tie: choose another seed";
      for (std::size_t array = 0; array < 4; ++array) {
        for (std::int64_t latent = 0; latent < 2; ++latent) {
          const double want = oracle.gradients()[array]->at(0, row, latent),
                       got = static_cast<double>(single.gradients()[array]->at(0, row, latent));
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
    p.encoder_mean = c.mean.rows(), p.encoder_raw = raw.rows(), p.prior_mean = c.prior_mean.rows(),
    p.prior_raw = prior_raw.rows();
    p.noise_encoder = p.noise_posterior = noise.rows();
    p.encoder_log_var = c.log_var.rows(), p.prior_log_var = c.prior_log_var.rows();
    latent_sample_forward_cpu(p, one_thread());
    BoundCase<double> oracle = c.as<double>();
    c.run(), oracle.run();
    for (std::int64_t row = 0; row < c.batch; ++row) {
      for (std::int64_t i = 0; i < 41; ++i) {
        const double want = oracle.loss_grid.at(0, row, i);
        ASSERT_TRUE(std::fabs(static_cast<double>(c.loss_grid.at(0, row, i)) - want) <= 2e-6 * (1 + std::fabs(want)))
            << row << ", " << i;
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
      ASSERT_TRUE(std::fabs(static_cast<double>(c.loss_grid.at(0, row, i)) - want) <= 1e-6 * (1 + std::fabs(want)))
          << row << ", " << i;
    }
  }
}

TEST(CiIvaeBound, AMemberAloneEqualsTheMemberInAFleetAndAnIdleOneIsLeftAlone) {
  std::mt19937_64 random(28);
  BoundCase<float> fleet(3, 37, 2, 13, even_grid<float>(10, true));
  fleet.fill(random);
  fleet.active = {1, 0, 1};
  fleet.kl_scale = {1, 2, 0.5f}, fleet.skew_scale = {0.1f, 1, 2};
  fleet.run();
  for (std::int64_t row = 0; row < 37; ++row) {
    ASSERT_TRUE(std::isnan(fleet.loss.at(1, 0, row)) && std::isnan(fleet.d_mean.at(1, row, 0)) &&
                fleet.alpha_index.at(1, 0, row) == -1);
  }
  BoundCase<float> alone(1, 37, 2, 13, fleet.alphas);
  const auto take = [](const HostRows<float>& from, HostRows<float>& to) {
    const auto size = static_cast<std::ptrdiff_t>(to.values.size());
    to.values.assign(from.values.begin() + 2 * size, from.values.begin() + 3 * size);
  };
  for (std::size_t i = 0; i < 4; ++i) take(*fleet.inputs()[i], *alone.inputs()[i]);
  take(fleet.noise, alone.noise), take(fleet.loss_posterior, alone.loss_posterior),
      take(fleet.loss_encoder, alone.loss_encoder);
  alone.kl_scale = {0.5f}, alone.skew_scale = {2};
  ThreadPool two_threads(2);
  ci_ivae_bound_cpu(alone.parameters(), two_threads);
  for (std::int64_t row = 0; row < 37; ++row) {
    ASSERT_EQ(alone.loss.at(0, 0, row), fleet.loss.at(2, 0, row));
    for (std::int64_t latent = 0; latent < 2; ++latent)
      ASSERT_EQ(alone.d_log_var.at(0, row, latent), fleet.d_log_var.at(2, row, latent));
  }
}

}  // namespace
}  // namespace idem
