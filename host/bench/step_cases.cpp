#include <algorithm>
#include <charconv>
#include <cmath>
#include <optional>

#include <fmt/format.h>

#include "host/bench/bench.h"
#include "host/profile/observed_device.h"

namespace idem {
namespace {

// A fleet on a device that is looked at.
struct ObservedFleet {
  ObservedFleet(Device& device, const StepBench& step, std::int32_t n_members, Observes observes)
      : observed(device, observes), fleet(step.make(observed, n_members)) {}
  ObservedDevice observed;
  std::unique_ptr<StepFleet> fleet;
};

// What a step of one member multiplies. Counted on the CPU: of layers that run by kernels of their own nobody asks for
// products.
ProductCount products_of(const StepBench& step) {
  const auto cpu = make_cpu_device(0);
  ObservedFleet alone(*cpu, step, 1, Observes::products);
  alone.fleet->begin();
  alone.observed.count = {};
  alone.fleet->training_step()->run(1);
  return alone.observed.count;
}

// Gives a case its work and its floor.
void set_floor(std::int32_t n_members, double n_parameters, double pair_flops, const MeasuredLimits& limits,
               BenchCase& self) {
  const double forward_flops = n_members * self.count->forward_flops,
               weight_flops = n_members * self.count->weight_flops;
  // Weights are read for the values and for the inputs' gradients; Adam, fused with the weights' gradients, would read
  // and write three arrays.
  const double weight_reads = 2 * sizeof(float) * n_parameters, optimizer = 6 * sizeof(float) * n_parameters;
  self.work = {weight_reads + optimizer, forward_flops + weight_flops};
  if (limits.copy_bytes_per_s > 0 && limits.product_flops_per_s > 0)
    self.floor_s = std::max(forward_flops / limits.product_flops_per_s, weight_reads / limits.copy_bytes_per_s) +
                   std::max(weight_flops / limits.product_flops_per_s, optimizer / limits.copy_bytes_per_s) +
                   pair_flops / limits.product_flops_per_s;
}

BenchCase step_case(const StepBench& step, std::int32_t n_members) {
  return {.name = fmt::format("step/{}/{}", step.name, n_members),
          .work = {},
          .count = {},
          .prepare = [step, n_members](Device& device, const MeasuredLimits& limits, BenchCase& self) {
            if (!self.count) self.count = products_of(step);
            const auto memory = std::make_shared<ObservedFleet>(device, step, n_members, Observes::nothing);
            StepFleet& fleet = *memory->fleet;
            auto sequence = fleet.training_step();
            set_floor(n_members, static_cast<double>(fleet.n_parameters()) * n_members, fleet.pair_flops(), limits,
                      self);
            return PreparedBench{.memory = memory,
                                 .sequence = std::move(sequence),
                                 .reset = [&fleet] { fleet.begin(); },
                                 .n_replays = device.execution().cuda ? step.gpu_replays : step.cpu_replays};
          }};
}

// What a fleet allocates: of members beyond three as much as the third.
double bytes_of(const StepBench& step, std::int32_t n_members) {
  const auto bytes = [&](std::int32_t n) {
    const auto build = [&](Device& counting) { ObservedFleet(counting, step, n, Observes::nothing); };
    return static_cast<double>(measure_memory(build));
  };
  if (n_members <= 3) return bytes(n_members);
  const double of_three = bytes(3);
  return of_three + (of_three - bytes(2)) * (n_members - 3);
}

// What a profile takes at least, in each of its turns and together.
constexpr double kSecondsOfTurn = 0.02;

StepProfile profile_of(Device& device, const StepBench& step, std::int32_t n_members, int repetitions,
                       std::string* method) {
  ObservedFleet memory(device, step, n_members, Observes::times);
  ObservedDevice& observed = memory.observed;
  const auto sequence = memory.fleet->training_step();
  const bool on_gpu = device.execution().cuda;
  const std::int64_t n_replays = on_gpu ? step.gpu_replays : step.cpu_replays;
  const auto run = [&](bool looks) {
    observed.look(looks);
    memory.fleet->begin();
    return observed.seconds(*sequence, n_replays);
  };
  const double first_s = run(false);  // caches and clocks
  const auto n_of_turn = static_cast<int>(std::ceil(kSecondsOfTurn / std::max(first_s, 1e-6)));
  std::vector<double> seconds;
  for (int turn = 0; turn < repetitions; ++turn) {
    double of_turn = 0;
    for (int i = 0; i < n_of_turn; ++i) of_turn += run(false);
    seconds.push_back(of_turn / static_cast<double>(n_of_turn * n_replays));
    observed.begin_sample();
    for (int i = 0; i < (on_gpu ? 1 : n_of_turn); ++i) run(true);
  }
  if (observed.step_profiles().empty()) run(true);  // a trace lost the only look: the next is by events
  if (method) *method = observed.method();
  StepProfile profile = observed.step_profiles().front();
  profile.seconds = seconds;
  return profile;
}

// Calls found(step, number of members) for the step that a name says.
template <class Found>
void find_step(const std::vector<StepBench>& steps, const std::string& name, const Found& found) {
  for (const auto& step : steps) {
    const std::string alone = "step/" + step.name;
    if (name == alone) found(step, 1);
    if (!name.starts_with(alone + "/")) continue;
    std::int32_t n_members = 0;
    const char *begin = name.data() + alone.size() + 1, *end = name.data() + name.size();
    const auto [stopped, error] = std::from_chars(begin, end, n_members);
    if (error == std::errc() && stopped == end && n_members > 0) found(step, n_members);
  }
}

}  // namespace

std::vector<BenchCase> step_cases(const std::vector<StepBench>& steps, bool on_gpu) {
  std::vector<BenchCase> cases;
  for (const auto& step : steps)
    for (const std::int32_t n_members : on_gpu ? step.gpu_sizes : step.cpu_sizes)
      cases.push_back(step_case(step, n_members));
  return cases;
}

std::optional<BenchCase> step_case_named(const std::vector<StepBench>& steps, const std::string& name) {
  std::optional<BenchCase> named;
  find_step(steps, name, [&](const StepBench& step, std::int32_t n_members) { named = step_case(step, n_members); });
  return named;
}

double bytes_of_step(const std::vector<StepBench>& steps, const std::string& name) {
  double bytes = 0;
  find_step(steps, name, [&](const StepBench& step, std::int32_t n_members) { bytes = bytes_of(step, n_members); });
  return bytes;
}

std::optional<StepProfile> profile_step(Device& device, const std::vector<StepBench>& steps, const std::string& name,
                                        int repetitions, std::string* method) {
  std::optional<StepProfile> profile;
  find_step(steps, name, [&](const StepBench& step, std::int32_t n_members) {
    profile = profile_of(device, step, n_members, repetitions, method);
    profile->name = name;
  });
  return profile;
}

}  // namespace idem
