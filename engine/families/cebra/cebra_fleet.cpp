#include "engine/families/cebra/cebra_fleet.h"

#include <algorithm>
#include <cmath>
#include <limits>
#include <numbers>
#include <stdexcept>

#include "engine/families/cebra/cebra_validation.h"
#include "engine/families/cebra/stretches.h"
#include "engine/training/fleet_memory.h"
#include "engine/training/loss_sums.h"
#include "engine/training/source_matrix.h"
#include "kernels/common/to_size.h"
#include "kernels/input/input.h"
#include "kernels/optimizer/optimizer.h"

namespace idem {

namespace {

using Real = float;  // training is single precision; double serves the oracles

constexpr std::uint32_t kValidationDraw =
    1u << 31;  // steps of training never get there: validation batches are their own, the same for every record

template <class Value>
std::vector<Value> of_members(const std::vector<CebraMemberPlan>& members, const auto& value) {
  std::vector<Value> all;
  for (const auto& member : members) all.push_back(static_cast<Value>(value(member)));
  return all;
}

}  // namespace

double goodness_of_fit_bits(double info_nce, double n_negatives) {
  return (std::log(n_negatives) - info_nce) * std::numbers::log2e;
}

struct CebraFleet::State {
  State(Device& on, const CebraDesign& model_design, const CebraPlan& training_plan, const CebraData& data,
        const std::vector<CebraMemberPlan>& member_plans)
      : device(on),
        design(model_design),
        plan(training_plan),
        members(member_plans),
        n_members(static_cast<std::int32_t>(member_plans.size())),
        batch(batch_of(training_plan, model_design, data, member_plans)),
        n_rows(static_cast<std::int32_t>(data.n_rows)),
        model(on, model_design, n_members, batch, true, first_temperatures()),
        optimizer(on, model.parameters(), training_plan.adam,
                  of_members<std::uint64_t>(member_plans, [](const auto& member) { return member.seed; }),
                  training_plan.trunk ? model.n_first_layer() : 0),
        inputs(on, data.inputs, data.n_rows, model_design.n_neurons),
        window_begin(on, training_windows(data, model_design.window)),
        samples(training_plan.samples, data.sets),
        sample_bytes(on, samples.bytes()),
        train_sets(on, train_set_numbers()),
        valid_sets(on, valid_set_numbers()),
        delta_sd(on, of_members<float>(member_plans, [](const auto& member) { return member.delta_sd; })),
        valid_draws(on, n()),
        indices(on, n() * to_size(design.n_lists() * batch.batch)),
        query(on, n() * to_size(std::int64_t{batch.batch} * std::max(1, training_plan.samples.n_labels))),
        row_weight(on, std::vector<Real>(n_runs(), Real(1))),
        sums(on, static_cast<std::int32_t>(n_runs()), columns()) {
    if (batch.n_stretch == 0) return;
    const auto begins = training_windows(data, design.window);
    train_stretches = MemberStretches(on, data, train_set_numbers(), begins, design.window, batch.n_stretch);
    valid_stretches = MemberStretches(on, data, valid_set_numbers(), begins, design.window, batch.n_stretch);
  }

  std::size_t n() const { return to_size(n_members); }
  std::size_t n_runs() const { return n() / to_size(plan.n_sessions); }
  std::vector<double> first_temperatures() const {
    std::vector<double> temperatures;
    for (std::size_t member = 0; member < n(); member += to_size(plan.n_sessions))
      temperatures.push_back(members[member].temperature);
    return temperatures;
  }
  std::vector<std::int32_t> train_set_numbers() const {
    return of_members<std::int32_t>(members, [](const auto& member) { return member.train_set; });
  }
  // Members without a validation set draw from their training set, and nobody looks.
  std::vector<std::int32_t> valid_set_numbers() const {
    return of_members<std::int32_t>(
        members, [](const auto& member) { return member.valid_set >= 0 ? member.valid_set : member.train_set; });
  }
  FleetExtent extent() const { return {n_members}; }
  bool searches_labels() const {
    return plan.positive == ContrastivePositive::time_delta || plan.positive == ContrastivePositive::delta;
  }

  // The bins of the stretches are the same in every step: they become the model's input once for all steps that follow.
  void take_inputs(const MemberStretches& stretches) {
    if (batch.n_stretch == 0) return;
    gather_rows(device.execution(), gather(batch.n_stretch, 1, stretches.bins.data(), nullptr));
  }
  GatherRows<Real> gather(std::int32_t n, std::int32_t window, const std::int32_t* rows,
                          const std::int32_t* first_bins) const {
    return {.fleet = extent(),
            .batch = n,
            .n_features = design.n_neurons,
            .window = window,
            .source = inputs.data.data(),
            .source_stride = inputs.stride,
            .rows = rows,
            .window_begin = first_bins,
            .out = model.x()};
  }

