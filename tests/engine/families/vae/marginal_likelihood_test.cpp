#include "engine/families/vae/marginal_likelihood.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <limits>
#include <numeric>
#include <random>

#include "tests/support/device_under_test.h"
#include "engine/families/vae/ci_ivae.h"
#include "engine/families/vae/decoder.h"
#include "engine/families/vae/vae_fleet.h"
#include "kernels/common/to_size.h"
#include "kernels/decode/decode.h"
#include "kernels/sampling/sampling.h"

namespace idem {
namespace {

ModelDesign poisson_design() {
  ModelDesign design;
  design.n_neurons = 7;
  design.n_labels = 2;
  design.n_latents = 2;
  design.encoder = design.prior = design.decoder = {.widths = {5}};
  design.alphas = {1};
  return design;
}
ModelDesign window_flow_design() {
  ModelDesign design = poisson_design();
  design.encoder_kind = EncoderKind::temporal_convolution;
  design.window = 4;
  design.channels = 3;
  design.decodes_window = true;
  design.decoder_kind = DecoderKind::gin;
  design.flow.width = 6;
  design.flow.permutations.assign(1, std::vector<std::int32_t>(28));
  for (std::int32_t i = 0; i < 28; ++i) design.flow.permutations[0][to_size(i)] = (5 * i + 3) % 28;
  return design;
}

FleetData some_data(const ModelDesign& design, std::int64_t n_rows) {
  std::mt19937_64 random(5);
  FleetData data;
  data.n_rows = n_rows;
  for (std::int64_t i = 0; i < n_rows * design.n_neurons; ++i) data.inputs.push_back(static_cast<float>(random() % 4));
  data.targets = data.inputs;
  for (std::int64_t i = 0; i < n_rows * design.n_labels; ++i)
    data.labels.push_back(static_cast<float>(random() % 100) / 50 - 1);
  for (std::int64_t row = 0; design.window > 1 && row < n_rows; ++row)
    data.window_begin.push_back(
        static_cast<std::int32_t>(std::clamp<std::int64_t>(row - 2, 0, n_rows - design.window)));
  return data;
}

NamedTensors some_parameters(Device& device, const ModelDesign& design, const FleetData& data) {
  std::vector<std::int32_t> all(to_size(data.n_rows));
  std::iota(all.begin(), all.end(), 0);
  TrainingPlan plan;
  plan.batch = 16;
  plan.epochs = 1;
  Fleet fleet(device, design, plan, data,
              {{.name = "a", .seed = 9, .learning_rate = 0.02, .train_rows = all, .valid_rows = {}}});
  fleet.train([](auto) { return true; });
  NamedTensors parameters = fleet.parameters(0);
  if (design.observation == Observation::gaussian_learned) {
    auto& log_variance = parameters.at("observation.log_variance").values;
    for (std::size_t i = 0; i < log_variance.size(); ++i) log_variance[i] = 0.25 * static_cast<double>(i) - 1;
  }
  return parameters;
}

// One output after the other, in double, without any product: log p(x|z) but for terms of x.
double log_likelihood(const ModelDesign& design, const NamedTensors& parameters, const double* pre,
                      const std::vector<double>& x) {
  double sum = 0;
  for (std::size_t i = 0; i < x.size(); ++i) {
    const double mean = design.output == OutputMap::softplus ? std::log1p(std::exp(pre[i])) : pre[i];
    if (design.observation == Observation::poisson) {
      sum += x[i] * std::log(mean) - mean;
      continue;
    }
    const double variance = design.observation == Observation::gaussian_fixed ? design.gaussian_variance
                            : design.observation == Observation::squared_error
                                ? 0.5
                                : std::exp(parameters.at("observation.log_variance").values[i]);
    sum += (x[i] * x[i] - (x[i] - mean) * (x[i] - mean)) / (2 * variance);
  }
  return sum;
}

void expect_direct_estimate(const ModelDesign& design, std::int32_t n_draws) {
  const auto device = device_under_test();
  const FleetData data = some_data(design, 23);
  const NamedTensors parameters = some_parameters(*device, design, data);
  const std::vector<std::int32_t> rows = {22, 0, 5, 5, 17};
  LabelCandidates candidates{.n_candidates = 3, .labels = {}, .n_draws = n_draws, .seed = 4};
  for (int i = 0; i < 3 * design.n_labels; ++i) candidates.labels.push_back(0.4f * static_cast<float>(i) - 1);
  const auto found = marginal_log_likelihoods(*device, design, parameters, data, rows, candidates);
  ASSERT_EQ(found.size(), rows.size() * 3);

  FleetData grid = data;
  std::copy(candidates.labels.begin(), candidates.labels.end(), grid.labels.begin());
  const LatentTable prior = infer_latents(*device, design, parameters, grid);
  const std::uint32_t step = 0;
  const std::int64_t n_latents = design.n_latents;
  std::vector<float> noise(to_size(3 * n_draws * n_latents));
  ThreadPool pool(1);
  draw_normals_cpu(DrawNormals<float>{.n_rows = 3 * n_draws,
                                      .n_cols = design.n_latents,
                                      .stream = RandomStream::decoding_draws,
                                      .seed = &candidates.seed,
                                      .step = &step,
                                      .out = {noise.data(), 0, n_latents}},
                   pool);

  const auto cpu = make_cpu_device(1);
  ParameterLayout layout;
  const auto decoder = make_decoder<double>(layout, design);
  Parameters<double> weights(*cpu, layout, 1, false);
  weights.set(0, parameters);
  decoder->plan(*cpu, 1, 3 * n_draws);
  const Activations<double> z(*cpu, 1, 3 * n_draws, n_latents);
  for (std::int64_t draw = 0; draw < 3 * n_draws; ++draw)
    for (std::int64_t latent = 0; latent < n_latents; ++latent) {
      const auto at = to_size(draw / n_draws * n_latents + latent), drawn = to_size(draw * n_latents + latent);
      const double sd = std::exp(0.5 * static_cast<double>(prior.prior_log_var[at]));
      z.rows().row(0, draw)[latent] =
          static_cast<double>(prior.prior_mean[at]) + sd * static_cast<double>(noise[drawn]);
    }
  decoder->forward(*cpu, weights, {}, z);
  for (std::size_t row = 0; row < rows.size(); ++row) {
    std::vector<double> x;
    const std::int64_t first = design.window > 1 ? data.window_begin[to_size(rows[row])] : rows[row];
    for (std::int64_t i = first * design.n_neurons; i < first * design.n_neurons + design.n_outputs(); ++i)
      x.push_back(static_cast<double>(data.targets[to_size(i)]));
    for (std::int64_t candidate = 0; candidate < 3; ++candidate) {
      double mean = 0;
      for (std::int64_t draw = 0; draw < n_draws; ++draw)
        mean += std::exp(log_likelihood(design, parameters, decoder->value().row(0, candidate * n_draws + draw), x)) /
                n_draws;
      const double value = static_cast<double>(found[row * 3 + to_size(candidate)]);
      EXPECT_TRUE(std::abs(value - std::log(mean)) <= 2e-4)
          << "row " << row << ", candidate " << candidate << ": " << value;
    }
  }
}

TEST(MarginalLikelihood, IsTheMeanOverDrawsOfTheLikelihoodOfEveryOutput) {
  expect_direct_estimate(poisson_design(), 50);
  expect_direct_estimate(poisson_design(), 1);
  for (const Observation observation :
       {Observation::squared_error, Observation::gaussian_fixed, Observation::gaussian_learned}) {
    ModelDesign design = poisson_design();
    design.observation = observation;
    design.output = OutputMap::identity;
    design.gaussian_variance = 0.5;
    expect_direct_estimate(design, 20);
  }
}

TEST(MarginalLikelihood, OfAnEncoderOfLabelsIsThatOfThePriorAndTheDecoder) {
  ModelDesign design = poisson_design();
  design.encoder_sees_labels = true;
  design.objective = Objective::ivae;
  design.alphas = {0};
  expect_direct_estimate(design, 20);
}

TEST(MarginalLikelihood, OfAWindowIsThatOfAllItsBins) {
  expect_direct_estimate(window_flow_design(), 30);
  ModelDesign design = poisson_design();  // whose encoder sees rows
  design.window = 4;
  design.decodes_window = true;
  expect_direct_estimate(design, 30);
}

// x = z + noise in every latent, z around (u, u, ...): log p(x|u) but for a term of x alone is that of a Gaussian.
TEST(MarginalLikelihood, OfSharedNodesComesToThatInClosedForm) {
  const auto device = device_under_test();
  const double prior_variance = 1, noise_variance = 0.04;
  for (const std::int32_t n_latents : {1, 2, 3}) {
    SCOPED_TRACE(testing::Message() << n_latents << " latents");
    ModelDesign design;
    design.n_neurons = design.n_latents = n_latents;
    design.n_labels = 1;
    design.encoder = {.widths = {2}};
    design.observation = Observation::gaussian_fixed;
    design.output = OutputMap::identity;
    design.gaussian_variance = noise_variance;
    design.alphas = {1};
    NamedTensors parameters = CiIvae<float>(*device, design, 1, 1, false, {1}).parameters().get(0);
    for (auto& [name, tensor] : parameters)
      for (std::size_t i = 0; i < tensor.values.size(); ++i) {
        const bool is_weight = tensor.shape.size() == 2, is_diagonal = i % (to_size(n_latents) + 1) == 0;
        tensor.values[i] =
            is_weight && (name.starts_with("prior.mean") || (name.starts_with("decoder") && is_diagonal)) ? 1 : 0;
      }
    FleetData data;
    data.n_rows = 4;
    const double x[4][3] = {{0.2, -0.1, 0.4}, {0.6, 0.3, 0.5}, {-0.7, 0.6, -0.3}, {0.1, -0.5, -0.4}};
    for (const auto& row : x) data.targets.insert(data.targets.end(), row, row + n_latents);
    data.inputs = data.targets;
    LabelCandidates candidates{.n_candidates = 5, .labels = {-0.8f, -0.4f, 0, 0.4f, 0.8f}, .n_draws = 100, .seed = 3};
    const auto largest_error = [&](std::size_t n_blocks) {
      const auto found = marginal_log_likelihoods(*device, design, parameters, data, {0, 1, 2, 3}, candidates);
      double largest = 0;
      for (std::size_t row = 0; row < 4; ++row)
        for (std::size_t block = 0; block < n_blocks; ++block)
          for (std::size_t candidate = 1; candidate < 5; ++candidate) {
            const auto exact = [&](double u) {
              double square = 0;
              for (std::int32_t i = 0; i < n_latents; ++i) square += (x[row][i] - u) * (x[row][i] - u);
              return -0.5 * square / (prior_variance + noise_variance);
            };
            const auto estimated = [&](std::size_t of) {
              return static_cast<double>(found[(row * 5 + of) * n_blocks + block]);
            };
            const double u = static_cast<double>(candidates.labels[candidate]),
                         difference = exact(u) - exact(static_cast<double>(candidates.labels[0]));
            largest = std::max(largest, std::abs(estimated(candidate) - estimated(0) - difference));
          }
      return largest;
    };
    EXPECT_GT(largest_error(1), 0.3);
    candidates.nodes = lattice_nodes(n_latents, n_latents == 3 ? 12800 : 1600);
    EXPECT_LT(largest_error(2), 0.02);
    candidates.nodes = drawn_nodes(n_latents, 102400, 3);
    EXPECT_LT(largest_error(4), 1);
  }
}

TEST(MarginalLikelihood, NodesWeighOneAndAreSpreadAsTheNormalDistribution) {
  for (const std::int32_t n_latents : {1, 2, 3})
    for (const std::int32_t n_nodes : {100, 3200}) {
      const PriorNodes nodes = lattice_nodes(n_latents, n_nodes);
      ASSERT_EQ(nodes.values.size(), nodes.log_weights.size() * to_size(n_latents));
      EXPECT_NEAR(static_cast<double>(nodes.log_weights.size()), n_nodes, 0.35 * n_nodes);
      const std::size_t per_block = nodes.log_weights.size() / 2;
      for (std::size_t block = 0; block < 2; ++block) {
        double sum = 0, squares = 0;
        for (std::size_t i = block * per_block; i < (block + 1) * per_block; ++i) {
          const double weight = std::exp(static_cast<double>(nodes.log_weights[i])),
                       value = static_cast<double>(nodes.values[i * to_size(n_latents)]);
          sum += weight;
          squares += weight * value * value;
        }
        EXPECT_NEAR(sum, 1, 1e-5);
        EXPECT_NEAR(squares, 1, n_nodes > 100 ? 0.03 : 0.3) << n_latents << " latents, " << n_nodes << " nodes";
      }
    }
  // More draws are the first ones and others: what was a block of the few is in the same block of the many.
  const PriorNodes few = drawn_nodes(5, 40, 7), many = drawn_nodes(5, 80, 7);
  for (std::size_t block = 0; block < 4; ++block)
    EXPECT_TRUE(std::equal(few.values.begin() + static_cast<std::ptrdiff_t>(50 * block),
                           few.values.begin() + static_cast<std::ptrdiff_t>(50 * (block + 1)),
                           many.values.begin() + static_cast<std::ptrdiff_t>(100 * block)));
  EXPECT_THROW(lattice_nodes(4, 100), std::invalid_argument);
  EXPECT_THROW(drawn_nodes(4, 3, 1), std::invalid_argument);
}

TEST(MarginalLikelihood, DecodesInChunksAsAtOnce) {
  const auto device = device_under_test();
  const ModelDesign design = poisson_design();
  const FleetData data = some_data(design, 1100);  // more rows than are scored at a time
  const NamedTensors parameters = some_parameters(*device, design, some_data(design, 40));
  std::vector<std::int32_t> rows(1100);
  std::iota(rows.begin(), rows.end(), 0);
  LabelCandidates candidates{.n_candidates = 5, .labels = {}, .n_draws = 1500, .seed = 4};  // two candidates at a time
  for (int i = 0; i < 10; ++i) candidates.labels.push_back(0.2f * static_cast<float>(i) - 1);
  const auto all = marginal_log_likelihoods(*device, design, parameters, data, rows, candidates);
  const auto last = marginal_log_likelihoods(*device, design, parameters, data, {1099}, candidates);
  for (std::size_t candidate = 0; candidate < 5; ++candidate)
    EXPECT_NEAR(all[1099 * 5 + candidate], last[candidate], 1e-4);
  EXPECT_TRUE(marginal_log_likelihoods(*device, design, parameters, data, {}, candidates).empty());
  EXPECT_THROW(marginal_log_likelihoods(*device, design, parameters, data, rows, {}), std::invalid_argument);
}

TEST(LogMeanExp, IsMinusInfinityWhereEveryDrawIsAndNaNWhereOneIs) {
  constexpr float inf = std::numeric_limits<float>::infinity(), nan = std::numeric_limits<float>::quiet_NaN();
  const auto device = device_under_test(1);
  const Activations<float> score(*device, 1, 5, 3), value(*device, 1, 5, 1);
  std::vector<float> scores(score.memory().size());
  const float rows[5][3] = {{-inf, -inf, -inf}, {nan, nan, nan}, {-inf, nan, -inf}, {1, nan, 2}, {1, -inf, 1}};
  for (std::size_t row = 0; row < 5; ++row)
    std::copy_n(rows[row], 3, scores.begin() + static_cast<std::ptrdiff_t>(row) * score.rows().row_stride);
  score.memory().upload(scores);
  const Array<float> offset(*device, std::vector<float>(3, 0.0f));
  log_mean_exp(device->execution(), LogMeanExp<float>{.n_rows = 5,
                                                      .n_groups = 1,
                                                      .n_draws = 3,
                                                      .score = score,
                                                      .offset = offset.data(),
                                                      .offset_stride = 3,
                                                      .value = value});
  const auto values = value.memory().download();
  const auto of_row = [&](std::int64_t row) { return values[to_size(row * value.rows().row_stride)]; };
  EXPECT_EQ(of_row(0), -inf);
  for (const std::int64_t row : {1, 2, 3}) EXPECT_TRUE(std::isnan(of_row(row))) << row;
  EXPECT_NEAR(of_row(4), 1 + std::log(2.0 / 3), 1e-6);
}

}  // namespace
}  // namespace idem
