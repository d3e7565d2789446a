#include "engine/families/vae/vae_fleet.h"

#include <algorithm>
#include <cmath>
#include <limits>
#include <stdexcept>

#include "engine/families/vae/ci_ivae.h"
#include "engine/training/fleet_memory.h"
#include "engine/training/row_lists.h"
#include "engine/training/source_matrix.h"
#include "kernels/input/input.h"
#include "kernels/optimizer/optimizer.h"
#include "kernels/sampling/sampling.h"

namespace idem {

namespace {

using Real = float;  // training is single precision; double serves the oracles

constexpr std::int32_t kColumns = 7;            // of the loss parts that are sums over rows
constexpr std::int32_t kSums = kColumns + 2;    // and the counts of alpha 0 and of alpha 1
constexpr std::uint32_t kValidationDraw = 1u << 31;  // steps of training never get there: validation noise is its own, the same in every epoch

void check(const TrainingPlan& plan, const std::vector<FleetSession>& sessions, const std::vector<MemberPlan>& members) {
  if (sessions.empty() || members.empty() || members.size() % sessions.size() != 0)
    throw std::invalid_argument("a fleet needs at least one member of each of its sessions");
  for (std::size_t place = 0; place < sessions.size(); ++place) {
    const auto& [design, data] = sessions[place];
    const auto& first = sessions.front().design;
    if (design.n_latents != first.n_latents || design.n_labels != first.n_labels || design.prior_kind != first.prior_kind ||
        design.prior.widths != first.prior.widths)
      throw std::invalid_argument("sessions that share a prior have the same latents, labels and prior");
    const auto size = [&rows = data.n_rows](std::int64_t n_features) { return static_cast<std::size_t>(rows * n_features); };
    if (data.inputs.size() != size(design.n_neurons) || data.targets.size() != size(design.n_neurons) || data.labels.size() != size(design.n_labels))
      throw std::invalid_argument("inputs, targets and labels must have one row per row of the data");
    check_windows(data, design.window);
    if (plan.noisy_target && design.window > 1) throw std::invalid_argument("noise on a window's bins is not the target's noise");
    std::vector<MemberPlan> of_session;
    for (std::size_t member = place; member < members.size(); member += sessions.size()) of_session.push_back(members[member]);
    check_members(plan, data.n_rows, of_session);
  }
}

std::vector<double> betas(const std::vector<MemberPlan>& members) {
  std::vector<double> beta;
  for (const auto& member : members) beta.push_back(member.beta);
  return beta;
}

}  // namespace

// One recording of the fleet: its model, what batches are gathered from, and what its members keep.
struct Fleet::Session {
  // shared: of which the model is number `place`; computes: the members that take part in a batch where it is not for the session to say.
  Session(Device& on, const FleetSession& of, const TrainingPlan& training_plan, const std::vector<MemberPlan>& member_plans,
          const SharedPrior<Real>* shared, std::int32_t place, const std::uint8_t* computes)
      : device(on),
        design(of.design),
        plan(training_plan),
        data(of.data),
        members(member_plans),
        n_members(static_cast<std::int32_t>(member_plans.size())),
        model(on, design, n_members, plan.batch, true, betas(members), shared, place),
        inputs(on, data.inputs, data.n_rows, design.n_neurons),
        targets(on, data.targets, data.n_rows, design.n_neurons),
        labels(on, data.labels, data.n_rows, design.n_labels),
        window_begin(on, data.window_begin),
        train_lists(on, members, &MemberPlan::train_rows),
        valid_lists(on, members, &MemberPlan::valid_rows),
        optimizer(on, model.parameters(), adam_settings(plan), seeds_of(members)),
        valid_draws(on, n()),
        active(on, n()),
        rows(on, n() * static_cast<std::size_t>(plan.batch)),
        noise_scale(on, std::vector<Real>(n(), static_cast<Real>(plan.input_noise))),
        sums(on, n() * kSums),
        computing(computes ? computes : active.data()) {
    // Who computes a batch and who steps are not the same members then: nothing may step while others still compute.
    if (shared) model.parameters().step_early(nullptr);
  }

  std::size_t n() const { return static_cast<std::size_t>(n_members); }
  FleetExtent extent() const { return {n_members, computing}; }        // in a batch, be it of rows without weight
  FleetExtent with_rows() const { return {n_members, active.data()}; }
  const RowLists& lists(bool training) const { return training ? train_lists : valid_lists; }
  bool is_noisy(bool training) const { return training && plan.input_noise > 0; }

