#include "kernels/common/four_floats.h"
#include "kernels/layers/activation.h"

namespace idem {

#if IDEM_COMPILES_CPU_TWINS
template <Activation kind, class Real>
IDEM_SIMD_CLONES static void bias_activation_rows(const BiasActivation<Real>& p, std::int64_t member,
                                                  std::int64_t begin, std::int64_t end) {
  const std::int32_t n_features = p.n_features;
  const Real slope = p.slope;
  for (std::int64_t row = begin; row < end; ++row) {
    Real* __restrict__ value = p.value.row(member, row);
    if (p.bias) {
      const Real* __restrict__ bias = p.bias.row(member, 0);
      for (std::int32_t feature = 0; feature < n_features; ++feature) value[feature] += bias[feature];
    }
    if (p.pre_activation) {
      Real* __restrict__ kept = p.pre_activation.row(member, row);
      for (std::int32_t feature = 0; feature < n_features; ++feature) kept[feature] = value[feature];
    }
    if constexpr (kind != Activation::identity) {
      for (std::int32_t feature = 0; feature < n_features; ++feature)
        value[feature] = activated<kind>(value[feature], slope);
    }
  }
}

template <class Real>
void bias_activation_of_rows(const BiasActivation<Real>& p, std::int64_t member, std::int64_t begin, std::int64_t end) {
  with_activation(p.activation,
                  [&](auto kind) { bias_activation_rows<decltype(kind)::value, Real>(p, member, begin, end); });
}
template void bias_activation_of_rows(const BiasActivation<float>&, std::int64_t, std::int64_t, std::int64_t);
template void bias_activation_of_rows(const BiasActivation<double>&, std::int64_t, std::int64_t, std::int64_t);

template <class Real>
void bias_activation_forward_cpu(const BiasActivation<Real>& p, ThreadPool& pool) {
  for_each_row_block(pool, p.fleet, p.n_rows, 64, [&](std::int64_t member, std::int64_t begin, std::int64_t end) {
    bias_activation_of_rows(p, member, begin, end);
  });
}
IDEM_INSTANTIATE_CPU(bias_activation_forward, BiasActivation)
#endif

#if IDEM_COMPILES_CUDA_TWINS
template <Activation kind>
struct BiasActivationRow {
  BiasActivation<float> p;
  bool takes_four() const {
    return idem::takes_four(p.value) && idem::takes_four(p.bias) && idem::takes_four(p.pre_activation);
  }
  template <class Features>
  __device__ void at(std::int64_t member, std::int64_t row, std::int32_t feature, std::int32_t n) const {
    float* value = p.value.row(member, row) + feature;
    auto x = Features::load(value, n);
    if (p.bias) x = plus(x, Features::load(p.bias.row(member, 0) + feature, n));
    if (p.pre_activation) Features::store(p.pre_activation.row(member, row) + feature, n, x);
    Features::store(value, n, each(x, [&](float v) { return activated<kind>(v, p.slope); }));
  }
};

void bias_activation_forward_cuda(const BiasActivation<float>& p, Stream stream) {
  with_activation(p.activation, [&](auto kind) {
    cu::launch_features("bias_activation_forward", p.fleet, p.n_rows, p.n_features,
                        BiasActivationRow<decltype(kind)::value>{p}, stream);
  });
}
#endif

}  // namespace idem
