#include "kernels/common/cuda.h"
#include "kernels/contrastive/contrastive.h"
#include "kernels/contrastive/row_length.h"

namespace idem {

template <class Real>
struct TakeDrawnRow {
  DrawnRows<Real> p;
  HD void operator()(std::int64_t member, std::int64_t draw, std::int32_t quad) const {
    set_quad(p.drawn.row(member, draw), quad, quad_of(p.source.row(member, p.place[member * p.n_draws + draw]), quad));
  }
};

template <class Real>
struct NormaliseDrawnRow {
  DrawnRows<Real> p;
  HD void operator()(std::int64_t member, std::int64_t draw, std::int32_t) const {
    const Real* x = p.source.row(member, p.place[member * p.n_draws + draw]);
    write_normalised(RowLength<Real>(x, p.n_features), x, p.n_features, p.drawn.row(member, draw));
  }
};

template <class Real>
struct SumDrawsOfRow {
  DrawnRowsGradient<Real> p;
  HD void operator()(std::int64_t member, std::int64_t row, std::int32_t quad) const {
    Quad<Real> total{};
    for (std::int32_t list = 0; list < p.draws.n_lists; ++list) {
      const std::int32_t *begin = p.draws.begins_of(member, list) + row, *draw = p.draws.draws_of(member, list);
      for (std::int32_t at = begin[0]; at < begin[1]; ++at) {
        const Quad<Real> of_draw = quad_of(p.d_drawn.row(member, std::int64_t{list} * p.draws.batch + draw[at]), quad);
        for (std::int32_t i = 0; i < 4; ++i) total.of[i] += of_draw.of[i];
      }
    }
    set_quad(p.d_source.row(member, row), quad, total);
  }
};

// From the gradient of a normalised row, which is in d_source, to that of the row.
template <class Real>
HD void normalise_backward(const DrawnRowsGradient<Real>& p, std::int64_t member, std::int64_t row) {
  const Real* x = p.source.row(member, row);
  const RowLength<Real> length(x, p.n_features);
  const auto normalised = [&](std::int32_t quad) {
    Quad<Real> value = quad_of(x, quad);
    for (Real& of : value.of) of = length.normalised(of);
    return value;
  };
  normalised_row_backward(p.n_features, normalised, length.inverse_norm(), p.d_source.row(member, row));
}

#if IDEM_COMPILES_CPU_TWINS
template <class Real>
void drawn_rows_forward_cpu(const DrawnRows<Real>& p, ThreadPool& pool) {
  const TakeDrawnRow<Real> take{p};
  const NormaliseDrawnRow<Real> normalise{p};
  for_each_row_block(pool, p.fleet, p.n_draws, 512, [&](std::int64_t member, std::int64_t begin, std::int64_t end) {
    for (std::int64_t draw = begin; draw < end; ++draw) {
      if (p.normalises) normalise(member, draw, 0);
      for (std::int32_t quad = 0; !p.normalises && quad < n_quads(p.n_features); ++quad) take(member, draw, quad);
    }
  });
}
IDEM_INSTANTIATE_CPU(drawn_rows_forward, DrawnRows)

template <class Real>
void drawn_rows_backward_cpu(const DrawnRowsGradient<Real>& p, ThreadPool& pool) {
  const SumDrawsOfRow<Real> sum{p};
  for_each_row_block(pool, p.fleet, p.draws.n_places, 512,
                     [&](std::int64_t member, std::int64_t begin, std::int64_t end) {
                       for (std::int64_t row = begin; row < end; ++row) {
                         for (std::int32_t quad = 0; quad < n_quads(p.n_features); ++quad) sum(member, row, quad);
                         if (p.normalises) normalise_backward(p, member, row);
                       }
                     });
}
IDEM_INSTANTIATE_CPU(drawn_rows_backward, DrawnRowsGradient)
#endif

#if IDEM_COMPILES_CUDA_TWINS
void drawn_rows_forward_cuda(const DrawnRows<float>& p, Stream stream) {
  if (p.normalises)
    return cu::launch_rows("drawn_rows_forward", p.fleet, p.n_draws, 1, NormaliseDrawnRow<float>{p}, stream);
  cu::launch_rows("drawn_rows_forward", p.fleet, p.n_draws, n_quads(p.n_features), TakeDrawnRow<float>{p}, stream);
}

// A thread for four features of a row, then, where it is needed, one for all features of the row.
__global__ void drawn_rows_backward_kernel(DrawnRowsGradient<float> p) {
  const std::int32_t thread = static_cast<std::int32_t>(threadIdx.x), of_row = n_quads(p.n_features);
  const std::int32_t n_rows = static_cast<std::int32_t>(blockDim.x) / of_row;
  const SumDrawsOfRow<float> sum{p};
  for (std::int64_t member = blockIdx.y; member < p.fleet.n_members; member += gridDim.y) {
    if (!p.fleet.is_active(member)) continue;
    for (std::int64_t first = std::int64_t{blockIdx.x} * n_rows; first < p.draws.n_places;
         first += std::int64_t{gridDim.x} * n_rows) {
      const std::int64_t row = first + thread / of_row;
      if (thread < n_rows * of_row && row < p.draws.n_places) sum(member, row, thread % of_row);
      if (!p.normalises) continue;
      __syncthreads();
      if (thread < n_rows && first + thread < p.draws.n_places) normalise_backward(p, member, first + thread);
    }
  }
}

void drawn_rows_backward_cuda(const DrawnRowsGradient<float>& p, Stream stream) {
  static_assert(kMostContrastiveFeatures / 4 <= 32, "a block holds a row");
  const int block = cu::threads(64),
            n_rows = block / n_quads(p.n_features);  // small blocks: a fleet of one has few rows
  const dim3 grid(cu::grid_extent((p.draws.n_places + n_rows - 1) / n_rows, 0x7fffffffu),
                  cu::grid_extent(p.fleet.n_members));
  cu::launch("drawn_rows_backward", drawn_rows_backward_kernel, grid, dim3(static_cast<unsigned>(block)), 0, stream, p);
}
#endif

}  // namespace idem
