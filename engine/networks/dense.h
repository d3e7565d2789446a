// dense.h - fully connected layers over [member][row][feature]: matrix product, bias, activation, and their gradients.
#pragma once

#include <string>
#include <vector>

#include "engine/device/array.h"
#include "engine/networks/hidden_layers.h"
#include "engine/networks/parameters.h"
#include "kernels/common/to_size.h"
#include "kernels/layers/row_chain.h"

namespace idem {

// Rows on a device that own their memory: [n_members x n_rows x n_features], features padded to 16.
template <class Real>
class Activations {
 public:
  Activations() = default;
  Activations(Device& device, std::int32_t n_members, std::int64_t n_rows, std::int64_t n_features)
      : row_stride_(padded(n_features)),
        member_stride_(n_rows * padded(n_features)),
        memory_(device, to_size(n_members * n_rows * padded(n_features))) {}
  Rows<Real> rows() const { return {memory_.data(), member_stride_, row_stride_}; }
  operator Rows<Real>() const { return rows(); }
  operator Rows<const Real>() const { return rows(); }
  const Array<Real>& memory() const { return memory_; }

 private:
  std::int64_t row_stride_ = 0, member_stride_ = 0;
  Array<Real> memory_;
};

// An empty chain of so many rows, multiplied as the device multiplies.
template <class Chain>
Chain chain_on(const Device& device, const FleetExtent& fleet, std::int64_t n_rows) {
  return {.fleet = fleet, .n_rows = n_rows, .precision = device.execution().precision};
}

// What a backward pass adds to instead of overwriting it: the gradient of its input, those of its parameters.
// more_to_come: another pass of the same parameters will add to theirs.
struct Accumulate {
  bool d_x = false, gradients = false, more_to_come = false;
};

// A product, then the bias and activation of its c (p.c is then.value): one operation where the device can, else two.
template <class Real>
void multiply_and_activate(Device& device, const MatrixProduct<Real>& p, const BiasActivation<Real>& then);

// The gradients of bias, activation and weights, where p's a is first.d_value: one operation where there is no slope to
// multiply in, nothing to add to, and the device can; else two. Nothing of a backward pass waits for the parameters'
// gradients: they are a branch of it (Device::aside), which the caller joins.
template <class Real>
void activate_backward_and_multiply(Device& device, const BiasActivationGradient<Real>& first,
                                    const MatrixProduct<Real>& p);

// Sums the gradients of narrow layers' weights together, as a branch of the backward pass.
template <class Real>
class NarrowGradients {
 public:
  // Of each layer its shape: n_rows, n_out, n_in, n_taps.
  void plan(Device& device, std::int32_t n_members, const std::vector<WeightGradient<Real>>& shapes);
  void sum(Device& device, const FleetExtent& fleet, const std::vector<WeightGradient<Real>>& layers) const;

 private:
  std::int64_t partial_stride_ = 0;
  Array<Real> partial_sums_;
};

// value = activation(x W^T + b). Names its tensors PREFIX.weight and PREFIX.bias.
template <class Real>
class Dense {
 public:
  Dense(ParameterLayout& layout, const std::string& prefix, std::int32_t n_in, std::int32_t n_out,
        Activation activation, double slope);

  void plan(Device& device, std::int32_t n_members, std::int64_t n_rows, bool training);
  std::int32_t n_out() const { return n_out_; }
  Rows<Real> value() const { return value_; }
  Rows<Real> d_value() const { return d_value_; }

  void forward(Device& device, const Parameters<Real>& parameters, const FleetExtent& fleet, std::int64_t n_rows,
               Rows<const Real> x) const;
  // Reads d_value (gradient of value), leaves the parameters' gradients (after a join of the device's branches), and
  // d_x unless it is empty.
  void backward(Device& device, const Parameters<Real>& parameters, const FleetExtent& fleet, std::int64_t n_rows,
                Rows<const Real> x, Rows<Real> d_x, Accumulate accumulate = {}) const;
  // Whether it can be a step of a chain, by its shape and then on this device; and what it does there: d_value is spent
  // as in backward.
  bool fits_chain() const { return fits_a_chain(n_in_, n_out_); }
  bool is_in_chain(const Device& device, const Parameters<Real>& parameters) const;
  NarrowLayer<Real> step(const Parameters<Real>& parameters, Rows<const Real> x) const;
  NarrowLayerGradient<Real> gradient_step(const Parameters<Real>& parameters, Rows<Real> d_x, bool accumulate) const;
  WeightGradient<Real> weight_gradient(const Parameters<Real>& parameters, std::int64_t n_rows, Rows<const Real> x,
                                       bool accumulate) const;
  WeightGradient<Real> weight_gradient_shape(std::int64_t n_rows) const {
    return {.n_rows = n_rows, .n_out = n_out_, .n_in = n_in_};
  }

