#include "engine/networks/dense.h"

#include <algorithm>

#include "kernels/common/to_size.h"

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
void activate_backward_and_multiply(Device& device, const BiasActivationGradient<Real>& first,
                                    const MatrixProduct<Real>& p) {
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
void NarrowGradients<Real>::plan(Device& device, std::int32_t n_members,
                                 const std::vector<WeightGradient<Real>>& shapes) {
  partial_stride_ = 0;
  for (const auto& shape : shapes) partial_stride_ += weight_gradient_scratch(shape);
  partial_sums_ = Array<Real>(device, to_size(n_members * partial_stride_));
}

template <class Real>
void NarrowGradients<Real>::sum(Device& device, const FleetExtent& fleet,
                                const std::vector<WeightGradient<Real>>& layers) const {
  if (layers.empty()) return;
  device.aside([&] {
    for (std::size_t first = 0; first < layers.size(); first += kMostLayers) {
      WeightGradients<Real> p{.fleet = fleet, .partial_sums = partial_sums_.data(), .partial_stride = partial_stride_};
      for (std::size_t i = first; i < layers.size() && i < first + kMostLayers; ++i) p.layers[p.n_layers++] = layers[i];
      weight_gradients(device.execution(), p);
    }
  });
}

template <class Real>
Dense<Real>::Dense(ParameterLayout& layout, const std::string& prefix, std::int32_t n_in, std::int32_t n_out,
                   Activation activation, double slope)
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
  if (needs_pre_activation(activation_)) pre_activation_ = Activations<Real>(device, n_members, n_rows, n_out_);
}

template <class Real>
void Dense<Real>::forward(Device& device, const Parameters<Real>& parameters, const FleetExtent& fleet,
                          std::int64_t n_rows, Rows<const Real> x) const {
  multiply_and_activate(device,
                        MatrixProduct<Real>{.fleet = fleet,
                                            .m = n_rows,
                                            .n = n_out_,
                                            .k = n_in_,
                                            .transpose_b = true,
                                            .a = x,
                                            .b = parameters.weights(weight_),
                                            .c = value_.rows()},
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
void Dense<Real>::backward(Device& device, const Parameters<Real>& parameters, const FleetExtent& fleet,
                           std::int64_t n_rows, Rows<const Real> x, Rows<Real> d_x, Accumulate accumulate) const {
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
  const MatrixProduct<Real> of_weights{.fleet = fleet,
                                       .m = n_out_,
                                       .n = n_in_,
                                       .k = n_rows,
                                       .transpose_a = true,
                                       .accumulate = accumulate.gradients,
                                       .a = d_value_.rows(),
                                       .b = x,
                                       .c = parameters.gradients(weight_)};
  const MatrixProduct<Real> of_x{.fleet = fleet,
                                 .m = n_rows,
                                 .n = n_in_,
                                 .k = n_out_,
                                 .accumulate = accumulate.d_x,
                                 .a = d_value_.rows(),
                                 .b = parameters.weights(weight_),
                                 .c = d_x};
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
      device.apart([&] { parameters.step_rows(fleet, weight_, row, part.m); });  // beside the next part's product
    }
  });
}

template <class Real>
bool Dense<Real>::is_in_chain(const Device& device, const Parameters<Real>& parameters) const {
  return device.runs_narrow_layers() && fits_chain() && !(parameters.steps_early() && rows_per_step(device) > 0);
}

template <class Real>
NarrowLayer<Real> Dense<Real>::step(const Parameters<Real>& parameters, Rows<const Real> x) const {
  return {.n_in = n_in_,
          .n_out = n_out_,
          .activation = activation_,
          .slope = static_cast<Real>(slope_),
          .x = x,
          .weight = parameters.weights(weight_),
          .bias = parameters.weights(bias_),
          .value = value_,
          .pre_activation = pre_activation_};
}

template <class Real>
NarrowLayerGradient<Real> Dense<Real>::gradient_step(const Parameters<Real>& parameters, Rows<Real> d_x,
                                                     bool accumulate) const {
  return {.n_in = n_in_,
          .n_out = n_out_,
          .activation = activation_,
          .slope = static_cast<Real>(slope_),
          .accumulate = accumulate,
          .weight = parameters.weights(weight_),
          .value = value_,
          .pre_activation = pre_activation_,
          .d_value = d_value_,
          .d_x = d_x};
}

template <class Real>
WeightGradient<Real> Dense<Real>::weight_gradient(const Parameters<Real>& parameters, std::int64_t n_rows,
                                                  Rows<const Real> x, bool accumulate) const {
  auto layer = weight_gradient_shape(n_rows);
  layer.accumulate = accumulate;
  layer.d = d_value_;
  layer.x = x;
  layer.d_weight = parameters.gradients(weight_);
  layer.d_bias = parameters.gradients(bias_);
  return layer;
}

template <class Real>
std::int64_t Dense<Real>::rows_per_step(const Device& device) const {
  // A quarter of the cache for a part's gradient: there are two, one that a product writes and one that Adam reads,
  // which streams weights and moments past them. A layer of less than a quarter of that is not worth a launch.
  const auto most = static_cast<std::int64_t>(device.cache_bytes() / 4),
             bytes = n_out_ * padded(n_in_) * static_cast<std::int64_t>(sizeof(Real));
  if (most == 0 || bytes <= most / 4) return 0;
  const std::int64_t n_parts = (bytes + most - 1) / most;
  return padded((n_out_ + n_parts - 1) / n_parts);
}

