#include "kernels/layers/row_chain.h"

#include <algorithm>
#include <vector>

#include "kernels/layers/activation.h"
#include "kernels/layers/flow_rows.h"
#include "kernels/layers/four_floats.h"
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
// A few rows for a block occupy a GPU with a small fleet too; of a large one the weights, which every block stages, are the more of the work.
constexpr int kFewRows = 8, kManyRows = 32, kRowsTogether = 4;
constexpr std::int64_t kBlocksOfFewRows = 512;
constexpr std::size_t kMostSharedBytes = 99 * 1024;  // what every card has, from compute capability 8.0 on

static HD int quads(int n) { return (n + 3) / 4; }
// Rows of float4 in shared memory: an odd number of them apart, so that neighbouring lanes' rows lie in different banks.
static HD int quad_pitch(int n) { return quads(n) | 1; }

static __device__ __forceinline__ float4 quad_of(const float* row, int quad, int n) {
  const int first = 4 * quad;
  if (first + 4 <= n) return *reinterpret_cast<const float4*>(row + first);
  return make_float4(row[first], first + 1 < n ? row[first + 1] : 0.0f, first + 2 < n ? row[first + 2] : 0.0f, 0.0f);
}

// n_rows rows of n values into shared memory, zeros in the last quad's rest and in the rows from n_present on. Some loads are on their way before
// the first is stored: the layer waits for the slowest of them.
static __device__ __forceinline__ void stage(Rows<const float> source, std::int64_t member, std::int64_t first_row, int n_present, int n_rows, int n,
                                             float4* to) {
  constexpr int kInFlight = 8;
  const int n_quads = quads(n), total = n_rows * n_quads, n_threads = static_cast<int>(blockDim.x);
  for (int first = static_cast<int>(threadIdx.x); first < total; first += kInFlight * n_threads) {
    float4 kept[kInFlight];
    for (int i = 0; i < kInFlight; ++i) {
      const int at = first + i * n_threads, row = at / n_quads;
      const bool is_present = at < total && row < n_present;
      kept[i] = is_present ? quad_of(source.row(member, first_row + row), at - row * n_quads, n) : make_float4(0.0f, 0.0f, 0.0f, 0.0f);
    }
    for (int i = 0; i < kInFlight; ++i) {
      const int at = first + i * n_threads, row = at / n_quads;
      if (at < total) to[row * quad_pitch(n) + at - row * n_quads] = kept[i];
    }
  }
}

static __device__ __forceinline__ void layer_forward_in_block(const NarrowLayer<float>& p, std::int64_t member, std::int64_t first_row, int n_present,
                                                              int n_rows, float4* shared) {
  float4 *weight = shared, *x = shared + p.n_out * quad_pitch(p.n_in);
  stage(p.weight, member, 0, p.n_out, p.n_out, p.n_in, weight);
  stage(p.x, member, first_row, n_present, n_rows, p.n_in, x);
  __syncthreads();
  const int n_quads = quads(p.n_in), pitch = quad_pitch(p.n_in), n_items = p.n_out * (n_rows / kRowsTogether);
  for (int item = static_cast<int>(threadIdx.x); item < n_items; item += static_cast<int>(blockDim.x)) {
    const int group = item / p.n_out, out = item - group * p.n_out;
    const float4 *w = weight + out * pitch, *of_rows = x + group * kRowsTogether * pitch;
    float sum[kRowsTogether] = {};
    for (int quad = 0; quad < n_quads; ++quad) {
      const float4 b = w[quad];
      for (int i = 0; i < kRowsTogether; ++i) {
        const float4 a = of_rows[i * pitch + quad];
        sum[i] = plus_product(a, b, sum[i]);
      }
    }
    const float bias = p.bias.row(member, 0)[out];
    for (int i = 0; i < kRowsTogether; ++i) {
      const int row = group * kRowsTogether + i;
      if (row >= n_present) continue;
      const float before = sum[i] + bias;
      if (p.pre_activation) p.pre_activation.row(member, first_row + row)[out] = before;
      p.value.row(member, first_row + row)[out] = activate(p.activation, before, p.slope);
    }
  }
}

static __device__ __forceinline__ void layer_backward_in_block(const NarrowLayerGradient<float>& p, std::int64_t member, std::int64_t first_row,
                                                               int n_present, int n_rows, float4* shared) {
  float4 *weight = shared, *d = shared + p.n_out * quad_pitch(p.n_in);
  const int d_pitch = 4 * quad_pitch(p.n_out), d_width = 4 * quads(p.n_out);
  if (p.d_x) stage(p.weight, member, 0, p.n_out, p.n_out, p.n_in, weight);
  float* d_values = reinterpret_cast<float*>(d);
  const Rows<const float> source = kept_for_slope(p);
  for (int at = static_cast<int>(threadIdx.x); at < n_rows * d_width; at += static_cast<int>(blockDim.x)) {
    const int row = at / d_width, out = at - row * d_width;
    float value = 0.0f;
    if (row < n_present && out < p.n_out) {
      float* d_value = p.d_value.row(member, first_row + row) + out;
      value = *d_value;
      if (p.activation != Activation::identity) {
        value *= slope_of(p.activation, source.row(member, first_row + row)[out], p.slope);
        *d_value = value;
      }
    }
    d_values[row * d_pitch + out] = value;
  }
  if (!p.d_x) return;
  __syncthreads();
  const float* weights = reinterpret_cast<const float*>(weight);
  const int pitch = 4 * quad_pitch(p.n_in), n_items = p.n_in * (n_rows / kRowsTogether), n_quads = quads(p.n_out);
  for (int item = static_cast<int>(threadIdx.x); item < n_items; item += static_cast<int>(blockDim.x)) {
    const int group = item / p.n_in, in = item - group * p.n_in;
    const float4* of_rows = d + group * kRowsTogether * quad_pitch(p.n_out);
    float sum[kRowsTogether] = {};
    for (int quad = 0; quad < n_quads; ++quad) {
      const int out = 4 * quad, last = p.n_out - 1;  // where there are fewer than 4 the gradients are zeros: any weight will do
      const auto weight_of = [&](int i) { return weights[(out + i < last ? out + i : last) * pitch + in]; };
      const float4 w = make_float4(weight_of(0), weight_of(1), weight_of(2), weight_of(3));
      for (int i = 0; i < kRowsTogether; ++i) {
        const float4 a = of_rows[i * quad_pitch(p.n_out) + quad];
        sum[i] = plus_product(a, w, sum[i]);
      }
    }
    for (int i = 0; i < kRowsTogether; ++i) {
      const int row = group * kRowsTogether + i;
      if (row >= n_present) continue;
      float* d_x = p.d_x.row(member, first_row + row) + in;
      *d_x = p.accumulate ? *d_x + sum[i] : sum[i];
    }
  }
}

