// The emulation tested: legal divergence passes, every planted fault is found.
#include <gtest/gtest-spi.h>
#include <gtest/gtest.h>

#include <string>

#include "tests/emulation/twin_check.h"

namespace idem {
namespace {

class CudaEmulation : public testing::TestWithParam<unsigned> {
 protected:
  void SetUp() override { cuda_emulator::set_schedule(GetParam()); }
  void TearDown() override { cuda_emulator::reset(); }

  template <class... Parameters, class... Arguments>
  static std::string error_of(void (*kernel)(Parameters...), unsigned blocks, unsigned threads,
                              Arguments... arguments) {
    try {
      cu::launch("planted", kernel, blocks, threads, 0, nullptr, arguments...);
    } catch (const cuda_emulator::Error& error) {
      return error.what();
    }
    return "no error";
  }
  static void expect_error(const std::string& error, const std::string& part) {
    EXPECT_NE(error.find(part), std::string::npos) << error;
  }
};
INSTANTIATE_TEST_SUITE_P(, CudaEmulation, testing::Values(0u, 1u, 2u, 3u),
                         [](const auto& parameter) { return "schedule_" + std::to_string(parameter.param); });

__global__ void half_warps_sum(float* sums) {
  float value = static_cast<float>(threadIdx.x);
  if (threadIdx.x < 16) {
    for (int offset = 8; offset > 0; offset /= 2) value += __shfl_xor_sync(0x0000ffffu, value, offset);
  } else {
    for (int offset = 8; offset > 0; offset /= 2) value += __shfl_xor_sync(0xffff0000u, value, offset);
  }
  sums[threadIdx.x] = value;
}
TEST_P(CudaEmulation, HalfWarpsMayExchangeUnderTheirOwnMasks) {
  float sums[32];
  cu::launch("half_warps_sum", half_warps_sum, 1, 32, 0, nullptr, sums);
  EXPECT_EQ(sums[3], 120.0f);
  EXPECT_EQ(sums[20], 376.0f);
}

__global__ void collectives(int* out) {
  const int third = threadIdx.x % 3 == 0;
  const int count = __syncthreads_count(third), all = __syncthreads_and(1), any = __syncthreads_or(threadIdx.x == 7);
  const unsigned ballot = __ballot_sync(~0u, third);
  int running = 1;
  for (unsigned distance = 1; distance < 32; distance *= 2) {
    const int below = __shfl_up_sync(~0u, running, distance);
    if (threadIdx.x % 32 >= distance) running += below;
  }
  const int in_group_of_8 = __shfl_sync(~0u, static_cast<int>(threadIdx.x), 1, 8);
  if (threadIdx.x == 0) {
    out[0] = count;
    out[1] = all;
    out[2] = any;
    out[3] = __popc(ballot);
  }
  if (threadIdx.x == 31) {
    out[4] = running;
    out[5] = in_group_of_8;
  }
}
TEST_P(CudaEmulation, CollectivesGiveWhatCudaGives) {
  int out[6];
  cu::launch("collectives", collectives, 1, 64, 0, nullptr, out);
  const int want[6] = {22, 1, 1, 11, 32, 25};
  for (int i = 0; i < 6; ++i) EXPECT_EQ(out[i], want[i]) << i;
}

__global__ void last_block_sums(unsigned* n_done, float* parts, float* sum) {
  CU_SHARED(int, is_last, [1]);
  if (threadIdx.x == 0) {
    parts[blockIdx.x] = 1.0f;
    __threadfence();
    is_last[0] = atomicAdd(n_done, 1u) == gridDim.x - 1;
  }
  __syncthreads();
  if (is_last[0] && threadIdx.x == 0) {
    __threadfence();
    float total = 0.0f;
    for (unsigned i = 0; i < gridDim.x; ++i) total += parts[i];
    *sum = total;
  }
}
TEST_P(CudaEmulation, TheLastBlockSeesWhatAllBlocksWrote) {
  unsigned n_done = 0;
  float parts[8], sum = 0.0f;
  cu::launch("last_block_sums", last_block_sums, 8, 32, 0, nullptr, &n_done, parts, &sum);
  EXPECT_EQ(sum, 8.0f);
}

__global__ void barrier_in_each_branch() {
  if (threadIdx.x < 32) {
    __syncthreads();
  } else {
    __syncthreads();
  }
}
__global__ void barrier_for_odd_threads() {
  if (threadIdx.x & 1) __syncthreads();
}
__global__ void barrier_against_warp_sync() {
  if (threadIdx.x < 8) {
    __syncthreads();
  } else {
    __syncwarp();
  }
  __syncthreads();
}
TEST_P(CudaEmulation, DivergentBarriersAreReportedWithWhereEachGroupWaits) {
  expect_error(error_of(barrier_in_each_branch, 1, 64), "divergent barrier");
  const std::string odd = error_of(barrier_for_odd_threads, 1, 64);
  expect_error(odd, "kernel planted: block (0,0,0): divergent barrier");
  expect_error(odd, "32 thread(s), first is 1, wait in __syncthreads");
  expect_error(odd, "32 thread(s), first is 0, exited");
  expect_error(error_of(barrier_against_warp_sync, 1, 32), "wait in __syncwarp");
}

__global__ void sum_under_half_mask(float* out) { out[threadIdx.x] = __shfl_xor_sync(0x0000ffffu, 1.0f, 1); }
__global__ void masks_that_differ(float* out) {
  const unsigned mask = threadIdx.x < 16 ? 0xffffffffu : 0xfffffffeu;
  out[threadIdx.x] = __shfl_xor_sync(mask, 1.0f, 1);
}
TEST_P(CudaEmulation, WrongWarpMasksAreReported) {
  float out[32];
  expect_error(error_of(sum_under_half_mask, 1, 32, out), "calling lane is not in its mask 0000ffff");
  expect_error(error_of(masks_that_differ, 1, 32, out), "warp collective mismatch");
}

__global__ void read_from_exited_lane(float* out) {
  if (threadIdx.x >= 20) return;
  out[threadIdx.x] = __shfl_down_sync(~0u, 1.0f, 16);
}
__global__ void read_unwritten_shared(float* out) {
  CU_SHARED(float, tile, [32]);
  out[threadIdx.x] = tile[threadIdx.x];
}
TEST_P(CudaEmulation, WhatNobodyWroteIsNaN) {
  float out[32];
  cu::launch("read_from_exited_lane", read_from_exited_lane, 1, 32, 0, nullptr, out);
  EXPECT_EQ(out[3], 1.0f);
  EXPECT_TRUE(std::isnan(out[10]));
  cu::launch("read_unwritten_shared", read_unwritten_shared, 1, 32, 0, nullptr, out);
  EXPECT_TRUE(std::isnan(out[0]));
}

template <bool has_barrier>
__global__ void reverse(float* out) {
  CU_DYN_SHARED(float, tile);
  tile[threadIdx.x] = static_cast<float>(threadIdx.x);
  if (has_barrier) __syncthreads();
  out[threadIdx.x] = tile[blockDim.x - 1 - threadIdx.x];
}
TEST_P(CudaEmulation, AMissingBarrierGivesNaN) {
  float out[64];
  cu::launch("reverse", reverse<true>, 1, 64, 64 * sizeof(float), nullptr, out);
  for (int i = 0; i < 64; ++i) EXPECT_EQ(out[i], static_cast<float>(63 - i));
#if defined(CUDA_EMULATOR_TSAN)
  GTEST_SKIP() << "the thread sanitizer reports this race itself";
#endif
  cu::launch("reverse", reverse<false>, 1, 64, 64 * sizeof(float), nullptr, out);
  int n_nan = 0;
  for (float value : out) n_nan += std::isnan(value);
  EXPECT_GT(n_nan, 0);
}

__global__ void too_much_shared() {
  CU_SHARED(double, big, [6200]);
  big[threadIdx.x] = 0;
}
__global__ void do_nothing() {}
TEST_P(CudaEmulation, ImpossibleLaunchesAreRefused) {
  expect_error(error_of(too_much_shared, 1, 32), "over 48 KiB");
  expect_error(error_of(do_nothing, 1, 2048), "invalid launch configuration");
  EXPECT_EQ(error_of(do_nothing, 0, 32), "no error");
}

// Planted faults in an operation: y = 2 x.
struct DoubleRow {
  Rows<const float> x;
  Rows<float> y;
  std::int32_t last = 0;
  int fault = 0;
  HD void operator()(std::int64_t member, std::int64_t row, std::int32_t feature) const {
    if (fault == 1 && feature == last) return;
    y.row(member, row)[feature] = 2.0f * x.row(member, row)[feature] + (fault == 2 ? 1e-5f : 0.0f);
    if (fault == 3 && feature == last) y.row(member, row)[feature + 1] = 1.0f;
    if (fault == 4 && member == 0) y.row(1, row)[feature] = 0.0f;
  }
};
// Runs check and expects it to fail, saying `part`.
template <class Check>
void expect_failure(const Check& check, const std::string& part) {
  testing::TestPartResultArray failures;
  {
    testing::ScopedFakeTestPartResultReporter reporter(
        testing::ScopedFakeTestPartResultReporter::INTERCEPT_ONLY_CURRENT_THREAD, &failures);
    check();
  }
  bool said = false;
  for (int i = 0; i < failures.size(); ++i)
    said = said || std::string(failures.GetTestPartResult(i).message()).find(part) != std::string::npos;
  EXPECT_TRUE(said) << failures.size() << " failures, none says: " << part;
}
void check_doubling(int fault) {
  check_twins(TwinFleet::several(), [&](auto& run) {
    using Real = typename std::decay_t<decltype(run)>::Scalar;
    const std::int64_t n_rows = 3;
    const std::int32_t n_features = 5;
    const Rows<const Real> x = run.input_rows("x", n_rows, n_features);
    const Rows<Real> y = run.output_rows("y", n_rows, n_features);
    const FleetExtent fleet = run.fleet();
    const Execution on = run.execution();
    if constexpr (std::is_same_v<Real, float>) {
      if (on.cuda)
        return cu::launch_rows("doubling", fleet, n_rows, n_features, DoubleRow{x, y, n_features - 1, fault},
                               on.stream);
    }
    for_each_row_block(*on.pool, fleet, n_rows, 1, [&](std::int64_t member, std::int64_t begin, std::int64_t) {
      for (std::int32_t feature = 0; feature < n_features; ++feature)
        y.row(member, begin)[feature] = 2 * x.row(member, begin)[feature];
    });
  });
}
TEST(TwinCheck, PassesACorrectTwin) { check_doubling(0); }
TEST(TwinCheck, FindsACellLeftUnwritten) {
  expect_failure([] { check_doubling(1); }, "got nan");
}
TEST(TwinCheck, FindsAnInexactTwin) {
  expect_failure([] { check_doubling(2); }, "allowed");
}
TEST(TwinCheck, FindsAWriteIntoPadding) {
  expect_failure([] { check_doubling(3); }, "padding");
}
TEST(TwinCheck, FindsAWriteToAnInactiveMember) {
  expect_failure([] { check_doubling(4); }, "inactive");
}

__global__ void fill_one_too_many(float* out, int n) {
  for (int i = static_cast<int>(threadIdx.x); i <= n; i += static_cast<int>(blockDim.x)) out[i] = 0.0f;
}
void write_past_the_end() {
  ThreadPool pool(1);
  const TwinFleet fleet;
  TwinRun<float> run(fleet, pool, true);
  float* out = run.output("out", 40);
  run.execution();
  cu::launch("fill_one_too_many", fill_one_too_many, 1, 32, 0, nullptr, out, 40);
  run.finish("planted");
}
TEST(TwinCheck, FindsAWriteOutOfBounds) {
#if defined(CUDA_EMULATOR_ASAN)
  EXPECT_DEATH(write_past_the_end(), "use-after-poison");
#else
  expect_failure(write_past_the_end, "written past its end, at element 40");
#endif
}

}  // namespace
}  // namespace idem
