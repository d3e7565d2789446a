#include "engine/cuda/cuda_device.h"

#include <cublasLt.h>
#include <cuda_profiler_api.h>
#include <cuda_runtime_api.h>
#include <nvtx3/nvToolsExt.h>

#include <algorithm>
#include <array>
#include <cmath>
#include <limits>
#include <map>
#include <optional>
#include <utility>

#include "engine/cuda/architectures.h"
#include "engine/cuda/cudnn_convolutions.h"
#include "kernels/common/planning.h"

namespace idem {

namespace {

void check(cudaError_t status, const std::string& what) {
  if (status == cudaSuccess) return;
  throw DeviceError(what + ": " + cudaGetErrorString(status) +
                    " (rerun with --device cpu, or build with -DSYNC_AFTER_LAUNCH=ON to find the operation)");
}

void check(cublasStatus_t status, const std::string& what) {
  if (status != CUBLAS_STATUS_SUCCESS) throw DeviceError(what + ": " + cublasLtGetStatusString(status));
}

constexpr std::size_t kWorkspaceBytes = 32u << 20;  // what cuBLASLt advises for Hopper
// Tensors start on 256 bytes; the rows of a batch, and a stretch of them, on 64.
constexpr std::uint32_t kAlignmentBytes = 64;

cublasLtEpilogue_t epilogue_of(const MatrixProduct<float>& p) {
  if (p.a_sums) return CUBLASLT_EPILOGUE_BGRADB;  // what cuBLASLt calls B is a: see ProductDescription
  switch (p.activation) {
    case Activation::relu: return CUBLASLT_EPILOGUE_RELU_BIAS;
    case Activation::gelu_tanh: return p.pre_activation ? CUBLASLT_EPILOGUE_GELU_AUX_BIAS : CUBLASLT_EPILOGUE_GELU_BIAS;
    default: return p.bias ? CUBLASLT_EPILOGUE_BIAS : CUBLASLT_EPILOGUE_DEFAULT;
  }
}

// What decides the algorithm of a product: all but the number of members and how far apart they lie.
using ProductShape = std::array<std::int64_t, 11>;
ProductShape shape_of(const MatrixProduct<float>& p) {
  return {p.m, p.n, p.k, p.transpose_a, p.transpose_b, p.accumulate, p.a.row_stride, p.b.row_stride, p.c.row_stride, epilogue_of(p),
          p.pre_activation.row_stride};
}

cublasComputeType_t compute_type(ProductPrecision precision) {
  switch (precision) {
    case ProductPrecision::tf32: return CUBLAS_COMPUTE_32F_FAST_TF32;
    case ProductPrecision::bf16: return CUBLAS_COMPUTE_32F_FAST_16BF;
    case ProductPrecision::fp32: break;
  }
  return CUBLAS_COMPUTE_32F;
}

template <class Attribute, class Value>
void set(cublasLtMatmulPreference_t preference, Attribute attribute, const Value& value) {
  check(cublasLtMatmulPreferenceSetAttribute(preference, attribute, &value, sizeof value), "cublasLtMatmulPreferenceSetAttribute");
}

// The description of a product for cuBLASLt. Row-major C = A B is column-major C' = B' A': left, right and result are the primed matrices.
class ProductDescription {
 public:
  ProductDescription(const MatrixProduct<float>& p, std::int32_t n_members, ProductPrecision precision) try {
    check(cublasLtMatmulDescCreate(&operation, compute_type(precision), CUDA_R_32F), "cublasLtMatmulDescCreate");
    transpose(CUBLASLT_MATMUL_DESC_TRANSA, p.transpose_b);
    transpose(CUBLASLT_MATMUL_DESC_TRANSB, p.transpose_a);
    left = layout(p.transpose_b ? p.k : p.n, p.transpose_b ? p.n : p.k, p.b.row_stride, p.b.member_stride, n_members);
    right = layout(p.transpose_a ? p.m : p.k, p.transpose_a ? p.k : p.m, p.a.row_stride, p.a.member_stride, n_members);
    result = layout(p.n, p.m, p.c.row_stride, p.c.member_stride, n_members);
    if (!p.has_epilogue()) return;
    set(CUBLASLT_MATMUL_DESC_EPILOGUE, epilogue_of(p));
    set(CUBLASLT_MATMUL_DESC_BIAS_BATCH_STRIDE, p.a_sums ? p.a_sums.member_stride : p.bias.member_stride);
    if (p.pre_activation) {
      set(CUBLASLT_MATMUL_DESC_EPILOGUE_AUX_LD, p.pre_activation.row_stride);
      set(CUBLASLT_MATMUL_DESC_EPILOGUE_AUX_BATCH_STRIDE, p.pre_activation.member_stride);
    }
    point(p, 0);
  } catch (...) {
    destroy();
    throw;
  }
  ~ProductDescription() { destroy(); }
  ProductDescription(const ProductDescription&) = delete;
  ProductDescription& operator=(const ProductDescription&) = delete;

