// host_rows.h - arrays of the kernels' layout for tests: [n_members x n_rows x n_features], rows padded to 16 with
// zeros.
#pragma once

#include <cstdint>
#include <random>
#include <vector>

#include "kernels/common/fleet.h"
#include "kernels/common/to_size.h"

namespace idem {

template <class Real>
struct HostRows {
  std::int64_t n_members = 1, n_rows = 0, n_features = 0, row_stride = 0;
  std::vector<Real> values;

  HostRows() = default;
  HostRows(std::int64_t members, std::int64_t rows, std::int64_t features, Real value = Real(0))
      : n_members(members),
        n_rows(rows),
        n_features(features),
        row_stride(padded(features)),
        values(to_size(members * rows * row_stride), Real(0)) {
    fill([&] { return value; });
  }

  template <class Source>
  HostRows& fill(const Source& source) {
    for (std::int64_t member = 0; member < n_members; ++member) {
      for (std::int64_t row = 0; row < n_rows; ++row) {
        for (std::int64_t feature = 0; feature < n_features; ++feature)
          at(member, row, feature) = static_cast<Real>(source());
      }
    }
    return *this;
  }
  HostRows& fill_normal(std::mt19937_64& random, double scale = 1, double mean = 0) {
    std::normal_distribution<double> normal(mean, scale);
    return fill([&] { return static_cast<float>(normal(random)); });  // the same value in float and double
  }

  Real& at(std::int64_t member, std::int64_t row, std::int64_t feature) {
    return values[to_size((member * n_rows + row) * row_stride + feature)];
  }
  const Real& at(std::int64_t member, std::int64_t row, std::int64_t feature) const {
    return values[to_size((member * n_rows + row) * row_stride + feature)];
  }
  Rows<Real> rows() { return {values.data(), n_rows * row_stride, row_stride}; }
  Rows<const Real> rows() const { return {values.data(), n_rows * row_stride, row_stride}; }

  template <class Other>
  HostRows<Other> as() const {
    HostRows<Other> other(n_members, n_rows, n_features);
    for (std::size_t i = 0; i < values.size(); ++i) other.values[i] = static_cast<Other>(values[i]);
    return other;
  }
};

}  // namespace idem