  // How many rows of its weights are handed over at once (Parameters::step_early); 0: the layer is not one for it. By
  // shape and device alone.
  std::int64_t rows_per_step(const Device& device) const;
  // A layer of the same weights with memory of its own, not planned yet.
  Dense tied() const { return Dense(*this, Tied{}); }

 private:
  struct Tied {};
  Dense(const Dense& other, Tied)
      : n_in_(other.n_in_),
        n_out_(other.n_out_),
        weight_(other.weight_),
        bias_(other.bias_),
        activation_(other.activation_),
        slope_(other.slope_) {}

  std::int32_t n_in_, n_out_, weight_, bias_;
  Activation activation_;
  double slope_;
  Activations<Real> value_, d_value_, pre_activation_;
};

// Hidden layers, then (unless n_out is 0) one linear layer. Tensors PREFIX.0.weight, PREFIX.0.bias, PREFIX.1.weight,
// ...
template <class Real>
class Mlp {
 public:
  Mlp(ParameterLayout& layout, const std::string& prefix, std::int32_t n_in, const HiddenLayers& hidden,
      std::int32_t n_out);

  void plan(Device& device, std::int32_t n_members, std::int64_t n_rows, bool training);
  std::int32_t n_out() const { return layers_.empty() ? n_in_ : layers_.back().n_out(); }
  bool empty() const { return layers_.empty(); }
  Rows<Real> value() const { return layers_.back().value(); }
  Rows<Real> d_value() const { return layers_.back().d_value(); }

  void forward(Device& device, const Parameters<Real>& parameters, const FleetExtent& fleet, std::int64_t n_rows,
               Rows<const Real> x) const;
  // weigh: done to d_value first; may be null.
  void backward(Device& device, const Parameters<Real>& parameters, const FleetExtent& fleet, std::int64_t n_rows,
                Rows<const Real> x, Rows<Real> d_x = {}, Accumulate accumulate = {},
                const ScaleRows<Real>* weigh = nullptr) const;
  Mlp tied() const;  // see Dense

  // As of a layer; what add adds belongs to the last chain.
  bool fits_chain() const;
  bool is_in_chain(const Device& device, const Parameters<Real>& parameters) const;
  void add(RowChain<Real>& chain, const Parameters<Real>& parameters, Rows<const Real> x) const;
  void add(RowChainGradient<Real>& chain, const Parameters<Real>& parameters, Rows<Real> d_x, bool accumulate) const;
  void add(std::vector<WeightGradient<Real>>& layers, const Parameters<Real>& parameters, std::int64_t n_rows,
           Rows<const Real> x, bool accumulate) const;
  void add_shapes(std::vector<WeightGradient<Real>>& shapes, std::int64_t n_rows) const;
  std::int32_t n_layers() const { return static_cast<std::int32_t>(layers_.size()); }

 private:
  Mlp() = default;
  std::int32_t n_in_ = 0;
  std::vector<Dense<Real>> layers_;
  NarrowGradients<Real> narrow_gradients_;
};

// The column of a table that a one-hot x picks, value = x W^T: no bias, small random values at the start. Tensor
// PREFIX.weight.
template <class Real>
class EmbeddingTable {
 public:
  EmbeddingTable(ParameterLayout& layout, const std::string& prefix, std::int32_t n_in, std::int32_t n_out)
      : n_in_(n_in), n_out_(n_out), weight_(layout.add_embedding(prefix + ".weight", n_out, n_in)) {}

  void plan(Device& device, std::int32_t n_members, std::int64_t n_rows, bool training);
  Rows<Real> value() const { return value_; }
  Rows<Real> d_value() const { return d_value_; }

  void forward(Device& device, const Parameters<Real>& parameters, const FleetExtent& fleet, std::int64_t n_rows,
               Rows<const Real> x) const;
  void backward(Device& device, const Parameters<Real>& parameters, const FleetExtent& fleet, std::int64_t n_rows,
                Rows<const Real> x) const;

 private:
  std::int32_t n_in_, n_out_, weight_;
  Activations<Real> value_, d_value_;
};

}  // namespace idem
