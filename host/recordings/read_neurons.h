// read_neurons.h - the counts of a recording: an array, spike times, or a file of a known layout.
#pragma once

#include "host/recordings/read_sources.h"
#include "host/recordings/recording.h"

namespace idem {

// The neurons of the section's counts, spikes or file (host/recordings/read_recording.h), with bins and what a known
// file holds beside. Columns that the section names as labels, times, trials or gaps are no neurons. Throws ConfigError
// and DataError.
Recording read_counts(SourceReader& sources);
Recording read_spikes(SourceReader& sources);
Recording read_known_file(SourceReader& sources);

}  // namespace idem
