#include <cmath>
#include <vector>

#include "kernels/common/cuda.h"
#include "kernels/input/input.h"

namespace idem {

// The window of one centre bin inside its segment.
template <class Real>
struct FilterWindow {
  std::int64_t segment_begin, segment_end, first;  // first: the bin of tap 0 before the edge rule
  std::int32_t n_taps;
  EdgeMode edge;
  bool inside;  // no tap leaves the segment

  HD FilterWindow(const TemporalFilter<Real>& p, std::int64_t centre)
      : segment_begin(p.segment_begin[centre]), segment_end(p.segment_end[centre]), first(centre - p.left), n_taps(p.n_taps), edge(p.edge) {
    const std::int64_t last_first = segment_end - n_taps;
    if (edge == EdgeMode::shift_window && segment_begin <= last_first) {
      first = first < segment_begin ? segment_begin : (first > last_first ? last_first : first);
    }
    inside = first >= segment_begin && first <= last_first;
  }

  // The bin tap reads; -1 where it reads zero.
  HD std::int64_t source(std::int32_t tap) const {
    const std::int64_t length = segment_end - segment_begin;
    std::int64_t bin = first + tap - segment_begin;
    if (bin >= 0 && bin < length) return segment_begin + bin;
    switch (edge) {
      case EdgeMode::constant:
        return -1;
      case EdgeMode::wrap:
        bin = modulo(bin, length);
        break;
      case EdgeMode::reflect:
        bin = modulo(bin, 2 * length);
        if (bin >= length) bin = 2 * length - 1 - bin;
        break;
      case EdgeMode::mirror:
        bin = length == 1 ? 0 : modulo(bin, 2 * length - 2);
        if (bin >= length) bin = 2 * length - 2 - bin;
        break;
      default:  // nearest, and windows longer than their segment
        bin = bin < 0 ? 0 : length - 1;
    }
    return segment_begin + bin;
  }

