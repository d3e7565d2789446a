// parameters.h - where the weights of a fleet lie.
//
// One flat buffer [member][parameter] per role (weights, gradients, moments), the same offsets in each and for every
// member. Every tensor starts on a 256-byte boundary, rows are padded to 16 values (the padding stays zero), a member's
// stride is a multiple of 1 KiB.
#pragma once

#include <functional>
#include <map>
#include <string>
#include <vector>

#include "engine/device/array.h"
#include "kernels/common/enum_names.h"
#include "kernels/common/to_size.h"

namespace idem {

enum class Initialisation {
  torch_linear,    // weights and biases uniform on +-1/sqrt(fan in)
  glorot_uniform,  // weights uniform on +-sqrt(6 / (fan in + fan out)), biases 0 (keras)
};
template <>
struct EnumNames<Initialisation> {
  static constexpr const char* what = "initialisation";
  static constexpr EnumName<Initialisation> all[] = {{Initialisation::torch_linear, "torch-linear"},
                                                     {Initialisation::glorot_uniform, "glorot-uniform"}};
};

struct NamedTensor {
  std::vector<std::int64_t> shape;  // weight [out, in], convolution weight [out, in, tap], bias [out], scalar []
  std::vector<double> values;       // dense, row-major; exact for the float weights of a trained model
};
using NamedTensors = std::map<std::string, NamedTensor>;

// One tensor of the layout: rows [out][tap] of n_in values, so that each tap is a matrix [out x in] whose rows lie
// n_taps apart. A bias is one row.
struct TensorSlot {
  std::string name;
  std::int64_t n_rows = 0, n_cols = 0, n_taps = 1;  // n_rows: of all taps
  std::int64_t offset = 0, row_stride = 0;
  std::int64_t fan_in = 0, fan_out = 0;
  double initial_limit = 0;  // above 0: starts uniform on +- this, whatever the Initialisation
  bool is_bias = false, is_scalar = false;

  std::int64_t size() const { return n_rows * n_cols; }
  std::vector<std::int64_t> shape() const;  // of the dense tensor
  // Where an element of the dense tensor (NamedTensor) lies in a member's stretch of a buffer.
  std::size_t place(std::int64_t element) const {
    const std::int64_t tap = element % n_taps, col = element / n_taps % n_cols, out = element / n_taps / n_cols;
    return to_size(offset + (out * n_taps + tap) * row_stride + col);
  }
};

class ParameterLayout {
 public:
  // Returns the tensor's index. Throws std::invalid_argument for a tensor without values and where all together would
  // be more than any machine holds.
  std::int32_t add_weight(const std::string& name, std::int64_t n_out, std::int64_t n_in);
  std::int32_t add_convolution(const std::string& name, std::int64_t n_out, std::int64_t n_in, std::int64_t n_taps);
  std::int32_t add_embedding(const std::string& name, std::int64_t n_out,
                             std::int64_t n_in);  // starts uniform on +-0.05 (keras)
  std::int32_t add_bias(const std::string& name, std::int64_t n_out, std::int64_t fan_in);
  std::int32_t add_scalar(const std::string& name);  // starts at 0

  const std::vector<TensorSlot>& slots() const { return slots_; }
  std::int64_t member_stride() const { return padded(end_, 256); }
  std::int64_t n_parameters() const;  // without padding

 private:
  std::int32_t add(TensorSlot slot);
  std::vector<TensorSlot> slots_;
  std::int64_t end_ = 0;
};

// What a model will take, before anything is allocated.
struct ModelPlan {
  ParameterLayout layout;
  std::size_t bytes = 0;  // on the device
};
// Of what `build`, std::unique_ptr of a model on the device it is given, would make.
template <class Build>
ModelPlan plan_of(const Build& build) {
  ModelPlan plan;
  plan.bytes = measure_memory([&](Device& device) { plan.layout = build(device)->parameters().layout(); });
  return plan;
}

// The four buffers of a fleet.
template <class Real>
class Parameters {
 public:
  // training: also gradients and moments.
  Parameters(Device& device, const ParameterLayout& layout, std::int32_t n_members, bool training);

  Rows<Real> weights(std::int32_t slot) const { return view(weights_, slot); }
  Rows<Real> gradients(std::int32_t slot) const { return view(gradients_, slot); }
  Real* weight_data() const { return weights_.data(); }
  Real* gradient_data() const { return gradients_.data(); }
  Real* moment1_data() const { return moment1_.data(); }
  Real* moment2_data() const { return moment2_.data(); }
  const ParameterLayout& layout() const { return layout_; }
  std::int32_t n_members() const { return n_members_; }

  // With a step set, large layers hand their weights' gradients over in stretches that the device's cache keeps, as
  // soon as each is complete and the backward pass needs the weights no more: `first` and `n_parameters` of every
  // member's buffers, from a branch (Device::aside).
  using Step = std::function<void(const FleetExtent& fleet, std::int64_t first, std::int64_t n_parameters)>;
  void step_early(Step step) { early_step_ = std::move(step); }
  bool steps_early() const { return static_cast<bool>(early_step_); }
  void step_rows(const FleetExtent& fleet, std::int32_t slot, std::int64_t first_row, std::int64_t n_rows) const {
    const auto& s = layout_.slots()[to_size(slot)];
    early_step_(fleet, s.offset + first_row * s.row_stride, n_rows * s.row_stride);
  }

  void initialise(std::int32_t member, std::uint64_t seed, Initialisation kind);
  void set(std::int32_t member,
           const NamedTensors& tensors);  // throws std::invalid_argument naming a missing or wrong-shaped tensor
  NamedTensors get(std::int32_t member) const;
  NamedTensors get_gradients(std::int32_t member) const;
  NamedTensors unpack(const std::vector<Real>& member_values) const;  // one member's stretch of a buffer of this layout

 private:
  Rows<Real> view(const Array<Real>& buffer, std::int32_t slot) const {
    const auto& s = layout_.slots()[to_size(slot)];
    return {buffer.data() + s.offset, layout_.member_stride(), s.row_stride};
  }
  void put(std::int32_t member, const std::vector<Real>& values);

  Device* device_;
  ParameterLayout layout_;
  std::int32_t n_members_;
  Array<Real> weights_, gradients_, moment1_, moment2_;
  Step early_step_;
};

}  // namespace idem
