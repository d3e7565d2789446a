#include "kernels/objective/objective.h"

#include <gtest/gtest.h>

#include <cmath>
#include <random>
#include <string>
#include <vector>

#include "tests/kernels/one_thread.h"
#include "tests/support/host_rows.h"

namespace idem {
namespace {

template <class Real>
struct ReconstructionCase {
  std::vector<std::uint8_t> active;
  Observation observation;
  OutputMap output;
  bool mean_over_neurons = false, keep_constants = true;
  Real gaussian_variance = Real(0.7);
  HostRows<Real> pre, target, log_variance, loss, d_pre, d_log_variance;

  ReconstructionCase(Observation observation_, OutputMap output_, std::int64_t members, std::int64_t rows,
                     std::int64_t target_rows, std::int64_t neurons)
      : observation(observation_),
        output(output_),
        pre(members, rows, neurons),
        target(members, target_rows, neurons),
        log_variance(members, 1, neurons),
        loss(members, 1, rows, kNan<Real>),
        d_pre(members, rows, neurons, kNan<Real>),
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
  double loss_of(std::int64_t row, std::int64_t member = 0) const {
    return static_cast<double>(loss.at(member, 0, row));
  }
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
double plain_term(const Choice& choice, bool keep_constants, double fixed_variance, double pre, double target,
                  double log_variance) {
  double f = pre;
  if (choice.output == OutputMap::softplus) f = std::log1p(std::exp(pre));
  if (choice.output == OutputMap::sigmoid) f = 1 / (1 + std::exp(-pre));
  if (choice.output == OutputMap::exponential) f = std::exp(pre);
  const double two_pi = 2 * 3.14159265358979323846;
  if (choice.observation == Observation::squared_error) return (target - f) * (target - f);
  if (choice.observation == Observation::gaussian_fixed) {
    return (target - f) * (target - f) / (2 * fixed_variance) +
           (keep_constants ? std::log(two_pi * fixed_variance) / 2 : 0);
  }
  if (choice.observation == Observation::gaussian_learned) {
    return (target - f) * (target - f) / (2 * std::exp(log_variance)) + log_variance / 2 +
           (keep_constants ? std::log(two_pi) / 2 : 0);
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
        single.pre = oracle.pre.as<float>(), single.target = oracle.target.as<float>(),
        single.log_variance = oracle.log_variance.as<float>();
        oracle.mean_over_neurons = single.mean_over_neurons = mean_over_neurons;
        oracle.keep_constants = single.keep_constants = keep_constants;
        oracle.run(), single.run();
        for (std::int64_t member = 0; member < 2; ++member) {
          for (std::int64_t row = 0; row < 6; ++row) {
            double want = 0;
            for (std::int64_t neuron = 0; neuron < 300; ++neuron) {
              want += plain_term(choice, keep_constants, 0.7, oracle.pre.at(member, row, neuron),
                                 oracle.target.at(member, row % 3, neuron), oracle.log_variance.at(member, 0, neuron));
            }
            if (mean_over_neurons) want /= 300;
            ASSERT_TRUE(std::fabs(oracle.loss_of(row, member) - want) <= 1e-12 * (1 + std::fabs(want)))
                << oracle.loss_of(row, member) << " " << want;
            ASSERT_TRUE(std::fabs(single.loss_of(row, member) - want) <= 2e-6 * (1 + std::fabs(want)))
                << single.loss_of(row, member) << " " << want;
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
        ASSERT_TRUE(std::fabs(got - want) <= 1e-8 * (1 + std::fabs(want)))
            << row << ", " << neuron << ": " << got << " for " << want;
        summed += weight.at(0, 0, row) * d_log_variance.at(0, row, neuron);
      }
      if (choice.observation == Observation::gaussian_learned) {
        const double want = slope(c.log_variance.at(0, 0, neuron));
        ASSERT_TRUE(std::fabs(summed - want) <= 1e-8 * (1 + std::fabs(want)))
            << neuron << ": " << summed << " for " << want;
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
  ReconstructionCase<Real> c(Observation::poisson, OutputMap::softplus, 1, static_cast<std::int64_t>(pres.size()), 1,
                             2);
  c.keep_constants = false;
  c.target.at(0, 0, 1) = 2;
  for (std::size_t row = 0; row < pres.size(); ++row) {
    for (int neuron = 0; neuron < 2; ++neuron)
      c.pre.at(0, static_cast<std::int64_t>(row), neuron) = static_cast<Real>(pres[row]);
  }
  c.run();
  for (std::size_t i = 0; i < pres.size(); ++i) {
    const auto row = static_cast<std::int64_t>(i);
    const double pre = static_cast<double>(static_cast<Real>(pres[i])),
                 rate = pre > 30 ? pre : std::log1p(std::exp(pre));
    const double log_rate = pre < -30 ? pre : std::log(rate), slope = 1 / (1 + std::exp(-pre)),
                 share = pre < -30 ? 1 : slope / rate;
    const double want = 2 * rate - 2 * log_rate;
    EXPECT_TRUE(std::fabs(c.loss_of(row) - want) <= tolerance * (1 + std::fabs(want)))
        << pre << ": " << c.loss_of(row) << " for " << want;
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

}  // namespace
}  // namespace idem
