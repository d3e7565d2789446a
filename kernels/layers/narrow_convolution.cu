#include "kernels/common/four_floats.h"
#include "kernels/common/tensor_cores.h"
#include "kernels/layers/activation.h"

namespace idem {

// What a layer makes of a row's sums of products, for one of its features or for several at once (four_floats.h), of
// which n are there.
template <Activation kind, class Real>
struct NarrowConvolutionRow {
  NarrowConvolution<Real> p;
  template <class Features, class Values>
  HD void finish(std::int64_t member, std::int64_t row, std::int32_t out, std::int32_t n, Values sum) const {
    const Values x = plus(sum, Features::load(p.bias.row(member, 0) + out, n));
    if (p.pre_activation) Features::store(p.pre_activation.row(member, row) + out, n, x);
    const Values y = each(x, [&](Real value) { return activated<kind>(value, p.slope); });
    if (p.activated) Features::store(p.activated.row(member, row) + out, n, y);
    const Values value = p.is_residual ? plus(y, Features::load(p.x.row(member, row + p.tap_rows) + out, n)) : y;
    Features::store(p.value.row(member, row) + out, n, value);
  }
};

template <Activation kind, class Real>
struct NarrowConvolutionGradientRow {
  NarrowConvolutionGradient<Real> p;
  template <class Features, class Values>
  HD void finish(std::int64_t member, std::int64_t row, std::int32_t in, std::int32_t n, Values sum) const {
    const std::int64_t middle = row - p.tap_rows;
    const bool has_skip = p.is_residual && middle >= 0 && middle < p.n_rows;
    Values d = has_skip ? plus(sum, Features::load(p.d_value.row(member, middle) + in, n)) : sum;
    if (p.d_x) Features::store(p.d_x.row(member, row) + in, n, d);
    if (!p.d_below) return;
    if constexpr (kind != Activation::identity) {
      const Values kept = Features::load(p.kept_below.row(member, row) + in, n);
      d = product(d, each(kept, [&](Real value) { return activation_slope<kind>(value, p.slope_below); }));
    }
    Features::store(p.d_below.row(member, row) + in, n, d);
  }
};

#if IDEM_COMPILES_CPU_TWINS
template <class Real>
static void convolve_cpu(const NarrowConvolution<Real>& p, ThreadPool& pool) {
  with_activation(p.activation, [&](auto kind) {
    const NarrowConvolutionRow<decltype(kind)::value, Real> body{p};
    for_each_row_block(pool, p.fleet, p.n_rows, 64, [&](std::int64_t member, std::int64_t begin, std::int64_t end) {
      for (std::int64_t row = begin; row < end; ++row) {
        for (std::int32_t out = 0; out < p.n_out; ++out) {
          Real sum = 0;
          for (std::int32_t tap = 0; tap < p.n_taps; ++tap) {
            const Real *x = p.x.row(member, row + tap * p.tap_rows),
                       *weight = p.weight.row(member, std::int64_t{out} * p.n_taps + tap);
            for (std::int32_t in = 0; in < p.n_in; ++in) sum += x[in] * weight[in];
          }
          body.template finish<OneFeature<Real>>(member, row, out, 1, sum);
        }
      }
    });
  });
}

template <class Real>
static void convolve_cpu(const NarrowConvolutionGradient<Real>& p, ThreadPool& pool) {
  with_activation(p.activation_below, [&](auto kind) {
    const NarrowConvolutionGradientRow<decltype(kind)::value, Real> body{p};
    for_each_row_block(pool, p.fleet, p.n_x_rows(), 64, [&](std::int64_t member, std::int64_t begin, std::int64_t end) {
      for (std::int64_t row = begin; row < end; ++row) {
        for (std::int32_t in = 0; in < p.n_in; ++in) {
          Real sum = 0;
          for (std::int32_t tap = 0; tap < p.n_taps; ++tap) {
            const std::int64_t from = row - tap * p.tap_rows;
            if (from < 0 || from >= p.n_rows) continue;
            const Real *d = p.d_pre.row(member, from), *weight = p.weight.row(member, tap) + in;
            for (std::int32_t out = 0; out < p.n_out; ++out)
              sum += d[out] * weight[out * p.n_taps * p.weight.row_stride];
          }
          body.template finish<OneFeature<Real>>(member, row, in, 1, sum);
        }
      }
    });
  });
}

template <class Real>
void narrow_convolution_forward_cpu(const NarrowConvolutions<Real>& p, ThreadPool& pool) {
  for (std::int32_t i = 0; i < p.n; ++i) convolve_cpu(p.of[i], pool);
}
template <class Real>
void narrow_convolution_backward_cpu(const NarrowConvolutionGradients<Real>& p, ThreadPool& pool) {
  for (std::int32_t i = 0; i < p.n; ++i) convolve_cpu(p.of[i], pool);
}
IDEM_INSTANTIATE_CPU(narrow_convolution_forward, NarrowConvolutions)
IDEM_INSTANTIATE_CPU(narrow_convolution_backward, NarrowConvolutionGradients)
#endif

#if IDEM_COMPILES_CUDA_TWINS
constexpr std::int32_t kSlice = 32, kSliceQuads = kSlice / 4;  // factors that are multiplied between two loads
constexpr std::int32_t kStride =
    kSlice + 4;  // of a row in shared memory: eight rows that lie one after the other are in different banks
constexpr std::int32_t kMostSlices = 8;      // in shared memory at once, where that is so large
constexpr std::int32_t kSlicesInFlight = 4;  // slices of which each thread has loads under way at once

// The sums of a block. In fp32 each thread has 4 x 4 of them for a part of the factors in registers, and the parts are
// then added; on tensor cores a warp has 16 x 8. What they are does not depend on the size of the block.
template <std::int32_t n_rows, std::int32_t n_columns, ProductPrecision of_precision>
struct SumTile {
  static constexpr ProductPrecision kPrecision = of_precision;
  static constexpr bool kIsTensor = of_precision != ProductPrecision::fp32;
  static constexpr std::int32_t kRows = n_rows, kColumns = n_columns;
  static constexpr std::int32_t kRowSlots = kRows / 4, kColumnSlots = kColumns / 4, kPlaces = kRowSlots * kColumnSlots;
  static constexpr std::int32_t kGroups = kIsTensor ? 1 : 256 / kPlaces, kFactorsPerGroup = kSlice / kGroups;
  static constexpr std::int32_t kSumStride = kColumns + 4, kSumFloats = kGroups * kRows * kSumStride;
  static constexpr std::int32_t kSliceFloats = (kRows + (kColumns > kSlice ? kColumns : kSlice)) * kStride;
  static constexpr std::int32_t kMostFloats = static_cast<std::int32_t>(cu::kMostSharedBytes / sizeof(float));
  static constexpr std::int32_t kSlicesThatFit = (kMostFloats - kSumFloats) / kSliceFloats;
  static constexpr std::int32_t kMostStaged = kSlicesThatFit < kMostSlices ? kSlicesThatFit : kMostSlices;
  static_assert(kMostStaged > 0);
};
template <ProductPrecision precision>
using SquareTile = SumTile<32, 32, precision>;
template <ProductPrecision precision>
using ThinTile = SumTile<64, 8, precision>;  // of a layer with few outputs

// c[row][column] = sum over taps and factors of a[row + tap * tap_rows][factor] times the tap's weight of the two; rows
// of a that do not exist are zeros. The taps' factors, each tap's rounded up to four, follow each other and are cut
// into slices.
struct NarrowProduct {
  Rows<const float> a, weight;
  std::int32_t n_rows = 0, n_a_rows = 0, tap_rows = 0, n_columns = 0, n_factors = 0, n_taps = 1;
  HD std::int32_t n_padded_factors() const { return (n_factors + 3) / 4 * 4; }
  HD std::int32_t n_slices() const { return (n_taps * n_padded_factors() + kSlice - 1) / kSlice; }
  HD std::int32_t n_column_tiles(std::int32_t of) const { return (n_columns + of - 1) / of; }
};

HD NarrowProduct product_of(const NarrowConvolution<float>& p) {
  const auto n_rows = static_cast<std::int32_t>(p.n_rows), tap_rows = static_cast<std::int32_t>(p.tap_rows);
  return {p.x, p.weight, n_rows, n_rows + (p.n_taps - 1) * tap_rows, tap_rows, p.n_out, p.n_in, p.n_taps};
}
HD NarrowProduct product_of(const NarrowConvolutionGradient<float>& p) {
  return {p.d_pre,
          p.weight,
          static_cast<std::int32_t>(p.n_x_rows()),
          static_cast<std::int32_t>(p.n_rows),
          -static_cast<std::int32_t>(p.tap_rows),
          p.n_in,
          p.n_out,
          p.n_taps};
}

// Where a thread is among the factors of all taps; it goes on from slice to slice without a division.
struct FactorPlace {
  std::int32_t tap, factor;

