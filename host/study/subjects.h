// subjects.h - the recordings of a study, split and checked: everything that is decided before anything is trained or written.
#pragma once

#include <string>
#include <vector>

#include "host/config/study.h"
#include "host/evaluation/targets.h"
#include "host/recordings/recording.h"

namespace idem {

// The recording of one animal and how its bins are split.
struct Subject {
  Recording recording;
  std::vector<Split> splits;
  std::vector<int> split_numbers;     // as in run names: the fold, or 0
  std::vector<std::string> notes;     // what the reader did, what was chosen and what follows from study and recording together, one sentence each
  std::vector<std::string> warnings;  // what is allowed and probably not meant, one sentence each
};

// Reads every recording and checks all that the study says about it, so that nothing which `idem check` accepts fails in a run before its training:
// labels, windows, splits, decoders, whole counts for Poisson. Throws ConfigError naming the key, DataError naming the file.
std::vector<Subject> load_subjects(const Study& study);

// A model as it is for one recording: model.labels left out means all labels of the recording. Throws ConfigError where it has none and the model
// sees labels.
ModelConfig model_for(const Study& study, const ModelConfig& model, const Recording& recording);

// The recording as a model sees it: its label "time" where model.labels names one that was not measured (see with_time), its labels dealt out to the
// bins by chance where model.shuffle_labels says so (all labels of a bin together, by numpy.random.RandomState(seed).permutation).
Recording recording_for(const ModelConfig& model, const Recording& recording);

DecodingOptions decoding_options(const Study& study);

}  // namespace idem
