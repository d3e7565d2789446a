#include "kernels/common/cuda.h"
#include "kernels/sampling/contrastive_indices.h"

namespace idem {

// One member's arrays. `slots` holds first whether a row occurs, then its place among the distinct ones.
template <class Real>
struct MemberRows {
  const std::int32_t* indices;
  std::int32_t *n_distinct, *distinct, *counts, *place, *slots;
  Real* weights;
  std::int64_t n_indices, n_counts;

  HD MemberRows(const DistinctRows<Real>& p, std::int64_t member)
      : n_indices(std::int64_t{p.n_lists} * p.batch), n_counts(std::int64_t{p.n_lists} * p.capacity) {
    indices = p.indices + member * n_indices;
    n_distinct = p.n_distinct + member;
    distinct = p.distinct + member * p.capacity;
    counts = p.counts + member * n_counts;
    weights = p.weights + member * n_counts;
    place = p.place + member * n_indices;
    slots = p.slots + member * p.n_rows;
  }
};

#if IDEM_COMPILES_CPU_TWINS
template <class Real>
void distinct_rows_cpu(const DistinctRows<Real>& p, ThreadPool& pool) {
  pool.parallel_for(p.fleet.n_members, [&](std::int64_t member) {
    if (!p.fleet.is_active(member)) return;
    const MemberRows<Real> rows(p, member);
    for (std::int32_t row = 0; row < p.n_rows; ++row) rows.slots[row] = 0;
    for (std::int64_t i = 0; i < rows.n_counts; ++i) rows.counts[i] = 0;
    for (std::int64_t i = 0; i < rows.n_indices; ++i) rows.slots[rows.indices[i]] = 1;
    std::int32_t n_distinct = 0;
    for (std::int32_t row = 0; row < p.n_rows; ++row) {
      if (rows.slots[row] == 0) continue;
      rows.distinct[n_distinct] = row;
      rows.slots[row] = n_distinct++;
    }
    *rows.n_distinct = n_distinct;
    for (std::int32_t i = n_distinct; i < p.capacity; ++i) rows.distinct[i] = n_distinct > 0 ? rows.distinct[0] : 0;
    for (std::int64_t i = 0; i < rows.n_indices; ++i) {
      rows.place[i] = rows.slots[rows.indices[i]];
      ++rows.counts[i / p.batch * p.capacity + rows.place[i]];
    }
    for (std::int64_t i = 0; i < rows.n_counts; ++i) rows.weights[i] = static_cast<Real>(rows.counts[i]);
  });
}
IDEM_INSTANTIATE_CPU(distinct_rows, DistinctRows)
#endif

#if IDEM_COMPILES_CUDA_TWINS
struct ClearDistinctRows {
  DistinctRows<float> p;
  HD void operator()(std::int64_t member, std::int64_t i, std::int32_t) const {
    const MemberRows<float> rows(p, member);
    if (i < p.n_rows) rows.slots[i] = 0;
    if (i < rows.n_counts) rows.counts[i] = 0;
  }
};
struct MarkDistinctRows {
  DistinctRows<float> p;
  __device__ void operator()(std::int64_t member, std::int64_t i, std::int32_t) const {
    const MemberRows<float> rows(p, member);
    atomicExch(rows.slots + rows.indices[i], 1);
  }
};
struct CountDistinctRows {
  DistinctRows<float> p;
  __device__ void operator()(std::int64_t member, std::int64_t i, std::int32_t) const {
    const MemberRows<float> rows(p, member);
    rows.place[i] = rows.slots[rows.indices[i]];
    atomicAdd(rows.counts + i / p.batch * p.capacity + rows.place[i], 1);
  }
};
struct WeighDistinctRows {
  DistinctRows<float> p;
  HD void operator()(std::int64_t member, std::int64_t i, std::int32_t) const {
    const MemberRows<float> rows(p, member);
    rows.weights[i] = static_cast<float>(rows.counts[i]);
  }
};

// One thread block numbers the marked rows of a member, as many rows at a time as it has threads.
__global__ void number_distinct_rows_kernel(DistinctRows<float> p) {
  CU_SHARED(std::int32_t, marked, [32]);  // per warp
  const std::int32_t lane = static_cast<std::int32_t>(threadIdx.x % 32), warp = static_cast<std::int32_t>(threadIdx.x / 32);
  const std::int32_t n_threads = static_cast<std::int32_t>(blockDim.x);
  for (std::int64_t member = blockIdx.x; member < p.fleet.n_members; member += gridDim.x) {
    if (!p.fleet.is_active(member)) continue;
    const MemberRows<float> rows(p, member);
    std::int32_t n_before = 0;
    for (std::int32_t first = 0; first < p.n_rows; first += n_threads) {
      const std::int32_t row = first + static_cast<std::int32_t>(threadIdx.x);
      const bool occurs = row < p.n_rows && rows.slots[row] != 0;
      const unsigned votes = __ballot_sync(0xffffffffu, occurs);
      if (lane == 0) marked[warp] = __popc(votes);
      __syncthreads();
      std::int32_t place = n_before + __popc(votes & ((1u << lane) - 1));
      for (std::int32_t other = 0; other < n_threads / 32; ++other) {
        if (other < warp) place += marked[other];
        n_before += marked[other];
      }
      if (occurs) {
        rows.distinct[place] = row;
        rows.slots[row] = place;
      }
      __syncthreads();
    }
    const std::int32_t filler = n_before > 0 ? rows.distinct[0] : 0;
    for (std::int32_t i = n_before + static_cast<std::int32_t>(threadIdx.x); i < p.capacity; i += n_threads) rows.distinct[i] = filler;
    if (threadIdx.x == 0) *rows.n_distinct = n_before;
  }
}

void distinct_rows_cuda(const DistinctRows<float>& p, Stream stream) {
  const std::int64_t n_indices = std::int64_t{p.n_lists} * p.batch, n_counts = std::int64_t{p.n_lists} * p.capacity;
  cu::launch_rows("clear_distinct_rows", p.fleet, n_counts < p.n_rows ? p.n_rows : n_counts, 1, ClearDistinctRows{p}, stream);
  cu::launch_rows("mark_distinct_rows", p.fleet, n_indices, 1, MarkDistinctRows{p}, stream);
  cu::launch("number_distinct_rows", number_distinct_rows_kernel, cu::grid_extent(p.fleet.n_members), static_cast<unsigned>(cu::threads(1024)), 0,
             stream, p);
  cu::launch_rows("count_distinct_rows", p.fleet, n_indices, 1, CountDistinctRows{p}, stream);
  cu::launch_rows("weigh_distinct_rows", p.fleet, n_counts, 1, WeighDistinctRows{p}, stream);
}
#endif

}  // namespace idem