  // The epilogue's arrays belong to the description: to be set before every product, as another of the same shape may have used it.
  void point(const MatrixProduct<float>& p, std::int64_t member) const {
    if (!p.has_epilogue()) return;
    set(CUBLASLT_MATMUL_DESC_BIAS_POINTER, p.a_sums ? p.a_sums.row(member, 0) : p.bias.row(member, 0));
    if (p.pre_activation) set(CUBLASLT_MATMUL_DESC_EPILOGUE_AUX_POINTER, p.pre_activation.row(member, 0));
  }

  cublasLtMatmulDesc_t operation = nullptr;
  cublasLtMatrixLayout_t left = nullptr, right = nullptr, result = nullptr;

 private:
  template <class Value>
  void set(cublasLtMatmulDescAttributes_t attribute, const Value& value) const {
    check(cublasLtMatmulDescSetAttribute(operation, attribute, &value, sizeof value), "cublasLtMatmulDescSetAttribute");
  }
  void transpose(cublasLtMatmulDescAttributes_t attribute, bool transposed) const { set(attribute, transposed ? CUBLAS_OP_T : CUBLAS_OP_N); }
  static cublasLtMatrixLayout_t layout(std::int64_t n_rows, std::int64_t n_cols, std::int64_t stride, std::int64_t member_stride,
                                       std::int32_t n_members) {
    cublasLtMatrixLayout_t matrix = nullptr;
    check(cublasLtMatrixLayoutCreate(&matrix, CUDA_R_32F, static_cast<std::uint64_t>(n_rows), static_cast<std::uint64_t>(n_cols), stride),
          "cublasLtMatrixLayoutCreate");
    check(cublasLtMatrixLayoutSetAttribute(matrix, CUBLASLT_MATRIX_LAYOUT_BATCH_COUNT, &n_members, sizeof n_members),
          "cublasLtMatrixLayoutSetAttribute");
    check(cublasLtMatrixLayoutSetAttribute(matrix, CUBLASLT_MATRIX_LAYOUT_STRIDED_BATCH_OFFSET, &member_stride, sizeof member_stride),
          "cublasLtMatrixLayoutSetAttribute");
    return matrix;
  }
  void destroy() noexcept {
    for (auto* matrix : {left, right, result})
      if (matrix) cublasLtMatrixLayoutDestroy(matrix);
    if (operation) cublasLtMatmulDescDestroy(operation);
  }
};

template <class Value>
Value attribute_of(const cublasLtMatmulAlgo_t& algorithm, cublasLtMatmulAlgoConfigAttributes_t attribute) {
  Value value{};
  std::size_t written = 0;
  check(cublasLtMatmulAlgoConfigGetAttribute(&algorithm, attribute, &value, sizeof value, &written), "cublasLtMatmulAlgoConfigGetAttribute");
  return value;
}

// The algorithms that cuBLASLt thinks best for the product of p's members, the best first; none if it has none.
std::vector<cublasLtMatmulAlgo_t> best_algorithms(cublasLtHandle_t handle, const MatrixProduct<float>& p, ProductPrecision precision) {
  constexpr int kMost = 16;
  const ProductDescription all(p, p.fleet.n_members, precision);
  cublasLtMatmulPreference_t preference = nullptr;
  check(cublasLtMatmulPreferenceCreate(&preference), "cublasLtMatmulPreferenceCreate");
  const std::unique_ptr<std::remove_pointer_t<cublasLtMatmulPreference_t>, decltype(&cublasLtMatmulPreferenceDestroy)> owner(
      preference, cublasLtMatmulPreferenceDestroy);
  set(preference, CUBLASLT_MATMUL_PREF_MAX_WORKSPACE_BYTES, kWorkspaceBytes);
  // No reduction through atomics: the same product must give the same bits every time.
  set(preference, CUBLASLT_MATMUL_PREF_REDUCTION_SCHEME_MASK,
      static_cast<std::uint32_t>(CUBLASLT_REDUCTION_SCHEME_COMPUTE_TYPE | CUBLASLT_REDUCTION_SCHEME_OUTPUT_TYPE));
  for (const auto matrix : {CUBLASLT_MATMUL_PREF_MIN_ALIGNMENT_A_BYTES, CUBLASLT_MATMUL_PREF_MIN_ALIGNMENT_B_BYTES,
                            CUBLASLT_MATMUL_PREF_MIN_ALIGNMENT_C_BYTES, CUBLASLT_MATMUL_PREF_MIN_ALIGNMENT_D_BYTES})
    set(preference, matrix, kAlignmentBytes);
  std::array<cublasLtMatmulHeuristicResult_t, kMost> found{};
  int n_found = 0;
  const auto status =
      cublasLtMatmulAlgoGetHeuristic(handle, all.operation, all.left, all.right, all.result, all.result, preference, kMost, found.data(), &n_found);
  if (status == CUBLAS_STATUS_NOT_SUPPORTED || status == CUBLAS_STATUS_INVALID_VALUE) return {};
  check(status, "cublasLtMatmulAlgoGetHeuristic");
  std::vector<cublasLtMatmulAlgo_t> algorithms;
  for (int i = 0; i < n_found; ++i)
    if (found[static_cast<std::size_t>(i)].state == CUBLAS_STATUS_SUCCESS) algorithms.push_back(found[static_cast<std::size_t>(i)].algo);
  return algorithms;
}

// How many times over the product's blocks fill the GPU by this algorithm; nothing where it can't do p's members at once.
std::optional<float> waves_of(cublasLtHandle_t handle, const cublasLtMatmulAlgo_t& algorithm, const MatrixProduct<float>& p,
                              ProductPrecision precision) {
  const ProductDescription d(p, p.fleet.n_members, precision);
  cublasLtMatmulHeuristicResult_t result{};
  const auto status = cublasLtMatmulAlgoCheck(handle, d.operation, d.left, d.right, d.result, d.result, &algorithm, &result);
  if (status != CUBLAS_STATUS_SUCCESS || result.workspaceSize > kWorkspaceBytes) return std::nullopt;
  return result.wavesCount;
}

// As many members of this shape that lie one after the other.
MatrixProduct<float> members_in_a_row(MatrixProduct<float> p, std::int32_t n_members) {
  p.fleet.n_members = n_members;
  p.a.member_stride = (p.transpose_a ? p.k : p.m) * p.a.row_stride;
  p.b.member_stride = (p.transpose_b ? p.n : p.k) * p.b.row_stride;
  p.c.member_stride = p.m * p.c.row_stride;
  p.pre_activation.member_stride = p.m * p.pre_activation.row_stride;
  p.bias.member_stride = padded(p.n);
  p.a_sums.member_stride = padded(p.m);
  return p;
}

// One algorithm per shape, for a member alone and for any fleet, so that a member's bits never depend on its fleet.
struct ChosenAlgorithm {
  cublasLtMatmulAlgo_t algorithm{};
  std::string remark;  // what it costs that it has to serve both
};

// Of those that cuBLASLt proposes for one, two and many members the first, in its own order, among those that leave the
// GPU little idle for one and for many together: waves alone say nothing of how fast an algorithm's tiles are. Nothing
// where none can do all three.
class AlgorithmChoice {
 public:
  AlgorithmChoice(cublasLtHandle_t handle, const MatrixProduct<float>& p, ProductPrecision precision) : handle_(handle), precision_(precision) {
    for (const std::int32_t n : {2, 1, kManyMembers})
      for (const auto& algorithm : best_algorithms(handle, members_in_a_row(p, n), precision)) weigh(algorithm, p);
  }
  std::optional<ChosenAlgorithm> chosen() const {
    if (candidates_.empty()) return std::nullopt;
    const auto idle = [](const Candidate& candidate) { return candidate.idle; };
    const double least = std::ranges::min(candidates_, {}, idle).idle;
    const auto is_alike = [&](double of) { return of <= kAlikeIdle * least; };
    const Candidate& best = *std::ranges::find_if(candidates_, is_alike, idle);
    ChosenAlgorithm chosen{.algorithm = best.algorithm};
    if (idle_alone_ < best.idle_alone)
      chosen.remark = ", " + std::to_string(static_cast<int>(100 * (best.idle_alone / idle_alone_ - 1))) +
                      " % more waves alone than by an algorithm that fleets can't run";
    return chosen;
  }

