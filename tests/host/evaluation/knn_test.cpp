#include "host/evaluation/knn.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <limits>
#include <random>

#include "host/support/errors.h"
#include "kernels/common/to_size.h"
#include "tests/support/bins.h"
#include "tests/support/reproducible_values.h"

namespace idem {
namespace {

std::vector<std::vector<Neighbour>> all_neighbours(const NeighbourSearch& search, int n_threads) {
  ThreadPool pool(n_threads);
  std::vector<std::vector<Neighbour>> lists(search.query.size());
  find_neighbours(search, pool, [&](std::int64_t query, std::span<const Neighbour> nearest) {
    lists[to_size(query)].assign(nearest.begin(), nearest.end());
  });
  return lists;
}

// Results of KNeighborsRegressor and KNeighborsClassifier (scikit-learn 1.9, float64) on the reproducible rows.
struct StoredPrediction {
  Distance distance;
  int neighbours;
  double mean[6];
  std::int32_t vote[6];
};
const StoredPrediction kStored[] = {
    {Distance::cosine, 1, {-6.421875, 6.25, -4.890625, 7.34375, 7.15625, -5.921875}, {0, 3, 1, 1, 0, 1}},
    {Distance::cosine,
     3,
     {-5.04166666667, -0.479166666667, -0.114583333333, -0.114583333333, 0.25, 0.25},
     {0, 1, 1, 1, 0, 0}},
    {Distance::cosine,
     8,
     {-2.38671875, -0.81640625, 0.330078125, -1.421875, -1.263671875, -1.32421875},
     {1, 2, 2, 2, 0, 2}},
    {Distance::cosine, 25, {-0.8825, -0.85875, -0.3, 0.35625, -0.568125, -0.085625}, {0, 1, 2, 2, 2, 2}},
    {Distance::euclidean, 1, {-6.421875, -2.796875, -4.890625, 7.34375, 7.15625, 7.15625}, {0, 2, 1, 1, 0, 0}},
    {Distance::euclidean,
     3,
     {-5.04166666667, -0.479166666667, -0.114583333333, -0.114583333333, 3.15625, 0.25},
     {0, 1, 1, 1, 0, 0}},
    {Distance::euclidean,
     8,
     {-2.40234375, 2.279296875, 0.330078125, -1.28515625, 0.287109375, 1.404296875},
     {1, 2, 2, 2, 0, 0}},
    {Distance::euclidean, 25, {-0.6625, -0.781875, -0.275, -0.231875, -0.425625, -0.64125}, {1, 2, 0, 2, 1, 1}},
};

TEST(NearestNeighbours, PredictionsEqualScikitLearnForSeveralNeighbourCountsAtOnce) {
  const std::vector<float> rows = reproducible_rows(66, 3);
  const auto train = bins(0, 60), query = bins(60, 66);
  std::vector<double> target;
  std::vector<std::int32_t> classes;
  for (int row = 0; row < 60; ++row) {
    target.push_back(reproducible_value(row, 7));
    classes.push_back((row * 5 + row / 7) % 4);
  }
  ThreadPool pool(2);
  for (Distance distance : {Distance::cosine, Distance::euclidean}) {
    const std::vector<int> neighbours = {25, 1, 8, 3};  // in no order
    const auto predictions =
        predict_from_neighbours({{66, 3, rows}, train, query, 0, distance}, target, 1, classes, 1, neighbours, pool);
    int compared = 0;
    for (const auto& stored : kStored)
      for (std::size_t i = 0; i < neighbours.size(); ++i) {
        if (stored.distance != distance || stored.neighbours != neighbours[i]) continue;
        ++compared;
        for (std::size_t row = 0; row < 6; ++row) {
          EXPECT_NEAR(predictions[i].means[row], stored.mean[row], 1e-11)
              << neighbours[i] << " neighbours, row " << row;
          EXPECT_EQ(predictions[i].votes[row], stored.vote[row]) << neighbours[i] << " neighbours, row " << row;
        }
      }
    EXPECT_EQ(compared, 4);
  }
}

TEST(NearestNeighbours, DistancesEqualScikitLearn) {
  const std::vector<float> rows = reproducible_rows(66, 3);
  const auto train = bins(0, 60), query = bins(60, 61);
  const std::int32_t place[] = {7, 25, 43, 23};
  const double cosine[] = {0.00175560524309, 0.0108442485987, 0.0214934511774, 0.0615347151746};
  const double euclidean[] = {0.401413518083, 0.980896632232, 1.48297631471, 2.68958857797};
  const auto by_cosine = all_neighbours({{66, 3, rows}, train, query, 4, Distance::cosine}, 1).front();
  const auto by_euclidean = all_neighbours({{66, 3, rows}, train, query, 4, Distance::euclidean}, 1).front();
  for (std::size_t i = 0; i < 4; ++i) {
    EXPECT_EQ(by_cosine[i].train, place[i]);
    EXPECT_NEAR(by_cosine[i].distance, cosine[i], 1e-12);
    EXPECT_EQ(by_euclidean[i].train, place[i]);
    EXPECT_NEAR(by_euclidean[i].distance, euclidean[i], 1e-11);
  }
}

TEST(NearestNeighbours, BlockedSearchEqualsSortingAllDistancesForAnyNumberOfThreads) {
  for (int n_dims : {1, 2, 17}) {
    const int n_rows = 1500;
    const std::vector<float> rows = reproducible_rows(n_rows, n_dims);  // 1009 values in one column: many ties
    for (int n_train : {1, 255, 256, 257, 1400}) {
      const auto train = bins(0, n_train), query = bins(1440, 1500);
      for (int n_neighbours : {1, 7, 300, 1400}) {
        if (n_neighbours > n_train) continue;
        const auto one = all_neighbours({{n_rows, n_dims, rows}, train, query, n_neighbours, Distance::euclidean}, 1);
        const auto three = all_neighbours({{n_rows, n_dims, rows}, train, query, n_neighbours, Distance::euclidean}, 3);
        for (std::size_t i = 0; i < query.size(); ++i) {
          std::vector<Neighbour> sorted;
          for (std::int32_t j = 0; j < n_train; ++j) {
            double squared = 0;
            for (int dim = 0; dim < n_dims; ++dim) {
              const double difference = rows[to_size(query[i] * n_dims + dim)] - rows[to_size(j * n_dims + dim)];
              squared += difference * difference;  // exact: the rows are multiples of 1/64
            }
            sorted.push_back({std::sqrt(squared), j});
          }
          std::sort(sorted.begin(), sorted.end(), [](const auto& a, const auto& b) {
            return std::pair(a.distance, a.train) < std::pair(b.distance, b.train);
          });
          std::size_t n_counted = to_size(n_neighbours);
          while (n_counted < sorted.size() && sorted[n_counted].distance == sorted[to_size(n_neighbours - 1)].distance)
            ++n_counted;
          ASSERT_EQ(one[i].size(), n_counted);
          ASSERT_EQ(three[i].size(), n_counted);
          for (std::size_t j = 0; j < one[i].size(); ++j) {
            ASSERT_EQ(one[i][j].train, sorted[j].train) << n_dims << " dims, " << n_train << " train, neighbour " << j;
            ASSERT_EQ(one[i][j].distance, sorted[j].distance);
            ASSERT_EQ(one[i][j].train, three[i][j].train);
            ASSERT_EQ(one[i][j].distance, three[i][j].distance);
          }
        }
      }
    }
  }
}

TEST(NearestNeighbours, AllRowsTiedWithTheLastCountAlike) {
  const std::vector<float> rows = {1, 0, 0, 1, -1, 0, 0, -1, 0, 0, 0.5f, 0, 3, 3};
  const std::vector<std::int32_t> train = {2, 0, 6, 3, 1, 5}, query = {4};
  const auto nearest = all_neighbours({{7, 2, rows}, train, query, 3, Distance::euclidean}, 1).front();
  ASSERT_EQ(nearest.size(), 5u);  // the nearest, and four as far as the third
  const std::int32_t places[] = {5, 0, 1, 3, 4};
  for (std::size_t i = 0; i < 5; ++i) EXPECT_EQ(nearest[i].train, places[i]);
  ThreadPool pool(1);
  const std::vector<double> targets = {1, 2, 4, 8, 16, 32};
  const auto predictions = predict_from_neighbours({{7, 2, rows}, train, query, 0, Distance::euclidean}, targets, 1,
                                                   std::vector<std::int32_t>{1, 0, 0, 2, 2, 1}, 1, {1, 2, 5, 6}, pool);
  EXPECT_EQ(predictions[0].means[0], 32);
  EXPECT_EQ(predictions[1].means[0], (32 + 1 + 2 + 8 + 16) / 5.0);
  EXPECT_EQ(predictions[2].means[0], predictions[1].means[0]);
  EXPECT_EQ(predictions[3].means[0], 63 / 6.0);
  EXPECT_EQ(predictions[0].votes[0], 1);
  EXPECT_EQ(predictions[1].votes[0], 1);
}

TEST(NearestNeighbours, RowsThatAreParallelTieByCosineAndZeroVectorsWithAll) {
  // Lengths that round: (1, 1, 1) and its multiples are not the same unit vectors in double.
  std::vector<float> rows;
  for (int factor : {1, 3, 5, 6, 7, 11, 13, 19, 21})
    rows.insert(rows.end(), {1.0f * factor, 2.0f * factor, 3.0f * factor});
  rows.insert(rows.end(), {0, 0, 0, 0, 0, 0, 9, 1, 1, 1, 2, 4, 3, 0, -1});
  const auto train = bins(0, 12);
  const std::vector<std::int32_t> query = {12, 9, 13};
  for (int k : {1, 4, 9}) {
    const auto nearest = all_neighbours({{14, 3, rows}, train, query, k, Distance::cosine}, 1);
    EXPECT_EQ(nearest[0].size(), 9u) << k;
    EXPECT_EQ(nearest[1].size(), 12u) << k;  // a zero vector is as far from everything
  }
  // At a right angle to the nine; two zero vectors are at distance 1 as they are, and (9, 1, 1) is nearer.
  const auto nearest = all_neighbours({{14, 3, rows}, train, query, 2, Distance::cosine}, 1)[2];
  EXPECT_EQ(nearest.size(), 12u);
  EXPECT_EQ(nearest[0].train, 11);
}

// Every distance sorted; all rows at or below the k-th, but for rounding, weigh 1.
struct BruteForce {
  std::vector<double> means;
  std::vector<std::int32_t> votes;
};
BruteForce by_brute_force(const NeighbourSearch& search, const std::vector<double>& targets,
                          const std::vector<std::int32_t>& classes, int k) {
  BruteForce result;
  const auto value = [&](std::int32_t row, int dim) {
    return static_cast<long double>(search.points.values[to_size(row * search.points.n_dims + dim)]);
  };
  for (const auto query : search.query) {
    std::vector<long double> distances;
    for (const auto row : search.train) {
      long double squared = 0, product = 0, length = 0, own = 0;
      for (int dim = 0; dim < search.points.n_dims; ++dim) {
        const long double a = value(query, dim), b = value(row, dim);
        squared += (a - b) * (a - b), product += a * b, length += b * b, own += a * a;
      }
      const bool is_zero = length == 0 || own == 0;
      distances.push_back(search.distance == Distance::euclidean ? squared
                          : is_zero                              ? 1
                                                                 : 1 - product / (std::sqrt(length) * std::sqrt(own)));
    }
    std::vector<long double> sorted = distances;
    std::sort(sorted.begin(), sorted.end());
    const long double furthest = sorted[to_size(k - 1)] + 1e-12L;
    double sum = 0, n = 0;
    std::vector<int> votes(5, 0);
    for (std::size_t i = 0; i < distances.size(); ++i)
      if (distances[i] <= furthest) sum += targets[i], ++n, ++votes[to_size(classes[i])];
    result.means.push_back(sum / n);
    result.votes.push_back(static_cast<std::int32_t>(std::max_element(votes.begin(), votes.end()) - votes.begin()));
  }
  return result;
}

TEST(NearestNeighbours, OfCountsDoNotDependOnTheOrderOfTheTrainingRows) {
  const int n_rows = 700, n_train = 600;
  for (int n_dims : {2, 9}) {
    std::vector<float> rows;
    for (int i = 0; i < n_rows * n_dims; ++i) {
      const double value = reproducible_value(i / n_dims, i % n_dims);
      rows.push_back(value < 3 ? 0.0f : value < 6 ? 1.0f : 2.0f);  // few spikes, and many windows without one
    }
    std::vector<std::int32_t> train = bins(0, n_train);
    const auto query = bins(n_train, n_rows);
    std::vector<double> target_of;
    std::vector<std::int32_t> class_of;
    for (int row = 0; row < n_train; ++row) {
      target_of.push_back(reproducible_value(row, 20) / 3);
      class_of.push_back(row * 7 % 5);
    }
    ThreadPool pool(2);
    for (Distance distance : {Distance::cosine, Distance::euclidean}) {
      std::vector<NeighbourPrediction> first;
      const std::vector<int> grid = {16, 1, 4, 300, 144};
      for (unsigned shuffle = 0; shuffle < 4; ++shuffle) {
        if (shuffle > 0) std::shuffle(train.begin(), train.end(), std::mt19937(shuffle));
        std::vector<double> targets;
        std::vector<std::int32_t> classes;
        for (const auto row : train) {
          targets.push_back(target_of[to_size(row)]);
          classes.push_back(class_of[to_size(row)]);
        }
        const NeighbourSearch search{{n_rows, n_dims, rows}, train, query, 0, distance};
        const auto predictions = predict_from_neighbours(search, targets, 1, classes, 1, grid, pool);
        if (first.empty()) first = predictions;
        for (std::size_t i = 0; i < grid.size(); ++i) {
          EXPECT_EQ(predictions[i].means, first[i].means) << grid[i] << " neighbours";
          EXPECT_EQ(predictions[i].votes, first[i].votes) << grid[i] << " neighbours";
          const BruteForce expected = by_brute_force(search, targets, classes, grid[i]);
          EXPECT_EQ(predictions[i].votes, expected.votes) << grid[i] << " neighbours";
          const std::vector<double> alone =
              predict_from_neighbours(search, targets, 1, classes, 1, {grid[i]}, pool).front().means;
          for (std::size_t row = 0; row < query.size(); ++row) {
            ASSERT_NEAR(predictions[i].means[row], expected.means[row], 1e-12) << grid[i] << " neighbours, row " << row;
            ASSERT_NEAR(alone[row], expected.means[row], 1e-12) << grid[i] << " neighbours alone, row " << row;
          }
        }
      }
    }
  }
}

TEST(NearestNeighbours, TiedVotesGoToTheLowestClass) {
  const std::vector<float> rows = {1, 2, 3, 4, 0};
  const std::vector<std::int32_t> train = {0, 1, 2, 3}, query = {4}, classes = {3, 1, 1, 3};
  ThreadPool pool(1);
  const auto predictions =
      predict_from_neighbours({{5, 1, rows}, train, query, 0, Distance::euclidean}, {}, 0, classes, 1, {1, 2, 4}, pool);
  EXPECT_EQ(predictions[0].votes[0], 3);
  EXPECT_EQ(predictions[1].votes[0], 1);
  EXPECT_EQ(predictions[2].votes[0], 1);
}

TEST(NearestNeighbours, CosineIgnoresLengthAndAZeroVectorIsAtDistanceOne) {
  const std::vector<float> rows = {10, 10, 0, 0, -3, -3, 2, 2.5};
  const std::vector<std::int32_t> train = {0, 1, 2}, query = {3};
  const auto nearest = all_neighbours({{4, 2, rows}, train, query, 3, Distance::cosine}, 1).front();
  EXPECT_EQ(nearest[0].train, 0);
  EXPECT_EQ(nearest[1].train, 1);
  EXPECT_EQ(nearest[1].distance, 1);
  EXPECT_NEAR(nearest[0].distance + nearest[2].distance, 2, 1e-15);
}

TEST(NearestNeighbours, RowsThatAreNotFiniteAndCountsOutOfRangeAreRefused) {
  const std::vector<std::int32_t> train = {0, 1}, query = {2};
  const std::vector<float> rows = {1, 2, 3};
  EXPECT_THROW(all_neighbours({{3, 1, rows}, train, query, 3, Distance::euclidean}, 1), ConfigError);
  EXPECT_THROW(all_neighbours({{3, 1, rows}, train, query, 0, Distance::euclidean}, 1), ConfigError);
  for (float bad : {std::numeric_limits<float>::quiet_NaN(), std::numeric_limits<float>::infinity()})
    for (std::size_t place : {0, 2}) {
      std::vector<float> broken = rows;
      broken[place] = bad;
      EXPECT_THROW(all_neighbours({{3, 1, broken}, train, query, 1, Distance::cosine}, 1), DataError);
    }
  const std::vector<std::int32_t> outside = {3};
  EXPECT_THROW(all_neighbours({{3, 1, rows}, train, outside, 1, Distance::euclidean}, 1), DataError);
}

}  // namespace
}  // namespace idem
