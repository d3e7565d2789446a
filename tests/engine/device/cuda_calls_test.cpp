// What the CUDA device asks the CUDA runtime for, told by stand-ins for the runtime's functions (the linker's --wrap,
// see tests/CMakeLists.txt): no GPU is needed. Recording, replaying and branches alone; what kernels compute is the
// business of the other tests.
#include <cublasLt.h>
#include <cuda_profiler_api.h>
#include <cuda_runtime_api.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <string>
#include <vector>

#include "engine/device/cuda/cuda_device.h"
#include "tests/support/error_message.h"

namespace {

// In order: "begin capture", "record 1 on stream 2", ... Handles are numbers, counted from 1 in the order they are
// made.
std::vector<std::string> calls;
std::uintptr_t n_made = 0;

// What cuBLASLt proposes, the best first, and by how much each fills the GPU.
struct Algorithm {
  float waves_of_one = 1;
  int most_members = 1000;
};
std::vector<Algorithm> algorithms;

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
cudaError_t __wrap_cudaSetDevice(int index) {
  calls.push_back("select " + std::to_string(index));
  return cudaSuccess;
}
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
cudaError_t __wrap_cudaStreamSynchronize(cudaStream_t) {
  calls.push_back("wait");
  return cudaSuccess;
}
cudaError_t __wrap_cudaEventCreateWithFlags(cudaEvent_t* event, unsigned) {
  make(event);
  return cudaSuccess;
}
cudaError_t __wrap_cudaEventCreate(cudaEvent_t* event) {
  make(event);
  return cudaSuccess;
}
cudaError_t __wrap_cudaEventDestroy(cudaEvent_t) { return cudaSuccess; }
cudaError_t __wrap_cudaEventSynchronize(cudaEvent_t event) {
  calls.push_back("wait for " + number(event));
  return cudaSuccess;
}
cudaError_t __wrap_cudaEventElapsedTime(float* milliseconds, cudaEvent_t, cudaEvent_t) {
  *milliseconds = 250;
  return cudaSuccess;
}
cudaError_t __wrap_cudaProfilerStart() {
  calls.push_back("start the profiler");
  return cudaSuccess;
}
cudaError_t __wrap_cudaProfilerStop() {
  calls.push_back("stop the profiler");
  return cudaSuccess;
}
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
cudaError_t __wrap_cudaGraphUpload(cudaGraphExec_t, cudaStream_t) {
  calls.push_back("upload");
  return cudaSuccess;
}

cublasStatus_t __wrap_cublasLtMatmulAlgoGetHeuristic(cublasLtHandle_t, cublasLtMatmulDesc_t, cublasLtMatrixLayout_t,
                                                     cublasLtMatrixLayout_t, cublasLtMatrixLayout_t,
                                                     cublasLtMatrixLayout_t, cublasLtMatmulPreference_t, int most,
                                                     cublasLtMatmulHeuristicResult_t* results, int* n_found) {
  *n_found = std::min(most, static_cast<int>(algorithms.size()));
  for (int i = 0; i < *n_found; ++i) {
    results[i] = {};
    results[i].algo.data[0] = static_cast<std::uint64_t>(i);
  }
  return CUBLAS_STATUS_SUCCESS;
}
cublasStatus_t __wrap_cublasLtMatmulAlgoCheck(cublasLtHandle_t, cublasLtMatmulDesc_t, cublasLtMatrixLayout_t,
                                              cublasLtMatrixLayout_t, cublasLtMatrixLayout_t,
                                              cublasLtMatrixLayout_t result, const cublasLtMatmulAlgo_t* algorithm,
                                              cublasLtMatmulHeuristicResult_t* checked) {
  std::int32_t n_members = 0;
  std::size_t written = 0;
  cublasLtMatrixLayoutGetAttribute(result, CUBLASLT_MATRIX_LAYOUT_BATCH_COUNT, &n_members, sizeof n_members, &written);
  const Algorithm& asked = algorithms.at(algorithm->data[0]);
  *checked = {};
  checked->wavesCount = asked.waves_of_one * static_cast<float>(n_members);
  return n_members <= asked.most_members ? CUBLAS_STATUS_SUCCESS : CUBLAS_STATUS_NOT_SUPPORTED;
}
cublasStatus_t __wrap_cublasLtMatmulAlgoConfigGetAttribute(const cublasLtMatmulAlgo_t* algorithm,
                                                           cublasLtMatmulAlgoConfigAttributes_t, void* value,
                                                           std::size_t, std::size_t*) {
  *static_cast<std::int32_t*>(value) = static_cast<std::int32_t>(algorithm->data[0]);
  return CUBLAS_STATUS_SUCCESS;
}
cublasStatus_t __wrap_cublasLtMatmul(cublasLtHandle_t, cublasLtMatmulDesc_t, const void*, const void*,
                                     cublasLtMatrixLayout_t, const void*, cublasLtMatrixLayout_t, const void*,
                                     const void*, cublasLtMatrixLayout_t, void*, cublasLtMatrixLayout_t,
                                     const cublasLtMatmulAlgo_t* algorithm, void*, std::size_t, cudaStream_t) {
  calls.push_back("multiply by algorithm " + std::to_string(algorithm->data[0]));
  return CUBLAS_STATUS_SUCCESS;
}
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

// The calls so far but for the waits, of which a plan has some before it and after it.
std::vector<std::string> calls_without_waits() {
  auto others = calls;
  std::erase(others, "wait");
  return others;
}

TEST_F(CudaCalls, BranchesOfAReplayKeepTheirLowerPriority) {
  EXPECT_EQ(std::vector<std::string>(streams_.end() - 3, streams_.end()),
            (std::vector<std::string>{"stream 1 of priority -5", "stream 2 of priority 0", "stream 3 of priority 0"}));
  device_->make_sequence("sequence", [&] { device_->clear(&memory_, 4); })->run(2);
  const std::string flags = std::to_string(cudaGraphInstantiateFlagUseNodePriority);
  EXPECT_EQ(calls_without_waits(), (std::vector<std::string>{"begin capture", "clear on stream 1", "end capture",
                                                             "instantiate with flags " + flags, "launch", "launch"}));
}

TEST_F(CudaCalls, ABranchWaitsForWhatWasBeforeItAndIsWaitedForAtItsJoinAlone) {
  device_
      ->make_sequence("sequence",
                      [&] {
                        device_->aside([&] { device_->clear(&memory_, 4); });
                        device_->clear(&memory_, 4);
                        device_->join();
                        device_->join();
                      })
      ->run(1);
  calls = calls_without_waits();
  calls.erase(calls.begin());
  calls.resize(6);
  EXPECT_EQ(calls, (std::vector<std::string>{"record 4 on stream 1", "stream 2 waits for 4", "clear on stream 2",
                                             "clear on stream 1", "record 5 on stream 2", "stream 1 waits for 5"}));
}

TEST_F(CudaCalls, WorkApartFromABranchWaitsForWhatTheBranchDidBeforeItAndIsJoinedToo) {
  device_
      ->make_sequence("sequence",
                      [&] {
                        device_->aside([&] {
                          device_->apart([&] { device_->clear(&memory_, 4); });
                          device_->clear(&memory_, 4);
                        });
                        device_->join();
                      })
      ->run(1);
  calls = calls_without_waits();
  calls.erase(calls.begin());
  calls.resize(10);
  EXPECT_EQ(calls, (std::vector<std::string>{"record 4 on stream 1", "stream 2 waits for 4", "record 4 on stream 2",
                                             "stream 3 waits for 4", "clear on stream 3", "clear on stream 2",
                                             "record 5 on stream 2", "stream 1 waits for 5", "record 5 on stream 3",
                                             "stream 1 waits for 5"}));
}

TEST_F(CudaCalls, ARecordingThatFailsLeavesNoBranchBehind) {
  int n_runs = 0;
  const auto failing = device_->make_sequence("sequence", [&] {
    device_->aside([&] { device_->clear(&memory_, 4); });
    if (++n_runs == 2) throw DeviceError("no memory");  // the first run plans
  });
  EXPECT_MESSAGE(DeviceError, failing->run(1), "no memory");
  EXPECT_EQ(calls.back(), "end capture");
  calls.clear();
  device_->make_sequence("sequence", [&] { device_->join(); })->run(1);
  EXPECT_EQ(calls_without_waits()[1], "end capture") << "nothing is waited for that was never recorded";
}

TEST_F(CudaCalls, ManyRunsAreOfARecordingOfEight) {
  const auto sequence = device_->make_sequence("sequence", [&] { device_->clear(&memory_, 4); });
  sequence->run(19);
  EXPECT_EQ(std::count(calls.begin(), calls.end(), "clear on stream 1"), 8 + 1);
  EXPECT_EQ(std::count(calls.begin(), calls.end(), "launch"), 2 + 3);
  calls.clear();
  sequence->run(16);
  EXPECT_EQ(calls, (std::vector<std::string>{"launch", "launch"}));
  calls.clear();
  sequence->prepare(9);
  EXPECT_EQ(calls, (std::vector<std::string>{"upload", "upload"})) << "recorded already, and nothing runs";
}

// c [4 x 4] = a b, whose arrays nobody reads.
MatrixProduct<float> a_product(std::int32_t n_members) {
  static float array[64];
  return {
      .fleet = {n_members}, .m = 4, .n = 4, .k = 4, .a = {array, 64, 16}, .b = {array, 64, 16}, .c = {array, 64, 16}};
}

TEST_F(CudaCalls, ProductsAreChosenAndLoadedBeforeARecording) {
  algorithms = {{}};
  device_
      ->make_sequence("sequence",
                      [&] {
                        device_->clear(&memory_, 4);
                        device_->multiply(a_product(3));
                      })
      ->run(1);
  calls = calls_without_waits();
  calls.resize(5);
  EXPECT_EQ(calls, (std::vector<std::string>{"multiply by algorithm 0", "begin capture", "clear on stream 1",
                                             "multiply by algorithm 0", "end capture"}))
      << "nothing else runs while it is planned";
}

TEST_F(CudaCalls, APlanThatFailsIsNotTakenForTheNextOne) {
  EXPECT_MESSAGE(DeviceError, device_->make_sequence("sequence", [&] { throw DeviceError("no memory"); })->run(1),
                 "no memory");
  device_->clear(&memory_, 4);
  EXPECT_EQ(calls_without_waits(), (std::vector<std::string>{"clear on stream 1"}));
}

// Alone the second fills the GPU twice as well as the first, and many fill it by either.
TEST_F(CudaCalls, TheAlgorithmServesAMemberAloneAndManyTogether) {
  algorithms = {{.waves_of_one = 0.5f}, {.waves_of_one = 1.0f}};
  for (const std::int32_t n_members : {1, 2, 132}) device_->multiply(a_product(n_members));
  EXPECT_EQ(calls, std::vector<std::string>(3, "multiply by algorithm 1"));
}

TEST_F(CudaCalls, AmongEqualsCublasLtDecides) {
  algorithms = {{.waves_of_one = 0.5f}, {.waves_of_one = 0.5f}};
  device_->multiply(a_product(1));
  EXPECT_EQ(calls, (std::vector<std::string>{"multiply by algorithm 0"}));
}

// Whole waves to 7 %: too little to go by.
TEST_F(CudaCalls, AmongThoseThatAreAlmostEqualCublasLtDecides) {
  algorithms = {{.waves_of_one = 0.93f}, {.waves_of_one = 1.0f}};
  device_->multiply(a_product(1));
  EXPECT_EQ(calls, (std::vector<std::string>{"multiply by algorithm 0"}));
}

TEST_F(CudaCalls, AnAlgorithmThatFleetsCannotRunIsNotChosenAndItsLossIsTold) {
  algorithms = {{.waves_of_one = 1.0f, .most_members = 1}, {.waves_of_one = 0.5f}};
  device_->multiply(a_product(1));
  EXPECT_EQ(calls, (std::vector<std::string>{"multiply by algorithm 1"}));
  ASSERT_EQ(device_->chosen_algorithms().size(), 1u);
  EXPECT_NE(device_->chosen_algorithms()[0].find("100 % more waves alone"), std::string::npos)
      << device_->chosen_algorithms()[0];
}

TEST_F(CudaCalls, WhereNoAlgorithmServesFleetsTheyAreGoneThroughMemberByMember) {
  algorithms = {{.most_members = 1}};
  device_->multiply(a_product(3));
  EXPECT_EQ(calls, std::vector<std::string>(3, "multiply by algorithm 0"));
}

TEST_F(CudaCalls, DevicesTakeTurns) {
  const auto other = make_cuda_device(1, 1, ProductPrecision::fp32, ConvolutionMethod::gemm);
  calls.clear();
  other->clear(&memory_, 4);
  device_->clear(&memory_, 4);
  device_->synchronize();
  other->execution();
  std::erase_if(calls, [](const std::string& call) { return !call.starts_with("select"); });
  EXPECT_EQ(calls, (std::vector<std::string>{"select 0", "select 1"}));
}

TEST_F(CudaCalls, AProfilerSeesTheOperationsAloneAndToTheirEnd) {
  device_->profiled([&] { device_->clear(&memory_, 4); });
  EXPECT_EQ(calls,
            (std::vector<std::string>{"wait", "start the profiler", "clear on stream 1", "wait", "stop the profiler"}));
}

TEST_F(CudaCalls, AWatchStartsBehindWorkThatKeepsTheGpuBusy) {
  device_->start_watch();
  EXPECT_EQ(device_->stop_watch(), 0.25);
  EXPECT_EQ(calls, (std::vector<std::string>{"clear on stream 1", "record 6 on stream 1", "record 7 on stream 1",
                                             "wait for 7"}));
}

}  // namespace
}  // namespace idem
