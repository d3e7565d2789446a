#include "engine/dense.h"

#include <algorithm>

namespace idem {

template <class Real>
void multiply_and_activate(Device& device, const MatrixProduct<Real>& p, const BiasActivation<Real>& then) {
  auto fused = p;
  fused.activation = then.activation;
  fused.bias = then.bias;
  fused.pre_activation = then.pre_activation;
  if (device.fuses(fused)) return device.multiply(fused);
  device.multiply(p);
  bias_activation_forward(device.execution(), then);
}

template <class Real>
void activate_backward_and_multiply(Device& device, const BiasActivationGradient<Real>& first, const MatrixProduct<Real>& p) {
  auto fused = p;
  fused.a_sums = first.d_bias;
  if (first.activation != Activation::identity) {
    bias_activation_backward(device.execution(), first);
    device.aside([&] { device.multiply(p); });
  } else if (!first.accumulate && device.fuses(fused)) {
    device.aside([&] { device.multiply(fused); });
  } else {  // beside it too: what is added to may be another branch's
    device.aside([&] {
      bias_activation_backward(device.execution(), first);
      device.multiply(p);
    });
  }
}

template <class Real>
Dense<Real>::Dense(ParameterLayout& layout, const std::string& prefix, std::int32_t n_in, std::int32_t n_out, Activation activation, double slope)
    : n_in_(n_in),
      n_out_(n_out),
      weight_(layout.add_weight(prefix + ".weight", n_out, n_in)),
      bias_(layout.add_bias(prefix + ".bias", n_out, n_in)),
      activation_(activation),
      slope_(slope) {}

template <class Real>
void Dense<Real>::plan(Device& device, std::int32_t n_members, std::int64_t n_rows, bool training) {
  value_ = Activations<Real>(device, n_members, n_rows, n_out_);
  if (!training) return;
  d_value_ = Activations<Real>(device, n_members, n_rows, n_out_);
  if (activation_ == Activation::gelu_erf || activation_ == Activation::gelu_tanh)
    pre_activation_ = Activations<Real>(device, n_members, n_rows, n_out_);
}

template <class Real>
void Dense<Real>::forward(Device& device, const Parameters<Real>& parameters, const FleetExtent& fleet, std::int64_t n_rows,
                          Rows<const Real> x) const {
  multiply_and_activate(device,
                        MatrixProduct<Real>{.fleet = fleet, .m = n_rows, .n = n_out_, .k = n_in_, .transpose_b = true, .a = x,
                                            .b = parameters.weights(weight_), .c = value_.rows()},
                        BiasActivation<Real>{.fleet = fleet,
                                             .n_rows = n_rows,
                                             .n_features = n_out_,
                                             .activation = activation_,
                                             .slope = static_cast<Real>(slope_),
                                             .bias = parameters.weights(bias_),
                                             .value = value_.rows(),
                                             .pre_activation = pre_activation_.rows()});
}

template <class Real>
void Dense<Real>::backward(Device& device, const Parameters<Real>& parameters, const FleetExtent& fleet, std::int64_t n_rows, Rows<const Real> x,
                           Rows<Real> d_x, Accumulate accumulate) const {
  const BiasActivationGradient<Real> first{.fleet = fleet,
                                           .n_rows = n_rows,
                                           .n_features = n_out_,
                                           .activation = activation_,
                                           .slope = static_cast<Real>(slope_),
                                           .value = value_.rows(),
                                           .pre_activation = pre_activation_.rows(),
                                           .d_value = d_value_.rows(),
                                           .d_bias = parameters.gradients(bias_),
                                           .accumulate = accumulate.gradients};
  const MatrixProduct<Real> of_weights{.fleet = fleet, .m = n_out_, .n = n_in_, .k = n_rows, .transpose_a = true,
                                       .accumulate = accumulate.gradients, .a = d_value_.rows(), .b = x, .c = parameters.gradients(weight_)};
  const MatrixProduct<Real> of_x{.fleet = fleet, .m = n_rows, .n = n_in_, .k = n_out_, .accumulate = accumulate.d_x, .a = d_value_.rows(),
                                 .b = parameters.weights(weight_), .c = d_x};
  const std::int64_t at_once = parameters.steps_early() && !accumulate.more_to_come ? rows_per_step(device) : 0;
  if (at_once == 0) {
    activate_backward_and_multiply(device, first, of_weights);
    if (d_x) device.multiply(of_x);
    return;
  }
  const bool is_linear = activation_ == Activation::identity;
  if (!is_linear) bias_activation_backward(device.execution(), first);
  if (d_x) device.multiply(of_x);  // the last that reads these weights
  device.aside([&] {
    for (std::int64_t row = 0; row < n_out_; row += at_once) {
      auto part = of_weights;
      part.m = std::min(at_once, n_out_ - row);
      part.a.data += row;
      part.c = part.c.from_row(row);
      if (is_linear) {
        auto bias_part = first;
        bias_part.n_features = static_cast<std::int32_t>(part.m);
        bias_part.d_value.data += row;
        bias_part.d_bias.data += row;
        activate_backward_and_multiply(device, bias_part, part);
      } else {
        device.multiply(part);
      }
      parameters.step_rows(fleet, weight_, row, part.m);
    }
  });
}

template <class Real>
std::int64_t Dense<Real>::rows_per_step(const Device& device) const {
  // A third of the cache for the gradient, as Adam streams weights and moments past it. A layer of less than a quarter of that is not worth a launch.
  const auto most = static_cast<std::int64_t>(device.cache_bytes() / 3), bytes = n_out_ * padded(n_in_) * static_cast<std::int64_t>(sizeof(Real));
  if (most == 0 || bytes <= most / 4) return 0;
  const std::int64_t n_parts = (bytes + most - 1) / most;
  return padded((n_out_ + n_parts - 1) / n_parts);
}

template <class Real>
Mlp<Real>::Mlp(ParameterLayout& layout, const std::string& prefix, std::int32_t n_in, const HiddenLayers& hidden, std::int32_t n_out) : n_in_(n_in) {
  std::int32_t width = n_in;
  auto add = [&](std::int32_t next, Activation activation) {
    layers_.emplace_back(layout, prefix + "." + std::to_string(layers_.size()), width, next, activation, hidden.slope);
    width = next;
  };
  for (const auto next : hidden.widths) add(next, hidden.activation);
  if (n_out > 0) add(n_out, Activation::identity);
}

template <class Real>
void Mlp<Real>::plan(Device& device, std::int32_t n_members, std::int64_t n_rows, bool training) {
  for (auto& layer : layers_) layer.plan(device, n_members, n_rows, training);
}

template <class Real>
void Mlp<Real>::forward(Device& device, const Parameters<Real>& parameters, const FleetExtent& fleet, std::int64_t n_rows, Rows<const Real> x) const {
  for (const auto& layer : layers_) {
    layer.forward(device, parameters, fleet, n_rows, x);
    x = layer.value();
  }
}

template <class Real>
void Mlp<Real>::backward(Device& device, const Parameters<Real>& parameters, const FleetExtent& fleet, std::int64_t n_rows, Rows<const Real> x,
                         Rows<Real> d_x, Accumulate accumulate) const {
  for (std::size_t i = layers_.size(); i-- > 0;)
    layers_[i].backward(device, parameters, fleet, n_rows, i ? Rows<const Real>(layers_[i - 1].value()) : x, i ? layers_[i - 1].d_value() : d_x,
                        {.d_x = i == 0 && accumulate.d_x, .gradients = accumulate.gradients, .more_to_come = accumulate.more_to_come});
}

template <class Real>
Mlp<Real> Mlp<Real>::tied() const {
  Mlp same;
  same.n_in_ = n_in_;
  for (const auto& layer : layers_) same.layers_.push_back(layer.tied());
  return same;
}

template <class Real>
void EmbeddingTable<Real>::plan(Device& device, std::int32_t n_members, std::int64_t n_rows, bool training) {
  value_ = Activations<Real>(device, n_members, n_rows, n_out_);
  if (training) d_value_ = Activations<Real>(device, n_members, n_rows, n_out_);
}

template <class Real>
void EmbeddingTable<Real>::forward(Device& device, const Parameters<Real>& parameters, const FleetExtent& fleet, std::int64_t n_rows,
                              Rows<const Real> x) const {
  device.multiply({.fleet = fleet, .m = n_rows, .n = n_out_, .k = n_in_, .transpose_b = true, .a = x, .b = parameters.weights(weight_),
                   .c = value_.rows()});
}

template <class Real>
void EmbeddingTable<Real>::backward(Device& device, const Parameters<Real>& parameters, const FleetExtent& fleet, std::int64_t n_rows,
                               Rows<const Real> x) const {
  device.multiply({.fleet = fleet, .m = n_out_, .n = n_in_, .k = n_rows, .transpose_a = true, .a = d_value_.rows(), .b = x,
                   .c = parameters.gradients(weight_)});
}

template void multiply_and_activate(Device&, const MatrixProduct<float>&, const BiasActivation<float>&);
template void multiply_and_activate(Device&, const MatrixProduct<double>&, const BiasActivation<double>&);
template void activate_backward_and_multiply(Device&, const BiasActivationGradient<float>&, const MatrixProduct<float>&);
template void activate_backward_and_multiply(Device&, const BiasActivationGradient<double>&, const MatrixProduct<double>&);
template class Dense<float>;
template class Dense<double>;
template class Mlp<float>;
template class Mlp<double>;
template class EmbeddingTable<float>;
template class EmbeddingTable<double>;

}  // namespace idem
