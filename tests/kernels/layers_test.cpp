#include "kernels/layers/layers.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <limits>
#include <numeric>
#include <random>
#include <vector>

#include "tests/support/host_rows.h"
#include "kernels/common/to_size.h"

namespace idem {
namespace {

const std::vector<Activation> kActivations = {Activation::identity, Activation::relu,     Activation::leaky_relu,
                                              Activation::tanh,     Activation::gelu_erf, Activation::gelu_tanh,
                                              Activation::sigmoid,  Activation::softplus};

// A layer of two members, run forward, and backward from given d_value.
template <class Real>
struct Layer {
  std::int64_t n_rows;
  std::int32_t n_features;
  Activation activation;
  std::vector<Real> bias, value, kept, d_value, d_bias;
  ThreadPool pool;

  Layer(std::int64_t rows, std::int32_t features, Activation kind, int n_threads = 1)
      : n_rows(rows),
        n_features(features),
        activation(kind),
        bias(2 * stride()),
        value(2 * size()),
        kept(2 * size()),
        d_value(2 * size()),
        d_bias(2 * stride()),
        pool(n_threads) {}
  std::size_t stride() const { return to_size(padded(n_features)); }
  std::size_t size() const { return stride() * to_size(n_rows); }
  Rows<Real> rows(std::vector<Real>& data) const {
    return {data.data(), static_cast<std::int64_t>(data.size() / 2), static_cast<std::int64_t>(stride())};
  }
  void forward() {
    BiasActivation<Real> p;
    p.fleet.n_members = 2;
    p.n_rows = n_rows;
    p.n_features = n_features;
    p.activation = activation;
    p.bias = rows(bias);
    p.value = rows(value);
    p.pre_activation = rows(kept);
    bias_activation_forward_cpu(p, pool);
  }
  void backward() {
    BiasActivationGradient<Real> p;
    p.fleet.n_members = 2;
    p.n_rows = n_rows;
    p.n_features = n_features;
    p.activation = activation;
    p.value = rows(value);
    p.pre_activation = rows(kept);
    p.d_value = rows(d_value);
    p.d_bias = rows(d_bias);
    bias_activation_backward_cpu(p, pool);
  }
};

TEST(BiasActivation, GradientsEqualFiniteDifferencesOfARandomProjection) {
  for (Activation activation : kActivations) {
    SCOPED_TRACE(static_cast<int>(activation));
    Layer<double> layer(21, 35, activation);
    std::mt19937 random(3);
    std::normal_distribution<double> normal(0, 2);
    std::vector<double> start(layer.value.size()), weights(layer.value.size());
    for (double& x : start) x = normal(random);
    for (double& w : weights) w = normal(random);
    for (double& b : layer.bias) b = normal(random);
    const auto projection = [&] {
      layer.value = start;
      layer.forward();
      double sum = 0;
      for (std::int64_t row = 0; row < 2 * layer.n_rows; ++row) {
        for (std::size_t feature = 0; feature < 35; ++feature) {
          const std::size_t i = to_size(row) * layer.stride() + feature;
          sum += weights[i] * layer.value[i];
        }
      }
      return sum;
    };
    projection();
    layer.d_value = weights;
    layer.backward();
    const std::vector<double> d_value = layer.d_value, d_bias = layer.d_bias;
    const double h = 1e-5;
    const auto difference = [&](double& x) {
      const double at = x;
      x = at + h;
      const double above = projection();
      x = at - h;
      const double below = projection();
      x = at;
      return (above - below) / (2 * h);
    };
    for (std::size_t i : {std::size_t{0}, std::size_t{34}, layer.stride() * 7 + 11, layer.size() + 3,
                          2 * layer.size() - layer.stride() + 20}) {
      const double want = difference(start[i]);
      EXPECT_TRUE(std::abs(d_value[i] - want) <= 1e-6) << "value " << i << ": got " << d_value[i] << ", want " << want;
    }
    for (std::size_t i : {std::size_t{0}, std::size_t{34}, layer.stride() + 33}) {
      const double want = difference(layer.bias[i]);
      EXPECT_TRUE(std::abs(d_bias[i] - want) <= 1e-5) << "bias " << i << ": got " << d_bias[i] << ", want " << want;
    }
  }
}

TEST(BiasActivation, GivesTheKnownValuesOfEachFunction) {
  const double x = -1.5;
  const std::vector<double> want = {x,
                                    0,
                                    -0.3,
                                    -0.9051482536448665,
                                    -0.10021080190268701,
                                    -0.10042842700000001,
                                    0.18242552380635635,
                                    0.20141327798275252};
  for (std::size_t k = 0; k < kActivations.size(); ++k) {
    Layer<double> layer(1, 1, kActivations[k]);
    layer.value[0] = -2.0;
    layer.bias[0] = 0.5;
    layer.forward();
    EXPECT_TRUE(std::abs(layer.value[0] - want[k]) <= 1e-7) << k << ": " << layer.value[0];
  }
}

TEST(BiasActivation, StaysFiniteAtExtremes) {
  for (Activation activation : kActivations) {
    SCOPED_TRACE(static_cast<int>(activation));
    Layer<float> layer(1, 16, activation);
    for (std::size_t i = 0; i < 16; ++i)
      layer.value[i] = (i % 2 ? -1.0f : 1.0f) * std::pow(10.0f, static_cast<float>(i / 2) - 2.0f);
    layer.d_value.assign(layer.d_value.size(), 1.0f);
    layer.forward();
    layer.backward();
    for (std::size_t i = 0; i < 16; ++i) {
      EXPECT_TRUE(std::isfinite(layer.value[i])) << i;
      EXPECT_TRUE(std::abs(layer.d_value[i]) <= 1.2f) << i << ": " << layer.d_value[i];
    }
  }
}

TEST(BiasActivation, PassesNaNOn) {
  for (Activation activation : kActivations) {
    Layer<float> layer(1, 1, activation);
    layer.value[0] = std::numeric_limits<float>::quiet_NaN();
    layer.forward();
    EXPECT_TRUE(std::isnan(layer.value[0])) << static_cast<int>(activation);
  }
}

TEST(BiasActivation, IsTheSameForAnyNumberOfThreadsAndForAMemberAlone) {
  std::vector<float> start;
  std::mt19937 random(4);
  std::normal_distribution<float> normal;
  Layer<float> one(200, 60, Activation::tanh, 1), two(200, 60, Activation::tanh, 2);
  for (float& x : one.value) x = normal(random);
  for (float& x : one.d_value) x = normal(random);
  // Both members of the second layer are the first one's second member.
  for (std::size_t i = 0; i < one.size(); ++i) {
    for (std::size_t member : {0u, 1u}) {
      two.value[member * one.size() + i] = one.value[one.size() + i];
      two.d_value[member * one.size() + i] = one.d_value[one.size() + i];
    }
  }
  for (Layer<float>* layer : {&one, &two}) {
    layer->forward();
    layer->backward();
  }
  for (std::size_t i = 0; i < one.size(); ++i) {
    EXPECT_EQ(two.value[i], one.value[one.size() + i]);
    EXPECT_EQ(two.d_value[i], one.d_value[one.size() + i]);
  }
  for (std::size_t i = 0; i < 60; ++i) EXPECT_EQ(two.d_bias[i], one.d_bias[one.stride() + i]);
}

TEST(BiasActivation, UnknownActivationThrows) {
  Layer<float> layer(1, 1, static_cast<Activation>(99));
  EXPECT_THROW(layer.forward(), std::invalid_argument);
  EXPECT_THROW(layer.backward(), std::invalid_argument);
}

TEST(AddRows, AddsInPlaceOrBeside) {
  std::vector<double> a{1, 2, 3, 4}, b{10, 20, 30, 40}, sum(4);
  ThreadPool pool(1);
  AddRows<double> p{
      .n_rows = 2, .n_features = 2, .a = {a.data(), 4, 2}, .b = {b.data(), 4, 2}, .sum = {sum.data(), 4, 2}};
  add_rows_cpu(p, pool);
  EXPECT_EQ(sum, (std::vector<double>{11, 22, 33, 44}));
  p.sum = {a.data(), 4, 2};
  add_rows_cpu(p, pool);
  EXPECT_EQ(a, sum);
}

TEST(PadRows, PutsZerosAroundWhatACropKept) {
  const std::vector<double> source{1, 2, 3, 4};
  std::vector<double> out(8, -1);
  ThreadPool pool(1);
  PadRows<double> p{.n_rows = 4,
                    .first = 1,
                    .n_source_rows = 2,
                    .n_features = 2,
                    .source = {source.data(), 4, 2},
                    .out = {out.data(), 8, 2}};
  pad_rows_cpu(p, pool);
  EXPECT_EQ(out, (std::vector<double>{0, 0, 1, 2, 3, 4, 0, 0}));
  p.n_source_rows = 0;
  p.source = {};
  pad_rows_cpu(p, pool);
  EXPECT_EQ(out, std::vector<double>(8, 0));
}

TEST(BiasActivation, AddsToTheBiasGradientOfALayerPassedBefore) {
  Layer<double> layer(3, 2, Activation::identity);
  layer.d_value.assign(layer.d_value.size(), 1.0);
  layer.d_bias.assign(layer.d_bias.size(), 10.0);
  BiasActivationGradient<double> p{.n_rows = 3,
                                   .n_features = 2,
                                   .d_value = layer.rows(layer.d_value),
                                   .d_bias = layer.rows(layer.d_bias),
                                   .accumulate = true};
  bias_activation_backward_cpu(p, layer.pool);
  EXPECT_EQ(layer.d_bias[1], 13.0);
  EXPECT_EQ(layer.d_bias[2], 10.0);
}

TEST(JoinFeatures, PutsEveryFeatureInItsPlaceAndTakesItsGradientFromThere) {
  const std::vector<double> a{1, 2}, b{3, 4, 5};
  const std::vector<std::int32_t> place{3, 0, 4, 1, 2};
  std::vector<double> out(5), d_a(2), d_b(3);
  ThreadPool pool(1);
  JoinFeatures<double> p{.n_rows = 1,
                         .n_a = 2,
                         .n_b = 3,
                         .place = place.data(),
                         .a = {a.data(), 2, 2},
                         .b = {b.data(), 3, 3},
                         .out = {out.data(), 5, 5}};
  join_features_forward_cpu(p, pool);
  EXPECT_EQ(out, (std::vector<double>{2, 4, 5, 1, 3}));
  join_features_backward_cpu(JoinFeaturesGradient<double>{.n_rows = 1,
                                                          .n_a = 2,
                                                          .n_b = 3,
                                                          .place = place.data(),
                                                          .d_out = {out.data(), 5, 5},
                                                          .d_a = {d_a.data(), 2, 2},
                                                          .d_b = {d_b.data(), 3, 3}},
                             pool);
  EXPECT_EQ(d_a, a);
  EXPECT_EQ(d_b, b);
  p.place = nullptr;
  join_features_forward_cpu(p, pool);
  EXPECT_EQ(out, (std::vector<double>{1, 2, 3, 4, 5}));
}

// Two rows of one coupling.
struct CouplingRows {
  std::int32_t n;
  std::vector<std::int32_t> place;
  HostRows<double> x, raw, log_scale, out;
  ThreadPool pool{1};

