// identifiability.h - how close recovered latents come to the true ones of a simulation, or to those of another run, up
// to what a model of this family may leave open: an affine map, or a permutation and scaling of the axes (Khemakhem et
// al. 2020; Kim et al. 2022).
#pragma once

#include <cstdint>
#include <nlohmann/json.hpp>
#include <span>
#include <vector>

#include "host/evaluation/knn.h"
#include "host/recordings/recording.h"

namespace idem {

// The assignment of rows to columns with the largest sum, each row to its own column. gain [n_rows x n_columns],
// row-major, n_rows <= n_columns. Result [n_rows]: the column of each row. Exact (Hungarian method, O(n_rows^2
// n_columns)).
std::vector<int> best_assignment(std::span<const double> gain, int n_rows, int n_columns);

// Mean absolute Pearson correlation of latents matched one to one, best match (MCC). a, b [n_rows x n_a], [n_rows x
// n_b], row-major; the mean is over the min(n_a, n_b) matched pairs. A column that does not vary correlates with none.
double matched_correlation(std::span<const double> a, int n_a, std::span<const double> b, int n_b);

struct IdentifiabilityScores {
  double affine_r2 =
      0;  // COD: unweighted mean over target columns of R2 on the score rows, of the affine map fitted on the fit rows
  double strong_mcc = 0;  // matched_correlation of the latents as they are, on the score rows
  double weak_mcc = 0;    // matched_correlation after that affine map, on the score rows
};

// target [n_times x n_targets], row-major: true latents, or their mean given the label. fit_rows, score_rows: a split's
// valid and test bins. Throws ConfigError for no rows, DataError for an embedding that is not finite or targets of
// another length.
IdentifiabilityScores measure_identifiability(const Embedding& embedding, std::span<const double> target, int n_targets,
                                              std::span<const std::int32_t> fit_rows,
                                              std::span<const std::int32_t> score_rows);

// Whether two sets of latents of the same bins are one: R2 of the affine map from `from` to `to`, fitted on the train
// bins and scored on the test bins (the valid ones where none test): unweighted mean over the latents of `to`. Below 0
// it is 0, so that one lost run does not carry off a mean. Not symmetric. Throws as measure_identifiability.
double affine_agreement(const Embedding& from, const Embedding& to, const Split& split);

// Mean of affine_agreement over all ordered pairs of different entries; NaN for fewer than two.
double mean_affine_agreement(const std::vector<Embedding>& embeddings, const Split& split);

// Mean of `values` [n_times x n_columns] over those of `rows` in the same label bin (label_bins of collapse.h); over
// all of them for a label bin that holds none. [n_times x n_columns]
std::vector<double> label_conditional_mean(std::span<const double> values, int n_columns,
                                           std::span<const std::int32_t> label_bin, std::span<const std::int32_t> rows);

// {"true_latent": {"affine_r2", "strong_mcc", "weak_mcc"}, "label_mean": {...}}: fitted on valid, scored on test, for
// the recording's true latents and for their mean given the label (the simulator's own where it has one, else
// label_conditional_mean of the train bins). {} for a recording without true latents.
nlohmann::json identifiability_report(const Embedding& embedding, const Recording& recording, const Split& split,
                                      std::span<const std::int32_t> label_bin);

}  // namespace idem
