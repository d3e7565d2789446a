#include "engine/cuda/cuda_device.h"

#include <cublasLt.h>
#include <cuda_runtime_api.h>

#include <array>
#include <map>
#include <mutex>

namespace idem {

namespace {

void check(cudaError_t status, const std::string& what) {
  if (status == cudaSuccess) return;
  throw DeviceError(what + ": " + cudaGetErrorString(status) + " (rerun with --device cpu, or build with -DSYNC_AFTER_LAUNCH=ON to find the operation)");
}

void check(cublasStatus_t status, const std::string& what) {
  if (status != CUBLAS_STATUS_SUCCESS) throw DeviceError(what + ": " + cublasLtGetStatusString(status));
}

constexpr std::size_t kWorkspaceBytes = 32u << 20;  // what cuBLASLt advises for Hopper

// A matrix product's shape: the algorithm is chosen once for each and kept, so that every step runs the same one.
using ProductShape = std::array<std::int64_t, 14>;

// What the addresses of all three matrices are multiples of, in bytes. Whole arrays start at 256, which cuBLASLt takes for granted; the shifted rows
// that a convolution multiplies start at any padded row.
std::uint32_t alignment_of(const MatrixProduct<float>& p) {
  const auto address = [](const float* data) { return reinterpret_cast<std::uintptr_t>(data); };
  const std::uintptr_t addresses = address(p.a.data) | address(p.b.data) | address(p.c.data);
  std::uint32_t alignment = 256;
  while (addresses % alignment != 0) alignment /= 2;
  return alignment;
}

class ChosenProduct {
 public:
  ChosenProduct(cublasLtHandle_t handle, const MatrixProduct<float>& p) {
    // Row-major C = A B is column-major C' = B' A'; the layouts below are those of the primed matrices.
    check(cublasLtMatmulDescCreate(&operation_, CUBLAS_COMPUTE_32F, CUDA_R_32F), "cublasLtMatmulDescCreate");
    set(CUBLASLT_MATMUL_DESC_TRANSA, p.transpose_b ? CUBLAS_OP_T : CUBLAS_OP_N);
    set(CUBLASLT_MATMUL_DESC_TRANSB, p.transpose_a ? CUBLAS_OP_T : CUBLAS_OP_N);
    left_ = layout(p.transpose_b ? p.k : p.n, p.transpose_b ? p.n : p.k, p.b.row_stride, p.b.member_stride, p.fleet.n_members);
    right_ = layout(p.transpose_a ? p.m : p.k, p.transpose_a ? p.k : p.m, p.a.row_stride, p.a.member_stride, p.fleet.n_members);
    result_ = layout(p.n, p.m, p.c.row_stride, p.c.member_stride, p.fleet.n_members);

    cublasLtMatmulPreference_t preference = nullptr;
    check(cublasLtMatmulPreferenceCreate(&preference), "cublasLtMatmulPreferenceCreate");
    const std::size_t workspace = kWorkspaceBytes;
    cublasLtMatmulPreferenceSetAttribute(preference, CUBLASLT_MATMUL_PREF_MAX_WORKSPACE_BYTES, &workspace, sizeof workspace);
    // No reduction through atomics: the same product must give the same bits every time.
    const std::uint32_t reductions = CUBLASLT_REDUCTION_SCHEME_COMPUTE_TYPE | CUBLASLT_REDUCTION_SCHEME_OUTPUT_TYPE;
    cublasLtMatmulPreferenceSetAttribute(preference, CUBLASLT_MATMUL_PREF_REDUCTION_SCHEME_MASK, &reductions, sizeof reductions);
    const std::uint32_t alignment = alignment_of(p);
    for (const auto matrix : {CUBLASLT_MATMUL_PREF_MIN_ALIGNMENT_A_BYTES, CUBLASLT_MATMUL_PREF_MIN_ALIGNMENT_B_BYTES,
                              CUBLASLT_MATMUL_PREF_MIN_ALIGNMENT_C_BYTES, CUBLASLT_MATMUL_PREF_MIN_ALIGNMENT_D_BYTES})
      cublasLtMatmulPreferenceSetAttribute(preference, matrix, &alignment, sizeof alignment);
    cublasLtMatmulHeuristicResult_t found{};
    int n_found = 0;
    const auto status = cublasLtMatmulAlgoGetHeuristic(handle, operation_, left_, right_, result_, result_, preference, 1, &found, &n_found);
    cublasLtMatmulPreferenceDestroy(preference);
    check(status, "cublasLtMatmulAlgoGetHeuristic");
    if (n_found == 0) throw DeviceError("cuBLASLt has no algorithm for a product of " + std::to_string(p.m) + " x " + std::to_string(p.n) + " x " + std::to_string(p.k));
    algorithm_ = found.algo;
  }
  ~ChosenProduct() {
    for (auto* matrix : {left_, right_, result_}) cublasLtMatrixLayoutDestroy(matrix);
    cublasLtMatmulDescDestroy(operation_);
  }
  ChosenProduct(const ChosenProduct&) = delete;
  ChosenProduct& operator=(const ChosenProduct&) = delete;

