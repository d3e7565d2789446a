// reproducible_values.h - numbers that look random and are the same in any language, so that a stored result of another
// program can be compared without storing its input: ((31 r^2 + r (57 c + 17) + 101 c) mod 1009 - 504) / 64, exact in
// float.
#pragma once

#include <cstdint>
#include <vector>

namespace idem {

inline double reproducible_value(std::int64_t row, std::int64_t column) {
  return static_cast<double>((row * row * 31 + row * (column * 57 + 17) + column * 101) % 1009 - 504) / 64;
}

// [n_rows x n_columns], row-major.
inline std::vector<float> reproducible_rows(int n_rows, int n_columns) {
  std::vector<float> values;
  for (int row = 0; row < n_rows; ++row)
    for (int column = 0; column < n_columns; ++column)
      values.push_back(static_cast<float>(reproducible_value(row, column)));
  return values;
}

}  // namespace idem
