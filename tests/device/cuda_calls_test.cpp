// What the CUDA device asks the CUDA runtime for, told by stand-ins for the runtime's functions (the linker's --wrap, see tests/CMakeLists.txt): no GPU
// is needed. Recording, replaying and branches alone; what kernels compute is the business of the other tests.
#include <cublasLt.h>
#include <cuda_runtime_api.h>
#include <gtest/gtest.h>

#include <string>
#include <vector>

#include "engine/cuda/cuda_device.h"
#include "tests/error_message.h"

namespace {

// In order: "begin capture", "record 1 on stream 2", ... Handles are numbers, counted from 1 in the order they are made.
std::vector<std::string> calls;
std::uintptr_t n_made = 0;

template <class Handle>
void make(Handle* handle) {
  *handle = reinterpret_cast<Handle>(++n_made);
}
template <class Handle>
std::string number(Handle handle) {
  return std::to_string(reinterpret_cast<std::uintptr_t>(handle));
}

}  // namespace

extern "C" {
cudaError_t __wrap_cudaSetDevice(int) { return cudaSuccess; }
cudaError_t __wrap_cudaDeviceGetStreamPriorityRange(int* lowest, int* highest) {
  *lowest = 0, *highest = -5;
  return cudaSuccess;
}
cudaError_t __wrap_cudaStreamCreateWithPriority(cudaStream_t* stream, unsigned, int priority) {
  make(stream);
  calls.push_back("stream " + number(*stream) + " of priority " + std::to_string(priority));
  return cudaSuccess;
}
cudaError_t __wrap_cudaStreamDestroy(cudaStream_t) { return cudaSuccess; }
cudaError_t __wrap_cudaStreamSynchronize(cudaStream_t) { return cudaSuccess; }
cudaError_t __wrap_cudaEventCreateWithFlags(cudaEvent_t* event, unsigned) {
  make(event);
  return cudaSuccess;
}
cudaError_t __wrap_cudaEventDestroy(cudaEvent_t) { return cudaSuccess; }
cudaError_t __wrap_cudaEventRecord(cudaEvent_t event, cudaStream_t stream) {
  calls.push_back("record " + number(event) + " on stream " + number(stream));
  return cudaSuccess;
}
cudaError_t __wrap_cudaStreamWaitEvent(cudaStream_t stream, cudaEvent_t event, unsigned) {
  calls.push_back("stream " + number(stream) + " waits for " + number(event));
  return cudaSuccess;
}
cudaError_t __wrap_cudaMalloc(void** memory, std::size_t) {
  make(memory);
  return cudaSuccess;
}
cudaError_t __wrap_cudaFree(void*) { return cudaSuccess; }
cudaError_t __wrap_cudaMemsetAsync(void*, int, std::size_t, cudaStream_t stream) {
  calls.push_back("clear on stream " + number(stream));
  return cudaSuccess;
}
cudaError_t __wrap_cudaStreamBeginCapture(cudaStream_t, cudaStreamCaptureMode) {
  calls.push_back("begin capture");
  return cudaSuccess;
}
cudaError_t __wrap_cudaStreamEndCapture(cudaStream_t, cudaGraph_t* graph) {
  make(graph);
  calls.push_back("end capture");
  return cudaSuccess;
}
cudaError_t __wrap_cudaGraphInstantiate(cudaGraphExec_t* graph, cudaGraph_t, unsigned long long flags) {
  make(graph);
  calls.push_back("instantiate with flags " + std::to_string(flags));
  return cudaSuccess;
}
cudaError_t __wrap_cudaGraphDestroy(cudaGraph_t) { return cudaSuccess; }
cudaError_t __wrap_cudaGraphExecDestroy(cudaGraphExec_t) { return cudaSuccess; }
cudaError_t __wrap_cudaGraphLaunch(cudaGraphExec_t, cudaStream_t) {
  calls.push_back("launch");
  return cudaSuccess;
}
cudaError_t __wrap_cudaGetLastError() { return cudaSuccess; }
cublasStatus_t __wrap_cublasLtCreate(cublasLtHandle_t* handle) {
  make(handle);
  return CUBLAS_STATUS_SUCCESS;
}
cublasStatus_t __wrap_cublasLtDestroy(cublasLtHandle_t) { return CUBLAS_STATUS_SUCCESS; }
}

namespace idem {
namespace {

class CudaCalls : public testing::Test {
 protected:
  CudaCalls() {
    n_made = 0;
    calls.clear();
    device_ = make_cuda_device(0, 1, ProductPrecision::fp32, ConvolutionMethod::gemm);
    streams_ = std::exchange(calls, {});
  }
  std::unique_ptr<Device> device_;
  std::vector<std::string> streams_;
  float memory_ = 0;  // whose address alone is used
};

TEST_F(CudaCalls, BranchesOfAReplayKeepTheirLowerPriority) {
  EXPECT_EQ(streams_, (std::vector<std::string>{"stream 1 of priority -5", "stream 2 of priority 0"}));
  device_->make_sequence([&] { device_->clear(&memory_, 4); })->run(2);
  const std::string flags = std::to_string(cudaGraphInstantiateFlagUseNodePriority);
  EXPECT_EQ(calls, (std::vector<std::string>{"begin capture", "clear on stream 1", "end capture", "instantiate with flags " + flags, "launch", "launch"}));
}

TEST_F(CudaCalls, ABranchWaitsForWhatWasBeforeItAndIsWaitedForAtItsJoinAlone) {
  device_->make_sequence([&] {
    device_->aside([&] { device_->clear(&memory_, 4); });
    device_->clear(&memory_, 4);
    device_->join();
    device_->join();
  })->run(1);
  calls.erase(calls.begin());
  calls.resize(6);
  EXPECT_EQ(calls, (std::vector<std::string>{"record 3 on stream 1", "stream 2 waits for 3", "clear on stream 2", "clear on stream 1",
                                             "record 4 on stream 2", "stream 1 waits for 4"}));
}

TEST_F(CudaCalls, ARecordingThatFailsLeavesNoBranchBehind) {
  const auto failing = device_->make_sequence([&] {
    device_->aside([&] { device_->clear(&memory_, 4); });
    throw DeviceError("no memory");
  });
  EXPECT_MESSAGE(DeviceError, failing->run(1), "no memory");
  EXPECT_EQ(calls.back(), "end capture");
  calls.clear();
  device_->make_sequence([&] { device_->join(); })->run(1);
  EXPECT_EQ(calls[1], "end capture") << "nothing is waited for that was never recorded";
}

}  // namespace
}  // namespace idem
