// member_optimizer.h - the part of training that all models share: Adam for every member, its counters, and the weights
// a member keeps.
//
// Clipping needs the norm of all gradients before the first weight moves: one pass of Adam after the backward pass.
// Without it large layers step during the backward pass (Parameters::step_early), their gradients fresh in the cache
// and beside the products of other layers, and what is left at its end; nobody reads the gradients a second time for
// their norm. A stretch's step has the same bytes in either order.
#pragma once

#include <utility>

#include "engine/device/array.h"
#include "engine/networks/parameters.h"

namespace idem {

struct AdamSettings {
  double beta1 = 0.9, beta2 = 0.999, epsilon = 1e-8;
  double coupled_decay = 0, decoupled_decay = 0;
  double clip_norm =
      0;  // 0: off; a step then leaves out the parameters whose gradient is not finite, else all of such a member
};

class MemberOptimizer {
 public:
  // Keeps a reference to parameters, which keep one to this. seeds [n_members]: the keys of the members' random draws.
  // n_stepped: that many of each member's stretch step, the first ones; the rest stay as they are, decay or not. 0:
  // all.
  MemberOptimizer(Device& device, Parameters<float>& parameters, const AdamSettings& settings,
                  const std::vector<std::uint64_t>& seeds, std::int64_t n_stepped = 0);
  MemberOptimizer(const MemberOptimizer&) = delete;

  // Counters and moments as they are before the first step.
  void begin();
  void set_learning_rates(const std::vector<double>& rates);  // [n_members]

  // After a backward pass: one step of every active member, and the counters moved; position (may be null) as
  // AdvanceStep. May be recorded.
  void step(const FleetExtent& fleet, std::uint32_t* position);

  void keep(std::int32_t member);
  NamedTensors kept(std::int32_t member) const;

  // On the device, [n_members]: the keys, the steps whose random draws have been used, and on the host the steps left
  // out as not finite.
  const std::uint64_t* seeds() const { return seeds_.data(); }
  std::uint32_t* draws() const { return draws_.data(); }
  std::vector<std::uint32_t> skipped() const { return skipped_.download(); }

 private:
  std::size_t n() const { return seeds_.size(); }
  bool clips() const { return settings_.clip_norm > 0; }
  void step_stretch(const FleetExtent& fleet, std::int64_t first, std::int64_t n_parameters);

  Device& device_;
  Parameters<float>& parameters_;
  AdamSettings settings_;
  std::int64_t stride_, n_stepped_;
  Array<std::uint64_t> seeds_;
  Array<std::uint32_t> step_counts_, draws_, skipped_, nonfinite_;
  Array<float> learning_rates_, norms_, norm_partials_, kept_;
  // first and number of the parameters that have stepped in this step
  std::vector<std::pair<std::int64_t, std::int64_t>> stepped_;
};

}  // namespace idem