  explicit CouplingRows(std::int32_t n_features)
      : n(n_features),
        place(to_size(n)),
        x(1, 2, n),
        raw(1, 2, 2 * moved() - 1),
        log_scale(1, 2, moved()),
        out(1, 2, n) {
    std::mt19937_64 random(8);
    x.fill_normal(random);
    raw.fill_normal(random);
    std::iota(place.begin(), place.end(), 0);
    std::shuffle(place.begin(), place.end(), random);
  }
  std::int32_t moved() const { return n - n / 2; }
  Coupling<double> params() {
    return {.n_rows = 2,
            .n_features = n,
            .place = place.data(),
            .x = x.rows(),
            .raw = raw.rows(),
            .log_scale = log_scale.rows(),
            .out = out.rows()};
  }
  double projection(const HostRows<double>& weights) {
    coupling_forward_cpu(params(), pool);
    double sum = 0;
    for (std::int64_t row = 0; row < 2; ++row)
      for (std::int32_t i = 0; i < n; ++i) sum += weights.at(0, row, i) * out.at(0, row, i);
    return sum;
  }
};

TEST(Coupling, KeepsVolumeAndWhatPasses) {
  for (const std::int32_t n : {2, 3, 7, 600}) {
    CouplingRows rows(n);
    coupling_forward_cpu(rows.params(), rows.pool);
    double sum = 0;
    for (std::int32_t i = 0; i < rows.moved(); ++i) sum += rows.log_scale.at(0, 1, i);
    EXPECT_TRUE(std::abs(sum) <= 1e-14 * n) << n;
    const auto place = [&](std::int32_t i) { return rows.place[to_size(i)]; };
    for (std::int32_t i = 0; i < n / 2; ++i) EXPECT_EQ(rows.out.at(0, 1, place(rows.moved() + i)), rows.x.at(0, 1, i));
    const double scale = n > 3 ? 0.1 * std::tanh(rows.raw.at(0, 1, 0)) : rows.log_scale.at(0, 1, 0);
    EXPECT_NEAR(rows.out.at(0, 1, place(0)),
                rows.x.at(0, 1, n / 2) * std::exp(scale) + rows.raw.at(0, 1, rows.moved() - 1), 1e-14)
        << n;
  }
}

TEST(Coupling, GradientsEqualFiniteDifferencesOfARandomProjection) {
  for (const std::int32_t n : {2, 3, 40, 61}) {
    SCOPED_TRACE(n);
    CouplingRows rows(n);
    HostRows<double> weights(1, 2, n), d_x(1, 2, n), d_raw(1, 2, 2 * rows.moved() - 1);
    std::mt19937_64 random(9);
    weights.fill_normal(random);
    rows.projection(weights);
    coupling_backward_cpu(
        CouplingGradient<double>{
            .forward = rows.params(), .d_out = weights.rows(), .d_x = d_x.rows(), .d_raw = d_raw.rows()},
        rows.pool);
    const auto check = [&](HostRows<double>& at, const HostRows<double>& gradient, const char* what) {
      for (std::int32_t i = 0; i < at.n_features; ++i) {
        const double h = 1e-5, value = at.at(0, 1, i);
        at.at(0, 1, i) = value + h;
        const double above = rows.projection(weights);
        at.at(0, 1, i) = value - h;
        const double below = rows.projection(weights);
        at.at(0, 1, i) = value;
        EXPECT_NEAR(gradient.at(0, 1, i), (above - below) / (2 * h), 1e-8) << what << " " << i;
      }
    };
    check(rows.x, d_x, "x");
    check(rows.raw, d_raw, "raw");
  }
}

}  // namespace
}  // namespace idem
