// flow_rows.h - what scale_rows, join_features and the couplings do to one row: for their own kernels, and for
// row_chain.
#pragma once

#include "kernels/common/four_floats.h"
#include "kernels/common/stable_math.h"
#include "kernels/layers/layers.h"

namespace idem {

// Calls body(member, row, feature) for all features of the rows [begin, end).
template <class Body>
void for_each_feature(const Body& body, std::int32_t n_features, std::int64_t member, std::int64_t begin,
                      std::int64_t end) {
  for (std::int64_t row = begin; row < end; ++row) {
    for (std::int32_t feature = 0; feature < n_features; ++feature) body(member, row, feature);
  }
}

template <class Real>
struct JoinFeaturesRow {
  JoinFeatures<Real> p;
  HD void operator()(std::int64_t member, std::int64_t row, std::int32_t feature) const {
    const Real value = feature < p.n_a ? p.a.row(member, row)[feature] : p.b.row(member, row)[feature - p.n_a];
    p.out.row(member, row)[p.place ? p.place[feature] : feature] = value;
  }
};

template <class Real>
struct JoinFeaturesGradientRow {
  JoinFeaturesGradient<Real> p;
  HD void operator()(std::int64_t member, std::int64_t row, std::int32_t feature) const {
    const Real d = p.d_out.row(member, row)[p.place ? p.place[feature] : feature];
    (feature < p.n_a ? p.d_a.row(member, row)[feature] : p.d_b.row(member, row)[feature - p.n_a]) = d;
  }
};

// As published: log scales stay small, so that a product of many of them stays in range.
constexpr double kLogScaleBound = 0.1;

template <class Real>
HD Real coupling_log_scale(Real raw) {
  return static_cast<Real>(kLogScaleBound) * stable::tanh(raw);
}
// d log_scale / d raw.
template <class Real>
HD Real coupling_log_scale_slope(Real log_scale) {
  return static_cast<Real>(kLogScaleBound) - log_scale * log_scale * static_cast<Real>(1 / kLogScaleBound);
}

template <class Real>
struct CouplingGradientRow {
  CouplingGradient<Real> p;
  // feature: of those that are moved; each takes along one of those that pass, of which there are as many or one fewer.
  HD void operator()(std::int64_t member, std::int64_t row, std::int32_t feature) const {
    const auto& f = p.forward;
    const std::int32_t n_passed = f.n_passed(), n_moved = f.n_moved(), last = n_moved - 1;
    const std::int32_t* place = f.place;
    const Real *x = f.x.row(member, row) + n_passed, *log_scale = f.log_scale.row(member, row),
               *d_out = p.d_out.row(member, row);
    Real *d_x = p.d_x.row(member, row), *d_raw = p.d_raw.row(member, row);
    if (feature < n_passed) d_x[feature] = d_out[place ? place[n_moved + feature] : n_moved + feature];
    const Real d_shifted = d_out[place ? place[feature] : feature],
               d_scaled = d_shifted * stable::exp(log_scale[feature]);
    d_x[n_passed + feature] = d_scaled;
    d_raw[last + feature] = d_shifted;
    if (feature == last) return;
    const Real d_last = d_out[place ? place[last] : last] * stable::exp(log_scale[last]) * x[last];
    d_raw[feature] = (d_scaled * x[feature] - d_last) * coupling_log_scale_slope(log_scale[feature]);
  }
};

#if IDEM_COMPILES_CUDA_TWINS
struct ScaleRowsRow {
  ScaleRows<float> p;
  bool takes_four() const { return idem::takes_four(p.value); }
  template <class Features>
  __device__ __forceinline__ void at(std::int64_t member, std::int64_t row, std::int32_t feature,
                                     std::int32_t n) const {
    const float scale = p.scale[member * p.scale_stride + row];
    float* value = p.value.row(member, row) + feature;
    Features::store(value, n, each(Features::load(value, n), [&](float v) { return v * scale; }));
  }
  __device__ __forceinline__ void operator()(std::int64_t member, std::int64_t row, std::int32_t feature) const {
    at<OneFeature<float>>(member, row, feature, 1);
  }
};

// A row by one warp, features along its lanes: the last log scale needs the sum of the others.
static __device__ __forceinline__ void coupling_forward_by_warp(const Coupling<float>& p, std::int64_t member,
                                                                std::int64_t row, int lane) {
  const std::int32_t n_passed = p.n_passed(), n_moved = p.n_moved(), last = n_moved - 1;
  const float *x = p.x.row(member, row), *raw = p.raw.row(member, row);
  float *log_scale = p.log_scale.row(member, row), *out = p.out.row(member, row);
  const auto move = [&](std::int32_t i, float by) {
    log_scale[i] = by;
    out[p.place ? p.place[i] : i] = x[n_passed + i] * stable::exp(by) + raw[last + i];
  };
  float sum = 0.0f;
  for (std::int32_t i = lane; i < last; i += 32) {
    const float by = coupling_log_scale(raw[i]);
    move(i, by);
    sum += by;
  }
  for (std::int32_t i = lane; i < n_passed; i += 32) out[p.place ? p.place[n_moved + i] : n_moved + i] = x[i];
  sum = cu::warp_sum(sum);
  if (lane == 0) move(last, -sum);
}
#endif

}  // namespace idem
