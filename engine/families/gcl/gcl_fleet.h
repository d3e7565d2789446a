// gcl_fleet.h - trains many members of generalized contrastive learning together (gcl.h), and gives the latents of
// recordings under their weights.
//
// Determinism: the same plan and device give the same bytes for any number of CPU threads; member k of a fleet equals
// member k alone.
#pragma once

#include <functional>
#include <memory>
#include <span>

#include "engine/families/gcl/gcl.h"
#include "engine/training/record.h"
#include "engine/training/training_plan.h"

namespace idem {

// Means over rows; see LogisticPairs. NaN where there are no rows.
struct GclLoss {
  double loss = 0, accuracy = 0;
};

using GclRecord = EpochRecordOf<GclLoss>;

// Of the plan: batch, epochs, Adam, decays, clip_norm, initialisation, schedule, patience and keep_best. Of the members
// all but beta. Of the data inputs and labels.
class GclFleet {
 public:
  // Throws DeviceError when memory is short, std::invalid_argument for impossible plans: batches in order, whose
  // neighbours have like labels, and noise or a warm-up that nothing here has.
  GclFleet(Device& device, const GclDesign& design, const TrainingPlan& plan, const FleetData& data,
           const std::vector<MemberPlan>& members);
  ~GclFleet();

  // Called after every epoch with one record per member; returning false ends the training there.
  using OnEpoch = std::function<bool(std::span<const GclRecord> records)>;
  void train(const OnEpoch& on_epoch);

  const MemberResult& result(std::int32_t member) const;
  NamedTensors parameters(std::int32_t member) const;  // the kept weights
  std::int64_t parameters_per_member() const;

 private:
  struct State;
  std::unique_ptr<State> state_;
};

// The latents h(x) of every row, [n_rows x n_latents]. No label is read.
std::vector<float> gcl_latents(Device& device, const GclDesign& design, const NamedTensors& parameters,
                               const FleetData& data);

// What that takes, without a recording; throws std::invalid_argument for impossible designs.
ModelPlan plan_latents(const GclDesign& design);

}  // namespace idem
