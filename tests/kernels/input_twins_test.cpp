#include <algorithm>
#include <numeric>

#include "kernels/input/input.h"
#include "tests/emulation/twin_check.h"
#include "kernels/common/to_size.h"

namespace idem {
namespace {

const std::vector<EdgeMode> kEdgeModes = {EdgeMode::shift_window, EdgeMode::reflect,  EdgeMode::mirror,
                                          EdgeMode::nearest,      EdgeMode::constant, EdgeMode::wrap};

struct FilterCase {
  std::vector<std::int32_t> segment_lengths;
  std::int32_t n_neurons = 1, n_taps = 1, left = 0;
  EdgeMode edge = EdgeMode::shift_window;
  bool per_window = false;
};

template <class Run>
auto filter_parameters(Run& run, const FilterCase& c) {
  using Real = typename Run::Scalar;
  std::vector<std::int32_t> begin, end;
  for (std::int32_t length : c.segment_lengths) {
    const auto first = static_cast<std::int32_t>(begin.size());
    begin.insert(begin.end(), to_size(length), first);
    end.insert(end.end(), to_size(length), first + length);
  }
  TemporalFilter<Real> p;
  p.n_times = p.n_rows = static_cast<std::int64_t>(begin.size());
  p.n_neurons = c.n_neurons;
  p.n_taps = c.n_taps;
  p.left = c.left;
  p.edge = c.edge;
  p.segment_begin = run.shared_array("segment_begin", begin);
  p.segment_end = run.shared_array("segment_end", end);
  p.taps = run.shared_input("taps", c.n_taps);
  if (c.per_window) {  // every third bin, backwards
    std::vector<std::int32_t> rows;
    for (std::int32_t bin = static_cast<std::int32_t>(p.n_times) - 1; bin >= 0; bin -= 3) rows.push_back(bin);
    p.n_rows = static_cast<std::int64_t>(rows.size());
    p.rows = run.shared_array("rows", rows);
  }
  p.smoothed_stride = p.counts_stride = padded(c.n_neurons);
  return p;
}

void check_filter(const FilterCase& c) {
  SCOPED_TRACE(testing::Message() << "edge " << static_cast<int>(c.edge) << ", " << c.n_neurons << " neurons, "
                                  << c.n_taps << " taps, left " << c.left << (c.per_window ? ", per window" : ""));
  check_twins(TwinFleet::single(), [&](auto& run) {
    auto p = filter_parameters(run, c);
    p.counts = run.shared_input_rows("counts", p.n_times, c.n_neurons, count_values(3)).data;
    p.smoothed = run.shared_output_rows("smoothed", p.n_rows, c.n_neurons).data;
    temporal_filter_forward(run.execution(), p);
  });
  if (c.per_window) return;
  check_twins(TwinFleet::single(), [&](auto& run) {
    TemporalFilterGradient<typename std::decay_t<decltype(run)>::Scalar> p;
    p.forward = filter_parameters(run, c);
    p.d_smoothed = run.shared_input_rows("d_smoothed", p.forward.n_rows, c.n_neurons).data;
    p.d_counts = run.shared_output_rows("d_counts", p.forward.n_times, c.n_neurons).data;
    temporal_filter_backward(run.execution(), p);
  });
}

TEST(TemporalFilterTwins, AgreeForEveryEdgeModeAndSegmentShorterThanTheWindow) {
  for (EdgeMode edge : kEdgeModes) {
    for (bool per_window : {false, true}) check_filter({{40, 1, 3, 90, 7}, 33, 9, 4, edge, per_window});
    check_filter({{40, 1, 3}, 2, 6, 5, edge, false});
  }
}
TEST(TemporalFilterTwins, AgreeOnEverySize) {
  for (std::int64_t n_times : kHardSizes) {
    for (std::int32_t n_neurons : {1, 61})
      check_filter({{static_cast<std::int32_t>(n_times)}, n_neurons, 10, 5, EdgeMode::reflect, false});
  }
}
TEST(TemporalFilterTwins, AgreeWhenTheWindowIsTooLongForSharedMemory) {
  check_filter({{40}, 1, 330, 165, EdgeMode::reflect, false});
}

void check_gather(std::int64_t batch, std::int32_t n_features, std::int32_t window, bool side_by_side = false) {
  for (bool noisy : {false, true}) {
    if (noisy && side_by_side) continue;
    SCOPED_TRACE(testing::Message() << "batch " << batch << ", " << n_features << " features, window " << window);
    check_twins(TwinFleet::several(), [&](auto& run) {
      GatherRows<typename std::decay_t<decltype(run)>::Scalar> p;
      p.fleet = run.fleet();
      p.batch = static_cast<std::int32_t>(batch);
      p.n_features = n_features;
      p.window = window;
      p.source = run.shared_input_rows("source", 100, p.n_features, count_values(3)).data;
      p.source_stride = padded(p.n_features);
      std::vector<std::int32_t> rows(to_size(3 * batch));
      for (std::size_t i = 0; i < rows.size(); ++i) rows[i] = static_cast<std::int32_t>(i * 37 % 100);
      p.rows = run.input_array("rows", batch, rows);
      if (window > 1) {
        std::vector<std::int32_t> begin(100);
        for (std::int32_t row = 0; row < 100; ++row)
          begin[to_size(row)] = std::clamp(row - window / 2, 0, 100 - window);
        p.window_begin = run.shared_array("window_begin", begin);
      }
      if (noisy) {
        p.noise = {run.template input_array<std::uint64_t>("seed", 1, {1, 99, 1ull << 40}),
                   run.template input_array<std::uint32_t>("step", 1, {0, 7, 12}), run.input("noise_scale", 1)};
      }
      p.side_by_side = side_by_side;
      p.out = side_by_side ? run.output_rows("out", batch, window * p.n_features)
                           : run.output_rows("out", window * batch, p.n_features);
      gather_rows(run.execution(), p);
    });
  }
}

TEST(GatherRowsTwins, AgreeWithAndWithoutNoise) {
  for (std::int64_t batch : kHardSizes) check_gather(batch, 33, 1);
}
TEST(GatherRowsTwins, AgreeForWindowsOfEverySize) {
  for (std::int64_t batch : kHardSizes) check_gather(batch, 3, 10);
  for (std::int32_t window : {2, 7, 100}) check_gather(5, 33, window);
}
TEST(GatherRowsTwins, AgreeForWindowsSideBySide) {
  for (std::int64_t batch : kHardSizes) check_gather(batch, 33, 10, true);
}

TEST(GatherSeveralTwins, AgreeForShapesOfTheirOwn) {
  for (const std::int32_t n : {0, 1, 3}) {
    SCOPED_TRACE(testing::Message() << n << " together");
    check_twins(TwinFleet::several(), [&](auto& run) {
      SeveralGathers<typename std::decay_t<decltype(run)>::Scalar> p;
      p.fleet = run.fleet();
      std::vector<std::int32_t> rows(3 * 61), begin(100);
      for (std::size_t i = 0; i < rows.size(); ++i) rows[i] = static_cast<std::int32_t>(i * 37 % 100);
      for (std::int32_t row = 0; row < 100; ++row) begin[to_size(row)] = std::clamp(row - 2, 0, 96);
      const auto* seen = run.input_array("rows", 61, rows);
      const auto* window_begin = run.shared_array("window_begin", begin);
      for (std::int32_t i = 0; i < n; ++i) {
        const std::int32_t n_features = i == 0 ? 40 : i, window = i == 0 ? 4 : 1;
        p.add({.fleet = p.fleet,
               .batch = 61,
               .n_features = n_features,
               .window = window,
               .source = run.shared_input_rows("source" + std::to_string(i), 100, n_features).data,
               .source_stride = padded(n_features),
               .rows = seen,
               .window_begin = i == 0 ? window_begin : nullptr,
               .out = run.output_rows("out" + std::to_string(i), 61 * window, n_features)});
      }
      gather_several(run.execution(), p);
    });
  }
}

}  // namespace
}  // namespace idem
