// row_length.h - how a row is brought to unit length, and the gradient through that.
#pragma once

#include <limits>

#include "kernels/common/quads.h"
#include "kernels/common/stable_math.h"

namespace idem {

// Squares are taken of the row over its largest magnitude, so that no finite row overflows or vanishes.
template <class Real>
constexpr Real kSmallestNorm =
    std::numeric_limits<Real>::min();  // device code may read the constant, not call the function

template <class Real>
struct RowLength {
  Real unit, length;  // their product is the norm
  bool has_direction;

  HD RowLength(const Real* x, std::int32_t n_features) {
    Real largest = 0, squares = 0;
    for (std::int32_t quad = 0; quad < n_quads(n_features); ++quad) {
      const Quad<Real> values = quad_of(x, quad);
      for (const Real value : values.of) largest = stable::larger(stable::magnitude(value), largest);
    }
    unit = largest > Real(0) ? largest : Real(1);
    for (std::int32_t quad = 0; quad < n_quads(n_features); ++quad) {
      const Quad<Real> values = quad_of(x, quad);
      for (const Real value : values.of) squares += (value / unit) * (value / unit);
    }
    length = stable::sqrt(squares);
    has_direction = !(unit * length < kSmallestNorm<Real>);  // a NaN is no smaller than the bound, and goes on
  }
  HD Real normalised(Real x) const { return has_direction ? (x / unit) / length : Real(0); }
  HD Real inverse_norm() const { return has_direction ? Real(1) / (unit * length) : Real(0); }
};

// value may be x. What comes after the features stays zero, also where they are not finite.
template <class Real>
HD void write_normalised(const RowLength<Real>& length, const Real* x, std::int32_t n_features, Real* value) {
  for (std::int32_t quad = 0; quad < n_quads(n_features); ++quad) {
    Quad<Real> of = quad_of(x, quad);
    for (std::int32_t i = 0; i < 4; ++i) of.of[i] = 4 * quad + i < n_features ? length.normalised(of.of[i]) : Real(0);
    set_quad(value, quad, of);
  }
}

// d_value becomes the gradient with respect to x. value(quad): of the normalised row.
template <class Real, class Value>
HD void normalised_row_backward(std::int32_t n_features, const Value& value, Real inverse_norm, Real* d_value) {
  Real along = 0;
  for (std::int32_t quad = 0; quad < n_quads(n_features); ++quad) {
    const Quad<Real> of_value = value(quad), d = quad_of<Real>(d_value, quad);
    for (std::int32_t i = 0; i < 4; ++i) along += of_value.of[i] * d.of[i];
  }
  for (std::int32_t quad = 0; quad < n_quads(n_features); ++quad) {
    const Quad<Real> of_value = value(quad);
    change_quad(d_value, quad, n_features,
                [&](Real& d, std::int32_t i) { d = (d - along * of_value.of[i]) * inverse_norm; });
  }
}

}  // namespace idem
