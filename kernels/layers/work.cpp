#include <algorithm>
#include <vector>

#include "kernels/common/elements.h"
#include "kernels/layers/row_chain.h"

namespace idem {

namespace {

// Of an activation, or of its slope.
double flops_of(Activation activation) {
  switch (activation) {
    case Activation::identity: return 0;
    case Activation::relu:
    case Activation::leaky_relu: return 1;
    default: return kFunctionFlops;
  }
}

// The log scales that are the network's and the one that closes their sum; the exponential of each, its product and
// shift.
template <class Real>
double coupling_flops(const Coupling<Real>& p) {
  return (p.n_moved() - 1) * (kFunctionFlops + 2) + p.n_moved() * (kFunctionFlops + 2);
}
// The exponential, the gradients of the value, of the log scale and of the sum that closes, the slope of the bound.
template <class Real>
double coupling_gradient_flops(const Coupling<Real>& p) {
  return p.n_moved() * (kFunctionFlops + 3) + (p.n_moved() - 1) * 4;
}

}  // namespace

template <class Real>
Work work(const BiasActivation<Real>& p) {
  const double n = n_elements(p.fleet, p.n_rows, p.n_features),
               biases = given(p.bias) * n_elements(p.fleet, 1, p.n_features);
  return {(n * (2 + given(p.pre_activation)) + biases) * sizeof(Real), n * (given(p.bias) + flops_of(p.activation))};
}
IDEM_INSTANTIATE_WORK(BiasActivation)

template <class Real>
Work work(const BiasActivationGradient<Real>& p) {
  const double n = n_elements(p.fleet, p.n_rows, p.n_features),
               sums = given(p.d_bias) * (p.accumulate ? 2 : 1) * n_elements(p.fleet, 1, p.n_features);
  const double kept = p.activation == Activation::identity ? 0 : 1, written = kept;  // of the identity nothing changes
  return {(n * (1 + kept + written) + sums) * sizeof(Real), n * (given(p.d_bias) + kept + flops_of(p.activation))};
}
IDEM_INSTANTIATE_WORK(BiasActivationGradient)

template <class Real>
Work work(const AddRows<Real>& p) {
  const double n = n_elements(p.fleet, p.n_rows, p.n_features);
  return {3 * n * sizeof(Real), n};
}
IDEM_INSTANTIATE_WORK(AddRows)

template <class Real>
Work work(const PadRows<Real>& p) {
  return {n_elements(p.fleet, p.n_rows + p.n_source_rows, p.n_features) * sizeof(Real), 0};
}
IDEM_INSTANTIATE_WORK(PadRows)

template <class Real>
Work work(const ScaleRows<Real>& p) {
  const double n = n_elements(p.fleet, p.n_rows, p.n_features);
  return {(2 * n + n_elements(p.fleet, p.n_rows, 1)) * sizeof(Real), n};
}
IDEM_INSTANTIATE_WORK(ScaleRows)

template <class Real>
Work work(const JoinFeatures<Real>& p) {
  return {2 * n_elements(p.fleet, p.n_rows, p.n_a + p.n_b) * sizeof(Real) +
              given(p.place) * (p.n_a + p.n_b) * sizeof(std::int32_t),
          0};
}
IDEM_INSTANTIATE_WORK(JoinFeatures)

template <class Real>
Work work(const JoinFeaturesGradient<Real>& p) {
  return {2 * n_elements(p.fleet, p.n_rows, p.n_a + p.n_b) * sizeof(Real) +
              given(p.place) * (p.n_a + p.n_b) * sizeof(std::int32_t),
          0};
}
IDEM_INSTANTIATE_WORK(JoinFeaturesGradient)

template <class Real>
Work work(const Coupling<Real>& p) {
  const double rows = n_elements(p.fleet, p.n_rows, 1),
               features = 2.0 * p.n_features + (2 * p.n_moved() - 1) + p.n_moved();
  return {rows * features * sizeof(Real) + given(p.place) * p.n_features * sizeof(std::int32_t),
          rows * coupling_flops(p)};
}
IDEM_INSTANTIATE_WORK(Coupling)

// Of x those features are read that were moved.
template <class Real>
Work work(const CouplingGradient<Real>& p) {
  const auto& forward = p.forward;
  const double rows = n_elements(forward.fleet, forward.n_rows, 1);
  const double features = 2.0 * forward.n_features + 2.0 * forward.n_moved() + (2 * forward.n_moved() - 1);
  return {rows * features * sizeof(Real) + given(forward.place) * forward.n_features * sizeof(std::int32_t),
          rows * coupling_gradient_flops(forward)};
}
IDEM_INSTANTIATE_WORK(CouplingGradient)

template <class Real>
static Work work(const NarrowConvolution<Real>& p) {
  const double x = n_elements(p.fleet, p.n_rows + (p.n_taps - 1) * p.tap_rows, p.n_in),
               y = n_elements(p.fleet, p.n_rows, p.n_out);
  const double weights = n_elements(p.fleet, std::int64_t{p.n_out} * p.n_taps, p.n_in),
               biases = given(p.bias) * n_elements(p.fleet, 1, p.n_out);
  return {(x + weights + biases + y * (1 + given(p.pre_activation) + given(p.activated))) * sizeof(Real),
          y * (2.0 * p.n_taps * p.n_in + given(p.bias) + flops_of(p.activation) + p.is_residual)};
}

template <class Real>
static Work work(const NarrowConvolutionGradient<Real>& p) {
  const double x = n_elements(p.fleet, p.n_x_rows(), p.n_in), y = n_elements(p.fleet, p.n_rows, p.n_out);
  const double weights = n_elements(p.fleet, std::int64_t{p.n_out} * p.n_taps, p.n_in);
  return {(y * (1 + p.is_residual) + weights + x * (given(p.d_x) + 2 * given(p.d_below))) * sizeof(Real),
          y * (2.0 * p.n_taps * p.n_in + p.is_residual) + x * given(p.d_below) * (1 + flops_of(p.activation_below))};
}

// Networks side by side see the same x, which is read once.
template <class Real>
Work work(const NarrowConvolutions<Real>& p) {
  Work sum = work_of_all(p);
  for (std::int32_t i = 1; i < p.n; ++i) {
    const auto& layer = p.of[i];
    if (layer.x.data == p.of[i - 1].x.data)
      sum.bytes -=
          n_elements(layer.fleet, layer.n_rows + (layer.n_taps - 1) * layer.tap_rows, layer.n_in) * sizeof(Real);
  }
  return sum;
}
IDEM_INSTANTIATE_WORK(NarrowConvolutions)

template <class Real>
Work work(const NarrowConvolutionGradients<Real>& p) {
  return work_of_all(p);
}
IDEM_INSTANTIATE_WORK(NarrowConvolutionGradients)

// Scratch for sums in parts is not counted.
template <class Real>
Work work(const WeightGradients<Real>& p) {
  Work sum;
  for (std::int32_t i = 0; i < p.n_layers; ++i) {
    const auto& layer = p.layers[i];
    const double x = n_elements(p.fleet, layer.n_rows + (layer.n_taps - 1) * layer.tap_rows, layer.n_in);
    const double d = n_elements(p.fleet, layer.n_rows, layer.n_out);
    const double gradients = n_elements(p.fleet, 1, layer.n_weight_rows() * layer.n_in) +
                             given(layer.d_bias) * n_elements(p.fleet, 1, layer.n_out);
    sum += {(x + d + gradients * (layer.accumulate ? 2 : 1)) * sizeof(Real),
            d * (2.0 * layer.n_taps * layer.n_in + given(layer.d_bias))};
  }
  return sum;
}
IDEM_INSTANTIATE_WORK(WeightGradients)

namespace {

// What the steps of a chain read and write: an array once each way, and what an earlier step wrote is not read again.
class ChainTraffic {
 public:
  void reads(const void* array, double n) {
    if (array && add(read_, array) && !holds(written_, array)) elements_ += n;
  }
  void writes(const void* array, double n) {
    if (array && add(written_, array)) elements_ += n;
  }
  double elements() const { return elements_; }