template <class Real>
Mlp<Real>::Mlp(ParameterLayout& layout, const std::string& prefix, std::int32_t n_in, const HiddenLayers& hidden,
               std::int32_t n_out)
    : n_in_(n_in) {
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
  if (!training || !device.runs_narrow_layers() || !fits_chain()) return;
  std::vector<WeightGradient<Real>> shapes;
  add_shapes(shapes, n_rows);
  narrow_gradients_.plan(device, n_members, shapes);
}

template <class Real>
void Mlp<Real>::forward(Device& device, const Parameters<Real>& parameters, const FleetExtent& fleet,
                        std::int64_t n_rows, Rows<const Real> x) const {
  if (is_in_chain(device, parameters)) {
    auto chain = chain_on<RowChain<Real>>(device, fleet, n_rows);
    chain.begin_chain();
    add(chain, parameters, x);
    return row_chain_forward(device.execution(), chain);
  }
  for (const auto& layer : layers_) {
    layer.forward(device, parameters, fleet, n_rows, x);
    x = layer.value();
  }
}

template <class Real>
void Mlp<Real>::backward(Device& device, const Parameters<Real>& parameters, const FleetExtent& fleet,
                         std::int64_t n_rows, Rows<const Real> x, Rows<Real> d_x, Accumulate accumulate,
                         const ScaleRows<Real>* weigh) const {
  if (is_in_chain(device, parameters)) {
    auto chain = chain_on<RowChainGradient<Real>>(device, fleet, n_rows);
    chain.begin_chain();
    if (weigh) chain.add(RowOperation::scale).scale = *weigh;
    add(chain, parameters, d_x, accumulate.d_x);
    row_chain_backward(device.execution(), chain);
    std::vector<WeightGradient<Real>> layers;
    add(layers, parameters, n_rows, x, accumulate.gradients);
    return narrow_gradients_.sum(device, fleet, layers);
  }
  if (weigh) scale_rows(device.execution(), *weigh);
  for (std::size_t i = layers_.size(); i-- > 0;)
    layers_[i].backward(
        device, parameters, fleet, n_rows, i ? Rows<const Real>(layers_[i - 1].value()) : x,
        i ? layers_[i - 1].d_value() : d_x,
        {.d_x = i == 0 && accumulate.d_x, .gradients = accumulate.gradients, .more_to_come = accumulate.more_to_come});
}

template <class Real>
bool Mlp<Real>::fits_chain() const {
  return n_layers() < kMostRowSteps &&  // one more for the gradients' weights
         std::all_of(layers_.begin(), layers_.end(), [](const auto& layer) { return layer.fits_chain(); });
}

template <class Real>
bool Mlp<Real>::is_in_chain(const Device& device, const Parameters<Real>& parameters) const {
  return fits_chain() && std::all_of(layers_.begin(), layers_.end(),
                                     [&](const auto& layer) { return layer.is_in_chain(device, parameters); });
}

template <class Real>
void Mlp<Real>::add(RowChain<Real>& chain, const Parameters<Real>& parameters, Rows<const Real> x) const {
  for (const auto& layer : layers_) {
    chain.add(RowOperation::layer).layer = layer.step(parameters, x);
    x = layer.value();
  }
}

template <class Real>
void Mlp<Real>::add(RowChainGradient<Real>& chain, const Parameters<Real>& parameters, Rows<Real> d_x,
                    bool accumulate) const {
  for (std::size_t i = layers_.size(); i-- > 0;)
    chain.add(RowOperation::layer).layer =
        layers_[i].gradient_step(parameters, i ? layers_[i - 1].d_value() : d_x, i == 0 && accumulate);
}

template <class Real>
void Mlp<Real>::add(std::vector<WeightGradient<Real>>& layers, const Parameters<Real>& parameters, std::int64_t n_rows,
                    Rows<const Real> x, bool accumulate) const {
  for (const auto& layer : layers_) {
    layers.push_back(layer.weight_gradient(parameters, n_rows, x, accumulate));
    x = layer.value();
  }
}

template <class Real>
void Mlp<Real>::add_shapes(std::vector<WeightGradient<Real>>& shapes, std::int64_t n_rows) const {
  for (const auto& layer : layers_) shapes.push_back(layer.weight_gradient_shape(n_rows));
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
void EmbeddingTable<Real>::forward(Device& device, const Parameters<Real>& parameters, const FleetExtent& fleet,
                                   std::int64_t n_rows, Rows<const Real> x) const {
  device.multiply({.fleet = fleet,
                   .m = n_rows,
                   .n = n_out_,
                   .k = n_in_,
                   .transpose_b = true,
                   .a = x,
                   .b = parameters.weights(weight_),
                   .c = value_.rows()});
}

template <class Real>
void EmbeddingTable<Real>::backward(Device& device, const Parameters<Real>& parameters, const FleetExtent& fleet,
                                    std::int64_t n_rows, Rows<const Real> x) const {
  device.multiply({.fleet = fleet,
                   .m = n_out_,
                   .n = n_in_,
                   .k = n_rows,
                   .transpose_a = true,
                   .a = d_value_.rows(),
                   .b = x,
                   .c = parameters.gradients(weight_)});
}

template void multiply_and_activate(Device&, const MatrixProduct<float>&, const BiasActivation<float>&);
template void multiply_and_activate(Device&, const MatrixProduct<double>&, const BiasActivation<double>&);
template void activate_backward_and_multiply(Device&, const BiasActivationGradient<float>&,
                                             const MatrixProduct<float>&);
template void activate_backward_and_multiply(Device&, const BiasActivationGradient<double>&,
                                             const MatrixProduct<double>&);
template class NarrowGradients<float>;
template class NarrowGradients<double>;
template class Dense<float>;
template class Dense<double>;
template class Mlp<float>;
template class Mlp<double>;
template class EmbeddingTable<float>;
template class EmbeddingTable<double>;

}  // namespace idem
