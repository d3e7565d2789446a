// consistency.h - do seeds, and do animals, find the same latent?
#pragma once

#include <cstdint>
#include <filesystem>
#include <functional>
#include <limits>
#include <span>
#include <vector>

#include <nlohmann/json.hpp>

#include "host/evaluation/knn.h"
#include "host/study/study_runs.h"

namespace idem {

// Rows of an embedding and what each is aligned by: a label, within groups that never mix (a running direction).
struct AlignedRows {
  Embedding embedding;
  std::vector<std::int32_t> rows;   // of the embedding
  std::vector<double> label;        // [rows]
  std::vector<std::int32_t> group;  // [rows], from 0
};

// How alike two animals' embeddings are, aligned by label (Schneider, Lee & Mathis 2023: consistency of data sets): R2
// of the affine map from the one's mean embeddings of label bins to the other's, fitted and scored on these bins,
// unweighted mean over the columns of `to`. Not symmetric. Label bins: n_edges edges, evenly from the smallest to the
// largest label of all `animals`, in each group; a row's bin is the number of edges at or below its label, of which 1
// ... n_edges - 1 count. Of a circular label the edges go once round, from 0 to `period`: as many bins, the last one
// next to the first. A bin without rows takes those of the bins next to it, or two away; where there are none either,
// it is left out of every pair that it would be part of (the published code stops there).
struct AnimalConsistency {
  std::vector<std::vector<double>>
      r2;  // [from][to]; NaN on the diagonal, and for pairs with fewer than kBinsPerCoefficient bins in common for each
           // coefficient of a column's map, which would fit anything
  std::vector<std::vector<double>>
      unmapped_r2;  // the same bins without a map, the one's means taken for the other's: 1 only in one space
  std::int32_t n_bins = 0, n_bins_left_out = 0;  // of all groups; left out of some pair
};
// unit_length: every bin's mean is scaled to length 1 first, as published (made for embeddings on a sphere; of others
// it keeps the direction from the origin alone).
inline constexpr int kBinsPerCoefficient = 2;
AnimalConsistency consistency_of_animals(const std::vector<AlignedRows>& animals, int n_edges, bool unit_length,
                                         double period = 0);  // of a circular label; 0: it is none

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
