#include "engine/families/gcl/gcl_fleet.h"

#include <stdexcept>

#include "engine/training/epoch_loop.h"
#include "engine/training/fleet_memory.h"
#include "engine/training/in_batches.h"
#include "engine/training/loss_sums.h"
#include "engine/training/row_lists.h"
#include "engine/training/source_matrix.h"
#include "kernels/common/to_size.h"
#include "kernels/input/input.h"
#include "kernels/optimizer/optimizer.h"
#include "kernels/sampling/sampling.h"

namespace idem {

namespace {

using Real = float;  // training is single precision; double serves the oracles

constexpr std::uint32_t kValidationEpoch =
    1u << 31;  // no epoch of training gets there: the pairs of validation are its own

void check(const GclDesign& design, const TrainingPlan& plan, const FleetData& data,
           const std::vector<MemberPlan>& members) {
  check_members(plan, data.n_rows, members);
  const auto size = [&](std::int64_t n_features) { return to_size(data.n_rows * n_features); };
  if (data.inputs.size() != size(design.n_neurons) || data.labels.size() != size(design.n_labels))
    throw std::invalid_argument("inputs and labels must have one row per row of the data");
  if (!plan.shuffle)
    throw std::invalid_argument(
        "rows that follow each other in time have like labels: only shuffled batches can be told apart");
  if (plan.input_noise > 0 || plan.noisy_target || plan.beta_warmup > 0)
    throw std::invalid_argument("contrastive learning has no input noise and no KL terms");
}

}  // namespace

struct GclFleet::State {
  State(Device& on, const GclDesign& model_design, const TrainingPlan& training_plan, const FleetData& data,
        const std::vector<MemberPlan>& member_plans)
      : device(on),
        design(model_design),
        plan(training_plan),
        members(member_plans),
        n_members(static_cast<std::int32_t>(member_plans.size())),
        model(on, model_design, n_members, training_plan.batch, true),
        inputs(on, data.inputs, data.n_rows, model_design.n_neurons),
        labels(on, data.labels, data.n_rows, model_design.n_labels),
        train_lists(on, member_plans, &MemberPlan::train_rows),
        valid_lists(on, member_plans, &MemberPlan::valid_rows),
        optimizer(on, model.parameters(), adam_settings(training_plan), seeds_of(member_plans)),
        position(on, 2),
        enabled(on, n()),
        active(on, n()),
        rows(on, n() * to_size(training_plan.batch)),
        sums(on, n_members, {{model.loss().data()}, {model.accuracy().data()}}),
        decisions(plan, members, 1) {}

  std::size_t n() const { return to_size(n_members); }
  FleetExtent extent() const { return {n_members, active.data()}; }

  void gather(const SourceMatrix& source, std::int32_t n_features, Rows<Real> out) {
    gather_rows(device.execution(), GatherRows<Real>{.fleet = extent(),
                                                     .batch = plan.batch,
                                                     .n_features = n_features,
                                                     .source = source.data.data(),
                                                     .source_stride = source.stride,
                                                     .rows = rows.data(),
                                                     .out = out});
  }

  // Puts the next batch of `lists` through the loss. The sums over the epoch are a branch of their own, to be joined.
  void forward(const RowLists& lists) {
    const auto& on = device.execution();
    batch_rows(on, BatchRows<Real>{.n_members = n_members,
                                   .batch = plan.batch,
                                   .shuffle = true,
                                   .position = position.data(),
                                   .row_lists = lists.rows.data(),
                                   .list_begin = lists.offsets.data(),
                                   .seed = optimizer.seeds(),
                                   .enabled = enabled.data(),
                                   .rows = rows.data(),
                                   .weights = model.row_weight().data(),
                                   .weights_stride = plan.batch,
                                   .active = active.data()});
    gather(inputs, design.n_neurons, model.x());
    gather(labels, design.n_labels, model.label());
    model.forward(extent());
    device.aside([&] { sums.add(extent(), plan.batch, model.row_weight().data(), plan.batch); });
  }

  void train_step() {
    forward(train_lists);
    model.backward(extent());
    optimizer.step(extent(), position.data());
  }

  void valid_step() {
    forward(valid_lists);
    device.join();
    advance_step(device.execution(), AdvanceStep<Real>{.fleet = extent(), .position = position.data()});
  }

  // Everything as it is before the first step.
  void begin() {
    decisions = EpochDecisions(plan, members, 1);
    for (std::int32_t member = 0; member < n_members; ++member) {
      model.parameters().initialise(member, members[to_size(member)].seed, plan.initialisation);
      optimizer.keep(member);
    }
    optimizer.begin();
    enabled.upload(decisions.is_enabled());
    train_sequence = device.make_sequence("training step", [this] { train_step(); });
    valid_sequence = device.make_sequence("validation step", [this] { valid_step(); });
  }