 private:
  static HD std::int64_t modulo(std::int64_t a, std::int64_t n) {
    const std::int64_t r = a % n;
    return r < 0 ? r + n : r;
  }
};

// Calls visit(centre, tap) for every tap that reads the bin, in ascending order of centre, then tap.
template <class Real, class Visit>
HD void for_each_reader(const TemporalFilter<Real>& p, std::int64_t bin, const Visit& visit) {
  const std::int64_t begin = p.segment_begin[bin], end = p.segment_end[bin];
  // A window reaches less than n_taps from its centre; wrap folds it to the other end, and so may every rule in a segment this short.
  const std::int64_t reach = p.n_taps + (p.left < 0 ? -p.left : p.left);
  const bool folds = p.edge == EdgeMode::wrap && (bin - begin < reach || end - bin <= reach);
  const bool all = folds || end - begin <= 2 * reach;
  const std::int64_t first = all || bin - reach < begin ? begin : bin - reach, last = all || bin + reach >= end ? end - 1 : bin + reach;
  for (std::int64_t centre = first; centre <= last; ++centre) {
    const FilterWindow<Real> window(p, centre);
    if (window.inside) {
      const std::int64_t tap = bin - window.first;
      if (tap >= 0 && tap < p.n_taps) visit(centre, static_cast<std::int32_t>(tap));
    } else {
      for (std::int32_t tap = 0; tap < p.n_taps; ++tap) {
        if (window.source(tap) == bin) visit(centre, tap);
      }
    }
  }
}

#if IDEM_COMPILES_CPU_TWINS
// A row of the input and its weight.
template <class Real>
struct WeightedRow {
  std::int64_t row;
  Real weight;
};

// out = sum of weight * row in list order, fused multiply-adds as on the device. width is the constant kColumns but for the last columns, so
// that the sums stay in registers.
constexpr std::int32_t kColumns = 32;

template <class Real>
HD void sum_columns(const std::vector<WeightedRow<Real>>& list, const Real* __restrict__ data, std::int64_t stride, std::int32_t width,
                    Real* __restrict__ out) {
  Real sums[kColumns] = {};
  for (const WeightedRow<Real>& item : list) {
    const Real* __restrict__ row = data + item.row * stride;
    for (std::int32_t column = 0; column < width; ++column) sums[column] = std::fma(item.weight, row[column], sums[column]);
  }
  for (std::int32_t column = 0; column < width; ++column) out[column] = sums[column];
}

template <class Real>
IDEM_SIMD_CLONES static void sum_weighted_rows(const std::vector<WeightedRow<Real>>& list, const Real* data, std::int64_t stride,
                                               std::int32_t n_features, Real* out) {
  std::int32_t first = 0;
  for (; first + kColumns <= n_features; first += kColumns) sum_columns(list, data + first, stride, kColumns, out + first);
  sum_columns(list, data + first, stride, n_features - first, out + first);
}

template <class Real>
void temporal_filter_forward_cpu(const TemporalFilter<Real>& p, ThreadPool& pool) {
  for_each_row_block(pool, FleetExtent{}, p.n_rows, 64, [&](std::int64_t, std::int64_t begin, std::int64_t end) {
    std::vector<WeightedRow<Real>> list;
    for (std::int64_t row = begin; row < end; ++row) {
      const FilterWindow<Real> window(p, p.rows ? p.rows[row] : row);
      list.clear();
      for (std::int32_t tap = 0; tap < p.n_taps; ++tap) {
        const std::int64_t source = window.source(tap);
        if (source >= 0) list.push_back({source, p.taps[tap]});
      }
      sum_weighted_rows(list, p.counts, p.counts_stride, p.n_neurons, p.smoothed + row * p.smoothed_stride);
    }
  });
}
IDEM_INSTANTIATE_CPU(temporal_filter_forward, TemporalFilter)

template <class Real>
void temporal_filter_backward_cpu(const TemporalFilterGradient<Real>& p, ThreadPool& pool) {
  const TemporalFilter<Real>& f = p.forward;
  for_each_row_block(pool, FleetExtent{}, f.n_times, 64, [&](std::int64_t, std::int64_t begin, std::int64_t end) {
    std::vector<WeightedRow<Real>> list;
    for (std::int64_t bin = begin; bin < end; ++bin) {
      list.clear();
      for_each_reader(f, bin, [&](std::int64_t centre, std::int32_t tap) { list.push_back({centre, f.taps[tap]}); });
      sum_weighted_rows(list, p.d_smoothed, f.smoothed_stride, f.n_neurons, p.d_counts + bin * f.counts_stride);
    }
  });
}
IDEM_INSTANTIATE_CPU(temporal_filter_backward, TemporalFilterGradient)
#endif

#if IDEM_COMPILES_CUDA_TWINS
// One warp's width of neurons by tile_rows centres. With tile_rows > 0 the bins around them are staged in shared memory once and read n_taps
// times; windows that touch an edge of their segment, and all of the per-window form (tile_rows = 0), read through the cache.
__global__ void temporal_filter_forward_kernel(TemporalFilter<float> p, std::int32_t tile_rows) {
  CU_DYN_SHARED(float, tile);  // [tile_rows + n_taps - 1][32]
  const std::int32_t lane = static_cast<std::int32_t>(threadIdx.x) % 32, warp = static_cast<std::int32_t>(threadIdx.x) / 32;
  const std::int32_t n_warps = static_cast<std::int32_t>(blockDim.x) / 32;
  const std::int32_t rows_per_block = tile_rows > 0 ? tile_rows : n_warps;
  const std::int64_t n_groups = (p.n_neurons + 31) / 32, n_blocks = (p.n_rows + rows_per_block - 1) / rows_per_block;
  for (std::int64_t block = blockIdx.x; block < n_groups * n_blocks; block += gridDim.x) {
    const std::int32_t neuron = static_cast<std::int32_t>(block % n_groups) * 32 + lane;
    const std::int64_t first_row = block / n_groups * rows_per_block, first_bin = first_row - p.left;
    if (tile_rows > 0) {
      __syncthreads();  // the tile before this one has been read
      for (std::int32_t i = warp; i < tile_rows + p.n_taps - 1; i += n_warps) {
        const std::int64_t bin = first_bin + i;
        const bool exists = bin >= 0 && bin < p.n_times && neuron < p.n_neurons;
        tile[i * 32 + lane] = exists ? p.counts[bin * p.counts_stride + neuron] : 0.0f;
      }
      __syncthreads();
    }
    for (std::int64_t row = first_row + warp; row < first_row + rows_per_block && row < p.n_rows; row += n_warps) {
      if (neuron >= p.n_neurons) continue;
      const std::int64_t centre = p.rows ? p.rows[row] : row;
      const FilterWindow<float> window(p, centre);
      float sum = 0.0f;
      if (tile_rows > 0 && window.first == centre - p.left && window.inside) {
        const float* column = tile + (window.first - first_bin) * 32 + lane;
        for (std::int32_t tap = 0; tap < p.n_taps; ++tap) sum = fmaf(p.taps[tap], column[tap * 32], sum);
      } else {
        for (std::int32_t tap = 0; tap < p.n_taps; ++tap) {
          const std::int64_t source = window.source(tap);
          if (source >= 0) sum = fmaf(p.taps[tap], p.counts[source * p.counts_stride + neuron], sum);
        }
      }
      p.smoothed[row * p.smoothed_stride + neuron] = sum;
    }
  }
}

void temporal_filter_forward_cuda(const TemporalFilter<float>& p, Stream stream) {
  constexpr std::int32_t kTileRows = 64;
  const int threads = cu::threads(256);
  std::size_t shared_bytes = static_cast<std::size_t>(kTileRows + p.n_taps - 1) * 32 * sizeof(float);
  const bool tiled = p.rows == nullptr && p.n_taps > 1 && shared_bytes <= 48 * 1024;
  if (!tiled) shared_bytes = 0;
  const std::int64_t rows_per_block = tiled ? kTileRows : threads / 32;
  const std::int64_t n_blocks = (p.n_rows + rows_per_block - 1) / rows_per_block * ((p.n_neurons + 31) / 32);
  cu::launch("temporal_filter_forward", temporal_filter_forward_kernel, cu::grid_extent(n_blocks), static_cast<unsigned>(threads), shared_bytes,
             stream, p, tiled ? kTileRows : 0);
}

struct TemporalFilterGradientRow {
  TemporalFilterGradient<float> p;
  HD void operator()(std::int64_t, std::int64_t bin, std::int32_t neuron) const {
    float sum = 0.0f;
    for_each_reader(p.forward, bin, [&](std::int64_t centre, std::int32_t tap) {
      sum = fmaf(p.forward.taps[tap], p.d_smoothed[centre * p.forward.smoothed_stride + neuron], sum);
    });
    p.d_counts[bin * p.forward.counts_stride + neuron] = sum;
  }
};

void temporal_filter_backward_cuda(const TemporalFilterGradient<float>& p, Stream stream) {
  cu::launch_rows("temporal_filter_backward", FleetExtent{}, p.forward.n_times, p.forward.n_neurons, TemporalFilterGradientRow{p}, stream);
}
#endif

}  // namespace idem
