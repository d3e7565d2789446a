#include "kernels/common/cuda.h"
#include "kernels/objective/objective.h"

namespace idem {

// What one row adds to the sum of a column.
template <class Real>
HD Real epoch_sums_term(const EpochSums<Real>& p, std::int64_t member, std::int64_t row, std::int32_t column) {
  const std::int64_t at = member * p.row_scalar_stride + row;
  if (!(p.row_weight[at] > Real(0))) return Real(0);
  const EpochColumn<Real>& of = p.columns[column];
  return of.counts ? (of.values[at] == of.counted ? Real(1) : Real(0)) : of.values[at];
}

#if IDEM_COMPILES_CPU_TWINS
template <class Real>
void epoch_sums_cpu(const EpochSums<Real>& p, ThreadPool& pool) {
  pool.parallel_for(p.fleet.n_members, [&](std::int64_t member) {
    if (!p.fleet.is_active(member)) return;
    for (std::int32_t column = 0; column < p.n_columns; ++column) {
      if (!p.columns[column].values) continue;
      Real sum = 0;
      for (std::int32_t row = 0; row < p.batch; ++row) sum += epoch_sums_term(p, member, row, column);
      p.sums[member * p.n_columns + column] += sum;
    }
  });
}
IDEM_INSTANTIATE_CPU(epoch_sums, EpochSums)
#endif

#if IDEM_COMPILES_CUDA_TWINS
// One warp per (member, column).
__global__ void epoch_sums_kernel(EpochSums<float> p) {
  const int lane = static_cast<int>(threadIdx.x % 32), warps = static_cast<int>(blockDim.x / 32);
  for (std::int64_t member = blockIdx.y; member < p.fleet.n_members; member += gridDim.y) {
    if (!p.fleet.is_active(member)) continue;
    for (std::int32_t column = static_cast<std::int32_t>(threadIdx.x / 32); column < p.n_columns; column += warps) {
      if (!p.columns[column].values) continue;
      float sum = 0.0f;
      for (std::int32_t row = lane; row < p.batch; row += 32) sum += epoch_sums_term(p, member, row, column);
      sum = cu::warp_sum(sum);
      if (lane == 0) p.sums[member * p.n_columns + column] += sum;
    }
  }
}

void epoch_sums_cuda(const EpochSums<float>& p, Stream stream) {
  cu::launch("epoch_sums", epoch_sums_kernel, dim3(1, cu::grid_extent(p.fleet.n_members)),
             dim3(static_cast<unsigned>(cu::threads(256))), 0, stream, p);
}
#endif

}  // namespace idem
