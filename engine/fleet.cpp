#include "engine/fleet.h"

#include <algorithm>
#include <cmath>
#include <limits>
#include <stdexcept>

#include "engine/ci_ivae.h"
#include "engine/fleet_memory.h"
#include "engine/fleet_plan.h"
#include "engine/source_matrix.h"
#include "kernels/input/input.h"
#include "kernels/optimizer/optimizer.h"
#include "kernels/sampling/sampling.h"

namespace idem {

namespace {

using Real = float;  // training is single precision; double serves the oracles

constexpr std::int32_t kColumns = 7;            // of the loss parts that are sums over rows
constexpr std::int32_t kSums = kColumns + 2;    // and the two counts of alpha at an end of its grid
constexpr std::uint32_t kValidationDraw = 1u << 31;  // steps of training never get there: validation noise is its own, the same in every epoch

void check_windows(const FleetData& data, std::int32_t window) {
  if (window == 1) return;
  if (data.window_begin.size() != static_cast<std::size_t>(data.n_rows)) throw std::invalid_argument("every row of the data must have a window");
  for (const auto begin : data.window_begin)
    if (begin < 0 || begin + std::int64_t{window} > data.n_rows)
      throw std::invalid_argument("a window of " + std::to_string(window) + " rows from row " + std::to_string(begin) + " on leaves the data");
}

void check(const TrainingPlan& plan, const FleetData& data, const ModelDesign& design, const std::vector<MemberPlan>& members) {
  const auto size = [&](std::int64_t n_features) { return static_cast<std::size_t>(data.n_rows * n_features); };
  check_members(plan, data.n_rows, members);
  if (data.inputs.size() != size(design.n_neurons) || data.targets.size() != size(design.n_neurons) || data.labels.size() != size(design.n_labels))
    throw std::invalid_argument("inputs, targets and labels must have one row per row of the data");
  check_windows(data, design.window);
  if (plan.noisy_target && design.window > 1) throw std::invalid_argument("noise on a window's bins is not the target's noise");
}

std::vector<double> betas(const std::vector<MemberPlan>& members) {
  std::vector<double> beta;
  for (const auto& member : members) beta.push_back(member.beta);
  return beta;
}

}  // namespace

struct Fleet::State {
  State(Device& on, const ModelDesign& model_design, const TrainingPlan& training_plan, const FleetData& fleet_data,
        const std::vector<MemberPlan>& member_plans)
      : device(on),
        design(model_design),
        plan(training_plan),
        data(fleet_data),
        members(member_plans),
        n_members(static_cast<std::int32_t>(member_plans.size())),
        model(on, model_design, n_members, training_plan.batch, true, betas(member_plans)),
        inputs(on, fleet_data.inputs, fleet_data.n_rows, model_design.n_neurons),
        targets(on, fleet_data.targets, fleet_data.n_rows, model_design.n_neurons),
        labels(on, fleet_data.labels, fleet_data.n_rows, model_design.n_labels),
        window_begin(on, fleet_data.window_begin),
        train_lists(on, member_plans, &MemberPlan::train_rows),
        valid_lists(on, member_plans, &MemberPlan::valid_rows),
        optimizer(on, model.parameters(), adam_settings(training_plan), seeds_of(member_plans)),
        position(on, 2),
        valid_draws(on, n()),
        enabled(on, n()),
        active(on, n()),
        rows(on, n() * static_cast<std::size_t>(training_plan.batch)),
        noise_scale(on, std::vector<Real>(n(), static_cast<Real>(training_plan.input_noise))),
        sums(on, n() * kSums) {
    if (plan.input_noise > 0) input_noise = Activations<Real>(on, n_members, n_input_rows(), design.n_neurons);
  }

  std::size_t n() const { return static_cast<std::size_t>(n_members); }
  FleetExtent extent() const { return {n_members, active.data()}; }
  std::int64_t n_input_rows() const { return std::int64_t{plan.batch} * design.window; }

  void draw(RandomStream stream, Rows<Real> out, std::int64_t n_rows, std::int64_t n_cols, const std::uint32_t* step) {
    draw_normals(device.execution(), DrawNormals<Real>{.fleet = extent(),
                                                       .n_rows = n_rows,
                                                       .n_cols = static_cast<std::int32_t>(n_cols),
                                                       .stream = stream,
                                                       .seed = optimizer.seeds(),
                                                       .step = step,
                                                       .out = out});
  }

