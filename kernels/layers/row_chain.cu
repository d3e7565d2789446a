#include "kernels/layers/row_chain.h"

#include <algorithm>
#include <vector>

#include "kernels/layers/activation.h"
#include "kernels/layers/flow_rows.h"
#include "kernels/common/tensor_cores.h"
#include "kernels/layers/row_product.h"
#include "kernels/layers/staged_rows.h"

namespace idem {

template <class Real>
HD Rows<const Real> kept_for_slope(const NarrowLayerGradient<Real>& p) {
  return needs_pre_activation(p.activation) ? p.pre_activation : p.value;
}

#if IDEM_COMPILES_CPU_TWINS
// A multiple of a product's tile of rows: few enough that a batch of 200 is work for several cores, and that what a
// layer leaves of them is still in the first cache when the next reads it.
constexpr std::int64_t kRowsOfTask = 48;

// Weights with outputs side by side, as a product of rows reads them: [n_members x n_in x padded(n_out)] of each
// forward layer.
template <class Real>
class TransposedWeights {
 public:
  TransposedWeights(const RowChain<Real>& p, ThreadPool& pool) {
    std::int64_t n_values = 0;
    for (std::int32_t step = 0; step < p.n_steps(); ++step) {
      begin_[step] = n_values;
      if (p.steps[step].kind == RowOperation::layer) n_values += p.fleet.n_members * size_of(p.steps[step].layer);
    }
    const auto n_lines = static_cast<std::size_t>(n_values / kLine);
    if (lines().size() < n_lines) lines() = std::vector<Line>(n_lines);
    data_ = lines().empty() ? nullptr : lines().front().values;
    for_each_row_block(pool, p.fleet, p.n_steps(), 1, [&](std::int64_t member, std::int64_t step, std::int64_t) {
      if (p.steps[step].kind == RowOperation::layer) transpose(p.steps[step].layer, member, of(p, step, member));
    });
  }
  Real* of(const RowChain<Real>& p, std::int64_t step, std::int64_t member) const {
    return data_ + begin_[step] + member * size_of(p.steps[step].layer);
  }

 private:
  static std::int64_t size_of(const NarrowLayer<Real>& layer) { return layer.n_in * padded(layer.n_out); }
  static void transpose(const NarrowLayer<Real>& layer, std::int64_t member, Real* to) {
    const std::int64_t stride = padded(layer.n_out);
    for (std::int64_t in = 0; in < layer.n_in; ++in) {
      for (std::int64_t out = 0; out < stride; ++out)
        to[in * stride + out] = out < layer.n_out ? layer.weight.row(member, out)[in] : Real(0);
    }
  }
  // Rows start on a cache line, as wide registers load them.
  static constexpr std::int64_t kLine = 16;
  struct alignas(64) Line {
    Real values[kLine];
  };
  // Kept by the thread from call to call: the weights of a fleet are too many to be allocated in every step.
  static std::vector<Line>& lines() {
    thread_local std::vector<Line> kept;
    return kept;
  }

