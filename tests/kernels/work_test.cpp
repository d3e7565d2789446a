// What operations say of their bytes and FLOPs, against closed forms.
#include <gtest/gtest.h>

#include "engine/device/device.h"
#include "kernels/contrastive/contrastive.h"
#include "kernels/decode/decode.h"
#include "kernels/input/input.h"
#include "kernels/latent/latent.h"
#include "kernels/layers/row_chain.h"
#include "kernels/limits/copy_values.h"
#include "kernels/limits/multiply_adds.h"
#include "kernels/objective/objective.h"
#include "kernels/optimizer/optimizer.h"
#include "kernels/sampling/contrastive_indices.h"
#include "kernels/sampling/sampling.h"

namespace idem {
namespace {

// Arrays that are there: no operation runs here, their addresses alone tell them apart.
float places[64];
const std::int32_t n_places = 0;  // whose address alone is used
Rows<float> array(int place, std::int64_t n_features = 16) { return {&places[place], 1 << 20, padded(n_features)}; }

void expect_work(const Work& told, double bytes, double flops) {
  EXPECT_EQ(told.bytes, bytes);
  EXPECT_EQ(told.flops, flops);
}

constexpr double kFunction = kFunctionFlops;

TEST(Work, OfACopyIsReadingAndWriting) { expect_work(work(CopyValues<float>{.n = 100}), 800, 0); }

TEST(Work, OfMultiplyAddsIsTwoForEachRound) {
  expect_work(work(MultiplyAdds<float>{.n = 100, .rounds = 5}), 800, 1000);
}

TEST(Work, OfAProductIsItsThreeMatricesOfEveryMember) {
  MatrixProduct<float> p{.fleet = {.n_members = 3}, .m = 5, .n = 7, .k = 11};
  expect_work(work(p), 3 * 4 * (55 + 77 + 35), 3 * 2 * 5 * 7 * 11);
  p.accumulate = true;
  expect_work(work(p), 3 * 4 * (55 + 77 + 70), 3 * 2 * 5 * 7 * 11);
}

TEST(Work, OfAConvolutionOverBinsIsThatOfItsProducts) {
  const BinConvolution<float> p{.fleet = {.n_members = 2}, .batch = 4, .n_bins = 9, .n_taps = 3, .n_in = 5, .n_out = 6};
  expect_work(work(p), 2 * 4 * (9 * 4 * 5 + 7 * 4 * 6 + 6 * 3 * 5), 2 * 2.0 * 7 * 4 * 3 * 5 * 6);
}

TEST(Work, CountsWhatIsDoneToAllMembersWhetherActiveOrNot) {
  const std::uint8_t active[2] = {0, 0};
  expect_work(work(AddRows<float>{.fleet = {.n_members = 2, .active = active}, .n_rows = 10, .n_features = 3}),
              2 * 3 * 30 * 4, 60);
}

TEST(Work, OfPaddedRowsIsThatOfTheirFeatures) {
  BiasActivation<float> p{
      .n_rows = 10, .n_features = 3, .activation = Activation::gelu_erf, .bias = array(0), .value = array(1)};
  expect_work(work(p), 4 * (2 * 30 + 3), 30 * (1 + kFunction));
  p.pre_activation = array(2);
  EXPECT_EQ(work(p).bytes, 4 * (3 * 30 + 3));
}

TEST(Work, OfAdamIsReadingFourAndWritingThree) {
  const Adam<float> p{.fleet = {.n_members = 2}, .n_parameters = 1000};
  EXPECT_EQ(work(p).bytes, 7 * 2000 * 4);
  EXPECT_EQ(work(GradientNorm<float>{.n_parameters = 1000}).bytes, 4004);
}

TEST(Work, OfAFilterIsItsTapsForEveryValue) {
  const TemporalFilter<float> p{.n_times = 50, .n_rows = 50, .n_neurons = 6, .n_taps = 5};
  expect_work(work(p), 4 * (2 * 300 + 5 + 100), 2 * 5 * 300);
  expect_work(work(TemporalFilterGradient<float>{.forward = p}), 4 * (2 * 300 + 5 + 100), 2 * 5 * 300);
}

TEST(Work, OfSeveralIsTheSum) {
  SeveralDraws<float> draws;
  draws.add({.n_rows = 4, .n_cols = 2});
  draws.add({.n_rows = 8, .n_cols = 3});
  expect_work(work(draws), 4 * 32, 32 * (2 * kFunction + 1));
  GatherRows<float> gather{.fleet = {.n_members = 2}, .batch = 4, .n_features = 3, .window = 5};
  SeveralGathers<float> gathers;
  gathers.add(gather);
  const std::uint64_t seed = 0;
  gather.noise.seed = &seed;
  gathers.add(gather);
  expect_work(work(gathers), 2 * 4 * (2 * 120 + 8), 120 * (2 * kFunction + 3));
}

TEST(Work, OfWeightGradientsIsThatOfEachLayer) {
  WeightGradients<float> p{.fleet = {.n_members = 2}, .n_layers = 2};
  p.layers[0] = {.n_rows = 20, .n_out = 4, .n_in = 5, .d_bias = array(0)};
  p.layers[1] = {.n_rows = 20, .tap_rows = 10, .n_out = 6, .n_in = 3, .n_taps = 2, .accumulate = true};
  expect_work(work(p), 2 * 4 * (20 * 9 + 24 + 30 * 3 + 20 * 6 + 2 * 36),
              2 * (20 * 4 * (2 * 5 + 1) + 20 * 6 * 2 * 2 * 3));
}

TEST(Work, OfANarrowConvolutionReadsTheRowsOfItsTaps) {
  NarrowConvolution<float> p{
      .fleet = {.n_members = 2}, .n_rows = 40, .tap_rows = 10, .n_in = 3, .n_out = 3, .n_taps = 3, .is_residual = true};
  p.bias = array(0);
  p.pre_activation = array(1);
  NarrowConvolutions<float> layers;
  layers.add(p);
  expect_work(work(layers), 2 * 4 * (60 * 3 + 27 + 3 + 2 * 120), 2 * 120 * (2 * 9 + 2));
  layers.add(p);  // another network's, of the same x
  expect_work(work(layers), 2 * 4 * (60 * 3 + 2 * (27 + 3 + 2 * 120)), 2 * 2 * 120 * (2 * 9 + 2));
  const auto alone = [](const NarrowConvolutionGradient<float>& layer) {
    NarrowConvolutionGradients<float> one;
    one.add(layer);
    return work(one);
  };
  NarrowConvolutionGradient<float> gradient{
      .fleet = {.n_members = 2}, .n_rows = 40, .tap_rows = 10, .n_in = 3, .n_out = 3, .n_taps = 3};
  gradient.d_x = array(2);
  expect_work(alone(gradient), 2 * 4 * (120 + 27 + 60 * 3), 2 * 120 * 2 * 9);
  gradient.d_below = array(3);
  gradient.activation_below = Activation::relu;
  expect_work(alone(gradient), 2 * 4 * (120 + 27 + 60 * 9), 2 * (120 * 2 * 9 + 180 * 2));
}

// Two layers one after the other: what the first leaves is written and not read again.
TEST(Work, OfAChainReadsNothingThatItWrote) {
  RowChain<float> p{.fleet = {.n_members = 3}, .n_rows = 10};
  p.begin_chain();
  p.add(RowOperation::layer).layer = {.n_in = 5,
                                      .n_out = 8,
                                      .activation = Activation::tanh,
                                      .x = array(0),
                                      .weight = array(1),
                                      .bias = array(2),
                                      .value = array(3),
                                      .pre_activation = {}};
  p.add(RowOperation::layer).layer = {.n_in = 8,
                                      .n_out = 4,
                                      .x = array(3),
                                      .weight = array(4),
                                      .bias = array(5),
                                      .value = array(6),
                                      .pre_activation = array(7)};
  expect_work(work(p), 3 * 4 * (50 + 40 + 8 + 80 + 32 + 4 + 40 + 40),
              3 * 10 * (8 * (10 + 1 + kFunction) + 4 * (16 + 1)));
}

TEST(Work, OfAChainBackwardWritesGradientsInPlace) {
  RowChainGradient<float> p{.n_rows = 10};
  p.begin_chain();
  p.add(RowOperation::scale).scale = {.n_features = 4, .scale = &places[40], .value = array(0)};
  p.add(RowOperation::layer).layer = {.n_in = 8, .n_out = 4, .weight = array(1), .d_value = array(0), .d_x = array(2)};
  p.add(RowOperation::layer).layer = {.n_in = 5,
                                      .n_out = 8,
                                      .activation = Activation::relu,
                                      .weight = array(3),
                                      .value = array(4),
                                      .pre_activation = {},
                                      .d_value = array(2),
                                      .d_x = {}};
  // The scale and its value twice, the first layer's weight and its input's gradient, the second one's value; that
  // gradient is written once.
  expect_work(work(p), 4 * (10 + 2 * 40 + 32 + 80 + 80), 10 * (4 + 2 * 32 + 8 * 2));
}

TEST(Work, OfAFlowIsItsCouplingsAndJoins) {
  Coupling<float> coupling{
      .n_rows = 10, .n_features = 7, .x = array(0), .raw = array(1), .log_scale = array(2), .out = array(3)};
  expect_work(work(coupling), 4 * 10 * (7 + 7 + 4 + 7), 10 * (3 * (kFunction + 2) + 4 * (kFunction + 2)));
  expect_work(work(CouplingGradient<float>{.forward = coupling}), 4 * 10 * (4 + 4 + 7 + 7 + 7),
              10 * (4 * (kFunction + 3) + 3 * 4));
  expect_work(work(JoinFeatures<float>{.n_rows = 10, .n_a = 3, .n_b = 4}), 4 * 10 * 14, 0);
  RowChain<float> p{.n_rows = 10};
  p.begin_chain();
  p.add(RowOperation::join).join = {.n_a = 3, .n_b = 4, .a = array(4), .b = array(5), .out = array(0)};
  p.add(RowOperation::coupling).coupling = coupling;
  expect_work(work(p), 4 * 10 * (14 + 7 + 4 + 7), work(coupling).flops);
}

TEST(Work, OfTheContrastiveLossIsItsPairsTwice) {
  Uniformity<float> p{
      .fleet = {.n_members = 2}, .n_references = 20, .n_negatives = 30, .n_features = 3, .mean_similarity = places};
  p.d_reference = array(0);
  expect_work(work(p), 2 * 4 * (50 * 3 + 2 * 20 + 2 * 60), 2 * 600 * (12 + kFunction));
  expect_work(work(UniformityGradient<float>{.forward = p, .d_negative = array(1)}), 2 * 4 * (50 * 3 + 20 + 2 * 90),
              2 * 600 * (12 + kFunction));
  p.d_reference = {};
  EXPECT_EQ(work(p).flops, 2 * 600 * (6 + kFunction));
  Alignment<float> alignment{.n_pairs = 20, .n_features = 3};
  expect_work(work(alignment), 4 * (2 * 60 + 20), 2 * 60);
  expect_work(work(DrawnRows<float>{.n_draws = 20, .n_features = 3}), 4 * (2 * 60 + 20), 0);
  const PlacedDraws draws{.n_lists = 2, .batch = 10, .n_places = 9, .place = &n_places};
  expect_work(work(DrawnRowsGradient<float>{.n_features = 3, .draws = draws}), 4 * (60 + 27 + 2 * (10 + 10)), 60);
  alignment.draws = draws;
  alignment.d_reference = array(0);
  expect_work(work(alignment), 4 * (3 * 9 * 3 + 20 + 2 * 20 + 2 * (10 + 10)), 6 * 60);
}

TEST(Work, OfARowsLossGrowsWithDrawsAndAlphas) {
  const auto with = [](std::int32_t n_samples, std::int32_t n_alphas) {
    return work(CiIvaeBound<float>{
        .batch = 10, .n_latents = 2, .n_samples = n_samples, .n_alphas = n_alphas, .skew_term = SkewTerm::published});
  };
  EXPECT_EQ(with(51, 39).bytes - with(50, 39).bytes, 10 * 2 * 4);
  EXPECT_EQ(with(51, 39).flops - with(50, 39).flops, 10 * (8 * 2 + 2 * kFunction + 6 * 39));
  EXPECT_EQ(with(50, 40).flops - with(50, 39).flops, 10 * (50 * 6 + 2 * kFunction + 4));
}

TEST(Work, OfAReconstructionReadsSharedTargetsOnce) {
  Reconstruction<float> p{.n_rows = 20,
                          .n_target_rows = 10,
                          .n_neurons = 6,
                          .observation = Observation::squared_error,
                          .output = OutputMap::sigmoid};
  p.d_pre = array(0);
  expect_work(work(p), 4 * (2 * 120 + 60 + 20), 120 * (kFunction + 6));
}

TEST(Work, OfLatentsCountsTheArraysThatAreThere) {
  LatentSample<float> p{.batch = 10, .n_latents = 2, .bound = LogVarBound::none};
  p.encoder_log_var = p.prior_log_var = p.z_encoder = array(0);
  p.noise_encoder = array(1);
  expect_work(work(p), 4 * 20 * (5 + 3), 20 * (3 * kFunction + 5 + kFunction + 3));
}

TEST(Work, OfIndicesAndLikelihoodsIsWhatTheyWriteAndRead) {
  EXPECT_EQ(work(ContrastiveIndices<float>{.fleet = {.n_members = 2}, .batch = 10}).bytes, 2 * 10 * 3 * 4);
  EXPECT_EQ(work(LogMeanExp<float>{.n_rows = 5, .n_groups = 3, .n_draws = 7}).bytes, 4 * (5 * 21 + 21 + 15));
}

}  // namespace
}  // namespace idem