template <class Row>
static __device__ __forceinline__ void for_each_in_block(int n_present, int n_features, const Row& row_body, std::int64_t member,
                                                         std::int64_t first_row) {
  for (int at = static_cast<int>(threadIdx.x); at < n_present * n_features; at += static_cast<int>(blockDim.x)) {
    const int row = at / n_features;
    row_body(member, first_row + row, at - row * n_features);
  }
}

static __device__ __forceinline__ void in_block(const RowStep<float>& step, std::int64_t member, std::int64_t first_row, int n_present, int n_rows,
                                                float4* shared) {
  switch (step.kind) {
    case RowOperation::layer: return layer_forward_in_block(step.layer, member, first_row, n_present, n_rows, shared);
    case RowOperation::join:
      return for_each_in_block(n_present, step.join.n_a + step.join.n_b, JoinFeaturesRow<float>{step.join}, member, first_row);
    case RowOperation::coupling:
      for (int row = static_cast<int>(threadIdx.x) / 32; row < n_present; row += static_cast<int>(blockDim.x) / 32)
        coupling_forward_by_warp(step.coupling, member, first_row + row, static_cast<int>(threadIdx.x) % 32);
      return;
    case RowOperation::scale: return;  // gradients alone are scaled
  }
}
static __device__ __forceinline__ void in_block(const RowGradientStep<float>& step, std::int64_t member, std::int64_t first_row, int n_present, int n_rows,
                                                float4* shared) {
  switch (step.kind) {
    case RowOperation::layer: return layer_backward_in_block(step.layer, member, first_row, n_present, n_rows, shared);
    case RowOperation::join:
      return for_each_in_block(n_present, step.join.n_a + step.join.n_b, JoinFeaturesGradientRow<float>{step.join}, member, first_row);
    case RowOperation::coupling:
      return for_each_in_block(n_present, step.coupling.forward.n_moved(), CouplingGradientRow<float>{step.coupling}, member, first_row);
    case RowOperation::scale: return for_each_in_block(n_present, step.scale.n_features, ScaleRowsRow<float>{step.scale}, member, first_row);
  }
}

// A block takes its rows through the steps of its chain. What a step leaves in global memory its block alone reads on: a barrier orders that.
template <class Step>
__global__ void row_chain_kernel(RowSteps<float, Step> p, int rows_of_block) {
  CU_DYN_SHARED(float4, shared);
  for (std::int64_t member = blockIdx.y; member < p.fleet.n_members; member += gridDim.y) {
    if (!p.fleet.is_active(member)) continue;
    for (std::int64_t first = static_cast<std::int64_t>(blockIdx.x) * rows_of_block; first < p.n_rows;
         first += static_cast<std::int64_t>(gridDim.x) * rows_of_block) {
      const std::int64_t left = p.n_rows - first;
      const int n_present = left < rows_of_block ? static_cast<int>(left) : rows_of_block;
      const std::int32_t chain = static_cast<std::int32_t>(blockIdx.z);
      for (std::int32_t step = chain == 0 ? 0 : p.end[chain - 1]; step < p.end[chain]; ++step) {
        in_block(p.steps[step], member, first, n_present, rows_of_block, shared);
        __syncthreads();
      }
    }
  }
}

static int n_shared_quads(const NarrowLayer<float>& p, int n_rows) { return (p.n_out + n_rows) * quad_pitch(p.n_in); }
static int n_shared_quads(const NarrowLayerGradient<float>& p, int n_rows) { return p.n_out * quad_pitch(p.n_in) + n_rows * quad_pitch(p.n_out); }

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
  int rows = n_blocks(kFewRows) * p.fleet.n_members <= kBlocksOfFewRows ? kFewRows : kManyRows;
  while (rows > kFewRows && shared_bytes_of(p, rows) > kMostSharedBytes) rows /= 2;
  cu::launch(name, row_chain_kernel<Step>,
             dim3(cu::grid_extent(n_blocks(rows), 0x7fffffffu), cu::grid_extent(p.fleet.n_members), static_cast<unsigned>(p.n_chains)),
             dim3(static_cast<unsigned>(cu::threads(256))), shared_bytes_of(p, rows), stream, p, rows);
}

void row_chain_forward_cuda(const RowChain<float>& p, Stream stream) { launch_row_chain("row_chain_forward", p, stream); }
void row_chain_backward_cuda(const RowChainGradient<float>& p, Stream stream) { launch_row_chain("row_chain_backward", p, stream); }
#endif

}  // namespace idem
