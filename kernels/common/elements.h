// elements.h - how many elements arrays hold, padding left out: for the work of operations.
#pragma once

#include "kernels/common/fleet.h"

namespace idem {

inline double n_elements(const FleetExtent& fleet, std::int64_t n_rows, std::int64_t n_features) {
  return static_cast<double>(fleet.n_members) * static_cast<double>(n_rows) * static_cast<double>(n_features);
}

// 1 for an array that is there, 0 for one that may be left out and is.
template <class Array>
double given(const Array& array) {
  return array ? 1 : 0;
}

}  // namespace idem
