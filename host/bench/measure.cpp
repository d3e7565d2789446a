#include "host/bench/measure.h"

namespace idem {

Measurement measure(Device& device, PreparedBench& bench, int repetitions) {
  const auto mean = [&] {
    double seconds = 0;
    std::int64_t n_replays = 0;
    for (; seconds < kLeastSeconds; n_replays += bench.n_replays) {
      if (bench.reset) bench.reset();
      seconds += device.seconds(*bench.sequence, bench.n_replays);
    }
    return seconds / static_cast<double>(n_replays);
  };
  mean();
  std::vector<double> seconds(to_size(repetitions));
  std::generate(seconds.begin(), seconds.end(), mean);
  std::sort(seconds.begin(), seconds.end());
  return {seconds[seconds.size() / 2], seconds.front()};
}

}  // namespace idem
