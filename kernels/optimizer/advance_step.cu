#include "kernels/common/cuda.h"
#include "kernels/optimizer/optimizer.h"

namespace idem {

template <class Real>
struct AdvanceStepRow {
  AdvanceStep<Real> p;
  HD void operator()(std::int64_t member, std::int64_t, std::int32_t) const {
    const Real norm = p.norm ? p.norm[member] : Real(0);
    const bool is_finite = norm - norm == Real(0);  // neither infinite nor NaN
    const bool steps = is_finite && !(p.nonfinite && p.nonfinite[member]);
    if (p.nonfinite) p.nonfinite[member] = 0;
    if (p.step && is_finite) ++p.step[member];
    if (p.skipped && !steps) ++p.skipped[member];
    if (p.draw) ++p.draw[member];
  }
};

#if IDEM_COMPILES_CPU_TWINS
template <class Real>
void advance_step_cpu(const AdvanceStep<Real>& p, ThreadPool&) {
  for (std::int64_t member = 0; member < p.fleet.n_members; ++member) {
    if (p.fleet.is_active(member)) AdvanceStepRow<Real>{p}(member, 0, 0);
  }
  if (p.position) ++p.position[1];
}
IDEM_INSTANTIATE_CPU(advance_step, AdvanceStep)
#endif

#if IDEM_COMPILES_CUDA_TWINS
__global__ void advance_step_kernel(AdvanceStep<float> p) {
  for (std::int64_t member = static_cast<std::int64_t>(blockIdx.x) * blockDim.x + threadIdx.x;
       member < p.fleet.n_members; member += static_cast<std::int64_t>(gridDim.x) * blockDim.x) {
    if (p.fleet.is_active(member)) AdvanceStepRow<float>{p}(member, 0, 0);
  }
  if (blockIdx.x == 0 && threadIdx.x == 0 && p.position) ++p.position[1];
}

void advance_step_cuda(const AdvanceStep<float>& p, Stream stream) {
  const int threads = cu::threads(128);
  cu::launch("advance_step", advance_step_kernel, cu::grid_extent((p.fleet.n_members + threads - 1) / threads),
             static_cast<unsigned>(threads), 0, stream, p);
}
#endif

}  // namespace idem
