#include <gtest/gtest.h>

#include <random>
#include <vector>

#include "kernels/input/input.h"
#include "kernels/common/to_size.h"

namespace idem {
namespace {

const std::vector<EdgeMode> kEdgeModes = {EdgeMode::shift_window, EdgeMode::reflect,  EdgeMode::mirror,
                                          EdgeMode::nearest,      EdgeMode::constant, EdgeMode::wrap};

// One recording and its filter, in Real.
template <class Real>
struct Filter {
  std::vector<Real> counts, taps;
  std::vector<std::int32_t> begin, end;
  TemporalFilter<Real> p;
  ThreadPool pool{2};

  Filter(const std::vector<std::int32_t>& segment_lengths, std::int32_t n_neurons, std::int32_t n_taps,
         std::int32_t left, EdgeMode edge) {
    for (std::int32_t length : segment_lengths) {
      const auto first = static_cast<std::int32_t>(begin.size());
      begin.insert(begin.end(), to_size(length), first);
      end.insert(end.end(), to_size(length), first + length);
    }
    std::mt19937 random(5);
    std::normal_distribution<double> normal;
    p.n_times = p.n_rows = static_cast<std::int64_t>(begin.size());
    p.n_neurons = n_neurons;
    p.n_taps = n_taps;
    p.left = left;
    p.edge = edge;
    p.counts_stride = p.smoothed_stride = n_neurons;
    for (std::int64_t i = 0; i < p.n_times * n_neurons; ++i) counts.push_back(static_cast<Real>(normal(random)));
    for (std::int32_t i = 0; i < n_taps; ++i) taps.push_back(static_cast<Real>(normal(random)));
  }
  std::vector<Real> smoothed(const std::vector<std::int32_t>* rows = nullptr) {
    p.counts = counts.data();
    p.taps = taps.data();
    p.segment_begin = begin.data();
    p.segment_end = end.data();
    p.rows = rows ? rows->data() : nullptr;
    p.n_rows = rows ? static_cast<std::int64_t>(rows->size()) : p.n_times;
    std::vector<Real> out(to_size(p.n_rows * p.n_neurons));
    p.smoothed = out.data();
    temporal_filter_forward_cpu(p, pool);
    return out;
  }
};

std::vector<float> filtered(std::vector<float> signal, std::vector<float> taps, EdgeMode edge) {
  Filter<float> filter({static_cast<std::int32_t>(signal.size())}, 1, static_cast<std::int32_t>(taps.size()),
                       static_cast<std::int32_t>(taps.size()) / 2, edge);
  filter.counts = std::move(signal);
  filter.taps = std::move(taps);
  return filter.smoothed();
}

// scipy.ndimage.correlate1d of scipy 1.17.1, whole numbers.
TEST(TemporalFilter, EqualsScipyInEveryMode) {
  using Values = std::vector<float>;
  struct Case {
    EdgeMode edge;
    Values long_segment, shorter_than_window;
    float single_bin;
  };
  const std::vector<Case> cases = {{EdgeMode::reflect, {18, 14, 29, 22, 37, 66, 83}, {78, 112, 94}, 145},
                                   {EdgeMode::mirror, {22, 17, 29, 22, 37, 66, 63}, {135, 112, 139}, 145},
                                   {EdgeMode::nearest, {15, 14, 29, 22, 37, 66, 83}, {69, 59, 50}, 145},
                                   {EdgeMode::constant, {15, 14, 29, 22, 37, 66, 38}, {49, 39, 29}, 20},
                                   {EdgeMode::wrap, {38, 23, 29, 22, 37, 66, 38}, {84, 116, 90}, 145}};
  for (const Case& c : cases) {
    SCOPED_TRACE(static_cast<int>(c.edge));
    const Values wide = {1, 2, 3, 4, 5, 6, 8};
    EXPECT_EQ(filtered({0, 3, 1, 4, 1, 5, 9}, {1, 2, 3, 5}, c.edge), c.long_segment);
    EXPECT_EQ(filtered({2, 7, 1}, wide, c.edge), c.shorter_than_window);
    EXPECT_EQ(filtered({5}, wide, c.edge), Values{c.single_bin});
  }
}

TEST(TemporalFilter, ShiftsTheWholeWindowInsideItsSegment) {
  EXPECT_EQ(filtered({1, 10, 100, 1000, 10000, 100000}, {1, 1, 1, 1}, EdgeMode::shift_window),
            (std::vector<float>{1111, 1111, 1111, 11110, 111100, 111100}));
  // A segment shorter than the window repeats its edge.
  EXPECT_EQ(filtered({2, 7, 1}, {1, 2, 3, 4, 5, 6, 8}, EdgeMode::shift_window), (std::vector<float>{69, 59, 50}));
}

TEST(TemporalFilter, KeepsEachSegmentToItself) {
  for (EdgeMode edge : kEdgeModes) {
    SCOPED_TRACE(static_cast<int>(edge));
    const std::vector<std::int32_t> lengths = {30, 4, 1, 50};
    Filter<float> whole(lengths, 3, 9, 5, edge);
    const std::vector<float> together = whole.smoothed();
    std::size_t from = 0;
    for (std::int32_t length : lengths) {
      const std::size_t n = to_size(length) * 3;
      Filter<float> alone({length}, 3, 9, 5, edge);
      alone.counts.assign(whole.counts.begin() + static_cast<std::ptrdiff_t>(from),
                          whole.counts.begin() + static_cast<std::ptrdiff_t>(from + n));
      alone.taps = whole.taps;
      EXPECT_EQ(alone.smoothed(), std::vector<float>(together.begin() + static_cast<std::ptrdiff_t>(from),
                                                     together.begin() + static_cast<std::ptrdiff_t>(from + n)));
      from += n;
    }
  }
}

TEST(TemporalFilter, WindowFormEqualsWholeFormBitForBit) {
  for (EdgeMode edge : kEdgeModes) {
    SCOPED_TRACE(static_cast<int>(edge));
    Filter<float> filter({80, 5, 60}, 37, 12, 3, edge);
    const std::vector<float> whole = filter.smoothed();
    const std::vector<std::int32_t> rows = {144, 0, 81, 84, 85, 12, 12, 79};
    const std::vector<float> windows = filter.smoothed(&rows);
    for (std::size_t i = 0; i < rows.size(); ++i) {
      for (std::size_t neuron = 0; neuron < 37; ++neuron) {
        EXPECT_EQ(windows[i * 37 + neuron], whole[to_size(rows[i]) * 37 + neuron]) << "row " << rows[i];
      }
    }
  }
}

// The filter is linear: w . F x = F^T w . x for any x and w is its finite-difference check without a step size.
TEST(TemporalFilter, BackwardIsTheTransposeOfForward) {
  for (EdgeMode edge : kEdgeModes) {
    for (std::int32_t left : {0, 4, 8, 11, -2}) {
      SCOPED_TRACE(testing::Message() << "edge " << static_cast<int>(edge) << ", left " << left);
      Filter<double> filter({60, 3, 1, 9, 40}, 5, 9, left, edge);
      const std::vector<double> smoothed = filter.smoothed();
      std::mt19937 random(6);
      std::normal_distribution<double> normal;
      std::vector<double> d_smoothed(smoothed.size()), d_counts(smoothed.size());
      for (double& value : d_smoothed) value = normal(random);
      temporal_filter_backward_cpu(TemporalFilterGradient<double>{filter.p, d_smoothed.data(), d_counts.data()},
                                   filter.pool);
      double forward = 0, backward = 0;
      for (std::size_t i = 0; i < smoothed.size(); ++i) {
        forward += d_smoothed[i] * smoothed[i];
        backward += d_counts[i] * filter.counts[i];
      }
      EXPECT_TRUE(std::abs(forward - backward) <= 1e-11 * std::abs(forward) + 1e-11)
          << forward << " against " << backward;
    }
  }
}

TEST(GatherRows, CopiesWholeNumbersExactly) {
  std::vector<float> source(60);
  for (std::size_t i = 0; i < source.size(); ++i) source[i] = static_cast<float>(i);
  const std::vector<std::int32_t> rows = {5, 0, 5, 11, 2, 3};  // two members, batch of three
  std::vector<float> out(2 * 3 * 16, -1.0f);
  GatherRows<float> p;
  p.fleet.n_members = 2;
  p.batch = 3;
  p.n_features = 5;
  p.source = source.data();
  p.source_stride = 5;
  p.rows = rows.data();
  p.out = {out.data(), 48, 16};
  ThreadPool pool(1);
  gather_rows_cpu(p, pool);
  for (std::size_t i = 0; i < rows.size(); ++i) {
    for (std::size_t feature = 0; feature < 5; ++feature) {
      EXPECT_EQ(out[i * 16 + feature], static_cast<float>(rows[i] * 5 + static_cast<int>(feature)));
    }
  }
}

TEST(GatherRows, LaysTheWindowsOfABatchOutBinByBin) {
  const std::vector<float> source = {0, 1, 2, 3, 4, 5};
  const std::vector<std::int32_t> rows = {4, 0, 3}, window_begin = {0, 0, 1, 2, 3, 3};
  std::vector<float> out(6 * 16, -1.0f);
  GatherRows<float> p;
  p.batch = 3;
  p.n_features = 1;
  p.window = 2;
  p.source = source.data();
  p.source_stride = 1;
  p.rows = rows.data();
  p.window_begin = window_begin.data();
  p.out = {out.data(), 96, 16};
  ThreadPool pool(1);
  gather_rows_cpu(p, pool);
  for (std::size_t row = 0; row < 6; ++row)
    EXPECT_EQ(out[row * 16], (std::vector<float>{3, 0, 2, 4, 1, 3})[row]) << row;
}

}  // namespace
}  // namespace idem
