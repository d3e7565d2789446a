#include <cmath>
#include <vector>

#include "kernels/common/four_floats.h"
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
      : segment_begin(p.segment_begin[centre]),
        segment_end(p.segment_end[centre]),
        first(centre - p.left),
        n_taps(p.n_taps),
        edge(p.edge) {
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
      case EdgeMode::constant: return -1;
      case EdgeMode::wrap: bin = modulo(bin, length); break;
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
  // A window reaches less than n_taps from its centre; wrap folds it to the other end, and so may every rule in a
  // segment this short.
  const std::int64_t reach = p.n_taps + (p.left < 0 ? -p.left : p.left);
  const bool folds = p.edge == EdgeMode::wrap && (bin - begin < reach || end - bin <= reach);
  const bool all = folds || end - begin <= 2 * reach;
  const std::int64_t first = all || bin - reach < begin ? begin : bin - reach,
                     last = all || bin + reach >= end ? end - 1 : bin + reach;
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

// out = sum of weight * row in list order, fused multiply-adds as on the device. width is the constant kColumns but for
// the last columns, so that the sums stay in registers.
constexpr std::int32_t kColumns = 32;

template <class Real>
HD void sum_columns(const std::vector<WeightedRow<Real>>& list, const Real* __restrict__ data, std::int64_t stride,
                    std::int32_t width, Real* __restrict__ out) {
  Real sums[kColumns] = {};
  for (const WeightedRow<Real>& item : list) {
    const Real* __restrict__ row = data + item.row * stride;
    for (std::int32_t column = 0; column < width; ++column)
      sums[column] = std::fma(item.weight, row[column], sums[column]);
  }
  for (std::int32_t column = 0; column < width; ++column) out[column] = sums[column];
}

template <class Real>
IDEM_SIMD_CLONES static void sum_weighted_rows(const std::vector<WeightedRow<Real>>& list, const Real* data,
                                               std::int64_t stride, std::int32_t n_features, Real* out) {
  std::int32_t first = 0;
  for (; first + kColumns <= n_features; first += kColumns)
    sum_columns(list, data + first, stride, kColumns, out + first);
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
// Neighbouring bins of a thread, whose windows overlap: it reads each row of them once.
constexpr std::int32_t kBinsTogether = 4;

template <class Features>
struct SlidingSums {
  typename Features::Values of[kBinsTogether] = {};

  // from: where a row's features are that the first bin's window begins with. The other bins' windows begin one row
  // later each.
  __device__ __forceinline__ void add(const float* from, std::int64_t stride, const float* taps, std::int32_t n_taps,
                                      bool last_tap_first, std::int32_t n) {
    for (std::int32_t i = 0; i < n_taps + kBinsTogether - 1; ++i) {
      const auto row = Features::load(from + i * stride, n);
      UNROLLED for (std::int32_t bin = 0; bin < kBinsTogether; ++bin) {
        const std::int32_t tap = last_tap_first ? n_taps - 1 - i + bin : i - bin;
        if (tap >= 0 && tap < n_taps) of[bin] = plus_product(taps[tap], row, of[bin]);
      }
    }
  }
};

// row: of kBinsTogether outputs. Windows that touch an edge of their segment, and all of the per-window form, are gone
// through tap by tap.
struct TemporalFilterRows {
  TemporalFilter<float> p;
  bool takes_four() const {
    return idem::takes_four(Rows<const float>{p.counts, 0, p.counts_stride}) &&
           idem::takes_four(Rows<float>{p.smoothed, 0, p.smoothed_stride});
  }
  __device__ bool is_plain(std::int64_t row) const {
    const FilterWindow<float> window(p, row);
    return window.inside && window.first == row - p.left;
  }
  template <class Features>
  __device__ void at(std::int64_t, std::int64_t group, std::int32_t neuron, std::int32_t n) const {
    const std::int64_t first = group * kBinsTogether, last = first + kBinsTogether - 1;
    if (!p.rows && last < p.n_rows && p.segment_begin[first] == p.segment_begin[last] && is_plain(first) &&
        is_plain(last)) {
      SlidingSums<Features> sums;
      sums.add(p.counts + (first - p.left) * p.counts_stride + neuron, p.counts_stride, p.taps, p.n_taps, false, n);
      UNROLLED for (std::int32_t i = 0; i < kBinsTogether; ++i)
          Features::store(p.smoothed + (first + i) * p.smoothed_stride + neuron, n, sums.of[i]);
      return;
    }
    for (std::int64_t row = first; row <= last && row < p.n_rows; ++row) {
      const FilterWindow<float> window(p, p.rows ? p.rows[row] : row);
      typename Features::Values sum{};
      for (std::int32_t tap = 0; tap < p.n_taps; ++tap) {
        const std::int64_t source = window.source(tap);
        if (source >= 0)
          sum = plus_product(p.taps[tap], Features::load(p.counts + source * p.counts_stride + neuron, n), sum);
      }
      Features::store(p.smoothed + row * p.smoothed_stride + neuron, n, sum);
    }
  }
};

// The same of the gradient. A bin far from its segment's edges is read by the windows about it, each once.
struct TemporalFilterGradientRows {
  TemporalFilterGradient<float> p;
  bool takes_four() const {
    return idem::takes_four(Rows<const float>{p.d_smoothed, 0, p.forward.smoothed_stride}) &&
           idem::takes_four(Rows<float>{p.d_counts, 0, p.forward.counts_stride});
  }
  template <class Features>
  __device__ void at(std::int64_t, std::int64_t group, std::int32_t neuron, std::int32_t n) const {
    const TemporalFilter<float>& f = p.forward;
    const std::int64_t first = group * kBinsTogether, last = first + kBinsTogether - 1;
    const std::int64_t reach = f.n_taps + (f.left < 0 ? -f.left : f.left);
    if (last < f.n_times && first - f.segment_begin[first] >= reach && f.segment_end[first] - last > reach) {
      SlidingSums<Features> sums;
      sums.add(p.d_smoothed + (first + f.left - f.n_taps + 1) * f.smoothed_stride + neuron, f.smoothed_stride, f.taps,
               f.n_taps, true, n);
      UNROLLED for (std::int32_t i = 0; i < kBinsTogether; ++i)
          Features::store(p.d_counts + (first + i) * f.counts_stride + neuron, n, sums.of[i]);
      return;
    }
    for (std::int64_t bin = first; bin <= last && bin < f.n_times; ++bin) {
      typename Features::Values sum{};
      for_each_reader(f, bin, [&](std::int64_t centre, std::int32_t tap) {
        sum = plus_product(f.taps[tap], Features::load(p.d_smoothed + centre * f.smoothed_stride + neuron, n), sum);
      });
      Features::store(p.d_counts + bin * f.counts_stride + neuron, n, sum);
    }
  }
};

void temporal_filter_forward_cuda(const TemporalFilter<float>& p, Stream stream) {
  cu::launch_features("temporal_filter_forward", FleetExtent{}, (p.n_rows + kBinsTogether - 1) / kBinsTogether,
                      p.n_neurons, TemporalFilterRows{p}, stream);
}
void temporal_filter_backward_cuda(const TemporalFilterGradient<float>& p, Stream stream) {
  cu::launch_features("temporal_filter_backward", FleetExtent{},
                      (p.forward.n_times + kBinsTogether - 1) / kBinsTogether, p.forward.n_neurons,
                      TemporalFilterGradientRows{p}, stream);
}
#endif

}  // namespace idem
