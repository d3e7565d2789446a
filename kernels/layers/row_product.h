// row_product.h - the CPU's product for narrow layers: a tile of the result stays in registers through the whole sum.
#pragma once

#include <cstring>
#include <utility>

#include "kernels/common/target.h"

#if IDEM_COMPILES_CPU_TWINS

namespace idem {

// c[i][j] = sum over k < n_sums, ascending, of a(i, k) b[k][j], added to c[i][j] where accumulate.
//   a(i, k)  at a + i * a_row + k * a_step
//   b        [n_sums x n_columns], rows b_stride apart; read up to the next multiple of 16 columns, fastest where rows
//            start on 64 bytes
//   c        [n_rows x n_columns], rows c_stride apart; overlaps neither
template <class Real>
struct RowProduct {
  std::int64_t n_rows = 0, n_columns = 0, n_sums = 0;
  const Real* a = nullptr;
  std::int64_t a_row = 0, a_step = 1;
  const Real* b = nullptr;
  std::int64_t b_stride = 0;
  Real* c = nullptr;
  std::int64_t c_stride = 0;
  bool accumulate = false;
};

// The vectors of one kind of processor. The compiler works vectors wider than the registers out in memory, so that each
// kind has its own.
template <class Real, int kBytes>
struct VectorOf {
  typedef Real Type __attribute__((vector_size(kBytes)));
};

// Spelled out by index packs rather than loops: arrays whose places are constants from the first pass on are put into
// registers.
template <class Real, int kBytes, std::size_t kVectors, std::size_t... kSums, std::size_t... kRows>
HD void product_tile(const RowProduct<Real>& p, std::int64_t row, std::int64_t column, std::index_sequence<kSums...>,
                     std::index_sequence<kRows...>) {
  using Vector = typename VectorOf<Real, kBytes>::Type;
  constexpr auto kLanes = static_cast<std::int64_t>(kBytes / sizeof(Real));
  const Real* __restrict__ a = p.a + row * p.a_row, * __restrict__ b = p.b + column;
  Vector sum[sizeof...(kSums)] = {};
  for (std::int64_t k = 0; k < p.n_sums; ++k) {
    Vector of_b[2];
    std::memcpy(&of_b[0], b + k * p.b_stride, sizeof of_b[0]);
    if constexpr (kVectors == 2) std::memcpy(&of_b[1], b + k * p.b_stride + kLanes, sizeof of_b[1]);
    const Real of_a[] = {a[static_cast<std::int64_t>(kRows) * p.a_row + k * p.a_step]...};
    ((sum[kSums] += of_a[kSums / kVectors] * of_b[kSums % kVectors]), ...);
  }
  const std::int64_t left = p.n_columns - column;
  const auto store = [&](std::size_t at, const Vector& value) __attribute__((always_inline)) {
    const std::int64_t first = static_cast<std::int64_t>(at % kVectors) * kLanes;
    Real* __restrict__ c = p.c + (row + static_cast<std::int64_t>(at / kVectors)) * p.c_stride + column + first;
    if (first + kLanes <= left) {
      Vector stored = value;
      if (p.accumulate) {
        Vector before;
        std::memcpy(&before, c, sizeof before);
        stored += before;
      }
      std::memcpy(c, &stored, sizeof stored);
    } else {
      for (std::int64_t lane = 0; first + lane < left; ++lane)
        c[lane] = value[lane] + (p.accumulate ? c[lane] : Real(0));
    }
  };
  (store(kSums, sum[kSums]), ...);
}

// Twelve vectors of sums, two of b and one of a: what the 16 registers of AVX2 hold.
template <class Real, int kBytes, std::size_t kVectors>
HD void product_columns(const RowProduct<Real>& p, std::int64_t column) {
  const auto tile = [&]<std::size_t kRows>(std::int64_t row,
                                           std::index_sequence<kRows>) __attribute__((always_inline)) {
    product_tile<Real, kBytes, kVectors>(p, row, column, std::make_index_sequence<kRows * kVectors>{},
                                         std::make_index_sequence<kRows>{});
  };
  std::int64_t row = 0;
  for (; row + 6 <= p.n_rows; row += 6) tile(row, std::index_sequence<6>{});
  for (; row + 2 <= p.n_rows; row += 2) tile(row, std::index_sequence<2>{});
  if (row < p.n_rows) tile(row, std::index_sequence<1>{});
}
template <class Real, int kBytes>
HD void product_of_rows(const RowProduct<Real>& p) {
  constexpr auto kLanes = static_cast<std::int64_t>(kBytes / sizeof(Real));
  std::int64_t column = 0;
  for (; column + kLanes < p.n_columns; column += 2 * kLanes) product_columns<Real, kBytes, 2>(p, column);
  if (column < p.n_columns) product_columns<Real, kBytes, 1>(p, column);
}

#if IDEM_HAS_SIMD_CLONES
template <class Real>
__attribute__((target("arch=x86-64-v4"))) void row_product_v4(const RowProduct<Real>& p) {
  product_of_rows<Real, 64>(p);
}
template <class Real>
__attribute__((target("arch=x86-64-v3"))) void row_product_v3(const RowProduct<Real>& p) {
  product_of_rows<Real, 32>(p);
}
template <class Real>
void row_product(const RowProduct<Real>& p) {
  static const int kind = __builtin_cpu_supports("x86-64-v4") ? 4 : __builtin_cpu_supports("x86-64-v3") ? 3 : 1;
  kind == 4 ? row_product_v4(p) : kind == 3 ? row_product_v3(p) : product_of_rows<Real, 16>(p);
}
#else
template <class Real>
void row_product(const RowProduct<Real>& p) {
#if defined(__AVX2__)
  product_of_rows<Real, 32>(p);
#else
  product_of_rows<Real, 16>(p);
#endif
}
#endif

}  // namespace idem

#endif
