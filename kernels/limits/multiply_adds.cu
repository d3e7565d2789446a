#include "kernels/limits/multiply_adds.h"

#include <algorithm>

#include "kernels/common/cuda.h"

namespace idem {

#if IDEM_COMPILES_CPU_TWINS
// As many chains as hide how long one multiply-add takes, and no more than the registers hold: eight wide registers.
constexpr std::int64_t kChains = 64, kWideChains = 128;

template <std::int64_t n_chains, class Real>
IDEM_SIMD_CLONES static void add_up(const MultiplyAdds<Real>& p, std::int64_t begin) {
  Real chains[n_chains] = {};
  const std::int64_t n = std::min(n_chains, p.n - begin);
  std::copy_n(p.values + begin, n, chains);
  for (std::int32_t round = 0; round < p.rounds; ++round)
    for (std::int64_t i = 0; i < n_chains; ++i) chains[i] = chains[i] * p.factor + p.term;
  std::copy_n(chains, n, p.values + begin);
}

static bool has_wide_registers() {
#if IDEM_HAS_SIMD_CLONES
  return __builtin_cpu_supports("avx512f");
#else
  return false;
#endif
}

template <class Real>
void multiply_adds_cpu(const MultiplyAdds<Real>& p, ThreadPool& pool) {
  const std::int64_t n_chains = has_wide_registers() ? kWideChains : kChains;
  pool.parallel_for((p.n + n_chains - 1) / n_chains, [&](std::int64_t block) {
    if (n_chains == kWideChains)
      add_up<kWideChains>(p, block * kWideChains);
    else
      add_up<kChains>(p, block * kChains);
  });
}
IDEM_INSTANTIATE_CPU(multiply_adds, MultiplyAdds)
#endif

#if IDEM_COMPILES_CUDA_TWINS
// Of each thread, besides what other warps do meanwhile.
constexpr int kChainsOfThread = 8;

__global__ void multiply_adds_kernel(MultiplyAdds<float> p) {
  const std::int64_t n_threads = static_cast<std::int64_t>(gridDim.x) * blockDim.x;
  const std::int64_t thread = static_cast<std::int64_t>(blockIdx.x) * blockDim.x + threadIdx.x;
  for (std::int64_t first = thread; first < p.n; first += kChainsOfThread * n_threads) {
    float chains[kChainsOfThread] = {};
    UNROLLED for (int i = 0; i < kChainsOfThread; ++i) if (first + i * n_threads < p.n) chains[i] =
        p.values[first + i * n_threads];
    for (std::int32_t round = 0; round < p.rounds; ++round)
      UNROLLED for (int i = 0; i < kChainsOfThread; ++i) chains[i] = fmaf(chains[i], p.factor, p.term);
    UNROLLED for (int i = 0; i < kChainsOfThread; ++i) if (first + i * n_threads < p.n)
        p.values[first + i * n_threads] = chains[i];
  }
}

void multiply_adds_cuda(const MultiplyAdds<float>& p, Stream stream) {
  const std::int64_t block = cu::threads(256), of_block = kChainsOfThread * block;
  cu::launch("multiply_adds", multiply_adds_kernel, cu::grid_extent((p.n + of_block - 1) / of_block),
             static_cast<unsigned>(block), 0, stream, p);
}
#endif

}  // namespace idem
