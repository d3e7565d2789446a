// vae_fleet.h - trains many members of one design together.
//
// Source of the method: Kim et al. 2022 (arXiv 2202.04206); Zhou & Wei 2020 (arXiv 2011.04798) for the product
// posterior with a label prior. Determinism: the same plan and device give the same bytes for any number of CPU
// threads; member k of a fleet equals member k alone.
#pragma once

#include <functional>
#include <memory>
#include <span>

#include "engine/device/device.h"
#include "engine/families/vae/infer_latents.h"
#include "engine/training/record.h"
#include "engine/training/training_plan.h"

namespace idem {

// Means over rows; NaN where the objective does not compute the term, and for alpha where the loss is not finite.
//   kl_encoder, kl_posterior  nats, summed over latents, without the weight and the mean that the objective may give
//                             them
//   reconstruction_*          nats, summed over neurons (mean_over_neurons: per neuron); squared_error: in squared
//                             units of the target
//   skew                      as the loss contains it: nats times beta (mean_over_latents: per latent; published:
//                             unweighted)
//   loss                      reconstruction + beta KL (mean_over_latents: per latent) + skew, in the unit of the
//                             reconstruction
struct LossParts {
  double loss = 0, reconstruction_encoder = 0, reconstruction_posterior = 0, kl_encoder = 0, kl_posterior = 0, skew = 0,
         alpha = 0, alpha_zero_fraction = 0, alpha_one_fraction = 0;  // share of rows whose alpha is 0, and is 1
};

// What a run of one recording trains on, or one of the recordings that share a label prior.
struct FleetSession {
  const ModelDesign& design;
  const FleetData& data;
};

using EpochRecord = EpochRecordOf<LossParts>;

class Fleet {
 public:
  // Throws DeviceError when memory is short (with an estimate and what to lower), std::invalid_argument for impossible
  // plans.
  Fleet(Device& device, const ModelDesign& design, const TrainingPlan& plan, const FleetData& data,
        const std::vector<MemberPlan>& members);

  // Recordings of different neurons that share one label prior, hence one latent space; the rest of each model is its
  // recording's own. Members come in groups of one per session, run after run; a group starts, stops and keeps its
  // weights together. Every step takes a batch of each recording and adds their losses; a recording whose rows are done
  // sits out the rest of the epoch, so that none is seen more often than alone. Gradients are clipped for each
  // recording's networks and for the prior by themselves. The prior's learning rate is that of the group's first
  // member, as is its seed's origin (session_seed).
  Fleet(Device& device, const std::vector<FleetSession>& sessions, const TrainingPlan& plan,
        const std::vector<MemberPlan>& members);
  ~Fleet();

  // Called after every epoch with one record per member; returning false ends the training there.
  using OnEpoch = std::function<bool(std::span<const EpochRecord> records)>;
  void train(const OnEpoch& on_epoch);

  // For timing: one training step of every member, from fresh weights, as train runs it. begin_epoch goes back to the
  // first batch; after the last one steps do nothing.
  std::unique_ptr<Device::Sequence> training_step();
  void begin_epoch(std::uint32_t epoch);

  const MemberResult& result(std::int32_t member) const;

  // The member's kept weights as named tensors (see parameters.h), and the latents of every row of the data under them.
  NamedTensors parameters(std::int32_t member) const;
  LatentTable latents(std::int32_t member) const;

  std::int64_t n_parameters(std::int32_t member) const;  // a shared prior's included

 private:
  struct State;
  std::unique_ptr<State> state_;
};

}  // namespace idem
