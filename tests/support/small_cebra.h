// small_cebra.h - a fleet of CEBRA's that trains in a blink, for the tests of every device.
#pragma once

#include <algorithm>
#include <numeric>
#include <random>
#include <vector>

#include "engine/families/cebra/cebra_fleet.h"
#include "kernels/common/to_size.h"
#include "tests/support/small_fleet.h"

namespace idem::small_cebra {

inline constexpr std::int32_t kNeurons = 12;

// The track of small_fleet in two segments; its first three quarters train, or with shuffled labels, the rest
// validates.
inline CebraData track(std::int64_t n_rows = 160) {
  const FleetData from = small_fleet::track(kNeurons, n_rows);
  CebraData data{.n_rows = n_rows, .inputs = from.inputs, .segments = {}, .sets = {{}, {}, {}}};
  std::mt19937 random(2);
  std::vector<std::int32_t> other(to_size(n_rows) * 3 / 4);
  std::iota(other.begin(), other.end(), 0);
  std::shuffle(other.begin(), other.end(), random);
  for (std::int32_t row = 0; row < n_rows; ++row) {
    data.segments.push_back(row < n_rows / 2 ? 0 : 1);
    const auto add = [&](ContrastiveSet& set, std::int32_t labels_of) {
      set.rows.push_back(row);
      set.segments.push_back(data.segments.back());
      set.labels.insert(set.labels.end(), from.labels.begin() + labels_of * 3, from.labels.begin() + labels_of * 3 + 3);
    };
    const bool trains = row < static_cast<std::int32_t>(other.size());
    add(data.sets[trains ? 0 : 2], row);
    if (trains) add(data.sets[1], other[to_size(row)]);
  }
  return data;
}

inline CebraDesign design(std::int32_t window = 1) {
  return {.n_neurons = kNeurons, .n_features = 3, .window = window, .width = 8};
}

// Few batches validate the weights it keeps: an emulated device draws 500 of them for longer than it trains.
inline CebraPlan plan(std::int32_t steps, std::int32_t batch = 32) {
  return {.batch = batch,
          .steps = steps,
          .steps_per_record = steps,
          .kept_valid_batches = 8,
          .samples = {.n_labels = 3, .time_offset = 2}};
}

inline CebraMemberPlan member(std::uint64_t seed, std::int32_t train_set = 0) {
  return {.name = "run", .seed = seed, .learning_rate = 0.01, .train_set = train_set, .valid_set = 2};
}

// Two recordings of one track: the second has half the neurons, in another order, and half the bins. Sets: train and
// valid of each.
inline CebraData two_recordings() {
  const CebraData first = track(640);
  CebraData data{.n_rows = 960,
                 .inputs = first.inputs,
                 .segments = first.segments,
                 .sets = {first.sets[0], first.sets[2], first.sets[0], first.sets[2]}};
  for (std::int32_t row = 0; row < 320; ++row) {
    for (std::int32_t neuron = 0; neuron < kNeurons; ++neuron)
      data.inputs.push_back(neuron < kNeurons / 2 ? first.inputs[to_size((row * kNeurons) + kNeurons - 1 - 2 * neuron)]
                                                  : 0);
    data.segments.push_back(2);
  }
  for (const std::size_t set : {2u, 3u}) {
    auto& of_second = data.sets[set];
    const auto n_train = first.sets[0].rows.size() / 2, begin = set == 2 ? 0 : n_train, end = set == 2 ? n_train : 320;
    of_second = {};
    for (std::size_t row = begin; row < end; ++row) {
      of_second.rows.push_back(static_cast<std::int32_t>(640 + row));
      of_second.segments.push_back(2);
      of_second.labels.insert(of_second.labels.end(),
                              first.sets[0].labels.begin() + static_cast<std::ptrdiff_t>(3 * row),
                              first.sets[0].labels.begin() + static_cast<std::ptrdiff_t>(3 * row + 3));
    }
  }
  return data;
}

inline std::vector<CebraMemberPlan> sessions_of_run(std::uint64_t seed) {
  auto first = member(seed), second = member(seed + 100, 2);
  first.valid_set = 1;
  second.valid_set = 3;
  second.n_neurons = kNeurons / 2;
  return {first, second};
}

inline std::vector<CebraRecord> trained(CebraFleet& fleet) {
  std::vector<CebraRecord> last;
  fleet.train([&](std::span<const CebraRecord> records) {
    last.assign(records.begin(), records.end());
    return true;
  });
  return last;
}

inline std::vector<double> weights(const CebraFleet& fleet, std::int32_t of_member) {
  std::vector<double> all;
  for (const auto& [name, tensor] : fleet.parameters(of_member))
    all.insert(all.end(), tensor.values.begin(), tensor.values.end());
  return all;
}

}  // namespace idem::small_cebra