  // Which rows a step draws from the members' sets. ahead: that many steps after `step`.
  void draw(const Array<std::int32_t>& sets, const MemberStretches& stretches, const std::uint32_t* step,
            std::uint32_t ahead) {
    const auto list = [&](std::int32_t which) { return indices.data() + std::int64_t{which} * batch.batch; };
    contrastive_indices(device.execution(),
                        ContrastiveIndices<Real>{.fleet = extent(),
                                                 .batch = batch.batch,
                                                 .prior = plan.prior,
                                                 .positive_is = plan.positive,
                                                 .in_order = plan.is_full_batch,
                                                 .sets = samples.view(sample_bytes.data()),
                                                 .set = sets.data(),
                                                 .seed = optimizer.seeds(),
                                                 .step = step,
                                                 .ahead = ahead,
                                                 .delta_sd = delta_sd.data(),
                                                 .stride = std::int64_t{design.n_lists()} * batch.batch,
                                                 .reference = list(0),
                                                 .negative = list(1),
                                                 .positive = list(2),
                                                 .time_positive = design.n_behaviour_features > 0 ? list(3) : nullptr,
                                                 .query = searches_labels() ? query.data() : nullptr,
                                                 .n_sessions = plan.n_sessions,
                                                 .source = plan.n_sessions > 1 ? model.source().data() : nullptr});
    if (batch.n_stretch == 0) return;
    auto places = model.draws();
    places.indices = indices.data();
    places.n_rows = n_rows;
    places.place_of = stretches.place_of.data();
    drawn_places(device.execution(), places);
  }
  void draw_for_training(std::uint32_t ahead) { draw(train_sets, train_stretches, optimizer.draws(), ahead); }

  // Windows of their own are gathered for every step; those of a stretch are there.
  void gather_draws() {
    if (batch.n_stretch == 0)
      gather_rows(device.execution(), gather(model.n_rows(), design.window, indices.data(), window_begin.data()));
  }

  // As CebraLoss has them.
  std::vector<EpochColumn<Real>> columns() const {
    const auto& terms = model.terms();
    const auto of_hybrid = [&](const Array<Real>& values) {
      return EpochColumn<Real>{design.n_behaviour_features > 0 ? values.data() : nullptr};
    };
    return {{terms.loss.data()},
            {terms.alignment.data()},
            {terms.uniformity.data()},
            of_hybrid(terms.behaviour_alignment),
            of_hybrid(terms.behaviour_uniformity)};
  }
  void add_terms() { sums.add({static_cast<std::int32_t>(n_runs())}, 1, row_weight.data(), 1); }

  // The rows of the step must have been drawn; it draws those of the next one.
  void train_step() {
    gather_draws();
    model.forward(extent(), true);
    model.backward(extent(), [&] { draw_for_training(1); });
    device.aside([&] { add_terms(); });
    optimizer.step(extent(), nullptr);
    device.join();
  }

  // The encoder of a stretch does not wait for the draws.
  void valid_step() {
    const auto draw_now = [&] { draw(valid_sets, valid_stretches, valid_draws.data(), 0); };
    if (batch.n_stretch > 0)
      device.aside(draw_now);
    else
      draw_now();
    gather_draws();
    model.forward(extent(), false);
    add_terms();
    advance_step(device.execution(), AdvanceStep<Real>{.fleet = extent(), .draw = valid_draws.data()});
  }

  // Everything as it is before the first step.
  void begin() {
    results.assign(n_runs(), {});
    optimizer.begin();
    std::vector<double> rates;
    for (std::int32_t member = 0; member < n_members; ++member) {
      const auto& of_member = members[to_size(member)];
      model.initialise(member, of_member.seed, plan.initialisation, of_member.n_neurons,
                       plan.trunk ? &*plan.trunk : nullptr);
      rates.push_back(of_member.learning_rate);
    }
    optimizer.set_learning_rates(rates);
  }

  // What the first of training steps to come starts from: validation has had inputs and draws of its own.
  void begin_training_steps() {
    take_inputs(train_stretches);
    draw_for_training(0);
  }

  // The inputs of the stretches must have been taken.
  std::vector<CebraLoss> run(Device::Sequence& sequence, std::int32_t n_steps) {
    sums.clear();
    sequence.run(n_steps);
    std::vector<CebraLoss> losses;
    for (const auto& mean : sums.means(std::vector<std::int64_t>(n_runs(), n_steps)))
      losses.push_back({mean[0], mean[1], mean[2], mean[3], mean[4]});
    return losses;
  }

  // Batch by batch, as a sum of squares in single precision would not keep how batches differ.
  std::vector<CebraValidation> validate(Device::Sequence& sequence, std::int32_t n_batches) {
    take_inputs(valid_stretches);
    valid_draws.upload(std::vector<std::uint32_t>(n(), kValidationDraw));
    std::vector<std::vector<CebraLoss>> of_runs(n_runs());
    for (std::int32_t batch_number = 0; batch_number < n_batches; ++batch_number) {
      const auto losses = run(sequence, 1);
      for (std::size_t of = 0; of < n_runs(); ++of) of_runs[of].push_back(losses[of]);
    }
    return {of_runs.begin(), of_runs.end()};
  }