  void run(cublasLtHandle_t handle, const MatrixProduct<float>& p, void* workspace, cudaStream_t stream) const {
    const float one = 1, beta = p.accumulate ? 1.0f : 0.0f;
    check(cublasLtMatmul(handle, operation_, &one, p.b.data, left_, p.a.data, right_, &beta, p.c.data, result_, p.c.data, result_, &algorithm_, workspace,
                         kWorkspaceBytes, stream),
          "cublasLtMatmul");
  }

 private:
  void set(cublasLtMatmulDescAttributes_t attribute, cublasOperation_t value) {
    check(cublasLtMatmulDescSetAttribute(operation_, attribute, &value, sizeof value), "cublasLtMatmulDescSetAttribute");
  }
  static cublasLtMatrixLayout_t layout(std::int64_t n_rows, std::int64_t n_cols, std::int64_t stride, std::int64_t member_stride, std::int32_t n_members) {
    cublasLtMatrixLayout_t matrix = nullptr;
    check(cublasLtMatrixLayoutCreate(&matrix, CUDA_R_32F, static_cast<std::uint64_t>(n_rows), static_cast<std::uint64_t>(n_cols), stride),
          "cublasLtMatrixLayoutCreate");
    cublasLtMatrixLayoutSetAttribute(matrix, CUBLASLT_MATRIX_LAYOUT_BATCH_COUNT, &n_members, sizeof n_members);
    cublasLtMatrixLayoutSetAttribute(matrix, CUBLASLT_MATRIX_LAYOUT_STRIDED_BATCH_OFFSET, &member_stride, sizeof member_stride);
    return matrix;
  }

  cublasLtMatmulDesc_t operation_ = nullptr;
  cublasLtMatrixLayout_t left_ = nullptr, right_ = nullptr, result_ = nullptr;
  cublasLtMatmulAlgo_t algorithm_{};
};

// Recorded as a CUDA graph at its first run, replayed from then on.
class GraphSequence final : public Device::Sequence {
 public:
  GraphSequence(cudaStream_t stream, std::function<void()> operations) : stream_(stream), operations_(std::move(operations)) {}
  ~GraphSequence() override {
    if (graph_) cudaGraphExecDestroy(graph_);
  }
  void run(std::int64_t n_times) override {
    if (n_times > 0 && !graph_) record();
    for (std::int64_t i = 0; i < n_times; ++i) check(cudaGraphLaunch(graph_, stream_), "launching a recorded step");
  }

 private:
  void record() {
    check(cudaStreamBeginCapture(stream_, cudaStreamCaptureModeThreadLocal), "recording a step");
    operations_();
    cudaGraph_t recorded = nullptr;
    check(cudaStreamEndCapture(stream_, &recorded), "recording a step");
    const auto status = cudaGraphInstantiate(&graph_, recorded, 0);
    cudaGraphDestroy(recorded);
    check(status, "preparing a recorded step");
  }

  cudaStream_t stream_;
  std::function<void()> operations_;
  cudaGraphExec_t graph_ = nullptr;
};

class CudaDevice final : public Device {
 public:
  CudaDevice(int index, int n_threads) : index_(index), pool_(n_threads) {
    check(cudaSetDevice(index), "selecting cuda:" + std::to_string(index));
    check(cudaStreamCreateWithFlags(&stream_, cudaStreamNonBlocking), "creating a stream");
    check(cublasLtCreate(&blas_), "cublasLtCreate");
    check(cudaMalloc(&workspace_, kWorkspaceBytes), "allocating the matrix workspace");
    execution_ = {.pool = &pool_, .stream = stream_, .cuda = true};
  }
  ~CudaDevice() override {
    products_.clear();
    cudaFree(workspace_);
    cublasLtDestroy(blas_);
    cudaStreamDestroy(stream_);
  }