  // ---- As epoch_loop asks ----
  std::vector<GclLoss> train_epoch(std::int32_t epoch, const std::vector<std::uint8_t>& is_enabled) {
    const DeviceRange range(device, "epoch");
    optimizer.set_learning_rates(learning_rates_of(members, plan.schedule.at(epoch, plan.epochs)));
    return pass(*train_sequence, train_lists, static_cast<std::uint32_t>(epoch), is_enabled);
  }
  std::vector<GclLoss> validate(const std::vector<std::uint8_t>& is_enabled) {
    return pass(*valid_sequence, valid_lists, kValidationEpoch, is_enabled);
  }
  void keep(std::int32_t run) { optimizer.keep(run); }
  void enable(const std::vector<std::uint8_t>& is_enabled) { enabled.upload(is_enabled); }
  std::vector<std::uint32_t> nonfinite_steps() const { return optimizer.skipped(); }

  // Runs one pass over `lists` and returns the means of each member (of those not enabled: NaN).
  std::vector<GclLoss> pass(Device::Sequence& sequence, const RowLists& lists, std::uint32_t epoch,
                            const std::vector<std::uint8_t>& is_enabled) {
    position.upload({epoch, 0});
    sums.clear();
    const auto n_rows = lists.enabled_sizes(is_enabled);
    sequence.run(n_batches(n_rows, plan.batch));
    std::vector<GclLoss> losses;
    for (const auto& mean : sums.means(n_rows)) losses.push_back({mean[0], mean[1]});
    return losses;
  }

  Device& device;
  GclDesign design;
  TrainingPlan plan;
  std::vector<MemberPlan> members;
  std::int32_t n_members;
  Gcl<Real> model;
  SourceMatrix inputs, labels;
  RowLists train_lists, valid_lists;
  MemberOptimizer optimizer;
  Array<std::uint32_t> position;
  Array<std::uint8_t> enabled, active;
  Array<std::int32_t> rows;
  LossSums sums;
  EpochDecisions decisions;
  std::unique_ptr<Device::Sequence> train_sequence, valid_sequence;
};

GclFleet::GclFleet(Device& device, const GclDesign& design, const TrainingPlan& plan, const FleetData& data,
                   const std::vector<MemberPlan>& members) {
  check(design, plan, data, members);
  state_ = make_fleet_state<State>(members.size(), device, design, plan, data, members);
}

GclFleet::~GclFleet() = default;

void GclFleet::train(const OnEpoch& on_epoch) {
  State& s = *state_;
  s.begin();
  epoch_loop<GclLoss>(s.plan, s.members, 1, s, s.decisions, on_epoch);
}

const MemberResult& GclFleet::result(std::int32_t member) const { return state_->decisions.result(to_size(member)); }

NamedTensors GclFleet::parameters(std::int32_t member) const { return state_->optimizer.kept(member); }

std::int64_t GclFleet::parameters_per_member() const { return state_->model.parameters().layout().n_parameters(); }

namespace {

constexpr std::int32_t kInferenceBatch = 512;

std::unique_ptr<Gcl<Real>> inference_model(Device& device, const GclDesign& design) {
  return std::make_unique<Gcl<Real>>(device, design, 1, kInferenceBatch, false);
}

}  // namespace

ModelPlan plan_latents(const GclDesign& design) {
  return plan_of([&](Device& device) { return inference_model(device, design); });
}

std::vector<float> gcl_latents(Device& device, const GclDesign& design, const NamedTensors& parameters,
                               const FleetData& data) {
  const auto planned = inference_model(device, design);
  Gcl<Real>& model = *planned;
  model.parameters().set(0, parameters);
  const SourceMatrix inputs(device, data.inputs, data.n_rows, design.n_neurons);
  std::vector<float> latents;
  in_batches(device, data.n_rows, kInferenceBatch, [&](const std::int32_t* rows, std::int64_t n) {
    gather_rows(device.execution(), GatherRows<Real>{.batch = kInferenceBatch,
                                                     .n_features = design.n_neurons,
                                                     .source = inputs.data.data(),
                                                     .source_stride = inputs.stride,
                                                     .rows = rows,
                                                     .out = model.x()});
    model.embed({});
    append_rows(device, model.latents(), n, design.n_latents, latents);
  });
  return latents;
}

}  // namespace idem
