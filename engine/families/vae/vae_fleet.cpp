#include "engine/families/vae/vae_fleet.h"

#include <algorithm>
#include <stdexcept>

#include "engine/families/vae/session.h"
#include "engine/training/epoch_loop.h"
#include "engine/training/fleet_memory.h"
#include "kernels/common/to_size.h"
#include "kernels/optimizer/optimizer.h"
#include "kernels/sampling/sampling.h"

namespace idem {

namespace {

using Real = float;  // training is single precision; double serves the oracles

constexpr std::uint32_t kValidationDraw =
    1u << 31;  // steps of training never get there: validation noise is its own, the same in every epoch

void check(const TrainingPlan& plan, const std::vector<FleetSession>& sessions,
           const std::vector<MemberPlan>& members) {
  if (sessions.empty() || members.empty() || members.size() % sessions.size() != 0)
    throw std::invalid_argument("a fleet needs at least one member of each of its sessions");
  for (std::size_t place = 0; place < sessions.size(); ++place) {
    const auto& [design, data] = sessions[place];
    const auto& first = sessions.front().design;
    if (design.n_latents != first.n_latents || design.n_labels != first.n_labels ||
        design.prior_kind != first.prior_kind || design.prior.widths != first.prior.widths)
      throw std::invalid_argument("sessions that share a prior have the same latents, labels and prior");
    const auto size = [&rows = data.n_rows](std::int64_t n_features) { return to_size(rows * n_features); };
    if (data.inputs.size() != size(design.n_neurons) || data.targets.size() != size(design.n_neurons) ||
        data.labels.size() != size(design.n_labels))
      throw std::invalid_argument("inputs, targets and labels must have one row per row of the data");
    check_windows(data, design.window);
    if (plan.noisy_target && design.window > 1)
      throw std::invalid_argument("noise on a window's bins is not the target's noise");
    std::vector<MemberPlan> of_session;
    for (std::size_t member = place; member < members.size(); member += sessions.size())
      of_session.push_back(members[member]);
    check_members(plan, data.n_rows, of_session);
  }
}

}  // namespace

// The prior of several recordings. A run takes part in a batch as long as its longest recording has rows left.
struct SharedPart {
  SharedPart(Device& device, const std::vector<FleetSession>& sessions, const TrainingPlan& plan,
             const std::vector<MemberPlan>& longest)
      : n_members(static_cast<std::int32_t>(longest.size())),
        prior(device, sessions.front().design, n_members, plan.batch, static_cast<std::int32_t>(sessions.size()), true),
        train_lists(device, longest, &MemberPlan::train_rows),
        valid_lists(device, longest, &MemberPlan::valid_rows),
        optimizer(device, prior.parameters, adam_settings(plan), seeds_of(longest)),
        active(device, longest.size()),
        rows(device, longest.size() * to_size(plan.batch)),
        weights(device, rows.size()) {}

  FleetExtent extent() const { return {n_members, active.data()}; }

