// member_optimizer.h - the part of training that all models share: Adam for every member, its counters, and the weights a member keeps.
#pragma once

#include "engine/parameters.h"

namespace idem {

struct AdamSettings {
  double beta1 = 0.9, beta2 = 0.999, epsilon = 1e-8;
  double coupled_decay = 0, decoupled_decay = 0;
  double clip_norm = 0;  // 0: off
};

class MemberOptimizer {
 public:
  // Keeps a reference to parameters. seeds [n_members]: the keys of the members' random draws.
  MemberOptimizer(Device& device, Parameters<float>& parameters, const AdamSettings& settings, const std::vector<std::uint64_t>& seeds);

  // Counters and moments as they are before the first step.
  void begin();
  void set_learning_rates(const std::vector<double>& rates);  // [n_members]

  // After a backward pass: one step of every active member, and the counters moved; position (may be null) as AdvanceStep. May be recorded.
  void step(const FleetExtent& fleet, std::uint32_t* position);

  void keep(std::int32_t member);
  NamedTensors kept(std::int32_t member) const;

  // On the device, [n_members]: the keys, the steps whose random draws have been used, and on the host the steps left out as not finite.
  const std::uint64_t* seeds() const { return seeds_.data(); }
  std::uint32_t* draws() const { return draws_.data(); }
  std::vector<std::uint32_t> skipped() const { return skipped_.download(); }

 private:
  std::size_t n() const { return seeds_.size(); }

  Device& device_;
  Parameters<float>& parameters_;
  AdamSettings settings_;
  std::int64_t stride_;
  Array<std::uint64_t> seeds_;
  Array<std::uint32_t> step_counts_, draws_, skipped_;
  Array<float> learning_rates_, norms_, norm_partials_, kept_;
};

}  // namespace idem
