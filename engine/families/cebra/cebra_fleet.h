// cebra_fleet.h - trains many CEBRA members of one design together, and embeds recordings under their weights.
//
// Source of the method: Schneider, Lee & Mathis 2023 (Nature 617, 360-368); its authors have filed a patent
// application, WO2023143843A1. Determinism: the same plan and device give the same bytes for any number of CPU threads;
// member k of a fleet equals member k alone, where the fleet's sets are the same.
#pragma once

#include <functional>
#include <memory>
#include <span>

#include "engine/families/cebra/plan.h"

namespace idem {

// Means over steps or validation batches; NaN where there is nothing to take them of. Of the hybrid, loss is the sum of
// two InfoNCEs; alignment and uniformity are those of all features, behaviour_* those of its behaviour part (else NaN).
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

// (ln B - InfoNCE) in bits: 0 for an embedding that tells nothing. One InfoNCE (not the hybrid's sum), n_negatives
// drawn.
double goodness_of_fit_bits(double info_nce, double n_negatives);

class CebraFleet {
 public:
  // Throws DeviceError when memory is short, std::invalid_argument for impossible plans.
  CebraFleet(Device& device, const CebraDesign& design, const CebraPlan& plan, const CebraData& data,
             const std::vector<CebraMemberPlan>& members);
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

}  // namespace idem
