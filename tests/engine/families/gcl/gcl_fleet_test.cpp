#include <cmath>

#include "tests/support/device_under_test.h"
#include "tests/support/small_gcl.h"
#include "kernels/common/to_size.h"

namespace idem {
namespace {

using small_fleet::members;
using small_fleet::track;
using namespace small_gcl;

TEST(GclFleet, TrainsEachMemberAsAloneBitForBitForOneAndTwoThreads) {
  const auto data = track(21, 400);
  const auto plans = members(4, 400);
  const auto fleet = train(*device_under_test(2), plan(3), data, plans);
  for (const std::size_t member : {0u, 3u}) {
    const auto alone = train(*device_under_test(1), plan(3), data, {plans[member]});
    small_fleet::expect_equal(fleet.weights[member], alone.weights[0]);
    EXPECT_EQ(fleet.results[member].best_valid_loss, alone.results[0].best_valid_loss);
  }
  for (const auto& epoch : fleet.epochs) EXPECT_TRUE(std::isfinite(epoch[1].valid.loss));
}

TEST(GclFleet, LearnsToTellTrueFromShuffledLabelsAndNothingWhereTheyAreUnrelated) {
  auto data = track(21, 1000);
  auto plans = members(1, 1000);
  plans[0].learning_rate = 5e-3;
  const auto device = device_under_test(2);
  const auto told = train(*device, plan(15), data, plans);
  EXPECT_LT(told.results[0].best_valid_loss, 0.5);  // ln 2 = 0.69 for one that guesses
  EXPECT_GT(told.epochs.back()[0].valid.accuracy, 0.75);
  EXPECT_EQ(told.results[0].nonfinite_steps, 0u);

  // Labels that know nothing of the spikes.
  for (std::size_t i = 0; i < data.labels.size(); ++i)
    data.labels[i] = static_cast<float>(std::sin(12.9898 * static_cast<double>(i * i + 1)));
  const auto unrelated = train(*device, plan(3), data, plans);
  EXPECT_NEAR(unrelated.epochs[0][0].valid.accuracy, 0.5, 0.1);
  EXPECT_GT(unrelated.results[0].best_valid_loss, 0.65);
}

TEST(GclFleet, StopsOutOfPatienceAndKeepsItsBestWeights) {
  auto patient = plan(40);
  patient.patience = 2;
  auto plans = members(1, 300);
  plans[0].learning_rate = 0.05;
  const auto trained = train(*device_under_test(2), patient, track(21, 300), plans);
  EXPECT_TRUE(trained.results[0].finished && !trained.results[0].failed);
  EXPECT_EQ(trained.results[0].epochs, std::min(40, trained.results[0].best_epoch + 2));
  EXPECT_EQ(trained.epochs[to_size(trained.results[0].best_epoch - 1)][0].valid.loss,
            trained.results[0].best_valid_loss);
}

TEST(GclFleet, LatentsOfARowDependOnItsSpikesAloneAndNeedNoLabels) {
  const auto device = device_under_test(2);
  auto data = track(21, 600);
  GclFleet fleet(*device, design(), plan(1), data, members(1, 600));
  fleet.train([](auto) { return true; });
  const auto weights = fleet.parameters(0);
  data.labels.clear();
  const auto before = gcl_latents(*device, design(), weights, data);
  ASSERT_EQ(before.size(), 1200u);
  for (std::size_t neuron = 0; neuron < 21; ++neuron) data.inputs[550 * 21 + neuron] += 2;
  const auto after = gcl_latents(*device, design(), weights, data);
  for (std::size_t row = 0; row < 600; ++row) EXPECT_EQ(after[2 * row] != before[2 * row], row == 550) << row;
}

TEST(GclFleet, RefusesPlansThatCannotBe) {
  const auto device = device_under_test(1);
  const auto data = track(21, 100);
  const auto refuses = [&](const TrainingPlan& of, const std::vector<MemberPlan>& plans) {
    EXPECT_THROW(GclFleet(*device, design(), of, data, plans), std::invalid_argument);
  };
  auto in_order = plan(1), noisy = plan(1), single = plan(1);
  in_order.shuffle = false;
  noisy.input_noise = 0.1;
  single.batch = 1;
  for (const auto& of : {in_order, noisy, single}) refuses(of, members(1, 100));
  refuses(plan(1), members(1, 101));
  refuses(plan(1), {});
}

}  // namespace
}  // namespace idem
