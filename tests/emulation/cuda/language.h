// language.h - CUDA's qualifiers, shared memory, vectors and built-in variables under the C++ compiler.
#pragma once

#include "kernels/common/operation.h"

#define __global__
#define __device__
#define __host__
#define __constant__ static
#define __forceinline__ inline __attribute__((always_inline))
#define __launch_bounds__(...)
#define __align__(n) alignas(n)
#define CU_SHARED(T, name, dims)    \
  static const char name##_key = 0; \
  typedef T name##_array dims;      \
  auto& name = *static_cast<name##_array*>(cuda_emulator::shared_array(&name##_key, sizeof(name##_array)))
#define CU_DYN_SHARED(T, name) T* name = static_cast<T*>(cuda_emulator::state.dynamic_shared)

#define CUDA_EMULATOR_VECTORS(T, base, align2, align4)               \
  struct alignas(align2) base##2 { T x, y; };                        \
  struct base##3 { T x, y, z; };                                     \
  struct alignas(align4) base##4 { T x, y, z, w; };                  \
  inline base##2 make_##base##2(T x, T y) { return {x, y}; }         \
  inline base##3 make_##base##3(T x, T y, T z) { return {x, y, z}; } \
  inline base##4 make_##base##4(T x, T y, T z, T w) { return {x, y, z, w}; }
CUDA_EMULATOR_VECTORS(float, float, 8, 16)
CUDA_EMULATOR_VECTORS(int, int, 8, 16)
CUDA_EMULATOR_VECTORS(unsigned, uint, 8, 16)
CUDA_EMULATOR_VECTORS(double, double, 16, 16)
#undef CUDA_EMULATOR_VECTORS

struct dim3 {
  unsigned x, y, z;
  constexpr dim3(unsigned x_ = 1, unsigned y_ = 1, unsigned z_ = 1) : x(x_), y(y_), z(z_) {}
};
using cudaStream_t = CUstream_st*;
inline uint3 threadIdx{}, blockIdx{};
inline dim3 blockDim, gridDim;
constexpr int warpSize = 32;