  std::string name() const override {
    cudaDeviceProp properties{};
    cudaGetDeviceProperties(&properties, index_);
    return "cuda:" + std::to_string(index_) + " " + properties.name;
  }
  const Execution& execution() const override { return execution_; }

  void* allocate(std::size_t bytes) override {
    void* memory = nullptr;
    const auto status = cudaMalloc(&memory, std::max<std::size_t>(bytes, 1));
    if (status == cudaErrorMemoryAllocation) {
      cudaGetLastError();
      std::size_t free_bytes = 0, total_bytes = 0;
      cudaMemGetInfo(&free_bytes, &total_bytes);
      throw out_of_memory("GPU ", bytes, free_bytes);
    }
    check(status, "allocating GPU memory");
    clear(memory, bytes);
    return memory;
  }
  void release(void* memory) noexcept override { cudaFree(memory); }
  void copy_in(void* to, const void* host, std::size_t bytes) override {
    check(cudaMemcpyAsync(to, host, bytes, cudaMemcpyHostToDevice, stream_), "copying to the GPU");
    synchronize();  // the caller may free `host` at once
  }
  void copy_out(void* host, const void* from, std::size_t bytes) override {
    check(cudaMemcpyAsync(host, from, bytes, cudaMemcpyDeviceToHost, stream_), "copying from the GPU");
    synchronize();
  }
  void copy(void* to, const void* from, std::size_t bytes) override {
    check(cudaMemcpyAsync(to, from, bytes, cudaMemcpyDeviceToDevice, stream_), "copying on the GPU");
  }
  void clear(void* memory, std::size_t bytes) override { check(cudaMemsetAsync(memory, 0, bytes, stream_), "clearing GPU memory"); }
  void synchronize() override { check(cudaStreamSynchronize(stream_), "waiting for the GPU"); }

  void multiply(const MatrixProduct<float>& p) override {
    if (p.m == 0 || p.n == 0) return;
    const ProductShape shape{p.fleet.n_members, p.m, p.n, p.k, p.transpose_a, p.transpose_b, p.a.row_stride, p.a.member_stride,
                             p.b.row_stride, p.b.member_stride, p.c.row_stride, p.c.member_stride, p.accumulate, alignment_of(p)};
    auto& chosen = products_[shape];
    if (!chosen) chosen = std::make_unique<ChosenProduct>(blas_, p);
    chosen->run(blas_, p, workspace_, stream_);
  }
  void multiply(const MatrixProduct<double>&) override { throw DeviceError("double precision is the CPU's oracle and has no GPU twin; use --device cpu"); }

  std::unique_ptr<Sequence> make_sequence(std::function<void()> operations) override {
    return std::make_unique<GraphSequence>(stream_, std::move(operations));
  }

 private:
  int index_;
  ThreadPool pool_;
  cudaStream_t stream_ = nullptr;
  cublasLtHandle_t blas_ = nullptr;
  void* workspace_ = nullptr;
  std::map<ProductShape, std::unique_ptr<ChosenProduct>> products_;
  Execution execution_;
};

}  // namespace

std::string why_cuda_is_unusable(int index) {
  int driver = 0, n_devices = 0;
  if (cudaDriverGetVersion(&driver) != cudaSuccess || driver == 0) return "there is no NVIDIA driver on this machine";
  const auto status = cudaGetDeviceCount(&n_devices);
  if (status == cudaErrorInsufficientDriver)
    return "the NVIDIA driver supports CUDA " + std::to_string(driver / 1000) + "." + std::to_string(driver % 1000 / 10) + ", this program needs CUDA " +
           std::to_string(CUDART_VERSION / 1000) + "." + std::to_string(CUDART_VERSION % 1000 / 10) + ": update the driver";
  if (status != cudaSuccess || n_devices == 0) return "the NVIDIA driver finds no GPU";
  if (index >= n_devices) return "there is no cuda:" + std::to_string(index) + "; GPUs here: " + std::to_string(n_devices);
  cudaDeviceProp properties{};
  cudaGetDeviceProperties(&properties, index);
  if (properties.major < 8)
    return std::string(properties.name) + " has compute capability " + std::to_string(properties.major) + "." + std::to_string(properties.minor) +
           ", this program needs 8.0 or newer";
  return "";
}

std::unique_ptr<Device> make_cuda_device(int index, int n_threads) { return std::make_unique<CudaDevice>(index, n_threads); }

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
