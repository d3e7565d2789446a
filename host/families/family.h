// family.h - the runs of one model on one recording, trained together: what a study knows of every family of models.
#pragma once

#include <cstdint>
#include <functional>
#include <memory>
#include <string>
#include <vector>

#include <nlohmann/json.hpp>

#include "engine/device/device.h"
#include "engine/families/vae/vae_fleet.h"
#include "host/config/study.h"
#include "host/families/model_file.h"
#include "host/support/progress.h"
#include "host/support/run_log.h"
#include "host/study/subjects.h"
#include "kernels/common/thread_pool.h"

namespace idem {

// One run of a study.
struct PlannedRun {
  std::string name;
  std::size_t subject = 0, model = 0, split = 0;  // places in the study's lists
  std::uint64_t seed = 0;
};

struct TrainedRun {
  bool is_finished = false;          // else the training was interrupted and nothing below is filled
  std::string fault;                 // why it came to nothing; "" where it did not
  std::vector<std::string> doubts;   // what else deserves a warning, one sentence each
  nlohmann::json training;           // the entry's "training"
  LatentTable latents;               // one row per bin; what the family does not have is empty
  nlohmann::json scores = nlohmann::json::object();  // what this family alone has, to be merged into the entry
  SavedModel model;                  // without provenance
};

// Keeps references to what it is made of.
class ModelFleet {
 public:
  virtual ~ModelFleet() = default;
  virtual std::vector<std::string> warnings() const = 0;  // of the model with this recording, before training
  // Writes the log; ends early where is_interrupted says so.
  virtual void train(RunLog& log, Progress& progress, const std::function<bool()>& is_interrupted) = 0;
  virtual std::vector<std::string> doubts() const = 0;  // of the whole fleet, after training
  virtual TrainedRun result(std::size_t run) = 0;       // in the order of the runs it was made of
};

struct FleetSetting {
  const Study& study;
  const std::vector<Subject>& subjects;
  Device& device;
  ThreadPool& pool;
};

// runs: of one model and subject; of CEBRA also of one split. Of a joint model those of every subject, one of each for every split and seed, in the
// subjects' order.
// Throws DeviceError when memory is short.
std::unique_ptr<ModelFleet> make_model_fleet(const FleetSetting& setting, const std::vector<const PlannedRun*>& runs);
std::unique_ptr<ModelFleet> make_vae_fleet(const FleetSetting& setting, const std::vector<const PlannedRun*>& runs);
std::unique_ptr<ModelFleet> make_cebra_fleet(const FleetSetting& setting, const std::vector<const PlannedRun*>& runs);
std::unique_ptr<ModelFleet> make_gcl_fleet(const FleetSetting& setting, const std::vector<const PlannedRun*>& runs);

// What such runs would take.
struct FleetCost {
  std::int64_t n_parameters = 0;  // of each run
  std::size_t bytes = 0;          // of device memory for the runs that train together
};
FleetCost cost_of_fleet(const Study& study, const std::vector<Subject>& subjects, const std::vector<const PlannedRun*>& runs, ThreadPool& pool);
FleetCost cost_of_vae_fleet(const Study& study, const std::vector<Subject>& subjects, const std::vector<const PlannedRun*>& runs, ThreadPool& pool);
FleetCost cost_of_cebra_fleet(const Study& study, const std::vector<Subject>& subjects, const std::vector<const PlannedRun*>& runs, ThreadPool& pool);
FleetCost cost_of_gcl_fleet(const Study& study, const std::vector<Subject>& subjects, const std::vector<const PlannedRun*>& runs, ThreadPool& pool);

// Of models that train by epochs: the model's plan for a recording, with no more bins a step than train, and its runs' members.
TrainingPlan training_plan(const ModelConfig& model, const Subject& subject);
std::vector<MemberPlan> member_plans(const ModelConfig& model, const std::vector<const PlannedRun*>& runs, const PreparedData& prepared);

// What to do about losses and latents that are not finite.
inline constexpr const char* kStabilityRemedy = "lower training.learning_rate, or bound model.log_variance where the model has one";

}  // namespace idem
