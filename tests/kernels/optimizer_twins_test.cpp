#include <limits>

#include "kernels/optimizer/optimizer.h"
#include "tests/emulation/twin_check.h"

namespace idem {
namespace {

TEST(GradientNormTwins, AgreeOnEverySize) {
  std::vector<std::int64_t> sizes = kHardSizes;
  sizes.insert(sizes.end(), {kNormBlock, kNormBlock + 1, 3 * kNormBlock - 5});
  for (std::int64_t n_parameters : sizes) {
    SCOPED_TRACE(testing::Message() << n_parameters << " parameters");
    check_twins(TwinFleet::several(), [&](auto& run) {
      GradientNorm<typename std::decay_t<decltype(run)>::Scalar> p;
      p.fleet = run.fleet();
      p.n_parameters = n_parameters;
      const auto gradient = run.input_rows("gradient", 1, n_parameters);
      p.gradient = gradient.data;
      p.member_stride = gradient.member_stride;
      p.partial = run.scratch("partial", gradient_norm_partials(n_parameters));
      p.norm = run.output("norm", 1);
      gradient_norm(run.execution(), p);
    });
  }
}

struct AdamCase {
  std::int64_t n_parameters = 1000;
  float coupled_decay = 0, decoupled_decay = 0, clip_norm = 0;
};
void check_adam(const AdamCase& c) {
  SCOPED_TRACE(testing::Message() << c.n_parameters << " parameters");
  const float infinity = std::numeric_limits<float>::infinity();
  check_twins({{1, 0, 1, 1}}, [&](auto& run) {
    using Real = typename std::decay_t<decltype(run)>::Scalar;
    Adam<Real> p;
    p.fleet = run.fleet();
    p.n_parameters = c.n_parameters;
    const auto parameters = run.in_out_rows("parameters", 1, c.n_parameters);
    p.parameters = parameters.data;
    p.member_stride = parameters.member_stride;
    p.moment1 = run.in_out_rows("moment1", 1, c.n_parameters, normal_values(0.1f)).data;
    p.moment2 = run.in_out_rows("moment2", 1, c.n_parameters, uniform_values(0.0f, 0.1f)).data;
    p.gradient = run.input_rows("gradient", 1, c.n_parameters).data;
    p.learning_rate = run.input("learning_rate", 1, uniform_values(1e-4f, 1e-2f));
    p.beta1 = Real(0.9f);
    p.beta2 = Real(0.999f);
    p.epsilon = Real(1e-8f);
    p.coupled_decay = Real(c.coupled_decay);
    p.decoupled_decay = Real(c.decoupled_decay);
    p.clip_norm = Real(c.clip_norm);
    std::size_t next = 0;
    const float norms[] = {3.0f, 3.0f, 0.5f, infinity};
    p.norm = run.input("norm", 1, [&](std::mt19937_64&) { return norms[next++]; });
    p.step = run.template input_array<std::uint32_t>("step", 1, {0, 5, 100000, 1});
    adam(run.execution(), p);
  });
}
TEST(AdamTwins, AgreeOnEverySize) {
  for (std::int64_t n_parameters : kHardSizes) check_adam({n_parameters, 0.0f, 0.0f, 0.0f});
  check_adam({5003, 0.0f, 0.0f, 0.0f});
}
TEST(AdamTwins, AgreeWithDecayAndClipping) {
  check_adam({300, 0.01f, 0.0f, 0.0f});
  check_adam({300, 0.0f, 0.01f, 0.0f});
  check_adam({300, 0.0f, 0.0f, 1.0f});
}

TEST(AdamTwins, AgreeWithoutANormOnWhichParametersAndMembersAreNotFinite) {
  for (std::int64_t n_parameters : {1, 33, 5003}) {
    SCOPED_TRACE(testing::Message() << n_parameters << " parameters");
    check_twins({{1, 0, 1, 1}}, [&](auto& run) {
      using Real = typename std::decay_t<decltype(run)>::Scalar;
      Adam<Real> p;
      p.fleet = run.fleet();
      p.n_parameters = n_parameters;
      const auto parameters = run.in_out_rows("parameters", 1, n_parameters);
      p.parameters = parameters.data;
      p.member_stride = parameters.member_stride;
      p.moment1 = run.in_out_rows("moment1", 1, n_parameters, normal_values(0.1f)).data;
      p.moment2 = run.in_out_rows("moment2", 1, n_parameters, uniform_values(0.0f, 0.1f)).data;
      std::int64_t next = 0;
      const float not_finite[] = {std::numeric_limits<float>::quiet_NaN(), std::numeric_limits<float>::infinity()};
      p.gradient = run.input_rows("gradient", 1, n_parameters,
                                  [&](std::mt19937_64& random) {
                                    const std::int64_t member = next / n_parameters, parameter = next++ % n_parameters;
                                    const float value = std::normal_distribution<float>()(random);
                                    return member == 2 && parameter % 29 == 0 ? not_finite[parameter % 2] : value;
                                  })
                       .data;
      p.learning_rate = run.input("learning_rate", 1, uniform_values(1e-4f, 1e-2f));
      p.nonfinite = run.template in_out_array<std::uint32_t>("nonfinite", 1, {0, 0, 0, 1});
      p.step = run.template input_array<std::uint32_t>("step", 1, {0, 5, 7, 1});
      adam(run.execution(), p);
    });
  }
}

TEST(AdvanceStepTwins, AgreeOnEveryCounter) {
  const float not_finite = std::numeric_limits<float>::quiet_NaN();
  for (bool has_position : {true, false}) {
    check_twins({{1, 0, 1, 1}}, [&](auto& run) {
      AdvanceStep<typename std::decay_t<decltype(run)>::Scalar> p;
      p.fleet = run.fleet();
      std::size_t next = 0;
      const float norms[] = {1.0f, 1.0f, not_finite, 0.0f};
      if (has_position)
        p.norm = run.input("norm", 1, [&](std::mt19937_64&) { return norms[next++]; });
      else
        p.nonfinite = run.template in_out_array<std::uint32_t>("nonfinite", 1, {0, 1, 1, 0});
      p.step = run.template in_out_array<std::uint32_t>("step", 1, {1, 2, 3, 4});
      p.skipped = run.template in_out_array<std::uint32_t>("skipped", 1, {0, 0, 0, 0});
      p.draw = run.template in_out_array<std::uint32_t>("draw", 1, {5, 6, 7, 8});
      if (has_position) p.position = run.template shared_in_out_array<std::uint32_t>("position", {2, 9});
      advance_step(run.execution(), p);
    });
  }
}

}  // namespace
}  // namespace idem
