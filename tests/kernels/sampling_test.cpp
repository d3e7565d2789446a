#include "kernels/sampling/sampling.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <array>
#include <cmath>
#include <map>
#include <numeric>
#include <set>
#include <vector>

#include "kernels/common/philox.h"
#include "kernels/common/to_size.h"

namespace idem {
namespace {

// The known answers published with the generator (Random123, philox4x32 with 10 rounds).
TEST(Philox, GivesThePublishedWords) {
  struct Answer {
    PhiloxWords counter;
    std::uint32_t key0, key1;
    PhiloxWords words;
  };
  const std::vector<Answer> answers = {{{{0, 0, 0, 0}}, 0, 0, {{0x6627e8d5, 0xe169c58d, 0xbc57ac4c, 0x9b00dbd8}}},
                                       {{{0xffffffff, 0xffffffff, 0xffffffff, 0xffffffff}},
                                        0xffffffff,
                                        0xffffffff,
                                        {{0x408f276d, 0x41c83b0e, 0xa20bc7c6, 0x6d5451fd}}},
                                       {{{0x243f6a88, 0x85a308d3, 0x13198a2e, 0x03707344}},
                                        0xa4093822,
                                        0x299f31d0,
                                        {{0xd16cfe09, 0x94fdcceb, 0x5001e420, 0x24126ea1}}}};
  for (const Answer& answer : answers) {
    const PhiloxWords words = philox4x32_10(answer.counter, answer.key0, answer.key1);
    for (int i = 0; i < 4; ++i) EXPECT_EQ(words.w[i], answer.words.w[i]) << i;
  }
}

TEST(Philox, SineAndCosineOfTurnsAreExactToTwoUlp) {
  for (int i = 0; i < 1 << 16; ++i) {
    const float turns = static_cast<float>(i) / 65536.0f;
    float sine, cosine;
    sine_cosine_of_turns(turns, sine, cosine);
    const double angle = 2 * 3.14159265358979323846 * static_cast<double>(turns);
    EXPECT_TRUE(std::abs(static_cast<double>(sine) - std::sin(angle)) <=
                1.3e-7 * std::max(std::abs(std::sin(angle)), 1e-8))
        << turns;
    EXPECT_TRUE(std::abs(static_cast<double>(cosine) - std::cos(angle)) <=
                1.3e-7 * std::max(std::abs(std::cos(angle)), 1e-8))
        << turns;
  }
}

template <class Real>
std::vector<Real> draw(std::int64_t n_rows, std::int32_t n_cols, std::uint64_t seed, std::uint32_t step,
                       RandomStream stream = RandomStream::posterior_noise, int n_threads = 1) {
  const std::int64_t stride = padded(n_cols);
  std::vector<Real> rows(to_size(n_rows * stride)), dense;
  DrawNormals<Real> p;
  p.n_rows = n_rows;
  p.n_cols = n_cols;
  p.stream = stream;
  p.seed = &seed;
  p.step = &step;
  p.out = {rows.data(), n_rows * stride, stride};
  ThreadPool pool(n_threads);
  draw_normals_cpu(p, pool);
  for (std::int64_t row = 0; row < n_rows; ++row) {
    for (std::int64_t col = 0; col < n_cols; ++col) dense.push_back(rows[to_size(row * stride + col)]);
  }
  return dense;
}

TEST(DrawNormals, DependOnTheElementAndNotOnTheShape) {
  const std::vector<float> wide = draw<float>(50, 120, 11, 3), narrow = draw<float>(3000, 2, 11, 3),
                           threads = draw<float>(400, 15, 11, 3, {}, 2);
  EXPECT_EQ(wide, narrow);
  EXPECT_EQ(draw<float>(400, 15, 11, 3, {}, 1), threads);
  const std::vector<float> shorter = draw<float>(7, 3, 11, 3);
  EXPECT_TRUE(std::equal(shorter.begin(), shorter.end(), wide.begin()));
}

TEST(DrawNormals, AreNamedBySeedStepAndStream) {
  const auto reference = draw<float>(1, 4, 11, 3);
  EXPECT_NE(draw<float>(1, 4, 12, 3), reference);
  EXPECT_NE(draw<float>(1, 4, 11 + (std::uint64_t{1} << 32), 3), reference);
  EXPECT_NE(draw<float>(1, 4, 11, 4), reference);
  EXPECT_NE(draw<float>(1, 4, 11, 3, RandomStream::input_noise), reference);
}

TEST(DrawNormals, FloatAndDoubleDrawTheSameNumbers) {
  const auto single = draw<float>(1000, 5, 2, 0);
  const auto wide = draw<double>(1000, 5, 2, 0);
  for (std::size_t i = 0; i < single.size(); ++i)
    EXPECT_TRUE(std::abs(static_cast<double>(single[i]) - wide[i]) <= 2e-6) << i;
}

TEST(DrawNormals, AreStandardNormal) {
  std::vector<double> values = draw<double>(20000, 10, 77, 1);
  const double n = static_cast<double>(values.size());
  double mean = 0, square = 0, fourth = 0, neighbours = 0;
  for (std::size_t i = 0; i < values.size(); ++i) {
    mean += values[i] / n;
    square += values[i] * values[i] / n;
    fourth += std::pow(values[i], 4) / n;
    if (i > 0) neighbours += values[i] * values[i - 1] / n;
  }
  // Five standard errors each.
  EXPECT_TRUE(std::abs(mean) <= 5 / std::sqrt(n)) << mean;
  EXPECT_TRUE(std::abs(square - 1) <= 5 * std::sqrt(2 / n)) << square;
  EXPECT_TRUE(std::abs(fourth - 3) <= 5 * std::sqrt(96 / n)) << fourth;
  EXPECT_TRUE(std::abs(neighbours) <= 5 / std::sqrt(n)) << neighbours;
  std::sort(values.begin(), values.end());
  double distance = 0;  // Kolmogorov-Smirnov
  for (std::size_t i = 0; i < values.size(); ++i) {
    distance =
        std::max(distance, std::abs(0.5 * std::erfc(-values[i] / std::sqrt(2.0)) - (static_cast<double>(i) + 0.5) / n));
  }
  EXPECT_TRUE(distance <= 2.0 / std::sqrt(n)) << distance;
}

// Four words of a counter make four normals: a counter used twice would give the same four.
TEST(DrawNormals, UseNoCounterTwiceInTenSteps) {
  std::set<std::array<double, 4>> seen;
  std::size_t n = 0;
  const std::vector<std::pair<RandomStream, std::int32_t>> draws = {{RandomStream::input_noise, 120},
                                                                    {RandomStream::posterior_noise, 2},
                                                                    {RandomStream::encoder_noise, 2},
                                                                    {RandomStream::monte_carlo_noise, 100}};
  for (std::uint32_t step = 0; step < 10; ++step) {
    for (const auto& [stream, n_cols] : draws) {
      const auto values = draw<double>(100, n_cols, 9, step, stream);
      for (std::size_t i = 0; i + 4 <= values.size(); i += 4)
        seen.insert({values[i], values[i + 1], values[i + 2], values[i + 3]});
      n += values.size() / 4;
    }
  }
  EXPECT_EQ(seen.size(), n);
}

struct Batch {
  std::vector<std::int32_t> rows;
  std::vector<float> weights;
  bool active = false;
};
Batch batch_of(const std::vector<std::int32_t>& list, std::int32_t size, std::uint32_t epoch, std::uint32_t index,
               std::uint64_t seed, bool shuffle = true, std::uint8_t enabled = 1) {
  Batch batch{std::vector<std::int32_t>(to_size(size)), std::vector<float>(to_size(size))};
  const std::uint32_t position[2] = {epoch, index};
  const std::int64_t list_begin[2] = {0, static_cast<std::int64_t>(list.size())};
  std::uint8_t active = 9;
  BatchRows<float> p;
  p.batch = size;
  p.shuffle = shuffle;
  p.position = position;
  p.row_lists = list.data();
  p.list_begin = list_begin;
  p.seed = &seed;
  p.enabled = &enabled;
  p.rows = batch.rows.data();
  p.weights = batch.weights.data();
  p.weights_stride = size;
  p.active = &active;
  ThreadPool pool(1);
  batch_rows_cpu(p, pool);
  batch.active = active == 1;
  return batch;
}
std::vector<std::int32_t> counting(std::int32_t n, std::int32_t from = 0) {
  std::vector<std::int32_t> list(to_size(n));
  std::iota(list.begin(), list.end(), from);
  return list;
}

TEST(BatchRows, TakesEveryRowOfTheListOncePerEpoch) {
  for (std::int32_t n : {1, 2, 3, 5, 8, 31, 64, 65, 257, 1000}) {
    for (std::int32_t size : {1, 7, 200, 300}) {
      const auto list = counting(n, 500);
      std::vector<std::int32_t> taken;
      for (std::uint32_t index = 0; index < static_cast<std::uint32_t>((n + size - 1) / size); ++index) {
        const Batch batch = batch_of(list, size, 4, index, 21);
        EXPECT_TRUE(batch.active);
        float sum = 0;
        for (std::size_t i = 0; i < batch.rows.size(); ++i) {
          if (batch.weights[i] > 0) {
            taken.push_back(batch.rows[i]);
          } else {
            EXPECT_EQ(batch.rows[i], 500);
          }
          sum += batch.weights[i];
        }
        EXPECT_TRUE(std::abs(sum - 1) <= 1e-5f) << n << " rows, batches of " << size;
      }
      std::sort(taken.begin(), taken.end());
      EXPECT_EQ(taken, list) << n << " rows, batches of " << size;
    }
  }
}

TEST(BatchRows, MemberIdlesWhenItsListIsDoneOrItIsNotEnabled) {
  EXPECT_FALSE(batch_of(counting(10), 5, 0, 2, 1).active);
  EXPECT_FALSE(batch_of(counting(10), 5, 0, 0, 1, true, 0).active);
  EXPECT_FALSE(batch_of({}, 5, 0, 0, 1).active);
  EXPECT_EQ(batch_of(counting(10), 5, 0, 2, 1).weights, std::vector<float>(5, 0.0f));
}

TEST(BatchRows, KeepTheOrderOfTheListWhenNotShuffled) {
  EXPECT_EQ(batch_of({9, 4, 7, 1, 5}, 3, 6, 1, 1, false).rows, (std::vector<std::int32_t>{1, 5, 9}));
}

TEST(BatchRows, OrderDependsOnSeedAndEpochButNotOnTheBatchSize) {
  const auto list = counting(400);
  const auto order = batch_of(list, 400, 1, 0, 1).rows;
  EXPECT_NE(batch_of(list, 400, 2, 0, 1).rows, order);
  EXPECT_NE(batch_of(list, 400, 1, 0, 2).rows, order);
  const auto third = batch_of(list, 100, 1, 2, 1).rows;
  EXPECT_TRUE(std::equal(third.begin(), third.end(), order.begin() + 200));
}

TEST(BatchRows, EveryOrderOfAShortListIsAboutEquallyLikely) {
  const auto list = counting(3);
  std::map<std::vector<std::int32_t>, int> n_times;
  constexpr int kEpochs = 6000;
  for (std::uint32_t epoch = 0; epoch < kEpochs; ++epoch) ++n_times[batch_of(list, 3, epoch, 0, 5).rows];
  ASSERT_EQ(n_times.size(), 6u);
  double chi_square = 0;
  for (const auto& [order, n] : n_times) chi_square += std::pow(n - kEpochs / 6.0, 2) / (kEpochs / 6.0);
  EXPECT_TRUE(chi_square <= 25.7) << chi_square;  // 5 degrees of freedom: exceeded once in 10,000
}

TEST(BatchRows, AnyRowMayComeAnywhereInALongList) {
  constexpr std::int32_t kRows = 97;
  const auto list = counting(kRows);
  std::vector<int> first(kRows, 0);
  double product = 0;
  constexpr int kEpochs = 4850;
  for (std::uint32_t epoch = 0; epoch < kEpochs; ++epoch) {
    const auto rows = batch_of(list, kRows, epoch, 0, 5).rows;
    ++first[to_size(rows[10])];
    product += (rows[10] - 48.0) * (rows[11] - 48.0) / (kEpochs * 784.0);  // 784: variance of 0 ... 96
  }
  double chi_square = 0;
  for (int n : first) chi_square += std::pow(n - 50.0, 2) / 50.0;
  EXPECT_TRUE(chi_square <= 155) << chi_square;  // 96 degrees of freedom: exceeded about once in 10,000
  EXPECT_TRUE(std::abs(product) <= 5 / std::sqrt(static_cast<double>(kEpochs)) + 1.0 / 96) << product;
}

}  // namespace
}  // namespace idem
