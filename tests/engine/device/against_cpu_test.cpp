// Trainings on a GPU, real or emulated, against the same on the CPU.
#include "tests/support/device_under_test.h"
#include "tests/support/small_cebra.h"
#include "tests/support/small_fleet.h"
#include "tests/support/small_gcl.h"

namespace idem {
namespace {

using namespace small_fleet;

void expect_weights_agree(const NamedTensors& got, const NamedTensors& want, double tolerance) {
  ASSERT_EQ(got.size(), want.size());
  for (const auto& [name, tensor] : want) {
    const auto& values = got.at(name).values;
    double worst = 0;
    for (std::size_t i = 0; i < tensor.values.size(); ++i) {
      const double off = std::abs(values[i] - tensor.values[i]);
      worst = off <= worst ? worst : off;
    }
    EXPECT_TRUE(worst <= tolerance) << name << " differs by " << worst;
  }
}

// Float32 rounds differently on both; 40 Adam steps later the weights, which have then moved by some 0.05, must still
// agree to 1 % of that.
void expect_training_agrees(const ModelDesign& model, const FleetData& data,
                            ConvolutionMethod convolutions = ConvolutionMethod::gemm,
                            const TrainingPlan& training = plan(), std::int32_t n_members = 3) {
  const auto plans = members(n_members, data.n_rows);
  const auto gpu =
      train(*make_device(IDEM_TEST_DEVICE, 2, ProductPrecision::fp32, convolutions), model, training, data, plans);
  const auto cpu = train(*make_cpu_device(2), model, training, data, plans);
  ASSERT_EQ(gpu.epochs.size(), cpu.epochs.size());
  for (std::size_t member = 0; member < plans.size(); ++member) {
    EXPECT_EQ(gpu.results[member].best_epoch, cpu.results[member].best_epoch);
    EXPECT_EQ(gpu.results[member].nonfinite_steps, 0u);
    SCOPED_TRACE(testing::Message() << "member " << member);
    expect_weights_agree(gpu.weights[member], cpu.weights[member], 5e-4);
    for (std::size_t epoch = 0; epoch < cpu.epochs.size(); ++epoch) {
      const auto &got = gpu.epochs[epoch][member], &want = cpu.epochs[epoch][member];
      for (const auto part :
           {&LossParts::loss, &LossParts::kl_encoder, &LossParts::kl_posterior, &LossParts::skew, &LossParts::alpha}) {
        if (part == &LossParts::kl_encoder && model.encoder_sees_labels) {  // there is none
          EXPECT_TRUE(std::isnan(got.train.*part) && std::isnan(want.train.*part));
          continue;
        }
        EXPECT_TRUE(std::abs(got.train.*part - want.train.*part) <= 1e-3 * (1 + std::abs(want.train.*part))) << epoch;
        EXPECT_TRUE(std::abs(got.valid.*part - want.valid.*part) <= 1e-3 * (1 + std::abs(want.valid.*part))) << epoch;
      }
    }
  }
}

class TrainingOnAGpu : public testing::TestWithParam<Objective> {};

TEST_P(TrainingOnAGpu, AgreesWithTheCpuAfterFourEpochs) { expect_training_agrees(design(GetParam()), track(21, 400)); }

INSTANTIATE_TEST_SUITE_P(, TrainingOnAGpu, kObjectives,
                         [](const auto& parameter) { return test_name(parameter.param); });

TEST(GpuTraining, OfTemporalConvolutionsAgreesWithTheCpuAfterFourEpochs) {
  expect_training_agrees(convolution_design(10), windowed_track(21, 400, 10));
}

TEST(GpuTraining, OfTemporalConvolutionsByCudnnAgreesWithTheCpuAfterFourEpochs) {
  if (const auto reason = why_no_cudnn(); !reason.empty()) GTEST_SKIP() << reason;
  auto model = convolution_design(10);
  model.channels = 16;
  expect_training_agrees(model, windowed_track(21, 400, 10), ConvolutionMethod::cudnn);
}

TEST(GpuTraining, OfEncodersOfLabelsAgreesWithTheCpuAfterFourEpochs) {
  expect_training_agrees(joined_encoder_design(), track(21, 400));
}

TEST(GpuTraining, OfEveryOtherPriorAndOfALearnedVarianceAgreesWithTheCpu) {
  auto training = plan();
  training.epochs = 2;
  for (const PriorKind kind :
       {PriorKind::shared_mlp, PriorKind::embedding, PriorKind::standard_normal, PriorKind::global}) {
    SCOPED_TRACE(to_string(kind));
    const bool is_of_labels = kind == PriorKind::shared_mlp || kind == PriorKind::embedding;
    auto model = design(is_of_labels ? Objective::ivae : Objective::encoder_elbo);
    model.encoder_kind = EncoderKind::separate_mlps;
    model.prior_kind = kind;
    model.observation = Observation::gaussian_learned;
    model.output = OutputMap::identity;
    auto data = track(21, 200);
    if (kind == PriorKind::embedding) {  // one category in place of the position and two
      model.n_labels = 2;
      std::vector<float> directions;
      for (std::size_t row = 0; row < 200; ++row)
        directions.insert(directions.end(), {data.labels[3 * row + 1], data.labels[3 * row + 2]});
      data.labels = directions;
    } else if (!is_of_labels) {
      model.n_labels = 0;
      data.labels.clear();
    } else {
      model.decoder_kind = DecoderKind::gin;
      model.flow = {.width = 8, .permutations = {{}, {}}};
      for (std::int32_t output = 0; output < 21; ++output)
        for (auto& permutation : model.flow.permutations) permutation.push_back(output * 5 % 21);
    }
    expect_training_agrees(model, data, ConvolutionMethod::gemm, training, 2);
  }
}

TEST(GpuTraining, OfGclAgreesWithTheCpu) {
  const auto data = track(21, 200);
  const auto plans = members(2, 200);
  const auto gpu = small_gcl::train(*device_under_test(), small_gcl::plan(2), data, plans);
  const auto cpu = small_gcl::train(*make_cpu_device(2), small_gcl::plan(2), data, plans);
  for (std::size_t member = 0; member < plans.size(); ++member) {
    EXPECT_NEAR(gpu.epochs.back()[member].valid.loss, cpu.epochs.back()[member].valid.loss, 1e-4);
    expect_weights_agree(gpu.weights[member], cpu.weights[member], 5e-4);
  }
}

TEST(GpuTraining, OfEveryKindOfCebraAgreesWithTheCpu) {
  // Thirty steps of 0.001 move weights by up to 0.03; they must agree to a thirtieth of that.
  const auto expect_agrees = [](const CebraDesign& of, CebraPlan steps, const CebraData& data,
                                std::vector<CebraMemberPlan> plans) {
    for (auto& one : plans) one.learning_rate = 1e-3;
    const auto cpu_device = make_cpu_device(2);
    const auto gpu_device = device_under_test();
    CebraFleet gpu(*gpu_device, of, steps, data, plans), cpu(*cpu_device, of, steps, data, plans);
    const auto on_gpu = small_cebra::trained(gpu), on_cpu = small_cebra::trained(cpu);
    for (std::size_t run = 0; run < on_cpu.size(); ++run)
      EXPECT_NEAR(on_gpu[run].valid.loss, on_cpu[run].valid.loss, 1e-3);
    for (std::int32_t of_member = 0; of_member < static_cast<std::int32_t>(plans.size()); ++of_member) {
      auto got = gpu.parameters(of_member), want = cpu.parameters(of_member);
      // No distance changes when all embeddings move: that gradient is nothing but rounding, and Adam makes steps of
      // it.
      if (!of.is_normalised) got.at("encoder.3.bias").values = want.at("encoder.3.bias").values;
      expect_weights_agree(got, want, 1e-3);
    }
  };
  for (const std::int32_t window : {1, 5}) {
    for (const bool is_hybrid : {false, true}) {
      SCOPED_TRACE(testing::Message() << "window " << window << ", hybrid " << is_hybrid);
      auto of = small_cebra::design(window);
      auto steps = small_cebra::plan(30);
      of.is_normalised = window > 1;  // of one bin the other encoder
      of.similarity = of.is_normalised ? Similarity::cosine : Similarity::euclidean;
      if (is_hybrid) {
        of.n_features = 5;
        of.n_behaviour_features = 3;
        steps.prior = ContrastivePrior::leads;
      }
      expect_agrees(of, steps, small_cebra::track(), {small_cebra::member(1), small_cebra::member(2)});
    }
  }
  auto joint = small_cebra::plan(30);
  joint.n_sessions = 2;
  expect_agrees(small_cebra::design(), joint, small_cebra::two_recordings(), small_cebra::sessions_of_run(1));
}

// Networks with a layer too wide for a chain: all their layers are products.
ModelDesign rectified_wide_design() {
  auto model = design(Objective::ci_ivae_paper);
  model.encoder = {{264, 17}, Activation::relu};
  model.prior = {{264}, Activation::relu};
  model.decoder = {{16, 264}, Activation::relu};
  return model;
}

TEST(GpuTraining, OfWideNetworksTrainsEachMemberAsAloneBitForBit) {
  const auto data = track(21, 150);
  const auto plans = members(3, 150);
  for (const auto activation : {Activation::relu, Activation::gelu_tanh}) {
    auto model = rectified_wide_design();
    for (auto* hidden : {&model.encoder, &model.prior, &model.decoder}) hidden->activation = activation;
    auto training = plan();
    training.epochs = 2;
    const auto fleet = train(*device_under_test(), model, training, data, plans);
    for (const std::size_t member : {0u, 2u}) {
      const auto alone = train(*device_under_test(), model, training, data, {plans[member]});
      expect_equal(fleet.weights[member], alone.weights[0]);
      EXPECT_EQ(fleet.results[member].best_valid_loss, alone.results[0].best_valid_loss);
    }
  }
}

TEST(GpuTraining, OfRectifiedUnitsWhoseProductsAreFusedAgreesWithTheCpuAfterFourEpochs) {
  expect_training_agrees(rectified_wide_design(), track(21, 200));
}

// Layers larger than a quarter of the device's cache: their weights step during the backward pass.
TEST(GpuTraining, WithoutClippingOfLayersThatLeaveTheCacheAgreesWithTheCpu) {
  auto model = design(Objective::ci_ivae_published);
  const auto entries = static_cast<double>(device_under_test()->cache_bytes()) / sizeof(float) / 3;
  const auto width = static_cast<std::int32_t>(std::sqrt(entries)) + 17;
  model.encoder.widths = model.decoder.widths = {width, width};
  auto training = plan();
  training.clip_norm = 0;
  training.epochs = 1;
  expect_training_agrees(model, track(21, 400), ConvolutionMethod::gemm, training, 2);
}

TEST(GpuTraining, GivesTheSameBytesEveryTime) {
  const auto data = track(21, 300);
  const auto once = train(*device_under_test(), design(Objective::ci_ivae_paper), plan(), data, members(2, 300));
  const auto again = train(*device_under_test(), design(Objective::ci_ivae_paper), plan(), data, members(2, 300));
  for (std::size_t member = 0; member < 2; ++member) expect_equal(once.weights[member], again.weights[member]);
}

TEST(GpuTraining, ThatDoesNotFitSaysWhatItNeedsAndWhatToLower) {
  auto large = design(Objective::ivae, 21);
  large.decoder.widths = {60000, 60000};
  try {
    Fleet(*device_under_test(), large, plan(), track(21, 100), members(8, 100));
    FAIL() << "460 GB of weights were accepted";
  } catch (const DeviceError& error) {
    const std::string message = error.what();
    for (const char* part :
         {"out of GPU memory", "MiB more were asked for", "MiB are free", "lower training.batch", "8 runs", "in all"})
      EXPECT_NE(message.find(part), std::string::npos) << message;
  }
}

}  // namespace
}  // namespace idem
