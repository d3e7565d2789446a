// bins.h - lists of bins for tests.
#pragma once

#include <cstdint>
#include <numeric>
#include <vector>

#include "kernels/common/to_size.h"

namespace idem {

// begin, begin + 1, ..., end - 1
inline std::vector<std::int32_t> bins(std::int32_t begin, std::int32_t end) {
  std::vector<std::int32_t> list(to_size(end - begin));
  std::iota(list.begin(), list.end(), begin);
  return list;
}

}  // namespace idem
