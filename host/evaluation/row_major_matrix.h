// row_major_matrix.h - matrices that lie in memory as latents and labels do: a row for each bin.
#pragma once

#include <span>

#include <Eigen/Core>

#include "kernels/common/to_size.h"

namespace idem {

using RowMajorMatrix = Eigen::Matrix<double, Eigen::Dynamic, Eigen::Dynamic, Eigen::RowMajor>;

// Row after row; the matrix has to outlive them.
inline std::span<const double> values_of(const RowMajorMatrix& matrix) {
  return {matrix.data(), to_size(matrix.size())};
}

}  // namespace idem
