#include "kernels/limits/copy_values.h"

#include <algorithm>

#include "kernels/common/cuda.h"

namespace idem {

#if IDEM_COMPILES_CPU_TWINS
template <class Real>
void copy_values_cpu(const CopyValues<Real>& p, ThreadPool& pool) {
  constexpr std::int64_t kBlock = std::int64_t{1} << 18;
  pool.parallel_for((p.n + kBlock - 1) / kBlock, [&](std::int64_t block) {
    const std::int64_t begin = block * kBlock;
    std::copy_n(p.from + begin, std::min(kBlock, p.n - begin), p.to + begin);
  });
}
IDEM_INSTANTIATE_CPU(copy_values, CopyValues)
#endif

#if IDEM_COMPILES_CUDA_TWINS
// Sixteen bytes at a time, several of them on their way at once.
constexpr int kOnTheirWay = 4;

__global__ void copy_values_kernel(CopyValues<float> p) {
  const std::int64_t n_fours = p.n / 4, n_threads = static_cast<std::int64_t>(gridDim.x) * blockDim.x;
  const std::int64_t thread = static_cast<std::int64_t>(blockIdx.x) * blockDim.x + threadIdx.x;
  const auto* from = reinterpret_cast<const float4*>(p.from);
  auto* to = reinterpret_cast<float4*>(p.to);
  for (std::int64_t first = thread; first < n_fours; first += kOnTheirWay * n_threads) {
    float4 values[kOnTheirWay];
    for (int i = 0; i < kOnTheirWay; ++i)
      if (first + i * n_threads < n_fours) values[i] = from[first + i * n_threads];
    for (int i = 0; i < kOnTheirWay; ++i)
      if (first + i * n_threads < n_fours) to[first + i * n_threads] = values[i];
  }
  const std::int64_t rest = 4 * n_fours + thread;
  if (rest < p.n) p.to[rest] = p.from[rest];
}

void copy_values_cuda(const CopyValues<float>& p, Stream stream) {
  const std::int64_t block = cu::threads(256), of_block = 4 * kOnTheirWay * block;
  cu::launch("copy_values", copy_values_kernel, cu::grid_extent((p.n + of_block - 1) / of_block),
             static_cast<unsigned>(block), 0, stream, p);
}
#endif

}  // namespace idem
