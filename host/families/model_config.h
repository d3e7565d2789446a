// model_config.h - a model as configured, before it meets a recording.
#pragma once

#include <cstdint>
#include <optional>
#include <string>

#include "engine/families/cebra/plan.h"
#include "engine/families/gcl/gcl.h"
#include "engine/families/vae/design.h"
#include "engine/training/training_plan.h"
#include "host/preparation/preparation.h"

namespace idem {

// What learns by comparing bins (CEBRA) and not by explaining counts.
struct CebraModel {
  CebraDesign design;          // n_neurons is the recording's: 0 here
  CebraPlan plan;              // samples.n_labels follows from the labels: 0 here
  bool by_class = false;       // positives share the categorical labels
  bool fits_session = false;   // every bin trains, those of the validation and test parts too (no label is seen)
  std::string adapt_from;      // a model file whose layers but the first are kept; empty: none
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

}  // namespace idem
