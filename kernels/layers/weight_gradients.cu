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
  for (std::int32_t i = 0; i < p.n_layers; ++i) end[i] = n_tasks += (p.layers[i].n_out + kOutputsOfTask - 1) / kOutputsOfTask;
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
constexpr std::int32_t kTile = 32;           // outputs by inputs of a block
constexpr std::int32_t kStageRows = 128;     // rows of d and x that are in shared memory at once
constexpr std::int32_t kRowGroups = 4;       // threads share a block's rows out in this many parts, whose sums are then added
constexpr std::int32_t kQuads = kTile / 4;   // of four outputs or inputs
constexpr std::int32_t kSlots = kRowGroups * kQuads * kQuads;
constexpr std::int32_t kSumStride = kTile + 4;  // a row of sums: those of 32 inputs and of the bias
constexpr std::int32_t kLoads = 8;           // under way at once for every thread
constexpr std::size_t kSharedFloats = 2 * kStageRows * kTile + kRowGroups * kTile * kSumStride;

// What every block does: layer i has the blocks from first_block[i] on, in the second kernel those from first_sum_block[i] on.
struct WeightGradientBlocks {
  WeightGradients<float> p;
  std::int64_t partial_begin[kMostLayers] = {};
  unsigned first_block[kMostLayers + 1] = {}, first_sum_block[kMostLayers + 1] = {};
};

struct WeightGradientTile {
  std::int64_t chunk = 0;
  std::int32_t tap = 0, first_out = 0, first_in = 0;
  HD WeightGradientTile(const WeightGradient<float>& layer, unsigned block) {
    const auto n_in_tiles = static_cast<unsigned>((layer.n_in + kTile - 1) / kTile);
    const auto n_out_tiles = static_cast<unsigned>((layer.n_out + kTile - 1) / kTile);
    first_in = static_cast<std::int32_t>(block % n_in_tiles) * kTile;
    block /= n_in_tiles;
    tap = static_cast<std::int32_t>(block % static_cast<unsigned>(layer.n_taps));
    block /= static_cast<unsigned>(layer.n_taps);
    first_out = static_cast<std::int32_t>(block % n_out_tiles) * kTile;
    chunk = block / n_out_tiles;
  }
};


