#include "kernels/decode/decode.h"
#include "tests/emulation/twin_check.h"

namespace idem {
namespace {

TEST(NaturalParametersTwins, AgreeForEveryObservationAndOutput) {
  for (const Observation observation :
       {Observation::squared_error, Observation::gaussian_fixed, Observation::gaussian_learned, Observation::poisson}) {
    for (const OutputMap output :
         {OutputMap::identity, OutputMap::softplus, OutputMap::sigmoid, OutputMap::exponential}) {
      if (observation == Observation::poisson && output == OutputMap::identity) continue;
      for (const std::int32_t n_outputs : {33, 300}) {
        SCOPED_TRACE(testing::Message() << static_cast<int>(observation) << ", " << static_cast<int>(output) << ", "
                                        << n_outputs);
        check_twins(TwinFleet::several(), [&](auto& run) {
          NaturalParameters<typename std::decay_t<decltype(run)>::Scalar> p;
          p.fleet = run.fleet();
          p.n_rows = 5;
          p.n_outputs = n_outputs;
          p.observation = observation;
          p.output = output;
          p.gaussian_variance = 0.25f;
          p.pre = run.input_rows("pre", p.n_rows, n_outputs, normal_values(3));
          p.log_variance = run.input_rows("log_variance", 1, n_outputs);
          p.natural = run.output_rows("natural", p.n_rows, n_outputs);
          p.offset = run.output("offset", p.n_rows);
          p.offset_stride = p.n_rows;
          natural_parameters(run.execution(), p);
        });
      }
    }
  }
}

TEST(LogMeanExpTwins, AgreeOnEverySize) {
  for (const std::int64_t n_rows : {0, 1, 19}) {
    for (const std::int32_t n_draws : {1, 31, 33, 300}) {
      SCOPED_TRACE(testing::Message() << n_rows << " rows, " << n_draws << " draws");
      check_twins(TwinFleet::several(), [&](auto& run) {
        LogMeanExp<typename std::decay_t<decltype(run)>::Scalar> p;
        p.fleet = run.fleet();
        p.n_rows = n_rows;
        p.n_groups = 3;
        p.n_draws = n_draws;
        p.score = run.input_rows("score", n_rows, 3 * n_draws, normal_values(40, -300));
        p.offset = run.input("offset", 3 * n_draws, normal_values(5));
        p.offset_stride = 3 * n_draws;
        p.value = run.output_rows("value", n_rows, 3);
        log_mean_exp(run.execution(), p);
      });
    }
  }
}

}  // namespace
}  // namespace idem
