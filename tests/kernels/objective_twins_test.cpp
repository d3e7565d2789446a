#include "kernels/objective/objective.h"
#include "tests/emulation/twin_check.h"
#include "kernels/common/to_size.h"

namespace idem {
namespace {

template <class Run>
void run_reconstruction(Run& run, Observation observation, OutputMap output, std::int64_t n_rows,
                        std::int64_t n_target_rows, std::int32_t n_neurons, bool mean_over_neurons) {
  using Real = typename Run::Scalar;
  Reconstruction<Real> p;
  p.fleet = run.fleet();
  p.n_rows = n_rows;
  p.n_target_rows = n_target_rows;
  p.n_neurons = n_neurons;
  p.observation = observation;
  p.output = output;
  p.mean_over_neurons = mean_over_neurons;
  p.gaussian_variance = Real(0.75f);
  p.pre = run.input_rows("pre", n_rows, n_neurons, normal_values(2));
  p.target = run.input_rows("target", n_target_rows, n_neurons, count_values(1.5));
  p.loss = run.output("loss", n_rows);
  p.loss_stride = n_rows;
  p.d_pre = run.output_rows("d_pre", n_rows, n_neurons);
  if (observation == Observation::gaussian_learned) {
    p.log_variance = run.input_rows("log_variance", 1, n_neurons);
    p.d_log_variance_rows = run.output_rows("d_log_variance_rows", n_rows, n_neurons);
  }
  reconstruction(run.execution(), p);
}

TEST(ReconstructionTwins, AgreeForEveryObservationOfEveryOutput) {
  for (const Observation observation :
       {Observation::squared_error, Observation::gaussian_fixed, Observation::gaussian_learned, Observation::poisson}) {
    for (const OutputMap output :
         {OutputMap::identity, OutputMap::softplus, OutputMap::sigmoid, OutputMap::exponential}) {
      if (observation == Observation::poisson && output == OutputMap::identity) continue;
      SCOPED_TRACE(testing::Message() << "observation " << static_cast<int>(observation) << " of output "
                                      << static_cast<int>(output));
      check_twins(TwinFleet::several(),
                  [&](auto& run) { run_reconstruction(run, observation, output, 10, 5, 37, true); });
    }
  }
}

TEST(ReconstructionTwins, AgreeOnEverySize) {
  for (const std::int64_t n_target_rows : kHardSizes) {
    for (const std::int32_t n_neurons : {1, 33, 120}) {
      SCOPED_TRACE(testing::Message() << n_target_rows << " targets of " << n_neurons);
      check_twins(TwinFleet::several(), [&](auto& run) {
        run_reconstruction(run, Observation::poisson, OutputMap::softplus, 2 * n_target_rows, n_target_rows, n_neurons,
                           false);
      });
    }
  }
}

TEST(ReconstructionTwins, BothRefusePoissonOfTheIdentity) {
  Reconstruction<float> p;
  p.output = OutputMap::identity;
  EXPECT_THROW(reconstruction_cuda(p, nullptr), std::invalid_argument);
}

std::vector<float> alpha_grid(int n_steps, bool with_ends) {
  std::vector<float> grid;
  for (int i = with_ends ? 0 : 1; i <= (with_ends ? n_steps : n_steps - 1); ++i)
    grid.push_back(static_cast<float>(i) / static_cast<float>(n_steps));
  return grid;
}

template <class Run>
void run_bound(Run& run, SkewTerm skew_term, std::int64_t batch, std::int32_t n_latents, std::int32_t n_samples,
               const std::vector<float>& alphas, float spread = 1, const ValueSource& loss = normal_values(),
               const ValueSource& scale = uniform_values(0.1f, 1)) {
  using Real = typename Run::Scalar;
  CiIvaeBound<Real> p;
  p.fleet = run.fleet();
  p.batch = static_cast<std::int32_t>(batch);
  p.n_latents = n_latents;
  p.n_samples = n_samples;
  p.n_alphas = static_cast<std::int32_t>(alphas.size());
  p.skew_term = skew_term;
  p.mean = run.input_rows("mean", batch, n_latents, normal_values(spread));
  p.log_var = run.input_rows("log_var", batch, n_latents, normal_values(spread));
  p.prior_mean = run.input_rows("prior_mean", batch, n_latents, normal_values(spread));
  p.prior_log_var = run.input_rows("prior_log_var", batch, n_latents, normal_values(spread));
  if (skew_term != SkewTerm::none)
    p.noise = run.input_rows("noise", batch, static_cast<std::int64_t>(n_latents) * n_samples);
  p.alphas = run.shared_input("alphas", p.n_alphas,
                              [next = std::size_t{0}, &alphas](std::mt19937_64&) mutable { return alphas[next++]; });
  p.loss_posterior = run.input("loss_posterior", batch, loss);
  p.loss_encoder = run.input("loss_encoder", batch, loss);
  p.row_weight = run.input("row_weight", batch, uniform_values(0, 1));
  p.row_scalar_stride = batch;
  p.kl_scale = run.input("kl_scale", 1, scale);
  p.skew_scale = run.input("skew_scale", 1, scale);
  p.loss = run.output("loss", batch);
  p.kl_encoder = run.output("kl_encoder", batch);
  p.kl_posterior = run.output("kl_posterior", batch);
  p.skew = run.output("skew", batch);
  p.alpha = run.output("alpha", batch);
  p.alpha_index =
      run.in_out_array("alpha_index", batch, std::vector<std::int32_t>(to_size(run.n_members() * batch), -1));
  p.weight_posterior = run.output("weight_posterior", batch);
  p.weight_encoder = run.output("weight_encoder", batch);
  p.d_mean = run.output_rows("d_mean", batch, n_latents);
  p.d_log_var = run.output_rows("d_log_var", batch, n_latents);
  p.d_prior_mean = run.output_rows("d_prior_mean", batch, n_latents);
  p.d_prior_log_var = run.output_rows("d_prior_log_var", batch, n_latents);
  p.loss_grid = run.output_rows("loss_grid", batch, p.n_alphas);
  ci_ivae_bound(run.execution(), p);
}

TEST(CiIvaeBoundTwins, AgreeForEverySkewTermAndShape) {
  struct Shape {
    std::int32_t latents, samples;
    std::vector<float> alphas;
  };
  const std::vector<Shape> shapes = {{1, 1, {0.25f}},
                                     {2, 50, alpha_grid(40, false)},
                                     {2, 33, alpha_grid(40, true)},
                                     {5, 7, alpha_grid(100, true)},
                                     {17, 64, alpha_grid(4, true)},
                                     {2, 3, {0}},
                                     {2, 3, {1}}};
  for (const SkewTerm term : {SkewTerm::none, SkewTerm::paper, SkewTerm::published}) {
    for (const Shape& shape : shapes) {
      SCOPED_TRACE(testing::Message() << "term " << static_cast<int>(term) << ", " << shape.latents << " latents, "
                                      << shape.samples << " draws, " << shape.alphas.size() << " alphas");
      check_twins(TwinFleet::several(),
                  [&](auto& run) { run_bound(run, term, 9, shape.latents, shape.samples, shape.alphas); });
    }
  }
}

TEST(CiIvaeBoundTwins, AgreeOnEverySize) {
  for (const std::int64_t batch : kHardSizes) {
    SCOPED_TRACE(testing::Message() << batch << " rows");
    check_twins(TwinFleet::several(),
                [&](auto& run) { run_bound(run, SkewTerm::paper, batch, 2, 10, alpha_grid(10, true)); });
  }
}

TEST(CiIvaeBoundTwins, AgreeWhereLogRatiosReachHundreds) {
  check_twins(TwinFleet::single(),
              [&](auto& run) { run_bound(run, SkewTerm::published, 61, 4, 20, alpha_grid(40, false), 2.5f); });
}

TEST(CiIvaeBoundTwins, AgreeThatTiesGoToTheLowestIndex) {
  const ValueSource zero = [](std::mt19937_64&) { return 0.0f; };
  check_twins(TwinFleet::single(),
              [&](auto& run) { run_bound(run, SkewTerm::none, 3, 2, 1, alpha_grid(70, true), 1, zero, zero); });
}

TEST(EpochSumsTwins, AgreeOnEverySize) {
  const ValueSource few_values = [](std::mt19937_64& random) {
    return static_cast<float>(random() % 3);
  };  // to be counted
  for (const std::int64_t batch : kHardSizes) {
    SCOPED_TRACE(testing::Message() << batch << " rows");
    check_twins(TwinFleet::several(), [&](auto& run) {
      using Real = typename std::decay_t<decltype(run)>::Scalar;
      EpochSums<Real> p;
      p.fleet = run.fleet();
      p.batch = static_cast<std::int32_t>(batch);
      p.n_columns = EpochSums<Real>::kMaxColumns;
      p.row_weight = run.input("row_weight", batch, uniform_values(-0.5f, 1));
      p.row_scalar_stride = batch;
      for (std::int32_t column = 0; column < p.n_columns; ++column) {
        if (column != 5)
          p.columns[column].values =
              run.input("column " + std::to_string(column), batch, column == 3 ? few_values : uniform_values(-2, 2));
      }
      p.columns[3] = {p.columns[3].values, true, 1};
      p.sums = run.in_out("sums", p.n_columns);
      epoch_sums(run.execution(), p);
    });
  }
}

}  // namespace
}  // namespace idem
