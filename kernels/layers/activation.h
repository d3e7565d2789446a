// activation.h - the activation functions and their slopes, one member of the enum each.
#pragma once

#include <stdexcept>
#include <string>
#include <type_traits>

#include "kernels/common/stable_math.h"
#include "kernels/layers/layers.h"

namespace idem {

template <Activation kind>
constexpr bool kSlopeNeedsPreActivation = needs_pre_activation(kind);

template <Activation kind, class Real>
HD Real activated(Real x, Real negative_slope) {
  if constexpr (kind == Activation::relu) return x < Real(0) ? Real(0) : x;
  if constexpr (kind == Activation::leaky_relu) return x < Real(0) ? negative_slope * x : x;
  if constexpr (kind == Activation::tanh) return stable::tanh(x);
  if constexpr (kind == Activation::gelu_erf) return stable::gelu_erf(x);
  if constexpr (kind == Activation::gelu_tanh) return stable::gelu_tanh(x);
  if constexpr (kind == Activation::sigmoid) return stable::sigmoid(x);
  if constexpr (kind == Activation::softplus) return stable::softplus(x);
  if constexpr (kind == Activation::identity) return x;
}

// d activated / dx, where kept is x for the functions that need it (kSlopeNeedsPreActivation) and the activated value
// for the others. At 0 the slope of the two rectifiers is the left one, as in torch.
template <Activation kind, class Real>
HD Real activation_slope(Real kept, Real negative_slope) {
  if constexpr (kind == Activation::relu) return kept > Real(0) ? Real(1) : Real(0);
  if constexpr (kind == Activation::leaky_relu) return kept > Real(0) ? Real(1) : negative_slope;
  if constexpr (kind == Activation::tanh) return Real(1) - kept * kept;
  if constexpr (kind == Activation::gelu_erf) return stable::gelu_erf_derivative(kept);
  if constexpr (kind == Activation::gelu_tanh) return stable::gelu_tanh_derivative(kept);
  if constexpr (kind == Activation::sigmoid) return kept * (Real(1) - kept);
  // y = log(1 + e^x) has the slope 1 - e^-y; below 1/4 by its series, which keeps the last digits.
  if constexpr (kind == Activation::softplus) {
    if constexpr (std::is_same_v<Real, float>) {
      const float series =
          kept *
          (1.0f - kept * (0.5f - kept * (0.166666667f -
                                         kept * (0.0416666667f - kept * (0.00833333333f - kept * 0.00138888889f)))));
      return kept < 0.25f ? series : 1.0f - stable::exp(-kept);
    } else {
      return -std::expm1(-kept);
    }
  }
  if constexpr (kind == Activation::identity) return Real(1);
}

// Calls call(constant) with the enum's value as a compile-time constant, and returns what that does: loops hold no
// branch on it.
#if defined(__CUDACC__)
#pragma nv_exec_check_disable  // host and device each pass a call of their own
#endif
template <class Call>
HD auto with_activation(Activation activation, const Call& call) {
  switch (activation) {
    case Activation::identity: return call(std::integral_constant<Activation, Activation::identity>{});
    case Activation::relu: return call(std::integral_constant<Activation, Activation::relu>{});
    case Activation::leaky_relu: return call(std::integral_constant<Activation, Activation::leaky_relu>{});
    case Activation::tanh: return call(std::integral_constant<Activation, Activation::tanh>{});
    case Activation::gelu_erf: return call(std::integral_constant<Activation, Activation::gelu_erf>{});
    case Activation::gelu_tanh: return call(std::integral_constant<Activation, Activation::gelu_tanh>{});
    case Activation::sigmoid: return call(std::integral_constant<Activation, Activation::sigmoid>{});
    case Activation::softplus: return call(std::integral_constant<Activation, Activation::softplus>{});
  }
#if defined(__CUDA_ARCH__)
  return call(std::integral_constant<Activation, Activation::identity>{});
#else
  throw std::invalid_argument("activation " + std::to_string(static_cast<int>(activation)) + " is none of Activation");
#endif
}

}  // namespace idem
