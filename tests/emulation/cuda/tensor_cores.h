// tensor_cores.h - the products of a warp's tiles, and the roundings of their factors.
#pragma once

#include <bit>
#include <cmath>
#include <cstring>

#include "tests/emulation/cuda/warps.h"

namespace cuda_emulator {

// Tensor cores: which element of the factors and sums a lane holds is as in the PTX ISA.
struct TensorProduct {
  float* sum;
  const unsigned *rows, *columns;
};
inline float of_bf16(unsigned half) { return std::bit_cast<float>(half << 16); }
template <bool is_bf16>
CUDA_EMULATOR_RUNTIME void multiply_tile(Fiber** lanes, unsigned participants) {
  if (participants != ~0u) fail("mma.sync: lanes %08x are not there", ~participants);
  constexpr int depth = is_bf16 ? 16 : 8;
  float a[16][depth], b[depth][8];
  TensorProduct of[32];
  for (int lane = 0; lane < 32; ++lane) {
    TensorProduct* product;
    std::memcpy(&product, lanes[lane]->sent, sizeof product);
    of[lane] = *product;
    const int group = lane / 4, place = lane % 4;
    for (int i = 0; i < 4; ++i) {
      const int row = group + 8 * (i % 2), half = i / 2;
      if constexpr (is_bf16) {
        for (int pair = 0; pair < 2; ++pair)
          a[row][8 * half + 2 * place + pair] = of_bf16(of[lane].rows[i] >> 16 * pair & 0xffffu);
      } else {
        a[row][4 * half + place] =
            std::bit_cast<float>(of[lane].rows[i] & ~0x1fffu);  // the hardware drops what is below 10 bits
      }
    }
    for (int half = 0; half < 2; ++half) {
      if constexpr (is_bf16) {
        for (int pair = 0; pair < 2; ++pair)
          b[8 * half + 2 * place + pair][group] = of_bf16(of[lane].columns[half] >> 16 * pair & 0xffffu);
      } else {
        b[4 * half + place][group] = std::bit_cast<float>(of[lane].columns[half] & ~0x1fffu);
      }
    }
  }
  for (int lane = 0; lane < 32; ++lane) {
    for (int i = 0; i < 4; ++i) {
      const int row = lane / 4 + 8 * (i / 2), column = 2 * (lane % 4) + i % 2;
      for (int k = 0; k < depth; ++k) of[lane].sum[i] += a[row][k] * b[k][column];
    }
  }
}
template <bool is_bf16>
CUDA_EMULATOR_RUNTIME void multiply_by_warp(const char* operation, float* sum, const unsigned* rows,
                                            const unsigned* columns, const char* file, int line) {
  const TensorProduct product{sum, rows, columns}, *at = &product;
  std::memcpy(state.current->sent, &at, sizeof at);
  join_collective(operation, ~0u, multiply_tile<is_bf16>, file, line, CUDA_EMULATOR_ADDRESS);
}

}  // namespace cuda_emulator

// Instructions that only PTX names (kernels/common/tensor_cores.h).
namespace idem::cu {
inline unsigned to_tf32(float x) {
  const auto bits = std::bit_cast<unsigned>(x);
  return std::isfinite(x) ? (bits + 0x1000u) & ~0x1fffu : bits;
}
inline unsigned to_bf16(float x) {
  const auto bits = std::bit_cast<unsigned>(x);
  return (std::isfinite(x) ? bits + 0x7fffu + (bits >> 16 & 1u) : bits) >> 16;
}
inline unsigned to_two_bf16(float low, float high) { return to_bf16(low) | to_bf16(high) << 16; }
__forceinline__ void mma_m16n8k8_tf32(float (&d)[4], const unsigned (&a)[4], const unsigned (&b)[2], CUDA_EMULATOR_AT) {
  cuda_emulator::multiply_by_warp<false>("mma.sync.m16n8k8", d, a, b, file, line);
}
__forceinline__ void mma_m16n8k16_bf16(float (&d)[4], const unsigned (&a)[4], const unsigned (&b)[2],
                                       CUDA_EMULATOR_AT) {
  cuda_emulator::multiply_by_warp<true>("mma.sync.m16n8k16", d, a, b, file, line);
}
}  // namespace idem::cu
