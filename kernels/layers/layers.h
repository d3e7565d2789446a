// layers.h - what stands between the matrix products of a network: bias, activation, couplings, and their gradients.
#pragma once

#include "kernels/common/enum_names.h"
#include "kernels/common/operation.h"

namespace idem {

enum class Activation : std::int32_t {
  identity,
  relu,
  leaky_relu,  // negative slope = `slope`
  tanh,
  gelu_erf,   // x Phi(x), CEBRA
  gelu_tanh,  // the tanh approximation, conv-pi-VAE
  sigmoid,
  softplus,
};
template <>
struct EnumNames<Activation> {
  static constexpr const char* what = "activation";
  static constexpr EnumName<Activation> all[] = {
      {Activation::identity, "identity"}, {Activation::relu, "relu"},        {Activation::leaky_relu, "leaky-relu"},
      {Activation::tanh, "tanh"},         {Activation::gelu_erf, "gelu"},    {Activation::gelu_tanh, "gelu-tanh"},
      {Activation::sigmoid, "sigmoid"},   {Activation::softplus, "softplus"}};
};
// Whether the slope is worked out from what the activation was given; of the others from what it gave.
HD constexpr bool needs_pre_activation(Activation activation) {
  return activation == Activation::gelu_erf || activation == Activation::gelu_tanh;
}

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
// Rows [begin, end) of one member, on the CPU, in the caller's task.
template <class Real>
void bias_activation_of_rows(const BiasActivation<Real>& p, std::int64_t member, std::int64_t begin, std::int64_t end);

constexpr std::int64_t kBiasRowBlock = 8;

// d_value becomes the gradient with respect to value + bias, in place; d_bias [n_members x n_features] its sum over
// rows (may be empty).
//   value, pre_activation as the forward pass left them (value alone serves all activations but the GELUs, whose value
//   is not read)
//   accumulate  the sum is added to d_bias: for a layer that is passed more than once
// Rows and d_bias start on 16 bytes and are padded to 16 features. Determinism: run_to_run; rows are summed in fixed
// blocks of kBiasRowBlock, the blocks in ascending order.
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
  bool accumulate = false;
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
//   out    [n_members x n_rows x n_features]         out[first + row] = source[row], zeros in its other rows; does not
//                                                    alias source
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
// Rows [begin, end) of one member, on the CPU, in the caller's task.
template <class Real>
void scale_of_rows(const ScaleRows<Real>& p, std::int64_t member, std::int64_t begin, std::int64_t end);

// Two sets of features side by side, each moved to its place: out[place[i]] = [a, b][i].
//   a [n_members x n_rows x n_a], b [.. n_b], out [.. n_a + n_b]
//   place [n_a + n_b] a permutation, the same for all members; null: side by side as they are
template <class Real>
struct JoinFeatures {
  FleetExtent fleet;
  std::int64_t n_rows = 0;
  std::int32_t n_a = 0, n_b = 0;
  const std::int32_t* place = nullptr;
  Rows<const Real> a, b;
  Rows<Real> out;
};
IDEM_OPERATION(join_features_forward, JoinFeatures)

// [d_a, d_b][i] = d_out[place[i]], shapes as JoinFeatures.
template <class Real>
struct JoinFeaturesGradient {
  FleetExtent fleet;
  std::int64_t n_rows = 0;
  std::int32_t n_a = 0, n_b = 0;
  const std::int32_t* place = nullptr;
  Rows<const Real> d_out;
  Rows<Real> d_a, d_b;
};
IDEM_OPERATION(join_features_backward, JoinFeaturesGradient)

// One volume-preserving affine coupling (GIN: Sorrenson, Rother & Koethe 2020, arXiv 2001.04872; in this form pi-VAE:
// Zhou & Wei 2020, arXiv 2011.04798). Of the n_features >= 2 of x the first c = n_features / 2 pass; the other m =
// n_features - c are scaled and shifted by what a network makes of those that pass, and come first afterwards:
// out[place[i]] = [x[c:] e^log_scale + shift, x[:c]][i].
//   x         [n_members x n_rows x n_features]
//   raw       [n_members x n_rows x (2 m - 1)]  the network's output: m - 1 log scales, which 0.1 tanh bounds, then m
//                                               shifts
//   log_scale [n_members x n_rows x m]  written, for the gradient; the last one closes the sum to 0
//   out       as x; place as JoinFeatures. No two of x, raw, log_scale and out overlap.
template <class Real>
struct Coupling {
  FleetExtent fleet;
  std::int64_t n_rows = 0;
  std::int32_t n_features = 0;
  const std::int32_t* place = nullptr;
  Rows<const Real> x, raw;
  Rows<Real> log_scale, out;

