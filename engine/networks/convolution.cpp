#include "engine/networks/convolution.h"

#include <algorithm>
#include <stdexcept>

namespace idem {

template <class Real>
Convolution<Real>::Convolution(ParameterLayout& layout, const std::string& name, const Shape& shape)
    : shape_(shape),
      weight_(layout.add_convolution(name + ".weight", shape.n_out, shape.n_in, shape.n_taps)),
      bias_(layout.add_bias(name + ".bias", shape.n_out, std::int64_t{shape.n_in} * shape.n_taps)) {}

template <class Real>
void Convolution<Real>::plan(Device& device, std::int32_t n_members, std::int32_t batch, bool training,
                             std::int32_t n_more_bins) {
  batch_ = batch;
  n_bins_ = shape_.n_bins + n_more_bins;
  value_ = Activations<Real>(device, n_members, n_rows(), shape_.n_out);
  if (!training) return;
  d_value_ = Activations<Real>(device, n_members, n_rows(), shape_.n_out);
  if (keeps_pre_activation()) pre_activation_ = Activations<Real>(device, n_members, n_rows(), shape_.n_out);
  // The other activations' slopes are read off the activated value.
  if (shape_.is_residual && !keeps_pre_activation())
    branch_ = Activations<Real>(device, n_members, n_rows(), shape_.n_out);
}

template <class Real>
BinConvolution<Real> Convolution<Real>::pass(const FleetExtent& fleet, ConvolutionPass which) const {
  return {.fleet = fleet,
          .pass = which,
          .batch = batch_,
          .n_bins = n_bins_,
          .n_taps = shape_.n_taps,
          .n_in = shape_.n_in,
          .n_out = shape_.n_out};
}

template <class Real>
bool Convolution<Real>::is_narrow(Device& device) const {
  return device.runs_narrow_convolutions() && shape_.n_out <= kNarrowFeatures && shape_.n_in <= kNarrowInputs &&
         !device.convolves(pass({}, ConvolutionPass::forward));
}

template <class Real>
void Convolution<Real>::forward(Device& device, const Parameters<Real>& parameters, const FleetExtent& fleet,
                                Rows<const Real> x) const {
  const Rows<const Real> weights = parameters.weights(weight_);
  const BiasActivation<Real> then{.fleet = fleet,
                                  .n_rows = n_rows(),
                                  .n_features = shape_.n_out,
                                  .activation = shape_.activation,
                                  .slope = static_cast<Real>(shape_.slope),
                                  .bias = parameters.weights(bias_),
                                  .value = branch(),
                                  .pre_activation = pre_activation_.rows()};
  auto whole = pass(fleet, ConvolutionPass::forward);
  whole.x = x;
  whole.weight = weights;
  whole.out = branch();
  if (device.convolves(whole)) {
    device.convolve(whole);
    bias_activation_forward(device.execution(), then);
  } else {
    const auto product = [&](std::int32_t tap) {
      return MatrixProduct<Real>{.fleet = fleet,
                                 .m = n_rows(),
                                 .n = shape_.n_out,
                                 .k = shape_.n_in,
                                 .transpose_b = true,
                                 .accumulate = tap > 0,
                                 .a = x.from_row(std::int64_t{tap} * batch_),
                                 .b = of_tap(weights, tap),
                                 .c = branch()};
    };
    for (std::int32_t tap = 0; tap + 1 < shape_.n_taps; ++tap) device.multiply(product(tap));
    multiply_and_activate(device, product(shape_.n_taps - 1), then);
  }
  if (shape_.is_residual)
    add_rows(device.execution(), AddRows<Real>{.fleet = fleet,
                                               .n_rows = n_rows(),
                                               .n_features = shape_.n_out,
                                               .a = branch(),
                                               .b = x.from_row(batch_),
                                               .sum = value_.rows()});
}

template <class Real>
void Convolution<Real>::backward(Device& device, const Parameters<Real>& parameters, const FleetExtent& fleet,
                                 Rows<const Real> x, Rows<Real> d_x) const {
  if (d_x)  // before the activation's slope is multiplied in: the skip goes round it
    pad_rows(device.execution(), PadRows<Real>{.fleet = fleet,
                                               .n_rows = std::int64_t{batch_} * n_bins_,
                                               .first = batch_,
                                               .n_source_rows = shape_.is_residual ? n_rows() : 0,
                                               .n_features = shape_.n_in,
                                               .source = d_value_.rows(),
                                               .out = d_x});
  const BiasActivationGradient<Real> first{.fleet = fleet,
                                           .n_rows = n_rows(),
                                           .n_features = shape_.n_out,
                                           .activation = shape_.activation,
                                           .slope = static_cast<Real>(shape_.slope),
                                           .value = branch(),
                                           .pre_activation = pre_activation_.rows(),
                                           .d_value = d_value_.rows(),
                                           .d_bias = parameters.gradients(bias_)};
  auto of_weights = pass(fleet, ConvolutionPass::weight_gradient);
  of_weights.x = x;
  of_weights.y = d_value_.rows();
  of_weights.out = parameters.gradients(weight_);
  if (device.convolves(of_weights)) {
    bias_activation_backward(device.execution(), first);
    device.aside([&] { device.convolve(of_weights); });
  } else {
    const auto product = [&](std::int32_t tap) {
      return MatrixProduct<Real>{.fleet = fleet,
                                 .m = shape_.n_out,
                                 .n = shape_.n_in,
                                 .k = n_rows(),
                                 .transpose_a = true,
                                 .a = d_value_.rows(),
                                 .b = x.from_row(std::int64_t{tap} * batch_),
                                 .c = of_tap(parameters.gradients(weight_), tap)};
    };
    activate_backward_and_multiply(device, first, product(0));
    device.aside([&] {
      for (std::int32_t tap = 1; tap < shape_.n_taps; ++tap) device.multiply(product(tap));
    });
  }
  if (!d_x) return;
  auto of_x = pass(fleet, ConvolutionPass::input_gradient);
  of_x.weight = parameters.weights(weight_);
  of_x.y = d_value_.rows();
  of_x.out = d_x;
  if (device.convolves(of_x)) return device.convolve(of_x);
  for (std::int32_t tap = 0; tap < shape_.n_taps; ++tap)
    device.multiply({.fleet = fleet,
                     .m = n_rows(),
                     .n = shape_.n_in,
                     .k = shape_.n_out,
                     .accumulate = true,
                     .a = d_value_.rows(),
                     .b = of_tap(of_x.weight, tap),
                     .c = d_x.from_row(std::int64_t{tap} * batch_)});
}

template <class Real>
NarrowConvolution<Real> Convolution<Real>::narrow_step(Device& device, const Parameters<Real>& parameters,
                                                       const FleetExtent& fleet, Rows<const Real> x) const {
  return {.fleet = fleet,
          .n_rows = n_rows(),
          .tap_rows = batch_,
          .n_in = shape_.n_in,
          .n_out = shape_.n_out,
          .n_taps = shape_.n_taps,
          .is_residual = shape_.is_residual,
          .precision = device.execution().precision,
          .activation = shape_.activation,
          .slope = static_cast<Real>(shape_.slope),
          .x = x,
          .weight = parameters.weights(weight_),
          .bias = parameters.weights(bias_),
          .value = value_.rows(),
          .pre_activation = pre_activation_.rows(),
          .activated = branch_.rows()};
}

template <class Real>
NarrowConvolutionGradient<Real> Convolution<Real>::narrow_gradient_step(Device& device,
                                                                        const Parameters<Real>& parameters,
                                                                        const FleetExtent& fleet,
                                                                        const Convolution* below,
                                                                        Rows<Real> d_x) const {
  NarrowConvolutionGradient<Real> p{.fleet = fleet,
                                    .n_rows = n_rows(),
                                    .tap_rows = batch_,
                                    .n_in = shape_.n_in,
                                    .n_out = shape_.n_out,
                                    .n_taps = shape_.n_taps,
                                    .is_residual = shape_.is_residual,
                                    .precision = device.execution().precision,
                                    .d_pre = d_pre(),
                                    .d_value = d_value_.rows(),
                                    .weight = parameters.weights(weight_),
                                    .d_x = d_x};
  if (below) {
    p.activation_below = below->shape_.activation;
    p.slope_below = static_cast<Real>(below->shape_.slope);
    p.kept_below = below->kept();
    p.d_below = below->d_pre();
    if (below->d_value_.rows().data != p.d_below.data) p.d_x = below->d_value_.rows();
  }
  return p;
}

template <class Real>
WeightGradient<Real> Convolution<Real>::weight_gradient(const Parameters<Real>& parameters, Rows<const Real> x) const {
  auto layer = weight_gradient_shape();
  layer.d = d_pre();
  layer.x = x;
  layer.d_weight = parameters.gradients(weight_);
  layer.d_bias = parameters.gradients(bias_);
  return layer;
}

template <class Real>
TemporalConvolution<Real>::TemporalConvolution(ParameterLayout& layout, const std::vector<std::string>& prefixes,
                                               std::int32_t window, std::int32_t n_in, std::int32_t channels,
                                               std::int32_t n_out, Activation activation, double slope) {
  if (window < 3)
    throw std::invalid_argument("a temporal convolution needs a window of at least 3 bins, not " +
                                std::to_string(window));
  for (const auto& prefix : prefixes) {
    auto& layers = networks_.emplace_back();
    const auto add = [&](const typename Convolution<Real>::Shape& shape) {
      layers.emplace_back(layout, prefix + ".conv" + std::to_string(layers.size()), shape);
    };
    const std::int32_t last = window % 2 == 0 ? 3 : 2;
    std::int32_t n_bins = window - 1;
    add({.n_in = n_in, .n_out = channels, .n_bins = window, .n_taps = 2, .activation = activation, .slope = slope});
    for (; n_bins > last; n_bins -= 2)
      add({.n_in = channels,
           .n_out = channels,
           .n_bins = n_bins,
           .n_taps = 3,
           .is_residual = true,
           .activation = activation,
           .slope = slope});
    add({.n_in = channels, .n_out = n_out, .n_bins = n_bins, .n_taps = last});
  }
}

template <class Real>
void TemporalConvolution<Real>::plan(Device& device, std::int32_t n_members, std::int32_t batch, bool training,
                                     std::int32_t n_more_bins) {
  for (auto& network : networks_)
    for (auto& layer : network) layer.plan(device, n_members, batch, training, n_more_bins);
  if (!training || !is_narrow(device)) return;
  std::vector<WeightGradient<Real>> shapes;
  for (const auto& network : networks_)
    for (const auto& layer : network) shapes.push_back(layer.weight_gradient_shape());
  narrow_gradients_.plan(device, n_members, shapes);
}

template <class Real>
bool TemporalConvolution<Real>::is_narrow(Device& device) const {
  const auto& layers = networks_.front();
  return std::all_of(layers.begin(), layers.end(), [&](const auto& layer) { return layer.is_narrow(device); });
}

template <class Real>
void TemporalConvolution<Real>::forward(Device& device, const Parameters<Real>& parameters, const FleetExtent& fleet,
                                        Rows<const Real> x) const {
  if (is_narrow(device)) {
    for (std::size_t i = 0; i < networks_.front().size(); ++i) {
      NarrowConvolutions<Real> layers{.fleet = fleet};
      for (const auto& network : networks_)
        layers.add(network[i].narrow_step(device, parameters, fleet, input_of(network, i, x)));
      narrow_convolution_forward(device.execution(), layers);
    }
    return;
  }
  const auto run = [&](const Network& network) {
    for (std::size_t i = 0; i < network.size(); ++i)
      network[i].forward(device, parameters, fleet, input_of(network, i, x));
  };
  for (std::size_t other = 1; other < networks_.size(); ++other) device.aside([&] { run(networks_[other]); });
  run(networks_.front());
  if (networks_.size() > 1) device.join();
}

template <class Real>
void TemporalConvolution<Real>::backward(Device& device, const Parameters<Real>& parameters, const FleetExtent& fleet,
                                         Rows<const Real> x, Rows<Real> d_x) const {
  if (is_narrow(device)) return backward_narrow(device, parameters, fleet, x, d_x);
  for (const auto& network : networks_)
    for (std::size_t i = network.size(); i-- > 0;)
      network[i].backward(device, parameters, fleet, input_of(network, i, x), i ? network[i - 1].d_value() : d_x);
}

template <class Real>
void TemporalConvolution<Real>::backward_narrow(Device& device, const Parameters<Real>& parameters,
                                                const FleetExtent& fleet, Rows<const Real> x, Rows<Real> d_x) const {
  for (std::size_t i = networks_.front().size(); i-- > 0;) {
    if (i == 0 && !d_x) continue;
    NarrowConvolutionGradients<Real> layers{.fleet = fleet};
    for (const auto& network : networks_)
      layers.add(network[i].narrow_gradient_step(device, parameters, fleet, i ? &network[i - 1] : nullptr,
                                                 i ? Rows<Real>{} : d_x));
    narrow_convolution_backward(device.execution(), layers);
  }
  std::vector<WeightGradient<Real>> gradients;
  for (const auto& network : networks_)
    for (std::size_t i = 0; i < network.size(); ++i)
      gradients.push_back(network[i].weight_gradient(parameters, input_of(network, i, x)));
  narrow_gradients_.sum(device, fleet, gradients);
}

template class Convolution<float>;
template class Convolution<double>;
template class TemporalConvolution<float>;
template class TemporalConvolution<double>;

}  // namespace idem
