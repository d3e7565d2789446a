// small_fleet.h - a fleet that trains in a blink, for the tests of every device.
#pragma once

#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <random>
#include <span>
#include <string>
#include <vector>

#include "engine/families/vae/vae_fleet.h"
#include "kernels/common/to_size.h"

namespace idem {

inline void PrintTo(Objective objective, std::ostream* to) { *to << to_string(objective); }

}  // namespace idem

namespace idem::small_fleet {

// A one-dimensional track of place cells, small enough to train in a blink.
inline FleetData track(std::int32_t n_neurons, std::int64_t n_rows) {
  FleetData data{.n_rows = n_rows, .inputs = {}, .targets = {}, .labels = {}};
  std::mt19937 random(3);
  for (std::int64_t row = 0; row < n_rows; ++row) {
    const double position = std::abs(std::remainder(0.013 * static_cast<double>(row), 2.0));
    const bool right = std::remainder(0.013 * static_cast<double>(row), 2.0) > 0;
    for (std::int32_t neuron = 0; neuron < n_neurons; ++neuron) {
      const double centre = static_cast<double>(neuron) / n_neurons, distance = (position - centre) / 0.1;
      std::poisson_distribution<int> spikes(
          0.1 + (right == (neuron % 2 == 0) ? 4 * std::exp(-0.5 * distance * distance) : 0));
      data.inputs.push_back(static_cast<float>(spikes(random)));
    }
    data.labels.insert(data.labels.end(), {static_cast<float>(position), right ? 1.0f : 0.0f, right ? 0.0f : 1.0f});
  }
  data.targets = data.inputs;
  return data;
}

inline ModelDesign design(Objective objective, std::int32_t n_neurons = 21) {
  ModelDesign result{.n_neurons = n_neurons,
                     .n_labels = 3,
                     .n_latents = 2,
                     .encoder = {{24, 17}},
                     .prior = {{9}},
                     .decoder = {{16, 24}}};
  result.objective = objective;
  result.n_samples = 7;
  switch (objective) {
    case Objective::encoder_elbo: result.alphas = {1}; break;
    case Objective::ivae: result.alphas = {0}; break;
    case Objective::ci_ivae_fixed: result.alphas = {0.3}; break;
    default: result.alphas = {0, 0.25, 0.5, 0.75, 1};
  }
  return result;
}

// The same track, seen through windows that are shifted inside it.
inline FleetData windowed_track(std::int32_t n_neurons, std::int64_t n_rows, std::int32_t window) {
  FleetData data = track(n_neurons, n_rows);
  for (std::int32_t row = 0; row < n_rows; ++row)
    data.window_begin.push_back(std::clamp(row - window / 2, 0, static_cast<std::int32_t>(n_rows) - window));
  return data;
}

inline ModelDesign convolution_design(std::int32_t window) {
  auto model = design(Objective::ci_ivae_paper);
  model.encoder_kind = EncoderKind::temporal_convolution;
  model.window = window;
  model.channels = 12;
  model.encoder = {{}, Activation::gelu_tanh, 0};
  return model;
}

inline ModelDesign joined_encoder_design() {
  auto model = design(Objective::ivae);
  model.encoder_sees_labels = true;
  return model;
}

inline TrainingPlan plan() {
  TrainingPlan result{.batch = 32, .epochs = 4};
  result.decoupled_decay = 1e-3;
  result.input_noise = 0.05;
  return result;
}

// Members of different sizes, seeds, rates and weights of the KL.
inline std::vector<MemberPlan> members(std::int32_t n, std::int64_t n_rows) {
  std::vector<MemberPlan> result;
  for (std::int32_t member = 0; member < n; ++member) {
    MemberPlan one{.name = "member " + std::to_string(member),
                   .seed = static_cast<std::uint64_t>(100 + member),
                   .learning_rate = 1e-3 * (1 + member % 3),
                   .beta = 1 - 0.05 * member,
                   .train_rows = {},
                   .valid_rows = {}};
    for (std::int32_t row = 0; row < n_rows; ++row)
      (row % 5 == member % 5 ? one.valid_rows : one.train_rows).push_back(row);
    one.train_rows.resize(one.train_rows.size() - to_size(11 * member));  // ragged
    result.push_back(one);
  }
  return result;
}

// What a fleet of any family comes to.
template <class Result, class Record>
struct TrainedAs {
  std::vector<NamedTensors> weights;
  std::vector<Result> results;
  std::vector<std::vector<Record>> epochs;

  template <class Fleet>
  TrainedAs(Fleet& fleet, std::size_t n_members) {
    fleet.train([&](std::span<const Record> records) {
      epochs.emplace_back(records.begin(), records.end());
      return true;
    });
    for (std::int32_t member = 0; member < static_cast<std::int32_t>(n_members); ++member) {
      weights.push_back(fleet.parameters(member));
      results.push_back(fleet.result(member));
    }
  }
};
using Trained = TrainedAs<MemberResult, EpochRecord>;

inline Trained train(Device& device, const std::vector<FleetSession>& sessions, const TrainingPlan& training,
                     const std::vector<MemberPlan>& plans) {
  Fleet fleet(device, sessions, training, plans);
  return {fleet, plans.size()};
}

inline Trained train(Device& device, const ModelDesign& model, const TrainingPlan& training, const FleetData& data,
                     const std::vector<MemberPlan>& plans) {
  return train(device, {{model, data}}, training, plans);
}

// Two recordings of one track that share a label prior: 21 neurons and 90 rows, 13 neurons and `n_rows`.
struct JointTrack {
  explicit JointTrack(Objective objective, std::int64_t n_rows = 200)
      : designs{design(objective, 21), design(objective, 13)}, data{track(21, 90), track(13, n_rows)} {}
  std::vector<FleetSession> sessions() const { return {{designs[0], data[0]}, {designs[1], data[1]}}; }
  // Run after run, each with a member for either recording.
  std::vector<MemberPlan> members(std::int32_t n_runs) const {
    const auto of_first = small_fleet::members(n_runs, data[0].n_rows),
               of_second = small_fleet::members(n_runs, data[1].n_rows);
    std::vector<MemberPlan> plans;
    for (std::size_t run = 0; run < of_first.size(); ++run) {
      plans.push_back(of_first[run]);
      plans.push_back(of_second[run]);
      plans.back().seed += 1000;
    }
    return plans;
  }
  std::vector<ModelDesign> designs;
  std::vector<FleetData> data;
};

inline void expect_equal(const NamedTensors& a, const NamedTensors& b) {
  ASSERT_EQ(a.size(), b.size());
  for (const auto& [name, tensor] : a) EXPECT_EQ(tensor.values, b.at(name).values) << name;
}

inline std::string test_name(Objective objective) {
  std::string name = to_string(objective);
  for (auto& c : name)
    if (!std::isalnum(static_cast<unsigned char>(c))) c = '_';
  return name;
}
inline const auto kObjectives = testing::Values(Objective::encoder_elbo, Objective::ivae, Objective::ci_ivae_paper,
                                                Objective::ci_ivae_published, Objective::ci_ivae_fixed);

}  // namespace idem::small_fleet