  __device__ __forceinline__ FactorPlace(const NarrowProduct& p, std::int32_t place)
      : tap(place / p.n_padded_factors()), factor(place % p.n_padded_factors()) {}
  __device__ __forceinline__ void next_slice(const NarrowProduct& p) {
    const std::int32_t n = p.n_padded_factors(), taps = kSlice / n;
    tap += taps;
    factor += kSlice - taps * n;
    if (factor < n) return;
    factor -= n;
    ++tap;
  }
};

// Four values on from `from`, where they exist.
static __device__ __forceinline__ float4 values_or_zeros(const float* from, bool exist) {
  return exist ? *reinterpret_cast<const float4*>(from) : make_float4(0, 0, 0, 0);
}

// Slices [first, first + n_staged) into shared memory, each the tile's rows of a and then its weights. The weights'
// rows are the tile's columns, those of one thread's sums as far apart as there are threads side by side, or
// (transposed) the slice's factors.
template <class Tile, bool is_transposed>
static __device__ __forceinline__ void stage_slices(const NarrowProduct& p, std::int64_t member, std::int32_t first_row,
                                                    std::int32_t first_column, std::int32_t first,
                                                    std::int32_t n_staged, float* slices) {
  constexpr std::int32_t kWeightRows = is_transposed ? kSlice : Tile::kColumns,
                         kWeightQuads = is_transposed ? Tile::kColumns / 4 : kSliceQuads;
  constexpr std::int32_t kWeights = kWeightRows * kWeightQuads, kValues = Tile::kRows * kSliceQuads;
  const auto a_stride = static_cast<std::int32_t>(p.a.row_stride),
             weight_stride = static_cast<std::int32_t>(p.weight.row_stride);
  for (std::int32_t i = static_cast<std::int32_t>(threadIdx.x); i < (kValues > kWeights ? kValues : kWeights);
       i += static_cast<std::int32_t>(blockDim.x)) {
    const std::int32_t row = i / kSliceQuads, four = i % kSliceQuads * 4, weight_row = i / kWeightQuads,
                       weight_four = i % kWeightQuads * 4;
    const std::int32_t column = first_column + (is_transposed ? weight_four : weight_row);
    const bool is_row = i < kValues && first_row + row < p.n_rows, is_weight = i < kWeights && column < p.n_columns;
    const float* of_a = p.a.row(member, first_row + row);
    const float* of_weight =
        p.weight.row(member, is_transposed ? 0 : std::int64_t{column} * p.n_taps) + (is_transposed ? column : 0);
    FactorPlace at(p, first * kSlice + four), of_row(p, first * kSlice + weight_row);
    float* to = slices + row * kStride + four;
    constexpr bool is_spread = !is_transposed && !Tile::kIsTensor;
    float* weight_to =
        slices + weight_four +
        kStride * (Tile::kRows + (is_spread ? weight_row % 4 * Tile::kColumnSlots + weight_row / 4 : weight_row));
    for (std::int32_t begin = 0; begin < n_staged; begin += kSlicesInFlight) {
      float4 value[kSlicesInFlight], weight[kSlicesInFlight];
      UNROLLED for (std::int32_t slice = 0; slice < kSlicesInFlight; ++slice) {
        const std::int32_t shift = at.tap * p.tap_rows, a_row = first_row + row + shift;
        const bool is_staged = begin + slice < n_staged && at.tap < p.n_taps;
        value[slice] = values_or_zeros(of_a + std::int64_t{shift} * a_stride + at.factor,
                                       is_row && is_staged && a_row >= 0 && a_row < p.n_a_rows);
        if constexpr (is_transposed) {
          const bool exists =
              is_weight && begin + slice < n_staged && of_row.tap < p.n_taps && of_row.factor < p.n_factors;
          weight[slice] =
              values_or_zeros(of_weight + std::int64_t{of_row.factor * p.n_taps + of_row.tap} * weight_stride, exists);
          of_row.next_slice(p);
        } else {
          weight[slice] =
              values_or_zeros(of_weight + std::int64_t{at.tap} * weight_stride + at.factor, is_weight && is_staged);
        }
        at.next_slice(p);
      }
      UNROLLED for (std::int32_t slice = 0; slice < kSlicesInFlight; ++slice) {
        if (begin + slice >= n_staged) continue;
        if (i < kValues) *reinterpret_cast<float4*>(to + (begin + slice) * Tile::kSliceFloats) = value[slice];
        if (i < kWeights) *reinterpret_cast<float4*>(weight_to + (begin + slice) * Tile::kSliceFloats) = weight[slice];
      }
    }
  }
}

// A thread's 4 x 4 sums over its group's factors of a slice. Neighbouring threads read neighbouring rows: a thread's
// four are kRowSlots apart.
template <class Tile, bool is_transposed>
static __device__ __forceinline__ void multiply_slice(const float* slice, std::int32_t group, std::int32_t row,
                                                      std::int32_t column, float4 sum[4]) {
  const float *a = slice + row * kStride, *weight = slice + Tile::kRows * kStride;
  UNROLLED_BY(1) for (std::int32_t step = 0; step < Tile::kFactorsPerGroup; step += 4) {
    const std::int32_t factor = group * Tile::kFactorsPerGroup + step;
    float4 w[4];
    UNROLLED for (std::int32_t i = 0; i < 4; ++i) w[i] =
        *reinterpret_cast<const float4*>(is_transposed ? weight + (factor + i) * kStride + 4 * column
                                                       : weight + (column + Tile::kColumnSlots * i) * kStride + factor);
    UNROLLED for (std::int32_t i = 0; i < 4; ++i) {
      const float4 of_row = *reinterpret_cast<const float4*>(a + Tile::kRowSlots * i * kStride + factor);
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

// Adds what the staged slices give to the tile's sums in shared memory, or begins them.
template <class Tile, bool is_transposed>
static __device__ __forceinline__ void add_slices(const float* slices, std::int32_t n_staged, bool begins,
                                                  float* sums) {
  for (std::int32_t slot = static_cast<std::int32_t>(threadIdx.x); slot < 256;
       slot += static_cast<std::int32_t>(blockDim.x)) {
    const std::int32_t group = slot / Tile::kPlaces, row = slot / Tile::kColumnSlots % Tile::kRowSlots,
                       column = slot % Tile::kColumnSlots;
    float4 sum[4] = {};
    UNROLLED_BY(1)
    for (std::int32_t slice = 0; slice < n_staged; ++slice)
      multiply_slice<Tile, is_transposed>(slices + slice * Tile::kSliceFloats, group, row, column, sum);
    UNROLLED for (std::int32_t i = 0; i < 4; ++i) {
      float4* kept = reinterpret_cast<float4*>(
          sums + (group * Tile::kRows + row + Tile::kRowSlots * i) * Tile::kSumStride + 4 * column);
      *kept = begins ? sum[i] : plus(*kept, sum[i]);
    }
  }
}
template <class Tile, bool is_transposed>
static __device__ __forceinline__ void add_slices_by_tensor_cores(const float* slices, std::int32_t n_staged,
                                                                  bool begins, float* sums) {
  constexpr std::int32_t kTiles = Tile::kColumns / 8, kItems = Tile::kRows / 16 * kTiles,
                         kDepth = cu::kTensorDepth<Tile::kPrecision>;
  const std::int32_t n_warps = static_cast<std::int32_t>(blockDim.x) / 32;
  const cu::TensorQuad quad;
  for (std::int32_t item = static_cast<std::int32_t>(threadIdx.x) / 32; item < kItems; item += n_warps) {
    const std::int32_t first_row = item / kTiles * 16, first_column = item % kTiles * 8;
    float sum[4] = {};
    for (std::int32_t slice = 0; slice < n_staged; ++slice) {
      const float *a = slices + slice * Tile::kSliceFloats + first_row * kStride,
                  *weight = slices + slice * Tile::kSliceFloats + Tile::kRows * kStride;
      UNROLLED for (std::int32_t factor = 0; factor < kSlice; factor += kDepth) {
        cu::TensorFactors<Tile::kPrecision> factors;
        factors.rows([&](int row, int k) { return a[row * kStride + factor + k]; });
        factors.columns([&](int k, int column) {
          return is_transposed ? weight[(factor + k) * kStride + first_column + column]
                               : weight[(first_column + column) * kStride + factor + k];
        });
        cu::multiply(sum, factors);
      }
    }
    const float4 four = cu::TensorQuad::of(sum);
    float4* kept =
        reinterpret_cast<float4*>(sums + (first_row + quad.row) * Tile::kSumStride + first_column + quad.column);
    *kept = begins ? four : plus(*kept, four);
  }
}

// Leaves the groups' parts of the tile's sums in shared memory, [kGroups][kRows][kSumStride].
template <class Tile, bool is_transposed>
static __device__ __forceinline__ const float* sum_tile(const NarrowProduct& p, std::int64_t member,
                                                        std::int32_t first_row, std::int32_t first_column,
                                                        float* shared) {
  float *sums = shared, *slices = shared + Tile::kSumFloats;
  for (std::int32_t first = 0; first < p.n_slices(); first += Tile::kMostStaged) {
    const std::int32_t n_staged = p.n_slices() - first < Tile::kMostStaged ? p.n_slices() - first : Tile::kMostStaged;
    __syncthreads();  // the slices before these have been multiplied, and the sums of the tile before this one read
    stage_slices<Tile, is_transposed>(p, member, first_row, first_column, first, n_staged, slices);
    __syncthreads();
    if constexpr (Tile::kIsTensor) {
      add_slices_by_tensor_cores<Tile, is_transposed>(slices, n_staged, first == 0, sums);
    } else {
      add_slices<Tile, is_transposed>(slices, n_staged, first == 0, sums);
    }
  }
  __syncthreads();
  return sums;
}

template <class Row>
struct SeveralRows {
  std::int32_t n = 0;
  Row of[kMostTogether];
};

template <class Tile, bool is_transposed, class Row>
__global__ void __launch_bounds__(256, 3) narrow_convolution_kernel(SeveralRows<Row> all) {
  CU_DYN_SHARED(float, shared);
  const Row& body = all.of[blockIdx.z];
  const NarrowProduct p = product_of(body.p);
  const std::int32_t n_column_tiles = p.n_column_tiles(Tile::kColumns), block = static_cast<std::int32_t>(blockIdx.x);
  const std::int32_t first_row = block / n_column_tiles * Tile::kRows,
                     first_column = block % n_column_tiles * Tile::kColumns;
  for (std::int64_t member = blockIdx.y; member < body.p.fleet.n_members; member += gridDim.y) {
    if (!body.p.fleet.is_active(member)) continue;
    const float* sums = sum_tile<Tile, is_transposed>(p, member, first_row, first_column, shared);
    for (std::int32_t i = static_cast<std::int32_t>(threadIdx.x); i < Tile::kRows * Tile::kColumnSlots;
         i += static_cast<std::int32_t>(blockDim.x)) {
      const std::int32_t row = i / Tile::kColumnSlots, column = i % Tile::kColumnSlots * 4,
                         n_left = p.n_columns - first_column - column;
      if (first_row + row >= p.n_rows || n_left <= 0) continue;
      const float* of_place = sums + row * Tile::kSumStride + column;
      float4 sum = *reinterpret_cast<const float4*>(of_place);
      UNROLLED for (std::int32_t group = 1; group < Tile::kGroups; ++group) sum =
          plus(sum, *reinterpret_cast<const float4*>(of_place + group * Tile::kRows * Tile::kSumStride));
      body.template finish<FourFeatures>(member, first_row + row, first_column + column, n_left, sum);
    }
  }
}

template <class Tile, bool is_transposed, class Row>
static void launch_tiles(const char* name, const SeveralRows<Row>& all, Stream stream) {
  const NarrowProduct p = product_of(all.of[0].p);
  const std::int32_t n_staged = p.n_slices() < Tile::kMostStaged ? p.n_slices() : Tile::kMostStaged;
  const dim3 grid(static_cast<unsigned>((p.n_rows + Tile::kRows - 1) / Tile::kRows * p.n_column_tiles(Tile::kColumns)),
                  cu::grid_extent(all.of[0].p.fleet.n_members), static_cast<unsigned>(all.n));
  cu::launch(name, narrow_convolution_kernel<Tile, is_transposed, Row>, grid, static_cast<unsigned>(cu::threads(256)),
             static_cast<std::size_t>(Tile::kSumFloats + n_staged * Tile::kSliceFloats) * sizeof(float), stream, all);
}

template <class Row, class Params>
static SeveralRows<Row> rows_of(const Several<Params>& p) {
  SeveralRows<Row> all{.n = p.n};
  for (std::int32_t i = 0; i < p.n; ++i) all.of[i] = {p.of[i]};
  return all;
}

void narrow_convolution_forward_cuda(const NarrowConvolutions<float>& p, Stream stream) {
  cu::with_precision(p.of[0].precision, [&](auto precision) {
    with_activation(p.of[0].activation, [&](auto kind) {
      const auto all = rows_of<NarrowConvolutionRow<decltype(kind)::value, float>>(p);
      using Thin = ThinTile<decltype(precision)::value>;
      if (p.of[0].n_out <= Thin::kColumns) return launch_tiles<Thin, false>("narrow_convolution_forward", all, stream);
      launch_tiles<SquareTile<decltype(precision)::value>, false>("narrow_convolution_forward", all, stream);
    });
  });
}
void narrow_convolution_backward_cuda(const NarrowConvolutionGradients<float>& p, Stream stream) {
  cu::with_precision(p.of[0].precision, [&](auto precision) {
    with_activation(p.of[0].activation_below, [&](auto kind) {
      const auto all = rows_of<NarrowConvolutionGradientRow<decltype(kind)::value, float>>(p);
      launch_tiles<SquareTile<decltype(precision)::value>, true>("narrow_convolution_backward", all, stream);
    });
  });
}
#endif

}  // namespace idem
