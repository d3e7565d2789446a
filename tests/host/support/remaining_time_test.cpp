#include "host/support/remaining_time.h"

#include <gtest/gtest.h>

#include <cmath>

namespace idem {
namespace {

TEST(RemainingTime, IsOfTheWholeStudyAndNotOfTheStage) {
  RemainingTime time({{0, 100}, {0, 100}, {0, 300}});
  time.begin_stage(10);
  EXPECT_TRUE(std::isnan(time.left_s(10, 0)));
  EXPECT_DOUBLE_EQ(time.left_s(12, 0.2), 8 + 10 + 30);
  time.begin_stage(22);  // two seconds of scoring count with the stage before
  EXPECT_DOUBLE_EQ(time.left_s(22, 0), 12 + 36);
  time.begin_stage(34);
  EXPECT_DOUBLE_EQ(time.left_s(70, 1), 0);
}

TEST(RemainingTime, GivesEveryModelThePaceItHad) {
  RemainingTime time({{0, 10}, {1, 10}, {0, 10}, {1, 10}});
  time.begin_stage(0);
  time.begin_stage(10);  // the first model: a second for a row
  EXPECT_DOUBLE_EQ(time.left_s(10, 0), 30) << "the second is not known yet";
  EXPECT_DOUBLE_EQ(time.left_s(60, 0.5), 50 + 10 + 100);
}

TEST(RemainingTime, KnowsTheStageAloneWithoutAPlan) {
  RemainingTime time;
  time.begin_stage(0);
  EXPECT_DOUBLE_EQ(time.left_s(6, 0.75), 2);
}

}  // namespace
}  // namespace idem