 private:
  static constexpr std::int32_t kManyMembers = 132;  // a fleet that has a member for every multiprocessor of a large GPU
  static constexpr double kAlikeIdle = 1.1;
  // Time over that of a full GPU: a last wave takes as long as a whole one.
  static double idleness(float waves) { return waves > 0 ? std::ceil(static_cast<double>(waves)) / static_cast<double>(waves) : 1; }

  struct Candidate {
    cublasLtMatmulAlgo_t algorithm;
    double idle, idle_alone;
  };

  void weigh(const cublasLtMatmulAlgo_t& algorithm, const MatrixProduct<float>& p) {
    const auto alone = waves_of(handle_, algorithm, members_in_a_row(p, 1), precision_);
    const auto two = waves_of(handle_, algorithm, members_in_a_row(p, 2), precision_);
    const auto many = waves_of(handle_, algorithm, members_in_a_row(p, kManyMembers), precision_);
    if (!alone) return;
    if (two && many) candidates_.push_back({algorithm, idleness(*alone) + idleness(*many), idleness(*alone)});
    else idle_alone_ = std::min(idle_alone_, idleness(*alone));
  }

  cublasLtHandle_t handle_;
  ProductPrecision precision_;
  std::vector<Candidate> candidates_;
  double idle_alone_ = std::numeric_limits<double>::infinity();  // the least of those that fleets can't run
};

// A product of one shape for one number of members.
class ChosenProduct {
 public:
  ChosenProduct(cublasLtHandle_t handle, const cublasLtMatmulAlgo_t& algorithm, const MatrixProduct<float>& p, ProductPrecision precision)
      : algorithm_(algorithm), whole_(p, p.fleet.n_members, precision), one_(p, 1, precision) {
    at_once_ = waves_of(handle, algorithm, p, precision).has_value();
  }

