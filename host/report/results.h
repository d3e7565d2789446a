// results.h - what a run left in its folder, read back and checked: config.json, metrics.json, log.jsonl and, one at a
// time, latents.npz.
//
// Every fault is a DataError of one line that begins with the file. Numbers that are null or absent are NaN here and a
// dash in the report.
#pragma once

#include <cstdint>
#include <filesystem>
#include <map>
#include <nlohmann/json.hpp>
#include <optional>
#include <string>
#include <vector>

#include "host/families/family.h"
#include "host/profile/profile.h"
#include "host/report/evidence.h"

namespace idem {

using Json = nlohmann::ordered_json;

// What the log says of one epoch, or of some steps: loss parts by name, means over rows or draws.
struct LoggedEpoch {
  int epoch = 0;  // or step
  std::map<std::string, double> train, valid;
};

struct RunResult {
  std::string name, subject, model, objective;  // name: one path component, the run's folder
  const Family* family = nullptr;               // never null
  std::uint64_t seed = 0;
  int split = 0;
  // False: "posterior" is a product with a prior of no label. Nothing of it, and nothing that asks what labels do, is
  // read then: such numbers would look like those of latents with labels.
  bool sees_labels = true;
  double agreement = 0;  // R2 of the affine map from label-free to with-label latents, at least 0; NaN: not there
  Json metrics;   // [latents: encoder | posterior, those there are][decoder: euclidean | cosine | linear][valid |
                  // test][metric], and of generative models [marginal][valid | test][metric]; metrics of other labels
                  // than position and direction are called "NAME:median_error" and "NAME:accuracy"
  Json collapse;  // of the test bins, else of the valid ones: latents [n_latents] of objects; active_units, ...
  bool collapse_of_test = true;  // which of the two
  Json fit;  // of CEBRA: [train | valid][info_nce | goodness_of_fit_bits, of valid with _error], temperature
  Json identifiability;  // numbers by name, groups may nest; simulated recordings only
  Json training;         // kept_epoch, epochs, initial_valid_loss, kept_valid_loss, nonfinite_steps, fleet_seconds,
                         // fleet_size, parameters
  std::string target;    // what the decoder reconstructs, as in the configuration: "window-sum", ...; may be empty
  std::vector<LoggedEpoch> epochs;  // ascending; empty when the log has none
};

// For the family's words about it.
ReportedRun reported(const RunResult& run);
// The families that a study has runs of, each with these.
struct FamilyRuns {
  const Family* family = nullptr;
  std::vector<ReportedRun> runs;
};

// A run whose training came to nothing: it has no scores and no latents.
struct FailedRun {
  std::string name, subject, model, reason;
};

struct BaselineResult {
  std::string subject;
  int split = 0;
  Json chance;                          // [valid | test][metric], or [metric][valid | test]
  Json place_fields;                    // [valid | test][metric], and "activity": "poisson" or "gaussian"
  std::map<std::string, Json> decoded;  // "pca", "window_sums" -> [decoder][valid | test][metric]
};

// How alike the latents of a model's seeds are: mean R2 of the affine maps between them, one number per split.
// Label-free and with labels; label-free also of the half of the seeds with the lowest losses, NaN where there are too
// few seeds.
struct SeedConsistency {
  std::string subject, model;
  std::vector<double> encoder, posterior, lowest_loss;
};

// How alike the latents of two animals are under one model: R2 on the test bins, one number per split. Label-free and
// with labels; label-free also without a map, and the error of the one's position read from the other's latents.
struct AnimalConsistencyResult {
  std::string from, to, model;
  std::vector<double> encoder, posterior, unmapped, error_across;
};

// What the scores are of.
struct DecodedLabels {
  std::string position = "position", position_unit, direction = "direction";
  std::map<std::string, std::string> other_units;  // of the errors of other labels, by the label's name
};

// A label as it was read: period is the length of one turn in `unit`, 0 for a label that is not circular.
struct LabelFacts {
  std::string unit;
  double period = 0;
};
using LabelFactsByName = std::map<std::string, LabelFacts>;

struct StudyResult {
  std::filesystem::path directory;
  Json config;
  std::string device, version;
  std::vector<RunResult> runs;  // in the order of metrics.json, without those that failed
  std::vector<FailedRun> failed;
  std::size_t planned_runs = 0;  // more than runs and failed together: the study was interrupted, or still runs
  std::vector<BaselineResult> baselines;
  std::vector<SeedConsistency> consistency;
  std::vector<AnimalConsistencyResult> animals;
  std::vector<DecodingEvidence> evidence;  // of each recording; empty before the study's end and of an older idem
  DecodedLabels labels;
  std::map<std::string, LabelFactsByName> label_facts;  // of every subject
  std::vector<std::string> notes, warnings;  // messages of the log's events of that kind, in order, each once
  std::optional<Profile> profile;            // profile.json, where idem run --profile wrote one
  std::string log_fault;  // which lines of the log are damaged and count for nothing; or empty. Among the warnings too
};

std::vector<FamilyRuns> families_of(const StudyResult& study);

StudyResult read_study(const std::filesystem::path& directory);

// Latents and labels of every bin of one recording. Row-major [n_times x ...]; all vectors have n_times rows except
// label_names.
struct RunLatents {
  std::int32_t n_times = 0, n_latents = 0, n_features = 0;
  std::vector<double> time_s;
  std::vector<std::int32_t> segment;
  std::vector<std::int32_t> split;    // 0 train, 1 valid, 2 test, -1 unused
  std::vector<float> encoder_mean;    // label-free: q(z|x), or CEBRA's embedding; may be empty, the other is not then
  std::vector<float> posterior_mean;  // with labels: q(z|x,u); may be empty
  std::vector<float> labels;          // encoded features, as encode_labels() of recording.h gives them
  std::vector<std::string> label_names;  // [n_features]
  std::vector<float> decoded_position;   // NaN where not decoded; empty when the file has none
};

RunLatents read_run_latents(const StudyResult& study, const RunResult& run);

// The number at a path of keys, as {"encoder", "euclidean", "test", "position_r2"}; NaN when a key is absent or the
// value null. Anything but a number at the end is a DataError that begins with `where`.
double number_at(const Json& object, const std::vector<std::string>& keys, const std::string& where);

}  // namespace idem