  std::int64_t begin_[kMostRowSteps] = {};
  Real* data_ = nullptr;
};

template <class Real>
static void layer_forward(const NarrowLayer<Real>& p, const Real* transposed, std::int64_t member, std::int64_t begin,
                          std::int64_t end) {
  row_product(RowProduct<Real>{.n_rows = end - begin,
                               .n_columns = p.n_out,
                               .n_sums = p.n_in,
                               .a = p.x.row(member, begin),
                               .a_row = p.x.row_stride,
                               .b = transposed,
                               .b_stride = padded(p.n_out),
                               .c = p.value.row(member, begin),
                               .c_stride = p.value.row_stride});
  bias_activation_of_rows(BiasActivation<Real>{.n_features = p.n_out,
                                               .activation = p.activation,
                                               .slope = p.slope,
                                               .bias = p.bias,
                                               .value = p.value,
                                               .pre_activation = p.pre_activation},
                          member, begin, end);
}

template <Activation kind, class Real>
IDEM_SIMD_CLONES static void multiply_by_slope(const Real* __restrict__ kept, Real slope, std::int32_t n,
                                               Real* __restrict__ d) {
  for (std::int32_t out = 0; out < n; ++out) d[out] *= activation_slope<kind>(kept[out], slope);
}

template <class Real>
static void layer_backward(const NarrowLayerGradient<Real>& p, std::int64_t member, std::int64_t begin,
                           std::int64_t end) {
  with_activation(p.activation, [&](auto kind) {
    if constexpr (decltype(kind)::value != Activation::identity) {
      for (std::int64_t row = begin; row < end; ++row)
        multiply_by_slope<decltype(kind)::value>(kept_for_slope(p).row(member, row), p.slope, p.n_out,
                                                 p.d_value.row(member, row));
    }
  });
  if (!p.d_x) return;
  row_product(RowProduct<Real>{.n_rows = end - begin,
                               .n_columns = p.n_in,
                               .n_sums = p.n_out,
                               .a = p.d_value.row(member, begin),
                               .a_row = p.d_value.row_stride,
                               .b = p.weight.row(member, 0),
                               .b_stride = p.weight.row_stride,
                               .c = p.d_x.row(member, begin),
                               .c_stride = p.d_x.row_stride,
                               .accumulate = p.accumulate});
}

// Calls body(step, member, begin, end) for every step of every chain: rows go through a chain in blocks, each in one
// task.
template <class Real, class Step, class Body>
static void for_each_step(const RowSteps<Real, Step>& p, ThreadPool& pool, const Body& body) {
  const std::int64_t n_blocks = (p.n_rows + kRowsOfTask - 1) / kRowsOfTask;
  for_each_row_block(pool, p.fleet, p.n_chains * n_blocks, 1,
                     [&](std::int64_t member, std::int64_t task, std::int64_t) {
                       const std::int64_t chain = task / n_blocks, begin = task % n_blocks * kRowsOfTask,
                                          end = std::min(begin + kRowsOfTask, p.n_rows);
                       for (std::int32_t step = chain == 0 ? 0 : p.end[chain - 1]; step < p.end[chain]; ++step)
                         body(step, member, begin, end);
                     });
}

template <class Real>
void row_chain_forward_cpu(const RowChain<Real>& p, ThreadPool& pool) {
  const TransposedWeights<Real> weights(p, pool);
  for_each_step(p, pool, [&](std::int32_t step, std::int64_t member, std::int64_t begin, std::int64_t end) {
    const RowStep<Real>& s = p.steps[step];
    switch (s.kind) {
      case RowOperation::layer: return layer_forward(s.layer, weights.of(p, step, member), member, begin, end);
      case RowOperation::join:
        return for_each_feature(JoinFeaturesRow<Real>{s.join}, s.join.n_a + s.join.n_b, member, begin, end);
      case RowOperation::coupling: return coupling_forward_of_rows(s.coupling, member, begin, end);
      case RowOperation::scale: return;  // gradients alone are scaled
    }
  });
}
template <class Real>
void row_chain_backward_cpu(const RowChainGradient<Real>& p, ThreadPool& pool) {
  for_each_step(p, pool, [&](std::int32_t step, std::int64_t member, std::int64_t begin, std::int64_t end) {
    const RowGradientStep<Real>& s = p.steps[step];
    switch (s.kind) {
      case RowOperation::layer: return layer_backward(s.layer, member, begin, end);
      case RowOperation::join:
        return for_each_feature(JoinFeaturesGradientRow<Real>{s.join}, s.join.n_a + s.join.n_b, member, begin, end);
      case RowOperation::coupling: return coupling_backward_of_rows(s.coupling, member, begin, end);
      case RowOperation::scale: return scale_of_rows(s.scale, member, begin, end);
    }
  });
}
IDEM_INSTANTIATE_CPU(row_chain_forward, RowChain)
IDEM_INSTANTIATE_CPU(row_chain_backward, RowChainGradient)
#endif

#if IDEM_COMPILES_CUDA_TWINS
// Rows that a block takes along. Few occupy a GPU with a small fleet too; of a large one the weights, which every block
// stages, are the more of the work. A thread's sums are those of four features of one row where there are few, else of
// four; a warp's on tensor cores, where 16 rows are the fewest, those of 8 columns or of 32.
template <ProductPrecision precision>
constexpr int kFewRows = precision == ProductPrecision::fp32 ? 8 : 16;
constexpr int kSomeRows = 32, kManyRows = 64;
constexpr std::int64_t kMostBlocks = 512;

static __device__ __forceinline__ float4 activate(Activation activation, float4 x, float negative_slope) {
  return with_activation(activation, [&](auto kind) {
    return each(x, [&](float value) { return activated<decltype(kind)::value>(value, negative_slope); });
  });
}
static __device__ __forceinline__ float4 slope_of(Activation activation, float4 kept, float negative_slope) {
  return with_activation(activation, [&](auto kind) {
    return each(kept, [&](float value) { return activation_slope<decltype(kind)::value>(value, negative_slope); });
  });
}

// What is multiplied at once: n values along the sums, and columns, are rounded up to it with zeros.
template <ProductPrecision precision>
constexpr int kDepth = precision == ProductPrecision::fp32 ? 4 : cu::kTensorDepth<precision>;
template <ProductPrecision precision>
constexpr int kColumns = precision == ProductPrecision::fp32 ? 4 : 8;
static HD int rounded_up(int n, int multiple) { return (n + multiple - 1) / multiple * multiple; }

// A layer's weights and the rows they are multiplied with, in shared memory, as rows of float4. An odd number of them
// apart: neighbouring lanes' rows lie in different banks. Forwards the weights' rows are outputs, in an order in which
// a thread's four lie n_columns apart and those of neighbouring threads one; backwards the weights' rows are what is
// summed over, and the rows are of the products' gradients.
template <ProductPrecision precision, bool is_forward>
struct LayerTile {
  int n_in, n_out, depth, n_columns, weight_rows, weight_quads, weight_pitch, row_quads, row_pitch;
  float4 *weight, *rows;

