// Whether cuDNN has a plan for every pass of the learned temporal encoder, asked for the GPU the project is made for;
// no GPU is needed to ask.
#include <gtest/gtest.h>

#include "engine/device/cuda/cudnn_convolutions.h"

namespace idem {
namespace {

// As cuDNN 9 writes the properties of a device; the figures are an H100's.
constexpr const char* kH100 =
    R"({"cudaDeviceId": 0, "deviceVer": 900, "driverVer": 13000, "maxGridSize": [2147483647, 65535, 65535],
  "maxBlockSize": [1024, 1024, 64], "regsPerBlock": 65536, "multiProcessorCount": 132, "warpSize": 32, "maxSharedMemoryPerBlock": 49152,
  "maxSharedMemoryPerBlockOptin": 232448, "reservedSharedMemoryPerBlock": 1024, "maxRegistersPerSM": 65536, "maxCtasPerSM": 32,
  "maxThreadsPerBlock": 1024, "maxThreadsPerSM": 2048, "pciDeviceId": 0, "isTccDriver": 0, "supportCoopLaunch": 1, "smClockRateKHz": 1980000,
  "memClockRateKHz": 2619000, "l2CacheSize": 52428800, "totalGlobalMem": 84942979072, "deviceName": "NVIDIA H100 80GB HBM3"})";
constexpr std::size_t kWorkspaceBytes = 32u << 20;

std::unique_ptr<CudnnConvolutions> for_h100(ProductPrecision precision) {
  try {
    return std::make_unique<CudnnConvolutions>(precision, kWorkspaceBytes, kH100);
  } catch (const DeviceError&) {
    return nullptr;  // properties are read since 9.8, and nothing says that all versions write them alike
  }
}

TEST(CudnnPlans, ExistForEveryPassOfEveryLayerThatIsCudnnsInEveryPrecisionAndAreTheSameWhenAskedAgain) {
  for (const auto precision : {ProductPrecision::fp32, ProductPrecision::tf32, ProductPrecision::bf16}) {
    const auto convolutions = for_h100(precision), again = for_h100(precision);
    if (!convolutions) GTEST_SKIP() << "this cuDNN does not read the properties of a GPU that is not here";
    std::size_t n_asked = 0;
    for (const auto pass :
         {ConvolutionPass::forward, ConvolutionPass::input_gradient, ConvolutionPass::weight_gradient})
      for (const auto& [n_bins, n_taps, n_in] :
           {std::array<std::int64_t, 3>{10, 2, 120}, {9, 3, 32}, {7, 3, 32}, {5, 3, 32}}) {
        const BinConvolution<float> asked{
            .pass = pass, .batch = 200, .n_bins = n_bins, .n_taps = n_taps, .n_in = n_in, .n_out = 32};
        for (const int time : {1, 2}) {  // the second time from memory
          EXPECT_TRUE(convolutions->convolves(asked))
              << n_bins << " bins, " << n_taps << " taps, " << to_string(precision) << ", time " << time;
          again->convolves(asked);
        }
        EXPECT_EQ(convolutions->algorithm_lines().size(), ++n_asked);
      }
    EXPECT_EQ(convolutions->algorithm_lines(), again->algorithm_lines());
  }
}

TEST(CudnnPlans, OfFullPrecisionAreOtherEnginesThanThoseThatMayRoundTheFactors) {
  const BinConvolution<float> asked{.batch = 200, .n_bins = 9, .n_taps = 3, .n_in = 32, .n_out = 32};
  std::vector<std::string> lines;
  for (const auto precision : {ProductPrecision::fp32, ProductPrecision::tf32}) {
    const auto convolutions = for_h100(precision);
    if (!convolutions) GTEST_SKIP() << "this cuDNN does not read the properties of a GPU that is not here";
    convolutions->convolves(asked);
    lines.push_back(convolutions->algorithm_lines().at(0));
  }
  EXPECT_NE(lines[0].substr(lines[0].find("engine")), lines[1].substr(lines[1].find("engine")));
}

}  // namespace
}  // namespace idem
