// cebra_fleet.h - trains many CEBRA members of one design together, and embeds recordings under their weights.
//
// Source of the method: Schneider, Lee & Mathis 2023 (Nature 617, 360-368); its authors have filed a patent application, WO2023143843A1.
// Determinism: the same plan and device give the same bytes for any number of CPU threads; member k of a fleet equals member k alone, where the
// fleet's sets are the same.
#pragma once

#include <functional>
#include <memory>
#include <optional>
#include <span>

#include "engine/families/cebra/cebra.h"
#include "engine/training/member_optimizer.h"
#include "kernels/sampling/contrastive_samples.h"

namespace idem {

struct CebraPlan {
  // Draws of a step. Where their windows read more bins than the sets in use have, each bin is encoded once; where there are more than half as many
  // draws as samples, the loss takes each sample once, weighed by its draws.
  std::int32_t batch = 512;
  bool is_full_batch = false;    // instead: every sample is a reference and a negative once in each step (not with the prior `classes`)
  std::int32_t steps = 5000, steps_per_record = 100;
  // Drawn from the validation set for each record, the same ones every time; for the last one, whose weights are kept,
  // more: the first ones are the same.
  std::int32_t valid_batches = 4, kept_valid_batches = 500;
  ContrastivePrior prior = ContrastivePrior::samples;              // the hybrid's: leads
  ContrastivePositive positive = ContrastivePositive::time_delta;  // the hybrid's: of behaviour
  ContrastiveSampleOptions samples;
  AdamSettings adam;
  Initialisation initialisation = Initialisation::torch_linear;
  // Recordings that share one space, each with an encoder of its own: members come in groups of n_sessions, one for each recording of a run, each with
  // sets of its own rows (prior `samples`; positives by labels or class, the classes of all sets alike). Learned temperatures: one for the group.
  std::int32_t n_sessions = 1;
  // Adapting to a new recording: every tensor but the first layer's two is taken from here and stays as it is.
  std::optional<NamedTensors> trunk;
};

struct CebraMemberPlan {
  std::string name;  // of the run, for messages
  std::uint64_t seed = 0;
  double learning_rate = 3e-4, temperature = 1;
  double delta_sd = 0;                        // positives by `delta`
  std::int32_t train_set = 0, valid_set = -1;  // of the data's sets; -1: none
  std::int32_t n_neurons = 0;                  // of its recording, where others have more: the inputs of the rest are zeros; 0: the design's
};

// inputs [n_rows x n_neurons] and the segment of each row, of one recording that all members share. A window never crosses a segment: in training it
// moves inside (the published clamped index). The samples that sets list are rows.
struct CebraData {
  std::int64_t n_rows = 0;
  std::vector<float> inputs;
  std::vector<std::int32_t> segments;
  std::vector<ContrastiveSet> sets;
};

// Means over steps or validation batches; NaN where there is nothing to take them of. Of the hybrid, loss is the sum of two InfoNCEs; alignment and
// uniformity are those of all features, behaviour_* those of its behaviour part (else NaN).
struct CebraLoss {
  double loss = 0, alignment = 0, uniformity = 0, behaviour_alignment = 0, behaviour_uniformity = 0;
};

// Standard errors of means over validation batches, for the draws alone: standard deviation over the batches by the
// root of their number. NaN where there are fewer than two batches. info_nce is alignment + uniformity.
struct CebraError {
  double loss = 0, info_nce = 0, behaviour_info_nce = 0;
};

struct CebraRecord {
  std::int32_t step = 0;   // steps done
  double temperature = 0;  // of the last step
  CebraLoss train, valid;  // train: of the steps since the last record, while weights move
  CebraError valid_error;
  std::int32_t valid_batches = 0;  // that valid is the mean of
};

struct CebraResult {
  std::int32_t steps = 0;
  std::uint32_t nonfinite_steps = 0;
  bool finished = false;
  bool failed = false;  // the last record's training loss is not finite
};

// (ln B - InfoNCE) in bits: 0 for an embedding that tells nothing. One InfoNCE (not the hybrid's sum), n_negatives drawn.
double goodness_of_fit_bits(double info_nce, double n_negatives);

class CebraFleet {
 public:
  // Throws DeviceError when memory is short, std::invalid_argument for impossible plans.
  CebraFleet(Device& device, const CebraDesign& design, const CebraPlan& plan, const CebraData& data, const std::vector<CebraMemberPlan>& members);
  ~CebraFleet();

  std::int32_t batch() const;     // references, and negatives, of one InfoNCE: of all sessions
  bool encodes_distinct() const;  // each bin once
  bool weighs_draws() const;      // each sample once in the loss

  // Called with one record per member, of sessions per group; returning false ends the training there.
  using OnRecord = std::function<bool(std::span<const CebraRecord> records)>;
  void train(const OnRecord& on_record);

  // For timing: one training step of every member, from fresh weights, as train runs it.
  std::unique_ptr<Device::Sequence> training_step();

  const CebraResult& result(std::int32_t run) const;   // of a member, or a group
  NamedTensors parameters(std::int32_t member) const;  // after the last step, of its own neurons
  std::int64_t parameters_per_member() const;

 private:
  struct State;
  std::unique_ptr<State> state_;
};

// The embedding of every row, [n_rows x n_features]. At the ends of a segment its first and last row are repeated, so that every row has one (sets are
// not read). rows_per_batch only cuts the work.
inline constexpr std::int32_t kRowsPerEmbedding = 512;
std::vector<float> embed_recording(Device& device, const CebraDesign& design, const NamedTensors& parameters, const CebraData& data,
                                   std::int32_t rows_per_batch = kRowsPerEmbedding);

// What that takes, without a recording; throws std::invalid_argument for impossible designs.
ModelPlan plan_latents(const CebraDesign& design);

}  // namespace idem
