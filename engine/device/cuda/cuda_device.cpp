#include "engine/device/cuda/cuda_device.h"

#include <cuda_profiler_api.h>
#include <cuda_runtime_api.h>
#include <nvtx3/nvToolsExtCudaRt.h>

#include <algorithm>
#include <utility>

#include "engine/device/cuda/check.h"
#include "engine/device/cuda/cublas_products.h"
#include "engine/device/cuda/cudnn_convolutions.h"
#include "engine/device/cuda/graph_sequence.h"
#include "engine/device/cuda/kernel_trace.h"
#include "engine/device/cuda/named_range.h"
#include "kernels/common/planning.h"
#include "kernels/common/to_size.h"

namespace idem {

namespace {

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
    if (convolutions == ConvolutionMethod::cudnn)
      convolutions_ = std::make_unique<CudnnConvolutions>(precision, CublasProducts::kWorkspaceBytes);
    // The step waits for the first stream, and for a branch only at its join: what a branch does must not take the
    // place of what is waited for.
    int lowest = 0, highest = 0;
    check(cudaDeviceGetStreamPriorityRange(&lowest, &highest), "asking for the streams' priorities");
    check(cudaStreamCreateWithPriority(&stream_, cudaStreamNonBlocking, highest), "creating a stream");
    for (auto* stream : {&branch_stream_, &apart_stream_})
      check(cudaStreamCreateWithPriority(stream, cudaStreamNonBlocking, lowest), "creating a stream");
    nvtxNameCudaStreamA(stream_, "steps");
    nvtxNameCudaStreamA(branch_stream_, "branches");
    nvtxNameCudaStreamA(apart_stream_, "apart");
    for (auto* event : {&branched_, &joined_})
      check(cudaEventCreateWithFlags(event, cudaEventDisableTiming), "creating an event");
    for (auto* event : {&began_, &ended_}) check(cudaEventCreate(event), "creating an event");
    products_ = std::make_unique<CublasProducts>(precision);
    check(cudaMalloc(&workspace_, 3 * CublasProducts::kWorkspaceBytes), "allocating the matrix workspace");
    execution_ = {.pool = &pool_, .stream = stream_, .cuda = true, .precision = precision};
  }
  ~CudaDevice() override {
    try {
      select(index_);
    } catch (const DeviceError&) {  // nothing is left to be freed then
    }
    products_.reset();
    cudaFree(workspace_);
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
    return to_size(bytes);
  }
  std::string name() const override {
    cudaDeviceProp properties{};
    cudaGetDeviceProperties(&properties, index_);
    return "cuda:" + std::to_string(index_) + " " + properties.name +
           (precision_ == ProductPrecision::fp32 ? "" : ", products in " + to_string(precision_)) +
           (convolutions_ ? ", convolutions by cuDNN" : "");
  }
  // Every call of the device and every operation on it comes through here or selects it itself: several devices, and
  // several threads, may take turns.
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
    products_->multiply(p, workspace(), execution().stream);
  }
  void multiply(const MatrixProduct<double>&) override {
    throw DeviceError("double precision is the CPU's oracle and has no GPU twin; use --device cpu");
  }
  bool fuses(const MatrixProduct<float>& p) override {
    if (!p.has_epilogue()) return true;
    if (p.m == 0 || p.n == 0 || p.k == 0 || !has_cuda_epilogue(p, precision_)) return false;
    select(index_);
    return products_->fuses(p);
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

  std::unique_ptr<Sequence> make_sequence(const char* name, std::function<void()> operations) override {
    return std::make_unique<GraphSequence>(stream_, branches_, name, std::move(operations),
                                           [this](const std::function<void()>& planned) { plan(planned); });
  }
  std::vector<std::string> chosen_algorithms() const override {
    auto lines = products_->algorithm_lines();
    if (convolutions_)
      lines.insert(lines.end(), convolutions_->algorithm_lines().begin(), convolutions_->algorithm_lines().end());
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
    check(cudaMemsetAsync(workspace_, 0, 3 * CublasProducts::kWorkspaceBytes, stream_), "timing");
    check(cudaEventRecord(began_, stream_), "timing");
  }
  double stop_watch() override { return seconds_since_began(); }
  void begin_range(const char* name) override { nvtxRangePushA(name); }
  void end_range() override { nvtxRangePop(); }

  std::string why_untraced() const override { return KernelTrace::why_none(); }
  void attribute_to(std::int64_t operation) override {
    if (auto* trace = KernelTrace::instance()) trace->attribute_to(operation);
  }
  std::vector<Activity> traced(const std::function<void()>& operations) override {
    synchronize();
    return KernelTrace::instance()->of([&] {
      operations();
      synchronize();
    });
  }
  void profiled(const std::function<void()>& operations) override {
    synchronize();
    check(cudaProfilerStart(), "starting the profiler");
    operations();
    synchronize();
    check(cudaProfilerStop(), "stopping the profiler");
  }

 private:
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
    return static_cast<char*>(workspace_) + place * CublasProducts::kWorkspaceBytes;
  }

  // Has the libraries choose and load all that the operations need, before a recording, in which they may neither
  // allocate nor wait. Kernels are loaded but not started, so that nothing steps; products and convolutions run, on
  // what lies in the arrays: all that they write is written anew by the operations themselves.
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

  void multiply_nothing(const MatrixProduct<float>& p) const {
    for (std::int64_t member = 0; !p.accumulate && member < p.fleet.n_members; ++member)
      check(cudaMemset2DAsync(p.c.row(member, 0), to_size(p.c.row_stride) * sizeof(float), 0,
                              to_size(p.n) * sizeof(float), to_size(p.m), execution_.stream),
            "clearing GPU memory");
  }

  int index_;
  ThreadPool pool_;
  cudaStream_t stream_ = nullptr, branch_stream_ = nullptr, apart_stream_ = nullptr;
  cudaEvent_t branched_ = nullptr, joined_ = nullptr;
  cudaEvent_t began_ = nullptr, ended_ = nullptr;  // of a time that is taken
  Branches branches_;
  void* workspace_ = nullptr;
  ProductPrecision precision_;
  std::unique_ptr<CublasProducts> products_;
  std::unique_ptr<CudnnConvolutions> convolutions_;  // null: by products
  Execution execution_;
};

}  // namespace

std::unique_ptr<Device> make_cuda_device(int index, int n_threads, ProductPrecision precision,
                                         ConvolutionMethod convolutions) {
  return std::make_unique<CudaDevice>(index, n_threads, precision, convolutions);
}

}  // namespace idem
