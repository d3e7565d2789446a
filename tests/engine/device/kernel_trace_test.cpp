// The trace on a stand-in for CUPTI (fake_cupti.cpp), and on one for the card that it asks about.
#include "engine/device/cuda/kernel_trace.h"

#include <cuda_runtime_api.h>
#include <dlfcn.h>
#include <gtest/gtest.h>

#include <cstdlib>

// Before CUDA 13 the name is a macro for that of its second version.
#undef cudaGetDeviceProperties
extern "C" cudaError_t __wrap_cudaGetDeviceProperties(cudaDeviceProp* properties, int) {
  *properties = {};
  properties->major = 9;
  properties->multiProcessorCount = 132;
  properties->maxThreadsPerBlock = 1024;
  properties->maxThreadsPerMultiProcessor = 2048;
  properties->regsPerBlock = properties->regsPerMultiprocessor = 65536;
  properties->warpSize = 32;
  properties->sharedMemPerBlock = 49152;
  properties->sharedMemPerMultiprocessor = 233472;
  properties->sharedMemPerBlockOptin = 232448;
  properties->reservedSharedMemPerBlock = 1024;
  return cudaSuccess;
}
extern "C" cudaError_t __wrap_cudaGetDeviceProperties_v2(cudaDeviceProp* properties, int device) {
  return __wrap_cudaGetDeviceProperties(properties, device);
}

namespace idem {
namespace {

struct KernelTraceOf : testing::Test {
  KernelTraceOf() {
    setenv("IDEM_CUPTI", IDEM_FAKE_CUPTI, 1);
    trace = KernelTrace::instance();
    library = dlopen(IDEM_FAKE_CUPTI, RTLD_NOW | RTLD_NOLOAD);
  }
  template <class Function>
  Function* function(const char* name) {
    return reinterpret_cast<Function*>(dlsym(library, name));
  }
  void kernel(const char* name, std::uint64_t begin_ns, std::uint64_t end_ns, std::uint64_t node) {
    function<void(const char*, std::uint64_t, std::uint64_t, std::uint64_t)>("fake_kernel")(name, begin_ns, end_ns,
                                                                                            node);
  }
  void node(std::uint64_t number, std::uint64_t original = 0) {
    function<void(std::uint64_t, std::uint64_t)>("fake_node")(number, original);
  }
  KernelTrace* trace = nullptr;
  void* library = nullptr;
};

TEST_F(KernelTraceOf, AReplayKnowsWhichOperationWasAskedForWhenItWasRecorded) {
  ASSERT_NE(trace, nullptr);
  trace->attribute_to(7);
  node(100);
  trace->attribute_to(8);
  node(101);
  trace->attribute_to(-1);
  node(200, 100);
  node(201, 101);
  const auto activities = trace->of([&] {
    kernel("_ZN4idem11adam_kernelENS_4AdamIfEE", 3000, 5000, 201);
    kernel("_ZN4idem11adam_kernelENS_4AdamIfEE", 1000, 2000, 200);
    kernel("unknown", 6000, 7000, 999);
  });
  ASSERT_EQ(activities.size(), 3u);
  EXPECT_EQ(activities[0].operation, 7);  // by their beginnings
  EXPECT_EQ(activities[1].operation, 8);
  EXPECT_EQ(activities[2].operation, -1);
  EXPECT_EQ(activities[0].kernel, "adam_kernel");
  EXPECT_EQ(activities[1].end_ns - activities[1].begin_ns, 2000);
}

TEST_F(KernelTraceOf, NothingIsToldWhereAPartIsLost) {
  EXPECT_EQ(KernelTrace::why_none(), "");
  EXPECT_TRUE(trace
                  ->of([&] {
                    kernel("a", 1, 2, 0);
                    kernel("not timed", 0, 0, 0);
                  })
                  .empty());
  EXPECT_TRUE(trace
                  ->of([&] {
                    kernel("a", 1, 2, 0);
                    function<void(std::size_t)>("fake_dropped")(3);
                  })
                  .empty());
  EXPECT_EQ(trace->of([&] { kernel("a", 1, 2, 0); }).size(), 1u);
}

TEST_F(KernelTraceOf, WhatIsAskedForOutsideARecordingIsKnownToo) {
  const auto activities = trace->of([&] {
    trace->attribute_to(3);
    kernel("a", 1, 2, 0);
    trace->attribute_to(-1);
    kernel("b", 3, 4, 0);
  });
  ASSERT_EQ(activities.size(), 2u);
  EXPECT_EQ(activities[0].operation, 3);
  EXPECT_EQ(activities[1].operation, -1);
}

// 64 registers and 256 threads: four blocks on a multiprocessor, half of its 64 warps; 264 blocks on 132 of them.
TEST_F(KernelTraceOf, AKernelsLaunchSaysHowWellItFillsTheCard) {
  const auto activities = trace->of([&] { kernel("a", 1, 2, 0); });
  const LaunchShape& launch = activities.at(0).launch;
  EXPECT_EQ(launch.blocks, 264);
  EXPECT_EQ(launch.threads, 256);
  EXPECT_EQ(launch.registers, 64);
  EXPECT_EQ(launch.shared_bytes, 1024);
  EXPECT_DOUBLE_EQ(launch.waves, 0.5);
  EXPECT_DOUBLE_EQ(launch.occupancy, 0.5);
}

TEST_F(KernelTraceOf, NothingIsCollectedBetweenTraces) {
  auto* const enabled = function<int()>("fake_enabled_kinds");
  EXPECT_THROW(trace->of([&]() -> void {
    EXPECT_GT(enabled(), 0);
    throw std::runtime_error("a fault");
  }),
               std::runtime_error);
  EXPECT_EQ(enabled(), 0);
  EXPECT_TRUE(trace->of([] {}).empty());
}

}  // namespace
}  // namespace idem
