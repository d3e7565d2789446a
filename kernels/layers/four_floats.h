// four_floats.h - sums and products of the float4 that kernels load at once, and its functions.
#pragma once

#include "kernels/common/cuda.h"

#if IDEM_COMPILES_CUDA_TWINS

namespace idem {

static __device__ __forceinline__ float4 plus(float4 a, float4 b) { return make_float4(a.x + b.x, a.y + b.y, a.z + b.z, a.w + b.w); }
static __device__ __forceinline__ float4 plus_product(float a, float4 b, float4 c) {
  return make_float4(fmaf(a, b.x, c.x), fmaf(a, b.y, c.y), fmaf(a, b.z, c.z), fmaf(a, b.w, c.w));
}
static __device__ __forceinline__ float plus_product(float4 a, float4 b, float c) {
  return fmaf(a.w, b.w, fmaf(a.z, b.z, fmaf(a.y, b.y, fmaf(a.x, b.x, c))));
}

static __device__ __forceinline__ float4 product(float4 a, float4 b) { return make_float4(a.x * b.x, a.y * b.y, a.z * b.z, a.w * b.w); }

// function(value) of each.
template <class Function>
static __device__ __forceinline__ float4 each(float4 v, const Function& function) {
  return make_float4(function(v.x), function(v.y), function(v.z), function(v.w));
}

// Of a row's features from `from` on, which starts on 16 bytes: what is beyond n of them reads as zero and is never written. The row's padding to
// 16 features is there to be read.
static __device__ __forceinline__ float4 load_quad(const float* from, int n) {
  const float4 all = *reinterpret_cast<const float4*>(from);
  return make_float4(all.x, n > 1 ? all.y : 0.0f, n > 2 ? all.z : 0.0f, n > 3 ? all.w : 0.0f);
}
static __device__ __forceinline__ void store_quad(float* to, int n, float4 value) {
  if (n > 3) {
    *reinterpret_cast<float4*>(to) = value;
    return;
  }
  to[0] = value.x;
  if (n > 1) to[1] = value.y;
  if (n > 2) to[2] = value.z;
}

}  // namespace idem

#endif
