#include "host/support/cells.h"

#include <gtest/gtest.h>

#include <cmath>
#include <limits>

namespace idem {
namespace {

TEST(Cells, EveryShareHasACellHoweverLargeOrAbsent) {
  constexpr double infinity = std::numeric_limits<double>::infinity();
  EXPECT_EQ(cell_of(0, 40), 0);
  EXPECT_EQ(cell_of(0.5, 40), 20);
  EXPECT_EQ(cell_of(std::nextafter(1, 0), 40), 39);
  for (const double above : {1.0, 1.5, 1e9, 1e77, 1e308, infinity}) EXPECT_EQ(cell_of(above, 40), 39) << above;
  for (const double below : {-1e-300, -1.0, -1e9, -1e308, -infinity, std::nan("")})
    EXPECT_EQ(cell_of(below, 40), 0) << below;
}

}  // namespace
}  // namespace idem
