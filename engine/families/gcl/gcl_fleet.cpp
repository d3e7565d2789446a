#include "engine/families/gcl/gcl_fleet.h"

#include <algorithm>
#include <cmath>
#include <limits>
#include <stdexcept>

#include "engine/training/fleet_memory.h"
#include "engine/training/row_lists.h"
#include "engine/training/source_matrix.h"
#include "kernels/input/input.h"
#include "kernels/objective/objective.h"
#include "kernels/optimizer/optimizer.h"
#include "kernels/sampling/sampling.h"

namespace idem {

namespace {

using Real = float;  // training is single precision; double serves the oracles

constexpr std::int32_t kColumns = 2;                  // of GclLoss
constexpr std::int32_t kSums = kColumns + 2;          // epoch_sums has two places for counts of alphas besides
constexpr std::uint32_t kValidationEpoch = 1u << 31;  // no epoch of training gets there: the pairs of validation are its own

void check(const GclDesign& design, const TrainingPlan& plan, const FleetData& data, const std::vector<MemberPlan>& members) {
  check_members(plan, data.n_rows, members);
  const auto size = [&](std::int64_t n_features) { return static_cast<std::size_t>(data.n_rows * n_features); };
  if (data.inputs.size() != size(design.n_neurons) || data.labels.size() != size(design.n_labels))
    throw std::invalid_argument("inputs and labels must have one row per row of the data");
  if (!plan.shuffle) throw std::invalid_argument("rows that follow each other in time have like labels: only shuffled batches can be told apart");
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
        valid_draws(on, n()),
        enabled(on, n()),
        active(on, n()),
        rows(on, n() * static_cast<std::size_t>(training_plan.batch)),
        sums(on, n() * kSums) {}

  std::size_t n() const { return static_cast<std::size_t>(n_members); }
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
    const EpochSums<Real> to_add{.fleet = extent(),
                                 .batch = plan.batch,
                                 .n_columns = kColumns,
                                 .row_weight = model.row_weight().data(),
                                 .row_scalar_stride = plan.batch,
                                 .columns = {model.loss().data(), model.accuracy().data()},
                                 .sums = sums.data()};
    device.aside([&] { epoch_sums(on, to_add); });
  }

  void train_step() {
    forward(train_lists);
    model.backward(extent());
    optimizer.step(extent(), position.data());
  }

  void valid_step() {
    forward(valid_lists);
    device.join();
    advance_step(device.execution(), AdvanceStep<Real>{.fleet = extent(), .draw = valid_draws.data(), .position = position.data()});
  }

  // Everything as it is before the first step.
  void begin() {
    results.assign(n(), {});
    for (auto& result : results) result.best_loss = std::numeric_limits<double>::infinity();
    for (std::int32_t member = 0; member < n_members; ++member) {
      model.parameters().initialise(member, members[static_cast<std::size_t>(member)].seed, plan.initialisation);
      optimizer.keep(member);
    }
    optimizer.begin();
    enabled.upload(std::vector<std::uint8_t>(n(), 1));
  }

