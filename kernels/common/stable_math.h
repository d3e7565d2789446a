// stable_math.h - the functions of the row bodies, in forms in which nothing overflows before the true value does.
//
// One meaning, three builds. double: the C++ library, the oracle of the tests. float on the device: CUDA's own
// functions. float on the CPU: branch-free polynomials (minimax fits of our own), which the compiler vectorises inside
// IDEM_SIMD_CLONES loops; they stay within 2 ulp (log1p and softplus 4, log_factorial 5) of the true value, pass NaN
// on, take +-inf to their limits and round results below 2^-125 to zero.
#pragma once

#include <bit>
#include <cmath>
#include <limits>
#include <type_traits>

#include "kernels/common/target.h"

namespace idem::stable {

namespace detail {

// Cody-Waite: e^x = 2^n e^r, |r| <= ln 2 / 2; adding 1.5 * 2^23 rounds to the nearest whole n and leaves it in the low
// bits. The power is applied as 2 * 2^(n - 1), so that n = 128 still has an exponent and n = -126 becomes zero.
inline __attribute__((always_inline)) float exp_float(float x) {
  x = x < -87.33654f ? -87.33654f : x;
  x = x > 88.9f ? 88.9f : x;
  const float shifted = x * 1.44269504f + 12582912.0f;
  const float n = shifted - 12582912.0f;
  const float r = (x - n * 0.693359375f) + n * 2.12194440e-4f;
  const float square = r * r;
  const float q =
      (0.499999934f + 0.166665201f * r) + ((0.0416683942f + 0.00836878047f * r) + 0.00138144663f * square) * square;
  const float p = q * square + r + 1.0f;
  const std::uint32_t exponent = (std::bit_cast<std::uint32_t>(shifted) + 126u) << 23;
  return (p + p) * std::bit_cast<float>(exponent);
}

// For positive normal x only. x = 2^n (1 + f), 1 + f in [sqrt(1/2), sqrt 2).
inline __attribute__((always_inline)) float log_of_normal_float(float x) {
  const std::uint32_t bits = std::bit_cast<std::uint32_t>(x);
  const std::int32_t n = static_cast<std::int32_t>(bits - 0x3f3504f3u) >> 23;
  const float f = std::bit_cast<float>(bits - (static_cast<std::uint32_t>(n) << 23)) - 1.0f;
  // Summed in pairs: the row bodies wait for latency, not for throughput.
  const float square = f * f, fourth = square * square, power = static_cast<float>(n);
  const float low = (0.333333126f - 0.250000096f * f) + (0.200021201f - 0.16667997f * f) * square;
  const float high = (0.142195196f - 0.124055436f * f) + (0.118883783f - 0.116760519f * f) * square;
  const float p = low + (high + 0.0674663644f * fourth) * fourth;
  // ln 2 in two parts, the first exact times any exponent.
  return power * 0.693359375f + (f + (square * f * p - 0.5f * square - power * 2.12194440e-4f));
}

inline __attribute__((always_inline)) float log_float(float x) {
  const bool subnormal = x < 1.17549435e-38f;
  const float y = log_of_normal_float(subnormal ? x * 8388608.0f : x) - (subnormal ? 15.9423851f : 0.0f);
  const float infinity = std::numeric_limits<float>::infinity();
  const float at_edges = x == 0.0f ? -infinity : (x == infinity ? infinity : std::numeric_limits<float>::quiet_NaN());
  return (x > 0.0f && x < infinity) ? y : at_edges;
}

// What rounding 1 + x lost is added back to first order.
inline __attribute__((always_inline)) float log1p_float(float x) {
  const float y = 1.0f + x;
  const float lost = (x - (y - 1.0f)) / y;
  const bool finite = y > 0.0f && y < std::numeric_limits<float>::infinity();
  return log_float(y) + (finite ? lost : 0.0f);
}

// For x in [0, 1] or NaN: no edges to look after, and a rough 1 / y will do for the rest, which is large only where y
// is 1.
inline __attribute__((always_inline)) float log1p_of_unit_float(float x) {
  const float y = 1.0f + x;
  return log_of_normal_float(y) + (x - (y - 1.0f)) * (1.0f - x * (1.0f - 0.5f * x));
}

inline __attribute__((always_inline)) float tanh_float(float x) {
  const float square = x * x;
  float p = -0.0056483079f;
  p = p * square + 0.0205898178f;
  p = p * square - 0.0537251236f;
  p = p * square + 0.133312744f;
  p = p * square - 0.333332761f;
  const float small = x * square * p + x;
  const float magnitude = std::fabs(x);
  const float large = 1.0f - 2.0f / (exp_float(magnitude + magnitude) + 1.0f);
  return magnitude < 0.625f ? small : (x < 0.0f ? -large : large);
}

inline __attribute__((always_inline)) float erf_float(float x) {
  const float magnitude = std::fabs(x);
  const float square = x * x;
  float p = 8.19377991e-05f;
  p = p * square - 0.000809987757f;
  p = p * square + 0.00519715488f;
  p = p * square - 0.0268577917f;
  p = p * square + 0.112836657f;
  p = p * square - 0.376126317f;
  p = p * square + 0.12837917f;
  const float small = x + x * p;
  // log erfc; from 4 on, erf rounds to 1.
  const float a = magnitude > 4.0f ? 4.0f : magnitude;
  float q = -2.13126535e-05f;
  q = q * a + 0.000436983913f;
  q = q * a - 0.00418331064f;
  q = q * a + 0.0251517738f;
  q = q * a - 0.108330276f;
  q = q * a - 0.633301135f;
  q = q * a - 1.12953767f;
  q = q * a + 0.000179433303f;
  const float large = 1.0f - exp_float(q);
  return magnitude < 0.94f ? small : (x < 0.0f ? -large : large);
}

}  // namespace detail

template <class Real>
HD Real exp(Real x) {
  if constexpr (std::is_same_v<Real, float>) {
#if defined(__CUDA_ARCH__)
    return expf(x);
#else
    return detail::exp_float(x);
#endif
  } else {
    return std::exp(x);
  }
}

template <class Real>
HD Real log(Real x) {
  if constexpr (std::is_same_v<Real, float>) {
#if defined(__CUDA_ARCH__)
    return logf(x);
#else
    return detail::log_float(x);
#endif
  } else {
    return std::log(x);
  }
}

// For x known to be positive, finite and not subnormal: no tests of the edges.
template <class Real>
HD Real log_of_normal(Real x) {
  if constexpr (std::is_same_v<Real, float>) {
#if defined(__CUDA_ARCH__)
    return logf(x);
#else
    return detail::log_of_normal_float(x);
#endif
  } else {
    return std::log(x);
  }
}

template <class Real>
HD Real log1p(Real x) {
  if constexpr (std::is_same_v<Real, float>) {
#if defined(__CUDA_ARCH__)
    return log1pf(x);
#else
    return detail::log1p_float(x);
#endif
  } else {
    return std::log1p(x);
  }
}

// log(1 + e) for e in [0, 1].
template <class Real>
HD Real log1p_of_unit(Real e) {
  if constexpr (std::is_same_v<Real, float>) {
#if defined(__CUDA_ARCH__)
    return log1pf(e);
#else
    return detail::log1p_of_unit_float(e);
#endif
  } else {
    return std::log1p(e);
  }
}

template <class Real>
HD Real tanh(Real x) {
  if constexpr (std::is_same_v<Real, float>) {
#if defined(__CUDA_ARCH__)
    return tanhf(x);
#else
    return detail::tanh_float(x);
#endif
  } else {
    return std::tanh(x);
  }
}

template <class Real>
HD Real erf(Real x) {
  if constexpr (std::is_same_v<Real, float>) {
#if defined(__CUDA_ARCH__)
    return erff(x);
#else
    return detail::erf_float(x);
#endif
  } else {
    return std::erf(x);
  }
}

// The square root is an instruction everywhere.
template <class Real>
HD Real sqrt(Real x) {
#if defined(__CUDA_ARCH__)
  return ::sqrt(x);
#else
  return std::sqrt(x);
#endif
}

template <class Real>
HD Real magnitude(Real x) {
  if constexpr (std::is_same_v<Real, float>) {
    return ::fabsf(x);
  } else {
    return ::fabs(x);
  }
}

// Where both arguments are NaN or the second is, the first wins: put the constant second.
template <class Real>
HD Real larger(Real a, Real b) {
  return a < b ? b : a;
}
template <class Real>
HD Real smaller(Real a, Real b) {
  return b < a ? b : a;
}

// log Gamma(x + 1) for x >= 0: log x! for whole x, exactly 0 at 0 and 1. float: x (x - 1) times a polynomial below 3,
// Stirling's series above.
template <class Real>
HD Real log_factorial(Real x) {
  if constexpr (std::is_same_v<Real, float>) {
    const float t = x - 1.5f;
    float p = -8.29592658e-07f;
    p = p * t + 1.99746322e-06f;
    p = p * t + 1.24262381e-06f;
    p = p * t - 1.75767292e-06f;
    p = p * t - 1.59259725e-05f;
    p = p * t + 3.91194623e-05f;
    p = p * t - 7.6102823e-05f;
    p = p * t + 0.000220735039f;
    p = p * t - 0.000661222215f;
    p = p * t + 0.00195233769f;
    p = p * t - 0.00601821125f;
    p = p * t + 0.0199046756f;
    p = p * t - 0.0746636086f;
    p = p * t + 0.379577172f;
    const float low = x * (x - 1.0f) * p;
    const float w = larger(x, 3.0f) + 1.0f, inverse = 1.0f / w, square = inverse * inverse;
    const float series =
        inverse * (0.0833333333f - square * (0.00277777778f - square * (0.000793650794f - square * 0.000595238095f)));
    const float high = (x + 0.5f) * (log_of_normal(w) - 1.0f) + (0.418938533f + series);
    return x < 3.0f ? low : high;
  } else {
    int sign;  // std::lgamma would leave it in a global variable, from every thread
    return ::lgamma_r(x + Real(1), &sign);
  }
}

// 1 / (1 + e^-t).
template <class Real>
HD Real sigmoid(Real t) {
  return Real(1) / (Real(1) + exp(-t));
}

// log(1 + e^t).
template <class Real>
HD Real softplus(Real t) {
  return larger(t, Real(0)) + log1p_of_unit(exp(-magnitude(t)));
}

// Below -15 the series of log softplus: t is what remains when softplus itself has become 0.
template <class Real>
HD Real log_softplus(Real t) {
  const Real e = exp(-magnitude(t));
  return t < Real(-15) ? t - e * (Real(0.5) - Real(5.0 / 24) * e) : log(larger(t, Real(0)) + log1p_of_unit(e));
}

// d log softplus / dt = sigmoid / softplus; 1 for t -> -inf.
template <class Real>
HD Real log_softplus_derivative(Real t) {
  const Real e = exp(-magnitude(t)), slope = (t < Real(0) ? e : Real(1)) / (Real(1) + e);
  const Real value = larger(t, Real(0)) + log1p_of_unit(e);
  return t < Real(-15) ? Real(1) - e * (Real(0.5) - Real(5.0 / 12) * e) : slope / value;
}

// log(e^a + e^b).
template <class Real>
HD Real log_add_exp(Real a, Real b) {
  const Real gap = a == b ? Real(0) : magnitude(a - b);  // equal infinities have no difference
  return (a > b ? a : b) + log1p_of_unit(exp(-gap));
}

// Log variance kept between low (less e^{low - high}) and high: the identity well inside, a gradient everywhere.
template <class Real>
HD Real bound_log_var(Real raw, Real low, Real high) {
  return high - softplus(high - (low + softplus(raw - low)));
}
template <class Real>
HD Real bound_log_var_derivative(Real raw, Real low, Real high) {
  return sigmoid(raw - low) * sigmoid(high - (low + softplus(raw - low)));
}

// GELU, x Phi(x); tanh form: x (1 + tanh(sqrt(2 / pi) (x + 0.044715 x^3))) / 2. Beyond +-40 the factors are 0 and 1 in
// double too: bounding x there keeps 0 * inf away.
template <class Real>
HD Real gelu_erf(Real x) {
  const Real y = larger(x, Real(-40));
  return Real(0.5) * y * (Real(1) + erf(Real(0.70710678118654752) * y));
}
template <class Real>
HD Real gelu_erf_derivative(Real x) {
  const Real y = smaller(larger(x, Real(-40)), Real(40));
  return Real(0.5) * (Real(1) + erf(Real(0.70710678118654752) * y)) +
         Real(0.39894228040143268) * y * exp(Real(-0.5) * y * y);
}
template <class Real>
HD Real gelu_tanh(Real x) {
  const Real y = larger(x, Real(-40)), u = smaller(y, Real(40));
  return Real(0.5) * y * (Real(1) + tanh(Real(0.79788456080286536) * u * (Real(1) + Real(0.044715) * u * u)));
}
template <class Real>
HD Real gelu_tanh_derivative(Real x) {
  const Real y = smaller(larger(x, Real(-40)), Real(40)), square = y * y;
  const Real t = tanh(Real(0.79788456080286536) * y * (Real(1) + Real(0.044715) * square));
  return Real(0.5) * (Real(1) + t) +
         Real(0.5) * y * (Real(1) - t * t) * Real(0.79788456080286536) * (Real(1) + Real(3 * 0.044715) * square);
}

}  // namespace idem::stable
