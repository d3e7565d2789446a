// subject.h - the recording of one animal and how its bins are split.
#pragma once

#include <string>
#include <vector>

#include "host/preparation/splits.h"
#include "host/recordings/recording.h"

namespace idem {

struct Subject {
  Recording recording;
  std::vector<Split> splits;
  std::vector<int> split_numbers;     // as in run names: the fold, or 0
  std::vector<Segment> trials;        // units of splitting; empty: the recording has none
  std::vector<std::string> notes;     // what the reader did, what was chosen and what follows from study and recording
  std::vector<std::string> warnings;  // what is allowed and probably not meant; one sentence each, of both
};

}  // namespace idem