  // Runs one pass over `lists` and returns the means of each member (of those not enabled: NaN).
  std::vector<GclLoss> pass(Device::Sequence& sequence, const RowLists& lists, std::uint32_t epoch, const std::vector<std::uint8_t>& is_enabled) {
    position.upload({epoch, 0});
    sums.clear();
    std::int64_t longest = 0;
    for (std::size_t member = 0; member < n(); ++member)
      if (is_enabled[member]) longest = std::max(longest, lists.sizes[member]);
    sequence.run((longest + plan.batch - 1) / plan.batch);
    const auto values = sums.download();
    std::vector<GclLoss> losses(n());
    for (std::size_t member = 0; member < n(); ++member) {
      const auto mean = [&](std::size_t column) {
        return is_enabled[member] && lists.sizes[member] > 0
                   ? static_cast<double>(values[member * kSums + column]) / static_cast<double>(lists.sizes[member])
                   : std::nan("");
      };
      losses[member] = {mean(0), mean(1)};
    }
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
  Array<std::uint32_t> position, valid_draws;
  Array<std::uint8_t> enabled, active;
  Array<std::int32_t> rows;
  Array<Real> sums;
  std::vector<GclResult> results;
};

GclFleet::GclFleet(Device& device, const GclDesign& design, const TrainingPlan& plan, const FleetData& data, const std::vector<MemberPlan>& members) {
  check(design, plan, data, members);
  state_ = make_fleet_state<State>(members.size(), device, design, plan, data, members);
}

GclFleet::~GclFleet() = default;

void GclFleet::train(const OnEpoch& on_epoch) {
  State& s = *state_;
  s.begin();
  std::vector<std::uint8_t> is_enabled(s.n(), 1);
  const auto train_sequence = s.device.make_sequence([&s] { s.train_step(); });
  const auto valid_sequence = s.device.make_sequence([&s] { s.valid_step(); });

  for (std::int32_t epoch = 0; epoch < s.plan.epochs; ++epoch) {
    s.optimizer.set_learning_rates(learning_rates_of(s.members, s.plan.schedule.at(epoch, s.plan.epochs)));
    const auto train = s.pass(*train_sequence, s.train_lists, static_cast<std::uint32_t>(epoch), is_enabled);
    const auto valid = s.pass(*valid_sequence, s.valid_lists, kValidationEpoch, is_enabled);
    const auto skipped = s.optimizer.skipped();

    std::vector<GclRecord> records(s.n());
    for (std::size_t member = 0; member < s.n(); ++member) {
      auto& record = records[member];
      auto& result = s.results[member];
      record = {.epoch = epoch + 1, .train = train[member], .valid = valid[member]};
      record.is_running = is_enabled[member] != 0;
      if (!record.is_running) continue;
      result.epochs = epoch + 1;
      result.nonfinite_steps = skipped[member];
      const double criterion = s.members[member].valid_rows.empty() ? train[member].loss : valid[member].loss;
      record.is_best = criterion < result.best_loss;
      if (record.is_best) {
        result.best_loss = criterion;
        result.best_epoch = epoch + 1;
      }
      if (record.is_best || !s.plan.keep_best) s.optimizer.keep(static_cast<std::int32_t>(member));
      result.failed = result.best_epoch == 0 || (!s.plan.keep_best && !std::isfinite(criterion));
      const bool out_of_patience = s.plan.patience > 0 && epoch + 1 - result.best_epoch >= s.plan.patience;
      if (out_of_patience || epoch + 1 == s.plan.epochs) {
        is_enabled[member] = 0;
        result.finished = true;
      }
    }
    s.enabled.upload(is_enabled);
    if (!on_epoch(records)) return;
    if (std::none_of(is_enabled.begin(), is_enabled.end(), [](auto value) { return value != 0; })) return;
  }
}

const GclResult& GclFleet::result(std::int32_t member) const { return state_->results.at(static_cast<std::size_t>(member)); }

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

std::vector<float> gcl_latents(Device& device, const GclDesign& design, const NamedTensors& parameters, const FleetData& data) {
  constexpr std::int32_t kBatch = kInferenceBatch;
  const auto planned = inference_model(device, design);
  Gcl<Real>& model = *planned;
  model.parameters().set(0, parameters);
  const SourceMatrix inputs(device, data.inputs, data.n_rows, design.n_neurons);
  const Array<std::int32_t> rows(device, kBatch);
  std::vector<float> latents;
  for (std::int64_t begin = 0; begin < data.n_rows; begin += kBatch) {
    std::vector<std::int32_t> batch;
    for (std::int64_t row = begin; row < begin + kBatch; ++row) batch.push_back(static_cast<std::int32_t>(std::min(row, data.n_rows - 1)));
    rows.upload(batch);
    gather_rows(device.execution(), GatherRows<Real>{.batch = kBatch,
                                                     .n_features = design.n_neurons,
                                                     .source = inputs.data.data(),
                                                     .source_stride = inputs.stride,
                                                     .rows = rows.data(),
                                                     .out = model.x()});
    model.embed({});
    const Rows<const Real> from = model.latents();
    std::vector<Real> values(static_cast<std::size_t>(kBatch * from.row_stride));
    device.copy_out(values.data(), from.data, values.size() * sizeof(Real));
    for (std::int64_t row = 0; row < std::min<std::int64_t>(kBatch, data.n_rows - begin); ++row)
      latents.insert(latents.end(), values.begin() + row * from.row_stride, values.begin() + row * from.row_stride + design.n_latents);
  }
  return latents;
}

}  // namespace idem
