// A member alone against the same member in the last slot of a fleet, by bytes: kernels are launched otherwise for one
// member than for many. On a GPU 132 members at the sizes that are benched, elsewhere fewer and smaller.
#include "tests/support/device_under_test.h"
#include "tests/support/small_cebra.h"
#include "tests/support/small_fleet.h"

namespace idem {
namespace {

using namespace small_fleet;

constexpr bool kLarge = IDEM_TEST_MEMBERS > 100;
constexpr std::size_t kMembers = IDEM_TEST_MEMBERS, kLast = kMembers - 1;

ModelDesign pi_vae(std::int32_t n_neurons) {
  ModelDesign model{.n_neurons = n_neurons, .n_labels = 3, .n_latents = 2};
  model.encoder_kind = EncoderKind::separate_mlps;
  model.encoder = {{60, 60}, Activation::tanh, 0};
  model.prior_kind = PriorKind::shared_mlp;
  model.prior = {{20, 20}, Activation::tanh, 0};
  model.decoder_kind = DecoderKind::gin;
  model.flow = {.width = 30, .permutations = {{}, {}}};
  for (std::int32_t neuron = 0; neuron < n_neurons; ++neuron) {
    model.flow.permutations[0].push_back((neuron * 7) % n_neurons);
    model.flow.permutations[1].push_back(n_neurons - 1 - neuron);
  }
  model.objective = Objective::ivae;
  model.alphas = {0};
  return model;
}

std::vector<MemberPlan> plans_of(std::int32_t n_rows) {
  std::vector<MemberPlan> plans(kMembers, MemberPlan{.name = "run", .seed = 0, .train_rows = {}, .valid_rows = {}});
  for (std::size_t member = 0; member < kMembers; ++member) {
    plans[member].seed = 100 + member;
    for (std::int32_t row = 0; row < n_rows; ++row)
      (row % 8 == static_cast<std::int32_t>(member % 8) ? plans[member].valid_rows : plans[member].train_rows)
          .push_back(row);
  }
  return plans;
}

TEST(FleetSlot, APiVaeAloneIsByteForByteThatInTheLastSlot) {
  const std::int32_t n_neurons = kLarge ? 120 : 22, n_rows = kLarge ? 2400 : 90;  // ten steps an epoch
  const auto data = track(n_neurons, n_rows);
  auto training = plan();
  training.epochs = 2;
  training.batch = kLarge ? 200 : 32;
  const auto plans = plans_of(n_rows);
  const auto fleet = train(*device_under_test(2), pi_vae(n_neurons), training, data, plans);
  const auto alone = train(*device_under_test(1), pi_vae(n_neurons), training, data, {plans[kLast]});
  expect_equal(fleet.weights[kLast], alone.weights[0]);
  EXPECT_EQ(fleet.epochs.back()[kLast].valid.loss, alone.epochs.back()[0].valid.loss);
  EXPECT_NE(fleet.weights[0].at("encoder.mean.0.weight").values,
            fleet.weights[kLast].at("encoder.mean.0.weight").values);
}

TEST(FleetSlot, ACebraAloneIsByteForByteThatInTheLastSlot) {
  using namespace small_cebra;
  const auto device = device_under_test();
  const auto data = small_cebra::track(kLarge ? 4200 : 160);
  auto model = small_cebra::design(10);
  if (kLarge) model.width = 32;
  std::vector<CebraMemberPlan> plans;
  for (std::size_t slot = 0; slot < kMembers; ++slot) plans.push_back(small_cebra::member(100 + slot));
  auto steps = small_cebra::plan(kLarge ? 20 : 3, kLarge ? 512 : 32);
  steps.kept_valid_batches = 2;
  CebraFleet many(*device, model, steps, data, plans), alone(*device, model, steps, data, {plans[kLast]});
  const auto of_many = trained(many), of_one = trained(alone);
  EXPECT_EQ(weights(many, static_cast<std::int32_t>(kLast)), weights(alone, 0));
  EXPECT_EQ(of_many[kLast].valid.loss, of_one[0].valid.loss);
  EXPECT_NE(weights(many, 0), weights(alone, 0));
}

}  // namespace
}  // namespace idem
