#include "kernels/contrastive/contrastive.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <limits>
#include <optional>
#include <vector>

#include "tests/support/host_draws.h"
#include "tests/support/host_rows.h"
#include "kernels/common/to_size.h"

namespace idem {
namespace {

ThreadPool& pool() {
  static ThreadPool threads(2);
  return threads;
}

// InfoNCE of one table of embeddings: which of its rows are references and negatives, how often, and which meet as
// pairs.
template <class Real>
struct Contrast {
  Similarity similarity = Similarity::cosine;
  std::vector<std::uint8_t> active;
  HostRows<Real> reference, positive, negative, d_reference, d_positive, d_negative;
  std::vector<Real> inverse_temperature, log_sum, mean_similarity, pair_similarity, align, uniform, loss, slope,
      d_log_temperature;
  std::vector<std::int32_t> reference_count, negative_count;
  std::int64_t n_pairs = 0;
  Real scale = 1;
  // rows that pairs share, all in `reference`: first the list of the references, then that of the positives
  std::optional<HostDraws> draws;

  Contrast(std::int64_t members, std::int64_t n_references, std::int64_t n_negatives, std::int64_t n_features)
      : reference(members, n_references, n_features),
        positive(members, n_references, n_features),
        negative(members, n_negatives, n_features),
        n_pairs(n_references),
        scale(Real(1) / static_cast<Real>(n_references)) {
    inverse_temperature.assign(to_size(members), Real(1));
    slope.assign(to_size(members), Real(1));
  }

