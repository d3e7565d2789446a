// measure.h - how a time is taken: medians of means over replays.
#pragma once

#include <algorithm>
#include <vector>

#include "host/bench/bench.h"
#include "kernels/common/to_size.h"

namespace idem {

struct Measurement {
  double median_s = 0, minimum_s = 0;  // of a replay
};

constexpr double kLeastSeconds = 0.05;  // that a mean is taken over

// Median and least of that many means of a replay, after one that warms caches and clocks.
Measurement measure(Device& device, PreparedBench& bench, int repetitions);

}  // namespace idem
