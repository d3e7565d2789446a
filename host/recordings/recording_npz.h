// recording_npz.h - a Recording as one .npz file that Python opens too.
//
//   counts        [n_times x n_neurons]  uint8 or uint16 where whole and small, else float32
//   time_s        [n_times]              start of each bin
//   segment       [n_times]              number of the unbroken stretch that the bin lies in, ascending
//   labels        [n_times x n_labels]   float64; categorical labels as index into their categories
//   trials        [n_trials x 2]         declared trials as first bin, one past the last bin; absent without
//   neuron_ids    [n_neurons]
//   true_latents, true_latent_means  [n_times x n]  simulations only
//   bin_width_s   0-d
//   meta          JSON text: format "idem-recording", version, subject, labels (name, kind, unit, period, categories),
//                 has_negative_values, notes
#pragma once

#include <filesystem>
#include <map>
#include <string>

#include "host/formats/npz.h"
#include "host/recordings/recording.h"

namespace idem {

// The same recording gives the same bytes. Throws DataError when the file cannot be written.
void write_recording_npz(const Recording& recording, const std::filesystem::path& path);

bool is_recording_npz(const std::map<std::string, NumpyArray>& arrays);
// What write_recording_npz wrote, checked. Throws DataError.
Recording recording_of_npz(const std::map<std::string, NumpyArray>& arrays, const std::string& where);

}  // namespace idem
