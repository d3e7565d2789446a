// groups.h - the runs of a study by model: what its report and its closing table are made of.
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <set>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "host/report/numbers_format.h"
#include "host/report/results.h"

namespace idem {

struct LatentsKind {
  const char* key;
  const char* title;
};
inline constexpr std::array<LatentsKind, 2> latents_kinds{{{"encoder", "label-free"}, {"posterior", "with labels"}}};

struct ScoredDecoder {
  const char* key;
  const char* title;
};
inline constexpr std::array<ScoredDecoder, 3> decoders{
    {{"euclidean", "Euclidean kNN"}, {"cosine", "cosine kNN"}, {"linear", "linear"}}};
inline constexpr std::array<const char*, 2> scored_splits{"valid", "test"};

// Runs of one model on one subject, in the order of the file.
struct ModelGroup {
  std::string subject, model, objective;
  std::vector<std::size_t> runs;
  std::set<std::uint64_t> seeds;
  std::set<int> splits;

  std::string extent() const;  // "3 seeds × 2 splits"
};

std::vector<ModelGroup> model_groups(const StudyResult& study);  // in the order of the runs
std::vector<std::string> subjects_of(const StudyResult& study);  // likewise
std::vector<std::string> metrics_of(const StudyResult& study);   // every metric that some run has, the known ones first

// Scores by their names in metrics.json; NaN where there is none. only_split: of one split, -1: of all.
bool has_scores_of(const RunResult& run, const char* latents);
std::string run_where(const StudyResult& study, const std::string& run);  // for messages
double run_metric(const StudyResult& study, std::size_t run, const char* latents, const char* decoder,
                  const char* split, const std::string& metric);
std::vector<double> group_metric(const StudyResult& study, const ModelGroup& group, const char* latents,
                                 const char* decoder, const char* split, const std::string& metric,
                                 int only_split = -1);
std::vector<double> marginal_values(const StudyResult& study, const ModelGroup& group, const char* split,
                                    const std::string& metric, int only_split = -1);  // by the model's own likelihood
std::vector<double> baseline_values(const StudyResult& study, const std::string& subject, const std::string& name,
                                    const char* decoder, const char* split, const std::string& metric,
                                    int only_split = -1);
std::vector<double> agreements_of(const StudyResult& study, const ModelGroup& group);
const SeedConsistency* consistency_of(const StudyResult& study, const ModelGroup& group);  // null: not there

inline constexpr std::array<const char*, 4> baseline_names{"place_fields", "window_sums", "pca", "chance"};
std::string baseline_title(const StudyResult& study, const std::string& subject, std::string_view name);
bool needs_no_decoder(std::string_view name);  // decodes by itself: its one number stands in the first pair of columns

// Of a recording and a metric; null where there is none, or no best model in it.
const DecodingEvidence* evidence_of(const StudyResult& study, const std::string& subject, const std::string& metric);

// The evidence's best model, and without evidence that whose label-free latents decode the validation bins best;
// runs.size() == 0 when none has the metric.
ModelGroup best_by_validation(const StudyResult& study, const std::vector<ModelGroup>& groups,
                              const std::string& subject, const std::string& metric);

// Columns of latents with labels are there where some run has such latents.
std::span<const LatentsKind> shown_kinds(const StudyResult& study);

// Scores of latents with labels and none of latents without: the encoder sees the labels.
bool has_label_free(const StudyResult& study, const ModelGroup& group);

// Why models lack one kind of latents and have dashes there.
std::string missing_latents(const StudyResult& study, const std::vector<ModelGroup>& groups);

// The weights that were kept explain the validation bins no better than the untrained ones did, as far as both losses
// are known.
bool has_diverged(const StudyResult& study, const RunResult& run);

// Runs that diverged stay in the means; the name of their row says so.
std::string divergence_tag(const StudyResult& study, const ModelGroup& group, int only_split = -1);

}  // namespace idem
