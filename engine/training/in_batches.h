// in_batches.h - a whole recording through a model that takes batches of one size.
#pragma once

#include <algorithm>
#include <vector>

#include "engine/device/array.h"
#include "kernels/common/to_size.h"

namespace idem {

// Calls run(rows, n) for every `batch` rows of n_rows, in order. rows [batch], on the device: numbers of rows, in the
// last batch the last one again and again after the n that are there.
template <class Run>
void in_batches(Device& device, std::int64_t n_rows, std::int32_t batch, const Run& run) {
  const Array<std::int32_t> rows(device, to_size(batch));
  for (std::int64_t begin = 0; begin < n_rows; begin += batch) {
    std::vector<std::int32_t> of_batch;
    for (std::int64_t row = begin; row < begin + batch; ++row)
      of_batch.push_back(static_cast<std::int32_t>(std::min(row, n_rows - 1)));
    rows.upload(of_batch);
    run(rows.data(), std::min<std::int64_t>(batch, n_rows - begin));
  }
}

// The first n rows of what a model of one member gave, dense, after those that `to` holds. Waits.
inline void append_rows(Device& device, Rows<const float> from, std::int64_t n, std::int64_t n_features,
                        std::vector<float>& to) {
  std::vector<float> values(to_size(n * from.row_stride));
  device.copy_out(values.data(), from.data, values.size() * sizeof(float));
  for (std::int64_t row = 0; row < n; ++row)
    to.insert(to.end(), values.begin() + row * from.row_stride, values.begin() + row * from.row_stride + n_features);
}

}  // namespace idem
