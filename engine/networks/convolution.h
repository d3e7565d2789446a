// convolution.h - the learned temporal encoder: valid convolutions over the bins of a window, most of them residual,
// and their gradients.
//
// Over a window of w bins (conv-pi-VAE; CEBRA's offsetN encoders are the same with the exact GELU and a normalised
// output):
//   convolution of 2 bins, n_in -> channels, activation                               w bins -> w - 1
//   blocks of 3 bins, y[t] = x[t + 1] + activation(convolution(x))[t]: the skip       each two fewer
//     loses the bin at either end, nothing follows the sum
//   convolution of the last 3 bins (2 where w is odd), channels -> n_out, linear      -> 1
// With 10 bins there are three blocks: 10-9-7-5-3-1. The window gives the depth. Source: Schneider, Lee & Mathis 2023
// (Nature 617, 360-368).
//
// Layout: [member][bin][batch][channel]. What tap j of a convolution reads of all windows is then the same array from
// row j * batch on, so that a convolution of k bins is k accumulating matrix products on shifted pointers: no copy of
// windows, no product across the border of two windows. A device that convolves by itself (Device::convolves) does the
// layer in one operation instead, and one for which products of few channels are too small
// (Device::runs_narrow_convolutions) takes the kernels made for them: one for a layer with its bias, activation and
// skip, one for the gradient of its input, and one for the gradients of all layers' weights.
#pragma once

#include "engine/networks/dense.h"

namespace idem {

// value = activation(convolution of x + b), or x without its first and last bin + that (residual: 3 taps, n_in =
// n_out). Names its tensors NAME.weight [out, in, tap] and NAME.bias.
template <class Real>
class Convolution {
 public:
  struct Shape {
    std::int32_t n_in = 0, n_out = 0, n_bins = 0, n_taps = 1;  // n_bins of x; value has n_bins - n_taps + 1
    bool is_residual = false;
    Activation activation = Activation::identity;
    double slope = 0;  // leaky_relu only
  };
  Convolution(ParameterLayout& layout, const std::string& name, const Shape& shape);

  // n_more_bins: that x has beyond shape.n_bins.
  void plan(Device& device, std::int32_t n_members, std::int32_t batch, bool training, std::int32_t n_more_bins = 0);
  Rows<Real> value() const { return value_; }
  Rows<Real> d_value() const { return d_value_; }

  void forward(Device& device, const Parameters<Real>& parameters, const FleetExtent& fleet, Rows<const Real> x) const;
  // Spends d_value (gradient of value), leaves the parameters' gradients (after a join of the device's branches), and
  // d_x unless it is empty.
  void backward(Device& device, const Parameters<Real>& parameters, const FleetExtent& fleet, Rows<const Real> x,
                Rows<Real> d_x) const;

  // What the kernels for few channels are asked for. Their backward pass goes from layer to layer: each leaves the
  // gradient of the one below before its activation, or d_x where there is none below, and the gradients of the weights
  // are for all layers together to ask for. Of a linear layer d_value is the gradient before the activation.
  bool is_narrow(Device& device) const;
  NarrowConvolution<Real> narrow_step(Device& device, const Parameters<Real>& parameters, const FleetExtent& fleet,
                                      Rows<const Real> x) const;
  NarrowConvolutionGradient<Real> narrow_gradient_step(Device& device, const Parameters<Real>& parameters,
                                                       const FleetExtent& fleet, const Convolution* below,
                                                       Rows<Real> d_x) const;
  WeightGradient<Real> weight_gradient(const Parameters<Real>& parameters, Rows<const Real> x) const;
  WeightGradient<Real> weight_gradient_shape() const {
    return {
        .n_rows = n_rows(), .tap_rows = batch_, .n_out = shape_.n_out, .n_in = shape_.n_in, .n_taps = shape_.n_taps};
  }

 private:
  std::int64_t n_rows() const { return std::int64_t{batch_} * (n_bins_ - shape_.n_taps + 1); }
  BinConvolution<Real> pass(const FleetExtent& fleet, ConvolutionPass which) const;
  // A tap's matrix of the weights or of their gradients.
  template <class T>
  Rows<T> of_tap(const Rows<T>& weights, std::int32_t tap) const {
    return {weights.data + tap * weights.row_stride, weights.member_stride, shape_.n_taps * weights.row_stride};
  }
  // Activated rows: those of the branch where they are needed again and the sum would overwrite them.
  Rows<Real> branch() const { return branch_.rows() ? branch_.rows() : value_.rows(); }
  bool keeps_pre_activation() const { return needs_pre_activation(shape_.activation); }
  // What the activation's slope is worked out from.
  Rows<Real> kept() const { return keeps_pre_activation() ? pre_activation_.rows() : branch(); }
  // Where the narrow backward pass leaves the gradient before the activation: the skip needs d_value as it was.
  Rows<Real> d_pre() const {
    return shape_.is_residual && shape_.activation != Activation::identity ? kept() : d_value_.rows();
  }

  Shape shape_;
  std::int32_t weight_, bias_, batch_ = 0, n_bins_ = 0;
  Activations<Real> value_, d_value_, branch_, pre_activation_;
};

// The whole network, [window x batch x n_in] -> [batch x n_out]; of n_more_bins, [(window + n_more_bins) x batch x
// n_in] ->
// [(1 + n_more_bins) x batch x n_out], every window of the stretch at the price of its bins. Tensors
// PREFIX.conv0.weight, PREFIX.conv0.bias, PREFIX.conv1.weight, ... There may be several networks of this shape, which
// see the same x: they run side by side.
template <class Real>
class TemporalConvolution {
 public:
  // prefixes: one of each network, at most kMostTogether. window: at least 3 bins.
  TemporalConvolution(ParameterLayout& layout, const std::vector<std::string>& prefixes, std::int32_t window,
                      std::int32_t n_in, std::int32_t channels, std::int32_t n_out, Activation activation,
                      double slope);

  void plan(Device& device, std::int32_t n_members, std::int32_t batch, bool training, std::int32_t n_more_bins = 0);
  Rows<Real> value(std::size_t network = 0) const { return networks_[network].back().value(); }
  Rows<Real> d_value(std::size_t network = 0) const { return networks_[network].back().d_value(); }

  void forward(Device& device, const Parameters<Real>& parameters, const FleetExtent& fleet, Rows<const Real> x) const;
  // d_x: of a single network, or empty.
  void backward(Device& device, const Parameters<Real>& parameters, const FleetExtent& fleet, Rows<const Real> x,
                Rows<Real> d_x) const;

 private:
  using Network = std::vector<Convolution<Real>>;
  static Rows<const Real> input_of(const Network& network, std::size_t layer, Rows<const Real> x) {
    return layer ? network[layer - 1].value() : x;
  }
  bool is_narrow(Device& device) const;
  void backward_narrow(Device& device, const Parameters<Real>& parameters, const FleetExtent& fleet, Rows<const Real> x,
                       Rows<Real> d_x) const;

  std::vector<Network> networks_;
  NarrowGradients<Real> narrow_gradients_;
};

}  // namespace idem