  // Of all members, also those that do not take part: draws wait for nothing.
  DrawNormals<Real> draws(RandomStream stream, Rows<Real> out, std::int64_t n_rows, std::int64_t n_cols, const std::uint32_t* step) const {
    return {.fleet = {n_members},
            .n_rows = n_rows,
            .n_cols = static_cast<std::int32_t>(n_cols),
            .stream = stream,
            .seed = optimizer.seeds(),
            .step = step,
            .out = out};
  }

  // Whole windows where `windowed`, the targets' bins side by side.
  GatherRows<Real> gather(const SourceMatrix& source, std::int32_t n_features, bool windowed, Rows<Real> out, const InputNoise<Real>& noise) const {
    return {.fleet = extent(),
            .batch = plan.batch,
            .n_features = n_features,
            .window = windowed ? design.window : 1,
            .source = source.data.data(),
            .source_stride = source.stride,
            .rows = rows.data(),
            .window_begin = windowed ? window_begin.data() : nullptr,
            .side_by_side = &source == &targets,
            .noise = noise,
            .out = out};
  }

  // The next batch. Its draws for the latents are a branch, to be joined.
  void next_batch(const std::uint32_t* position, const std::uint8_t* enabled, bool training) {
    auto& in = model.inputs();
    const auto& on = device.execution();
    const std::uint32_t* step = training ? optimizer.draws() : valid_draws.data();
    SeveralDraws<Real> of_latents{.fleet = {n_members}};
    of_latents.add(draws(RandomStream::encoder_noise, in.noise_encoder, plan.batch, design.n_latents, step));
    if (!design.common_random_numbers) of_latents.add(draws(RandomStream::posterior_noise, in.noise_posterior, plan.batch, design.n_latents, step));
    if (model.needs_monte_carlo_noise())
      of_latents.add(draws(RandomStream::monte_carlo_noise, in.noise_monte_carlo, plan.batch, std::int64_t{design.n_latents} * design.n_samples, step));
    device.aside([&] { draw_several(on, of_latents); });
    batch_rows(on, BatchRows<Real>{.n_members = n_members,
                                   .batch = plan.batch,
                                   .shuffle = training && plan.shuffle,
                                   .position = position,
                                   .row_lists = lists(training).rows.data(),
                                   .list_begin = lists(training).offsets.data(),
                                   .seed = optimizer.seeds(),
                                   .enabled = enabled,
                                   .rows = rows.data(),
                                   .weights = in.row_weight.data(),
                                   .weights_stride = model.row_scalar_stride(),
                                   .active = active.data()});
    const InputNoise<Real> none, noise = is_noisy(training) ? InputNoise<Real>{optimizer.seeds(), step, noise_scale.data()} : none;
    SeveralGathers<Real> of_batch{.fleet = extent()};
    of_batch.add(gather(inputs, design.n_neurons, design.encoder_window() > 1, in.x, noise));
    of_batch.add(gather(targets, design.n_neurons, design.decodes_window, in.target, plan.noisy_target ? noise : none));
    if (design.sees_labels()) of_batch.add(gather(labels, design.n_labels, false, model.label(), none));
    gather_several(on, of_batch);
  }

  // In the grid; -1: it is not there.
  std::int32_t place_of_alpha(double alpha) const {
    const auto found = std::find(design.alphas.begin(), design.alphas.end(), alpha);
    return found == design.alphas.end() ? -1 : static_cast<std::int32_t>(found - design.alphas.begin());
  }

  // The batch's loss. The sums over the epoch are a branch of their own, to be joined.
  void forward() {
    model.forward(extent());
    const auto& in = model.inputs();
    const auto& out = model.outputs();
    const EpochSums<Real> to_add{.fleet = extent(),
                                 .batch = plan.batch,
                                 .n_columns = kColumns,
                                 .row_weight = in.row_weight.data(),
                                 .row_scalar_stride = model.row_scalar_stride(),
                                 .columns = {out.loss.data(), model.reconstruction_encoder(), model.reconstruction_posterior(), out.kl_encoder.data(),
                                             out.kl_posterior.data(), out.skew.data(), out.alpha.data()},
                                 .alpha_index = out.alpha_index.data(),
                                 .zero_index = place_of_alpha(0),
                                 .one_index = place_of_alpha(1),
                                 .sums = sums.data()};
    device.aside([&] { epoch_sums(device.execution(), to_add); });
  }

