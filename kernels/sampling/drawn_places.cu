#include "kernels/common/cuda.h"
#include "kernels/sampling/contrastive_indices.h"

namespace idem {

// One member's arrays.
template <class Real>
struct MemberPlaces {
  const std::int32_t *indices, *place_of;
  std::int32_t *place, *counts;
  std::int64_t n_indices, n_counts;

  HD MemberPlaces(const DrawnPlaces<Real>& p, std::int64_t member)
      : n_indices(std::int64_t{p.n_lists} * p.batch), n_counts(std::int64_t{p.n_lists} * p.n_places) {
    indices = p.indices + member * n_indices;
    place_of = p.place_of + member * p.n_rows;
    place = p.place + member * n_indices;
    counts = p.counts ? p.counts + member * n_counts : nullptr;
  }
};

#if IDEM_COMPILES_CPU_TWINS
template <class Real>
void drawn_places_cpu(const DrawnPlaces<Real>& p, ThreadPool& pool) {
  // A task is a list of a member: nobody else counts there.
  for_each_row_block(pool, p.fleet, p.n_lists, 1, [&](std::int64_t member, std::int64_t list, std::int64_t) {
    const MemberPlaces<Real> of(p, member);
    const std::int64_t begin = list * p.batch, end = begin + p.batch;
    for (std::int64_t i = begin; i < end; ++i) of.place[i] = of.place_of[of.indices[i]];
    if (!of.counts) return;
    std::int32_t* counts = of.counts + list * p.n_places;
    for (std::int32_t i = 0; i < p.n_places; ++i) counts[i] = 0;
    for (std::int64_t i = begin; i < end; ++i) ++counts[of.place[i]];
  });
}
IDEM_INSTANTIATE_CPU(drawn_places, DrawnPlaces)
#endif

#if IDEM_COMPILES_CUDA_TWINS
struct ClearDrawnPlaces {
  DrawnPlaces<float> p;
  HD void operator()(std::int64_t member, std::int64_t i, std::int32_t) const { MemberPlaces<float>(p, member).counts[i] = 0; }
};
struct CountDrawnPlaces {
  DrawnPlaces<float> p;
  __device__ void operator()(std::int64_t member, std::int64_t i, std::int32_t) const {
    const MemberPlaces<float> of(p, member);
    of.place[i] = of.place_of[of.indices[i]];
    if (of.counts) atomicAdd(of.counts + i / p.batch * p.n_places + of.place[i], 1);
  }
};

void drawn_places_cuda(const DrawnPlaces<float>& p, Stream stream) {
  if (p.counts) cu::launch_rows("clear_drawn_places", p.fleet, std::int64_t{p.n_lists} * p.n_places, 1, ClearDrawnPlaces{p}, stream);
  cu::launch_rows("count_drawn_places", p.fleet, std::int64_t{p.n_lists} * p.batch, 1, CountDrawnPlaces{p}, stream);
}
#endif

}  // namespace idem
