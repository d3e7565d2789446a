// row_chain.h - narrow layers one after another in one launch.
//
// What a row becomes in a multilayer perceptron or a flow depends on that row alone. On a GPU a product of narrow
// layers takes longer to start than to compute, so a block takes a few rows through all layers instead: each reads what
// the one before left. On the CPU a task does, whose rows stay in its core's cache and wait for no other's.
#pragma once

#include "kernels/layers/layers.h"

namespace idem {

// As wide as a layer may be here: its weights stay in a block's shared memory, and well within a core's second cache.
constexpr std::int64_t kChainFeatures = 256, kChainWeights = 16384;
constexpr bool fits_a_chain(std::int64_t n_in, std::int64_t n_out) {
  return n_in <= kChainFeatures && n_out <= kChainFeatures && padded(n_in) * n_out <= kChainWeights;
}

// value = activation(x weight' + bias).
//   x [n_members x n_rows x n_in], value [.. n_out], pre_activation as value or empty (see BiasActivation)
//   weight [n_members x n_out x n_in], bias [n_members x n_out] (row_stride unused)
// All rows start on 16 bytes and are padded to 16 features, which may be read. Nothing that is written overlaps
// anything that is read.
template <class Real>
struct NarrowLayer {
  std::int32_t n_in = 0, n_out = 0;
  Activation activation = Activation::identity;
  Real slope = Real(0);
  Rows<const Real> x, weight, bias;
  Rows<Real> value, pre_activation;
};

// d_value becomes the gradient with respect to the layer's product, in place; d_x, unless it is empty, that of x:
// overwritten, or added to where accumulate. value and pre_activation as the forward pass left them (see
// BiasActivationGradient). Rows as of NarrowLayer; d_x overlaps nothing else.
template <class Real>
struct NarrowLayerGradient {
  std::int32_t n_in = 0, n_out = 0;
  Activation activation = Activation::identity;
  Real slope = Real(0);
  bool accumulate = false;
  Rows<const Real> weight, value, pre_activation;
  Rows<Real> d_value, d_x;
};

enum class RowOperation : std::int32_t { layer, join, coupling, scale };  // scale: of gradients alone

// What is done to the rows, in order; of the parts the one that kind names counts. fleet and n_rows of the others are
// the chain's.
template <class Real>
struct RowStep {
  RowOperation kind = RowOperation::layer;
  NarrowLayer<Real> layer;
  JoinFeatures<Real> join;
  Coupling<Real> coupling;
};
template <class Real>
struct RowGradientStep {
  RowOperation kind = RowOperation::layer;
  NarrowLayerGradient<Real> layer;
  JoinFeaturesGradient<Real> join;
  CouplingGradient<Real> coupling;
  ScaleRows<Real> scale;
};

// At most kMostChains chains of the same rows side by side, of at most kMostRowSteps steps in all: chain i takes the
// steps [end[i - 1], end[i]). A step may read what earlier ones of its chain wrote, of the same rows. Determinism:
// run_to_run; sums over a layer's inputs in ascending order (tf32, bf16: of 8 and 16 inputs in the hardware's), for any
// number of members.
constexpr std::int32_t kMostRowSteps = 24, kMostChains = 2;
template <class Real, class Step>
struct RowSteps {
  FleetExtent fleet;
  std::int64_t n_rows = 0;
  ProductPrecision precision = ProductPrecision::fp32;  // on a GPU
  std::int32_t n_chains = 0;
  std::int32_t end[kMostChains] = {};
  Step steps[kMostRowSteps];

  HD std::int32_t n_steps() const { return n_chains == 0 ? 0 : end[n_chains - 1]; }
  // Begins the next chain; adds a step to the last one.
  void begin_chain() {
    end[n_chains] = n_steps();
    ++n_chains;
  }
  Step& add(RowOperation kind) {
    Step& step = steps[end[n_chains - 1]++];
    step.kind = kind;
    return step;
  }
};
template <class Real>
using RowChain = RowSteps<Real, RowStep<Real>>;
template <class Real>
using RowChainGradient = RowSteps<Real, RowGradientStep<Real>>;
IDEM_OPERATION(row_chain_forward, RowChain)
IDEM_OPERATION(row_chain_backward, RowChainGradient)

}  // namespace idem