  bool at_once() const { return at_once_; }
  void run(cublasLtHandle_t handle, const MatrixProduct<float>& p, void* workspace, cudaStream_t stream) const {
    const float one = 1, beta = p.accumulate ? 1.0f : 0.0f;
    const auto multiply = [&](const ProductDescription& d, std::int64_t member) {
      d.point(p, member);
      float* c = p.c.row(member, 0);
      check(cublasLtMatmul(handle, d.operation, &one, p.b.row(member, 0), d.left, p.a.row(member, 0), d.right, &beta, c, d.result, c, d.result,
                           &algorithm_, workspace, kWorkspaceBytes, stream),
            "cublasLtMatmul");
    };
    if (at_once_) return multiply(whole_, 0);
    for (std::int64_t member = 0; member < p.fleet.n_members; ++member) multiply(one_, member);
  }

 private:
  cublasLtMatmulAlgo_t algorithm_;
  ProductDescription whole_, one_;
  bool at_once_ = false;
};

// Which have been started since the last join.
struct Branches {
  bool any = false, apart = false;
};

// Planned and recorded as a CUDA graph at its first run, replayed from then on; many runs by a graph of several, as launching one takes longer than
// the pause between the steps in it.
class GraphSequence final : public Device::Sequence {
 public:
  // branches: the device's; a recording that fails leaves none behind. plan: runs operations without their kernels (CudaDevice::plan).
  GraphSequence(cudaStream_t stream, Branches& branches, std::function<void()> operations, std::function<void(const std::function<void()>&)> plan)
      : stream_(stream), branches_(branches), operations_(std::move(operations)), plan_(std::move(plan)) {}
  ~GraphSequence() override {
    for (auto* graph : {once_, several_})
      if (graph) cudaGraphExecDestroy(graph);
  }
  void run(std::int64_t n_times) override {
#if defined(IDEM_SYNC_AFTER_LAUNCH)
    for (std::int64_t i = 0; i < n_times; ++i) operations_();  // a graph would hide which operation failed
#else
    for (; n_times >= kSeveral; n_times -= kSeveral) launch(recorded(several_, kSeveral));
    for (; n_times > 0; --n_times) launch(recorded(once_, 1));
#endif
  }
  void prepare(std::int64_t n_times) override {
#if !defined(IDEM_SYNC_AFTER_LAUNCH)
    if (n_times >= kSeveral) check(cudaGraphUpload(recorded(several_, kSeveral), stream_), "preparing a recorded step");
    if (n_times % kSeveral > 0) check(cudaGraphUpload(recorded(once_, 1), stream_), "preparing a recorded step");
#endif
  }

 private:
  static constexpr std::int64_t kSeveral = 8;