  Device& device;
  CebraDesign design;
  CebraPlan plan;
  std::vector<CebraMemberPlan> members;
  std::int32_t n_members;
  CebraBatch batch;
  std::int32_t n_rows;
  Cebra<Real> model;
  MemberOptimizer optimizer;
  SourceMatrix inputs;
  Array<std::int32_t> window_begin;
  ContrastiveSamples samples;
  Array<std::byte> sample_bytes;
  Array<std::int32_t> train_sets, valid_sets;
  Array<float> delta_sd;
  Array<std::uint32_t> valid_draws;
  Array<std::int32_t> indices;
  Array<float> query;
  Array<Real> row_weight;
  LossSums sums;
  MemberStretches train_stretches, valid_stretches;
  std::vector<CebraResult> results;
};

CebraFleet::CebraFleet(Device& device, const CebraDesign& design, const CebraPlan& plan, const CebraData& data,
                       const std::vector<CebraMemberPlan>& members) {
  check(plan, design, data, members);
  state_ = make_fleet_state<State>(members.size(), device, design, plan, data, members);
}

CebraFleet::~CebraFleet() = default;

std::int32_t CebraFleet::batch() const { return state_->batch.n_sessions * state_->batch.batch; }

bool CebraFleet::weighs_draws() const { return state_->batch.weighs_rows; }

bool CebraFleet::encodes_distinct() const { return state_->batch.n_stretch > 0; }

void CebraFleet::train(const OnRecord& on_record) {
  State& s = *state_;
  s.begin();
  const bool has_validation =
      std::any_of(s.members.begin(), s.members.end(), [](const auto& member) { return member.valid_set >= 0; });
  const auto train_sequence = s.device.make_sequence("training step", [&s] { s.train_step(); });
  const auto valid_sequence = s.device.make_sequence("validation step", [&s] { s.valid_step(); });

  for (std::int32_t done = 0; done < s.plan.steps;) {
    const std::int32_t n_steps = std::min(s.plan.steps_per_record, s.plan.steps - done);
    const DeviceRange range(s.device, "steps");
    s.begin_training_steps();
    const auto train = s.run(*train_sequence, n_steps);
    const auto inverse_temperatures = s.model.terms().inverse_temperature.download();
    done += n_steps;
    const std::int32_t n_valid = done == s.plan.steps ? s.plan.kept_valid_batches : s.plan.valid_batches;
    std::vector<CebraValidation> valid(s.n_runs());
    if (has_validation) valid = s.validate(*valid_sequence, n_valid);
    const auto skipped = s.optimizer.skipped();
    std::vector<CebraRecord> records(s.n_runs());
    const auto n_sessions = to_size(s.plan.n_sessions);
    for (std::size_t run = 0; run < s.n_runs(); ++run) {
      bool is_validated = true;
      std::uint32_t n_skipped = 0;
      for (std::size_t member = run * n_sessions; member < (run + 1) * n_sessions; ++member) {
        is_validated = is_validated && s.members[member].valid_set >= 0;
        n_skipped = std::max(n_skipped, skipped[member]);
        s.optimizer.keep(static_cast<std::int32_t>(member));
      }
      if (!is_validated) valid[run] = CebraValidation();
      records[run] = {.step = done,
                      .temperature = 1 / static_cast<double>(inverse_temperatures[run]),
                      .train = train[run],
                      .valid = valid[run].mean,
                      .valid_error = valid[run].error,
                      .valid_batches = is_validated ? n_valid : 0};
      s.results[run] = {.steps = done,
                        .nonfinite_steps = n_skipped,
                        .finished = done == s.plan.steps,
                        .failed = !std::isfinite(train[run].loss)};
    }
    if (!on_record(records)) return;
  }
}

std::unique_ptr<Device::Sequence> CebraFleet::training_step() {
  State& s = *state_;
  s.begin();
  s.begin_training_steps();
  return s.device.make_sequence("training step", [&s] { s.train_step(); });
}

std::int64_t CebraFleet::parameters_per_member() const { return state_->model.parameters().layout().n_parameters(); }

const CebraResult& CebraFleet::result(std::int32_t run) const { return state_->results.at(to_size(run)); }

NamedTensors CebraFleet::parameters(std::int32_t member) const {
  const State& s = *state_;
  const std::int32_t own = s.members.at(to_size(member)).n_neurons,
                     first = member / s.plan.n_sessions * s.plan.n_sessions;
  NamedTensors tensors = with_neurons(s.design, s.optimizer.kept(member), own > 0 ? own : s.design.n_neurons);
  // A group has one temperature, its first member's.
  if (s.design.learns_temperature && member != first)
    tensors[Cebra<Real>::kTemperature] = s.optimizer.kept(first).at(Cebra<Real>::kTemperature);
  return tensors;
}

}  // namespace idem
