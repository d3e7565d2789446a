// normals.h - standard normals as a function of seed, stream, step and element: what draw_normals writes, and others
// draw where they use them.
#pragma once

#include "kernels/common/four_floats.h"
#include "kernels/common/philox.h"

namespace idem {

// Normals of elements 4 * block ... 4 * block + 3.
template <class Real>
HD void normals_of_block(std::uint64_t seed, RandomStream stream, std::uint32_t step, std::uint32_t block,
                         Real out[4]) {
  const PhiloxWords words = random_words(seed, stream, step, block);
  normal_pair(words.w[0], words.w[1], out[0], out[1]);
  normal_pair(words.w[2], words.w[3], out[2], out[3]);
}

#if IDEM_COMPILES_CPU_TWINS
// Of 16 blocks from first_block on, which fill a register of words.
constexpr std::int64_t kDrawLanes = 16;
template <class Real>
void draw_blocks(std::uint64_t seed, RandomStream stream, std::uint32_t step, std::uint32_t first_block, Real* out);

// Calls body(row, col, normals, n) for stretches of rows of n_cols elements, until the elements of blocks [begin_block,
// end_block) are through; there are n_elements in all.
template <class Real, class Body>
void for_each_drawn(std::uint64_t seed, RandomStream stream, std::uint32_t step, std::int64_t begin_block,
                    std::int64_t end_block, std::int64_t n_elements, std::int64_t n_cols, const Body& body) {
  std::int64_t row = 4 * begin_block / n_cols, col = 4 * begin_block % n_cols;
  for (std::int64_t block = begin_block; block < end_block; block += kDrawLanes) {
    Real normals[4 * kDrawLanes];
    draw_blocks(seed, stream, step, static_cast<std::uint32_t>(block), normals);
    const std::int64_t n_left = n_elements - 4 * block, n = n_left < 4 * kDrawLanes ? n_left : 4 * kDrawLanes;
    for (std::int64_t i = 0; i < n;) {
      const std::int64_t run = n - i < n_cols - col ? n - i : n_cols - col;
      body(row, col, normals + i, run);
      i += run;
      col += run;
      if (col == n_cols) {
        col = 0;
        ++row;
      }
    }
  }
}
#endif

#if IDEM_COMPILES_CUDA_TWINS
static __device__ __forceinline__ float4 normals_of_block(std::uint64_t seed, RandomStream stream, std::uint32_t step,
                                                          std::uint32_t block) {
  float of[4];
  normals_of_block(seed, stream, step, block, of);
  return make_float4(of[0], of[1], of[2], of[3]);
}
// Of as many elements as `Features` takes, from `element` on.
template <class Features>
static __device__ __forceinline__ typename Features::Values normals_from(std::uint64_t seed, RandomStream stream,
                                                                         std::uint32_t step, std::int64_t element) {
  const auto block = static_cast<std::uint32_t>(element / 4);
  const float4 a = normals_of_block(seed, stream, step, block);
  const auto past = static_cast<int>(element % 4);
  if constexpr (sizeof(typename Features::Values) == sizeof(float)) {
    return past == 0 ? a.x : past == 1 ? a.y : past == 2 ? a.z : a.w;
  } else {
    if (past == 0) return a;
    const float4 b = normals_of_block(seed, stream, step, block + 1);
    return past == 1   ? make_float4(a.y, a.z, a.w, b.x)
           : past == 2 ? make_float4(a.z, a.w, b.x, b.y)
                       : make_float4(a.w, b.x, b.y, b.z);
  }
}
#endif

}  // namespace idem
