#include "host/profile/step_samples.h"

#include <gtest/gtest.h>

namespace idem {
namespace {

StepSample sample_of(std::int64_t n_steps, double adam_s, double product_s = 0) {
  StepSample sample{.n_steps = n_steps, .seconds = 2 * (adam_s + product_s), .operations = {}};
  sample.operations["adam"] = {.part = "optimizer",
                               .seconds = adam_s,
                               .calls = n_steps,
                               .work = {10.0 * static_cast<double>(n_steps), 0},
                               .kernels = {}};
  if (product_s > 0)
    sample.operations["product"] = {
        .part = "products", .seconds = product_s, .calls = 2 * n_steps, .work = {}, .kernels = {}};
  return sample;
}

TEST(StepSamples, ArePerStepAndTheLongestOperationFirst) {
  StepSamples samples;
  samples.add(sample_of(10, 1, 3));
  samples.add(sample_of(5, 1, 2));
  const StepProfile profile = samples.profile("a");
  EXPECT_EQ(profile.n_steps, 15);
  EXPECT_EQ(profile.seconds, (std::vector<double>{0.8, 1.2}));
  ASSERT_EQ(profile.operations.size(), 2u);
  EXPECT_EQ(profile.operations[0].name, "product");
  EXPECT_EQ(profile.operations[0].calls, 2);
  EXPECT_EQ(profile.operations[1].seconds, (std::vector<double>{0.1, 0.2}));
  EXPECT_EQ(profile.operations[1].work.bytes, 10);
  EXPECT_EQ(profile.operations[1].part, "optimizer");
}

TEST(StepSamples, AnOperationThatASampleLacksTookNoTimeInIt) {
  StepSamples samples;
  samples.add(sample_of(1, 1));
  samples.add(sample_of(1, 1, 4));
  EXPECT_EQ(samples.profile("a").operations[0].seconds, (std::vector<double>{0, 4}));
}

TEST(StepSamples, OfALongTrainingAreMergedAndLoseNothing) {
  StepSamples samples;
  constexpr int kRuns = 1000;
  for (int run = 0; run < kRuns; ++run) samples.add(sample_of(2, 1));
  const StepProfile profile = samples.profile("a");
  EXPECT_EQ(profile.n_steps, 2 * kRuns);
  EXPECT_LE(profile.seconds.size(), StepSamples::kMost);
  EXPECT_GT(profile.seconds.size(), StepSamples::kMost / 2 - 2);
  for (const double seconds : profile.operations[0].seconds) EXPECT_DOUBLE_EQ(seconds, 0.5);
}

TEST(StepSamples, MayBeWhatTheCallerSays) {
  StepSamples samples;
  for (const int runs : {3, 1}) {
    samples.begin_sample();
    for (int run = 0; run < runs; ++run) samples.add(sample_of(1, 1));
  }
  EXPECT_EQ(samples.profile("a").seconds.size(), 2u);
}

TEST(StepSamples, PartsAreFoldersOfKernels) {
  EXPECT_EQ(part_of_step("/somewhere/kernels/layers/layers.h"), "layers");
  EXPECT_EQ(part_of_step("kernels/optimizer/optimizer.h"), "optimizer");
  EXPECT_EQ(part_of_step(""), "products");
}

}  // namespace
}  // namespace idem