  void next_batch(const Execution& on, std::int32_t batch, const std::uint32_t* position, const std::uint8_t* enabled,
                  bool training) {
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
  State(Device& on, const std::vector<FleetSession>& of, const TrainingPlan& training_plan,
        const std::vector<MemberPlan>& member_plans)
      : device(on),
        plan(training_plan),
        members(member_plans),
        n_sessions(of.size()),
        enabled(on, n_runs()),
        position(on, 2),
        decisions(plan, members, n_sessions) {
    if (n_sessions > 1) shared = std::make_unique<SharedPart>(on, of, plan, longest_lists());
    for (std::size_t place = 0; place < n_sessions; ++place)
      sessions.push_back(
          std::make_unique<VaeSession>(on, of[place], plan, members_of(place), shared ? &shared->prior : nullptr,
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
          if (const auto& other = members[run * n_sessions + place].*rows; other.size() > (plans[run].*rows).size())
            plans[run].*rows = other;
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
      advance_step(device.execution(),
                   AdvanceStep<Real>{.fleet = session->extent(),
                                     .draw = session->valid_draws.data(),
                                     .position = &session == &sessions.back() ? position.data() : nullptr});
  }

  // Everything as it is before the first step.
  void begin() {
    decisions = EpochDecisions(plan, members, n_sessions);
    const auto begin_optimizer = [&](Parameters<Real>& parameters, MemberOptimizer& optimizer,
                                     const std::vector<MemberPlan>& plans) {
      for (std::int32_t run = 0; run < parameters.n_members(); ++run) {
        parameters.initialise(run, plans[to_size(run)].seed, plan.initialisation);
        optimizer.keep(run);
      }
      optimizer.begin();
    };
    for (auto& session : sessions) begin_optimizer(session->model.parameters(), session->optimizer, session->members);
    if (shared) begin_optimizer(shared->prior.parameters, shared->optimizer, longest_lists());
    enabled.upload(decisions.is_enabled());
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
  std::vector<LossParts> pass(Device::Sequence& sequence, bool training, std::uint32_t epoch,
                              const std::vector<std::uint8_t>& is_enabled) {
    begin_epoch(epoch);
    std::int64_t longest = 0;
    for (const auto& session : sessions)
      longest = std::max(longest, n_batches(session->lists(training).enabled_sizes(is_enabled), plan.batch));
    sequence.run(longest);
    std::vector<LossParts> parts(members.size());
    for (std::size_t place = 0; place < n_sessions; ++place) {
      const auto of_session = sessions[place]->means(sessions[place]->lists(training), is_enabled);
      for (std::size_t run = 0; run < n_runs(); ++run) parts[run * n_sessions + place] = of_session[run];
    }
    return parts;
  }

  // ---- As epoch_loop asks ----
  std::vector<LossParts> train_epoch(std::int32_t epoch, const std::vector<std::uint8_t>& is_enabled) {
    const DeviceRange range(device, "epoch");
    set_learning_rates(plan.schedule.at(epoch, plan.epochs));
    scale_beta(plan.beta_factor_at(epoch));
    auto parts = pass(*train_sequence, true, static_cast<std::uint32_t>(epoch), is_enabled);
    scale_beta(1);  // or validation losses of different epochs could not be compared
    return parts;
  }
  std::vector<LossParts> validate(const std::vector<std::uint8_t>& is_enabled) {
    for (auto& session : sessions) session->valid_draws.upload(std::vector<std::uint32_t>(n_runs(), kValidationDraw));
    return pass(*valid_sequence, false, 0, is_enabled);
  }
  void keep(std::int32_t run) {
    for (auto& session : sessions) session->optimizer.keep(run);
    if (shared) shared->optimizer.keep(run);
  }
  void enable(const std::vector<std::uint8_t>& is_enabled) { enabled.upload(is_enabled); }
  std::vector<std::uint32_t> nonfinite_steps() const {
    const auto of_prior = shared ? shared->optimizer.skipped() : std::vector<std::uint32_t>(n_runs());
    std::vector<std::uint32_t> steps(members.size());
    for (std::size_t place = 0; place < n_sessions; ++place) {
      const auto skipped = sessions[place]->optimizer.skipped();
      for (std::size_t run = 0; run < n_runs(); ++run) steps[run * n_sessions + place] = skipped[run] + of_prior[run];
    }
    return steps;
  }

  Device& device;
  TrainingPlan plan;
  std::vector<MemberPlan> members;  // run after run
  std::size_t n_sessions;
  std::unique_ptr<SharedPart> shared;
  std::vector<std::unique_ptr<VaeSession>> sessions;
  Array<std::uint8_t> enabled;  // of each run
  Array<std::uint32_t> position;
  EpochDecisions decisions;
  std::unique_ptr<Device::Sequence> train_sequence, valid_sequence;
};

Fleet::Fleet(Device& device, const std::vector<FleetSession>& sessions, const TrainingPlan& plan,
             const std::vector<MemberPlan>& members) {
  check(plan, sessions, members);
  state_ = make_fleet_state<State>(members.size(), device, sessions, plan, members);
}

Fleet::Fleet(Device& device, const ModelDesign& design, const TrainingPlan& plan, const FleetData& data,
             const std::vector<MemberPlan>& members)
    : Fleet(device, {{design, data}}, plan, members) {}

Fleet::~Fleet() = default;

void Fleet::train(const OnEpoch& on_epoch) {
  State& s = *state_;
  s.begin();
  s.train_sequence = s.device.make_sequence("training step", [&s] { s.train_step(); });
  s.valid_sequence = s.device.make_sequence("validation step", [&s] { s.valid_step(); });
  epoch_loop<LossParts>(s.plan, s.members, s.n_sessions, s, s.decisions, on_epoch);
}

std::unique_ptr<Device::Sequence> Fleet::training_step() {
  State& s = *state_;
  s.begin();
  s.set_learning_rates(1);
  return s.device.make_sequence("training step", [&s] { s.train_step(); });
}

void Fleet::begin_epoch(std::uint32_t epoch) { state_->begin_epoch(epoch); }

const MemberResult& Fleet::result(std::int32_t member) const { return state_->decisions.result(to_size(member)); }

NamedTensors Fleet::parameters(std::int32_t member) const {
  const auto n_sessions = static_cast<std::int32_t>(state_->n_sessions);
  NamedTensors tensors = state_->sessions[to_size(member % n_sessions)]->optimizer.kept(member / n_sessions);
  if (state_->shared) tensors.merge(state_->shared->optimizer.kept(member / n_sessions));
  return tensors;
}

LatentTable Fleet::latents(std::int32_t member) const {
  const VaeSession& session = *state_->sessions[to_size(member) % state_->n_sessions];
  return infer_latents(state_->device, session.design, parameters(member), session.data);
}

std::int64_t Fleet::n_parameters(std::int32_t member) const {
  const VaeSession& session = *state_->sessions[to_size(member) % state_->n_sessions];
  return session.model.parameters().layout().n_parameters() +
         (state_->shared ? state_->shared->prior.layout.n_parameters() : 0);
}

}  // namespace idem
