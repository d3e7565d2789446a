#include "kernels/common/fixed_order_sum.h"
#include "kernels/layers/flow_rows.h"

namespace idem {

#if IDEM_COMPILES_CPU_TWINS
constexpr std::int32_t kFeatureTile = 256;

template <class Real>
IDEM_SIMD_CLONES static void coupling_forward_row(std::int32_t n_passed, std::int32_t n_moved,
                                                  const Real* __restrict__ x, const Real* __restrict__ raw,
                                                  const std::int32_t* __restrict__ place, Real* __restrict__ log_scale,
                                                  Real* __restrict__ out) {
  const std::int32_t last = n_moved - 1;
  for (std::int32_t i = 0; i < last; ++i) log_scale[i] = coupling_log_scale(raw[i]);
  log_scale[last] = -fixed_order_sum(log_scale, last);
  for (std::int32_t first = 0; first < n_moved; first += kFeatureTile) {
    const std::int32_t width = n_moved - first < kFeatureTile ? n_moved - first : kFeatureTile;
    Real moved[kFeatureTile];
    for (std::int32_t i = 0; i < width; ++i)
      moved[i] = x[n_passed + first + i] * stable::exp(log_scale[first + i]) + raw[last + first + i];
    for (std::int32_t i = 0; i < width; ++i) out[place ? place[first + i] : first + i] = moved[i];
  }
  for (std::int32_t i = 0; i < n_passed; ++i) out[place ? place[n_moved + i] : n_moved + i] = x[i];
}

template <class Real>
void coupling_forward_of_rows(const Coupling<Real>& p, std::int64_t member, std::int64_t begin, std::int64_t end) {
  for (std::int64_t row = begin; row < end; ++row)
    coupling_forward_row(p.n_passed(), p.n_moved(), p.x.row(member, row), p.raw.row(member, row), p.place,
                         p.log_scale.row(member, row), p.out.row(member, row));
}

template <class Real>
void coupling_forward_cpu(const Coupling<Real>& p, ThreadPool& pool) {
  for_each_row_block(pool, p.fleet, p.n_rows, 16, [&](std::int64_t member, std::int64_t begin, std::int64_t end) {
    coupling_forward_of_rows(p, member, begin, end);
  });
}

template <class Real>
IDEM_SIMD_CLONES static void coupling_backward_row(std::int32_t n_passed, std::int32_t n_moved,
                                                   const Real* __restrict__ x, const Real* __restrict__ log_scale,
                                                   const std::int32_t* __restrict__ place,
                                                   const Real* __restrict__ d_out, Real* __restrict__ d_x,
                                                   Real* __restrict__ d_raw) {
  const std::int32_t last = n_moved - 1;
  x += n_passed;
  const Real d_last = d_out[place ? place[last] : last] * stable::exp(log_scale[last]) * x[last];
  for (std::int32_t i = 0; i < n_moved; ++i) d_raw[last + i] = d_out[place ? place[i] : i];
  for (std::int32_t i = 0; i < n_passed; ++i) d_x[i] = d_out[place ? place[n_moved + i] : n_moved + i];
  for (std::int32_t i = 0; i < n_moved; ++i) d_x[n_passed + i] = d_raw[last + i] * stable::exp(log_scale[i]);
  for (std::int32_t i = 0; i < last; ++i)
    d_raw[i] = (d_x[n_passed + i] * x[i] - d_last) * coupling_log_scale_slope(log_scale[i]);
}

template <class Real>
void coupling_backward_of_rows(const CouplingGradient<Real>& p, std::int64_t member, std::int64_t begin,
                               std::int64_t end) {
  const auto& f = p.forward;
  for (std::int64_t row = begin; row < end; ++row)
    coupling_backward_row(f.n_passed(), f.n_moved(), f.x.row(member, row),
                          Rows<const Real>(f.log_scale).row(member, row), f.place, p.d_out.row(member, row),
                          p.d_x.row(member, row), p.d_raw.row(member, row));
}

template <class Real>
void coupling_backward_cpu(const CouplingGradient<Real>& p, ThreadPool& pool) {
  for_each_row_block(pool, p.forward.fleet, p.forward.n_rows, 16,
                     [&](std::int64_t member, std::int64_t begin, std::int64_t end) {
                       coupling_backward_of_rows(p, member, begin, end);
                     });
}
template void coupling_forward_of_rows(const Coupling<float>&, std::int64_t, std::int64_t, std::int64_t);
template void coupling_forward_of_rows(const Coupling<double>&, std::int64_t, std::int64_t, std::int64_t);
template void coupling_backward_of_rows(const CouplingGradient<float>&, std::int64_t, std::int64_t, std::int64_t);
template void coupling_backward_of_rows(const CouplingGradient<double>&, std::int64_t, std::int64_t, std::int64_t);
IDEM_INSTANTIATE_CPU(coupling_forward, Coupling)
IDEM_INSTANTIATE_CPU(coupling_backward, CouplingGradient)
#endif

#if IDEM_COMPILES_CUDA_TWINS
__global__ void coupling_forward_kernel(Coupling<float> p) {
  const int lane = static_cast<int>(threadIdx.x % 32), warps = static_cast<int>(blockDim.x / 32);
  for (std::int64_t member = blockIdx.y; member < p.fleet.n_members; member += gridDim.y) {
    if (!p.fleet.is_active(member)) continue;
    for (std::int64_t row = static_cast<std::int64_t>(blockIdx.x) * warps + threadIdx.x / 32; row < p.n_rows;
         row += static_cast<std::int64_t>(gridDim.x) * warps)
      coupling_forward_by_warp(p, member, row, lane);
  }
}

void coupling_forward_cuda(const Coupling<float>& p, Stream stream) {
  const int block = cu::threads(128), rows_per_block = block / 32;
  const dim3 grid(cu::grid_extent((p.n_rows + rows_per_block - 1) / rows_per_block, 0x7fffffffu),
                  cu::grid_extent(p.fleet.n_members));
  cu::launch("coupling_forward", coupling_forward_kernel, grid, dim3(static_cast<unsigned>(block)), 0, stream, p);
}

void coupling_backward_cuda(const CouplingGradient<float>& p, Stream stream) {
  cu::launch_rows("coupling_backward", p.forward.fleet, p.forward.n_rows, p.forward.n_moved(),
                  CouplingGradientRow<float>{p}, stream);
}
#endif

}  // namespace idem
