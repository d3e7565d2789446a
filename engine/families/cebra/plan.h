// plan.h - what a fleet of CEBRA members trains on, and how.
#pragma once

#include <optional>
#include <string>
#include <vector>

#include "engine/families/cebra/cebra.h"
#include "engine/training/member_optimizer.h"
#include "kernels/sampling/contrastive_samples.h"

namespace idem {

struct CebraPlan {
  // Draws of a step. Where their windows read more bins than the sets in use have, each bin is encoded once; where
  // there are more than half as many draws as samples, the loss takes each sample once, weighed by its draws.
  std::int32_t batch = 512;
  bool is_full_batch =
      false;  // instead: every sample is a reference and a negative once in each step (not with the prior `classes`)
  std::int32_t steps = 5000, steps_per_record = 100;
  // Drawn from the validation set for each record, the same ones every time; for the last one, whose weights are kept,
  // more: the first ones are the same.
  std::int32_t valid_batches = 4, kept_valid_batches = 500;
  ContrastivePrior prior = ContrastivePrior::samples;              // the hybrid's: leads
  ContrastivePositive positive = ContrastivePositive::time_delta;  // the hybrid's: of behaviour
  ContrastiveSampleOptions samples;
  AdamSettings adam;
  Initialisation initialisation = Initialisation::torch_linear;
  // Recordings that share one space, each with an encoder of its own: members come in groups of n_sessions, one for
  // each recording of a run, each with sets of its own rows (prior `samples`; positives by labels or class, the classes
  // of all sets alike). Learned temperatures: one for the group.
  std::int32_t n_sessions = 1;
  // Adapting to a new recording: every tensor but the first layer's two is taken from here and stays as it is.
  std::optional<NamedTensors> trunk;
};

struct CebraMemberPlan {
  std::string name;  // of the run, for messages
  std::uint64_t seed = 0;
  double learning_rate = 3e-4, temperature = 1;
  double delta_sd = 0;                         // positives by `delta`
  std::int32_t train_set = 0, valid_set = -1;  // of the data's sets; -1: none
  std::int32_t n_neurons =
      0;  // of its recording, where others have more: the inputs of the rest are zeros; 0: the design's
};

// inputs [n_rows x n_neurons] and the segment of each row, of one recording that all members share. A window never
// crosses a segment: in training it moves inside (the published clamped index). The samples that sets list are rows.
struct CebraData {
  std::int64_t n_rows = 0;
  std::vector<float> inputs;
  std::vector<std::int32_t> segments;
  std::vector<ContrastiveSet> sets;
};

// Throw std::invalid_argument: for data of another size than it says, and for a plan that can't be trained.
void check_data(const CebraDesign& design, const CebraData& data);
void check(const CebraPlan& plan, const CebraDesign& design, const CebraData& data,
           const std::vector<CebraMemberPlan>& members);

}  // namespace idem
