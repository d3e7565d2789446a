#include "kernels/common/cuda.h"
#include "kernels/contrastive/contrastive.h"
#include "kernels/contrastive/row_length.h"

namespace idem {

template <class Real>
struct TakeDrawnRow {
  DrawnRows<Real> p;
  HD void operator()(std::int64_t member, std::int64_t draw, std::int32_t feature) const {
    p.drawn.row(member, draw)[feature] = p.source.row(member, p.place[member * p.n_draws + draw])[feature];
  }
};

template <class Real>
struct NormaliseDrawnRow {
  DrawnRows<Real> p;
  HD void operator()(std::int64_t member, std::int64_t draw, std::int32_t) const {
    const Real* x = p.source.row(member, p.place[member * p.n_draws + draw]);
    const RowLength<Real> length(x, p.n_features);
    for (std::int32_t feature = 0; feature < p.n_features; ++feature) p.drawn.row(member, draw)[feature] = length.normalised(x[feature]);
  }
};

// From the gradient of a normalised row, which is in d_source, to that of the row.
template <class Real>
HD void normalise_backward(const DrawnRowsGradient<Real>& p, std::int64_t member, std::int64_t row) {
  const Real* x = p.source.row(member, row);
  const RowLength<Real> length(x, p.n_features);
  normalised_row_backward(p.n_features, [&](std::int32_t feature) { return length.normalised(x[feature]); }, length.inverse_norm(),
                          p.d_source.row(member, row));
}

#if IDEM_COMPILES_CPU_TWINS
template <class Real>
void drawn_rows_forward_cpu(const DrawnRows<Real>& p, ThreadPool& pool) {
  const TakeDrawnRow<Real> take{p};
  const NormaliseDrawnRow<Real> normalise{p};
  for_each_row_block(pool, p.fleet, p.n_draws, 512, [&](std::int64_t member, std::int64_t begin, std::int64_t end) {
    for (std::int64_t draw = begin; draw < end; ++draw) {
      if (p.normalises) normalise(member, draw, 0);
      for (std::int32_t feature = 0; !p.normalises && feature < p.n_features; ++feature) take(member, draw, feature);
    }
  });
}
IDEM_INSTANTIATE_CPU(drawn_rows_forward, DrawnRows)

template <class Real>
void drawn_rows_backward_cpu(const DrawnRowsGradient<Real>& p, ThreadPool& pool) {
  for_each_row_block(pool, p.fleet, 1, 1, [&](std::int64_t member, std::int64_t, std::int64_t) {
    for (std::int64_t row = 0; row < p.n_rows; ++row) {
      for (std::int32_t feature = 0; feature < p.n_features; ++feature) p.d_source.row(member, row)[feature] = Real(0);
    }
    for (std::int64_t draw = 0; draw < p.n_draws; ++draw) {
      const Real* d_drawn = p.d_drawn.row(member, draw);
      Real* d_source = p.d_source.row(member, p.place[member * p.n_draws + draw]);
      for (std::int32_t feature = 0; feature < p.n_features; ++feature) d_source[feature] += d_drawn[feature];
    }
    for (std::int64_t row = 0; p.normalises && row < p.n_rows; ++row) normalise_backward(p, member, row);
  });
}
IDEM_INSTANTIATE_CPU(drawn_rows_backward, DrawnRowsGradient)
#endif

#if IDEM_COMPILES_CUDA_TWINS
void drawn_rows_forward_cuda(const DrawnRows<float>& p, Stream stream) {
  if (p.normalises) return cu::launch_rows("drawn_rows_forward", p.fleet, p.n_draws, 1, NormaliseDrawnRow<float>{p}, stream);
  cu::launch_rows("drawn_rows_forward", p.fleet, p.n_draws, p.n_features, TakeDrawnRow<float>{p}, stream);
}

constexpr std::int32_t kRows = 32;         // of a block
constexpr std::int32_t kDraws = 1024;      // looked at in one go: a bit each in the words of a row, of which there are as many as a word has bits
constexpr std::int32_t kWords = kDraws / 32;

// A block looks through all draws for its rows, so that nothing is written by two and the order is fixed: first into a bit for every draw and row,
// then a thread for each feature of a row adds the draws whose bits are set.
__global__ void drawn_rows_backward_kernel(DrawnRowsGradient<float> p) {
  CU_SHARED(std::int32_t, places, [kDraws]);
  CU_SHARED(unsigned, words, [kWords][kRows]);
  const std::int32_t thread = static_cast<std::int32_t>(threadIdx.x), n_threads = static_cast<std::int32_t>(blockDim.x);
  for (std::int64_t member = blockIdx.y; member < p.fleet.n_members; member += gridDim.y) {
    if (!p.fleet.is_active(member)) continue;
    const std::int32_t* place = p.place + member * p.n_draws;
    for (std::int64_t tile = blockIdx.x; tile * kRows < p.n_rows; tile += gridDim.x) {
      const std::int64_t first = tile * kRows;
      const std::int32_t n_rows = static_cast<std::int32_t>(p.n_rows - first < kRows ? p.n_rows - first : kRows);
      std::int64_t begin = 0;
      do {
        for (std::int32_t i = thread; i < kDraws; i += n_threads) places[i] = begin + i < p.n_draws ? place[begin + i] : -1;
        __syncthreads();  // also: the words before these have been read
        for (std::int32_t item = thread; item < kWords * kRows; item += n_threads) {
          const std::int32_t row = item % kRows, *of_word = places + item / kRows * 32;
          unsigned word = 0;
          for (int bit = 0; bit < 32; ++bit) word |= of_word[bit] == first + row ? 1u << bit : 0u;
          words[item / kRows][row] = word;
        }
        __syncthreads();
        for (std::int32_t item = thread; item < n_rows * p.n_features; item += n_threads) {
          const std::int32_t row = item / p.n_features, feature = item % p.n_features;
          float* d_source = p.d_source.row(member, first + row) + feature;
          float total = begin == 0 ? 0.0f : *d_source;
          unsigned with_draws = 0;
          for (int word = 0; word < kWords; ++word) with_draws |= words[word][row] != 0 ? 1u << word : 0u;
          for (; with_draws != 0; with_draws &= with_draws - 1) {
            const int word = __ffs(static_cast<int>(with_draws)) - 1;
            for (unsigned left = words[word][row]; left != 0; left &= left - 1)
              total += p.d_drawn.row(member, begin + word * 32 + __ffs(static_cast<int>(left)) - 1)[feature];
          }
          *d_source = total;
        }
        begin += kDraws;
      } while (begin < p.n_draws);
      if (!p.normalises) continue;
      __syncthreads();
      for (std::int32_t row = thread; row < n_rows; row += n_threads) normalise_backward(p, member, first + row);
    }
  }
}

void drawn_rows_backward_cuda(const DrawnRowsGradient<float>& p, Stream stream) {
  const dim3 grid(cu::grid_extent((p.n_rows + kRows - 1) / kRows, 0x7fffffffu), cu::grid_extent(p.fleet.n_members));
  cu::launch("drawn_rows_backward", drawn_rows_backward_kernel, grid, static_cast<unsigned>(cu::threads(256)), 0, stream, p);
}
#endif

}  // namespace idem
