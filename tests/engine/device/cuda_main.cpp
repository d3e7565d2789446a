// The tests that need a GPU; without one they are skipped as a whole (exit code 77, as ctest is told) and say why.
#include <gtest/gtest.h>

#include <cstdio>

#include "engine/device/cuda/cards.h"

int main(int argc, char** argv) {
  testing::InitGoogleTest(&argc, argv);
  if (const auto reason = idem::why_cuda_is_unusable(0); !reason.empty() && !GTEST_FLAG_GET(list_tests)) {
    std::printf("[  SKIPPED ] no test ran on a GPU: %s\n", reason.c_str());
    return 77;
  }
  return RUN_ALL_TESTS();
}