  // Means over the rows of an epoch that has ended; of members not enabled: NaN.
  std::vector<LossParts> means(const RowLists& lists, const std::vector<std::uint8_t>& is_enabled) const {
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
  Array<std::uint32_t> valid_draws;
  Array<std::uint8_t> active;
  Array<std::int32_t> rows;
  Array<Real> noise_scale, sums;
  const std::uint8_t* computing;
};

// The prior of several recordings. A run takes part in a batch as long as its longest recording has rows left.
struct Fleet::SharedPart {
  SharedPart(Device& device, const std::vector<FleetSession>& sessions, const TrainingPlan& plan, const std::vector<MemberPlan>& longest)
      : n_members(static_cast<std::int32_t>(longest.size())),
        prior(device, sessions.front().design, n_members, plan.batch, static_cast<std::int32_t>(sessions.size()), true),
        train_lists(device, longest, &MemberPlan::train_rows),
        valid_lists(device, longest, &MemberPlan::valid_rows),
        optimizer(device, prior.parameters, adam_settings(plan), seeds_of(longest)),
        active(device, longest.size()),
        rows(device, longest.size() * static_cast<std::size_t>(plan.batch)),
        weights(device, rows.size()) {}

  FleetExtent extent() const { return {n_members, active.data()}; }

  void next_batch(const Execution& on, std::int32_t batch, const std::uint32_t* position, const std::uint8_t* enabled, bool training) {
    const RowLists& lists = training ? train_lists : valid_lists;
    batch_rows(on, BatchRows<Real>{.n_members = n_members,
                                   .batch = batch,
                                   .shuffle = false,  // only who takes part is read
                                   .position = position,
                                   .row_lists = lists.rows.data(),
                                   .list_begin = lists.offsets.data(),
                                   .seed = optimizer.seeds(),
                                   .enabled = enabled,
                                   .rows = rows.data(),
                                   .weights = weights.data(),
                                   .weights_stride = batch,
                                   .active = active.data()});
  }

  std::int32_t n_members;
  SharedPrior<Real> prior;
  RowLists train_lists, valid_lists;
  MemberOptimizer optimizer;
  Array<std::uint8_t> active;
  Array<std::int32_t> rows;
  Array<Real> weights;
};

struct Fleet::State {
  State(Device& on, const std::vector<FleetSession>& of, const TrainingPlan& training_plan, const std::vector<MemberPlan>& member_plans)
      : device(on),
        plan(training_plan),
        members(member_plans),
        n_sessions(of.size()),
        enabled(on, n_runs()),
        position(on, 2),
        lowest(n_runs()),
        results(members.size()) {
    if (n_sessions > 1) shared = std::make_unique<SharedPart>(on, of, plan, longest_lists());
    for (std::size_t place = 0; place < n_sessions; ++place)
      sessions.push_back(std::make_unique<Session>(on, of[place], plan, members_of(place), shared ? &shared->prior : nullptr,
                                                   static_cast<std::int32_t>(place), shared ? shared->active.data() : nullptr));
  }

  std::size_t n_runs() const { return members.size() / n_sessions; }
  std::vector<MemberPlan> members_of(std::size_t place) const {
    std::vector<MemberPlan> of_session;
    for (std::size_t run = 0; run < n_runs(); ++run) of_session.push_back(members[run * n_sessions + place]);
    return of_session;
  }
  // Of each run, and with the key of the prior's own draws.
  std::vector<MemberPlan> longest_lists() const {
    std::vector<MemberPlan> plans = members_of(0);
    for (std::size_t run = 0; run < n_runs(); ++run) {
      plans[run].seed = session_seed(plans[run].seed, n_sessions);
      for (std::size_t place = 1; place < n_sessions; ++place)
        for (const auto rows : {&MemberPlan::train_rows, &MemberPlan::valid_rows})
          if (const auto& other = members[run * n_sessions + place].*rows; other.size() > (plans[run].*rows).size()) plans[run].*rows = other;
    }
    return plans;
  }

  void forward(bool training) {
    if (shared) shared->next_batch(device.execution(), plan.batch, position.data(), enabled.data(), training);
    for (auto& session : sessions) session->next_batch(position.data(), enabled.data(), training);
    if (shared) device.aside([&] { shared->prior.forward(device, shared->extent()); });
    for (auto& session : sessions) session->forward();
  }