  HD LayerTile(int of_in, int of_out, float4* shared) : n_in(of_in), n_out(of_out) {
    const int n_sums = is_forward ? n_in : n_out, n_results = is_forward ? n_out : n_in;
    depth = rounded_up(n_sums, kDepth<precision>);
    const int results = rounded_up(n_results, kColumns<precision>);
    n_columns = results / 4;
    weight_rows = is_forward ? results : depth;
    weight_quads = (is_forward ? depth : results) / 4;
    weight_pitch = weight_quads | 1;
    row_quads = depth / 4;
    row_pitch = row_quads | 1;
    weight = shared;
    rows = shared + weight_rows * weight_pitch;
  }
  int n_quads(int n_rows) const { return weight_rows * weight_pitch + n_rows * row_pitch; }
  HD int n_results() const { return is_forward ? n_out : n_in; }

  __device__ __forceinline__ void stage_weights(Rows<const float> from, std::int64_t member) const {
    constexpr bool is_spread = is_forward && precision == ProductPrecision::fp32;
    for_each_quad(from, member, 0, n_out, weight_rows, n_in, weight_quads, [&](int out, int quad, float4 value) {
      weight[(is_spread ? out % 4 * n_columns + out / 4 : out) * weight_pitch + quad] = value;
    });
  }
  // As tensor cores ask for them.
  __device__ __forceinline__ float row_value(int row, int k) const {
    return reinterpret_cast<const float*>(rows)[row * 4 * row_pitch + k];
  }
  __device__ __forceinline__ float weight_value(int k, int column) const {
    const int of_row = is_forward ? column : k, feature = is_forward ? k : column;
    return reinterpret_cast<const float*>(weight)[of_row * 4 * weight_pitch + feature];
  }
};

// The products of the rows [row, row + kRows) with four columns, the sums' values in ascending order.
template <int kRows, bool is_forward>
static __device__ __forceinline__ void multiply(const LayerTile<ProductPrecision::fp32, is_forward>& tile, int column,
                                                int row, float4 sum[kRows]) {
  const float4 *w = tile.weight + (is_forward ? column * tile.weight_pitch : column),
               *of_rows = tile.rows + row * tile.row_pitch;
  const int apart = is_forward ? tile.n_columns * tile.weight_pitch : tile.weight_pitch,
            step = is_forward ? 1 : 4 * tile.weight_pitch;
  UNROLLED_BY(4 / kRows)
  for (int quad = 0; quad < tile.row_quads; ++quad, w += step) {
    const float4 w0 = w[0], w1 = w[apart], w2 = w[2 * apart], w3 = w[3 * apart];
    UNROLLED for (int i = 0; i < kRows; ++i) {
      const float4 a = of_rows[i * tile.row_pitch + quad];
      if constexpr (is_forward) {
        sum[i] = make_float4(plus_product(a, w0, sum[i].x), plus_product(a, w1, sum[i].y),
                             plus_product(a, w2, sum[i].z), plus_product(a, w3, sum[i].w));
      } else {
        sum[i] = plus_product(a.w, w3, plus_product(a.z, w2, plus_product(a.y, w1, plus_product(a.x, w0, sum[i]))));
      }
    }
  }
}

// Calls finish(row, column, sum) with four sums of products of every row and column there is. kTogether: rows of a
// thread, or eights of columns of a warp.
template <int kTogether, bool is_forward, class Finish>
static __device__ __forceinline__ void for_each_sum(const LayerTile<ProductPrecision::fp32, is_forward>& tile,
                                                    int n_rows, const Finish& finish) {
  const int n_items = tile.n_columns * ((n_rows + kTogether - 1) / kTogether);
  for (int item = static_cast<int>(threadIdx.x); item < n_items; item += static_cast<int>(blockDim.x)) {
    const int column = item % tile.n_columns, first = item / tile.n_columns * kTogether;
    float4 sum[kTogether] = {};
    multiply<kTogether>(tile, column, first, sum);
    UNROLLED_BY(1)
    for (int row = first; row < first + kTogether && row < n_rows; ++row)
      finish(row, 4 * column, take_first<kTogether>(sum));
  }
}
template <int kTogether, ProductPrecision precision, bool is_forward, class Finish>
static __device__ __forceinline__ void for_each_sum(const LayerTile<precision, is_forward>& tile, int n_rows,
                                                    const Finish& finish) {
  const int n_tiles = (tile.n_results() + 7) / 8, n_groups = (n_tiles + kTogether - 1) / kTogether,
            n_items = n_groups * ((n_rows + 15) / 16);
  const int warp = static_cast<int>(threadIdx.x) / 32, n_warps = static_cast<int>(blockDim.x) / 32;
  const cu::TensorQuad quad;
  for (int item = warp; item < n_items; item += n_warps) {
    const int first_row = item / n_groups * 16, first_tile = item % n_groups * kTogether;
    float sum[kTogether][4] = {};
    for (int k = 0; k < tile.depth; k += kDepth<precision>) {
      cu::TensorFactors<precision> factors;
      factors.rows([&](int row, int at) { return tile.row_value(first_row + row, k + at); });
      UNROLLED for (int i = 0; i < kTogether; ++i) {
        if (first_tile + i >= n_tiles) continue;
        factors.columns([&](int at, int column) { return tile.weight_value(k + at, 8 * (first_tile + i) + column); });
        cu::multiply(sum[i], factors);
      }
    }
    float4 quads_of[kTogether];
    UNROLLED for (int i = 0; i < kTogether; ++i) quads_of[i] = cu::TensorQuad::of(sum[i]);
    const int row = first_row + quad.row;
    UNROLLED_BY(1) for (int i = 0; i < kTogether; ++i) {
      const int column = 8 * (first_tile + i) + quad.column;
      const float4 of_tile = take_first<kTogether>(quads_of);
      if (row < n_rows && column < tile.n_results()) finish(row, column, of_tile);
    }
  }
}

template <ProductPrecision precision, int kTogether>
static __device__ __forceinline__ void layer_in_block(const NarrowLayer<float>& p, std::int64_t member,
                                                      std::int64_t first_row, int n_present, int n_rows,
                                                      float4* shared) {
  const LayerTile<precision, true> tile(p.n_in, p.n_out, shared);
  tile.stage_weights(p.weight, member);
  for_each_quad(p.x, member, first_row, n_present, n_rows, p.n_in, tile.row_quads,
                [&](int row, int quad, float4 value) { tile.rows[row * tile.row_pitch + quad] = value; });
  __syncthreads();
  for_each_sum<kTogether>(tile, n_present, [&](int row, int out, float4 sum) {
    const int n_left = p.n_out - out;
    const float4 before = plus(sum, FourFeatures::load(p.bias.row(member, 0) + out, n_left));
    if (p.pre_activation) FourFeatures::store(p.pre_activation.row(member, first_row + row) + out, n_left, before);
    FourFeatures::store(p.value.row(member, first_row + row) + out, n_left, activate(p.activation, before, p.slope));
  });
}

// d_value becomes the gradient of the layer's products, in global memory and in the tile. Some rows are on their way at
// once where there are many.
template <int kInFlight, ProductPrecision precision>
static __device__ __forceinline__ void pass_activation(const NarrowLayerGradient<float>& p,
                                                       const LayerTile<precision, false>& tile, std::int64_t member,
                                                       std::int64_t first_row, int n_present, int n_rows) {
  const bool is_linear = p.activation == Activation::identity;
  const QuadLanes at(tile.row_quads);
  for (int quad = at.quad; quad < tile.row_quads; quad += at.lanes) {
    const int n_left = p.n_out - 4 * quad, n_read = n_left > 0 ? n_present : 0;
    float* of_d = p.d_value.row(member, first_row) + 4 * quad;
    const float* of_kept = kept_for_slope(p).row(member, first_row) + 4 * quad;
    for (int first = at.row; first < n_rows; first += kInFlight * at.apart) {
      float4 d[kInFlight] = {}, kept[kInFlight] = {};
      UNROLLED for (int i = 0; i < kInFlight; ++i) {
        const std::int64_t row = first + i * at.apart;
        if (row >= n_read) continue;
        d[i] = FourFeatures::load(of_d + row * p.d_value.row_stride, n_left);
        if (!is_linear) kept[i] = FourFeatures::load(of_kept + row * kept_for_slope(p).row_stride, n_left);
      }
      UNROLLED_BY(1) for (int row = first; row < n_rows && row < first + kInFlight * at.apart; row += at.apart) {
        float4 next = take_first<kInFlight>(d);
        const float4 next_kept = take_first<kInFlight>(kept);
        if (!is_linear) {
          next = product(next, slope_of(p.activation, next_kept, p.slope));
          if (row < n_read) FourFeatures::store(of_d + row * p.d_value.row_stride, n_left, next);
        }
        if (p.d_x) tile.rows[row * tile.row_pitch + quad] = next;
      }
    }
  }
}

template <ProductPrecision precision, int kTogether>
static __device__ __forceinline__ void layer_in_block(const NarrowLayerGradient<float>& p, std::int64_t member,
                                                      std::int64_t first_row, int n_present, int n_rows,
                                                      float4* shared) {
  const LayerTile<precision, false> tile(p.n_in, p.n_out, shared);
  if (p.d_x) tile.stage_weights(p.weight, member);
  pass_activation<kTogether>(p, tile, member, first_row, n_present, n_rows);
  if (!p.d_x) return;
  __syncthreads();
  for_each_sum<kTogether>(tile, n_present, [&](int row, int in, float4 sum) {
    float* d_x = p.d_x.row(member, first_row + row) + in;
    FourFeatures::store(d_x, p.n_in - in, p.accumulate ? plus(FourFeatures::load(d_x, p.n_in - in), sum) : sum);
  });
}

// Rows by warps, features along the lanes; some of them at once where a block has few rows.
template <int kTogether, class Row>
static __device__ __forceinline__ void for_each_in_block(int n_present, int n_features, const Row& row_body,
                                                         std::int64_t member, std::int64_t first_row) {
  for (int row = static_cast<int>(threadIdx.x) / 32; row < n_present; row += static_cast<int>(blockDim.x) / 32) {
    UNROLLED_BY(4 / kTogether)
    for (int feature = static_cast<int>(threadIdx.x) % 32; feature < n_features; feature += 32)
      row_body(member, first_row + row, feature);
  }
}

template <ProductPrecision precision, int kTogether>
static __device__ __forceinline__ void in_block(const RowStep<float>& step, std::int64_t member, std::int64_t first_row,
                                                int n_present, int n_rows, float4* shared) {
  switch (step.kind) {
    case RowOperation::layer:
      return layer_in_block<precision, kTogether>(step.layer, member, first_row, n_present, n_rows, shared);
    case RowOperation::join:
      return for_each_in_block<kTogether>(n_present, step.join.n_a + step.join.n_b, JoinFeaturesRow<float>{step.join},
                                          member, first_row);
    case RowOperation::coupling:
      for (int row = static_cast<int>(threadIdx.x) / 32; row < n_present; row += static_cast<int>(blockDim.x) / 32)
        coupling_forward_by_warp(step.coupling, member, first_row + row, static_cast<int>(threadIdx.x) % 32);
      return;
    case RowOperation::scale: return;  // gradients alone are scaled
  }
}
template <ProductPrecision precision, int kTogether>
static __device__ __forceinline__ void in_block(const RowGradientStep<float>& step, std::int64_t member,
                                                std::int64_t first_row, int n_present, int n_rows, float4* shared) {
  switch (step.kind) {
    case RowOperation::layer:
      return layer_in_block<precision, kTogether>(step.layer, member, first_row, n_present, n_rows, shared);
    case RowOperation::join:
      return for_each_in_block<kTogether>(n_present, step.join.n_a + step.join.n_b,
                                          JoinFeaturesGradientRow<float>{step.join}, member, first_row);
    case RowOperation::coupling:
      return for_each_in_block<kTogether>(n_present, step.coupling.forward.n_moved(),
                                          CouplingGradientRow<float>{step.coupling}, member, first_row);
    case RowOperation::scale:
      return for_each_in_block<kTogether>(n_present, step.scale.n_features, ScaleRowsRow{step.scale}, member,
                                          first_row);
  }
}

// A block takes its rows through the steps of its chain. What a step leaves in global memory its block alone reads on:
// a barrier orders that.
template <class Step, ProductPrecision precision, int kTogether>
__global__ void __launch_bounds__(256, kTogether == 1 ? 2 : 3)
    row_chain_kernel(RowSteps<float, Step> p, int rows_of_block) {
  CU_DYN_SHARED(float4, shared);
  for (std::int64_t member = blockIdx.y; member < p.fleet.n_members; member += gridDim.y) {
    if (!p.fleet.is_active(member)) continue;
    for (std::int64_t first = static_cast<std::int64_t>(blockIdx.x) * rows_of_block; first < p.n_rows;
         first += static_cast<std::int64_t>(gridDim.x) * rows_of_block) {
      const std::int64_t left = p.n_rows - first;
      const int n_present = left < rows_of_block ? static_cast<int>(left) : rows_of_block;
      const std::int32_t chain = static_cast<std::int32_t>(blockIdx.z);
      for (std::int32_t step = chain == 0 ? 0 : p.end[chain - 1]; step < p.end[chain]; ++step) {
        in_block<precision, kTogether>(p.steps[step], member, first, n_present, rows_of_block, shared);
        __syncthreads();
      }
    }
  }
}

template <ProductPrecision precision>
static int n_shared_quads(const NarrowLayer<float>& p, int n_rows) {
  return LayerTile<precision, true>(p.n_in, p.n_out, nullptr).n_quads(n_rows);
}
template <ProductPrecision precision>
static int n_shared_quads(const NarrowLayerGradient<float>& p, int n_rows) {
  return LayerTile<precision, false>(p.n_in, p.n_out, nullptr).n_quads(n_rows);
}

template <ProductPrecision precision, class Step>
static std::size_t shared_bytes_of(const RowSteps<float, Step>& p, int n_rows) {
  int n_quads = 0;
  for (std::int32_t step = 0; step < p.n_steps(); ++step) {
    if (p.steps[step].kind != RowOperation::layer) continue;
    const int needed = n_shared_quads<precision>(p.steps[step].layer, n_rows);
    n_quads = needed > n_quads ? needed : n_quads;
  }
  return static_cast<std::size_t>(n_quads) * sizeof(float4);
}

template <ProductPrecision precision, class Step>
static void launch_row_chain(const char* name, const RowSteps<float, Step>& p, Stream stream) {
  const auto n_blocks = [&](int rows) { return (p.n_rows + rows - 1) / rows; };
  int rows = kFewRows<precision>;
  for (const int more : {kSomeRows, kManyRows})
    if (n_blocks(rows) * p.fleet.n_members > kMostBlocks && shared_bytes_of<precision>(p, more) <= cu::kMostSharedBytes)
      rows = more;
  const auto kernel =
      rows == kFewRows<precision> ? row_chain_kernel<Step, precision, 1> : row_chain_kernel<Step, precision, 4>;
  cu::launch(name, kernel,
             dim3(cu::grid_extent(n_blocks(rows), 0x7fffffffu), cu::grid_extent(p.fleet.n_members),
                  static_cast<unsigned>(p.n_chains)),
             dim3(static_cast<unsigned>(cu::threads(256))), shared_bytes_of<precision>(p, rows), stream, p, rows);
}
template <class Step>
static void launch_row_chain(const char* name, const RowSteps<float, Step>& p, Stream stream) {
  cu::with_precision(p.precision,
                     [&](auto precision) { launch_row_chain<decltype(precision)::value>(name, p, stream); });
}

void row_chain_forward_cuda(const RowChain<float>& p, Stream stream) {
  launch_row_chain("row_chain_forward", p, stream);
}
void row_chain_backward_cuda(const RowChainGradient<float>& p, Stream stream) {
  launch_row_chain("row_chain_backward", p, stream);
}
#endif

}  // namespace idem