  // Whole windows where `windowed`, the targets' bins side by side.
  void gather(const SourceMatrix& source, std::int32_t n_features, bool windowed, Rows<Real> out, bool noisy) {
    gather_rows(device.execution(), GatherRows<Real>{.fleet = extent(),
                                                     .batch = plan.batch,
                                                     .n_features = n_features,
                                                     .window = windowed ? design.window : 1,
                                                     .source = source.data.data(),
                                                     .source_stride = source.stride,
                                                     .rows = rows.data(),
                                                     .window_begin = windowed ? window_begin.data() : nullptr,
                                                     .side_by_side = &source == &targets,
                                                     .noise = noisy ? input_noise.rows() : Rows<Real>{},
                                                     .noise_scale = noise_scale.data(),
                                                     .out = out});
  }

  // Puts the next batch of `lists` through the loss. The sums over the epoch are a branch of their own, to be joined.
  void forward(const RowLists& lists, bool training) {
    const auto& on = device.execution();
    batch_rows(on, BatchRows<Real>{.n_members = n_members,
                                   .batch = plan.batch,
                                   .shuffle = training && plan.shuffle,
                                   .position = position.data(),
                                   .row_lists = lists.rows.data(),
                                   .list_begin = lists.offsets.data(),
                                   .seed = optimizer.seeds(),
                                   .enabled = enabled.data(),
                                   .rows = rows.data(),
                                   .weights = model.inputs().row_weight.data(),
                                   .weights_stride = model.row_scalar_stride(),
                                   .active = active.data()});
    const std::uint32_t* step = training ? optimizer.draws() : valid_draws.data();
    const bool noisy = training && plan.input_noise > 0;
    auto& in = model.inputs();
    if (noisy) draw(RandomStream::input_noise, input_noise, n_input_rows(), design.n_neurons, step);
    device.aside([&] {  // what the encoder does not wait for
      if (design.sees_labels()) gather(labels, design.n_labels, false, in.label, false);
      gather(targets, design.n_neurons, design.decodes_window, in.target, noisy && plan.noisy_target);
      draw(RandomStream::encoder_noise, in.noise_encoder, plan.batch, design.n_latents, step);
      if (!design.common_random_numbers) draw(RandomStream::posterior_noise, in.noise_posterior, plan.batch, design.n_latents, step);
      if (model.needs_monte_carlo_noise())
        draw(RandomStream::monte_carlo_noise, in.noise_monte_carlo, plan.batch, std::int64_t{design.n_latents} * design.n_samples, step);
    });
    gather(inputs, design.n_neurons, design.window > 1, in.x, noisy);
    model.forward(extent());

    const auto& out = model.outputs();
    const EpochSums<Real> to_add{.fleet = extent(),
                                 .batch = plan.batch,
                                 .n_columns = kColumns,
                                 .row_weight = in.row_weight.data(),
                                 .row_scalar_stride = model.row_scalar_stride(),
                                 .columns = {out.loss.data(), model.reconstruction_encoder(), model.reconstruction_posterior(), out.kl_encoder.data(),
                                             out.kl_posterior.data(), out.skew.data(), out.alpha.data()},
                                 .alpha_index = out.alpha_index.data(),
                                 .n_alphas = static_cast<std::int32_t>(design.alphas.size()),
                                 .sums = sums.data()};
    device.aside([&] { epoch_sums(on, to_add); });
  }

  void train_step() {
    forward(train_lists, true);
    model.backward(extent());
    optimizer.step(extent(), position.data());
  }

  void valid_step() {
    forward(valid_lists, false);
    device.join();
    advance_step(device.execution(), AdvanceStep<Real>{.fleet = extent(), .draw = valid_draws.data(), .position = position.data()});
  }

  // Everything as it is before the first step.
  void begin() {
    results.assign(n(), {});
    for (auto& result : results) result.best_valid_loss = std::numeric_limits<double>::infinity();
    for (std::int32_t member = 0; member < n_members; ++member) {
      model.parameters().initialise(member, members[static_cast<std::size_t>(member)].seed, plan.initialisation);
      optimizer.keep(member);
    }
    optimizer.begin();
    enabled.upload(std::vector<std::uint8_t>(n(), 1));
  }

  void set_learning_rates(double schedule) {
    optimizer.set_learning_rates(learning_rates_of(members, schedule));
  }

  void begin_epoch(std::uint32_t epoch) {
    position.upload({epoch, 0});
    sums.clear();
  }