  void train_step() {
    forward(true);
    for (auto& session : sessions) session->model.backward(session->extent());
    if (shared) {
      shared->prior.backward(device, shared->extent());
      device.join();
    }
    for (auto& session : sessions) session->optimizer.step(session->with_rows(), shared ? nullptr : position.data());
    if (shared) shared->optimizer.step(shared->extent(), position.data());
  }

  void valid_step() {
    forward(false);
    device.join();
    for (auto& session : sessions)
      advance_step(device.execution(), AdvanceStep<Real>{.fleet = session->extent(),
                                                         .draw = session->valid_draws.data(),
                                                         .position = &session == &sessions.back() ? position.data() : nullptr});
  }

  // Everything as it is before the first step.
  void begin() {
    results.assign(members.size(), {});
    for (auto& result : results) result.best_valid_loss = std::numeric_limits<double>::infinity();
    lowest.assign(n_runs(), std::numeric_limits<double>::infinity());
    const auto begin_optimizer = [&](Parameters<Real>& parameters, MemberOptimizer& optimizer, const std::vector<MemberPlan>& plans) {
      for (std::int32_t run = 0; run < parameters.n_members(); ++run) {
        parameters.initialise(run, plans[static_cast<std::size_t>(run)].seed, plan.initialisation);
        optimizer.keep(run);
      }
      optimizer.begin();
    };
    for (auto& session : sessions) begin_optimizer(session->model.parameters(), session->optimizer, session->members);
    if (shared) begin_optimizer(shared->prior.parameters, shared->optimizer, longest_lists());
    enabled.upload(std::vector<std::uint8_t>(n_runs(), 1));
  }

  void set_learning_rates(double schedule) {
    for (auto& session : sessions) session->optimizer.set_learning_rates(learning_rates_of(session->members, schedule));
    if (shared) shared->optimizer.set_learning_rates(learning_rates_of(sessions.front()->members, schedule));
  }

  void scale_beta(double factor) {
    for (auto& session : sessions) session->model.scale_beta(factor);
  }

  void begin_epoch(std::uint32_t epoch) {
    position.upload({epoch, 0});
    for (auto& session : sessions) session->sums.clear();
  }

  // Runs one pass over the training or validation rows and returns the means of each member (of runs not enabled: NaN).
  std::vector<LossParts> pass(Device::Sequence& sequence, bool training, std::uint32_t epoch, const std::vector<std::uint8_t>& is_enabled) {
    begin_epoch(epoch);
    std::int64_t longest = 0;
    for (const auto& session : sessions)
      for (std::size_t run = 0; run < n_runs(); ++run)
        if (is_enabled[run]) longest = std::max(longest, session->lists(training).sizes[run]);
    sequence.run((longest + plan.batch - 1) / plan.batch);
    std::vector<LossParts> parts(members.size());
    for (std::size_t place = 0; place < n_sessions; ++place) {
      const auto of_session = sessions[place]->means(sessions[place]->lists(training), is_enabled);
      for (std::size_t run = 0; run < n_runs(); ++run) parts[run * n_sessions + place] = of_session[run];
    }
    return parts;
  }

  void keep(std::int32_t run) {
    for (auto& session : sessions) session->optimizer.keep(run);
    if (shared) shared->optimizer.keep(run);
  }

