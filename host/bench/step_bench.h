// step_bench.h - what a family gives to be timed: its training step, on made-up data.
#pragma once

#include <cstdint>
#include <functional>
#include <memory>
#include <string>
#include <vector>

#include "engine/device/device.h"

namespace idem {

// A fleet in training.
class StepFleet {
 public:
  virtual ~StepFleet() = default;
  virtual std::unique_ptr<Device::Sequence> training_step() = 0;
  virtual void begin() {}                         // back to the first batch
  virtual std::int64_t n_parameters() const = 0;  // of each member
  // What a step costs beside its layers' products, all members together: functions of pairs of bins.
  virtual double pair_flops() const { return 0; }
};

struct StepBench {
  std::string name;  // "ci-ivae-60"
  std::function<std::unique_ptr<StepFleet>(Device& device, std::int32_t n_members)> make;
  std::vector<std::int32_t> cpu_sizes, gpu_sizes;  // how many members are worth timing
  std::int64_t cpu_replays = 1, gpu_replays = 1;   // of a timing, between two `begin`s
};

}  // namespace idem
