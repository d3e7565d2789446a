#include "engine/device/open_blas.h"

#include <gtest/gtest.h>

#include <cstdlib>

#include "tests/support/program.h"

namespace idem {
namespace {

TEST(OpenBlas, RunsTheKernelsOfTheProcessorsWidestRegisters) {
#if defined(__x86_64__)
  if (std::getenv("OPENBLAS_CORETYPE")) GTEST_SKIP() << "OPENBLAS_CORETYPE is set";
  if (!__builtin_cpu_supports("avx2") || !__builtin_cpu_supports("fma")) GTEST_SKIP() << "a processor without AVX2";
  EXPECT_EQ(open_blas().kernels,
            __builtin_cpu_supports("avx512bw") && __builtin_cpu_supports("avx512vl") ? "SkylakeX" : "Haswell");
  EXPECT_EQ(std::getenv("OPENBLAS_CORETYPE"), nullptr);
#else
  GTEST_SKIP() << "OpenBLAS chooses by itself on this kind of processor";
#endif
}

TEST(OpenBlas, RunsTheKernelsThatTheUserNames) {
#if defined(__x86_64__)
  const TemporaryFolder folder;
  setenv("OPENBLAS_CORETYPE", "NEHALEM", 1);
  const auto devices = Program(folder).run({"devices"});
  unsetenv("OPENBLAS_CORETYPE");
  EXPECT_EQ(devices.code, 0);
  EXPECT_NE(devices.output.find("OpenBLAS's Nehalem kernels"), std::string::npos) << devices.output;
#else
  GTEST_SKIP() << "OpenBLAS has other kernels on this kind of processor";
#endif
}

}  // namespace
}  // namespace idem
