#include "host/statistics/interval.h"

#include <gtest/gtest.h>

#include "host/statistics/holm.h"

namespace idem {
namespace {

// scipy.stats.ttest_ind(equal_var=False) of [10.1, 11.3, 9.7, 10.9, 12.0] and [9.2, 9.9, 8.7] (scipy 1.17).
TEST(Interval, OfTwoSamplesIsWelchs) {
  const double first = 0.85 / 5, second = 0.363333333333333333 / 3;  // variances of the means
  const VarianceSource sources[] = {{first, 4}, {second, 2}};
  const Interval interval = interval_of(10.8 - 9.266666666666667, sources);
  EXPECT_NEAR(interval.degrees, 5.82086451421424, 1e-9);
  EXPECT_NEAR(interval.p, 0.030495581631935134, 1e-9);
  EXPECT_NEAR(interval.low, 0.20319752169472016, 1e-9);
  EXPECT_NEAR(interval.high, 2.8634691449719463, 1e-9);
  EXPECT_TRUE(interval.excludes_zero());
}

TEST(Interval, WithoutVarianceIsTheEstimate) {
  const VarianceSource none[] = {{0, 4}};
  const Interval interval = interval_of(-2, none);
  EXPECT_EQ(interval.low, -2);
  EXPECT_EQ(interval.high, -2);
  EXPECT_EQ(interval.p, 0);
  EXPECT_EQ(interval_of(0, {}).p, 1);
  EXPECT_FALSE(interval_of(0, {}).excludes_zero());
}

// By hand: sorted .005 .01 .03 .04 .9 times 5 4 3 2 1, none below the one before.
TEST(Holm, AdjustsByTheNumberOfTestsThatAreLeft) {
  const double p[] = {.01, .04, .03, .005, .9};
  const double adjusted[] = {.04, .09, .09, .025, .9};
  const auto found = holm_adjusted(p);
  for (std::size_t i = 0; i < std::size(p); ++i) EXPECT_NEAR(found[i], adjusted[i], 1e-15) << i;
  const double many[] = {.4, .6};
  EXPECT_EQ(holm_adjusted(many), (std::vector<double>{.8, .8}));
  EXPECT_TRUE(holm_adjusted({}).empty());
}

}  // namespace
}  // namespace idem