  cudaGraphExec_t recorded(cudaGraphExec_t& graph, std::int64_t n_times) {
    if (!graph) record(graph, n_times);
    return graph;
  }
  void launch(cudaGraphExec_t graph) const { check(cudaGraphLaunch(graph, stream_), "launching a recorded step"); }
  void record(cudaGraphExec_t& graph, std::int64_t n_times) {
    if (!once_ && !several_) plan_(operations_);
    // Relaxed: a library may still allocate for itself.
    check(cudaStreamBeginCapture(stream_, cudaStreamCaptureModeRelaxed), "recording a step");
    cudaGraph_t capture = nullptr;
    try {
      for (std::int64_t i = 0; i < n_times; ++i) operations_();
    } catch (...) {
      branches_ = {};
      cudaStreamEndCapture(stream_, &capture);
      if (capture) cudaGraphDestroy(capture);
      cudaGetLastError();
      throw;
    }
    check(cudaStreamEndCapture(stream_, &capture), "recording a step");
    // Without the flag every operation of a replay has the priority of the stream it is launched on: branches would hold up what is waited for.
    const auto status = cudaGraphInstantiate(&graph, capture, cudaGraphInstantiateFlagUseNodePriority);
    cudaGraphDestroy(capture);
    check(status, "preparing a recorded step");
  }

  cudaStream_t stream_;
  Branches& branches_;
  std::function<void()> operations_;
  std::function<void(const std::function<void()>&)> plan_;
  cudaGraphExec_t once_ = nullptr, several_ = nullptr;
};

// Makes a device the one that this thread's calls go to.
void select(int index) {
  thread_local int selected = -1;
  if (selected == index) return;
  check(cudaSetDevice(index), "selecting cuda:" + std::to_string(index));
  selected = index;
}

class CudaDevice final : public Device {
 public:
  CudaDevice(int index, int n_threads, ProductPrecision precision, ConvolutionMethod convolutions)
      : index_(index), pool_(n_threads), precision_(precision) {
    select(index);
    if (convolutions == ConvolutionMethod::cudnn) convolutions_ = std::make_unique<CudnnConvolutions>(precision, kWorkspaceBytes);
    // The step waits for the first stream, and for a branch only at its join: what a branch does must not take the place of what is waited for.
    int lowest = 0, highest = 0;
    check(cudaDeviceGetStreamPriorityRange(&lowest, &highest), "asking for the streams' priorities");
    check(cudaStreamCreateWithPriority(&stream_, cudaStreamNonBlocking, highest), "creating a stream");
    for (auto* stream : {&branch_stream_, &apart_stream_})
      check(cudaStreamCreateWithPriority(stream, cudaStreamNonBlocking, lowest), "creating a stream");
    for (auto* event : {&branched_, &joined_}) check(cudaEventCreateWithFlags(event, cudaEventDisableTiming), "creating an event");
    for (auto* event : {&began_, &ended_}) check(cudaEventCreate(event), "creating an event");
    check(cublasLtCreate(&blas_), "cublasLtCreate");
    check(cudaMalloc(&workspace_, 3 * kWorkspaceBytes), "allocating the matrix workspace");
    execution_ = {.pool = &pool_, .stream = stream_, .cuda = true, .precision = precision};
  }
  ~CudaDevice() override {
    try {
      select(index_);
    } catch (const DeviceError&) {  // nothing is left to be freed then
    }
    products_.clear();
    cudaFree(workspace_);
    cublasLtDestroy(blas_);
    cudaEventDestroy(branched_);
    cudaEventDestroy(joined_);
    cudaEventDestroy(began_);
    cudaEventDestroy(ended_);
    cudaStreamDestroy(apart_stream_);
    cudaStreamDestroy(branch_stream_);
    cudaStreamDestroy(stream_);
  }

  std::size_t cache_bytes() const override {
    int bytes = 0;
    check(cudaDeviceGetAttribute(&bytes, cudaDevAttrL2CacheSize, index_), "asking for the size of the cache");
    return static_cast<std::size_t>(bytes);
  }
  std::string name() const override {
    cudaDeviceProp properties{};
    cudaGetDeviceProperties(&properties, index_);
    return "cuda:" + std::to_string(index_) + " " + properties.name +
           (precision_ == ProductPrecision::fp32 ? "" : ", products in " + to_string(precision_)) + (convolutions_ ? ", convolutions by cuDNN" : "");
  }
  // Every call of the device and every operation on it comes through here or selects it itself: several devices, and several threads, may take turns.
  const Execution& execution() const override {
    select(index_);
    return execution_;
  }

