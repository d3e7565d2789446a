#include "kernels/common/cuda.h"
#include "kernels/common/stable_math.h"
#include "kernels/contrastive/contrastive.h"

namespace idem {

template <class Real>
struct InverseTemperatureRow {
  InverseTemperature<Real> p;
  HD void operator()(std::int64_t member, std::int64_t, std::int32_t) const {
    const Real value = stable::exp(p.log_inverse_temperature[member * p.log_stride]);
    const bool is_above = value > p.largest;
    p.value[member] = is_above ? p.largest : value;
    p.slope[member] = is_above ? Real(0) : Real(1);
  }
};

// What each member's terms come to from its sums.
template <class Real>
HD void write_terms(const InfoNceTerms<Real>& p, std::int64_t member, double similarities, double log_sums,
                    double mean_similarities) {
  const double alignment = -similarities / static_cast<double>(p.n_pairs), scale = static_cast<double>(p.scale),
               uniformity = scale * log_sums;
  p.alignment[member] = static_cast<Real>(alignment);
  p.uniformity[member] = static_cast<Real>(uniformity);
  const Real loss = static_cast<Real>(alignment + uniformity);
  p.loss[member] = p.accumulate ? p.loss[member] + loss : loss;
  if (!p.temperature_slope) return;
  Real& d_log = p.d_log_inverse_temperature[member * p.d_log_stride];
  const Real d = p.temperature_slope[member] * static_cast<Real>(alignment + scale * mean_similarities);
  d_log = p.accumulate ? d_log + d : d;
}

template <class Real>
HD double reference_count(const InfoNceTerms<Real>& p, std::int64_t member, std::int64_t row) {
  return p.reference_count ? static_cast<double>(p.reference_count[member * p.count_stride + row]) : 1.0;
}

#if IDEM_COMPILES_CPU_TWINS
template <class Real>
void inverse_temperature_cpu(const InverseTemperature<Real>& p, ThreadPool& pool) {
  for_each_row_block(pool, p.fleet, 1, 1, [&](std::int64_t member, std::int64_t, std::int64_t) {
    InverseTemperatureRow<Real>{p}(member, 0, 0);
  });
}
IDEM_INSTANTIATE_CPU(inverse_temperature, InverseTemperature)

template <class Real>
void info_nce_terms_cpu(const InfoNceTerms<Real>& p, ThreadPool& pool) {
  for_each_row_block(pool, p.fleet, 1, 1, [&](std::int64_t member, std::int64_t, std::int64_t) {
    double similarities = 0, log_sums = 0, mean_similarities = 0;
    for (std::int64_t pair = 0; pair < p.n_pairs; ++pair)
      similarities += static_cast<double>(p.similarity_value[member * p.n_pairs + pair]);
    for (std::int64_t row = 0; row < p.n_references; ++row) {
      const double count = reference_count(p, member, row);
      log_sums += count * static_cast<double>(p.log_sum[member * p.n_references + row]);
      mean_similarities += count * static_cast<double>(p.mean_similarity[member * p.n_references + row]);
    }
    write_terms(p, member, similarities, log_sums, mean_similarities);
  });
}
IDEM_INSTANTIATE_CPU(info_nce_terms, InfoNceTerms)
#endif

#if IDEM_COMPILES_CUDA_TWINS
void inverse_temperature_cuda(const InverseTemperature<float>& p, Stream stream) {
  cu::launch_rows("inverse_temperature", p.fleet, 1, 1, InverseTemperatureRow<float>{p}, stream);
}

// One block per member.
__global__ void info_nce_terms_kernel(InfoNceTerms<float> p) {
  CU_SHARED(double, sums, [3][32]);
  const int lane = static_cast<int>(threadIdx.x % 32), warp = static_cast<int>(threadIdx.x / 32),
            n_warps = static_cast<int>(blockDim.x / 32);
  for (std::int64_t member = blockIdx.x; member < p.fleet.n_members; member += gridDim.x) {
    if (!p.fleet.is_active(member)) continue;
    double similarities = 0, log_sums = 0, mean_similarities = 0;
    for (std::int64_t pair = threadIdx.x; pair < p.n_pairs; pair += blockDim.x)
      similarities += p.similarity_value[member * p.n_pairs + pair];
    for (std::int64_t row = threadIdx.x; row < p.n_references; row += blockDim.x) {
      const double count = reference_count(p, member, row);
      log_sums += count * p.log_sum[member * p.n_references + row];
      mean_similarities += count * p.mean_similarity[member * p.n_references + row];
    }
    similarities = cu::warp_sum(similarities);
    log_sums = cu::warp_sum(log_sums);
    mean_similarities = cu::warp_sum(mean_similarities);
    if (lane == 0) {
      sums[0][warp] = similarities;
      sums[1][warp] = log_sums;
      sums[2][warp] = mean_similarities;
    }
    __syncthreads();
    if (threadIdx.x == 0) {
      double total[3] = {};
      for (int other = 0; other < n_warps; ++other) {
        for (int i = 0; i < 3; ++i) total[i] += sums[i][other];
      }
      write_terms(p, member, total[0], total[1], total[2]);
    }
    __syncthreads();
  }
}

void info_nce_terms_cuda(const InfoNceTerms<float>& p, Stream stream) {
  cu::launch("info_nce_terms", info_nce_terms_kernel, cu::grid_extent(p.fleet.n_members),
             static_cast<unsigned>(cu::threads(256)), 0, stream, p);
}
#endif

}  // namespace idem