  Device& device;
  TrainingPlan plan;
  std::vector<MemberPlan> members;  // run after run
  std::size_t n_sessions;
  std::unique_ptr<SharedPart> shared;
  std::vector<std::unique_ptr<Session>> sessions;
  Array<std::uint8_t> enabled;  // of each run
  Array<std::uint32_t> position;
  std::vector<double> lowest;   // of each run, the loss that says which epoch is best
  std::vector<MemberResult> results;
};

Fleet::Fleet(Device& device, const std::vector<FleetSession>& sessions, const TrainingPlan& plan, const std::vector<MemberPlan>& members) {
  check(plan, sessions, members);
  state_ = make_fleet_state<State>(members.size(), device, sessions, plan, members);
}

Fleet::Fleet(Device& device, const ModelDesign& design, const TrainingPlan& plan, const FleetData& data, const std::vector<MemberPlan>& members)
    : Fleet(device, {{design, data}}, plan, members) {}

Fleet::~Fleet() = default;

void Fleet::train(const OnEpoch& on_epoch) {
  State& s = *state_;
  const std::size_t n_runs = s.n_runs();
  s.begin();
  std::vector<std::uint8_t> is_enabled(n_runs, 1);
  const auto train_sequence = s.device.make_sequence([&s] { s.train_step(); });
  const auto valid_sequence = s.device.make_sequence([&s] { s.valid_step(); });
  const auto validate = [&] {
    for (auto& session : s.sessions) session->valid_draws.upload(std::vector<std::uint32_t>(n_runs, kValidationDraw));
    return s.pass(*valid_sequence, false, 0, is_enabled);
  };
  const auto untrained = validate();
  for (std::size_t member = 0; member < s.members.size(); ++member) s.results[member].initial_valid_loss = untrained[member].loss;

  for (std::int32_t epoch = 0; epoch < s.plan.epochs; ++epoch) {
    const double schedule = s.plan.schedule.at(epoch, s.plan.epochs);
    s.set_learning_rates(schedule);
    s.scale_beta(s.plan.beta_factor_at(epoch));
    const auto train = s.pass(*train_sequence, true, static_cast<std::uint32_t>(epoch), is_enabled);
    s.scale_beta(1);  // or validation losses of different epochs could not be compared
    const auto valid = validate();

    std::vector<EpochRecord> records(s.members.size());
    for (std::size_t run = 0; run < n_runs; ++run) {
      const std::size_t first = run * s.n_sessions, end = first + s.n_sessions;
      bool validates = true;
      for (std::size_t member = first; member < end; ++member) {
        auto& record = records[member];
        record = {.epoch = epoch + 1, .learning_rate = s.members[member].learning_rate * schedule, .train = train[member], .valid = valid[member]};
        record.is_running = is_enabled[run] != 0;
        validates = validates && !s.members[member].valid_rows.empty();
      }
      if (!is_enabled[run]) continue;
      const auto criterion = [&](std::size_t member) { return validates ? valid[member].loss : train[member].loss; };
      double of_run = 0;
      for (std::size_t member = first; member < end; ++member) of_run += criterion(member);
      // Training losses under different weights of the KL terms do not compare: then the later epoch counts.
      const std::int32_t best_before = s.results[first].best_epoch;
      const bool replaces = !validates && best_before > 0 && s.plan.beta_factor_at(best_before - 1) < s.plan.beta_factor_at(epoch);
      const bool is_best = std::isfinite(of_run) && (replaces || of_run < s.lowest[run]);
      const bool keeps = is_best || !s.plan.keep_best;
      if (is_best) s.lowest[run] = of_run;
      if (keeps) s.keep(static_cast<std::int32_t>(run));
      const bool out_of_patience = s.plan.patience > 0 && epoch + 1 - (is_best ? epoch + 1 : best_before) >= s.plan.patience;
      const bool finished = out_of_patience || epoch + 1 == s.plan.epochs;
      if (finished) is_enabled[run] = 0;
      for (std::size_t member = first; member < end; ++member) {
        auto& result = s.results[member];
        records[member].is_best = is_best;
        result.epochs = epoch + 1;
        result.finished = finished;
        if (is_best) {
          result.best_valid_loss = criterion(member);
          result.best_epoch = epoch + 1;
        }
        if (keeps) result.kept_valid_loss = criterion(member);
        result.failed = result.best_epoch == 0 || !std::isfinite(result.kept_valid_loss);
      }
    }
    const auto of_prior = s.shared ? s.shared->optimizer.skipped() : std::vector<std::uint32_t>(n_runs);
    for (std::size_t place = 0; place < s.n_sessions; ++place) {
      const auto skipped = s.sessions[place]->optimizer.skipped();
      for (std::size_t run = 0; run < n_runs; ++run) s.results[run * s.n_sessions + place].nonfinite_steps = skipped[run] + of_prior[run];
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
  const auto n_sessions = static_cast<std::int32_t>(state_->n_sessions);
  NamedTensors tensors = state_->sessions[static_cast<std::size_t>(member % n_sessions)]->optimizer.kept(member / n_sessions);
  if (state_->shared) tensors.merge(state_->shared->optimizer.kept(member / n_sessions));
  return tensors;
}

LatentTable Fleet::latents(std::int32_t member) const {
  const Session& session = *state_->sessions[static_cast<std::size_t>(member) % state_->n_sessions];
  return infer_latents(state_->device, session.design, parameters(member), session.data);
}

std::int64_t Fleet::n_parameters(std::int32_t member) const {
  const Session& session = *state_->sessions[static_cast<std::size_t>(member) % state_->n_sessions];
  return session.model.parameters().layout().n_parameters() + (state_->shared ? state_->shared->prior.layout.n_parameters() : 0);
}

}  // namespace idem
