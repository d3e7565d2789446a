// model_config.h - a model as configured, before it meets a recording.
#pragma once

#include <cstdint>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "host/preparation/preparation.h"
#include "host/preparation/subject.h"

namespace idem {

class Family;
class ModelFleet;
struct FleetSetting;
struct ModelConfig;
struct PlannedRun;

// What a configuration says of a model that only its family understands. Never changed once it is read, so that copies
// of a ModelConfig share it.
class FamilyModel {
 public:
  virtual ~FamilyModel() = default;

  virtual const Family& family() const = 0;
  virtual std::int32_t n_latents() const = 0;
  virtual bool sees_labels() const = 0;
  // "ivae", "InfoNCE (cosine), positives by time-delta": what it maximises.
  virtual std::string objective(bool is_joint) const = 0;
  // For messages: who needs a label, as "the prior p(z|u) needs".
  virtual std::string who_needs_labels() const = 0;

  // For people: how long it trains ("200 epochs") and on what at once ("batch 200").
  virtual std::string length() const = 0;
  virtual std::string batch() const = 0;
  // How many bins a run of n_train training bins goes through while it trains.
  virtual double n_trained_bins(std::size_t n_train) const = 0;
  // Runs of different splits are no fleet: how a step takes its bins follows from the split.
  virtual bool trains_splits_apart() const { return false; }

  // What follows from the model and should be known of its numbers, one sentence each; and what is allowed and probably
  // not meant, with so many training bins at most.
  virtual std::vector<std::string> notes(const ModelConfig& model) const = 0;
  virtual std::vector<std::string> warnings(std::size_t n_train) const = 0;

  // Throws ConfigError or DataError where the model cannot be of that recording; `model` is as model_for gives it.
  virtual void check(const ModelConfig& model, const Subject& subject) const = 0;
  // Of a joint model: that the recordings have alike what only its family looks at.
  virtual void check_joint(const ModelConfig& model, const std::vector<Subject>& subjects) const = 0;

  // runs: of one model and subject; of one split where splits train apart. Of a joint model those of every subject, one
  // of each for every split and seed, in the subjects' order. Throws DeviceError when memory is short.
  virtual std::unique_ptr<ModelFleet> make_fleet(const FleetSetting& setting,
                                                 const std::vector<const PlannedRun*>& runs) const = 0;
};

struct ModelConfig {
  std::string source;  // the configuration's file, for messages
  std::string name;
  Preparation preparation;
  std::optional<std::uint32_t> shuffle_labels;  // the seed
  bool is_joint =
      false;  // one latent space for all recordings of the study; each has networks of its own but for what they share
  double learning_rate = 1e-3;
  std::shared_ptr<const FamilyModel> own;

  std::int32_t n_latents() const { return own->n_latents(); }
  bool sees_labels() const { return own->sees_labels(); }
  std::string objective() const { return own->objective(is_joint); }
  // Throws ConfigError SOURCE: model NAME: KEY: message.
  [[noreturn]] void fail(const std::string& key, const std::string& message) const;
};

// A model as it is for one recording: model.labels left out means all labels of the recording. Throws ConfigError where
// it has none and the model sees labels.
ModelConfig model_for(const ModelConfig& model, const Recording& recording);

// The recording as a model sees it: its label "time" where model.labels names one that was not measured (see
// with_time), its labels dealt out to the bins by chance where model.shuffle_labels says so (all labels of a bin
// together, by numpy.random.RandomState(seed).permutation).
Recording recording_for(const ModelConfig& model, const Recording& recording);

}  // namespace idem
