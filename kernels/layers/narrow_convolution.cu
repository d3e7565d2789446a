#include "kernels/layers/activation.h"
#include "kernels/layers/four_floats.h"

namespace idem {

template <Activation kind, class Real>
struct NarrowConvolutionRow {
  NarrowConvolution<Real> p;
  // sum: of the products.
  HD void operator()(std::int64_t member, std::int64_t row, std::int32_t out, Real sum) const {
    const Real x = sum + p.bias.row(member, 0)[out];
    if (p.pre_activation) p.pre_activation.row(member, row)[out] = x;
    const Real y = activated<kind>(x, p.slope);
    if (p.activated) p.activated.row(member, row)[out] = y;
    p.value.row(member, row)[out] = p.is_residual ? y + p.x.row(member, row + p.tap_rows)[out] : y;
  }
};

template <Activation kind, class Real>
struct NarrowConvolutionGradientRow {
  NarrowConvolutionGradient<Real> p;
  HD void operator()(std::int64_t member, std::int64_t row, std::int32_t in, Real sum) const {
    const std::int64_t middle = row - p.tap_rows;
    const Real d = p.is_residual && middle >= 0 && middle < p.n_rows ? sum + p.d_value.row(member, middle)[in] : sum;
    if (p.d_x) p.d_x.row(member, row)[in] = d;
    if (!p.d_below) return;
    Real slope = 1;
    if constexpr (kind != Activation::identity) slope = activation_slope<kind>(p.kept_below.row(member, row)[in], p.slope_below);
    p.d_below.row(member, row)[in] = d * slope;
  }
};

#if IDEM_COMPILES_CPU_TWINS
template <class Real>
void narrow_convolution_forward_cpu(const NarrowConvolution<Real>& p, ThreadPool& pool) {
  with_activation(p.activation, [&](auto kind) {
    const NarrowConvolutionRow<decltype(kind)::value, Real> finish{p};
    for_each_row_block(pool, p.fleet, p.n_rows, 64, [&](std::int64_t member, std::int64_t begin, std::int64_t end) {
      for (std::int64_t row = begin; row < end; ++row) {
        for (std::int32_t out = 0; out < p.n_out; ++out) {
          Real sum = 0;
          for (std::int32_t tap = 0; tap < p.n_taps; ++tap) {
            const Real *x = p.x.row(member, row + tap * p.tap_rows), *weight = p.weight.row(member, std::int64_t{out} * p.n_taps + tap);
            for (std::int32_t in = 0; in < p.n_in; ++in) sum += x[in] * weight[in];
          }
          finish(member, row, out, sum);
        }
      }
    });
  });
}

template <class Real>
void narrow_convolution_backward_cpu(const NarrowConvolutionGradient<Real>& p, ThreadPool& pool) {
  with_activation(p.activation_below, [&](auto kind) {
    const NarrowConvolutionGradientRow<decltype(kind)::value, Real> finish{p};
    for_each_row_block(pool, p.fleet, p.n_x_rows(), 64, [&](std::int64_t member, std::int64_t begin, std::int64_t end) {
      for (std::int64_t row = begin; row < end; ++row) {
        for (std::int32_t in = 0; in < p.n_in; ++in) {
          Real sum = 0;
          for (std::int32_t tap = 0; tap < p.n_taps; ++tap) {
            const std::int64_t from = row - tap * p.tap_rows;
            if (from < 0 || from >= p.n_rows) continue;
            const Real *d = p.d_pre.row(member, from), *weight = p.weight.row(member, tap) + in;
            for (std::int32_t out = 0; out < p.n_out; ++out) sum += d[out] * weight[out * p.n_taps * p.weight.row_stride];
          }
          finish(member, row, in, sum);
        }
      }
    });
  });
}
IDEM_INSTANTIATE_CPU(narrow_convolution_forward, NarrowConvolution)
IDEM_INSTANTIATE_CPU(narrow_convolution_backward, NarrowConvolutionGradient)
#endif

#if IDEM_COMPILES_CUDA_TWINS
constexpr std::int32_t kTile = 32;          // rows by columns of a block, and factors of a slice
constexpr std::int32_t kStride = kTile + 4;  // of a row in shared memory: eight rows that lie one after the other are in different banks
constexpr std::int32_t kQuads = kTile / 4;
constexpr std::int32_t kFactorGroups = 4;   // threads share a slice's factors out in this many parts, whose sums are then added
constexpr std::int32_t kFactorsPerGroup = kTile / kFactorGroups;
constexpr std::int32_t kSlots = kFactorGroups * kQuads * kQuads;
constexpr std::int32_t kLoads = 8;          // under way at once for every thread
constexpr std::int32_t kMostSlices = 8;     // in shared memory at once
constexpr std::int32_t kSliceFloats = 2 * kTile * kStride;
constexpr std::int32_t kSumFloats = kFactorGroups * kTile * kStride;

// c[row][column] = sum over taps and factors of a[row + tap * tap_rows][factor] times the tap's weight of the two; rows of a that do not exist are
// zeros. Each tap is cut into slices of kTile factors.
struct NarrowProduct {
  Rows<const float> a, weight;
  std::int64_t n_rows = 0, n_a_rows = 0, tap_rows = 0;
  std::int32_t n_columns = 0, n_factors = 0, n_taps = 1;
  HD std::int32_t slices_per_tap() const { return (n_factors + kTile - 1) / kTile; }
  HD std::int32_t n_slices() const { return n_taps * slices_per_tap(); }
  HD std::int32_t n_column_tiles() const { return (n_columns + kTile - 1) / kTile; }
};

HD NarrowProduct product_of(const NarrowConvolution<float>& p) {
  return {p.x, p.weight, p.n_rows, p.n_rows + (p.n_taps - 1) * p.tap_rows, p.tap_rows, p.n_out, p.n_in, p.n_taps};
}
HD NarrowProduct product_of(const NarrowConvolutionGradient<float>& p) {
  return {p.d_pre, p.weight, p.n_x_rows(), p.n_rows, -p.tap_rows, p.n_in, p.n_out, p.n_taps};
}


// What the block's tile has in common with a slice: 32 rows of a and 32 of weights, read four values at a time. The weights' rows are the tile's
// columns, or (transposed) the slice's factors.
template <bool is_transposed>
static __device__ __forceinline__ float4 slice_values(const NarrowProduct& p, std::int64_t member, std::int64_t first_row,
                                                      std::int32_t first_column, std::int32_t slice, std::int32_t place) {
  const bool is_weight = place >= kTile * kQuads;
  const std::int32_t tap = slice / p.slices_per_tap(), first_factor = slice % p.slices_per_tap() * kTile;
  const std::int32_t row = place / kQuads % kTile, four = place % kQuads * 4;
  const float* from = nullptr;
  if (!is_weight) {
    const std::int64_t a_row = first_row + row + tap * p.tap_rows;
    if (first_row + row < p.n_rows && a_row >= 0 && a_row < p.n_a_rows && first_factor + four < p.n_factors)
      from = p.a.row(member, a_row) + first_factor + four;
  } else if (is_transposed) {
    if (first_factor + row < p.n_factors && first_column + four < p.n_columns)
      from = p.weight.row(member, std::int64_t{first_factor + row} * p.n_taps + tap) + first_column + four;
  } else {
    if (first_column + row < p.n_columns && first_factor + four < p.n_factors)
      from = p.weight.row(member, std::int64_t{first_column + row} * p.n_taps + tap) + first_factor + four;
  }
  return from ? *reinterpret_cast<const float4*>(from) : make_float4(0, 0, 0, 0);
}

// Leaves the parts of the tile's sums in shared memory, [kFactorGroups][kTile][kStride]. Each thread has 4 x 4 of them for a quarter of the factors
// in registers; what they are does not depend on the size of the block.
template <bool is_transposed>
static __device__ __forceinline__ const float* sum_tile(const NarrowProduct& p, std::int64_t member, std::int64_t first_row,
                                                        std::int32_t first_column, float* shared) {
  float *sums = shared, *slices = shared + kSumFloats;
  const std::int32_t thread = static_cast<std::int32_t>(threadIdx.x), n_threads = static_cast<std::int32_t>(blockDim.x);
  for (std::int32_t first = 0; first < p.n_slices(); first += kMostSlices) {
    const std::int32_t n_staged = p.n_slices() - first < kMostSlices ? p.n_slices() - first : kMostSlices;
    __syncthreads();  // the slices before these have been multiplied, and the sums of the tile before this one read
    for (std::int32_t begin = thread; begin < n_staged * 2 * kTile * kQuads; begin += kLoads * n_threads) {
      float4 loaded[kLoads];
      for (std::int32_t i = 0; i < kLoads; ++i) {
        const std::int32_t place = begin + i * n_threads, slice = place / (2 * kTile * kQuads);
        loaded[i] = slice < n_staged
                        ? slice_values<is_transposed>(p, member, first_row, first_column, first + slice, place % (2 * kTile * kQuads))
                        : make_float4(0, 0, 0, 0);
      }
      for (std::int32_t i = 0; i < kLoads; ++i) {
        const std::int32_t place = begin + i * n_threads;
        if (place < n_staged * 2 * kTile * kQuads) *reinterpret_cast<float4*>(slices + place / kQuads * kStride + place % kQuads * 4) = loaded[i];
      }
    }
    __syncthreads();
    for (std::int32_t slot = thread; slot < kSlots; slot += n_threads) {
      // Neighbouring threads read neighbouring rows: a thread's four rows, and where the weights lie by columns its four columns, are 8 apart.
      const std::int32_t group = slot / (kQuads * kQuads), row = slot / kQuads % kQuads, column = slot % kQuads;
      float4 sum[4] = {};
      for (std::int32_t slice = 0; slice < n_staged; ++slice) {
        const float *a = slices + slice * kSliceFloats + row * kStride, *weight = slices + slice * kSliceFloats + kTile * kStride;
        for (std::int32_t factor = group * kFactorsPerGroup; factor < (group + 1) * kFactorsPerGroup; factor += 4) {
          float4 w[4];
          for (std::int32_t i = 0; i < 4; ++i)
            w[i] = *reinterpret_cast<const float4*>(is_transposed ? weight + (factor + i) * kStride + 4 * column
                                                                  : weight + (column + kQuads * i) * kStride + factor);
          for (std::int32_t i = 0; i < 4; ++i) {
            const float4 of_row = *reinterpret_cast<const float4*>(a + kQuads * i * kStride + factor);
            if constexpr (is_transposed) {
              sum[i] = plus_product(of_row.y, w[1], plus_product(of_row.x, w[0], sum[i]));
              sum[i] = plus_product(of_row.w, w[3], plus_product(of_row.z, w[2], sum[i]));
            } else {
              sum[i] = make_float4(plus_product(of_row, w[0], sum[i].x), plus_product(of_row, w[1], sum[i].y),
                                   plus_product(of_row, w[2], sum[i].z), plus_product(of_row, w[3], sum[i].w));
            }
          }
        }
      }
      // A thread's four columns side by side, whichever they are.
      for (std::int32_t i = 0; i < 4; ++i) {
        float4* kept = reinterpret_cast<float4*>(sums + (group * kTile + row + kQuads * i) * kStride + 4 * column);
        *kept = first == 0 ? sum[i] : plus(*kept, sum[i]);
      }
    }
  }
  __syncthreads();
  return sums;
}

template <bool is_transposed, class Finish>
__global__ void narrow_convolution_kernel(Finish finish) {
  CU_DYN_SHARED(float, shared);
  const NarrowProduct p = product_of(finish.p);
  const std::int32_t n_column_tiles = p.n_column_tiles();
  const std::int64_t first_row = static_cast<std::int64_t>(blockIdx.x) / n_column_tiles * kTile;
  const std::int32_t first_column = static_cast<std::int32_t>(static_cast<std::int64_t>(blockIdx.x) % n_column_tiles) * kTile;
  for (std::int64_t member = blockIdx.y; member < finish.p.fleet.n_members; member += gridDim.y) {
    if (!finish.p.fleet.is_active(member)) continue;
    const float* sums = sum_tile<is_transposed>(p, member, first_row, first_column, shared);
    for (std::int32_t i = static_cast<std::int32_t>(threadIdx.x); i < kTile * kTile; i += static_cast<std::int32_t>(blockDim.x)) {
      const std::int32_t row = i / kTile, column = i % kTile;
      if (first_row + row >= p.n_rows || first_column + column >= p.n_columns) continue;
      const float* of_place = sums + row * kStride + (is_transposed ? column : column % kQuads * 4 + column / kQuads);
      float sum = of_place[0];
      for (std::int32_t group = 1; group < kFactorGroups; ++group) sum += of_place[group * kTile * kStride];
      finish(member, first_row + row, first_column + column, sum);
    }
  }
}

template <bool is_transposed, class Finish>
static void launch_narrow(const char* name, const Finish& finish, Stream stream) {
  const NarrowProduct p = product_of(finish.p);
  const std::int32_t n_staged = p.n_slices() < kMostSlices ? p.n_slices() : kMostSlices;
  const dim3 grid(static_cast<unsigned>((p.n_rows + kTile - 1) / kTile * p.n_column_tiles()), cu::grid_extent(finish.p.fleet.n_members));
  cu::launch(name, narrow_convolution_kernel<is_transposed, Finish>, grid, static_cast<unsigned>(cu::threads(256)),
             static_cast<std::size_t>(kSumFloats + n_staged * kSliceFloats) * sizeof(float), stream, finish);
}

void narrow_convolution_forward_cuda(const NarrowConvolution<float>& p, Stream stream) {
  with_activation(p.activation, [&](auto kind) {
    launch_narrow<false>("narrow_convolution_forward", NarrowConvolutionRow<decltype(kind)::value, float>{p}, stream);
  });
}
void narrow_convolution_backward_cuda(const NarrowConvolutionGradient<float>& p, Stream stream) {
  with_activation(p.activation_below, [&](auto kind) {
    launch_narrow<true>("narrow_convolution_backward", NarrowConvolutionGradientRow<decltype(kind)::value, float>{p}, stream);
  });
}
#endif

}  // namespace idem
