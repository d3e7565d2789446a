#include "host/recordings/simulators.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <nlohmann/json.hpp>
#include <numbers>
#include <span>

#include "host/support/errors.h"
#include "host/evaluation/scores.h"
#include "host/preparation/splits.h"
#include "kernels/common/to_size.h"
#include "tests/support/error_message.h"

namespace idem {
namespace {

TEST(Simulators, TheTrackSessionHasTheAnimalsSizesAndRealisticRunsAndRates) {
  const Recording session = simulate({.name = "linear-track", .seed = 3, .animal = "buddy"});
  EXPECT_EQ(session.subject, "sim-buddy");
  EXPECT_EQ(session.n_times, 6577);
  EXPECT_EQ(session.n_neurons, 48);
  EXPECT_NO_THROW(require_whole_counts(session));
  const auto trials = round_trip_trials(session, "direction");
  EXPECT_GT(trials.size(), 20u);  // the animals ran one round trip in 5.7 to 6.1 s
  EXPECT_LT(trials.size(), 40u);
  for (int fold = 0; fold < 3; ++fold) EXPECT_NO_THROW(three_fold_trials(session, "direction", fold));
  const auto& position = session.label("position").values;
  EXPECT_LT(*std::min_element(position.begin(), position.end()), 0.05);
  EXPECT_GT(*std::max_element(position.begin(), position.end()), 1.55);
  for (std::size_t time = 1; time < position.size(); ++time)
    EXPECT_LT(std::abs(position[time] - position[time - 1]), 0.08) << "faster than 3 m/s at " << time;
  double n_spikes = 0;
  for (const float count : session.counts) n_spikes += count;
  const double mean_rate_hz = n_spikes / 48 / (6577 * 0.025);
  EXPECT_GT(mean_rate_hz, 0.3);
  EXPECT_LT(mean_rate_hz, 4);
  for (std::int32_t neuron = 0; neuron < 48; ++neuron) {
    double count = 0;
    for (std::int32_t time = 0; time < 6577; ++time) count += session.count(time, neuron);
    EXPECT_LT(count / (6577 * 0.025), 20);
  }
}

TEST(Simulators, PlaceCellsPreferADirection) {
  const Recording session = simulate({.name = "linear-track", .seed = 1, .animal = "cicero", .n_times = 12000});
  const auto& direction = session.label("direction").values;
  int n_selective = 0;
  for (std::int32_t neuron = 0; neuron < session.n_neurons; ++neuron) {
    double spikes[2] = {0, 0}, bins[2] = {0, 0};
    for (std::int32_t time = 0; time < session.n_times; ++time) {
      const int side = static_cast<int>(direction[to_size(time)]);
      spikes[side] += session.count(time, neuron);
      ++bins[side];
    }
    const double right = spikes[0] / bins[0], left = spikes[1] / bins[1];
    n_selective += std::max(right, left) > 2 * std::min(right, left);
  }
  EXPECT_GT(n_selective, session.n_neurons / 3);
}

TEST(Simulators, SettingsDecideEveryNumber) {
  const Simulation settings{.name = "linear-track", .seed = 5, .animal = "gatsby", .n_times = 2000};
  const Recording session = simulate(settings);
  EXPECT_EQ(session.counts, simulate(settings).counts);
  Simulation other = settings;
  other.seed = 6;
  EXPECT_NE(session.counts, simulate(other).counts);
  other = settings;
  other.animal = "buddy";
  other.n_neurons = session.n_neurons;
  EXPECT_NE(session.label("position").values, simulate(other).label("position").values);
  // A shorter session is the beginning of a longer one.
  other = settings;
  other.n_times = 500;
  const Recording shorter = simulate(other);
  EXPECT_TRUE(std::equal(shorter.counts.begin(), shorter.counts.end(), session.counts.begin()));
}

TEST(Simulators, TheDiscreteSimulationDrawsThePublishedLatents) {
  const Recording recording = simulate({.name = "discrete-label"});
  EXPECT_EQ(recording.n_times, 10000);
  EXPECT_EQ(recording.n_neurons, 100);
  const double mean1[] = {3.595606, -3.354305, -0.165240, 4.210273, -0.714436},
               mean2[] = {-4.425399, 4.250074, 1.576015, -3.670472, 0.334489};
  const double variance1[] = {2.748694, 1.120912, 0.575430, 0.681118, 2.685411},
               variance2[] = {1.896076, 2.790118, 2.083651, 1.208132, 1.413422};
  double squares[2][5] = {};
  for (std::size_t time = 0; time < 10000; ++time) {
    const std::size_t u = time % 5;
    EXPECT_EQ(recording.label("u").values[time], static_cast<double>(u));
    EXPECT_NEAR(recording.true_latent_means[2 * time], mean1[u], 1e-6);
    EXPECT_NEAR(recording.true_latent_means[2 * time + 1], mean2[u], 1e-6);
    for (std::size_t axis = 0; axis < 2; ++axis)
      squares[axis][u] +=
          std::pow(recording.true_latents[2 * time + axis] - recording.true_latent_means[2 * time + axis], 2) / 2000;
  }
  for (std::size_t u = 0; u < 5; ++u) {
    EXPECT_NEAR(squares[0][u] / variance1[u], 1, 0.15);  // 2000 draws: standard error .03
    EXPECT_NEAR(squares[1][u] / variance2[u], 1, 0.15);
  }
  EXPECT_NEAR(recording.true_latents[0], 3.203197, 1e-6);
  EXPECT_NEAR(recording.true_latents[1], -6.799065, 1e-6);
  double mean = 0;
  for (const float count : recording.counts) mean += count / 1e6;
  EXPECT_GT(mean, 0.2);  // rates lie in [.135, 7.39]
  EXPECT_LT(mean, 5);
}

TEST(Simulators, TheContinuousSimulationDrawsThePublishedLatents) {
  const Recording recording = simulate({.name = "continuous-label", .n_neurons = 8});
  EXPECT_EQ(recording.n_times, 15000);
  const auto& u = recording.label("u").values;
  EXPECT_NEAR(u[0], 0.959215, 1e-6);
  EXPECT_NEAR(u[1], 1.899763, 1e-6);
  EXPECT_NEAR(u[2], 0.389786, 1e-6);
  EXPECT_NEAR(recording.true_latents[0], 1.258578, 1e-6);
  EXPECT_NEAR(recording.true_latents[1], 1.698375, 1e-6);
  EXPECT_NEAR(recording.true_latents[2], 1.390112, 1e-6);
  for (const auto& segment : recording.segments) EXPECT_EQ(segment.end - segment.begin, 1);
}

// Of the latents given the label, along each axis.
double curve_variance(const Recording& recording, const std::string& name, std::size_t time) {
  const double u = recording.label("u").values[time], pi = std::numbers::pi;
  if (name != "two-circles") return (2 * u + pi) / (4 * pi);
  return (pi - 2 * std::abs(u)) / (10 * pi);
}

TEST(Simulators, CurvesHaveTheStatedMeansAndVariances) {
  for (const std::string name : {"sine", "quadratic", "two-circles"}) {
    const Recording recording = simulate({.name = name, .seed = 2, .n_times = 20000, .n_neurons = 8});
    EXPECT_TRUE(recording.has_negative_values);
    EXPECT_THROW(require_whole_counts(recording), DataError);
    const auto& u = recording.label("u").values;
    double scaled_square = 0;
    for (std::size_t time = 0; time < u.size(); ++time) {
      const double pi = std::numbers::pi, variance = curve_variance(recording, name, time);
      double mean[2];
      if (name == "sine") {
        mean[0] = 2 * u[time] + pi;
        mean[1] = 2 * std::sin(mean[0]);
      } else if (name == "quadratic") {
        mean[0] = u[time];
        mean[1] = u[time] * u[time];
      } else {
        const double radius = recording.label("radius").values[time] + 1;
        mean[0] = radius * std::cos(2 * u[time]);
        mean[1] = radius * std::sin(2 * u[time]);
      }
      for (std::size_t axis = 0; axis < 2; ++axis) {
        EXPECT_NEAR(recording.true_latent_means[2 * time + axis], mean[axis], 1e-12);
        scaled_square += std::pow(recording.true_latents[2 * time + axis] - mean[axis], 2) / variance;
      }
    }
    EXPECT_NEAR(scaled_square / 40000, 1, 0.03) << name;  // standard error .007
  }
}

TEST(Simulators, TheMixingFlowIsInjectiveAndSeeded) {
  std::vector<double> zeros(100, 0.0), a(200, 0.0), b;
  a[0] = 1;
  a[1] = -1;
  a[100] = 1.001;
  a[101] = -1;
  b = a;
  apply_mixing_flow(a, 100, 4);
  apply_mixing_flow(b, 100, 5);
  EXPECT_NE(a, b);
  apply_mixing_flow(zeros, 100, 4);
  for (const double value : zeros) EXPECT_EQ(value, 0);  // no biases
  double moved = 0;
  for (std::size_t i = 0; i < 100; ++i) moved = std::max(moved, std::abs(a[i] - a[100 + i]));
  EXPECT_GT(moved, 1e-4);
  EXPECT_LT(moved, 1e-1);
}

// Adds the mean of the rows of `of`, each weighed by e to its exponent. [exponents x 2]
void add_weighed_mean(const std::vector<double>& of, const std::vector<double>& exponents, std::vector<double>& means) {
  const double largest = *std::max_element(exponents.begin(), exponents.end());
  double weight = 0, sum[2] = {};
  for (std::size_t known = 0; known < exponents.size(); ++known) {
    const double w = std::exp(exponents[known] - largest);
    weight += w;
    for (std::size_t axis = 0; axis < 2; ++axis) sum[axis] += w * of[2 * known + axis];
  }
  for (const double of_axis : sum) means.push_back(of_axis / weight);
}

// E[mu(u) | x] of the bins from n_known on, by whoever knows the flow, the noise and where labels and latents lie: the
// first n_known bins are the latents that there could have been, each as likely as its activity without noise makes
// that of the bin, and given_latents E[mu(u) | z] of each.
std::vector<double> means_given_activity(const Recording& simulated, std::uint64_t seed, std::int32_t n_known,
                                         const std::vector<double>& given_latents) {
  const auto n_neurons = to_size(simulated.n_neurons), n_times = to_size(simulated.n_times);
  std::vector<double> flow(n_times * n_neurons);
  for (std::size_t time = 0; time < n_times; ++time)
    std::copy_n(&simulated.true_latents[2 * time], 2, &flow[time * n_neurons]);
  apply_mixing_flow(flow, simulated.n_neurons, seed);
  const std::vector<float> without_noise(flow.begin(), flow.end());
  std::vector<double> means, exponents(to_size(n_known));
  for (std::size_t time = exponents.size(); time < n_times; ++time) {
    const float* x = &simulated.counts[time * n_neurons];
    for (std::size_t known = 0; known < exponents.size(); ++known) {
      float distance = 0;
      for (std::size_t i = 0; i < n_neurons; ++i) {
        const float off = x[i] - without_noise[known * n_neurons + i];
        distance += off * off;
      }
      exponents[known] = -0.5 * static_cast<double>(distance);
    }
    add_weighed_mean(given_latents, exponents, means);
  }
  return means;
}

// E[mu(u) | z] of every bin, by whoever holds the true latents themselves, so that neither noise nor flow hides
// anything: the labels of the first n_known bins are those that there could have been.
std::vector<double> means_given_latents(const Recording& simulated, const std::string& name, std::int32_t n_known) {
  std::vector<double> means, exponents(to_size(n_known)), variances;
  for (std::size_t known = 0; known < exponents.size(); ++known)
    variances.push_back(curve_variance(simulated, name, known));
  for (std::size_t time = 0; time < to_size(simulated.n_times); ++time) {
    for (std::size_t known = 0; known < exponents.size(); ++known) {
      const double variance = variances[known];
      double square = 0;
      for (std::size_t axis = 0; axis < 2; ++axis)
        square += std::pow(simulated.true_latents[2 * time + axis] - simulated.true_latent_means[2 * known + axis], 2);
      exponents[known] = -0.5 * square / variance - std::log(variance);
    }
    add_weighed_mean(simulated.true_latent_means, exponents, means);
  }
  return means;
}

// The COD of CI-iVAE's simulations is an R2 of the latents' mean given the label, mu(u). Of all functions of the
// activity E[mu(u) | x] has the highest one, so no encoder that sees activity alone can have more; nor can anything
// that sees the true latents have more than E[mu(u) | z].
TEST(Simulators, WhatActivityAndEvenTheTrueLatentsTellOfACurvesMeansHasALimit) {
  struct Limit {
    std::string name;
    double activity, latents;
  };
  for (const auto& limit :
       {Limit{"sine", 0.848, 0.953}, Limit{"quadratic", 0.490, 0.833}, Limit{"two-circles", 0.609, 0.974}}) {
    constexpr std::int32_t n_times = 8000, n_known = 6400;
    const Recording simulated = simulate({.name = limit.name, .seed = 0, .n_times = n_times});
    const std::span<const double> truth = std::span(simulated.true_latent_means).subspan(2 * n_known);
    const std::vector<double> given_latents = means_given_latents(simulated, limit.name, n_known);
    const std::vector<double> given_activity = means_given_activity(simulated, 0, n_known, given_latents);
    // The limits are those of 4000 bins by 20000 known ones. The R2 of 1600 scored bins spread by about 0.02 with the
    // activity, 0.01 with the latents.
    EXPECT_NEAR(mean_r2(truth, given_activity, 2), limit.activity, 0.04) << limit.name;
    EXPECT_NEAR(mean_r2(truth, std::span(given_latents).subspan(2 * n_known), 2), limit.latents, 0.02) << limit.name;
  }
}

TEST(Simulators, UnknownNamesAndSizesAreRefused) {
  EXPECT_MESSAGE(ConfigError, simulate({.name = "maze"}), "simulators are linear-track, discrete-label");
  EXPECT_MESSAGE(ConfigError, simulate({.name = "linear-track", .animal = "remy"}),
                 "animals are achilles, buddy, cicero and gatsby");
  EXPECT_MESSAGE(ConfigError, simulate({.name = "sine", .n_times = 0}), "n_times: 0");
  EXPECT_MESSAGE(ConfigError, simulate({.name = "sine", .n_neurons = 4}), "at least 8");
  EXPECT_MESSAGE(ConfigError, simulate_recording(nlohmann::json{{"name", 3}}), "name and animal are texts");
  EXPECT_MESSAGE(ConfigError, simulate_recording(nlohmann::json{{"name", "sine"}, {"animal", "buddy"}}),
                 "only linear-track has animals");
  EXPECT_EQ(simulate_recording(nlohmann::json{{"animal", "achilles"}, {"n_times", 100}}).n_neurons, 120);
}

}  // namespace
}  // namespace idem
