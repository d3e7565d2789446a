// device_functions.h - CUDA's barriers, warp functions, atomics and maths for kernels.
#pragma once

#include <algorithm>
#include <bit>
#include <cmath>
#include <cstdint>
#include <type_traits>

#include "tests/emulation/cuda/warps.h"

namespace cuda_emulator {

// Relaxed, as on the device; a real atomic, so that the thread sanitizer sees one.
template <class T, class Change>
T read_modify_write(T* address, Change change) {
  shake_order_of_atomics();
  T old, changed;
  __atomic_load(address, &old, __ATOMIC_RELAXED);
  do {
    changed = change(old);
  } while (!__atomic_compare_exchange(address, &old, &changed, false, __ATOMIC_RELAXED, __ATOMIC_RELAXED));
  return old;
}

}  // namespace cuda_emulator

__forceinline__ void __syncthreads(CUDA_EMULATOR_AT) { cuda_emulator::barrier("__syncthreads", 0, file, line); }
__forceinline__ int __syncthreads_count(int p, CUDA_EMULATOR_AT) {
  return cuda_emulator::barrier("__syncthreads_count", p, file, line);
}
__forceinline__ int __syncthreads_or(int p, CUDA_EMULATOR_AT) {
  return cuda_emulator::barrier("__syncthreads_or", p, file, line) != 0;
}
__forceinline__ int __syncthreads_and(int p, CUDA_EMULATOR_AT) {
  return cuda_emulator::barrier("__syncthreads_and", p, file, line) == cuda_emulator::state.n_threads;
}
__forceinline__ void __syncwarp(unsigned mask = ~0u, CUDA_EMULATOR_AT) { cuda_emulator::sync_warp(mask, file, line); }
template <class T>
__forceinline__ T __shfl_sync(unsigned mask, T value, int source, int width = 32, CUDA_EMULATOR_AT) {
  return cuda_emulator::shuffle<cuda_emulator::Shuffle::index>("__shfl_sync", mask, value, source, width, file, line);
}
template <class T>
__forceinline__ T __shfl_up_sync(unsigned mask, T value, unsigned offset, int width = 32, CUDA_EMULATOR_AT) {
  return cuda_emulator::shuffle<cuda_emulator::Shuffle::up>("__shfl_up_sync", mask, value, static_cast<int>(offset),
                                                            width, file, line);
}
template <class T>
__forceinline__ T __shfl_down_sync(unsigned mask, T value, unsigned offset, int width = 32, CUDA_EMULATOR_AT) {
  return cuda_emulator::shuffle<cuda_emulator::Shuffle::down>("__shfl_down_sync", mask, value, static_cast<int>(offset),
                                                              width, file, line);
}
template <class T>
__forceinline__ T __shfl_xor_sync(unsigned mask, T value, int lanes, int width = 32, CUDA_EMULATOR_AT) {
  return cuda_emulator::shuffle<cuda_emulator::Shuffle::exclusive_or>("__shfl_xor_sync", mask, value, lanes, width,
                                                                      file, line);
}
__forceinline__ unsigned __ballot_sync(unsigned mask, int p, CUDA_EMULATOR_AT) {
  return cuda_emulator::vote("__ballot_sync", mask, p, file, line).yes;
}
__forceinline__ int __any_sync(unsigned mask, int p, CUDA_EMULATOR_AT) {
  return cuda_emulator::vote("__any_sync", mask, p, file, line).yes != 0;
}
__forceinline__ int __all_sync(unsigned mask, int p, CUDA_EMULATOR_AT) {
  const auto votes = cuda_emulator::vote("__all_sync", mask, p, file, line);
  return votes.yes == votes.participants;
}

inline void __threadfence() {
  __tsan_release(&cuda_emulator::state.fence_event);
  __tsan_acquire(&cuda_emulator::state.fence_event);
}
inline void __threadfence_block() { __threadfence(); }
template <class T>
T atomicAdd(T* address, std::type_identity_t<T> value) {
  return cuda_emulator::read_modify_write(address, [value](T old) { return static_cast<T>(old + value); });
}
template <class T>
T atomicMax(T* address, std::type_identity_t<T> value) {
  return cuda_emulator::read_modify_write(address, [value](T old) { return old > value ? old : value; });
}
template <class T>
T atomicMin(T* address, std::type_identity_t<T> value) {
  return cuda_emulator::read_modify_write(address, [value](T old) { return old < value ? old : value; });
}
template <class T>
T atomicExch(T* address, std::type_identity_t<T> value) {
  return cuda_emulator::read_modify_write(address, [value](T) { return value; });
}
template <class T>
T atomicCAS(T* address, std::type_identity_t<T> compare, std::type_identity_t<T> value) {
  return cuda_emulator::read_modify_write(address, [compare, value](T old) { return old == compare ? value : old; });
}

template <class T>
T __ldg(const T* address) {
  return *address;
}
inline float rsqrtf(float x) { return 1.0f / std::sqrt(x); }
inline float __expf(float x) { return std::exp(x); }
inline float __logf(float x) { return std::log(x); }
inline float __fdividef(float a, float b) { return a / b; }
inline float __frcp_rn(float x) { return 1.0f / x; }
inline float __powf(float a, float b) { return std::pow(a, b); }
inline void sincospif(float x, float* sine, float* cosine) {
  *sine = static_cast<float>(std::sin(M_PI * static_cast<double>(x)));
  *cosine = static_cast<float>(std::cos(M_PI * static_cast<double>(x)));
}
inline unsigned __umulhi(unsigned a, unsigned b) {
  return static_cast<unsigned>((static_cast<std::uint64_t>(a) * b) >> 32);
}
inline int __popc(unsigned x) { return std::popcount(x); }
inline int __clz(int x) { return std::countl_zero(static_cast<unsigned>(x)); }
inline int __ffs(int x) { return __builtin_ffs(x); }
inline int __float_as_int(float x) { return std::bit_cast<int>(x); }
inline float __int_as_float(int x) { return std::bit_cast<float>(x); }
inline unsigned __float_as_uint(float x) { return std::bit_cast<unsigned>(x); }
inline float __uint_as_float(unsigned x) { return std::bit_cast<float>(x); }
using std::max;
using std::min;
