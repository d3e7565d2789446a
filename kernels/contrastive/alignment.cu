#include "kernels/common/cuda.h"
#include "kernels/contrastive/contrastive.h"

namespace idem {

template <class Real>
HD const Real* reference_of(const Alignment<Real>& p, std::int64_t member, std::int64_t pair) {
  return p.reference.row(member, p.reference_place ? p.reference_place[member * p.place_stride + pair] : pair);
}
template <class Real>
HD const Real* positive_of(const Alignment<Real>& p, std::int64_t member, std::int64_t pair) {
  return p.positive.row(member, p.positive_place ? p.positive_place[member * p.place_stride + pair] : pair);
}

// The gradient at one row of a pair, the same for either: this times the other row (cosine) or times own - other (euclidean).
template <class Real>
HD Real alignment_slope(const Alignment<Real>& p, std::int64_t member) {
  const Real slope = p.inverse_temperature[member] / static_cast<Real>(p.n_pairs);
  return p.similarity == Similarity::cosine ? -slope : Real(2) * slope;
}

template <class Real>
struct PairSimilarityRow {
  Alignment<Real> p;
  HD void operator()(std::int64_t member, std::int64_t pair, std::int32_t) const {
    const Real *reference = reference_of(p, member, pair), *positive = positive_of(p, member, pair);
    Real s = 0;
    for (std::int32_t feature = 0; feature < p.n_features; ++feature) {
      const Real gap = reference[feature] - positive[feature];
      s += p.similarity == Similarity::cosine ? reference[feature] * positive[feature] : -gap * gap;
    }
    p.similarity_value[member * p.n_pairs + pair] = p.inverse_temperature[member] * s;
  }
};

// Pairs of rows of their own.
template <class Real>
struct PairGradientRow {
  Alignment<Real> p;
  HD void operator()(std::int64_t member, std::int64_t pair, std::int32_t feature) const {
    const Real reference = reference_of(p, member, pair)[feature], positive = positive_of(p, member, pair)[feature];
    const Real slope = alignment_slope(p, member);
    const bool is_cosine = p.similarity == Similarity::cosine;
    p.d_reference.row(member, pair)[feature] += slope * (is_cosine ? positive : reference - positive);
    p.d_positive.row(member, pair)[feature] += slope * (is_cosine ? reference : positive - reference);
  }
};

// Both of a pair of few features, in one go.
constexpr std::int32_t kFewFeatures = 16;
template <class Real>
struct ShortPairRow {
  Alignment<Real> p;
  HD void operator()(std::int64_t member, std::int64_t pair, std::int32_t) const {
    PairSimilarityRow<Real>{p}(member, pair, 0);
    for (std::int32_t feature = 0; feature < p.n_features; ++feature) PairGradientRow<Real>{p}(member, pair, feature);
  }
};

#if IDEM_COMPILES_CPU_TWINS
// Pairs that share rows, one after another.
template <class Real>
static void scatter_pairs(const Alignment<Real>& p, std::int64_t member) {
  const Real slope = alignment_slope(p, member);
  const bool is_cosine = p.similarity == Similarity::cosine;
  for (std::int64_t pair = 0; pair < p.n_pairs; ++pair) {
    const Real *reference = reference_of(p, member, pair), *positive = positive_of(p, member, pair);
    Real* d_reference = p.d_reference.row(member, p.reference_place[member * p.place_stride + pair]);
    Real* d_positive = p.d_reference.row(member, p.positive_place[member * p.place_stride + pair]);
    for (std::int32_t feature = 0; feature < p.n_features; ++feature) {
      d_reference[feature] += slope * (is_cosine ? positive[feature] : reference[feature] - positive[feature]);
      d_positive[feature] += slope * (is_cosine ? reference[feature] : positive[feature] - reference[feature]);
    }
  }
}

template <class Real>
void alignment_cpu(const Alignment<Real>& p, ThreadPool& pool) {
  const bool has_places = p.reference_place != nullptr, has_gradient = static_cast<bool>(p.d_reference);
  const PairSimilarityRow<Real> similarity{p};
  const PairGradientRow<Real> gradient{p};
  for_each_row_block(pool, p.fleet, p.n_pairs, 256, [&](std::int64_t member, std::int64_t begin, std::int64_t end) {
    for (std::int64_t pair = begin; pair < end; ++pair) {
      similarity(member, pair, 0);
      for (std::int32_t feature = 0; has_gradient && !has_places && feature < p.n_features; ++feature) gradient(member, pair, feature);
    }
  });
  if (has_gradient && has_places)
    for_each_row_block(pool, p.fleet, 1, 1, [&](std::int64_t member, std::int64_t, std::int64_t) { scatter_pairs(p, member); });
}
IDEM_INSTANTIATE_CPU(alignment, Alignment)
#endif

#if IDEM_COMPILES_CUDA_TWINS
// Pairs that share rows: one warp per row looks through all pairs for its own, so that nothing is written by two and the order is fixed. The lanes
// look at 32 pairs at a time and then take the features of each pair found.
__global__ void gather_pairs_kernel(Alignment<float> p) {
  constexpr int kPerLane = kMostContrastiveFeatures / 32;
  const int lane = static_cast<int>(threadIdx.x % 32), n_warps = static_cast<int>(blockDim.x / 32);
  const bool is_cosine = p.similarity == Similarity::cosine;
  for (std::int64_t member = blockIdx.y; member < p.fleet.n_members; member += gridDim.y) {
    if (!p.fleet.is_active(member)) continue;
    const std::int32_t *reference_place = p.reference_place + member * p.place_stride, *positive_place = p.positive_place + member * p.place_stride;
    for (std::int64_t row = static_cast<std::int64_t>(blockIdx.x) * n_warps + threadIdx.x / 32; row < p.n_rows;
         row += static_cast<std::int64_t>(gridDim.x) * n_warps) {
      const float* own = p.reference.row(member, row);
      float total[kPerLane] = {};
      const auto add = [&](unsigned found, const std::int32_t* places, std::int64_t begin) {
        for (; found != 0; found &= found - 1) {
          const float* other = p.reference.row(member, places[begin + __ffs(static_cast<int>(found)) - 1]);
          for (int i = 0; i < kPerLane; ++i) {
            const int feature = lane + 32 * i;
            if (feature < p.n_features) total[i] += is_cosine ? other[feature] : own[feature] - other[feature];
          }
        }
      };
      for (std::int64_t begin = 0; begin < p.n_pairs; begin += 32) {
        const bool is_pair = begin + lane < p.n_pairs;
        const unsigned as_reference = __ballot_sync(0xffffffffu, is_pair && reference_place[begin + lane] == row);
        const unsigned as_positive = __ballot_sync(0xffffffffu, is_pair && positive_place[begin + lane] == row);
        add(as_reference, positive_place, begin);
        add(as_positive, reference_place, begin);
      }
      const float slope = alignment_slope(p, member);
      for (int i = 0; i < kPerLane; ++i) {
        const int feature = lane + 32 * i;
        if (feature < p.n_features) p.d_reference.row(member, row)[feature] += slope * total[i];
      }
    }
  }
}

void alignment_cuda(const Alignment<float>& p, Stream stream) {
  if (p.d_reference && !p.reference_place && p.n_features <= kFewFeatures)
    return cu::launch_rows("alignment", p.fleet, p.n_pairs, 1, ShortPairRow<float>{p}, stream);
  cu::launch_rows("alignment", p.fleet, p.n_pairs, 1, PairSimilarityRow<float>{p}, stream);
  if (!p.d_reference) return;
  if (!p.reference_place) return cu::launch_rows("alignment_gradient", p.fleet, p.n_pairs, p.n_features, PairGradientRow<float>{p}, stream);
  const int block = cu::threads(256), rows_per_block = block / 32;
  const dim3 grid(cu::grid_extent((p.n_rows + rows_per_block - 1) / rows_per_block, 0x7fffffffu), cu::grid_extent(p.fleet.n_members));
  cu::launch("alignment_gather", gather_pairs_kernel, grid, dim3(static_cast<unsigned>(block)), 0, stream, p);
}
#endif

}  // namespace idem
