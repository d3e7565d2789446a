// family.h - a family of models: all that the rest of the program asks of one. The families there are: families.h.
#pragma once

#include <cstdint>
#include <functional>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include <nlohmann/json.hpp>

#include "engine/device/device.h"
#include "engine/training/training_plan.h"
#include "host/bench/step_bench.h"
#include "host/evaluation/targets.h"
#include "host/families/model_config.h"
#include "host/families/model_file.h"
#include "host/parity/parity.h"
#include "host/support/run_log.h"
#include "host/support/progress.h"
#include "kernels/common/thread_pool.h"

namespace idem {

// One run of a study.
struct PlannedRun {
  std::string name;
  std::size_t subject = 0, model = 0, split = 0;  // places in the study's lists
  std::uint64_t seed = 0;
};

struct TrainedRun {
  bool is_finished = false;                          // else the training was interrupted and nothing below is filled
  std::string fault;                                 // why it came to nothing; "" where it did not
  std::vector<std::string> doubts;                   // what else deserves a warning, one sentence each
  nlohmann::json training;                           // the entry's "training"
  TestReadings decoded;                              // read for the test bins by what this family alone has
  LatentTable latents;                               // one row per bin; what the family does not have is empty
  nlohmann::json scores = nlohmann::json::object();  // what this family alone has, to be merged into the entry
  SavedModel model;                                  // without provenance
};

// The runs of one model on one recording, or of a joint model on all, which train together. Keeps references to what it
// is made of.
class ModelFleet {
 public:
  virtual ~ModelFleet() = default;
  virtual std::int64_t n_parameters() const = 0;          // of each run
  virtual std::vector<std::string> warnings() const = 0;  // of the model with this recording, before training
  // Writes the log; ends early where is_interrupted says so.
  virtual void train(RunLog& log, Progress& progress, const std::function<bool()>& is_interrupted) = 0;
  virtual std::vector<std::string> doubts() const = 0;  // of the whole fleet, after training
  virtual TrainedRun result(std::size_t run) = 0;       // in the order of the runs it was made of
};

struct FleetSetting {
  const ModelConfig& model;  // as configured, its labels not yet those of a recording
  const std::vector<Subject>& subjects;
  const DecodingOptions& decoding;
  Device& device;
  ThreadPool& pool;
};

// What such runs would take; trains nothing.
struct FleetCost {
  std::int64_t n_parameters = 0;  // of each run
  std::size_t bytes = 0;          // of device memory for the runs that train together
};
FleetCost cost_of_fleet(const ModelConfig& model, const std::vector<Subject>& subjects, const DecodingOptions& decoding,
                        const std::vector<const PlannedRun*>& runs, ThreadPool& pool);

// What a family reads of a study: a model section, complete, with what every family understands already read.
struct ModelSections {
  const nlohmann::json& model;
  const nlohmann::json& training;  // the study's with the model's own over it
  const TrainingPlan& plan;        // the same, as read and checked
  const ModelConfig& config;       // all but `own`

  // Throws ConfigError with that message where the model names or shuffles labels.
  void require_no_labels(const std::string& message) const;
};

// A section or key of a model that a family does not look at, and why it may not be given.
struct UnreadKey {
  std::string key, why;
};

// Parts of the loss that share a panel of the report.
struct LossPanelWords {
  enum class Role { single, label_free, with_labels };  // gives the colour
  struct Part {
    std::string key, name;  // as in the log; short, for a legend
    Role role = Role::single;
  };
  std::string title;
  std::vector<Part> parts;
};

// What a run says of itself in metrics.json, for words about it.
struct ReportedRun {
  std::string objective, target;
  bool sees_labels = true;
};

class Family {
 public:
  virtual ~Family() = default;

  // In metrics.json and model files.
  virtual std::string name() const = 0;

  // Configuration. Whether objective.name names one of the family's; a preset as a model section, nothing for others'.
  virtual bool maximises(const std::string& objective) const = 0;
  virtual std::optional<nlohmann::json> preset(const std::string& name) const = 0;
  // What follows from what a complete model section says, where the user says nothing of it: as a model section.
  virtual nlohmann::json defaults(const nlohmann::json&) const { return nlohmann::json::object(); }
  virtual bool explains_counts() const { return false; }                // a decoder has a target
  virtual bool encodes_windows(const nlohmann::json& model) const = 0;  // sees the bins of the window one by one
  // Throws ConfigError for what makes no sense together.
  virtual std::shared_ptr<const FamilyModel> read(const ModelSections& sections) const = 0;
  // What one of its models does not look at though others share it; and the sections that are the family's alone, for
  // whom a model of another family is to be told so.
  virtual std::vector<UnreadKey> unread() const { return {}; }
  virtual std::vector<UnreadKey> own_sections(const ModelConfig& of_another) const = 0;

  // Keys of a model section that name a file, as "contrastive.adapt_from".
  virtual std::vector<std::string> file_keys() const { return {}; }

  // Model files: the "design" of a header, each value of its kind and in the range that a configuration allows. most:
  // values that the file's tensors hold; neurons, bins of a window and outputs cannot be more. Throws
  // std::invalid_argument naming the key.
  virtual std::shared_ptr<const SavedDesign> read_design(const JsonFields& from, std::int64_t most) const = 0;

  // Words of the report. The parts of the loss, those known best first; a paragraph on their units (HTML); the sources
  // of what these runs used, one a line (config: the study's).
  virtual std::vector<LossPanelWords> loss_panels(const ReportedRun& run) const = 0;
  virtual std::string loss_note(const std::vector<ReportedRun>& runs) const = 0;
  virtual std::vector<std::string> sources(const std::vector<ReportedRun>& runs,
                                           const nlohmann::ordered_json& config) const = 0;
  virtual TrainingUnit unit() const = 0;
  // By which the seeds of a model are ranked, of a run's entry in metrics.json: the lower, the better. NaN: not known.
  virtual double ranking_loss(const nlohmann::json& entry) const = 0;

  // What `idem parity` knows, and what `idem bench` times.
  virtual std::vector<CaseKind> golden_cases() const { return {}; }
  virtual std::vector<StepBench> step_benches() const { return {}; }
};

// What to do about losses and latents that are not finite.
inline constexpr const char* kStabilityRemedy =
    "lower training.learning_rate, or bound model.log_variance where the model has one";

}  // namespace idem