  void run() {
    const auto members = to_size(reference.n_members);
    const FleetExtent fleet{static_cast<std::int32_t>(members), active.empty() ? nullptr : active.data()};
    const auto n_features = static_cast<std::int32_t>(reference.n_features);
    d_reference = HostRows<Real>(reference.n_members, reference.n_rows, n_features);
    d_positive = HostRows<Real>(positive.n_members, positive.n_rows, n_features);
    d_negative = HostRows<Real>(negative.n_members, negative.n_rows, n_features);
    for (auto* values : {&log_sum, &mean_similarity}) values->assign(members * to_size(reference.n_rows), Real(-1));
    pair_similarity.assign(members * to_size(n_pairs), Real(-1));
    for (auto* values : {&align, &uniform, &loss, &d_log_temperature}) values->assign(members, Real(0));
    auto& d_of_negatives = draws ? d_reference : d_negative;
    const Uniformity<Real> forward{.fleet = fleet,
                                   .n_references = reference.n_rows,
                                   .n_negatives = negative.n_rows,
                                   .n_features = n_features,
                                   .similarity = similarity,
                                   .inverse_temperature = inverse_temperature.data(),
                                   .reference = reference.rows(),
                                   .negative = draws ? reference.rows() : negative.rows(),
                                   .reference_count = reference_count.empty() ? nullptr : reference_count.data(),
                                   .negative_count = negative_count.empty() ? nullptr : negative_count.data(),
                                   .count_stride = reference.n_rows,
                                   .scale = scale,
                                   .log_sum = log_sum.data(),
                                   .mean_similarity = mean_similarity.data(),
                                   .d_reference = d_reference.rows()};
    uniformity_forward_cpu(forward, pool());
    uniformity_backward_cpu(UniformityGradient<Real>{.forward = forward, .d_negative = d_of_negatives.rows()}, pool());
    alignment_cpu(Alignment<Real>{.fleet = fleet,
                                  .n_pairs = n_pairs,
                                  .n_features = n_features,
                                  .similarity = similarity,
                                  .inverse_temperature = inverse_temperature.data(),
                                  .reference = reference.rows(),
                                  .positive = draws ? reference.rows() : positive.rows(),
                                  .draws = draws ? draws->draws() : PlacedDraws{},
                                  .positive_list = 1,
                                  .similarity_value = pair_similarity.data(),
                                  .d_reference = d_reference.rows(),
                                  .d_positive = draws ? d_reference.rows() : d_positive.rows()},
                  pool());
    info_nce_terms_cpu(InfoNceTerms<Real>{.fleet = fleet,
                                          .n_pairs = n_pairs,
                                          .n_references = reference.n_rows,
                                          .similarity_value = pair_similarity.data(),
                                          .log_sum = log_sum.data(),
                                          .mean_similarity = mean_similarity.data(),
                                          .reference_count = reference_count.empty() ? nullptr : reference_count.data(),
                                          .count_stride = reference.n_rows,
                                          .scale = scale,
                                          .alignment = align.data(),
                                          .uniformity = uniform.data(),
                                          .loss = loss.data(),
                                          .temperature_slope = slope.data(),
                                          .d_log_inverse_temperature = d_log_temperature.data(),
                                          .d_log_stride = 1},
                       pool());
  }
};

// The loss from its formula, nothing clever.
double plain_loss(const Contrast<double>& c, std::int64_t member) {
  const double b = c.inverse_temperature[to_size(member)];
  const auto s = [&](const HostRows<double>& x, std::int64_t i, const HostRows<double>& y, std::int64_t j) {
    double sum = 0;
    for (std::int64_t f = 0; f < x.n_features; ++f) {
      const double gap = x.at(member, i, f) - y.at(member, j, f);
      sum += c.similarity == Similarity::cosine ? x.at(member, i, f) * y.at(member, j, f) : -gap * gap;
    }
    return b * sum;
  };
  double loss = 0;
  for (std::int64_t i = 0; i < c.reference.n_rows; ++i) {
    double sum = 0;
    for (std::int64_t j = 0; j < c.negative.n_rows; ++j) sum += std::exp(s(c.reference, i, c.negative, j));
    loss += std::log(sum) - s(c.reference, i, c.positive, i);
  }
  return loss / static_cast<double>(c.reference.n_rows);
}

Contrast<double> random_contrast(std::int64_t members, std::int64_t n_references, std::int64_t n_negatives,
                                 std::int64_t n_features, Similarity kind, double scale = 0.7) {
  Contrast<double> c(members, n_references, n_negatives, n_features);
  c.similarity = kind;
  std::mt19937_64 random(7);
  for (auto* rows : {&c.reference, &c.positive, &c.negative}) rows->fill_normal(random, scale);
  for (std::size_t member = 0; member < c.inverse_temperature.size(); ++member)
    c.inverse_temperature[member] = 0.6 + 0.5 * static_cast<double>(member);
  return c;
}

void normalise(HostRows<double>& rows) {
  std::vector<double> inverse_norm(to_size(rows.n_members * rows.n_rows));
  normalise_rows_forward_cpu(NormaliseRows<double>{.fleet = {static_cast<std::int32_t>(rows.n_members)},
                                                   .n_rows = rows.n_rows,
                                                   .n_features = static_cast<std::int32_t>(rows.n_features),
                                                   .x = rows.rows(),
                                                   .value = rows.rows(),
                                                   .inverse_norm = inverse_norm.data()},
                             pool());
}

TEST(InfoNce, OfTheGoldenMatricesIsThePublishedLoss) {
  Contrast<double> c(1, 4, 4, 3);
  double k = 0;
  c.reference.fill([&] { return std::sin(k++); });
  k = 0;
  c.positive.fill([&] { return std::cos(k++); });
  k = 0;
  c.negative.fill([&] { return std::sin(1.7 * k++ + 0.3); });
  for (auto* rows : {&c.reference, &c.positive, &c.negative}) normalise(*rows);
  c.inverse_temperature[0] = 2;
  c.run();
  EXPECT_NEAR(c.loss[0], 1.691641, 1e-6);
  EXPECT_NEAR(c.align[0], -0.106291, 1e-6);
  EXPECT_NEAR(c.uniform[0], 1.797932, 1e-6);
  c.similarity = Similarity::euclidean;
  c.inverse_temperature[0] = 0.5;
  c.run();
  EXPECT_NEAR(c.loss[0], 1.438678, 1e-6);
  EXPECT_NEAR(c.align[0], 0.946855, 1e-6);
  EXPECT_NEAR(c.uniform[0], 0.491823, 1e-6);
}

TEST(InfoNce, IsTheFormulaForEverySizeAndMember) {
  for (const Similarity kind : {Similarity::cosine, Similarity::euclidean}) {
    for (const auto& [n_references, n_negatives, n_features] :
         {std::tuple{1, 1, 1}, {5, 9, 3}, {16, 8, 8}, {33, 257, 5}, {61, 17, 32}, {17, 40, 128}}) {
      auto c = random_contrast(2, n_references, n_negatives, n_features, kind, 0.3);
      c.run();
      for (std::int64_t member = 0; member < 2; ++member) {
        const double want = plain_loss(c, member), got = c.loss[to_size(member)];
        EXPECT_TRUE(std::fabs(got - want) <= 1e-12 * (1 + std::fabs(want)))
            << n_references << " x " << n_negatives << ": " << got << ", want " << want;
      }
    }
  }
}

TEST(InfoNce, GradientsAgreeWithFiniteDifferences) {
  for (const Similarity kind : {Similarity::cosine, Similarity::euclidean}) {
    auto c = random_contrast(2, 19, 23, 5, kind);
    c.run();
    const auto at = c;
    constexpr double h = 1e-5;
    const std::pair<HostRows<double> Contrast<double>::*, HostRows<double> Contrast<double>::*> axes[] = {
        {&Contrast<double>::reference, &Contrast<double>::d_reference},
        {&Contrast<double>::positive, &Contrast<double>::d_positive},
        {&Contrast<double>::negative, &Contrast<double>::d_negative}};
    for (const auto& [values, gradient] : axes) {
      for (std::int64_t row = 0; row < (at.*values).n_rows; row += 3) {
        for (std::int64_t feature = 0; feature < 5; ++feature) {
          auto up = at, down = at;
          (up.*values).at(1, row, feature) += h;
          (down.*values).at(1, row, feature) -= h;
          const double want = (plain_loss(up, 1) - plain_loss(down, 1)) / (2 * h),
                       got = (at.*gradient).at(1, row, feature);
          EXPECT_TRUE(std::fabs(got - want) <= 1e-9)
              << "row " << row << ", feature " << feature << ": " << got << ", want " << want;
        }
      }
    }
    auto up = at, down = at;
    up.inverse_temperature[1] *= std::exp(h);
    down.inverse_temperature[1] *= std::exp(-h);
    EXPECT_NEAR(at.d_log_temperature[1], (plain_loss(up, 1) - plain_loss(down, 1)) / (2 * h), 1e-9);
  }
}

TEST(InfoNce, RowsWithCountsAreWorthTheirRepetitions) {
  for (const Similarity kind : {Similarity::cosine, Similarity::euclidean}) {
    // 40 draws from 11 rows, of which some are never references or never negatives.
    constexpr std::int64_t n_rows = 11, n_draws = 40, n_features = 3;
    std::mt19937_64 random(3);
    Contrast<double> once(2, n_rows, 1, n_features);
    once.similarity = kind;
    once.n_pairs = n_draws;
    once.scale = 1.0 / n_draws;
    once.reference.fill_normal(random);
    once.inverse_temperature = {1.5, 0.4};
    once.reference_count.assign(2 * n_rows, 0);
    once.negative_count.assign(2 * n_rows, 0);
    once.negative = once.reference;  // as many negatives as rows
    Contrast<double> each(2, n_draws, n_draws, n_features);
    each.similarity = kind;
    each.inverse_temperature = once.inverse_temperature;
    std::vector<std::int32_t> reference_place, positive_place, negative_place, lists;
    for (std::int64_t member = 0; member < 2; ++member) {
      for (std::int64_t draw = 0; draw < n_draws; ++draw) {
        const auto i = static_cast<std::int32_t>(random() % (n_rows - 2)),
                   j = static_cast<std::int32_t>(2 + random() % (n_rows - 2)),
                   k = static_cast<std::int32_t>(random() % n_rows);
        reference_place.push_back(i);
        positive_place.push_back(k);
        negative_place.push_back(j);
        once.reference_count[to_size(member * n_rows + i)] += 1;
        once.negative_count[to_size(member * n_rows + j)] += 1;
        for (std::int64_t feature = 0; feature < n_features; ++feature) {
          each.reference.at(member, draw, feature) = once.reference.at(member, i, feature);
          each.positive.at(member, draw, feature) = once.reference.at(member, k, feature);
          each.negative.at(member, draw, feature) = once.reference.at(member, j, feature);
        }
      }
    }
    for (std::int64_t member = 0; member < 2; ++member)
      for (const auto* list : {&reference_place, &positive_place})
        lists.insert(lists.end(), list->begin() + member * n_draws, list->begin() + (member + 1) * n_draws);
    once.draws.emplace(2, n_draws, n_rows, lists, 2);
    once.run();
    each.run();
    HostRows<double> want(2, n_rows, n_features);
    for (std::int64_t member = 0; member < 2; ++member) {
      for (std::int64_t draw = 0; draw < n_draws; ++draw) {
        const auto at = to_size(member * n_draws + draw);
        for (std::int64_t feature = 0; feature < n_features; ++feature) {
          want.at(member, reference_place[at], feature) += each.d_reference.at(member, draw, feature);
          want.at(member, positive_place[at], feature) += each.d_positive.at(member, draw, feature);
          want.at(member, negative_place[at], feature) += each.d_negative.at(member, draw, feature);
        }
      }
      const auto m = to_size(member);
      EXPECT_NEAR(once.loss[m], each.loss[m], 1e-13);
      EXPECT_NEAR(once.align[m], each.align[m], 1e-13);
      EXPECT_NEAR(once.d_log_temperature[m], each.d_log_temperature[m], 1e-13);
      for (std::int64_t row = 0; row < n_rows; ++row)
        for (std::int64_t feature = 0; feature < n_features; ++feature)
          EXPECT_TRUE(std::fabs(once.d_reference.at(member, row, feature) - want.at(member, row, feature)) <= 1e-13)
              << row << ", " << feature;
    }
  }
}

TEST(InfoNce, OfOneEmbeddingForAllIsTheLogOfTheNumberOfNegatives) {
  Contrast<float> c(1, 40, 512, 3);
  for (auto* rows : {&c.reference, &c.positive, &c.negative}) rows->fill([] { return 0.6f; });
  c.run();
  EXPECT_NEAR(c.loss[0], std::log(512.0), 1e-6);
}

TEST(InfoNce, StaysFiniteAtTheSmallestTemperatures) {
  auto wide = random_contrast(1, 50, 70, 3, Similarity::cosine);
  for (auto* rows : {&wide.reference, &wide.positive, &wide.negative}) normalise(*rows);
  Contrast<float> c(1, 50, 70, 3);
  c.reference = wide.reference.as<float>(), c.positive = wide.positive.as<float>(),
  c.negative = wide.negative.as<float>();
  c.inverse_temperature[0] = 1e4f;
  wide.inverse_temperature[0] = 1e4;
  c.run();
  wide.run();
  EXPECT_NEAR(c.loss[0], wide.loss[0], 1e-6 * 1e4);
  for (const float value : c.d_reference.values) ASSERT_TRUE(std::isfinite(value));
  for (const float value : c.d_negative.values) ASSERT_TRUE(std::isfinite(value));
}

TEST(InfoNce, ANegativeWithoutWeightCountsForNothingHoweverNear) {
  Contrast<float> c(1, 2, 2, 1);
  c.inverse_temperature[0] = 1000;
  c.reference.at(0, 0, 0) = c.reference.at(0, 1, 0) = 1;
  c.negative.at(0, 0, 0) = 1;   // b s = 1000, not drawn
  c.negative.at(0, 1, 0) = -1;  // b s = -1000: its exponential is 0
  c.reference_count = {1, 1};
  c.negative_count = {0, 3};
  c.run();
  EXPECT_NEAR(c.log_sum[0], -1000 + std::log(3.0), 1e-3);
  EXPECT_EQ(c.d_negative.at(0, 0, 0), 0);
}

TEST(InfoNce, ShowsWhatIsNotANumber) {
  auto c = random_contrast(1, 20, 20, 3, Similarity::cosine);
  c.negative.at(0, 7, 1) = std::nan("");
  c.run();
  EXPECT_TRUE(std::isnan(c.loss[0]));
  for (std::int64_t row = 0; row < 20; ++row) EXPECT_TRUE(std::isnan(c.d_reference.at(0, row, 0)));
}

TEST(InfoNce, RefusesMoreFeaturesThanItsKernelsHold) {
  Contrast<float> c(1, 2, 2, kMostContrastiveFeatures + 1);
  EXPECT_THROW(c.run(), std::invalid_argument);
}

TEST(InverseTemperature, IsCappedAndPassesNoGradientAboveTheCap) {
  const std::vector<double> theta = {std::log(4.0), 9, std::log(16.0), 9};
  std::vector<double> value(2), slope(2);
  inverse_temperature_cpu(InverseTemperature<double>{.fleet = {2},
                                                     .log_inverse_temperature = theta.data(),
                                                     .log_stride = 2,
                                                     .largest = 10,
                                                     .value = value.data(),
                                                     .slope = slope.data()},
                          pool());
  EXPECT_NEAR(value[0], 4, 1e-14);
  EXPECT_EQ(slope[0], 1);
  EXPECT_EQ(value[1], 10);
  EXPECT_EQ(slope[1], 0);
}

TEST(NormaliseRows, MakesUnitLengthAtAnyMagnitude) {
  HostRows<float> x(1, 3, 2), value(1, 3, 2);
  x.at(0, 0, 0) = 3, x.at(0, 0, 1) = -4;
  x.at(0, 1, 0) = 3e30f, x.at(0, 1, 1) = -4e30f;    // squares overflow
  x.at(0, 2, 0) = 3e-30f, x.at(0, 2, 1) = -4e-30f;  // and vanish
  std::vector<float> inverse_norm(3);
  normalise_rows_forward_cpu(
      NormaliseRows<float>{
          .n_rows = 3, .n_features = 2, .x = x.rows(), .value = value.rows(), .inverse_norm = inverse_norm.data()},
      pool());
  for (std::int64_t row = 0; row < 3; ++row) {
    EXPECT_NEAR(value.at(0, row, 0), 0.6, 1e-7);
    EXPECT_NEAR(value.at(0, row, 1), -0.8, 1e-7);
  }
  EXPECT_NEAR(inverse_norm[0], 0.2, 1e-7);
}

TEST(NormaliseRows, ARowWithoutDirectionStaysZeroAndPassesNoGradient) {
  HostRows<float> x(1, 3, 2), d(1, 3, 2, 1.0f);
  x.at(0, 1, 0) = 1e-39f;  // a norm that is no normal number
  x.at(0, 2, 0) = std::nanf("");
  std::vector<float> inverse_norm(3, -1.0f);
  normalise_rows_forward_cpu(
      NormaliseRows<float>{
          .n_rows = 3, .n_features = 2, .x = x.rows(), .value = x.rows(), .inverse_norm = inverse_norm.data()},
      pool());
  normalise_rows_backward_cpu(
      NormaliseRowsGradient<float>{
          .n_rows = 3, .n_features = 2, .value = x.rows(), .inverse_norm = inverse_norm.data(), .d_value = d.rows()},
      pool());
  for (const std::int64_t row : {0, 1}) {
    EXPECT_EQ(x.at(0, row, 0), 0);
    EXPECT_EQ(d.at(0, row, 0), 0);
    EXPECT_EQ(d.at(0, row, 1), 0);
  }
  EXPECT_TRUE(std::isnan(x.at(0, 2, 1)));
  EXPECT_TRUE(std::isnan(d.at(0, 2, 1)));
}

TEST(NormaliseRows, GradientAgreesWithFiniteDifferences) {
  std::mt19937_64 random(5);
  HostRows<double> x(2, 7, 5), value(2, 7, 5), weight(2, 7, 5);
  x.fill_normal(random);
  weight.fill_normal(random);
  std::vector<double> inverse_norm(14);
  const auto forward = [&] {
    normalise_rows_forward_cpu(NormaliseRows<double>{.fleet = {2},
                                                     .n_rows = 7,
                                                     .n_features = 5,
                                                     .x = x.rows(),
                                                     .value = value.rows(),
                                                     .inverse_norm = inverse_norm.data()},
                               pool());
    double sum = 0;
    for (std::size_t i = 0; i < value.values.size(); ++i) sum += value.values[i] * weight.values[i];
    return sum;
  };
  forward();
  HostRows<double> d = weight;
  normalise_rows_backward_cpu(NormaliseRowsGradient<double>{.fleet = {2},
                                                            .n_rows = 7,
                                                            .n_features = 5,
                                                            .value = value.rows(),
                                                            .inverse_norm = inverse_norm.data(),
                                                            .d_value = d.rows()},
                              pool());
  for (std::int64_t row = 0; row < 7; ++row) {
    for (std::int64_t feature = 0; feature < 5; ++feature) {
      constexpr double h = 1e-6;
      double& at = x.at(1, row, feature);
      const double before = at;
      at = before + h;
      const double up = forward();
      at = before - h;
      const double want = (up - forward()) / (2 * h);
      at = before;
      EXPECT_TRUE(std::fabs(d.at(1, row, feature) - want) <= 1e-8) << row << ", " << feature;
    }
  }
}

}  // namespace
}  // namespace idem
