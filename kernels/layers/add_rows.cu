#include <algorithm>

#include "kernels/common/cuda.h"
#include "kernels/layers/layers.h"

namespace idem {

template <class Real>
struct AddRowsRow {
  AddRows<Real> p;
  HD void operator()(std::int64_t member, std::int64_t row, std::int32_t feature) const {
    p.sum.row(member, row)[feature] = p.a.row(member, row)[feature] + p.b.row(member, row)[feature];
  }
};

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
void add_rows_cuda(const AddRows<float>& p, Stream stream) {
  cu::launch_rows("add_rows", p.fleet, p.n_rows, p.n_features, AddRowsRow<float>{p}, stream);
}
#endif

}  // namespace idem