 private:
  using Arrays = std::vector<const void*>;
  static bool holds(const Arrays& arrays, const void* array) {
    return std::find(arrays.begin(), arrays.end(), array) != arrays.end();
  }
  static bool add(Arrays& arrays, const void* array) {
    if (holds(arrays, array)) return false;
    arrays.push_back(array);
    return true;
  }
  Arrays read_, written_;
  double elements_ = 0;
};

// Each adds what a step reads and writes, and returns its operations of one row.
template <class Real>
double add_step(const NarrowLayer<Real>& p, const FleetExtent& fleet, double rows, ChainTraffic& traffic) {
  traffic.reads(p.x.data, rows * p.n_in);
  traffic.reads(p.weight.data, n_elements(fleet, p.n_out, p.n_in));
  traffic.reads(p.bias.data, n_elements(fleet, 1, p.n_out));
  traffic.writes(p.value.data, rows * p.n_out);
  traffic.writes(p.pre_activation.data, rows * p.n_out);
  return p.n_out * (2.0 * p.n_in + given(p.bias) + flops_of(p.activation));
}
template <class Real>
double add_step(const NarrowLayerGradient<Real>& p, const FleetExtent& fleet, double rows, ChainTraffic& traffic) {
  traffic.reads(p.d_value.data, rows * p.n_out);
  if (p.activation != Activation::identity) {
    traffic.reads(needs_pre_activation(p.activation) ? p.pre_activation.data : p.value.data, rows * p.n_out);
    traffic.writes(p.d_value.data, rows * p.n_out);
  }
  const double slopes = p.n_out * (flops_of(p.activation) + (p.activation != Activation::identity));
  if (!p.d_x) return slopes;
  traffic.reads(p.weight.data, n_elements(fleet, p.n_out, p.n_in));
  if (p.accumulate) traffic.reads(p.d_x.data, rows * p.n_in);
  traffic.writes(p.d_x.data, rows * p.n_in);
  return slopes + 2.0 * p.n_out * p.n_in;
}
template <class Real>
double add_step(const JoinFeatures<Real>& p, const FleetExtent&, double rows, ChainTraffic& traffic) {
  traffic.reads(p.a.data, rows * p.n_a);
  traffic.reads(p.b.data, rows * p.n_b);
  traffic.writes(p.out.data, rows * (p.n_a + p.n_b));
  return 0;
}
template <class Real>
double add_step(const JoinFeaturesGradient<Real>& p, const FleetExtent&, double rows, ChainTraffic& traffic) {
  traffic.reads(p.d_out.data, rows * (p.n_a + p.n_b));
  traffic.writes(p.d_a.data, rows * p.n_a);
  traffic.writes(p.d_b.data, rows * p.n_b);
  return 0;
}
template <class Real>
double add_step(const Coupling<Real>& p, const FleetExtent&, double rows, ChainTraffic& traffic) {
  traffic.reads(p.x.data, rows * p.n_features);
  traffic.reads(p.raw.data, rows * (2 * p.n_moved() - 1));
  traffic.writes(p.log_scale.data, rows * p.n_moved());
  traffic.writes(p.out.data, rows * p.n_features);
  return coupling_flops(p);
}
template <class Real>
double add_step(const CouplingGradient<Real>& p, const FleetExtent&, double rows, ChainTraffic& traffic) {
  traffic.reads(p.forward.x.data, rows * p.forward.n_moved());
  traffic.reads(p.forward.log_scale.data, rows * p.forward.n_moved());
  traffic.reads(p.d_out.data, rows * p.forward.n_features);
  traffic.writes(p.d_x.data, rows * p.forward.n_features);
  traffic.writes(p.d_raw.data, rows * (2 * p.forward.n_moved() - 1));
  return coupling_gradient_flops(p.forward);
}
template <class Real>
double add_step(const ScaleRows<Real>& p, const FleetExtent&, double rows, ChainTraffic& traffic) {
  traffic.reads(p.value.data, rows * p.n_features);
  traffic.reads(p.scale, rows);
  traffic.writes(p.value.data, rows * p.n_features);
  return p.n_features;
}

template <class Step>
double add_of_kind(const Step& step, const FleetExtent& fleet, double rows, ChainTraffic& traffic) {
  switch (step.kind) {
    case RowOperation::layer: return add_step(step.layer, fleet, rows, traffic);
    case RowOperation::join: return add_step(step.join, fleet, rows, traffic);
    case RowOperation::coupling: return add_step(step.coupling, fleet, rows, traffic);
    case RowOperation::scale:
      if constexpr (requires { step.scale; }) return add_step(step.scale, fleet, rows, traffic);
  }
  return 0;
}

template <class Real, class Step>
Work chain_work(const RowSteps<Real, Step>& p) {
  ChainTraffic traffic;
  double flops_of_row = 0;
  const double rows = n_elements(p.fleet, p.n_rows, 1);
  for (std::int32_t i = 0; i < p.n_steps(); ++i) flops_of_row += add_of_kind(p.steps[i], p.fleet, rows, traffic);
  return {traffic.elements() * sizeof(Real), rows * flops_of_row};
}

}  // namespace

template <class Real>
Work work(const RowChain<Real>& p) {
  return chain_work(p);
}
IDEM_INSTANTIATE_WORK(RowChain)

template <class Real>
Work work(const RowChainGradient<Real>& p) {
  return chain_work(p);
}
IDEM_INSTANTIATE_WORK(RowChainGradient)

}  // namespace idem
