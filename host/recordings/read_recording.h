// read_recording.h - from a configuration's "recording" section, or from one file of a known layout, to a Recording.
//
// The keys, with what each means, its unit and its default: configs/reference.md, "recording". The data are exactly one
// of `file` alone (a known layout), `counts`, `spikes` and `simulate`. Paths are relative to the folder of the
// configuration; a byte of a file's name that is not UTF-8 is written \xE4 (utf8.h). The text in files is UTF-8, or a
// CSV's Windows-1252 (csv.h). Bins are numbered before anything is dropped. Unknown keys are the schema's business and
// are ignored here.
#pragma once

#include <filesystem>
#include <nlohmann/json_fwd.hpp>

#include "host/recordings/recording.h"

namespace idem {

// Throws ConfigError for contradictory keys, DataError (file, array, row, column) for what the files hold.
Recording load_recording(const nlohmann::json& section, const std::filesystem::path& base);

// A file that needs no description: an .npz that write_recording_npz wrote, or CEBRA's rat layout in any format: arrays
// `spikes` [n_times x n_neurons] in bins of 25 ms and `position` [n_times x 3] = position in m, right, left. Labels
// there: position (continuous, m) and direction (right, left).
Recording load_recording_file(const std::filesystem::path& path);

}  // namespace idem
