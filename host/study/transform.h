// transform.h - `idem transform`: a saved model on a new recording.
#pragma once

#include <filesystem>
#include <string>

#include "engine/device/device.h"
#include "host/families/model_file.h"
#include "host/recordings/recording.h"
#include "kernels/common/thread_pool.h"

namespace idem {

// Writes latents.npz (host/FORMATS.md) without split and decoded_position; posterior_mean only when the recording has
// the model's labels. Windows that were cut after joining a split (clamped-concatenated) stay inside their segments
// here, as there is no split; the line returned says so. Returns one line on what was done, and one for each thing that
// matching the recording to the model changed or left in doubt (model_match.h). Throws DataError when neurons, bin
// width, or the labels' kinds, units or categories are not the model's.
std::string transform_recording(const SavedModel& model, const std::string& model_name, const Recording& recording,
                                Device& device, ThreadPool& pool, const std::filesystem::path& out);

}  // namespace idem