  std::size_t free_bytes() const override {
    select(index_);
    std::size_t free = 0, total = 0;
    cudaMemGetInfo(&free, &total);
    return free;
  }
  void* allocate(std::size_t bytes) override {
    select(index_);
    void* memory = nullptr;
    const auto status = cudaMalloc(&memory, std::max<std::size_t>(bytes, 1));
    if (status == cudaErrorMemoryAllocation) {
      cudaGetLastError();
      throw out_of_memory("GPU ", bytes, free_bytes());
    }
    check(status, "allocating GPU memory");
    clear(memory, bytes);
    return memory;
  }
  void release(void* memory) noexcept override { cudaFree(memory); }
  void copy_in(void* to, const void* host, std::size_t bytes) override {
    select(index_);
    check(cudaMemcpyAsync(to, host, bytes, cudaMemcpyHostToDevice, stream_), "copying to the GPU");
    synchronize();  // the caller may free `host` at once
  }
  void copy_out(void* host, const void* from, std::size_t bytes) override {
    select(index_);
    check(cudaMemcpyAsync(host, from, bytes, cudaMemcpyDeviceToHost, stream_), "copying from the GPU");
    synchronize();
  }
  void copy(void* to, const void* from, std::size_t bytes) override {
    if (cu::is_planning) return;
    check(cudaMemcpyAsync(to, from, bytes, cudaMemcpyDeviceToDevice, execution().stream), "copying on the GPU");
  }
  void clear(void* memory, std::size_t bytes) override {
    if (cu::is_planning) return;
    check(cudaMemsetAsync(memory, 0, bytes, execution().stream), "clearing GPU memory");
  }
  void synchronize() override {
    select(index_);
    check(cudaStreamSynchronize(stream_), "waiting for the GPU");
  }

  void multiply(const MatrixProduct<float>& p) override {
    if (p.m == 0 || p.n == 0) return;
    if (p.k == 0) return multiply_nothing(p);
    const NamedRange range("multiply");
    product_of(p).run(blas_, p, workspace(), execution().stream);
  }
  void multiply(const MatrixProduct<double>&) override {
    throw DeviceError("double precision is the CPU's oracle and has no GPU twin; use --device cpu");
  }
  bool fuses(const MatrixProduct<float>& p) override {
    if (!p.has_epilogue()) return true;
    if (p.m == 0 || p.n == 0 || p.k == 0 || !has_cuda_epilogue(p, precision_)) return false;
    select(index_);
    return algorithm_of(p).chosen.has_value();
  }
  bool runs_narrow_convolutions() const override { return true; }

  bool convolves(const BinConvolution<float>& p) override {
    return convolutions_ && has_cudnn_convolution(p, ConvolutionMethod::cudnn) && convolutions_->convolves(p);
  }
  void convolve(const BinConvolution<float>& p) override {
    if (!convolves(p)) throw DeviceError("a convolution was asked for that cuDNN does not do");
    const NamedRange range("convolve");
    convolutions_->convolve(p, workspace(), execution_.stream);
  }

  std::unique_ptr<Sequence> make_sequence(std::function<void()> operations) override {
    return std::make_unique<GraphSequence>(stream_, branches_, std::move(operations),
                                           [this](const std::function<void()>& planned) { plan(planned); });
  }
  std::vector<std::string> chosen_algorithms() const override {
    auto lines = algorithm_lines_;
    if (convolutions_) lines.insert(lines.end(), convolutions_->algorithm_lines().begin(), convolutions_->algorithm_lines().end());
    return lines;
  }

  double seconds(Sequence& sequence, std::int64_t n_times) override {
    sequence.run(1);
    sequence.prepare(n_times);  // recording and uploading the graph is not part of a replay
    check(cudaEventRecord(began_, stream_), "timing");
    sequence.run(n_times);
    return seconds_since_began();
  }
  void start_watch() override {
    select(index_);
    // Clearing the workspace takes the GPU longer than the host to ask for what is timed.
    check(cudaMemsetAsync(workspace_, 0, 3 * kWorkspaceBytes, stream_), "timing");
    check(cudaEventRecord(began_, stream_), "timing");
  }
  double stop_watch() override { return seconds_since_began(); }
  void profiled(const std::function<void()>& operations) override {
    synchronize();
    check(cudaProfilerStart(), "starting the profiler");
    operations();
    synchronize();
    check(cudaProfilerStop(), "stopping the profiler");
  }

 private:
  // What profilers show a call under.
  struct NamedRange {
    explicit NamedRange(const char* name) { nvtxRangePushA(name); }
    ~NamedRange() { nvtxRangePop(); }
  };

  double seconds_since_began() {
    check(cudaEventRecord(ended_, stream_), "timing");
    check(cudaEventSynchronize(ended_), "timing");
    float milliseconds = 0;
    check(cudaEventElapsedTime(&milliseconds, began_, ended_), "timing");
    return 1e-3 * static_cast<double>(milliseconds);
  }

