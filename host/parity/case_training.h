// case_training.h - a golden case's training steps: its weights in a model's parameters, and Adam as the case says.
#pragma once

#include <limits>
#include <map>
#include <memory>
#include <set>
#include <string>

#include "engine/device/array.h"
#include "engine/networks/parameters.h"
#include "host/formats/npz.h"
#include "host/parity/golden_case.h"
#include "kernels/common/to_size.h"
#include "kernels/optimizer/optimizer.h"

namespace idem::parity {

using Arrays = std::map<std::string, NumpyArray>;

inline constexpr double kUnbounded = std::numeric_limits<double>::infinity();

inline std::int64_t n_steps(const ParityCase& golden) { return golden.meta().integer("steps", 1, 1000); }

// The model that `build` makes of a device, once the case has all its weights and the sizes are such that it can be
// made.
template <class Build>
auto checked_model(Device& device, const ParityCase& golden, const Build& build) {
  const ModelPlan plan = plan_of(build);
  golden.require_memory(plan.bytes);
  std::set<std::string> names;
  for (const auto& slot : plan.layout.slots()) {
    golden.array("param0." + slot.name, slot.shape());
    names.insert(slot.name);
  }
  golden.require_parameters(names);
  return build(device);
}

// Weights from the case, and Adam as it says.
template <class Real>
class CaseTraining {
 public:
  CaseTraining(Device& device, const ParityCase& golden, Parameters<Real>& parameters)
      : device_(device),
        parameters_(parameters),
        n_parameters_(parameters.layout().member_stride()),
        partials_(device, to_size(gradient_norm_partials(n_parameters_))),
        norm_(device, 1),
        learning_rate_(device, 1),
        step_count_(device, 1) {
    constexpr double below_one = 1 - std::numeric_limits<double>::epsilon();
    const JsonFields optimizer = golden.meta().fields("optimizer");
    learning_rate_.upload({static_cast<Real>(optimizer.number("lr", 0, kUnbounded))});
    adam_.beta1 = static_cast<Real>(optimizer.number("b1", 0, below_one));
    adam_.beta2 = static_cast<Real>(optimizer.number("b2", 0, below_one));
    adam_.epsilon = static_cast<Real>(optimizer.has("eps") ? optimizer.number("eps", 0, kUnbounded) : 1e-8);
    adam_.coupled_decay = static_cast<Real>(optimizer.number("wd", 0, kUnbounded));
    NamedTensors initial;
    for (const auto& slot : parameters.layout().slots()) {
      initial[slot.name] = {.shape = slot.shape(), .values = golden.values("param0." + slot.name, slot.shape())};
    }
    parameters.set(0, initial);
  }

  // After the model's backward pass; the first step's gradients go to `out`.
  void step(Arrays& out) {
    if (is_first_)
      for (const auto& [name, tensor] : parameters_.get_gradients(0))
        out["grad." + name] = NumpyArray::of<double>(tensor.shape, tensor.values);
    is_first_ = false;
    gradient_norm(device_.execution(), GradientNorm<Real>{.n_parameters = n_parameters_,
                                                          .member_stride = n_parameters_,
                                                          .gradient = parameters_.gradient_data(),
                                                          .partial = partials_.data(),
                                                          .norm = norm_.data()});
    adam_.n_parameters = adam_.member_stride = n_parameters_;
    adam_.parameters = parameters_.weight_data();
    adam_.moment1 = parameters_.moment1_data();
    adam_.moment2 = parameters_.moment2_data();
    adam_.gradient = parameters_.gradient_data();
    adam_.learning_rate = learning_rate_.data();
    adam_.norm = norm_.data();
    adam_.step = step_count_.data();
    adam(device_.execution(), adam_);
    advance_step(device_.execution(), AdvanceStep<Real>{.norm = norm_.data(), .step = step_count_.data()});
  }

  void finish(Arrays& out) const {
    for (const auto& [name, tensor] : parameters_.get(0))
      out["param_after." + name] = NumpyArray::of<double>(tensor.shape, tensor.values);
  }

 private:
  Device& device_;
  Parameters<Real>& parameters_;
  std::int64_t n_parameters_;
  Array<Real> partials_, norm_, learning_rate_;
  Array<std::uint32_t> step_count_;
  Adam<Real> adam_;
  bool is_first_ = true;
};

}  // namespace idem::parity
