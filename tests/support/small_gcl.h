// small_gcl.h - a fleet of GCL's that trains in a blink, for the tests of every device.
#pragma once

#include <vector>

#include "engine/families/gcl/gcl_fleet.h"
#include "tests/support/small_fleet.h"

namespace idem::small_gcl {

inline GclDesign design() {
  return {.n_neurons = 21, .n_labels = 3, .n_latents = 2, .features = {{24, 17}}, .psi = {{12}}};
}

inline TrainingPlan plan(std::int32_t epochs) {
  TrainingPlan result{.batch = 32, .epochs = epochs};
  result.decoupled_decay = 1e-3;
  return result;
}

using TrainedGcl = small_fleet::TrainedAs<MemberResult, GclRecord>;

inline TrainedGcl train(Device& device, const TrainingPlan& training, const FleetData& data,
                        const std::vector<MemberPlan>& plans) {
  GclFleet fleet(device, design(), training, data, plans);
  return {fleet, plans.size()};
}

}  // namespace idem::small_gcl
