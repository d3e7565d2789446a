// data_info.h - what `idem data info` says about a recording.
#pragma once

#include <nlohmann/json_fwd.hpp>
#include <string>

#include "host/preparation/choose_splits.h"

namespace idem {

// For people: sizes, rates, silent and hot neurons, gaps, labels, trials, split sizes, what the reader did, what is
// hardly meant (plausibility.h), and a raster of the most active neurons; UTF-8, lines of at most 100 columns (but for
// notes and warnings), ends with a newline. splits: as a run would make them.
std::string describe_recording(const Recording& recording, const StudySplits& splits);

// The same for programs: subject, n_times, n_neurons, bin_width_s, duration_s, n_spikes, counts {whole, max,
// zero_fraction}, rates_hz [n_neurons], neuron_ids, silent, hot (ids), segments [[begin, end], ...], labels [{name,
// kind, unit, min, max | categories, fractions, changes}], trials
// [[begin, end], ...], trials_from, splits [{number, train, valid, test}] (numbers of bins), notes, warnings.
nlohmann::json recording_info(const Recording& recording, const StudySplits& splits);

}  // namespace idem
