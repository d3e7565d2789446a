// staged_rows.h - rows of features on their way into a block's shared memory, four features at a time.
#pragma once

#include "kernels/common/four_floats.h"

#if IDEM_COMPILES_CUDA_TWINS

namespace idem {

// A thread's quad of features in rows that lie `apart` from each other: neighbours read neighbours, and no element
// costs a division.
struct QuadLanes {
  int quad, row, lanes, apart;

  __device__ __forceinline__ explicit QuadLanes(int n_quads) {
    const int thread = static_cast<int>(threadIdx.x), n_threads = static_cast<int>(blockDim.x);
    lanes = 1;
    while (lanes < n_quads && 2 * lanes <= n_threads) lanes *= 2;
    apart = n_threads / lanes;
    row = thread / lanes;
    quad = row < apart ? thread % lanes : n_quads;  // of a block that is no multiple the rest has none
  }
};

// Takes the first of some values and moves the others up: for a loop over them whose body is there once, with all of
// them in registers.
template <int n>
static __device__ __forceinline__ float4 take_first(float4 values[n]) {
  const float4 first = values[0];
  UNROLLED for (int i = 1; i < n; ++i) values[i - 1] = values[i];
  return first;
}

// Calls store(row, quad, value) for n_rows rows of n_quads quads, of which n_present rows of n features exist: the
// others are zeros. Some loads are on their way before the first is stored: the layer waits for the slowest of them.
template <class Store>
static __device__ __forceinline__ void for_each_quad(Rows<const float> source, std::int64_t member,
                                                     std::int64_t first_row, int n_present, int n_rows, int n,
                                                     int n_quads, const Store& store) {
  constexpr int kInFlight = 8;
  const QuadLanes at(n_quads);
  const int stride = static_cast<int>(source.row_stride);
  for (int quad = at.quad; quad < n_quads; quad += at.lanes) {
    const float* from = source.row(member, first_row) + 4 * quad;
    const int n_read = 4 * quad < n ? n_present : 0;
    for (int first = at.row; first < n_rows; first += kInFlight * at.apart) {
      float4 kept[kInFlight];
      UNROLLED for (int i = 0; i < kInFlight; ++i) {
        const int row = first + i * at.apart;
        kept[i] = row < n_read ? FourFeatures::load(from + std::int64_t{row} * stride, n - 4 * quad)
                               : make_float4(0.0f, 0.0f, 0.0f, 0.0f);
      }
      UNROLLED for (int i = 0; i < kInFlight; ++i) {
        const int row = first + i * at.apart;
        if (row < n_rows) store(row, quad, kept[i]);
      }
    }
  }
}

}  // namespace idem

#endif
