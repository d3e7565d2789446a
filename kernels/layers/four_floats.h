// four_floats.h - sums and products of the float4 that kernels load at once.
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

}  // namespace idem

#endif
