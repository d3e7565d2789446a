#include "kernels/optimizer/optimizer.h"

#include <gtest/gtest.h>

#include <cmath>
#include <limits>
#include <random>
#include <vector>

#include "kernels/common/to_size.h"

namespace idem {
namespace {

template <class Real>
struct Training {
  std::int32_t n_members;
  std::int64_t n_parameters;
  std::vector<Real> parameters, moment1, moment2, gradient, partial, norm, learning_rate;
  std::vector<std::uint32_t> step, skipped, draw, position;
  Adam<Real> p;
  ThreadPool pool{2};

  Training(std::int32_t members, std::int64_t n)
      : n_members(members),
        n_parameters(n),
        parameters(size()),
        moment1(size()),
        moment2(size()),
        gradient(size()),
        partial(count() * to_size(gradient_norm_partials(n))),
        norm(count()),
        learning_rate(count(), Real(0.01)),
        step(count()),
        skipped(count()),
        draw(count()),
        position(2) {}
  std::size_t count() const { return to_size(n_members); }
  std::size_t size() const { return count() * to_size(n_parameters); }

  void measure() {
    GradientNorm<Real> g;
    g.fleet.n_members = n_members;
    g.n_parameters = g.member_stride = n_parameters;
    g.gradient = gradient.data();
    g.partial = partial.data();
    g.norm = norm.data();
    gradient_norm_cpu(g, pool);
  }
  void take_step() {
    measure();
    p.fleet.n_members = n_members;
    p.n_parameters = p.member_stride = n_parameters;
    p.parameters = parameters.data();
    p.moment1 = moment1.data();
    p.moment2 = moment2.data();
    p.gradient = gradient.data();
    p.learning_rate = learning_rate.data();
    p.norm = norm.data();
    p.step = step.data();
    adam_cpu(p, pool);
    AdvanceStep<Real> a;
    a.fleet.n_members = n_members;
    a.norm = norm.data();
    a.step = step.data();
    a.skipped = skipped.data();
    a.draw = draw.data();
    a.position = position.data();
    advance_step_cpu(a, pool);
  }
  void fill(unsigned seed) {
    std::mt19937 random(seed);
    std::normal_distribution<double> normal;
    for (Real& x : gradient) x = static_cast<Real>(normal(random));
  }
};

// The recurrences as Kingma & Ba print them, in torch's order of decay and clipping.
TEST(Adam, FollowsThePublishedRecurrences) {
  for (int variant = 0; variant < 4; ++variant) {
    SCOPED_TRACE(variant);
    Training<double> t(1, 50);
    t.p.coupled_decay = variant == 1 ? 0.1 : 0.0;
    t.p.decoupled_decay = variant == 2 ? 0.1 : 0.0;
    t.p.clip_norm = variant == 3 ? 2.0 : 0.0;
    std::vector<double> w(50), m(50), v(50);
    for (std::size_t i = 0; i < 50; ++i) w[i] = t.parameters[i] = 0.1 * static_cast<double>(i) - 2;
    for (int step = 1; step <= 4; ++step) {
      t.fill(static_cast<unsigned>(step));
      double norm = 0;
      for (double g : t.gradient) norm += g * g;
      norm = std::sqrt(norm);
      for (std::size_t i = 0; i < 50; ++i) {
        double g = t.gradient[i];
        if (variant == 3) g *= 2.0 / norm;
        if (variant == 1) g += 0.1 * w[i];
        if (variant == 2) w[i] -= 0.01 * 0.1 * w[i];
        m[i] = 0.9 * m[i] + 0.1 * g;
        v[i] = 0.999 * v[i] + 0.001 * g * g;
        w[i] -= 0.01 * (m[i] / (1 - std::pow(0.9, step))) / (std::sqrt(v[i] / (1 - std::pow(0.999, step))) + 1e-8);
      }
      t.take_step();
      EXPECT_TRUE(std::abs(t.norm[0] - norm) <= 1e-12 * norm);
      for (std::size_t i = 0; i < 50; ++i) {
        EXPECT_TRUE(std::abs(t.parameters[i] - w[i]) <= 1e-11)
            << "step " << step << " parameter " << i << ": " << t.parameters[i] << ", want " << w[i];
      }
    }
  }
}

TEST(Adam, FirstStepHasTheSizeOfTheLearningRate) {
  Training<float> t(1, 3);
  t.gradient = {5.0f, -1e-3f, 0.0f};
  t.take_step();
  EXPECT_NEAR(t.parameters[0], -0.01f, 1e-7f);
  EXPECT_NEAR(t.parameters[1], 0.01f, 1e-6f);
  EXPECT_EQ(t.parameters[2], 0.0f);
}

TEST(Adam, MemberWithANonFiniteGradientIsLeftUntouchedAndCounted) {
  for (float bad : {std::numeric_limits<float>::quiet_NaN(), std::numeric_limits<float>::infinity(),
                    -std::numeric_limits<float>::infinity()}) {
    Training<float> t(2, 100);
    t.fill(1);
    t.gradient[170] = bad;
    t.take_step();
    EXPECT_FALSE(std::isfinite(t.norm[1]));
    for (std::size_t i = 100; i < 200; ++i) {
      EXPECT_EQ(t.parameters[i], 0.0f);
      EXPECT_EQ(t.moment1[i], 0.0f);
      EXPECT_EQ(t.moment2[i], 0.0f);
    }
    EXPECT_NE(t.parameters[0], 0.0f);
    EXPECT_EQ(t.step, (std::vector<std::uint32_t>{1, 0}));
    EXPECT_EQ(t.skipped, (std::vector<std::uint32_t>{0, 1}));
    EXPECT_EQ(t.draw, (std::vector<std::uint32_t>{1, 1}));
    EXPECT_EQ(t.position, (std::vector<std::uint32_t>{0, 1}));
  }
}

TEST(Adam, WithoutANormLeavesOutTheParametersWhoseGradientIsNotFiniteAndCountsTheMember) {
  for (float bad : {std::numeric_limits<float>::quiet_NaN(), std::numeric_limits<float>::infinity()}) {
    Training<float> t(2, 100);
    std::vector<std::uint32_t> nonfinite(2);
    t.fill(1);
    t.gradient[170] = bad;
    t.p.fleet.n_members = 2;
    t.p.n_parameters = t.p.member_stride = 100;
    t.p.parameters = t.parameters.data();
    t.p.moment1 = t.moment1.data();
    t.p.moment2 = t.moment2.data();
    t.p.gradient = t.gradient.data();
    t.p.learning_rate = t.learning_rate.data();
    t.p.nonfinite = nonfinite.data();
    t.p.step = t.step.data();
    adam_cpu(t.p, t.pool);
    for (std::size_t i = 0; i < 200; ++i) {
      EXPECT_EQ(t.parameters[i] == 0, i == 170) << i;
      EXPECT_EQ(t.moment2[i] == 0, i == 170) << i;
    }
    EXPECT_EQ(nonfinite, (std::vector<std::uint32_t>{0, 1}));
    AdvanceStep<float> a;
    a.fleet.n_members = 2;
    a.nonfinite = nonfinite.data();
    a.step = t.step.data();
    a.skipped = t.skipped.data();
    advance_step_cpu(a, t.pool);
    EXPECT_EQ(t.step, (std::vector<std::uint32_t>{1, 1}));  // the moments of the others have moved
    EXPECT_EQ(t.skipped, (std::vector<std::uint32_t>{0, 1}));
    EXPECT_EQ(nonfinite, (std::vector<std::uint32_t>{0, 0}));
  }
}

TEST(Adam, OfStretchesGivesTheBytesOfOnePass) {
  Training<float> whole(3, 20000), cut(3, 20000);
  whole.fill(4);
  cut.gradient = whole.gradient;
  whole.take_step();
  cut.norm = whole.norm;
  for (const auto& [first, n] :
       std::vector<std::pair<std::int64_t, std::int64_t>>{{9984, 10016}, {0, 64}, {64, 9920}}) {
    auto p = whole.p;
    p.n_parameters = n;
    p.parameters = cut.parameters.data() + first;
    p.moment1 = cut.moment1.data() + first;
    p.moment2 = cut.moment2.data() + first;
    p.gradient = cut.gradient.data() + first;
    p.step = cut.step.data();
    adam_cpu(p, cut.pool);
  }
  EXPECT_EQ(cut.parameters, whole.parameters);
  EXPECT_EQ(cut.moment1, whole.moment1);
  EXPECT_EQ(cut.moment2, whole.moment2);
}

TEST(Adam, MemberInAFleetEqualsTheMemberAlone) {
  constexpr std::int64_t kParameters = 2 * 8192 + 37;
  Training<float> fleet(3, kParameters), alone(1, kParameters);
  fleet.learning_rate = {0.1f, 0.02f, 0.3f};
  alone.learning_rate = {0.02f};
  for (unsigned step = 0; step < 3; ++step) {
    fleet.fill(step);
    std::copy_n(fleet.gradient.begin() + kParameters, kParameters, alone.gradient.begin());
    fleet.take_step();
    alone.take_step();
  }
  EXPECT_EQ(fleet.norm[1], alone.norm[0]);
  EXPECT_TRUE(std::equal(alone.parameters.begin(), alone.parameters.end(), fleet.parameters.begin() + kParameters));
}

TEST(GradientNorm, NeitherOverflowsNorLosesSmallGradients) {
  Training<float> t(1, 3 * kNormBlock + 100);
  const float root = std::sqrt(static_cast<float>(t.n_parameters));
  for (float size : {1e30f, 1.0f, 1e-30f}) {
    t.gradient.assign(t.gradient.size(), size);
    t.measure();
    EXPECT_TRUE(std::abs(t.norm[0] / size - root) <= 1e-6f * root) << size << ": " << t.norm[0];
  }
}

}  // namespace
}  // namespace idem
