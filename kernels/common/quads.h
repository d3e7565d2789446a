// quads.h - rows four features at a time, one access each, in bodies that go through a row on both twins
// (four_floats.h: four features by a kernel where the CPU takes one). Rows start on 64 bytes and are padded to 16
// features with zeros.
#pragma once

#include "kernels/common/target.h"

namespace idem {

template <class Real>
struct alignas(16) Quad {
  Real of[4];
};

template <class Integer>
HD Integer n_quads(Integer n_features) {
  return (n_features + 3) / 4;
}

template <class Real>
HD Quad<Real> quad_of(const Real* row, std::int32_t quad) {
  return reinterpret_cast<const Quad<Real>*>(row)[quad];
}
template <class Real>
HD void set_quad(Real* row, std::int32_t quad, const Quad<Real>& value) {
  reinterpret_cast<Quad<Real>*>(row)[quad] = value;
}

// Calls change(value of the feature, i) for the features of a quad that the row has; what comes after them stays as it
// is.
template <class Real, class Change>
HD void change_quad(Real* row, std::int32_t quad, std::int32_t n_features, const Change& change) {
  Quad<Real> value = quad_of<Real>(row, quad);
  for (std::int32_t i = 0; i < 4; ++i) {
    if (4 * quad + i < n_features) change(value.of[i], i);
  }
  set_quad(row, quad, value);
}

}  // namespace idem
