#include <limits>
#include <stdexcept>
#include <string>
#include <utility>

#include "kernels/common/cuda.h"
#include "kernels/common/quads.h"
#include "kernels/common/stable_math.h"
#include "kernels/contrastive/contrastive.h"

namespace idem {

// Both passes are one: of each row of its own, over all rows of the other axis,
//   forward   own = references, other = negatives: softmax weights found on the way (what was added so far is scaled
//             down when a larger similarity comes)
//   backward  own = negatives, other = references, whose log sums are known
template <class Real>
struct UniformityPass {
  FleetExtent fleet;
  std::int64_t n_own = 0, n_other = 0;
  std::int32_t n_features = 0;
  Similarity similarity = Similarity::cosine;
  const Real* inverse_temperature = nullptr;
  Rows<const Real> own, other;
  const std::int32_t *own_count = nullptr, *other_count = nullptr;
  std::int64_t count_stride = 0;
  Real scale = 1;
  Real *log_sum = nullptr,
       *mean_similarity =
           nullptr;  // of the references: log_sum is written by the forward pass and read by the backward pass
  Rows<Real> d_own;

  HD Real weight_of_own(std::int64_t member, std::int64_t row) const {
    return own_count ? static_cast<Real>(own_count[member * count_stride + row]) : Real(1);
  }
  HD Real weight_of_other(std::int64_t member, std::int64_t row) const {
    return other_count ? static_cast<Real>(other_count[member * count_stride + row]) : Real(1);
  }
  // d similarity / d own is this times the other row (cosine) or times own - other (euclidean).
  HD Real slope() const { return similarity == Similarity::cosine ? Real(1) : Real(-2); }
};

template <class Real>
static UniformityPass<Real> forward_pass(const Uniformity<Real>& p) {
  if (p.n_features < 1 || p.n_features > kMostContrastiveFeatures)
    throw std::invalid_argument("uniformity: an embedding has 1 to " + std::to_string(kMostContrastiveFeatures) +
                                " features, not " + std::to_string(p.n_features));
  return {.fleet = p.fleet,
          .n_own = p.n_references,
          .n_other = p.n_negatives,
          .n_features = p.n_features,
          .similarity = p.similarity,
          .inverse_temperature = p.inverse_temperature,
          .own = p.reference,
          .other = p.negative,
          .own_count = p.reference_count,
          .other_count = p.negative_count,
          .count_stride = p.count_stride,
          .scale = p.scale,
          .log_sum = p.log_sum,
          .mean_similarity = p.mean_similarity,
          .d_own = p.d_reference};
}

template <class Real>
static UniformityPass<Real> backward_pass(const UniformityGradient<Real>& p) {
  UniformityPass<Real> pass = forward_pass(p.forward);
  std::swap(pass.n_own, pass.n_other);
  std::swap(pass.own, pass.other);
  std::swap(pass.own_count, pass.other_count);
  pass.mean_similarity = nullptr;
  pass.d_own = p.d_negative;
  return pass;
}

#if IDEM_COMPILES_CPU_TWINS
// 32 own rows side by side, one in each lane of a register, pass over the other axis 8 rows at a time: sums need no
// tree, and their order is that of the rows. The loops' extents are constants, so that the compiler makes registers of
// the lanes.
constexpr int kLanes = 32, kChunk = 8;

template <class Real>
struct LaneSums {
  Real own[kMostContrastiveFeatures][kLanes], total[kMostContrastiveFeatures][kLanes];
  Real largest[kLanes], sum[kLanes], moment[kLanes];
};

// other: kChunk rows, of which those without weight count for nothing; offset: their log sums, for the backward pass.
template <class Real, Similarity kind, bool is_forward>
IDEM_SIMD_CLONES static void add_chunk(LaneSums<Real>& lanes, const Real* const* other, const Real* other_weight,
                                       const Real* offset, Real factor, std::int32_t n_features) {
  Real similarity[kChunk][kLanes] = {}, share[kChunk][kLanes], keep[kLanes];
  for (std::int32_t feature = 0; feature < n_features; ++feature) {
    const Real* own = lanes.own[feature];
    for (int i = 0; i < kChunk; ++i) {
      const Real value = other[i][feature];
      for (int lane = 0; lane < kLanes; ++lane) {
        if constexpr (kind == Similarity::cosine) {
          similarity[i][lane] += own[lane] * value;
        } else {
          similarity[i][lane] += (own[lane] - value) * (own[lane] - value);
        }
      }
    }
  }
  for (int lane = 0; lane < kLanes; ++lane) keep[lane] = Real(1);
  if constexpr (is_forward) {
    Real above[kLanes];
    for (int lane = 0; lane < kLanes; ++lane) above[lane] = lanes.largest[lane];
    for (int i = 0; i < kChunk; ++i) {
      const Real lowest =
          other_weight[i] != Real(0) ? -std::numeric_limits<Real>::infinity() : std::numeric_limits<Real>::infinity();
      for (int lane = 0; lane < kLanes; ++lane) {
        similarity[i][lane] *= factor;
        // A row without weight is above nothing.
        const Real candidate = lowest < Real(0) ? similarity[i][lane] : above[lane];
        above[lane] = candidate > above[lane] ? candidate : above[lane];
      }
    }
    for (int lane = 0; lane < kLanes; ++lane) {
      keep[lane] = stable::exp(lanes.largest[lane] - above[lane]);
      lanes.largest[lane] = above[lane];
    }
    for (int i = 0; i < kChunk; ++i) {
      for (int lane = 0; lane < kLanes; ++lane) share[i][lane] = stable::exp(similarity[i][lane] - above[lane]);
    }
  } else {
    for (int i = 0; i < kChunk; ++i) {
      for (int lane = 0; lane < kLanes; ++lane) share[i][lane] = stable::exp(similarity[i][lane] * factor - offset[i]);
    }
  }
  for (int lane = 0; lane < kLanes; ++lane) {
    lanes.sum[lane] *= keep[lane];
    lanes.moment[lane] *= keep[lane];
  }
  for (int i = 0; i < kChunk; ++i) {
    const bool is_used = other_weight[i] != Real(0);
    for (int lane = 0; lane < kLanes; ++lane) {
      share[i][lane] = is_used ? other_weight[i] * share[i][lane] : Real(0);
      lanes.sum[lane] += share[i][lane];
      if constexpr (is_forward) lanes.moment[lane] += is_used ? share[i][lane] * similarity[i][lane] : Real(0);
    }
  }
  for (std::int32_t feature = 0; feature < n_features; ++feature) {
    Real total[kLanes];
    for (int lane = 0; lane < kLanes; ++lane) total[lane] = lanes.total[feature][lane] * keep[lane];
    for (int i = 0; i < kChunk; ++i) {
      const Real value = other[i][feature];
      for (int lane = 0; lane < kLanes; ++lane) {
        if constexpr (kind == Similarity::cosine) {
          total[lane] += share[i][lane] * value;
        } else {
          total[lane] += share[i][lane] * (lanes.own[feature][lane] - value);
        }
      }
    }
    for (int lane = 0; lane < kLanes; ++lane) lanes.total[feature][lane] = total[lane];
  }
}

template <class Real, Similarity kind, bool is_forward>
static void pass_lanes(const UniformityPass<Real>& p, std::int64_t member, std::int64_t first) {
  const Real inverse_temperature = p.inverse_temperature[member],
             factor = kind == Similarity::cosine ? inverse_temperature : -inverse_temperature;
  const int width = static_cast<int>(p.n_own - first < kLanes ? p.n_own - first : kLanes);
  LaneSums<Real> lanes;
  Real weight[kLanes];
  bool any = false;
  for (int lane = 0; lane < kLanes; ++lane) {
    const std::int64_t row = first + (lane < width ? lane : 0);
    weight[lane] = lane < width ? p.weight_of_own(member, row) : Real(0);
    any = any || weight[lane] != Real(0);
    lanes.largest[lane] = -std::numeric_limits<Real>::infinity();
    lanes.sum[lane] = lanes.moment[lane] = Real(0);
    for (std::int32_t feature = 0; feature < p.n_features; ++feature) {
      lanes.own[feature][lane] = p.own.row(member, row)[feature];
      lanes.total[feature][lane] = Real(0);
    }
  }

  for (std::int64_t next = 0; any && next < p.n_other;) {
    const Real* other[kChunk];
    Real other_weight[kChunk] = {}, offset[kChunk] = {};
    int n = 0;
    for (; n < kChunk && next < p.n_other; ++next) {
      const Real w = p.weight_of_other(member, next);
      if (w == Real(0)) continue;
      other[n] = p.other.row(member, next);
      other_weight[n] = w;
      if constexpr (!is_forward) offset[n] = p.log_sum[member * p.n_other + next];
      ++n;
    }
    if (n == 0) break;
    for (int i = n; i < kChunk; ++i) other[i] = other[0];
    add_chunk<Real, kind, is_forward>(lanes, other, other_weight, offset, factor, p.n_features);
  }

  for (int lane = 0; lane < width; ++lane) {
    const std::int64_t row = first + lane;
    const bool is_used = weight[lane] != Real(0);
    if constexpr (is_forward) {
      p.log_sum[member * p.n_own + row] = is_used ? lanes.largest[lane] + stable::log(lanes.sum[lane]) : Real(0);
      p.mean_similarity[member * p.n_own + row] = is_used ? lanes.moment[lane] / lanes.sum[lane] : Real(0);
    }
    if (!is_used || !p.d_own) continue;
    const Real scale =
        p.scale * weight[lane] * p.slope() * inverse_temperature / (is_forward ? lanes.sum[lane] : Real(1));
    Real* d_own = p.d_own.row(member, row);
    for (std::int32_t feature = 0; feature < p.n_features; ++feature)
      d_own[feature] += scale * lanes.total[feature][lane];
  }
}

template <class Real, bool is_forward>
static void pass_cpu(const UniformityPass<Real>& p, ThreadPool& pool) {
  for_each_row_block(pool, p.fleet, p.n_own, kLanes, [&](std::int64_t member, std::int64_t begin, std::int64_t) {
    if (p.similarity == Similarity::cosine) {
      pass_lanes<Real, Similarity::cosine, is_forward>(p, member, begin);
    } else {
      pass_lanes<Real, Similarity::euclidean, is_forward>(p, member, begin);
    }
  });
}

template <class Real>
void uniformity_forward_cpu(const Uniformity<Real>& p, ThreadPool& pool) {
  pass_cpu<Real, true>(forward_pass(p), pool);
}
IDEM_INSTANTIATE_CPU(uniformity_forward, Uniformity)

template <class Real>
void uniformity_backward_cpu(const UniformityGradient<Real>& p, ThreadPool& pool) {
  pass_cpu<Real, false>(backward_pass(p), pool);
}
IDEM_INSTANTIATE_CPU(uniformity_backward, UniformityGradient)
#endif

#if IDEM_COMPILES_CUDA_TWINS
// Other rows in shared memory at a time, feature by feature: of few features so many that a batch is loaded in one go.
template <int capacity>
constexpr int kTile = capacity <= 8 ? 512 : 128;
// Threads fill it by quads: neighbours take up to 8 quads of a row, then those of the next row, and write one of their
// four features after the other.
template <int capacity>
constexpr int kQuadsSideBySide = capacity < 32 ? capacity / 4 : 8;
template <int capacity>
constexpr int kTileStride = kTile<capacity> + 8 / kQuadsSideBySide<capacity>;

template <int capacity>
constexpr bool fills_without_bank_conflicts() {
  std::uint32_t banks = 0;
  for (int lane = 0; lane < 32; ++lane) {
    const int quad = lane % kQuadsSideBySide<capacity>, place = lane / kQuadsSideBySide<capacity>;
    banks |= 1u << (4 * quad * kTileStride<capacity> + place) % 32;
  }
  return banks == 0xffffffffu;
}

// Rows of the others from `begin` on into shared memory, feature by feature; those there are not weigh nothing.
template <int capacity, bool is_forward>
static __device__ __forceinline__ void load_tile(const UniformityPass<float>& p, std::int64_t member,
                                                 std::int64_t begin, float* tile, float* tile_weight,
                                                 float* tile_offset) {
  constexpr int kRows = kTile<capacity>, kStride = kTileStride<capacity>, kSideBySide = kQuadsSideBySide<capacity>;
  for (int i = static_cast<int>(threadIdx.x); i < kRows * capacity / 4; i += static_cast<int>(blockDim.x)) {
    const int quad = i % kSideBySide + i / (kSideBySide * kRows) * kSideBySide, place = i / kSideBySide % kRows;
    const bool is_row = begin + place < p.n_other;
    const Quad<float> values =
        is_row && 4 * quad < p.n_features ? quad_of(p.other.row(member, begin + place), quad) : Quad<float>{};
    UNROLLED for (int f = 0; f < 4; ++f) tile[(4 * quad + f) * kStride + place] =
        4 * quad + f < p.n_features ? values.of[f] : 0.0f;
  }
  for (int place = static_cast<int>(threadIdx.x); place < kRows; place += static_cast<int>(blockDim.x)) {
    const bool is_row = begin + place < p.n_other;
    tile_weight[place] = is_row ? p.weight_of_other(member, begin + place) : 0.0f;
    tile_offset[place] = is_row && !is_forward ? p.log_sum[member * p.n_other + begin + place] : 0.0f;
  }
}

// One warp per own row, other rows along its lanes, each lane with sums of its own until the end. capacity: features,
// rounded up.
template <int capacity, bool is_forward>
__global__ void uniformity_kernel(UniformityPass<float> p) {
  constexpr int kRows = kTile<capacity>, kStride = kTileStride<capacity>;
  CU_DYN_SHARED(float, shared);
  const int lane = static_cast<int>(threadIdx.x % 32), warp = static_cast<int>(threadIdx.x / 32),
            n_warps = static_cast<int>(blockDim.x / 32);
  float *tile = shared, *tile_weight = tile + capacity * kStride, *tile_offset = tile_weight + kRows;
  float* own = tile_offset + kRows + warp * capacity;
  const bool is_cosine = p.similarity == Similarity::cosine;
  for (std::int64_t member = blockIdx.y; member < p.fleet.n_members; member += gridDim.y) {
    if (!p.fleet.is_active(member)) continue;
    const float inverse_temperature = p.inverse_temperature[member],
                factor = is_cosine ? inverse_temperature : -inverse_temperature;
    for (std::int64_t first = static_cast<std::int64_t>(blockIdx.x) * n_warps; first < p.n_own;
         first += static_cast<std::int64_t>(gridDim.x) * n_warps) {
      const std::int64_t row = first + warp;
      const float weight = row < p.n_own ? p.weight_of_own(member, row) : 0.0f;
      const bool is_used = weight != 0.0f;
      __syncwarp();
      for (int feature = lane; feature < capacity; feature += 32)
        own[feature] = is_used && feature < p.n_features ? p.own.row(member, row)[feature] : 0.0f;
      float largest = -INFINITY, sum = 0.0f, moment = 0.0f, total[capacity];
      UNROLLED for (int feature = 0; feature < capacity; ++feature) total[feature] = 0.0f;

      for (std::int64_t begin = 0; begin < p.n_other; begin += kRows) {
        __syncthreads();
        load_tile<capacity, is_forward>(p, member, begin, tile, tile_weight, tile_offset);
        __syncthreads();
        if (!is_used) continue;
        constexpr int kPerLane = kRows / 32;
        float similarity[kPerLane], above = largest;
        UNROLLED for (int i = 0; i < kPerLane; ++i) {
          const float* other = tile + lane + 32 * i;
          float s = 0.0f;
          if (is_cosine) {
            UNROLLED_BY(4)
            for (int feature = 0; feature < capacity; ++feature) s = fmaf(own[feature], other[feature * kStride], s);
          } else {
            UNROLLED_BY(4) for (int feature = 0; feature < capacity; ++feature) {
              const float gap = own[feature] - other[feature * kStride];
              s = fmaf(gap, gap, s);
            }
          }
          similarity[i] = s * factor;
          if (tile_weight[lane + 32 * i] != 0.0f && similarity[i] > above) above = similarity[i];
        }
        if (is_forward && above > largest) {
          const float keep = stable::exp(largest - above);
          largest = above;
          sum *= keep;
          moment *= keep;
          UNROLLED for (int feature = 0; feature < capacity; ++feature) total[feature] *= keep;
        }
        UNROLLED for (int i = 0; i < kPerLane; ++i) {
          const float other_weight = tile_weight[lane + 32 * i];
          if (other_weight == 0.0f) continue;
          const float share =
              other_weight * stable::exp(similarity[i] - (is_forward ? largest : tile_offset[lane + 32 * i]));
          const float* other = tile + lane + 32 * i;
          sum += share;
          moment = fmaf(share, similarity[i], moment);
          if (is_cosine) {
            UNROLLED for (int feature = 0; feature < capacity; ++feature) total[feature] =
                fmaf(share, other[feature * kStride], total[feature]);
          } else {
            UNROLLED for (int feature = 0; feature < capacity; ++feature) total[feature] =
                fmaf(share, own[feature] - other[feature * kStride], total[feature]);
          }
        }
      }
      if (!is_used) {
        if (is_forward && lane == 0 && row < p.n_own)
          p.log_sum[member * p.n_own + row] = p.mean_similarity[member * p.n_own + row] = 0.0f;
        continue;
      }
      float keep = 1.0f;
      if (is_forward) {
        const float above = cu::warp_max(largest);
        // A lane without a row has nothing to keep; infinities of both would have no difference.
        keep = largest == above ? 1.0f : stable::exp(largest - above);
        largest = above;
        sum = cu::warp_sum(sum * keep);
        moment = cu::warp_sum(moment * keep);
        if (lane == 0) {
          p.log_sum[member * p.n_own + row] = largest + stable::log(sum);
          p.mean_similarity[member * p.n_own + row] = moment / sum;
        }
      }
      if (!p.d_own) continue;
      const float scale = p.scale * weight * p.slope() * inverse_temperature / (is_forward ? sum : 1.0f);
      UNROLLED for (int feature = 0; feature < capacity; ++feature) {
        const float d = cu::warp_sum(total[feature] * keep);
        if (lane == feature % 32 && feature < p.n_features) p.d_own.row(member, row)[feature] += scale * d;
      }
    }
  }
}

template <bool is_forward, int capacity = 4>
static void launch_pass(const char* name, const UniformityPass<float>& p, Stream stream) {
  if constexpr (capacity < kMostContrastiveFeatures) {
    if (p.n_features > capacity) return launch_pass<is_forward, 2 * capacity>(name, p, stream);
  }
  static_assert(fills_without_bank_conflicts<capacity>());
  // Smaller blocks where there are too few rows to give each multiprocessor a block: a row's sums are its warp's alone.
  constexpr std::int64_t kManyRows = 2048;
  const int block = cu::threads(p.n_own * p.fleet.n_members < kManyRows ? 128 : 256), n_warps = block / 32;
  const std::size_t shared_bytes =
      static_cast<std::size_t>(capacity * kTileStride<capacity> + 2 * kTile<capacity> + n_warps * capacity) *
      sizeof(float);
  const dim3 grid(cu::grid_extent((p.n_own + n_warps - 1) / n_warps, 0x7fffffffu), cu::grid_extent(p.fleet.n_members));
  cu::launch(name, uniformity_kernel<capacity, is_forward>, grid, dim3(static_cast<unsigned>(block)), shared_bytes,
             stream, p);
}

void uniformity_forward_cuda(const Uniformity<float>& p, Stream stream) {
  launch_pass<true>("uniformity_forward", forward_pass(p), stream);
}
void uniformity_backward_cuda(const UniformityGradient<float>& p, Stream stream) {
  launch_pass<false>("uniformity_backward", backward_pass(p), stream);
}
#endif

}  // namespace idem
