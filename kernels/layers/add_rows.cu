#include <algorithm>

#include "kernels/common/four_floats.h"
#include "kernels/layers/layers.h"

namespace idem {

#if IDEM_COMPILES_CPU_TWINS
template <class Real>
IDEM_SIMD_CLONES static void add_row(const Real* __restrict__ b, std::int32_t n_features, Real* __restrict__ sum) {
  for (std::int32_t feature = 0; feature < n_features; ++feature) sum[feature] += b[feature];
}

template <class Real>
void add_rows_cpu(const AddRows<Real>& p, ThreadPool& pool) {
  for_each_row_block(pool, p.fleet, p.n_rows, 256, [&](std::int64_t member, std::int64_t begin, std::int64_t end) {
    for (std::int64_t row = begin; row < end; ++row) {
      const Real* a = p.a.row(member, row);
      Real* sum = p.sum.row(member, row);
      if (sum != a) std::copy_n(a, p.n_features, sum);
      add_row(p.b.row(member, row), p.n_features, sum);
    }
  });
}
IDEM_INSTANTIATE_CPU(add_rows, AddRows)
#endif

#if IDEM_COMPILES_CUDA_TWINS
struct AddRowsRow {
  AddRows<float> p;
  bool takes_four() const { return idem::takes_four(p.sum) && idem::takes_four(p.a) && idem::takes_four(p.b); }
  template <class Features>
  __device__ void at(std::int64_t member, std::int64_t row, std::int32_t feature, std::int32_t n) const {
    const auto a = Features::load(p.a.row(member, row) + feature, n),
               b = Features::load(p.b.row(member, row) + feature, n);
    Features::store(p.sum.row(member, row) + feature, n, plus(a, b));
  }
};

void add_rows_cuda(const AddRows<float>& p, Stream stream) {
  cu::launch_features("add_rows", p.fleet, p.n_rows, p.n_features, AddRowsRow{p}, stream);
}
#endif

}  // namespace idem
