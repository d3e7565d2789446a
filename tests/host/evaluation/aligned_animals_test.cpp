#include "host/evaluation/aligned_animals.h"

#include <gtest/gtest.h>

#include <cmath>
#include <numeric>

#include "kernels/common/to_size.h"

namespace idem {
namespace {

struct Animal {
  std::vector<float> values;
  std::vector<double> label;

  AlignedRows rows(int n_dims) const {
    const auto n = static_cast<std::int64_t>(label.size());
    AlignedRows result{.embedding = {n, n_dims, values},
                       .rows = std::vector<std::int32_t>(label.size()),
                       .label = label,
                       .group = std::vector<std::int32_t>(label.size(), 0)};
    std::iota(result.rows.begin(), result.rows.end(), 0);
    return result;
  }
};

// Two animals of 100 bins whose latents are waves of fixed frequencies, labels a parabola there and back.
std::vector<Animal> waves() {
  std::vector<Animal> animals(2);
  for (int t = 0; t < 100; ++t) {
    for (const double w : {0.3, 0.51, 0.77}) animals[0].values.push_back(static_cast<float>(std::sin(w * t)));
    for (const double w : {0.23, 0.41, 0.67}) animals[1].values.push_back(static_cast<float>(std::cos(w * t)));
    animals[0].label.push_back(t / 99.0 * (t / 99.0));
    animals[1].label.push_back((99 - t) / 99.0 * ((99 - t) / 99.0));
  }
  return animals;
}

TEST(AnimalConsistency, OfWavesIsTheReferencesNumber) {
  const auto animals = waves();
  const auto found = consistency_of_animals({animals[0].rows(3), animals[1].rows(3)}, 11, true);
  EXPECT_NEAR(found.r2[0][1], 0.284925, 1e-5);
  EXPECT_NEAR(found.r2[1][0], 0.176590, 1e-5);
  EXPECT_TRUE(std::isnan(found.r2[0][0]));
  EXPECT_EQ(found.n_bins, 10);
  EXPECT_EQ(found.n_bins_left_out, 0);
}

TEST(AnimalConsistency, IsOneForAnAffineMapAndUnitLengthLosesWhatLiesAlongTheRadius) {
  auto animals = waves();
  animals[1] = animals[0];
  for (std::size_t i = 0; i < animals[1].values.size(); i += 3) {
    const float a = animals[0].values[i], b = animals[0].values[i + 1], c = animals[0].values[i + 2];
    animals[1].values[i] = 2 * a - b + 5;
    animals[1].values[i + 1] = b + c;
    animals[1].values[i + 2] = 3 * c - 1;
  }
  const auto plain = consistency_of_animals({animals[0].rows(3), animals[1].rows(3)}, 11, false);
  EXPECT_NEAR(plain.r2[0][1], 1, 1e-9);
  EXPECT_NEAR(plain.r2[1][0], 1, 1e-9);
  EXPECT_TRUE(plain.unmapped_r2[0][1] < 0.5) << plain.unmapped_r2[0][1];  // alike, but not in one space
  const auto same = consistency_of_animals({animals[0].rows(3), animals[0].rows(3)}, 11, false);
  EXPECT_NEAR(same.unmapped_r2[0][1], 1, 1e-12);
  const auto unit = consistency_of_animals({animals[0].rows(3), animals[1].rows(3)}, 11, true);
  EXPECT_TRUE(unit.r2[0][1] < 0.99) << unit.r2[0][1];
}

TEST(AnimalConsistency, AnEmptyBinTakesItsNeighboursAndIsLeftOutWhereTheyAreEmptyToo) {
  // Bins of width 1 from 0 to 10; the second animal has nothing in bins 4 to 8 (counted from 0), so that 4 and 5 and 7
  // and 8 have neighbours.
  Animal whole, holed;
  for (int t = 0; t < 10; ++t) {
    whole.values.push_back(static_cast<float>(t));
    whole.label.push_back(t + 0.5);
    if (t >= 4 && t <= 8) continue;
    holed.values.push_back(static_cast<float>(2 * t));
    holed.label.push_back(t + 0.5);
  }
  whole.values.insert(whole.values.end(), {0, 0});
  whole.label.insert(whole.label.end(), {0, 10});
  const auto found = consistency_of_animals({whole.rows(1), holed.rows(1)}, 11, false);
  EXPECT_EQ(found.n_bins_left_out, 1);
  EXPECT_TRUE(found.r2[0][1] > 0.8 && found.r2[0][1] < 1) << found.r2[0][1];
}

TEST(AnimalConsistency, IsNotSaidWhereTheMapHasAsManyCoefficientsAsThereAreBins) {
  const auto animals = waves();
  EXPECT_TRUE(std::isfinite(consistency_of_animals({animals[0].rows(3), animals[1].rows(3)}, 9, true).r2[0][1]));
  EXPECT_TRUE(std::isnan(consistency_of_animals({animals[0].rows(3), animals[1].rows(3)}, 8, true).r2[0][1]));
}

TEST(AnimalConsistency, BinsOfACircularLabelGoOnceRound) {
  // Twelve bins of 30 degrees. The second animal was never seen in the first of them, whose neighbours are the second
  // and, across 0, the last: -1 and 1 stand where 0 was. Its labels have run on for a turn.
  Animal ring, gap;
  for (int bin = 0; bin < 12; ++bin) {
    const double x = bin <= 6 ? bin : bin - 12;
    ring.values.push_back(static_cast<float>(x));
    ring.label.push_back(30 * bin + 15);
    if (bin == 0) continue;
    gap.values.push_back(static_cast<float>(x));
    gap.label.push_back(360 + 30 * bin + 15);
  }
  const auto across = consistency_of_animals({ring.rows(1), gap.rows(1)}, 13, false, 360);
  EXPECT_EQ(across.n_bins_left_out, 0);
  EXPECT_EQ(across.n_bins, 12);
  EXPECT_NEAR(across.unmapped_r2[0][1], 1, 1e-12);
}

TEST(AnimalConsistency, GroupsNeverMix) {
  auto animals = waves();
  animals[1] = animals[0];
  auto first = animals[0].rows(3), second = animals[1].rows(3);
  for (std::size_t i = 0; i < 100; ++i) first.group[i] = second.group[i] = static_cast<std::int32_t>(i % 2);
  const auto found = consistency_of_animals({first, second}, 5, false);
  EXPECT_EQ(found.n_bins, 8);
  EXPECT_NEAR(found.r2[0][1], 1, 1e-9);
  for (std::size_t i = 0; i < 100; ++i) second.group[i] = 1 - second.group[i];
  EXPECT_TRUE(consistency_of_animals({first, second}, 5, false).r2[0][1] < 0.999);
}

}  // namespace
}  // namespace idem
