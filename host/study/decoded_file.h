// decoded_file.h - what was read for the test bins of a run from spikes alone, by each reading: decoded.npz.
#pragma once

#include <filesystem>

#include "host/evaluation/targets.h"

namespace idem {

inline constexpr const char* kDecodedFile = "decoded.npz";

// host/FORMATS.md. float32, as latents are.
void write_decoded(const std::filesystem::path& file, const Recording& recording, const Split& split,
                   const TestReadings& decoded);

// By reading. {} where the file is not there, as of an older idem; throws DataError for one that is damaged or not of
// this split and recording.
TestReadings read_decoded(const std::filesystem::path& file, const Recording& recording, const Split& split);

}  // namespace idem