  // Runs one pass over `lists` and returns the means of each member (of those not enabled: NaN).
  std::vector<LossParts> pass(Device::Sequence& sequence, const RowLists& lists, std::uint32_t epoch, const std::vector<std::uint8_t>& is_enabled) {
    begin_epoch(epoch);
    std::int64_t longest = 0;
    for (std::int32_t member = 0; member < n_members; ++member)
      if (is_enabled[static_cast<std::size_t>(member)]) longest = std::max(longest, lists.sizes[static_cast<std::size_t>(member)]);
    sequence.run((longest + plan.batch - 1) / plan.batch);
    const auto values = sums.download();
    std::vector<LossParts> parts(n());
    for (std::size_t member = 0; member < n(); ++member) {
      const bool counted = is_enabled[member] && lists.sizes[member] > 0;
      const auto mean = [&](std::size_t column) {
        return counted ? static_cast<double>(values[member * kSums + column]) / static_cast<double>(lists.sizes[member]) : std::nan("");
      };
      // The minimum over a grid of losses that are not numbers is at no alpha.
      const auto of_alpha = [&](std::size_t column) { return std::isfinite(mean(0)) ? mean(column) : std::nan(""); };
      parts[member] = {mean(0), design.decodes_encoder() ? mean(1) : std::nan(""), design.decodes_posterior() ? mean(2) : std::nan(""),
                       design.encoder_sees_labels ? std::nan("") : mean(3), mean(4), mean(5), of_alpha(6), of_alpha(7), of_alpha(8)};
    }
    return parts;
  }

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
  Array<std::uint32_t> position, valid_draws;
  Array<std::uint8_t> enabled, active;
  Array<std::int32_t> rows;
  Array<Real> noise_scale, sums;
  Activations<Real> input_noise;
  std::vector<MemberResult> results;
};

Fleet::Fleet(Device& device, const ModelDesign& design, const TrainingPlan& plan, const FleetData& data, const std::vector<MemberPlan>& members) {
  check(plan, data, design, members);
  state_ = make_fleet_state<State>(members.size(), device, design, plan, data, members);
}

Fleet::~Fleet() = default;

void Fleet::train(const OnEpoch& on_epoch) {
  State& s = *state_;
  const std::size_t n = s.n();
  s.begin();
  std::vector<std::uint8_t> is_enabled(n, 1);
  const auto train_sequence = s.device.make_sequence([&s] { s.train_step(); });
  const auto valid_sequence = s.device.make_sequence([&s] { s.valid_step(); });
  const auto validate = [&] {
    s.valid_draws.upload(std::vector<std::uint32_t>(n, kValidationDraw));
    return s.pass(*valid_sequence, s.valid_lists, 0, is_enabled);
  };
  const auto untrained = validate();
  for (std::size_t member = 0; member < n; ++member) s.results[member].initial_valid_loss = untrained[member].loss;

  for (std::int32_t epoch = 0; epoch < s.plan.epochs; ++epoch) {
    const double schedule = s.plan.schedule.at(epoch, s.plan.epochs);
    s.set_learning_rates(schedule);
    s.model.scale_beta(s.plan.beta_factor_at(epoch));
    const auto train = s.pass(*train_sequence, s.train_lists, static_cast<std::uint32_t>(epoch), is_enabled);
    s.model.scale_beta(1);  // or validation losses of different epochs could not be compared
    const auto valid = validate();
    const auto skipped = s.optimizer.skipped();

    std::vector<EpochRecord> records(n);
    for (std::size_t member = 0; member < n; ++member) {
      auto& record = records[member];
      auto& result = s.results[member];
      record = {.epoch = epoch + 1, .learning_rate = s.members[member].learning_rate * schedule, .train = train[member], .valid = valid[member]};
      record.is_running = is_enabled[member] != 0;
      if (!record.is_running) continue;
      result.epochs = epoch + 1;
      result.nonfinite_steps = skipped[member];
      const bool validates = !s.members[member].valid_rows.empty();
      const double criterion = validates ? valid[member].loss : train[member].loss;
      // Training losses under different weights of the KL terms do not compare: then the later epoch counts.
      const bool replaces = !validates && result.best_epoch > 0 && s.plan.beta_factor_at(result.best_epoch - 1) < s.plan.beta_factor_at(epoch);
      record.is_best = std::isfinite(criterion) && (replaces || criterion < result.best_valid_loss);
      if (record.is_best) {
        result.best_valid_loss = criterion;
        result.best_epoch = epoch + 1;
      }
      if (record.is_best || !s.plan.keep_best) {
        s.optimizer.keep(static_cast<std::int32_t>(member));
        result.kept_valid_loss = criterion;
      }
      result.failed = result.best_epoch == 0 || !std::isfinite(result.kept_valid_loss);
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

std::unique_ptr<Device::Sequence> Fleet::training_step() {
  State& s = *state_;
  s.begin();
  s.set_learning_rates(1);
  return s.device.make_sequence([&s] { s.train_step(); });
}

void Fleet::begin_epoch(std::uint32_t epoch) { state_->begin_epoch(epoch); }

const MemberResult& Fleet::result(std::int32_t member) const { return state_->results.at(static_cast<std::size_t>(member)); }

NamedTensors Fleet::parameters(std::int32_t member) const {
  return state_->optimizer.kept(member);
}

LatentTable Fleet::latents(std::int32_t member) const { return infer_latents(state_->device, state_->design, parameters(member), state_->data); }

std::int64_t Fleet::parameters_per_member() const { return state_->model.parameters().layout().n_parameters(); }

std::size_t estimate_fleet_memory(const ModelDesign& design, const TrainingPlan& plan, const FleetData& data, const std::vector<MemberPlan>& members) {
  check(plan, data, design, members);
  return measure_memory([&](Device& counting) { Fleet fleet(counting, design, plan, data, members); });
}

LatentTable infer_latents(Device& device, const ModelDesign& design, const NamedTensors& tensors, const FleetData& data) {
  constexpr std::int32_t kBatch = 512;
  check_windows(data, design.window);
  const bool labelled = !data.labels.empty() || !design.sees_labels();
  if (design.encoder_sees_labels && !labelled) throw std::invalid_argument("an encoder that sees labels has no latents without labels");
  CiIvae<Real> model(device, design, 1, kBatch, false, {1.0});
  model.parameters().set(0, tensors);
  const SourceMatrix inputs(device, data.inputs, data.n_rows, design.n_neurons);
  const SourceMatrix labels(device, labelled ? data.labels : std::vector<float>(static_cast<std::size_t>(data.n_rows * design.n_labels), 0.0f),
                            data.n_rows, design.n_labels);
  const Array<std::int32_t> window_begin(device, data.window_begin);
  Array<std::int32_t> rows(device, kBatch);
  LatentTable table;
  for (std::int64_t begin = 0; begin < data.n_rows; begin += kBatch) {
    std::vector<std::int32_t> batch(kBatch);
    for (std::int32_t i = 0; i < kBatch; ++i) batch[static_cast<std::size_t>(i)] = static_cast<std::int32_t>(std::min(begin + i, data.n_rows - 1));
    rows.upload(batch);
    const auto gather = [&](const SourceMatrix& source, std::int32_t n_features, std::int32_t window, Rows<Real> out) {
      gather_rows(device.execution(), GatherRows<Real>{.batch = kBatch,
                                                       .n_features = n_features,
                                                       .window = window,
                                                       .source = source.data.data(),
                                                       .source_stride = source.stride,
                                                       .rows = rows.data(),
                                                       .window_begin = window > 1 ? window_begin.data() : nullptr,
                                                       .out = out});
    };
    gather(inputs, design.n_neurons, design.window, model.inputs().x);
    if (design.sees_labels()) gather(labels, design.n_labels, 1, model.inputs().label);
    model.forward_latents({});
    const std::int64_t n = std::min<std::int64_t>(kBatch, data.n_rows - begin);
    const auto append = [&](Rows<const Real> source, std::vector<float>& to) {
      std::vector<Real> values(static_cast<std::size_t>(kBatch * source.row_stride));
      device.copy_out(values.data(), source.data, values.size() * sizeof(Real));
      for (std::int64_t row = 0; row < n; ++row)
        to.insert(to.end(), values.begin() + row * source.row_stride, values.begin() + row * source.row_stride + design.n_latents);
    };
    if (!design.encoder_sees_labels) {
      append(model.encoder_mean(), table.encoder_mean);
      append(model.outputs().encoder_log_var, table.encoder_log_var);
    }
    if (!labelled) continue;
    append(model.posterior_mean(), table.posterior_mean);
    append(model.outputs().posterior_log_var, table.posterior_log_var);
    append(model.prior_mean(), table.prior_mean);
    append(model.outputs().prior_log_var, table.prior_log_var);
  }
  return table;
}

}  // namespace idem