  HD std::int32_t n_passed() const { return n_features / 2; }
  HD std::int32_t n_moved() const { return n_features - n_passed(); }
};
IDEM_OPERATION(coupling_forward, Coupling)

// From d_out (as out) to d_x (what reaches x beside the network) and d_raw. forward: as the forward pass had it; raw
// and out are not read.
template <class Real>
struct CouplingGradient {
  Coupling<Real> forward;
  Rows<const Real> d_out;
  Rows<Real> d_x, d_raw;
};
IDEM_OPERATION(coupling_backward, CouplingGradient)
// Rows [begin, end) of one member, on the CPU, in the caller's task.
template <class Real>
void coupling_forward_of_rows(const Coupling<Real>& p, std::int64_t member, std::int64_t begin, std::int64_t end);
template <class Real>
void coupling_backward_of_rows(const CouplingGradient<Real>& p, std::int64_t member, std::int64_t begin,
                               std::int64_t end);

// Layers of at most this many features, and inputs, are worked out by the operations below where a device says so
// (Device::runs_narrow_convolutions).
constexpr std::int32_t kNarrowFeatures = 128, kNarrowInputs = 512;

// A convolution of few channels with all that follows it: value = activation(pre_activation), for a residual layer plus
// the middle row of those read.
//   x          [n_members x n_x_rows x n_in]        tap j of row r reads row r + j * tap_rows
//   weight     [n_members x n_out * n_taps x n_in]  row out * n_taps + tap
//   bias       [n_members x n_out] (row_stride unused)
//   value      [n_members x n_rows x n_out]
//   pre_activation, activated  as value, or empty: the sums with bias, and what the activation made of them before the
//                              skip was added
//   is_residual  x[r + tap_rows] is added to row r; n_out = n_in
// Rows are read and written four features at a time: they start on 16 bytes and are padded to 16 features, x and weight
// with zeros; there are fewer than 2^31 of them. Determinism: run_to_run, a member's bits the same alone and in any
// fleet.
template <class Real>
struct NarrowConvolution {
  FleetExtent fleet;
  std::int64_t n_rows = 0, tap_rows = 0;
  std::int32_t n_in = 0, n_out = 0, n_taps = 1;
  bool is_residual = false;
  ProductPrecision precision = ProductPrecision::fp32;  // on a GPU
  Activation activation = Activation::identity;
  Real slope = Real(0.2);
  Rows<const Real> x, weight, bias;
  Rows<Real> value, pre_activation, activated;
};
template <class Real>
using NarrowConvolutions = Several<NarrowConvolution<Real>>;  // of one shape, precision and activation
IDEM_OPERATION(narrow_convolution_forward, NarrowConvolutions)

// The gradient of x, and that of the layer below, whose value x is, before its activation.
//   d_pre    [n_members x n_rows x n_out]    of this layer's sums with bias
//   d_value  as d_pre, of its value: read of a residual layer, whose skip goes round the activation
//   d_x      [n_members x n_x_rows x n_in]   may be empty
//   kept_below  as d_x: what the slope of activation_below is worked out from, its argument (the GELUs) or what it gave
//               (the others)
//   d_below  d_x times that slope; may be kept_below; empty to skip
// Nothing else overlaps. Rows, determinism: as NarrowConvolution.
template <class Real>
struct NarrowConvolutionGradient {
  FleetExtent fleet;
  std::int64_t n_rows = 0, tap_rows = 0;
  std::int32_t n_in = 0, n_out = 0, n_taps = 1;
  bool is_residual = false;
  ProductPrecision precision = ProductPrecision::fp32;  // on a GPU
  Rows<const Real> d_pre, d_value, weight;
  Rows<Real> d_x;
  Activation activation_below = Activation::identity;
  Real slope_below = Real(0.2);
  Rows<const Real> kept_below;
  Rows<Real> d_below;

  HD std::int64_t n_x_rows() const { return n_rows + (n_taps - 1) * tap_rows; }
};
template <class Real>
using NarrowConvolutionGradients = Several<NarrowConvolutionGradient<Real>>;  // of one shape, precision and activation
IDEM_OPERATION(narrow_convolution_backward, NarrowConvolutionGradients)

// The gradients of the weights and biases of many narrow layers at once: what products do one layer and one tap at a
// time.
//   d        [n_members x n_rows x n_out]
//   x        [n_members x (n_rows + (n_taps - 1) * tap_rows) x n_in]
//   d_weight [n_members x n_out * n_taps x n_in]  row out * n_taps + tap: the sum over rows of d[row][out] x[row + tap
//                                                 * tap_rows]
//   d_bias   [n_members x n_out] (row_stride unused), the sum over rows of d; may be empty
//   accumulate  the sums are added to d_weight and d_bias: for a layer that is passed more than once
// x starts at the beginning of its rows, of which the padding to 16 features may be read. Determinism: run_to_run; rows
// are summed in chunks of kRowsPerSum, the chunks in ascending order (on a GPU before they are added to the old sums,
// on the CPU one after the other to them).
constexpr std::int64_t kRowsPerSum = 256;
constexpr std::int32_t kMostLayers = 24;

template <class Real>
struct WeightGradient {
  std::int64_t n_rows = 0, tap_rows = 0;
  std::int32_t n_out = 0, n_in = 0, n_taps = 1;
  bool accumulate = false;
  Rows<const Real> d, x;
  Rows<Real> d_weight, d_bias;

  HD std::int64_t n_chunks() const { return n_rows > kRowsPerSum ? (n_rows + kRowsPerSum - 1) / kRowsPerSum : 1; }
  HD std::int64_t n_weight_rows() const { return std::int64_t{n_out} * n_taps; }
  // Of a chunk's sums: rows of weights padded to four, then the biases.
  HD std::int64_t partial_row() const { return (n_in + 3) / 4 * 4; }
  HD std::int64_t n_partial() const { return n_weight_rows() * partial_row() + (n_out + 3) / 4 * 4; }
};

// partial_sums: scratch of weight_gradient_scratch elements for all layers together, of every member (partial_stride
// apart); null where no layer has more than kRowsPerSum rows. The CPU needs none.
template <class Real>
struct WeightGradients {
  FleetExtent fleet;
  std::int32_t n_layers = 0;
  WeightGradient<Real> layers[kMostLayers];
  Real* partial_sums = nullptr;
  std::int64_t partial_stride = 0;
};
IDEM_OPERATION(weight_gradients, WeightGradients)

// Elements of scratch that a member needs for a layer; its shape is all that is read.
template <class Real>
HD std::int64_t weight_gradient_scratch(const WeightGradient<Real>& layer) {
  return layer.n_chunks() > 1 ? layer.n_chunks() * layer.n_partial() : 0;
}

}  // namespace idem
