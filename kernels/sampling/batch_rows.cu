#include "kernels/common/cuda.h"
#include "kernels/sampling/sampling.h"
#include "kernels/sampling/shuffled_order.h"

namespace idem {

// One member's batch.
template <class Real>
struct MemberBatch {
  BatchRows<Real> p;
  std::int64_t member, list_begin, list_size, first;
  bool enabled;

  HD MemberBatch(const BatchRows<Real>& batch_rows, std::int64_t of_member) : p(batch_rows), member(of_member) {
    list_begin = p.list_begin[member];
    list_size = p.list_begin[member + 1] - list_begin;
    first = static_cast<std::int64_t>(p.position[1]) * p.batch;
    enabled = p.enabled == nullptr || p.enabled[member] != 0;
  }
  HD std::int64_t n_real() const {
    const std::int64_t left = list_size - first;
    return left < 0 ? 0 : (left < p.batch ? left : p.batch);
  }
  HD bool is_active() const { return enabled && n_real() > 0; }
  HD ShuffledOrder order() const {
    return ShuffledOrder(p.seed[member], RandomStream::batch_order, p.position[0],
                         static_cast<std::uint32_t>(list_size));
  }
  // place: of the batch; order: position in the list of each real place.
  HD void write(std::int64_t place, std::uint32_t listed) const {
    const bool real = place < n_real();
    const std::int64_t index = real ? static_cast<std::int64_t>(listed) : 0;
    p.rows[member * p.batch + place] = list_size > 0 ? p.row_lists[list_begin + index] : 0;
    p.weights[member * p.weights_stride + place] = real && enabled ? Real(1) / static_cast<Real>(n_real()) : Real(0);
  }
};

#if IDEM_COMPILES_CPU_TWINS
IDEM_SIMD_CLONES static void permute_places(const ShuffledOrder& order, std::uint32_t first, std::int64_t n,
                                            std::uint32_t* __restrict__ permuted) {
  const ShuffledOrder copy = order;
  for (std::int64_t i = 0; i < n; ++i) permuted[i] = copy.permuted(first + static_cast<std::uint32_t>(i));
}

template <class Real>
void batch_rows_cpu(const BatchRows<Real>& p, ThreadPool& pool) {
  constexpr std::int64_t kPlaces = 256;
  pool.parallel_for(p.n_members, [&](std::int64_t member) {
    const MemberBatch<Real> batch(p, member);
    p.active[member] = batch.is_active() ? 1 : 0;
    const ShuffledOrder order = batch.order();
    for (std::int64_t begin = 0; begin < p.batch; begin += kPlaces) {
      const std::int64_t n = p.batch - begin < kPlaces ? p.batch - begin : kPlaces;
      std::uint32_t listed[kPlaces];
      const std::uint32_t first = static_cast<std::uint32_t>(batch.first + begin);
      if (p.shuffle) {
        permute_places(order, first, n, listed);
      } else {
        for (std::int64_t i = 0; i < n; ++i) listed[i] = first + static_cast<std::uint32_t>(i);
      }
      for (std::int64_t i = 0; i < n; ++i) {
        const bool walks = p.shuffle && begin + i < batch.n_real();
        batch.write(begin + i, walks ? order.walked(listed[i]) : listed[i]);
      }
    }
  });
}
IDEM_INSTANTIATE_CPU(batch_rows, BatchRows)
#endif

#if IDEM_COMPILES_CUDA_TWINS
__global__ void batch_rows_kernel(BatchRows<float> p) {
  for (std::int64_t member = blockIdx.y; member < p.n_members; member += gridDim.y) {
    const MemberBatch<float> batch(p, member);
    const ShuffledOrder order = batch.order();
    if (blockIdx.x == 0 && threadIdx.x == 0) p.active[member] = batch.is_active() ? 1 : 0;
    for (std::int64_t place = static_cast<std::int64_t>(blockIdx.x) * blockDim.x + threadIdx.x; place < p.batch;
         place += static_cast<std::int64_t>(gridDim.x) * blockDim.x) {
      const std::uint32_t first = static_cast<std::uint32_t>(batch.first + place);
      const bool walks = p.shuffle && place < batch.n_real();
      batch.write(place, walks ? order.walked(order.permuted(first)) : first);
    }
  }
}

void batch_rows_cuda(const BatchRows<float>& p, Stream stream) {
  const int threads = cu::threads(128);
  // At least one block, which also writes `active` where the batch has no place.
  const unsigned blocks = cu::grid_extent(p.batch > 0 ? (p.batch + threads - 1) / threads : 1);
  cu::launch("batch_rows", batch_rows_kernel, dim3(blocks, cu::grid_extent(p.n_members)),
             dim3(static_cast<unsigned>(threads)), 0, stream, p);
}
#endif

}  // namespace idem
