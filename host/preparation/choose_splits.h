// choose_splits.h - the splits of a recording as a study asks for them: what `idem run` trains on and `idem data info`
// announces.
#pragma once

#include <nlohmann/json_fwd.hpp>
#include <string>
#include <vector>

#include "host/preparation/splits.h"

namespace idem {

struct StudySplits {
  std::vector<Split> splits;
  std::vector<int> numbers;  // as in run names: the fold, or 0; one per split
  std::string note;          // what was chosen and why: "splits: three-fold trials, 28 round trips of direction (...)"
  std::vector<Segment> trials;  // those that are dealt out, else those that the recording declares
  std::string trials_from;      // "declared", "round trips of direction"; "" without trials
};

// section: the complete `splits` of a configuration. source: its file, for messages.
// Throws ConfigError naming the key and DataError naming the subject where the recording cannot be split like that.
StudySplits split_recording(const nlohmann::json& section, const Recording& recording, const std::string& source);

}  // namespace idem
