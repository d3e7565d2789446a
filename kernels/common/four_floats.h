// four_floats.h - neighbouring features one at a time, as CPU loops take them, and four at a time, as kernels load and
// store them: what is made of a feature is written once for both.
#pragma once

#include <cmath>

#include "kernels/common/cuda.h"
#include "kernels/common/quads.h"

namespace idem {

template <class Real>
HD Real plus(Real a, Real b) {
  return a + b;
}
template <class Real>
HD Real product(Real a, Real b) {
  return a * b;
}
// a b + c, rounded once.
HD float plus_product(float a, float b, float c) { return fmaf(a, b, c); }
// function(value), of each where there are several.
template <class Real, class Function>
HD Real each(Real value, const Function& function) {
  return function(value);
}

// A single feature, whatever n says.
template <class Real>
struct OneFeature {
  using Values = Real;
  static HD Real load(const Real* from, std::int32_t) { return *from; }
  static HD void store(Real* to, std::int32_t, Real value) { *to = value; }
};

}  // namespace idem

#if IDEM_COMPILES_CUDA_TWINS

namespace idem {

template <>
__device__ __forceinline__ float4 plus(float4 a, float4 b) {
  return make_float4(a.x + b.x, a.y + b.y, a.z + b.z, a.w + b.w);
}
template <>
__device__ __forceinline__ float4 product(float4 a, float4 b) {
  return make_float4(a.x * b.x, a.y * b.y, a.z * b.z, a.w * b.w);
}
static __device__ __forceinline__ float4 plus_product(float a, float4 b, float4 c) {
  return make_float4(fmaf(a, b.x, c.x), fmaf(a, b.y, c.y), fmaf(a, b.z, c.z), fmaf(a, b.w, c.w));
}
static __device__ __forceinline__ float plus_product(float4 a, float4 b, float c) {
  return fmaf(a.w, b.w, fmaf(a.z, b.z, fmaf(a.y, b.y, fmaf(a.x, b.x, c))));
}
template <class Function>
static __device__ __forceinline__ float4 each(float4 v, const Function& function) {
  return make_float4(function(v.x), function(v.y), function(v.z), function(v.w));
}

// Whether FourFeatures may be taken of these rows, or of none where they are empty.
template <class T>
bool takes_four(const Rows<T>& rows) {
  return reinterpret_cast<std::uintptr_t>(rows.data) % sizeof(float4) == 0 && rows.member_stride % 4 == 0 &&
         rows.row_stride % 4 == 0;
}

// Four features of a row, of which n are there: the others read as zero and are never written. The first starts on 16
// bytes, and all four lie within the row's padding.
struct FourFeatures {
  using Values = float4;
  static __device__ __forceinline__ float4 load(const float* from, std::int32_t n) {
    const float4 all = *reinterpret_cast<const float4*>(from);
    return make_float4(all.x, n > 1 ? all.y : 0.0f, n > 2 ? all.z : 0.0f, n > 3 ? all.w : 0.0f);
  }
  static __device__ __forceinline__ void store(float* to, std::int32_t n, float4 value) {
    if (n > 3) return store_all(to, value);
    to[0] = value.x;
    if (n > 1) to[1] = value.y;
    if (n > 2) to[2] = value.z;
  }

 private:
  static __device__ __forceinline__ void store_all(float* to, float4 value) {
#if defined(__CUDA_ARCH__)
    __stwb(reinterpret_cast<float4*>(to),
           value);  // an ordinary store, that the compiler can't take apart to share the first with the other branch
#else
    *reinterpret_cast<float4*>(to) = value;
#endif
  }
};

namespace cu {

template <class Features, class Body>
struct FeaturesOf {
  Body body;
  std::int32_t n_features;
  HD void operator()(std::int64_t member, std::int64_t row, std::int32_t place) const {
    constexpr std::int32_t n = sizeof(typename Features::Values) / sizeof(float);
    body.template at<Features>(member, row, n * place, n_features - n * place);
  }
};

// As launch_rows, of bodies that say what is done to several features at once, at<Features>(member, row, feature, n),
// and whether their arrays lie so that these may be four: takes_four().
template <class Body>
void launch_features(const char* name, const FleetExtent& fleet, std::int64_t n_rows, std::int32_t n_features,
                     const Body& body, Stream stream) {
  if (body.takes_four())
    return launch_rows(name, fleet, n_rows, n_quads(n_features), FeaturesOf<FourFeatures, Body>{body, n_features},
                       stream);
  launch_rows(name, fleet, n_rows, n_features, FeaturesOf<OneFeature<float>, Body>{body, n_features}, stream);
}

}  // namespace cu

}  // namespace idem

#endif
