// cells.h - which cell of a grid holds a value.
#pragma once

#include <cstdint>

namespace idem {

// Of n equal cells from 0 to 1; what lies outside goes to the nearest, NaN to the first. Never makes a whole number of
// one that fits none.
inline std::int32_t cell_of(double share, std::int32_t n) {
  const double place = share * n;
  if (!(place > 0)) return 0;
  return place < n ? static_cast<std::int32_t>(place) : n - 1;
}

}  // namespace idem