// A block sums one tile of a layer's tap over a chunk of rows: into the gradients, or beside the other chunks' sums where there are several. Each
// thread has 4 x 4 products of a quarter of the rows in registers; what they are does not depend on the size of the block.
__global__ void weight_gradients_kernel(const WeightGradientBlocks work) {
  CU_DYN_SHARED(float, shared);  // d [kStageRows][kTile], x as d, sums [kRowGroups][kTile][kSumStride]
  float* sums = shared + 2 * kStageRows * kTile;
  std::int32_t index = 0;
  while (blockIdx.x >= work.first_block[index + 1]) ++index;
  const WeightGradient<float>& layer = work.p.layers[index];
  const WeightGradientTile tile(layer, blockIdx.x - work.first_block[index]);
  const std::int64_t begin = tile.chunk * kRowsPerSum, end = begin + kRowsPerSum < layer.n_rows ? begin + kRowsPerSum : layer.n_rows;
  const std::int32_t thread = static_cast<std::int32_t>(threadIdx.x), n_threads = static_cast<std::int32_t>(blockDim.x);
  const bool has_bias = tile.tap == 0 && tile.first_in == 0 && layer.d_bias;

  for (std::int64_t member = blockIdx.y; member < work.p.fleet.n_members; member += gridDim.y) {
    if (!work.p.fleet.is_active(member)) continue;
    std::int64_t first = begin;
    do {
      const std::int32_t n_staged = static_cast<std::int32_t>(end - first < kStageRows ? end - first : kStageRows);
      const float* d = layer.d.row(member, first) + tile.first_out;
      const float* x = layer.x.row(member, first + tile.tap * layer.tap_rows) + tile.first_in;
      const std::int32_t n_out = layer.n_out - tile.first_out, n_in = layer.n_in - tile.first_in;
      __syncthreads();  // the rows before these have been multiplied, and the sums of the member before this one are where they belong
      for (std::int32_t item = thread; item < 2 * kStageRows * kQuads; item += kLoads * n_threads) {
        float4 loaded[kLoads];
        for (std::int32_t i = 0; i < kLoads; ++i) {
          const std::int32_t place = item + i * n_threads, row = place / kQuads % kStageRows, feature = place % kQuads * 4;
          const bool is_d = place < kStageRows * kQuads;
          const bool exists = place < 2 * kStageRows * kQuads && row < n_staged && feature < (is_d ? n_out : n_in);
          const float* from = is_d ? d + row * layer.d.row_stride : x + row * layer.x.row_stride;
          loaded[i] = exists ? *reinterpret_cast<const float4*>(from + feature) : make_float4(0, 0, 0, 0);
        }
        for (std::int32_t i = 0; i < kLoads; ++i) {
          const std::int32_t place = item + i * n_threads;
          if (place < 2 * kStageRows * kQuads) *reinterpret_cast<float4*>(shared + 4 * place) = loaded[i];
        }
      }
      __syncthreads();
      for (std::int32_t slot = thread; slot < kSlots; slot += n_threads) {
        const std::int32_t group = slot / (kQuads * kQuads), out = slot / kQuads % kQuads * 4, in = slot % kQuads * 4;
        const float *of_d = shared + out, *of_x = shared + kStageRows * kTile + in;
        float4 sum[4] = {}, bias = {};
        for (std::int32_t row = group; row < n_staged; row += kRowGroups) {
          const float4 d_row = *reinterpret_cast<const float4*>(of_d + row * kTile);
          const float4 x_row = *reinterpret_cast<const float4*>(of_x + row * kTile);
          sum[0] = plus_product(d_row.x, x_row, sum[0]);
          sum[1] = plus_product(d_row.y, x_row, sum[1]);
          sum[2] = plus_product(d_row.z, x_row, sum[2]);
          sum[3] = plus_product(d_row.w, x_row, sum[3]);
          if (has_bias) bias = plus(bias, d_row);
        }
        float* of_slot = sums + (group * kTile + out) * kSumStride;
        const float of_bias[4] = {bias.x, bias.y, bias.z, bias.w};
        for (std::int32_t i = 0; i < 4; ++i) {
          float4* kept = reinterpret_cast<float4*>(of_slot + i * kSumStride + in);
          *kept = first == begin ? sum[i] : plus(*kept, sum[i]);
          if (has_bias && in == 0) of_slot[i * kSumStride + kTile] = first == begin ? of_bias[i] : of_slot[i * kSumStride + kTile] + of_bias[i];
        }
      }
      first += kStageRows;
    } while (first < end);
    __syncthreads();
    const bool is_whole = layer.n_chunks() == 1, adds = is_whole && layer.accumulate;
    float* partial = is_whole ? nullptr
                              : work.p.partial_sums + member * work.p.partial_stride + work.partial_begin[index] +
                                    tile.chunk * (layer.n_weights() + layer.n_out);
    for (std::int32_t i = thread; i < kTile * (kTile + 1); i += n_threads) {
      // The last 32 are the biases.
      const bool is_bias = i >= kTile * kTile;
      const std::int32_t place_out = is_bias ? i % kTile : i / kTile, place_in = is_bias ? kTile : i % kTile;
      const std::int32_t out = tile.first_out + place_out, in = tile.first_in + place_in;
      if (out >= layer.n_out || (is_bias ? !has_bias : in >= layer.n_in)) continue;
      const float* of_place = sums + place_out * kSumStride + place_in;
      float sum = of_place[0];
      for (std::int32_t group = 1; group < kRowGroups; ++group) sum += of_place[group * kTile * kSumStride];
      const std::int64_t weight_row = std::int64_t{out} * layer.n_taps + tile.tap;
      float* to;
      if (is_whole) {
        to = is_bias ? layer.d_bias.row(member, 0) + out : layer.d_weight.row(member, weight_row) + in;
      } else {
        to = partial + (is_bias ? layer.n_weights() + out : weight_row * layer.n_in + in);
      }
      *to = adds ? *to + sum : sum;
    }
  }
}

