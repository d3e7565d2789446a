// plausibility.h - recordings that can be read and are hardly what was meant: spike times in another unit of time,
// counts that are none.
#pragma once

#include <nlohmann/json_fwd.hpp>
#include <string>
#include <vector>

#include "host/recordings/recording.h"
#include "host/recordings/spike_times.h"

namespace idem {

// Whether the list recording.accept of the section names this check; throws ConfigError for a name that is no check.
// Checks: "low-rate".
bool is_accepted(const nlohmann::json& section, const std::string& check);

// Throws DataError where the units that `binning` keeps fire less than 0.01 Hz in the mean between their first and last
// spike, or half of the intervals between spikes of a unit are longer than 30 s: nobody records that, but times that
// are milliseconds, microseconds or samples look so. The message names what they would be.
void require_plausible_times(const SpikeTimes& spikes, const Binning& binning);

// Throws DataError where whole counts amount to less than 0.01 Hz in the mean: a bin width in another unit.
void require_plausible_counts(const Recording& recording, const std::string& where);

// What `idem data info`, `idem check` and `idem run` warn of: the reader's own warnings, more neurons than bins, more
// spikes than neurons fire.
std::vector<std::string> doubts_of(const Recording& recording);

}  // namespace idem
