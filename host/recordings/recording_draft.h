// recording_draft.h - a recording before bins are dropped.
#pragma once

#include <cstdint>
#include <vector>

#include "host/recordings/recording.h"

namespace idem {

struct RecordingDraft {
  Recording recording;
  std::vector<char> keeps;           // [n_times]
  std::vector<char> begins_segment;  // [n_times]

  explicit RecordingDraft(Recording full);

  template <class Predicate>
  std::int64_t drop_where(const Predicate& is_dropped) {
    std::int64_t n_dropped = 0;
    for (std::size_t time = 0; time < keeps.size(); ++time)
      if (keeps[time] && is_dropped(time)) {
        keeps[time] = 0;
        ++n_dropped;
      }
    return n_dropped;
  }

  // What is left; a new segment begins wherever bins went.
  Recording finish() &&;
};

}  // namespace idem