// One thread for each weight or bias adds its chunks' sums in ascending order.
__global__ void add_partial_sums_kernel(const WeightGradientBlocks work) {
  std::int32_t index = 0;
  while (blockIdx.x >= work.first_sum_block[index + 1]) ++index;
  const WeightGradient<float>& layer = work.p.layers[index];
  const std::int64_t place = static_cast<std::int64_t>(blockIdx.x - work.first_sum_block[index]) * blockDim.x + threadIdx.x;
  const std::int64_t n_weights = layer.n_weights(), n_places = n_weights + (layer.d_bias ? layer.n_out : 0), chunk_stride = n_weights + layer.n_out;
  const std::int64_t n_chunks = layer.n_chunks();
  for (std::int64_t member = blockIdx.y; member < work.p.fleet.n_members; member += gridDim.y) {
    if (place >= n_places || !work.p.fleet.is_active(member)) continue;
    const float* partial = work.p.partial_sums + member * work.p.partial_stride + work.partial_begin[index] + place;
    float sum = 0.0f;
    for (std::int64_t chunk = 0; chunk < n_chunks; chunk += kLoads) {
      float loaded[kLoads];
      for (std::int32_t i = 0; i < kLoads; ++i) loaded[i] = chunk + i < n_chunks ? partial[(chunk + i) * chunk_stride] : 0.0f;
      for (std::int32_t i = 0; i < kLoads; ++i) sum += loaded[i];
    }
    float* to = place < n_weights ? layer.d_weight.row(member, place / layer.n_in) + place % layer.n_in
                                  : layer.d_bias.row(member, 0) + (place - n_weights);
    *to = layer.accumulate ? *to + sum : sum;
  }
}

void weight_gradients_cuda(const WeightGradients<float>& p, Stream stream) {
  if (p.n_layers > kMostLayers) throw std::invalid_argument("the gradients of " + std::to_string(p.n_layers) + " layers at once");
  const auto n_tiles = [](std::int64_t n, std::int64_t tile) { return static_cast<unsigned>((n + tile - 1) / tile); };
  const int threads = cu::threads(256);
  WeightGradientBlocks work{.p = p};
  std::int64_t n_partial = 0;
  for (std::int32_t i = 0; i < p.n_layers; ++i) {
    const WeightGradient<float>& layer = p.layers[i];
    const bool is_whole = layer.n_chunks() == 1;
    work.partial_begin[i] = n_partial;
    n_partial += weight_gradient_scratch(layer);
    const unsigned n_blocks = static_cast<unsigned>(layer.n_chunks() * layer.n_taps) * n_tiles(layer.n_out, kTile) * n_tiles(layer.n_in, kTile);
    work.first_block[i + 1] = work.first_block[i] + n_blocks;
    work.first_sum_block[i + 1] = work.first_sum_block[i] + (is_whole ? 0 : n_tiles(layer.n_weights() + layer.n_out, threads));
  }
  if (n_partial > 0 && p.partial_sums == nullptr) throw std::invalid_argument("gradients over many rows need scratch for their partial sums");
  const unsigned n_members = cu::grid_extent(p.fleet.n_members);
  cu::launch("weight_gradients", weight_gradients_kernel, dim3(work.first_block[p.n_layers], n_members), static_cast<unsigned>(threads),
             kSharedFloats * sizeof(float), stream, work);
  cu::launch("add_partial_sums", add_partial_sums_kernel, dim3(work.first_sum_block[p.n_layers], n_members), static_cast<unsigned>(threads), 0,
             stream, work);
}
#endif

}  // namespace idem
