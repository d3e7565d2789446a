// consistency.h - do seeds, and do animals, find the same latent?
#pragma once

#include <cstdint>
#include <filesystem>
#include <limits>
#include <vector>

#include <nlohmann/json.hpp>

#include "host/study/study_runs.h"

namespace idem {

// Where the runs of a study that have latents left them, and how well they fit: the lower, the better.
struct FinishedRun {
  const PlannedRun* run;
  std::filesystem::path latents;
  double loss = std::numeric_limits<double>::quiet_NaN();
};

// One entry per subject and model with two seeds or more; see host/FORMATS.md. Of kSeedsToRank seeds or more also how
// alike the half with the lowest losses are: seeds that differ may have ended in poorer solutions.
inline constexpr std::size_t kSeedsToRank = 4;
nlohmann::json seed_consistency(const StudyRuns& runs, const std::vector<FinishedRun>& finished);

// One entry per model and ordered pair of subjects that have a position of one name, unit, kind and period, see
// host/FORMATS.md: runs of the same seed and split number, the train bins of both and the test bins of both, groups by
// direction (categories of one name are one). [] where there are no such subjects. Besides, how well the one animal's
// latents read the other's: the position of `to`'s test bins as the mean over the kNeighboursAcross training bins of
// `from` with the nearest latents (Euclidean), by the scores of decoding.h. Nothing is fitted to `to`.
nlohmann::json animal_consistency(const StudyRuns& runs, const std::vector<FinishedRun>& finished, ThreadPool& pool);
inline constexpr int kNeighboursAcross = 9;

}  // namespace idem
