#include "engine/device/cuda/architectures.h"

#include <gtest/gtest.h>

namespace idem {
namespace {

TEST(Architectures, CoverTheirFamilyAndWithPtxEverythingNewer) {
  EXPECT_TRUE(architectures_cover("80-real 86-real 89-real 90", 8, 0));
  EXPECT_TRUE(architectures_cover("80-real 86-real 89-real 90", 8, 7));   // code for 8.6 runs on 8.7
  EXPECT_TRUE(architectures_cover("80-real 86-real 89-real 90", 12, 0));  // by the PTX of 9.0
  EXPECT_FALSE(architectures_cover("80-real 86-real 89-real 90", 7, 5));
  EXPECT_FALSE(architectures_cover("90-real", 12, 0));
  EXPECT_FALSE(architectures_cover("90-real", 8, 9));
  EXPECT_TRUE(architectures_cover("80-virtual", 9, 0));
  EXPECT_FALSE(architectures_cover("90-virtual", 8, 0));
  EXPECT_TRUE(architectures_cover("90a", 9, 0));
  EXPECT_FALSE(architectures_cover("90a", 10, 0));
  EXPECT_TRUE(architectures_cover("100f-real", 10, 3));
  EXPECT_FALSE(architectures_cover("100f-real", 12, 0));
  EXPECT_TRUE(architectures_cover("native", 7, 5));
  EXPECT_FALSE(architectures_cover("", 9, 0));
}

}  // namespace
}  // namespace idem
