// finished_run.h - what a trained run leaves: its entry in metrics.json and its files.
#pragma once

#include <filesystem>
#include <string>

#include <nlohmann/json.hpp>

#include "host/study/study_runs.h"

namespace idem {

// What an entry says of where it was made. device: "cpu", "NVIDIA H200".
struct RunProvenance {
  std::string device, recording_checksum;
};

// The entry of a run, its scores included; of one that came to nothing "failed" and "reason" in their place.
// Adds to what was decoded what is read from the label-free latents.
nlohmann::json entry_of(const StudyRuns& runs, const PlannedRun& run, TrainedRun& trained,
                        const RunProvenance& provenance, ThreadPool& pool);

// The model, latents.npz and decoded.npz of a run that has an entry with scores; gives the model its provenance. Throws DataError
// where they cannot be written.
void write_run(const std::filesystem::path& folder, const StudyRuns& runs, const PlannedRun& run, TrainedRun& trained,
               const nlohmann::json& entry);

// Every file of a run is there and whole.
bool is_complete(const std::filesystem::path& folder);

}  // namespace idem
