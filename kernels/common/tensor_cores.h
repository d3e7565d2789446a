// tensor_cores.h - products of 16 rows by 8 columns that a warp does at once, of factors rounded to tf32 or bf16 and
// sums in fp32.
//
// Instructions mma.sync m16n8k8 (tf32) and m16n8k16 (bf16), from compute capability 8.0 on; which lane holds what: PTX
// ISA, warp-level matrix instructions. tf32 rounds to the nearest of 10 bits of mantissa, ties away from zero; bf16 of
// 7 bits, ties to even.
//   TensorFactors::rows(at)      takes at(row, k) of 16 rows by kTensorDepth
//   TensorFactors::columns(at)   takes at(k, column) of kTensorDepth by 8 columns
//   multiply(sum, factors)       adds their product to the warp's sums
//   TensorQuad                   which four neighbouring columns of a row a lane has in the end
// All 32 lanes take part in everything.
#pragma once

#include <type_traits>

#include "kernels/common/cuda.h"

#if IDEM_COMPILES_CUDA_TWINS

namespace idem::cu {

// Calls call(constant) with the precision's value as a compile-time constant.
template <class Call>
void with_precision(ProductPrecision precision, const Call& call) {
  switch (precision) {
    case ProductPrecision::fp32: return call(std::integral_constant<ProductPrecision, ProductPrecision::fp32>{});
    case ProductPrecision::tf32: return call(std::integral_constant<ProductPrecision, ProductPrecision::tf32>{});
    case ProductPrecision::bf16: return call(std::integral_constant<ProductPrecision, ProductPrecision::bf16>{});
  }
}

template <ProductPrecision precision>
constexpr int kTensorDepth = precision == ProductPrecision::bf16 ? 16 : 8;

#if defined(__CUDACC__)
static __device__ __forceinline__ unsigned to_tf32(float x) {
  unsigned rounded;
  asm("cvt.rna.tf32.f32 %0, %1;" : "=r"(rounded) : "f"(x));
  return rounded;
}
static __device__ __forceinline__ unsigned to_two_bf16(float low, float high) {
  unsigned rounded;
  asm("cvt.rn.bf16x2.f32 %0, %1, %2;" : "=r"(rounded) : "f"(high), "f"(low));
  return rounded;
}
static __device__ __forceinline__ void mma_m16n8k8_tf32(float (&d)[4], const unsigned (&a)[4], const unsigned (&b)[2]) {
  asm volatile(
      "mma.sync.aligned.m16n8k8.row.col.f32.tf32.tf32.f32 {%0, %1, %2, %3}, {%4, %5, %6, %7}, {%8, %9}, {%0, %1, %2, "
      "%3};"
      : "+f"(d[0]), "+f"(d[1]), "+f"(d[2]), "+f"(d[3])
      : "r"(a[0]), "r"(a[1]), "r"(a[2]), "r"(a[3]), "r"(b[0]), "r"(b[1]));
}
static __device__ __forceinline__ void mma_m16n8k16_bf16(float (&d)[4], const unsigned (&a)[4],
                                                         const unsigned (&b)[2]) {
  asm volatile(
      "mma.sync.aligned.m16n8k16.row.col.f32.bf16.bf16.f32 {%0, %1, %2, %3}, {%4, %5, %6, %7}, {%8, %9}, {%0, %1, %2, "
      "%3};"
      : "+f"(d[0]), "+f"(d[1]), "+f"(d[2]), "+f"(d[3])
      : "r"(a[0]), "r"(a[1]), "r"(a[2]), "r"(a[3]), "r"(b[0]), "r"(b[1]));
}
#endif

template <ProductPrecision precision>
struct TensorFactors {
  unsigned of_rows[4], of_columns[2];

  template <class At>
  __device__ __forceinline__ void rows(const At& at) {
    const int group = static_cast<int>(threadIdx.x) % 32 / 4, place = static_cast<int>(threadIdx.x) % 4;
    UNROLLED for (int i = 0; i < 4; ++i) of_rows[i] = rounded(at, group + 8 * (i % 2), i / 2, place);
  }
  template <class At>
  __device__ __forceinline__ void columns(const At& at) {
    const int group = static_cast<int>(threadIdx.x) % 32 / 4, place = static_cast<int>(threadIdx.x) % 4;
    UNROLLED for (int i = 0; i < 2; ++i) of_columns[i] =
        rounded([&](int column, int k) { return at(k, column); }, group, i, place);
  }

 private:
  template <class At>
  static __device__ __forceinline__ unsigned rounded(const At& at, int line, int half, int place) {
    if constexpr (precision == ProductPrecision::bf16)
      return to_two_bf16(at(line, 8 * half + 2 * place), at(line, 8 * half + 2 * place + 1));
    return to_tf32(at(line, 4 * half + place));
  }
};

template <ProductPrecision precision>
static __device__ __forceinline__ void multiply(float (&sum)[4], const TensorFactors<precision>& factors) {
  if constexpr (precision == ProductPrecision::bf16) {
    mma_m16n8k16_bf16(sum, factors.of_rows, factors.of_columns);
  } else {
    mma_m16n8k8_tf32(sum, factors.of_rows, factors.of_columns);
  }
}

// A lane's sums belong to two columns of two rows. Neighbours exchange, so that each has four neighbouring columns of
// one.
struct TensorQuad {
  int row, column;  // of the 16 and of the 8

  __device__ __forceinline__ TensorQuad() {
    const int lane = static_cast<int>(threadIdx.x) % 32;
    row = lane / 4 + 8 * (lane % 2);
    column = lane % 4 / 2 * 4;
  }
  static __device__ __forceinline__ float4 of(const float (&sum)[4]) {
    const bool is_odd = threadIdx.x % 2 != 0;
    const float first = __shfl_xor_sync(0xffffffffu, is_odd ? sum[0] : sum[2], 1),
                second = __shfl_xor_sync(0xffffffffu, is_odd ? sum[1] : sum[3], 1);
    return is_odd ? make_float4(first, second, sum[2], sum[3]) : make_float4(sum[0], sum[1], first, second);
  }
};

}  // namespace idem::cu

#endif
