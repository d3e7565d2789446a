#include "kernels/layers/row_chain.h"

#include <algorithm>
#include <vector>

#include "kernels/layers/activation.h"
#include "kernels/layers/flow_rows.h"
#include "kernels/common/four_floats.h"
#include "kernels/layers/row_product.h"

namespace idem {

template <class Real>
HD Rows<const Real> kept_for_slope(const NarrowLayerGradient<Real>& p) {
  return needs_pre_activation(p.activation) ? p.pre_activation : p.value;
}

#if IDEM_COMPILES_CPU_TWINS
// A multiple of a product's tile of rows: few enough that a batch of 200 is work for several cores, and that what a layer leaves of them is still in
// the first cache when the next reads it.
constexpr std::int64_t kRowsOfTask = 48;

// Weights with outputs side by side, as a product of rows reads them: [n_members x n_in x padded(n_out)] of each forward layer.
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
      for (std::int64_t out = 0; out < stride; ++out) to[in * stride + out] = out < layer.n_out ? layer.weight.row(member, out)[in] : Real(0);
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
static void layer_forward(const NarrowLayer<Real>& p, const Real* transposed, std::int64_t member, std::int64_t begin, std::int64_t end) {
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
IDEM_SIMD_CLONES static void multiply_by_slope(const Real* __restrict__ kept, Real slope, std::int32_t n, Real* __restrict__ d) {
  for (std::int32_t out = 0; out < n; ++out) d[out] *= activation_slope<kind>(kept[out], slope);
}

template <class Real>
static void layer_backward(const NarrowLayerGradient<Real>& p, std::int64_t member, std::int64_t begin, std::int64_t end) {
  with_activation(p.activation, [&](auto kind) {
    if constexpr (decltype(kind)::value != Activation::identity) {
      for (std::int64_t row = begin; row < end; ++row)
        multiply_by_slope<decltype(kind)::value>(kept_for_slope(p).row(member, row), p.slope, p.n_out, p.d_value.row(member, row));
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

// Calls body(step, member, begin, end) for every step of every chain: rows go through a chain in blocks, each in one task.
template <class Real, class Step, class Body>
static void for_each_step(const RowSteps<Real, Step>& p, ThreadPool& pool, const Body& body) {
  const std::int64_t n_blocks = (p.n_rows + kRowsOfTask - 1) / kRowsOfTask;
  for_each_row_block(pool, p.fleet, p.n_chains * n_blocks, 1, [&](std::int64_t member, std::int64_t task, std::int64_t) {
    const std::int64_t chain = task / n_blocks, begin = task % n_blocks * kRowsOfTask, end = std::min(begin + kRowsOfTask, p.n_rows);
    for (std::int32_t step = chain == 0 ? 0 : p.end[chain - 1]; step < p.end[chain]; ++step) body(step, member, begin, end);
  });
}

template <class Real>
void row_chain_forward_cpu(const RowChain<Real>& p, ThreadPool& pool) {
  const TransposedWeights<Real> weights(p, pool);
  for_each_step(p, pool, [&](std::int32_t step, std::int64_t member, std::int64_t begin, std::int64_t end) {
    const RowStep<Real>& s = p.steps[step];
    switch (s.kind) {
      case RowOperation::layer: return layer_forward(s.layer, weights.of(p, step, member), member, begin, end);
      case RowOperation::join: return for_each_feature(JoinFeaturesRow<Real>{s.join}, s.join.n_a + s.join.n_b, member, begin, end);
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
      case RowOperation::join: return for_each_feature(JoinFeaturesGradientRow<Real>{s.join}, s.join.n_a + s.join.n_b, member, begin, end);
      case RowOperation::coupling: return coupling_backward_of_rows(s.coupling, member, begin, end);
      case RowOperation::scale: return scale_of_rows(s.scale, member, begin, end);
    }
  });
}
IDEM_INSTANTIATE_CPU(row_chain_forward, RowChain)
IDEM_INSTANTIATE_CPU(row_chain_backward, RowChainGradient)
#endif

#if IDEM_COMPILES_CUDA_TWINS
// Rows that a block takes along. Few occupy a GPU with a small fleet too; of a large one the weights, which every block stages, are the more of the
// work. A thread's sums are those of four features of one row where there are few, else of four.
constexpr int kFewRows = 8, kSomeRows = 32, kManyRows = 64;
constexpr std::int64_t kMostBlocks = 512;
constexpr std::size_t kMostSharedBytes = 99 * 1024;  // what every card has, from compute capability 8.0 on

static HD int quads(int n) { return (n + 3) / 4; }
// Rows of float4 in shared memory: an odd number of them apart, so that neighbouring lanes' rows lie in different banks.
static HD int quad_pitch(int n) { return quads(n) | 1; }

// A thread's quad of features in rows that lie `apart` from each other: neighbours read neighbours, and no element costs a division.
struct QuadLanes {
  int quad, row, lanes, apart;

  __device__ __forceinline__ explicit QuadLanes(int n_quads) {
    const int thread = static_cast<int>(threadIdx.x), n_threads = static_cast<int>(blockDim.x);
    lanes = 1;
    while (lanes < n_quads && 2 * lanes <= n_threads) lanes *= 2;
    apart = n_threads / lanes;
    row = thread / lanes;
    quad = row < apart ? thread % lanes : n_quads;  // of a block that is no multiple the rest has none
  }
};

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

// Takes the first of some values and moves the others up: for a loop over them whose body is there once, with all of them in registers.
template <int n>
static __device__ __forceinline__ float4 take_first(float4 values[n]) {
  const float4 first = values[0];
  UNROLLED for (int i = 1; i < n; ++i) values[i - 1] = values[i];
  return first;
}

// Calls store(row, quad, value) for n_rows rows of n features, zeros in the rows from n_present on. Some loads are on their way before the first is
// stored: the layer waits for the slowest of them.
template <class Store>
static __device__ __forceinline__ void for_each_quad(Rows<const float> source, std::int64_t member, std::int64_t first_row, int n_present, int n_rows,
                                                     int n, const Store& store) {
  constexpr int kInFlight = 8;
  const QuadLanes at(quads(n));
  const int stride = static_cast<int>(source.row_stride);
  for (int quad = at.quad; quad < quads(n); quad += at.lanes) {
    const float* from = source.row(member, first_row) + 4 * quad;
    for (int first = at.row; first < n_rows; first += kInFlight * at.apart) {
      float4 kept[kInFlight];
      UNROLLED for (int i = 0; i < kInFlight; ++i) {
        const int row = first + i * at.apart;
        kept[i] = row < n_present ? FourFeatures::load(from + std::int64_t{row} * stride, n - 4 * quad) : make_float4(0.0f, 0.0f, 0.0f, 0.0f);
      }
      UNROLLED for (int i = 0; i < kInFlight; ++i) {
        const int row = first + i * at.apart;
        if (row < n_rows) store(row, quad, kept[i]);
      }
    }
  }
}

// A layer's inputs and weights in shared memory. A thread multiplies four neighbouring outputs: those of neighbouring threads lie one row apart.
struct ForwardTile {
  int n_columns, pitch;  // columns of four outputs
  float4 *weight, *x;

  HD ForwardTile(const NarrowLayer<float>& p, float4* shared)
      : n_columns(quads(p.n_out)), pitch(quad_pitch(p.n_in)), weight(shared), x(shared + 4 * n_columns * pitch) {}
  static int n_quads(const NarrowLayer<float>& p, int n_rows) { return (4 * quads(p.n_out) + n_rows) * quad_pitch(p.n_in); }
};

// The products of the rows [row, row + kRows) with the column's four outputs, inputs in ascending order.
template <int kRows>
static __device__ __forceinline__ void multiply(const ForwardTile& tile, int n_in, int column, int row, float4 sum[kRows]) {
  const float4 *w = tile.weight + column * tile.pitch, *x = tile.x + row * tile.pitch;
  const int apart = tile.n_columns * tile.pitch;
  for (int quad = 0; quad < quads(n_in); ++quad) {
    const float4 w0 = w[quad], w1 = w[apart + quad], w2 = w[2 * apart + quad], w3 = w[3 * apart + quad];
    UNROLLED for (int i = 0; i < kRows; ++i) {
      const float4 a = x[i * tile.pitch + quad];
      sum[i] = make_float4(plus_product(a, w0, sum[i].x), plus_product(a, w1, sum[i].y), plus_product(a, w2, sum[i].z),
                           plus_product(a, w3, sum[i].w));
    }
  }
}

template <int kRows>
static __device__ __forceinline__ void layer_in_block(const NarrowLayer<float>& p, std::int64_t member, std::int64_t first_row, int n_present,
                                                      int n_rows, float4* shared) {
  const ForwardTile tile(p, shared);
  for_each_quad(p.weight, member, 0, p.n_out, 4 * tile.n_columns, p.n_in, [&](int out, int quad, float4 value) {
    tile.weight[(out % 4 * tile.n_columns + out / 4) * tile.pitch + quad] = value;
  });
  for_each_quad(p.x, member, first_row, n_present, n_rows, p.n_in, [&](int row, int quad, float4 value) { tile.x[row * tile.pitch + quad] = value; });
  __syncthreads();
  const int n_items = tile.n_columns * ((n_present + kRows - 1) / kRows);
  for (int item = static_cast<int>(threadIdx.x); item < n_items; item += static_cast<int>(blockDim.x)) {
    const int column = item % tile.n_columns, first = item / tile.n_columns * kRows, out = 4 * column, n_left = p.n_out - out;
    float4 sum[kRows] = {};
    multiply<kRows>(tile, p.n_in, column, first, sum);
    const float4 bias = FourFeatures::load(p.bias.row(member, 0) + out, n_left);
    UNROLLED_BY(1) for (int row = first; row < first + kRows && row < n_present; ++row) {
      const float4 before = plus(take_first<kRows>(sum), bias);
      if (p.pre_activation) FourFeatures::store(p.pre_activation.row(member, first_row + row) + out, n_left, before);
      FourFeatures::store(p.value.row(member, first_row + row) + out, n_left, activate(p.activation, before, p.slope));
    }
  }
}

// The same the other way: a layer's weights, and the gradients of its products. A thread multiplies four neighbouring inputs.
struct BackwardTile {
  int n_columns, pitch, d_pitch;  // columns of four inputs
  float4 *weight, *d;

  HD BackwardTile(const NarrowLayerGradient<float>& p, float4* shared)
      : n_columns(quads(p.n_in)), pitch(quad_pitch(p.n_in)), d_pitch(quad_pitch(p.n_out)), weight(shared), d(shared + 4 * quads(p.n_out) * pitch) {}
  static int n_quads(const NarrowLayerGradient<float>& p, int n_rows) {
    return 4 * quads(p.n_out) * quad_pitch(p.n_in) + n_rows * quad_pitch(p.n_out);
  }
};

template <int kRows>
static __device__ __forceinline__ void multiply(const BackwardTile& tile, int n_out, int column, int row, float4 sum[kRows]) {
  const float4 *w = tile.weight + column, *d = tile.d + row * tile.d_pitch;
  for (int quad = 0; quad < quads(n_out); ++quad, w += 4 * tile.pitch) {
    const float4 w0 = w[0], w1 = w[tile.pitch], w2 = w[2 * tile.pitch], w3 = w[3 * tile.pitch];
    UNROLLED for (int i = 0; i < kRows; ++i) {
      const float4 a = d[i * tile.d_pitch + quad];
      sum[i] = plus_product(a.w, w3, plus_product(a.z, w2, plus_product(a.y, w1, plus_product(a.x, w0, sum[i]))));
    }
  }
}

// d_value becomes the gradient of the layer's products, in global memory and in the tile.
static __device__ __forceinline__ void pass_activation(const NarrowLayerGradient<float>& p, const BackwardTile& tile, std::int64_t member,
                                                       std::int64_t first_row, int n_present, int n_rows) {
  constexpr int kInFlight = 4;
  const bool is_linear = p.activation == Activation::identity;
  const QuadLanes at(quads(p.n_out));
  for (int quad = at.quad; quad < quads(p.n_out); quad += at.lanes) {
    const int n_left = p.n_out - 4 * quad;
    float* of_d = p.d_value.row(member, first_row) + 4 * quad;
    const float* of_kept = kept_for_slope(p).row(member, first_row) + 4 * quad;
    for (int first = at.row; first < n_rows; first += kInFlight * at.apart) {
      float4 d[kInFlight] = {}, kept[kInFlight] = {};
      UNROLLED for (int i = 0; i < kInFlight; ++i) {
        const std::int64_t row = first + i * at.apart;
        if (row >= n_present) continue;
        d[i] = FourFeatures::load(of_d + row * p.d_value.row_stride, n_left);
        if (!is_linear) kept[i] = FourFeatures::load(of_kept + row * kept_for_slope(p).row_stride, n_left);
      }
      UNROLLED_BY(1) for (int row = first; row < n_rows && row < first + kInFlight * at.apart; row += at.apart) {
        float4 next = take_first<kInFlight>(d);
        const float4 next_kept = take_first<kInFlight>(kept);
        if (!is_linear) {
          next = product(next, slope_of(p.activation, next_kept, p.slope));
          if (row < n_present) FourFeatures::store(of_d + row * p.d_value.row_stride, n_left, next);
        }
        if (p.d_x) tile.d[row * tile.d_pitch + quad] = next;
      }
    }
  }
}

template <int kRows>
static __device__ __forceinline__ void layer_in_block(const NarrowLayerGradient<float>& p, std::int64_t member, std::int64_t first_row,
                                                      int n_present, int n_rows, float4* shared) {
  const BackwardTile tile(p, shared);
  if (p.d_x)
    for_each_quad(p.weight, member, 0, p.n_out, 4 * quads(p.n_out), p.n_in,
                  [&](int out, int quad, float4 value) { tile.weight[out * tile.pitch + quad] = value; });
  pass_activation(p, tile, member, first_row, n_present, n_rows);
  if (!p.d_x) return;
  __syncthreads();
  const int n_items = tile.n_columns * ((n_present + kRows - 1) / kRows);
  for (int item = static_cast<int>(threadIdx.x); item < n_items; item += static_cast<int>(blockDim.x)) {
    const int column = item % tile.n_columns, first = item / tile.n_columns * kRows, in = 4 * column, n_left = p.n_in - in;
    float4 sum[kRows] = {};
    multiply<kRows>(tile, p.n_out, column, first, sum);
    UNROLLED for (int i = 0; i < kRows; ++i) {
      if (first + i >= n_present) continue;
      float* d_x = p.d_x.row(member, first_row + first + i) + in;
      FourFeatures::store(d_x, n_left, p.accumulate ? plus(FourFeatures::load(d_x, n_left), sum[i]) : sum[i]);
    }
  }
}

// Rows by warps, features along the lanes; some of them at once where a block has few rows.
template <int kRows, class Row>
static __device__ __forceinline__ void for_each_in_block(int n_present, int n_features, const Row& row_body, std::int64_t member,
                                                         std::int64_t first_row) {
  for (int row = static_cast<int>(threadIdx.x) / 32; row < n_present; row += static_cast<int>(blockDim.x) / 32) {
    UNROLLED_BY(4 / kRows) for (int feature = static_cast<int>(threadIdx.x) % 32; feature < n_features; feature += 32) row_body(member, first_row + row, feature);
  }
}

template <int kRows>
static __device__ __forceinline__ void in_block(const RowStep<float>& step, std::int64_t member, std::int64_t first_row, int n_present, int n_rows,
                                                float4* shared) {
  switch (step.kind) {
    case RowOperation::layer: return layer_in_block<kRows>(step.layer, member, first_row, n_present, n_rows, shared);
    case RowOperation::join:
      return for_each_in_block<kRows>(n_present, step.join.n_a + step.join.n_b, JoinFeaturesRow<float>{step.join}, member, first_row);
    case RowOperation::coupling:
      for (int row = static_cast<int>(threadIdx.x) / 32; row < n_present; row += static_cast<int>(blockDim.x) / 32)
        coupling_forward_by_warp(step.coupling, member, first_row + row, static_cast<int>(threadIdx.x) % 32);
      return;
    case RowOperation::scale: return;  // gradients alone are scaled
  }
}
template <int kRows>
static __device__ __forceinline__ void in_block(const RowGradientStep<float>& step, std::int64_t member, std::int64_t first_row, int n_present, int n_rows,
                                                float4* shared) {
  switch (step.kind) {
    case RowOperation::layer: return layer_in_block<kRows>(step.layer, member, first_row, n_present, n_rows, shared);
    case RowOperation::join:
      return for_each_in_block<kRows>(n_present, step.join.n_a + step.join.n_b, JoinFeaturesGradientRow<float>{step.join}, member, first_row);
    case RowOperation::coupling:
      return for_each_in_block<kRows>(n_present, step.coupling.forward.n_moved(), CouplingGradientRow<float>{step.coupling}, member, first_row);
    case RowOperation::scale: return for_each_in_block<kRows>(n_present, step.scale.n_features, ScaleRowsRow{step.scale}, member, first_row);
  }
}

// A block takes its rows through the steps of its chain. What a step leaves in global memory its block alone reads on: a barrier orders that.
template <class Step, int kRows>
__global__ void __launch_bounds__(256, kRows == 1 ? 2 : 3) row_chain_kernel(RowSteps<float, Step> p, int rows_of_block) {
  CU_DYN_SHARED(float4, shared);
  for (std::int64_t member = blockIdx.y; member < p.fleet.n_members; member += gridDim.y) {
    if (!p.fleet.is_active(member)) continue;
    for (std::int64_t first = static_cast<std::int64_t>(blockIdx.x) * rows_of_block; first < p.n_rows;
         first += static_cast<std::int64_t>(gridDim.x) * rows_of_block) {
      const std::int64_t left = p.n_rows - first;
      const int n_present = left < rows_of_block ? static_cast<int>(left) : rows_of_block;
      const std::int32_t chain = static_cast<std::int32_t>(blockIdx.z);
      for (std::int32_t step = chain == 0 ? 0 : p.end[chain - 1]; step < p.end[chain]; ++step) {
        in_block<kRows>(p.steps[step], member, first, n_present, rows_of_block, shared);
        __syncthreads();
      }
    }
  }
}

static int n_shared_quads(const NarrowLayer<float>& p, int n_rows) { return ForwardTile::n_quads(p, n_rows); }
static int n_shared_quads(const NarrowLayerGradient<float>& p, int n_rows) { return BackwardTile::n_quads(p, n_rows); }

template <class Step>
static std::size_t shared_bytes_of(const RowSteps<float, Step>& p, int n_rows) {
  int n_quads = 0;
  for (std::int32_t step = 0; step < p.n_steps(); ++step) {
    if (p.steps[step].kind != RowOperation::layer) continue;
    const int needed = n_shared_quads(p.steps[step].layer, n_rows);
    n_quads = needed > n_quads ? needed : n_quads;
  }
  return static_cast<std::size_t>(n_quads) * sizeof(float4);
}

template <class Step>
static void launch_row_chain(const char* name, const RowSteps<float, Step>& p, Stream stream) {
  const auto n_blocks = [&](int rows) { return (p.n_rows + rows - 1) / rows; };
  int rows = kFewRows;
  for (const int more : {kSomeRows, kManyRows})
    if (n_blocks(rows) * p.fleet.n_members > kMostBlocks && shared_bytes_of(p, more) <= kMostSharedBytes) rows = more;
  const auto kernel = rows == kFewRows ? row_chain_kernel<Step, 1> : row_chain_kernel<Step, 4>;
  cu::launch(name, kernel, dim3(cu::grid_extent(n_blocks(rows), 0x7fffffffu), cu::grid_extent(p.fleet.n_members), static_cast<unsigned>(p.n_chains)),
             dim3(static_cast<unsigned>(cu::threads(256))), shared_bytes_of(p, rows), stream, p, rows);
}

void row_chain_forward_cuda(const RowChain<float>& p, Stream stream) { launch_row_chain("row_chain_forward", p, stream); }
void row_chain_backward_cuda(const RowChainGradient<float>& p, Stream stream) { launch_row_chain("row_chain_backward", p, stream); }
#endif

}  // namespace idem
