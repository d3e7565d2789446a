// study.h - a study as configured: which models, on which windows, trained how. Keys and defaults: configs/reference.md.
#pragma once

#include <cstdint>
#include <filesystem>
#include <optional>
#include <string>
#include <vector>

#include <nlohmann/json.hpp>

#include "engine/families/cebra/cebra_fleet.h"
#include "engine/families/vae/design.h"
#include "engine/families/gcl/gcl.h"
#include "engine/training/training_plan.h"
#include "host/preparation/preparation.h"

namespace idem {

// What learns by comparing bins (CEBRA) and not by explaining counts.
struct CebraModel {
  CebraDesign design;          // n_neurons is the recording's: 0 here
  CebraPlan plan;              // samples.n_labels follows from the labels: 0 here
  bool by_class = false;       // positives share the categorical labels
  bool fits_session = false;   // every bin trains, those of the validation and test parts too (no label is seen)
  std::string adapt_from;      // a model.idem whose layers but the first are kept; empty: none
  double temperature = 1, delta_sd = 0;
};

struct ModelConfig {
  std::string name;
  Preparation preparation;
  std::optional<std::uint32_t> shuffle_labels;  // the seed
  bool is_joint = false;  // one latent space for all recordings of the study; each has networks of its own but for what they share
  double learning_rate = 1e-3;
  // One of the two, else it is of the VAE family (beta, design):
  std::optional<CebraModel> cebra;
  std::optional<GclDesign> gcl;  // n_neurons and n_labels are the recording's: 0 here
  double beta = 1;
  ModelDesign design;     // n_neurons and n_labels are the recording's: 0 here, as is flow.width where it follows from them; permutations are empty
  TrainingPlan training;  // not of CEBRA; input_noise is per bin here; noise_on_input() of the preparation scales it

  bool is_vae() const { return !cebra && !gcl; }
  std::int32_t n_latents() const { return cebra ? cebra->design.n_features : gcl ? gcl->n_latents : design.n_latents; }
  bool sees_labels() const { return cebra ? cebra->plan.positive != ContrastivePositive::time : gcl || design.sees_labels(); }
  // "ivae", "InfoNCE (cosine), positives by time-delta": what it maximises.
  std::string objective() const;
};

struct Study {
  std::string source;        // the file, for messages
  nlohmann::json resolved;   // every default filled in; loading it again gives the same study
  std::vector<nlohmann::json> recordings;
  nlohmann::json splits, evaluation;
  std::vector<ModelConfig> models;
  std::vector<std::uint64_t> seeds;
  std::vector<std::string> warnings;  // what was set on the command line to no effect, one sentence each
};

// Parses JSON text. Throws ConfigError `SOURCE:LINE:COLUMN: ...`, also for a key given twice.
nlohmann::json parse_json(const std::string& text, const std::string& source);

// Changes one key: "a.b.0=value", the value as JSON where it parses, else as text. Throws ConfigError.
void apply_override(nlohmann::json& config, const std::string& assignment, const std::string& source);

// Checks against the schema, fills in defaults and presets, and reads. Relative paths of the recording are taken from `folder`, and absolute in the
// result, so that it can be moved. Throws ConfigError for anything that makes no sense.
Study resolve_study(nlohmann::json config, const std::string& source, const std::filesystem::path& folder = {});

// A configuration and not a recording, by its ending or its first character.
bool looks_like_json(const std::string& path);

// Reads the file, puts `recording` (a recording file or a configuration's recording section, seen from the working directory; "": none) in place of
// its recording section, and lays `overrides` over it (see apply_override).
Study load_study(const std::string& path, const std::vector<std::string>& overrides = {},
                 const std::string& recording = "");

}  // namespace idem
