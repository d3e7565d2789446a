// track_case.h - a small recording with labels, and an embedding that knows a little of them.
#pragma once

#include <cmath>
#include <vector>

#include "host/evaluation/knn.h"
#include "host/preparation/splits.h"
#include "host/recordings/recording.h"
#include "tests/support/reproducible_values.h"

namespace idem {

// A rat that runs to and fro on a track of 1.6 m, and an embedding that knows a little of it.
struct TrackCase {
  Recording recording;
  std::vector<float> values;
  Split split;
  Embedding embedding;

  TrackCase() {
    const int n_times = 400;
    recording.subject = "rat";
    recording.n_times = n_times;
    recording.n_neurons = 2;
    recording.counts.resize(2 * n_times);
    recording.segments = {{0, n_times}};
    LabelColumn position{
        .name = "position", .kind = LabelKind::continuous, .unit = "m", .period = 0, .categories = {}, .values = {}};
    LabelColumn direction{.name = "direction",
                          .kind = LabelKind::categorical,
                          .unit = {},
                          .period = 0,
                          .categories = {"left", "right"},
                          .values = {}};
    split.name = "interleaved";
    for (int time = 0; time < n_times; ++time) {
      const int phase = time * 3 % 64;
      const double place = std::abs(phase - 32) / 20.0, right = phase < 32 ? 1 : 0;
      position.values.push_back(place);
      direction.values.push_back(right);
      const auto noise = [&](int column) { return reproducible_value(time, column); };
      values.push_back(static_cast<float>(4 * place + noise(0) / 4 + noise(3) * noise(4) / 64));
      values.push_back(static_cast<float>((2 * right - 1) * 2 * place + noise(1) / 4));
      values.push_back(static_cast<float>(right + noise(2) / 4));
      (time % 10 < 6 ? split.train : time % 10 < 8 ? split.valid : split.test).push_back(time);
    }
    recording.labels = {position, direction};
    embedding = {n_times, 3, values};
  }
};

}  // namespace idem
