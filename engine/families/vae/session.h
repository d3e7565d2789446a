// session.h - one recording of a fleet of VAEs: its model, what batches are gathered from, and what its members keep.
#pragma once

#include <vector>

#include "engine/families/vae/ci_ivae.h"
#include "engine/families/vae/vae_fleet.h"
#include "engine/training/loss_sums.h"
#include "engine/training/member_optimizer.h"
#include "engine/training/row_lists.h"
#include "engine/training/source_matrix.h"
#include "kernels/common/to_size.h"
#include "kernels/input/input.h"

namespace idem {

struct VaeSession {
  using Real = float;  // training is single precision; double serves the oracles

  // shared: of which the model is number `place`; computes: the members that take part in a batch where it is not for
  // the session to say.
  VaeSession(Device& on, const FleetSession& of, const TrainingPlan& training_plan,
             const std::vector<MemberPlan>& member_plans, const SharedPrior<Real>* shared, std::int32_t place,
             const std::uint8_t* computes);

  std::size_t n() const { return to_size(n_members); }
  FleetExtent extent() const { return {n_members, computing}; }  // in a batch, be it of rows without weight
  FleetExtent with_rows() const { return {n_members, active.data()}; }
  const RowLists& lists(bool training) const { return training ? train_lists : valid_lists; }
  bool is_noisy(bool training) const { return training && plan.input_noise > 0; }

  // The next batch. Its draws for the latents are a branch, to be joined.
  void next_batch(const std::uint32_t* position, const std::uint8_t* enabled, bool training);
  // The batch's loss. The sums over the epoch are a branch of their own, to be joined.
  void forward();
  // Over the rows of an epoch that has ended; of members not enabled: NaN.
  std::vector<LossParts> means(const RowLists& lists, const std::vector<std::uint8_t>& is_enabled) const;

  Device& device;
  ModelDesign design;
  TrainingPlan plan;
  FleetData data;
  std::vector<MemberPlan> members;
  std::int32_t n_members;
  CiIvae<Real> model;
  SourceMatrix inputs, targets, labels;
  Array<std::int32_t> window_begin;
  RowLists train_lists, valid_lists;
  MemberOptimizer optimizer;
  Array<std::uint32_t> valid_draws;
  Array<std::uint8_t> active;
  Array<std::int32_t> rows;
  Array<Real> noise_scale;
  LossSums sums;
  const std::uint8_t* computing;

 private:
  void draw_for_latents(const std::uint32_t* step);
  GatherRows<Real> gather(const SourceMatrix& source, std::int32_t n_features, bool windowed, Rows<Real> out,
                          const InputNoise<Real>& noise) const;
};

}  // namespace idem
