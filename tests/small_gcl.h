// small_gcl.h - a fleet of GCL's that trains in a blink, for the tests of every device.
#pragma once

#include <vector>

#include "engine/gcl_fleet.h"
#include "tests/small_fleet.h"

namespace idem::small_gcl {

inline GclDesign design() { return {.n_neurons = 21, .n_labels = 3, .n_latents = 2, .features = {{24, 17}}, .psi = {{12}}}; }

inline TrainingPlan plan(std::int32_t epochs) {
  TrainingPlan result{.batch = 32, .epochs = epochs};
  result.decoupled_decay = 1e-3;
  return result;
}

struct TrainedGcl {
  std::vector<NamedTensors> weights;
  std::vector<GclResult> results;
  std::vector<std::vector<GclRecord>> epochs;
};

inline TrainedGcl train(Device& device, const TrainingPlan& training, const FleetData& data, const std::vector<MemberPlan>& plans) {
  GclFleet fleet(device, design(), training, data, plans);
  TrainedGcl trained;
  fleet.train([&](std::span<const GclRecord> records) {
    trained.epochs.emplace_back(records.begin(), records.end());
    return true;
  });
  for (std::int32_t member = 0; member < static_cast<std::int32_t>(plans.size()); ++member) {
    trained.weights.push_back(fleet.parameters(member));
    trained.results.push_back(fleet.result(member));
  }
  return trained;
}

}  // namespace idem::small_gcl
