#include "host/support/numpy_random.h"

#include <gtest/gtest.h>

namespace idem {
namespace {

TEST(NumpyRandom, UniformsNormalsAndCountsAreNumpys) {
  // numpy.random.seed(888); uniform(-5, 5, 3)
  NumpyRandom random(888);
  for (const double wanted : {3.59560606, -3.35430505, -0.16524041}) EXPECT_NEAR(random.uniform(-5, 5), wanted, 5e-9);
  // numpy.random.seed(42); normal(size=3); poisson(2, size=6); normal(): the polar method keeps its second number over
  // the counts
  NumpyRandom other(42);
  for (const double wanted : {0.49671415301123267, -0.13826430117118466, 0.6476885381006925})
    EXPECT_NEAR(other.normal(), wanted, 1e-15);
  for (const std::int64_t wanted : {1, 0, 3, 3, 1, 2}) EXPECT_EQ(other.poisson(2), wanted);
  EXPECT_NEAR(other.normal(), 1.5230298564080254, 1e-15);
  EXPECT_EQ(NumpyRandom(1).poisson(0), 0);
  EXPECT_THROW(NumpyRandom(1).poisson(10), std::invalid_argument);
}

TEST(NumpyRandom, PermutationsAreThoseOfThePublishedFlows) {
  EXPECT_EQ(NumpyRandom(0).permutation(10), (std::vector<std::int32_t>{2, 8, 4, 9, 1, 6, 7, 3, 0, 5}));
  EXPECT_EQ(NumpyRandom(1).permutation(10), (std::vector<std::int32_t>{2, 9, 6, 4, 0, 3, 1, 7, 8, 5}));
  // The flows of pi-VAE: 120 and 100 neurons, 10 bins of 120.
  const auto start = [](std::uint32_t block, std::int32_t n) {
    auto order = NumpyRandom(block).permutation(n);
    order.resize(5);
    return order;
  };
  EXPECT_EQ(start(0, 120), (std::vector<std::int32_t>{48, 94, 95, 8, 97}));
  EXPECT_EQ(start(1, 120), (std::vector<std::int32_t>{95, 54, 59, 117, 77}));
  EXPECT_EQ(start(0, 100), (std::vector<std::int32_t>{26, 86, 2, 55, 75}));
  EXPECT_EQ(start(1, 100), (std::vector<std::int32_t>{80, 84, 33, 81, 93}));
  EXPECT_EQ(start(0, 1200), (std::vector<std::int32_t>{198, 328, 45, 263, 621}));
  const auto begins = [](std::uint32_t seed, std::int32_t n, const std::vector<std::int32_t>& wanted) {
    const auto order = NumpyRandom(seed).permutation(n);
    EXPECT_EQ(std::vector<std::int32_t>(order.begin(), order.begin() + static_cast<std::ptrdiff_t>(wanted.size())),
              wanted)
        << seed << ", " << n;
  };
  begins(0, 1200, {198, 328, 45, 263, 621});
  begins(1, 1200, {636, 683, 1033, 190, 1083});
  begins(0, 120, {48, 94, 95, 8, 97, 22, 7, 10});
  begins(1, 120, {95, 54, 59, 117, 77, 46, 31, 81});
  begins(0, 100, {26, 86, 2, 55, 75, 93, 16, 73});
  begins(1, 100, {80, 84, 33, 81, 93, 17, 36, 82});
  const auto ends = [](std::uint32_t seed, const std::vector<std::int32_t>& wanted) {
    const auto order = NumpyRandom(seed).permutation(120);
    EXPECT_EQ(std::vector<std::int32_t>(order.end() - static_cast<std::ptrdiff_t>(wanted.size()), order.end()), wanted)
        << seed;
  };
  ends(0, {47, 44});
  ends(1, {107, 37});
  EXPECT_EQ(NumpyRandom(0).permutation(1), std::vector<std::int32_t>{0});
  EXPECT_TRUE(NumpyRandom(0).permutation(0).empty());
}

}  // namespace
}  // namespace idem
