// transfer.h - between a golden case's arrays and one member on a device.
#pragma once

#include <algorithm>
#include <cstdint>
#include <numeric>
#include <vector>

#include "engine/device/device.h"
#include "host/formats/npz.h"
#include "kernels/common/to_size.h"

namespace idem::parity {

// Rows of one member on the device, from or to a dense array whose first axis is the row.
template <class Real>
class Transfer {
 public:
  explicit Transfer(Device& device) : device_(device) {}

  void in(const NumpyArray& array, Rows<Real> to) const {
    const auto values = array.as<double>();
    const auto n_rows = to_size(array.shape.at(0));
    const std::size_t n_features = n_rows ? values.size() / n_rows : 0;
    for (std::size_t row = 0; row < n_rows; ++row) {
      std::vector<Real> line(n_features);
      std::transform(values.begin() + static_cast<std::ptrdiff_t>(row * n_features),
                     values.begin() + static_cast<std::ptrdiff_t>((row + 1) * n_features), line.begin(),
                     [](double value) { return static_cast<Real>(value); });
      device_.copy_in(to.row(0, static_cast<std::int64_t>(row)), line.data(), n_features * sizeof(Real));
    }
  }

  NumpyArray out(Rows<const Real> from, std::int64_t n_rows, std::int64_t n_features) const {
    std::vector<Real> values(to_size(n_rows * n_features));
    for (std::int64_t row = 0; row < n_rows; ++row)
      device_.copy_out(values.data() + row * n_features, from.row(0, row), to_size(n_features) * sizeof(Real));
    return NumpyArray::of<double>({n_rows, n_features}, std::vector<double>(values.begin(), values.end()));
  }

  std::vector<double> scalars(const Real* from, std::int64_t n) const {
    std::vector<Real> values(to_size(n));
    device_.copy_out(values.data(), from, values.size() * sizeof(Real));
    return {values.begin(), values.end()};
  }

  NumpyArray indices(const std::int32_t* from, std::int64_t n) const {
    std::vector<std::int32_t> values(to_size(n));
    device_.copy_out(values.data(), from, values.size() * sizeof(std::int32_t));
    return NumpyArray::of<std::int64_t>({n}, std::vector<std::int64_t>(values.begin(), values.end()));
  }

 private:
  Device& device_;
};

inline NumpyArray vector_array(const std::vector<double>& values) {
  return NumpyArray::of<double>({static_cast<std::int64_t>(values.size())}, values);
}

inline std::vector<double> scaled(std::vector<double> values, double factor) {
  for (auto& value : values) value *= factor;
  return values;
}

inline double mean(const std::vector<double>& values) {
  return std::accumulate(values.begin(), values.end(), 0.0) / static_cast<double>(values.size());
}

}  // namespace idem::parity
