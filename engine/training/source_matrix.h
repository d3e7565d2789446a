// source_matrix.h - what the rows of batches are gathered from.
#pragma once

#include <algorithm>
#include <vector>

#include "engine/device/array.h"
#include "engine/device/device.h"
#include "kernels/common/to_size.h"

namespace idem {

// A host matrix [n_rows x n_features] on the device, rows padded.
struct SourceMatrix {
  SourceMatrix(Device& device, const std::vector<float>& values, std::int64_t n_rows, std::int64_t n_features)
      : stride(padded(n_features)), data(device, to_size(n_rows * stride)) {
    std::vector<float> rows(to_size(n_rows * stride), 0.0f);
    for (std::int64_t row = 0; row < n_rows; ++row)
      std::copy_n(values.begin() + row * n_features, n_features, rows.begin() + row * stride);
    data.upload(rows);
  }
  std::int64_t stride;
  Array<float> data;
};

}  // namespace idem
