// row_length.h - how a row is brought to unit length, and the gradient through that.
#pragma once

#include <limits>

#include "kernels/common/stable_math.h"

namespace idem {

// Squares are taken of the row over its largest magnitude, so that no finite row overflows or vanishes.
template <class Real>
constexpr Real kSmallestNorm = std::numeric_limits<Real>::min();  // device code may read the constant, not call the function

template <class Real>
struct RowLength {
  Real unit, length;  // their product is the norm
  bool has_direction;

  HD RowLength(const Real* x, std::int32_t n_features) {
    Real largest = 0, squares = 0;
    for (std::int32_t feature = 0; feature < n_features; ++feature) largest = stable::larger(stable::magnitude(x[feature]), largest);
    unit = largest > Real(0) ? largest : Real(1);
    for (std::int32_t feature = 0; feature < n_features; ++feature) squares += (x[feature] / unit) * (x[feature] / unit);
    length = stable::sqrt(squares);
    has_direction = !(unit * length < kSmallestNorm<Real>);  // a NaN is no smaller than the bound, and goes on
  }
  HD Real normalised(Real x) const { return has_direction ? (x / unit) / length : Real(0); }
  HD Real inverse_norm() const { return has_direction ? Real(1) / (unit * length) : Real(0); }
};

// d_value becomes the gradient with respect to x. value(feature): of the normalised row.
template <class Real, class Value>
HD void normalised_row_backward(std::int32_t n_features, const Value& value, Real inverse_norm, Real* d_value) {
  Real along = 0;
  for (std::int32_t feature = 0; feature < n_features; ++feature) along += value(feature) * d_value[feature];
  for (std::int32_t feature = 0; feature < n_features; ++feature) d_value[feature] = (d_value[feature] - along * value(feature)) * inverse_norm;
}

}  // namespace idem
