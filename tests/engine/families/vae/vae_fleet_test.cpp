#include "engine/families/vae/vae_fleet.h"

#include <algorithm>

#include "tests/support/device_under_test.h"
#include "tests/support/small_fleet.h"
#include "kernels/common/to_size.h"

namespace idem {
namespace {

using namespace small_fleet;

class EveryObjective : public testing::TestWithParam<Objective> {};

TEST_P(EveryObjective, AMemberAloneEqualsTheSameMemberInAFleetOfEightBitForBitForOneAndTwoThreads) {
  const auto data = track(21, 400);
  const auto plans = members(8, 400);
  const auto one_thread = device_under_test(1), two_threads = device_under_test(2);
  const auto fleet = train(*two_threads, design(GetParam()), plan(), data, plans);
  for (const std::size_t member : {0u, 3u, 7u}) {
    const auto alone = train(*one_thread, design(GetParam()), plan(), data, {plans[member]});
    expect_equal(fleet.weights[member], alone.weights[0]);
    EXPECT_EQ(fleet.results[member].best_valid_loss, alone.results[0].best_valid_loss);
    for (std::size_t epoch = 0; epoch < fleet.epochs.size(); ++epoch)
      EXPECT_EQ(fleet.epochs[epoch][member].train.loss, alone.epochs[epoch][0].train.loss);
  }
}

TEST_P(EveryObjective, LowersTheValidationLossAndReportsOnlyTheTermsItComputes) {
  const auto data = track(21, 600);
  const auto device = device_under_test(2);
  auto training = plan();
  training.epochs = 12;
  const auto trained = train(*device, design(GetParam()), training, data, members(2, 600));
  for (std::size_t member = 0; member < 2; ++member) {
    EXPECT_LT(trained.results[member].best_valid_loss, trained.epochs[0][member].valid.loss - 0.5);
    EXPECT_EQ(trained.results[member].nonfinite_steps, 0u);
    const auto& last = trained.epochs.back()[member].valid;
    EXPECT_EQ(std::isnan(last.reconstruction_encoder), GetParam() == Objective::ivae);
    EXPECT_EQ(std::isnan(last.reconstruction_posterior), GetParam() == Objective::encoder_elbo);
    EXPECT_TRUE(last.alpha >= 0 && last.alpha <= 1);
    EXPECT_TRUE(last.alpha_one_fraction <= last.alpha && last.alpha <= 1 - last.alpha_zero_fraction);
    // A grid of one value holds one of them at most.
    EXPECT_TRUE(GetParam() != Objective::encoder_elbo ||
                (last.alpha_one_fraction == 1 && last.alpha_zero_fraction == 0));
    EXPECT_TRUE(GetParam() != Objective::ivae || (last.alpha_one_fraction == 0 && last.alpha_zero_fraction == 1));
    EXPECT_TRUE(GetParam() != Objective::ci_ivae_fixed ||
                (last.alpha_one_fraction == 0 && last.alpha_zero_fraction == 0));
  }
}

TEST(Fleet, OfAGridThatStopsShortOfItsEndsTellsNoShareOfThem) {
  const auto data = track(21, 300);
  auto model = design(Objective::ci_ivae_paper);
  model.alphas = {0.25, 0.75};
  const auto trained = train(*device_under_test(1), model, plan(), data, members(1, 300));
  for (const auto& records : trained.epochs)
    for (const auto* parts : {&records[0].train, &records[0].valid}) {
      EXPECT_TRUE(parts->alpha >= 0.25 && parts->alpha <= 0.75);
      EXPECT_TRUE(parts->alpha_zero_fraction == 0 && parts->alpha_one_fraction == 0);
    }
}

INSTANTIATE_TEST_SUITE_P(, EveryObjective, kObjectives,
                         [](const auto& parameter) { return test_name(parameter.param); });

TEST(Fleet, WithoutClippingTrainsEachMemberAsAloneBitForBit) {
  const auto data = track(21, 300);
  const auto plans = members(3, 300);
  auto training = plan();
  training.clip_norm = 0;
  const auto fleet = train(*device_under_test(2), design(Objective::ci_ivae_published), training, data, plans);
  const auto alone = train(*device_under_test(1), design(Objective::ci_ivae_published), training, data, {plans[2]});
  expect_equal(fleet.weights[2], alone.weights[0]);
  EXPECT_EQ(fleet.results[2].nonfinite_steps, 0u);
}

TEST(Fleet, WidthsThatAreSplitIntoRowBlocksGiveTheSameBytesForAnyNumberOfThreads) {
  auto wide = design(Objective::ci_ivae_paper, 40);
  wide.encoder.widths = {700};
  wide.decoder.widths = {700};
  auto training = plan();
  training.batch = 150;
  training.epochs = 2;
  const auto data = track(40, 400);
  const auto one = train(*device_under_test(1), wide, training, data, members(1, 400));
  const auto three = train(*device_under_test(3), wide, training, data, members(1, 400));
  expect_equal(one.weights[0], three.weights[0]);
}

TEST(Fleet, OfTemporalConvolutionsTrainsEachMemberAsAloneBitForBitForOneAndTwoThreads) {
  const auto data = windowed_track(21, 200, 10);
  const auto plans = members(3, 200);
  const auto model = convolution_design(10);
  const auto fleet = train(*device_under_test(2), model, plan(), data, plans);
  for (const std::size_t member : {0u, 2u}) {
    const auto alone = train(*device_under_test(1), model, plan(), data, {plans[member]});
    expect_equal(fleet.weights[member], alone.weights[0]);
    EXPECT_EQ(fleet.results[member].best_valid_loss, alone.results[0].best_valid_loss);
  }
  EXPECT_LT(fleet.epochs.back()[0].valid.loss, fleet.epochs.front()[0].valid.loss);
}

TEST(Fleet, OfFlowsOverWholeWindowsTrainsEachMemberAsAloneBitForBit) {
  const auto data = windowed_track(21, 400, 6);
  auto model = convolution_design(6);
  model.objective = Objective::ivae;
  model.alphas = {0};
  model.prior_kind = PriorKind::shared_mlp;
  model.decoder_kind = DecoderKind::gin;
  model.decodes_window = true;
  model.flow = {.width = 12, .permutations = {{}, {}}};
  for (std::int32_t j = 0; j < 126; ++j) {
    model.flow.permutations[0].push_back((j * 11) % 126);
    model.flow.permutations[1].push_back(125 - j);
  }
  const auto plans = members(3, 400);
  const auto fleet = train(*device_under_test(2), model, plan(), data, plans);
  const auto alone = train(*device_under_test(1), model, plan(), data, {plans[2]});
  expect_equal(fleet.weights[2], alone.weights[0]);
  EXPECT_LT(fleet.epochs.back()[0].valid.loss, fleet.epochs.front()[0].valid.loss);
  // A mean over six bins; as a sum the KL terms weigh less beside it.
  const double mean = fleet.results[0].initial_valid_loss;
  model.mean_over_window = false;
  EXPECT_GT(train(*device_under_test(2), model, plan(), data, {plans[0]}).results[0].initial_valid_loss, 4 * mean);
}

TEST(Fleet, OfRowsWhoseDecoderExplainsTheirWindowsTrainsEachMemberAsAloneAndReadsNoMore) {
  auto model = design(Objective::ci_ivae_paper);
  model.window = 6;
  model.decodes_window = true;
  const auto data = windowed_track(21, 200, 6);
  const auto plans = members(3, 200);
  const auto fleet = train(*device_under_test(2), model, plan(), data, plans);
  const auto alone = train(*device_under_test(1), model, plan(), data, {plans[2]});
  expect_equal(fleet.weights[2], alone.weights[0]);
  EXPECT_LT(fleet.epochs.back()[0].valid.loss, fleet.epochs.front()[0].valid.loss);

  auto one = plans[0];
  one.valid_rows = {50};
  auto training = plan();
  training.epochs = 1;
  const auto loss = [&](const FleetData& of) {
    return train(*device_under_test(2), model, training, of, {one}).results[0].initial_valid_loss;
  };
  const double want = loss(data);
  for (const std::size_t bin : {46u, 47u, 49u, 50u, 52u, 53u}) {
    auto other_target = data, other_input = data;
    other_target.targets[bin * 21] += 1;
    other_input.inputs[bin * 21] += 1;
    EXPECT_EQ(loss(other_target) != want, bin >= 47 && bin <= 52) << bin;
    EXPECT_EQ(loss(other_input) != want, bin == 50) << bin;
  }
}

TEST(Fleet, OfEncodersOfLabelsTrainsEachMemberAsAloneBitForBitAndHasNoLabelFreeTerms) {
  const auto data = track(21, 400);
  const auto plans = members(3, 400);
  auto training = plan();
  training.epochs = 12;
  const auto model = joined_encoder_design();
  const auto fleet = train(*device_under_test(2), model, training, data, plans);
  for (const std::size_t member : {0u, 2u}) {
    const auto alone = train(*device_under_test(1), model, training, data, {plans[member]});
    expect_equal(fleet.weights[member], alone.weights[0]);
    EXPECT_EQ(fleet.results[member].best_valid_loss, alone.results[0].best_valid_loss);
    EXPECT_LT(fleet.results[member].best_valid_loss, fleet.results[member].initial_valid_loss - 0.5);
    EXPECT_EQ(fleet.results[member].nonfinite_steps, 0u);
    for (const auto* parts : {&fleet.epochs.back()[member].train, &fleet.epochs.back()[member].valid}) {
      EXPECT_TRUE(std::isnan(parts->kl_encoder) && std::isnan(parts->reconstruction_encoder));
      EXPECT_NEAR(parts->loss, parts->reconstruction_posterior + plans[member].beta * parts->kl_posterior,
                  1e-5 * parts->loss);
      EXPECT_GT(parts->kl_posterior, 0);
      EXPECT_TRUE(parts->alpha == 0 && parts->alpha_zero_fraction == 1);
    }
  }
}

TEST(Fleet, OfRecordingsThatShareAPriorTrainsEachRunAsAloneBitForBitForOneAndTwoThreads) {
  for (const auto objective : {Objective::ci_ivae_paper, Objective::ivae}) {
    const JointTrack joint(objective);
    const auto plans = joint.members(3);
    auto training = plan();
    training.epochs = 20;
    const auto fleet = train(*device_under_test(2), joint.sessions(), training, plans);
    const auto alone = train(*device_under_test(1), joint.sessions(), training, {plans[4], plans[5]});
    for (const std::size_t place : {0u, 1u}) {
      expect_equal(fleet.weights[4 + place], alone.weights[place]);
      EXPECT_EQ(fleet.results[4 + place].best_valid_loss, alone.results[place].best_valid_loss);
      EXPECT_LT(fleet.epochs.back()[place].valid.loss, fleet.results[place].initial_valid_loss - 0.5);
      EXPECT_TRUE(fleet.results[place].finished && !fleet.results[place].failed);
    }
    std::size_t n_shared = 0;
    for (const auto& [name, tensor] : fleet.weights[0]) {
      if (name.rfind("prior.", 0) != 0) continue;
      ++n_shared;
      EXPECT_EQ(tensor.values, fleet.weights[1].at(name).values) << name;
      EXPECT_NE(tensor.values, fleet.weights[2].at(name).values) << name;
    }
    EXPECT_EQ(n_shared, 8u);
    EXPECT_EQ(fleet.results[2].best_epoch, fleet.results[3].best_epoch);
    EXPECT_NE(fleet.weights[0].at("encoder.mean.weight").values, fleet.weights[1].at("encoder.mean.weight").values);
  }
}

TEST(Fleet, OfRecordingsThatShareAPriorFindsOneSpaceAndFleetsAloneDoNot) {
  const JointTrack joint(Objective::encoder_elbo, 400);
  auto training = plan();
  training.epochs = 150;
  const auto device = device_under_test(2);
  auto plans = joint.members(1);
  for (auto& member : plans) member.learning_rate = 5e-3;
  // Mean squared distance of the recordings' latents in rows of like labels, in variances of the first one's.
  const auto distance = [](const std::vector<float>& a, const std::vector<float>& b) {
    double sum = 0, squares = 0, apart = 0;
    for (std::size_t i = 0; i < a.size(); ++i)
      sum += a[i], squares += a[i] * a[i], apart += (a[i] - b[i]) * (a[i] - b[i]);
    return apart / (squares - sum * sum / static_cast<double>(a.size()));
  };
  Fleet fleet(*device, joint.sessions(), training, plans);
  fleet.train([](auto) { return true; });
  EXPECT_LT(distance(fleet.latents(0).encoder_mean, fleet.latents(1).encoder_mean), 0.5);
  std::vector<std::vector<float>> alone;
  for (const std::size_t place : {0u, 1u}) {
    Fleet one(*device, joint.designs[place], training, joint.data[place], {plans[place]});
    one.train([](auto) { return true; });
    alone.push_back(one.latents(0).encoder_mean);
  }
  EXPECT_GT(distance(alone[0], alone[1]), 1);
}

// The other recording's further batches move the prior and that recording's own networks, nothing else.
TEST(Fleet, LetsARecordingWhoseRowsAreDoneSitOutTheRestOfTheEpoch) {
  auto training = plan();
  training.epochs = 1;
  training.shuffle = false;
  const JointTrack joint(Objective::ivae);
  auto longer = joint.members(1), shorter = longer;
  ASSERT_EQ(longer[0].train_rows.size(), 72u);  // three batches, the last one of 8 rows
  shorter[1].train_rows.resize(96);             // as many
  ASSERT_GT(longer[1].train_rows.size(), 96u);
  const auto a = train(*device_under_test(2), joint.sessions(), training, longer);
  const auto b = train(*device_under_test(2), joint.sessions(), training, shorter);
  for (const auto& [name, tensor] : a.weights[0])
    if (name.rfind("prior.", 0) == 0)
      EXPECT_NE(tensor.values, b.weights[0].at(name).values) << name;
    else
      EXPECT_EQ(tensor.values, b.weights[0].at(name).values) << name;
  EXPECT_NE(a.weights[1].at("encoder.mean.weight").values, b.weights[1].at("encoder.mean.weight").values);
}

TEST(Fleet, RefusesRecordingsThatCannotShareAPrior) {
  JointTrack joint(Objective::ivae);
  EXPECT_THROW(Fleet(*device_under_test(), joint.sessions(), plan(), {joint.members(1)[0]}), std::invalid_argument);
  joint.designs[1].n_latents = 3;
  EXPECT_THROW(Fleet(*device_under_test(), joint.sessions(), plan(), joint.members(1)), std::invalid_argument);
  JointTrack blind(Objective::encoder_elbo);
  for (std::size_t i = 0; i < 2; ++i) {
    blind.designs[i].prior_kind = PriorKind::standard_normal;
    blind.designs[i].n_labels = 0;
    blind.data[i].labels.clear();
  }
  EXPECT_THROW(Fleet(*device_under_test(), blind.sessions(), plan(), blind.members(1)), std::invalid_argument);
}

TEST(Fleet, LetsTheKlTermsGrowToTheirWeightInTrainingAndNeverInValidation) {
  auto growing = plan();
  growing.epochs = 8;
  growing.beta_warmup = 0.5;
  std::vector<double> factors;
  for (std::int32_t epoch = 0; epoch < 5; ++epoch) factors.push_back(growing.beta_factor_at(epoch));
  EXPECT_EQ(factors, (std::vector<double>{0.25, 0.5, 0.75, 1, 1}));

  const auto device = device_under_test(2);
  const auto data = track(21, 400);
  auto whole = members(1, 400), quarter = whole;
  quarter[0].beta = whole[0].beta / 4;
  auto steady = growing;
  steady.beta_warmup = 0;
  const auto model = design(Objective::ci_ivae_paper);
  const auto with = train(*device, model, growing, data, whole).epochs[0][0],
             without = train(*device, model, steady, data, quarter).epochs[0][0];
  EXPECT_EQ(with.train.loss, without.train.loss);
  EXPECT_EQ(with.train.kl_encoder, without.train.kl_encoder);
  EXPECT_EQ(with.valid.kl_encoder, without.valid.kl_encoder);
  EXPECT_GT(with.valid.loss, without.valid.loss);
}

TEST(Fleet, WithoutValidationRowsDoesNotPreferTheEpochsWhoseKlTermsWeighedLess) {
  auto growing = plan();
  growing.epochs = 4;
  growing.beta_warmup = 1;
  auto alone = members(1, 400);
  alone[0].beta = 50;
  alone[0].learning_rate = 1e-6;
  alone[0].valid_rows.clear();
  const auto trained = train(*device_under_test(2), design(Objective::encoder_elbo), growing, track(21, 400), alone);
  EXPECT_GT(trained.epochs[3][0].train.loss, trained.epochs[0][0].train.loss);
  EXPECT_EQ(trained.results[0].best_epoch, 4);
}

TEST(Fleet, RefusesWindowsThatLeaveTheDataOrAreMissing) {
  const auto device = device_under_test(1);
  auto data = windowed_track(21, 100, 10);
  data.window_begin[50] = 91;
  EXPECT_THROW(Fleet(*device, convolution_design(10), plan(), data, members(1, 100)), std::invalid_argument);
  data.window_begin.clear();
  EXPECT_THROW(Fleet(*device, convolution_design(10), plan(), data, members(1, 100)), std::invalid_argument);
  EXPECT_THROW(infer_latents(*device, convolution_design(10), {}, data), std::invalid_argument);
  auto training = plan();
  training.noisy_target = true;
  EXPECT_THROW(Fleet(*device, convolution_design(10), training, windowed_track(21, 100, 10), members(1, 100)),
               std::invalid_argument);
}

TEST(InferLatents, OfAWindowDependOnEveryBinOfItAndOnNoOther) {
  const auto device = device_under_test(1);
  const auto model = convolution_design(10);
  auto data = windowed_track(21, 700, 10);
  auto training = plan();
  training.epochs = 1;
  Fleet fleet(*device, model, training, data, members(1, 700));
  fleet.train([](auto) { return true; });
  const auto weights = fleet.parameters(0);
  const auto before = fleet.latents(0).encoder_mean;
  for (std::size_t neuron = 0; neuron < 21; ++neuron) data.inputs[300 * 21 + neuron] += 3;
  const auto after = infer_latents(*device, model, weights, data).encoder_mean;
  for (std::size_t row = 0; row < 700; ++row)  // the window of row t: t - 5 ... t + 4
    EXPECT_EQ(after[2 * row] != before[2 * row], row >= 296 && row <= 305) << row;
}

TEST(Fleet, AMemberOutOfPatienceStopsAndKeepsItsBestWeights) {
  const auto data = track(21, 300);
  auto training = plan();
  training.epochs = 30;
  training.patience = 1;
  auto plans = members(2, 300);
  plans[0].learning_rate = 0.5;  // diverges: no epoch is better for long
  const auto device = device_under_test(1);
  const auto trained = train(*device, design(Objective::encoder_elbo), training, data, plans);
  EXPECT_LT(trained.results[0].epochs, 30);
  EXPECT_TRUE(trained.results[0].finished);
  EXPECT_EQ(trained.results[0].epochs, trained.results[0].best_epoch + 1);
  EXPECT_GE(trained.results[1].epochs, trained.results[0].epochs);
  for (std::size_t epoch = 0; epoch < trained.epochs.size(); ++epoch)
    EXPECT_EQ(trained.epochs[epoch][0].is_running, static_cast<int>(epoch) < trained.results[0].epochs) << epoch;
}

TEST(Fleet, ANonFiniteBatchIsSkippedAndCountedAndLeavesTheOtherMembersAlone) {
  auto data = track(21, 300);
  auto plans = members(2, 300);
  const auto device = device_under_test(2);
  const auto clean = train(*device, design(Objective::encoder_elbo), plan(), data, plans);
  std::int32_t only_first = -1;  // a row that member 0 trains on and member 1 never sees
  for (const auto row : plans[0].train_rows)
    if (std::find(plans[1].valid_rows.begin(), plans[1].valid_rows.end(), row) == plans[1].valid_rows.end() &&
        std::find(plans[1].train_rows.begin(), plans[1].train_rows.end(), row) == plans[1].train_rows.end())
      only_first = row;
  ASSERT_GE(only_first, 0);
  data.inputs[to_size(only_first * 21)] = INFINITY;
  const auto trained = train(*device, design(Objective::encoder_elbo), plan(), data, plans);
  EXPECT_EQ(trained.results[0].nonfinite_steps, 4u);  // once an epoch
  EXPECT_EQ(trained.results[1].nonfinite_steps, 0u);
  expect_equal(trained.weights[1], clean.weights[1]);
  for (const auto& [name, tensor] : trained.weights[0])
    for (const double value : tensor.values) ASSERT_TRUE(std::isfinite(value)) << name;
}

TEST(Fleet, AMemberWithoutAFiniteLossHasFailedWhicheverWeightsAreKeptAndTellsNoAlpha) {
  const auto data = track(21, 300);
  for (const bool keep_best : {true, false}) {
    auto training = plan();
    training.keep_best = keep_best;
    auto plans = members(2, 300);
    plans[0].learning_rate = 1e12;
    const auto device = device_under_test(1);
    const auto trained = train(*device, design(Objective::ci_ivae_paper), training, data, plans);
    EXPECT_TRUE(trained.results[0].failed && trained.results[0].finished);
    EXPECT_EQ(trained.results[0].best_epoch, 0);
    EXPECT_TRUE(std::isfinite(trained.results[0].initial_valid_loss));
    EXPECT_FALSE(trained.results[1].failed);
    EXPECT_LT(trained.results[1].kept_valid_loss, trained.results[1].initial_valid_loss);
    for (const auto& records : trained.epochs) {
      EXPECT_FALSE(records[0].is_best || std::isfinite(records[0].valid.loss));
      EXPECT_TRUE(std::isnan(records[0].valid.alpha) && std::isnan(records[0].valid.alpha_one_fraction));
      EXPECT_TRUE(std::isfinite(records[1].valid.alpha_one_fraction));
    }
  }
}

TEST(Fleet, StopsWhenTheCallbackSaysSoAndSaysItIsNotFinished) {
  const auto device = device_under_test(1);
  Fleet fleet(*device, design(Objective::ivae), plan(), track(21, 200), members(1, 200));
  int epochs = 0;
  fleet.train([&](auto) { return ++epochs < 2; });
  EXPECT_EQ(epochs, 2);
  EXPECT_FALSE(fleet.result(0).finished);
}

TEST(Fleet, EstimatesItsMemoryBeforeItAllocates) {
  const auto data = track(21, 200);
  const auto needs = [&](std::int32_t n) {
    return measure_memory(
        [&](Device& counting) { Fleet(counting, design(Objective::ivae), plan(), data, members(n, 200)); });
  };
  const auto one = needs(1), eight = needs(8);
  EXPECT_GT(one, 200u * 21 * 4 * 2);
  EXPECT_GT(eight, 4 * one);
  EXPECT_LT(eight, 8 * one);
}

TEST(Fleet, RefusesPlansThatCannotBe) {
  const auto device = device_under_test(1);
  const auto data = track(21, 100);
  auto plans = members(1, 100);
  plans[0].train_rows.push_back(100);
  EXPECT_THROW(Fleet(*device, design(Objective::ivae), plan(), data, plans), std::invalid_argument);
  plans[0].train_rows.clear();
  EXPECT_THROW(Fleet(*device, design(Objective::ivae), plan(), data, plans), std::invalid_argument);
  EXPECT_THROW(Fleet(*device, design(Objective::ivae), plan(), data, {}), std::invalid_argument);
}

TEST(InferLatents, AreTheSameForOneRowAsForAllAndNeedNoLabelsForTheEncoder) {
  const auto device = device_under_test(2);
  const auto data = track(21, 1100);
  Fleet fleet(*device, design(Objective::ci_ivae_paper), plan(), data, members(1, 1100));
  fleet.train([](auto) { return true; });
  const auto all = fleet.latents(0);
  ASSERT_EQ(all.encoder_mean.size(), 2200u);
  FleetData one{.n_rows = 1,
                .inputs = {data.inputs.begin() + 700 * 21, data.inputs.begin() + 701 * 21},
                .targets = {},
                .labels = {}};
  const auto single = infer_latents(*device, design(Objective::ci_ivae_paper), fleet.parameters(0), one);
  // Not bit for bit: the matrix library may sum a row in another order at another place of the batch.
  EXPECT_NEAR(single.encoder_mean[0], all.encoder_mean[1400], 1e-5 * (1 + std::abs(all.encoder_mean[1400])));
  EXPECT_TRUE(single.posterior_mean.empty());
}

TEST(InferLatents, OfAnEncoderOfLabelsAreThePosteriorAloneAndNeedLabels) {
  const auto device = device_under_test(2);
  auto data = track(21, 600);
  const auto model = joined_encoder_design();
  Fleet fleet(*device, model, plan(), data, members(1, 600));
  fleet.train([](auto) { return true; });
  const auto all = fleet.latents(0);
  EXPECT_TRUE(all.encoder_mean.empty() && all.encoder_log_var.empty());
  for (const auto* values : {&all.posterior_mean, &all.posterior_log_var, &all.prior_mean, &all.prior_log_var})
    EXPECT_EQ(values->size(), 1200u);
  const auto weights = fleet.parameters(0);
  data.labels[3 * 550] += 0.5f;
  const auto moved = infer_latents(*device, model, weights, data);
  for (std::size_t row = 0; row < 600; ++row)
    EXPECT_EQ(moved.posterior_mean[2 * row] != all.posterior_mean[2 * row], row == 550) << row;
  data.labels.clear();
  EXPECT_THROW(infer_latents(*device, model, weights, data), std::invalid_argument);
}

TEST(LearningRateSchedule, ReallySteps) {
  LearningRateSchedule steps{.kind = ScheduleKind::multi_step, .milestones = {2, 4}, .factor = 0.5};
  EXPECT_EQ(steps.at(0, 10), 1);
  EXPECT_EQ(steps.at(2, 10), 0.5);
  EXPECT_EQ(steps.at(9, 10), 0.25);
  LearningRateSchedule cosine{.kind = ScheduleKind::cosine, .warmup_epochs = 2, .final_fraction = 0.1};
  EXPECT_NEAR(cosine.at(0, 11), 1.0 / 3, 1e-12);
  EXPECT_NEAR(cosine.at(2, 11), 1, 1e-12);
  EXPECT_NEAR(cosine.at(6, 11), 0.55, 1e-12);
  EXPECT_NEAR(cosine.at(10, 11), 0.1, 1e-12);
}

TEST(Design, NamesGoBothWays) {
  for (const auto objective : {Objective::encoder_elbo, Objective::ivae, Objective::ci_ivae_paper,
                               Objective::ci_ivae_published, Objective::ci_ivae_fixed})
    EXPECT_EQ(enum_from<Objective>(to_string(objective)), objective);
  for (const auto kind : {EncoderKind::mlp, EncoderKind::separate_mlps, EncoderKind::temporal_convolution})
    EXPECT_EQ(enum_from<EncoderKind>(to_string(kind)), kind);
  for (const auto kind : {PriorKind::separate_mlps, PriorKind::shared_mlp, PriorKind::embedding,
                          PriorKind::standard_normal, PriorKind::global})
    EXPECT_EQ(enum_from<PriorKind>(to_string(kind)), kind);
  for (const auto kind : {DecoderKind::mlp, DecoderKind::gin}) EXPECT_EQ(enum_from<DecoderKind>(to_string(kind)), kind);
  EXPECT_THROW(enum_from<EncoderKind>("cnn"), std::invalid_argument);
  EXPECT_THROW(enum_from<Objective>("ci-ivae"), std::invalid_argument);
}

}  // namespace
}  // namespace idem