  // Operations of the streams run at the same time: each stream has a workspace.
  void* workspace() const {
    const int place = execution_.stream == stream_ ? 0 : execution_.stream == branch_stream_ ? 1 : 2;
    return static_cast<char*>(workspace_) + place * kWorkspaceBytes;
  }

  // Has the libraries choose and load all that the operations need, before a recording, in which they may neither allocate nor wait. Kernels are
  // loaded but not started, so that nothing steps; products and convolutions run, on what lies in the arrays: all that they write is written anew
  // by the operations themselves.
  void plan(const std::function<void()>& operations) {
    synchronize();
    const struct Planning {
      Planning() { cu::is_planning = true; }
      ~Planning() { cu::is_planning = false; }
    } planning;
    operations();
    for (auto* stream : {branch_stream_, apart_stream_}) check(cudaStreamSynchronize(stream), "waiting for the GPU");
    synchronize();
  }

  void run_branch(const std::function<void()>& branch) override { run_on(branch_stream_, branch); }
  void run_apart(const std::function<void()>& work) override {
    run_on(apart_stream_, work);
    branches_.apart = !cu::is_planning;
  }
  // After all that the present stream was asked for.
  void run_on(cudaStream_t stream, const std::function<void()>& work) {
    if (!cu::is_planning) {
      wait_for(execution_.stream, stream, branched_, "starting a branch");
      branches_.any = true;
    }
    const struct OnStream {
      OnStream(CudaDevice& on, cudaStream_t other) : device(on), before(std::exchange(on.execution_.stream, other)) {}
      ~OnStream() { device.execution_.stream = before; }
      CudaDevice& device;
      cudaStream_t before;
    } on_stream(*this, stream);
    work();
  }
  void join_branches() override {
    const auto branches = std::exchange(branches_, {});
    if (branches.any) wait_for(branch_stream_, stream_, joined_, "joining a branch");
    if (branches.apart) wait_for(apart_stream_, stream_, joined_, "joining a branch");
  }
  static void wait_for(cudaStream_t first, cudaStream_t then, cudaEvent_t event, const char* what) {
    check(cudaEventRecord(event, first), what);
    check(cudaStreamWaitEvent(then, event, 0), what);
  }

  // Products that differ in the number of members, or in how far these lie apart, share the algorithm.
  struct Chosen {
    std::optional<ChosenAlgorithm> chosen;
    std::map<std::array<std::int64_t, 7>, std::unique_ptr<ChosenProduct>> of_fleet;
  };

  Chosen& algorithm_of(const MatrixProduct<float>& p) {
    const auto shape = shape_of(p);
    auto found = products_.find(shape);
    if (found == products_.end()) {
      auto chosen = AlgorithmChoice(blas_, p, precision_).chosen();
      if (!chosen && !p.has_epilogue()) {  // a fleet then goes through it member by member
        const auto alone = best_algorithms(blas_, members_in_a_row(p, 1), precision_);
        if (alone.empty())
          throw DeviceError("cuBLASLt has no algorithm for a product of " + std::to_string(p.m) + " x " + std::to_string(p.n) + " x " +
                            std::to_string(p.k) + "; use --device cpu");
        chosen = ChosenAlgorithm{.algorithm = alone.front()};
      }
      found = products_.emplace(shape, Chosen{chosen, {}}).first;
    }
    return found->second;
  }

  const ChosenProduct& product_of(const MatrixProduct<float>& p) {
    Chosen& shape = algorithm_of(p);
    if (!shape.chosen || (p.has_epilogue() && !has_cuda_epilogue(p, precision_)))
      throw DeviceError("a product was given an epilogue that this GPU does not fuse");
    auto& product = shape.of_fleet[{p.fleet.n_members, p.a.member_stride, p.b.member_stride, p.c.member_stride, p.bias.member_stride,
                                     p.pre_activation.member_stride, p.a_sums.member_stride}];
    if (!product) {
      product = std::make_unique<ChosenProduct>(blas_, shape.chosen->algorithm, p, precision_);
      algorithm_lines_.push_back(describe(p, shape.chosen->algorithm, product->at_once()) + shape.chosen->remark);
    }
    return *product;
  }

