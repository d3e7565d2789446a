// fixed_order_sum.h - a sum that vectorises: 16 partial sums, then a tree. The order depends on n alone, not on the
// processor.
#pragma once

#include "kernels/common/target.h"

namespace idem {

template <class Real>
HD Real fixed_order_sum(const Real* values, std::int64_t n) {
  Real partial[16] = {};
  std::int64_t i = 0;
  for (; i + 16 <= n; i += 16) {
    for (int lane = 0; lane < 16; ++lane) partial[lane] += values[i + lane];
  }
  for (int lane = 0; i + lane < n; ++lane) partial[lane] += values[i + lane];
  for (int width = 8; width > 0; width /= 2) {
    for (int lane = 0; lane < width; ++lane) partial[lane] += partial[lane + width];
  }
  return partial[0];
}

}  // namespace idem
