// layers.h - what stands between the matrix products of a network: bias, activation, and their gradients.
#pragma once

#include "kernels/common/operation.h"

namespace idem {

enum class Activation : std::int32_t {
  identity,
  relu,
  leaky_relu,  // negative slope = `slope`
  tanh,
  gelu_erf,    // x Phi(x), CEBRA
  gelu_tanh,   // the tanh approximation, conv-pi-VAE
  sigmoid,
  softplus,
};

// value = activation(value + bias), in place on the output of a matrix product.
//   bias  [n_members x n_features] (row_stride unused), may be empty
//   value [n_members x n_rows x n_features]
//   pre_activation  as value, or empty: where value + bias is kept; only the two GELUs need it for their gradient
template <class Real>
struct BiasActivation {
  FleetExtent fleet;
  std::int64_t n_rows = 0;
  std::int32_t n_features = 0;
  Activation activation = Activation::identity;
  Real slope = Real(0.2);
  Rows<const Real> bias;
  Rows<Real> value;
  Rows<Real> pre_activation;
};
IDEM_OPERATION(bias_activation_forward, BiasActivation)

constexpr std::int64_t kBiasRowBlock = 8;

// d_value becomes the gradient with respect to value + bias, in place; d_bias [n_members x n_features] its sum over rows (may be empty).
//   value, pre_activation as the forward pass left them (value alone serves all activations but the GELUs, whose value is not read)
// Determinism: run_to_run; rows are summed in fixed blocks of kBiasRowBlock, the blocks in ascending order.
template <class Real>
struct BiasActivationGradient {
  FleetExtent fleet;
  std::int64_t n_rows = 0;
  std::int32_t n_features = 0;
  Activation activation = Activation::identity;
  Real slope = Real(0.2);
  Rows<const Real> value;
  Rows<const Real> pre_activation;
  Rows<Real> d_value;
  Rows<Real> d_bias;
};
IDEM_OPERATION(bias_activation_backward, BiasActivationGradient)

// sum = a + b, row by row; sum may alias a.
template <class Real>
struct AddRows {
  FleetExtent fleet;
  std::int64_t n_rows = 0;
  std::int32_t n_features = 0;
  Rows<const Real> a, b;
  Rows<Real> sum;
};
IDEM_OPERATION(add_rows, AddRows)

// Rows put into a taller frame of zeros: the transpose of reading n_source_rows rows from row `first` on.
//   source [n_members x n_source_rows x n_features]  may be empty (n_source_rows = 0)
//   out    [n_members x n_rows x n_features]         out[first + row] = source[row], zeros in its other rows; does not alias source
template <class Real>
struct PadRows {
  FleetExtent fleet;
  std::int64_t n_rows = 0, first = 0, n_source_rows = 0;
  std::int32_t n_features = 0;
  Rows<const Real> source;
  Rows<Real> out;
};
IDEM_OPERATION(pad_rows, PadRows)

// value[member][row][:] *= scale[member * scale_stride + row]
template <class Real>
struct ScaleRows {
  FleetExtent fleet;
  std::int64_t n_rows = 0;
  std::int32_t n_features = 0;
  const Real* scale = nullptr;
  std::int64_t scale_stride = 0;
  Rows<Real> value;
};
IDEM_OPERATION(scale_rows, ScaleRows)

}  // namespace idem