  std::string describe(const MatrixProduct<float>& p, const cublasLtMatmulAlgo_t& algorithm, bool at_once) const {
    const auto number = [&](cublasLtMatmulAlgoConfigAttributes_t attribute) {
      return std::to_string(attribute_of<std::int32_t>(algorithm, attribute));
    };
    return std::to_string(p.m) + " x " + std::to_string(p.n) + " x " + std::to_string(p.k) + (p.transpose_a ? " a'" : "") +
           (p.transpose_b ? " b'" : "") + (p.accumulate ? " added" : "") + epilogue_name(p) + ", " + std::to_string(p.fleet.n_members) +
           " members " + (at_once ? "at once" : "one by one") + ", " + to_string(precision_) + ": cuBLASLt algorithm " +
           number(CUBLASLT_ALGO_CONFIG_ID) + ", tile " + number(CUBLASLT_ALGO_CONFIG_TILE_ID) + ", stages " + number(CUBLASLT_ALGO_CONFIG_STAGES_ID) +
           ", split k " + number(CUBLASLT_ALGO_CONFIG_SPLITK_NUM);
  }

  static std::string epilogue_name(const MatrixProduct<float>& p) {
    if (p.a_sums) return " with the sums of a";
    if (!p.bias) return "";
    if (p.activation == Activation::identity) return " with bias";
    return p.activation == Activation::relu ? " with bias and relu" : " with bias and gelu";
  }

  void multiply_nothing(const MatrixProduct<float>& p) const {
    for (std::int64_t member = 0; !p.accumulate && member < p.fleet.n_members; ++member)
      check(cudaMemset2DAsync(p.c.row(member, 0), static_cast<std::size_t>(p.c.row_stride) * sizeof(float), 0,
                              static_cast<std::size_t>(p.n) * sizeof(float), static_cast<std::size_t>(p.m), execution_.stream),
            "clearing GPU memory");
  }

  int index_;
  ThreadPool pool_;
  cudaStream_t stream_ = nullptr, branch_stream_ = nullptr, apart_stream_ = nullptr;
  cudaEvent_t branched_ = nullptr, joined_ = nullptr;
  cudaEvent_t began_ = nullptr, ended_ = nullptr;  // of a time that is taken
  Branches branches_;
  cublasLtHandle_t blas_ = nullptr;
  void* workspace_ = nullptr;
  ProductPrecision precision_;
  std::map<ProductShape, Chosen> products_;
  std::unique_ptr<CudnnConvolutions> convolutions_;  // null: by products
  std::vector<std::string> algorithm_lines_;
  Execution execution_;
};

}  // namespace

std::string why_cuda_is_unusable(int index) {
  int driver = 0, n_devices = 0;
  if (cudaDriverGetVersion(&driver) != cudaSuccess || driver == 0) return "there is no NVIDIA driver on this machine";
  const auto status = cudaGetDeviceCount(&n_devices);
  if (status == cudaErrorInsufficientDriver)
    return "the NVIDIA driver supports CUDA " + std::to_string(driver / 1000) + "." + std::to_string(driver % 1000 / 10) +
           ", this program needs CUDA " + std::to_string(CUDART_VERSION / 1000) + "." + std::to_string(CUDART_VERSION % 1000 / 10) + ": update the driver";
  if (status != cudaSuccess || n_devices == 0) return "the NVIDIA driver finds no GPU";
  if (index >= n_devices) return "there is no cuda:" + std::to_string(index) + "; GPUs here: " + std::to_string(n_devices);
  cudaDeviceProp properties{};
  if (cudaGetDeviceProperties(&properties, index) != cudaSuccess) return "cuda:" + std::to_string(index) + " does not answer; look at nvidia-smi";
  if (!architectures_cover(IDEM_CUDA_ARCHITECTURES, properties.major, properties.minor))
    return std::string(properties.name) + " has compute capability " + std::to_string(properties.major) + "." + std::to_string(properties.minor) +
           ", this program was built for " IDEM_CUDA_ARCHITECTURES "; build it with -DCMAKE_CUDA_ARCHITECTURES=" +
           std::to_string(10 * properties.major + properties.minor);
  return "";
}

std::unique_ptr<Device> make_cuda_device(int index, int n_threads, ProductPrecision precision, ConvolutionMethod convolutions) {
  return std::make_unique<CudaDevice>(index, n_threads, precision, convolutions);
}

std::vector<std::string> list_cuda_devices() {
  const auto reason = why_cuda_is_unusable(0);
  if (!reason.empty()) return {"cuda: not usable, " + reason};
  int n_devices = 0;
  cudaGetDeviceCount(&n_devices);
  std::vector<std::string> lines;
  for (int index = 0; index < n_devices; ++index) {
    cudaDeviceProp properties{};
    cudaGetDeviceProperties(&properties, index);
    lines.push_back("cuda:" + std::to_string(index) + ": " + properties.name + ", compute capability " + std::to_string(properties.major) + "." +
                    std::to_string(properties.minor) + ", " + std::to_string(properties.totalGlobalMem >> 30) + " GiB");
  }
  return lines;
}

}  // namespace idem
