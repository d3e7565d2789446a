#include <algorithm>
#include <stdexcept>
#include <string>

#include "kernels/common/four_floats.h"
#include "kernels/layers/layers.h"
#include "kernels/layers/row_product.h"

namespace idem {

#if IDEM_COMPILES_CPU_TWINS
// Two tiles of a product's rows: some microseconds for 200 rows of 60 inputs, well above what it costs to start a task.
constexpr std::int64_t kOutputsOfTask = 12;

// The sums of the outputs [begin, end) over all rows: of their rows of d_weight and their d_bias.
template <class Real>
static void output_gradients(const WeightGradient<Real>& p, std::int64_t member, std::int64_t begin, std::int64_t end) {
  for (std::int64_t first = 0; first < p.n_rows || first == 0; first += kRowsPerSum) {
    const std::int64_t n_rows = std::min(kRowsPerSum, p.n_rows - first);
    const bool adds = first > 0 || p.accumulate;
    for (std::int32_t tap = 0; tap < p.n_taps; ++tap)
      row_product(RowProduct<Real>{.n_rows = end - begin,
                                   .n_columns = p.n_in,
                                   .n_sums = n_rows,
                                   .a = p.d.row(member, first) + begin,
                                   .a_row = 1,
                                   .a_step = p.d.row_stride,
                                   .b = p.x.row(member, first + tap * p.tap_rows),
                                   .b_stride = p.x.row_stride,
                                   .c = p.d_weight.row(member, begin * p.n_taps + tap),
                                   .c_stride = p.n_taps * p.d_weight.row_stride,
                                   .accumulate = adds});
    if (!p.d_bias) continue;
    Real sum[kOutputsOfTask] = {};
    for (std::int64_t row = first; row < first + n_rows; ++row) {
      const Real* d = p.d.row(member, row) + begin;
      for (std::int64_t out = 0; out < end - begin; ++out) sum[out] += d[out];
    }
    Real* d_bias = p.d_bias.row(member, 0) + begin;
    for (std::int64_t out = 0; out < end - begin; ++out) d_bias[out] = adds ? d_bias[out] + sum[out] : sum[out];
  }
}

template <class Real>
void weight_gradients_cpu(const WeightGradients<Real>& p, ThreadPool& pool) {
  // The tasks of layer i are [end[i - 1], end[i]).
  std::int64_t end[kMostLayers] = {}, n_tasks = 0;
  for (std::int32_t i = 0; i < p.n_layers; ++i)
    end[i] = n_tasks += (p.layers[i].n_out + kOutputsOfTask - 1) / kOutputsOfTask;
  for_each_row_block(pool, p.fleet, n_tasks, 1, [&](std::int64_t member, std::int64_t task, std::int64_t) {
    const auto index = std::upper_bound(end, end + p.n_layers, task) - end;
    const WeightGradient<Real>& layer = p.layers[index];
    const std::int64_t first = (task - (index == 0 ? 0 : end[index - 1])) * kOutputsOfTask;
    output_gradients(layer, member, first, std::min<std::int64_t>(first + kOutputsOfTask, layer.n_out));
  });
}
IDEM_INSTANTIATE_CPU(weight_gradients, WeightGradients)
#endif

#if IDEM_COMPILES_CUDA_TWINS
constexpr std::int32_t kTileSide = 32;    // outputs by inputs of a block
constexpr std::int32_t kStageRows = 128;  // rows of d and x that are in shared memory at once
constexpr std::int32_t kRowGroups =
    4;  // threads share a block's rows out in this many parts, whose sums are then added
constexpr std::int32_t kTileQuads = kTileSide / 4;  // of four outputs or inputs
constexpr std::int32_t kTileSlots = kRowGroups * kTileQuads * kTileQuads;
constexpr std::int32_t kTileSumStride = kTileSide + 4;  // a row of sums: those of 32 inputs and of the bias
constexpr std::int32_t kLoadsInFlight = 4;  // rows of d and of x that are under way at once for every thread
constexpr std::size_t kSharedFloats = 2 * kStageRows * kTileSide + kRowGroups * kTileSide * kTileSumStride;

// What every block does: layer i has the blocks from first_block[i] on, in the second kernel those from
// first_sum_block[i] on.
struct WeightGradientBlocks {
  WeightGradients<float> p;
  std::int64_t partial_begin[kMostLayers] = {};
  unsigned first_block[kMostLayers + 1] = {}, first_sum_block[kMostLayers + 1] = {};
};

struct WeightGradientTile {
  std::int64_t chunk = 0;
  std::int32_t tap = 0, first_out = 0, first_in = 0;
  HD WeightGradientTile(const WeightGradient<float>& layer, unsigned block) {
    const auto n_in_tiles = static_cast<unsigned>((layer.n_in + kTileSide - 1) / kTileSide);
    const auto n_out_tiles = static_cast<unsigned>((layer.n_out + kTileSide - 1) / kTileSide);
    first_in = static_cast<std::int32_t>(block % n_in_tiles) * kTileSide;
    block /= n_in_tiles;
    tap = static_cast<std::int32_t>(block % static_cast<unsigned>(layer.n_taps));
    block /= static_cast<unsigned>(layer.n_taps);
    first_out = static_cast<std::int32_t>(block % n_out_tiles) * kTileSide;
    chunk = block / n_out_tiles;
  }
};

// Rows of d and x from `first` on into shared memory, zeros where there are none. A thread's four features are the same
// in all its rows; some rows are on their way before the first is stored.
static __device__ __forceinline__ void stage_rows(const WeightGradient<float>& layer, const WeightGradientTile& tile,
                                                  std::int64_t member, std::int64_t first, std::int32_t n_staged,
                                                  float* shared) {
  const std::int32_t four = static_cast<std::int32_t>(threadIdx.x) % kTileQuads * 4,
                     apart = static_cast<std::int32_t>(blockDim.x) / kTileQuads;
  const float* d = layer.d.row(member, first) + tile.first_out + four;
  const float* x = layer.x.row(member, first + tile.tap * layer.tap_rows) + tile.first_in + four;
  const std::int32_t n_of_d = tile.first_out + four < layer.n_out ? n_staged : 0,
                     n_of_x = tile.first_in + four < layer.n_in ? n_staged : 0;
  const auto d_stride = static_cast<std::int32_t>(layer.d.row_stride),
             x_stride = static_cast<std::int32_t>(layer.x.row_stride);
  for (std::int32_t begin = static_cast<std::int32_t>(threadIdx.x) / kTileQuads; begin < kStageRows;
       begin += kLoadsInFlight * apart) {
    float4 of_d[kLoadsInFlight], of_x[kLoadsInFlight];
    UNROLLED for (std::int32_t i = 0; i < kLoadsInFlight; ++i) {
      const std::int32_t row = begin + i * apart;
      of_d[i] =
          row < n_of_d ? *reinterpret_cast<const float4*>(d + std::int64_t{row} * d_stride) : make_float4(0, 0, 0, 0);
      of_x[i] =
          row < n_of_x ? *reinterpret_cast<const float4*>(x + std::int64_t{row} * x_stride) : make_float4(0, 0, 0, 0);
    }
    UNROLLED for (std::int32_t i = 0; i < kLoadsInFlight; ++i) {
      const std::int32_t row = begin + i * apart;
      if (row >= kStageRows) continue;
      *reinterpret_cast<float4*>(shared + row * kTileSide + four) = of_d[i];
      *reinterpret_cast<float4*>(shared + (kStageRows + row) * kTileSide + four) = of_x[i];
    }
  }
}

// Adds the staged rows' products to the tile's sums in shared memory, or begins them. Each thread has 4 x 4 products of
// a quarter of the rows in registers; what they are does not depend on the size of the block.
static __device__ __forceinline__ void add_products(const float* shared, std::int32_t n_staged, bool has_bias,
                                                    bool begins, float* sums) {
  for (std::int32_t slot = static_cast<std::int32_t>(threadIdx.x); slot < kTileSlots;
       slot += static_cast<std::int32_t>(blockDim.x)) {
    const std::int32_t group = slot / (kTileQuads * kTileQuads), out = slot / kTileQuads % kTileQuads * 4,
                       in = slot % kTileQuads * 4;
    const float *of_d = shared + out, *of_x = shared + kStageRows * kTileSide + in;
    float4 sum[4] = {}, bias = {};
    for (std::int32_t row = group; row < n_staged; row += kRowGroups) {
      const float4 d_row = *reinterpret_cast<const float4*>(of_d + row * kTileSide);
      const float4 x_row = *reinterpret_cast<const float4*>(of_x + row * kTileSide);
      sum[0] = plus_product(d_row.x, x_row, sum[0]);
      sum[1] = plus_product(d_row.y, x_row, sum[1]);
      sum[2] = plus_product(d_row.z, x_row, sum[2]);
      sum[3] = plus_product(d_row.w, x_row, sum[3]);
      if (has_bias) bias = plus(bias, d_row);
    }
    float* of_slot = sums + (group * kTileSide + out) * kTileSumStride;
    const float of_bias[4] = {bias.x, bias.y, bias.z, bias.w};
    UNROLLED for (std::int32_t i = 0; i < 4; ++i) {
      float4* kept = reinterpret_cast<float4*>(of_slot + i * kTileSumStride + in);
      *kept = begins ? sum[i] : plus(*kept, sum[i]);
      if (has_bias && in == 0)
        of_slot[i * kTileSumStride + kTileSide] =
            begins ? of_bias[i] : of_slot[i * kTileSumStride + kTileSide] + of_bias[i];
    }
  }
}

// The row groups' sums, added in ascending order.
template <class Values>
static __device__ __forceinline__ Values sum_of_groups(const float* of_place) {
  Values sum = *reinterpret_cast<const Values*>(of_place);
  UNROLLED for (std::int32_t group = 1; group < kRowGroups; ++group) sum =
      plus(sum, *reinterpret_cast<const Values*>(of_place + group * kTileSide * kTileSumStride));
  return sum;
}

// The tile's sums to where they belong: into the gradients, or (partial) beside the other chunks' sums.
static __device__ __forceinline__ void write_tile(const WeightGradient<float>& layer, const WeightGradientTile& tile,
                                                  std::int64_t member, bool has_bias, const float* sums,
                                                  float* partial) {
  const bool adds = !partial && layer.accumulate;
  for (std::int32_t i = static_cast<std::int32_t>(threadIdx.x); i < kTileSide * kTileQuads;
       i += static_cast<std::int32_t>(blockDim.x)) {
    const std::int32_t place_out = i / kTileQuads, place_in = i % kTileQuads * 4;
    const std::int32_t out = tile.first_out + place_out, in = tile.first_in + place_in, n_left = layer.n_in - in;
    if (out >= layer.n_out || n_left <= 0) continue;
    const std::int64_t weight_row = std::int64_t{out} * layer.n_taps + tile.tap;
    float* to = partial ? partial + weight_row * layer.partial_row() + in : layer.d_weight.row(member, weight_row) + in;
    const float4 sum = sum_of_groups<float4>(sums + place_out * kTileSumStride + place_in);
    FourFeatures::store(to, n_left, adds ? plus(FourFeatures::load(to, n_left), sum) : sum);
  }
  for (std::int32_t i = static_cast<std::int32_t>(threadIdx.x); i < kTileSide;
       i += static_cast<std::int32_t>(blockDim.x)) {
    const std::int32_t out = tile.first_out + i;
    if (!has_bias || out >= layer.n_out) continue;
    float* to =
        partial ? partial + layer.n_weight_rows() * layer.partial_row() + out : layer.d_bias.row(member, 0) + out;
    const float sum = sum_of_groups<float>(sums + i * kTileSumStride + kTileSide);
    *to = adds ? *to + sum : sum;
  }
}

// A block sums one tile of a layer's tap over a chunk of rows.
__global__ void __launch_bounds__(256, 4) weight_gradients_kernel(const WeightGradientBlocks work) {
  CU_DYN_SHARED(float, shared);  // d [kStageRows][kTileSide], x as d, sums [kRowGroups][kTileSide][kTileSumStride]
  float* sums = shared + 2 * kStageRows * kTileSide;
  std::int32_t index = 0;
  while (blockIdx.x >= work.first_block[index + 1]) ++index;
  const WeightGradient<float>& layer = work.p.layers[index];
  const WeightGradientTile tile(layer, blockIdx.x - work.first_block[index]);
  const std::int64_t begin = tile.chunk * kRowsPerSum,
                     end = begin + kRowsPerSum < layer.n_rows ? begin + kRowsPerSum : layer.n_rows;
  const bool has_bias = tile.tap == 0 && tile.first_in == 0 && layer.d_bias;

  for (std::int64_t member = blockIdx.y; member < work.p.fleet.n_members; member += gridDim.y) {
    if (!work.p.fleet.is_active(member)) continue;
    std::int64_t first = begin;
    do {
      const std::int32_t n_staged = static_cast<std::int32_t>(end - first < kStageRows ? end - first : kStageRows);
      __syncthreads();  // the rows before these have been multiplied, and the sums of the member before this one are
                        // where they belong
      stage_rows(layer, tile, member, first, n_staged, shared);
      __syncthreads();
      add_products(shared, n_staged, has_bias, first == begin, sums);
      first += kStageRows;
    } while (first < end);
    __syncthreads();
    float* partial = layer.n_chunks() == 1 ? nullptr
                                           : work.p.partial_sums + member * work.p.partial_stride +
                                                 work.partial_begin[index] + tile.chunk * layer.n_partial();
    write_tile(layer, tile, member, has_bias, sums, partial);
  }
}

// One thread for each four weights or biases adds their chunks' sums in ascending order.
__global__ void add_partial_sums_kernel(const WeightGradientBlocks work) {
  std::int32_t index = 0;
  while (blockIdx.x >= work.first_sum_block[index + 1]) ++index;
  const WeightGradient<float>& layer = work.p.layers[index];
  const std::int64_t place =
      4 * (static_cast<std::int64_t>(blockIdx.x - work.first_sum_block[index]) * blockDim.x + threadIdx.x);
  const auto row_of_partial = static_cast<std::int32_t>(layer.partial_row());
  const std::int32_t row = static_cast<std::int32_t>(place) / row_of_partial,
                     in = static_cast<std::int32_t>(place) % row_of_partial;
  const bool is_weight = row < layer.n_weight_rows();
  const auto n_biases = static_cast<std::int32_t>(layer.n_weight_rows() * row_of_partial + layer.n_out - place);
  const std::int32_t n_left = is_weight ? layer.n_in - in : layer.d_bias ? n_biases : 0;
  for (std::int64_t member = blockIdx.y; member < work.p.fleet.n_members; member += gridDim.y) {
    if (n_left <= 0 || !work.p.fleet.is_active(member)) continue;
    const float* partial = work.p.partial_sums + member * work.p.partial_stride + work.partial_begin[index] + place;
    float4 sum = {};
    for (std::int64_t chunk = 0; chunk < layer.n_chunks(); chunk += kLoadsInFlight) {
      float4 loaded[kLoadsInFlight];
      UNROLLED for (std::int32_t i = 0; i < kLoadsInFlight; ++i) loaded[i] =
          chunk + i < layer.n_chunks() ? FourFeatures::load(partial + (chunk + i) * layer.n_partial(), n_left)
                                       : make_float4(0, 0, 0, 0);
      UNROLLED for (std::int32_t i = 0; i < kLoadsInFlight; ++i) sum = plus(sum, loaded[i]);
    }
    float* to =
        is_weight ? layer.d_weight.row(member, row) + in : layer.d_bias.row(member, 0) + (layer.n_out - n_biases);
    FourFeatures::store(to, n_left, layer.accumulate ? plus(FourFeatures::load(to, n_left), sum) : sum);
  }
}

void weight_gradients_cuda(const WeightGradients<float>& p, Stream stream) {
  if (p.n_layers > kMostLayers)
    throw std::invalid_argument("the gradients of " + std::to_string(p.n_layers) + " layers at once");
  const auto n_tiles = [](std::int64_t n, std::int64_t tile) { return static_cast<unsigned>((n + tile - 1) / tile); };
  const int threads = cu::threads(256);
  WeightGradientBlocks work{.p = p};
  std::int64_t n_partial = 0;
  for (std::int32_t i = 0; i < p.n_layers; ++i) {
    const WeightGradient<float>& layer = p.layers[i];
    const bool is_whole = layer.n_chunks() == 1;
    work.partial_begin[i] = n_partial;
    n_partial += weight_gradient_scratch(layer);
    const unsigned n_blocks = static_cast<unsigned>(layer.n_chunks() * layer.n_taps) * n_tiles(layer.n_out, kTileSide) *
                              n_tiles(layer.n_in, kTileSide);
    work.first_block[i + 1] = work.first_block[i] + n_blocks;
    work.first_sum_block[i + 1] = work.first_sum_block[i] + (is_whole ? 0 : n_tiles(layer.n_partial(), 4 * threads));
  }
  if (n_partial > 0 && p.partial_sums == nullptr)
    throw std::invalid_argument("gradients over many rows need scratch for their partial sums");
  const unsigned n_members = cu::grid_extent(p.fleet.n_members);
  cu::launch("weight_gradients", weight_gradients_kernel, dim3(work.first_block[p.n_layers], n_members),
             static_cast<unsigned>(threads), kSharedFloats * sizeof(float), stream, work);
  cu::launch("add_partial_sums", add_partial_sums_kernel, dim3(work.first_sum_block[p.n_layers], n_members),
             static_cast<unsigned>(threads), 0, stream, work);
}
#endif

}  // namespace idem
