#include <algorithm>
#include <charconv>
#include <cmath>
#include <map>

#include <fmt/format.h>

#include "engine/families/cebra/cebra_fleet.h"
#include "engine/families/vae/vae_fleet.h"
#include "host/bench/bench.h"

namespace idem {
namespace {

enum class Observes {
  nothing,
  times,     // of every operation
  products,  // whose work it counts: no narrow layer then runs by kernels of its own
};

// Passes everything on to another device.
class ObservedDevice final : public Device, public OperationObserver {
 public:
  ObservedDevice(Device& device, Observes observes) : device_(device), observes_(observes), execution_(device.execution()) {
    if (observes == Observes::times) execution_.observer = this;
  }
  std::string name() const override { return device_.name(); }
  const Execution& execution() const override { return execution_; }
  void* allocate(std::size_t bytes) override { return device_.allocate(bytes); }
  void release(void* memory) noexcept override { device_.release(memory); }
  void copy_in(void* to, const void* host, std::size_t bytes) override { device_.copy_in(to, host, bytes); }
  void copy_out(void* host, const void* from, std::size_t bytes) override { device_.copy_out(host, from, bytes); }
  void copy(void* to, const void* from, std::size_t bytes) override { device_.copy(to, from, bytes); }
  void clear(void* memory, std::size_t bytes) override { device_.clear(memory, bytes); }
  void synchronize() override { device_.synchronize(); }
  void multiply(const MatrixProduct<float>& product) override {
    (product.transpose_a ? count.weight_flops : count.forward_flops) += work(product).flops;
    const ObservedOperation observed(execution_, product.transpose_a ? "product (weights' gradients)" : "product",
                                     product);
    device_.multiply(product);
  }
  void multiply(const MatrixProduct<double>& product) override { device_.multiply(product); }
  bool fuses(const MatrixProduct<float>& product) override { return device_.fuses(product); }
  bool runs_narrow_layers() const override { return observes_ != Observes::products && device_.runs_narrow_layers(); }
  bool runs_narrow_convolutions() const override { return observes_ != Observes::products && device_.runs_narrow_convolutions(); }
  std::size_t cache_bytes() const override { return device_.cache_bytes(); }
  bool convolves(const BinConvolution<float>& convolution) override { return device_.convolves(convolution); }
  void convolve(const BinConvolution<float>& p) override {
    const bool is_weight = p.pass == ConvolutionPass::weight_gradient;
    (is_weight ? count.weight_flops : count.forward_flops) += work(p).flops;
    const ObservedOperation observed(execution_, is_weight ? "convolution (weights' gradients)" : "convolution", p);
    device_.convolve(p);
  }
  std::unique_ptr<Sequence> make_sequence(std::function<void()> operations) override {
    if (observes_ == Observes::times) return std::make_unique<PlainSequence>(std::move(operations));  // a recording could not be stopped after each operation
    return device_.make_sequence(std::move(operations));
  }
  void begin(const char* operation, const Work& work) override {
    running_ = &times[operation];
    running_->work += work;
    device_.start_watch();
  }
  void end() override {
    running_->seconds += device_.stop_watch();
    ++running_->calls;
  }

  void run_branch(const std::function<void()>& branch) override { run_beside(&Device::aside, branch); }
  void run_apart(const std::function<void()>& work) override { run_beside(&Device::apart, work); }
  void join_branches() override { device_.join(); }

  ProductCount count;
  std::map<std::string, OperationTime> times;

 private:
  // On the stream that the device gives. An operation's time is its own only while nothing runs beside it.
  void run_beside(void (Device::*beside)(const std::function<void()>&), const std::function<void()>& work) {
    if (observes_ == Observes::times) return work();
    (device_.*beside)([&] {
      execution_.stream = device_.execution().stream;
      work();
    });
    execution_.stream = device_.execution().stream;
  }

  Device& device_;
  Observes observes_;
  Execution execution_;
  OperationTime* running_ = nullptr;
};

struct StepModel {
  std::string name;
  ModelDesign design;
};

std::vector<double> published_alphas() {
  std::vector<double> alphas;
  for (int i = 1; i < 40; ++i) alphas.push_back(i / 40.0);
  return alphas;
}

// The report's model (Conv-CI-iVAE as published, 4096 wide); the paper's width and the learned temporal encoder with
// the same objective; pi-VAE, and with a decoder without flow.
std::vector<StepModel> step_models() {
  ModelDesign published{.n_neurons = 120, .n_labels = 3, .n_latents = 2};
  published.encoder = {{4096, 4096}, Activation::leaky_relu, 0.2};
  published.prior = {{128, 128}, Activation::leaky_relu, 0.2};
  published.decoder = published.encoder;
  published.observation = Observation::squared_error;
  published.output = OutputMap::sigmoid;
  published.mean_over_neurons = published.mean_over_latents = true;
  published.objective = Objective::ci_ivae_published;
  published.alphas = published_alphas();
  published.common_random_numbers = false;
  ModelDesign narrow = published;
  narrow.encoder = narrow.prior = narrow.decoder = {{60, 60}, Activation::tanh, 0.2};
  ModelDesign convolution = narrow;
  convolution.encoder_kind = EncoderKind::temporal_convolution;
  convolution.encoder = {{}, Activation::gelu_tanh, 0};
  convolution.window = 10;
  convolution.channels = 32;
  ModelDesign pi_vae{.n_neurons = 120, .n_labels = 3, .n_latents = 2};
  pi_vae.encoder_kind = EncoderKind::separate_mlps;
  pi_vae.encoder = {{60, 60}, Activation::tanh, 0};
  pi_vae.prior_kind = PriorKind::shared_mlp;
  pi_vae.prior = {{20, 20}, Activation::tanh, 0};
  pi_vae.decoder_kind = DecoderKind::gin;
  pi_vae.flow = {.width = 30, .permutations = {{}, {}}};
  for (std::int32_t output = 0; output < pi_vae.n_outputs(); ++output)
    for (std::int32_t block = 0; block < 2; ++block)
      pi_vae.flow.permutations[static_cast<std::size_t>(block)].push_back((output * (7 + 4 * block)) % pi_vae.n_outputs());
  pi_vae.objective = Objective::ivae;
  pi_vae.alphas = {0};
  ModelDesign without_flow = pi_vae;  // 23,640 parameters
  without_flow.encoder_kind = narrow.encoder_kind;
  without_flow.decoder_kind = narrow.decoder_kind;
  without_flow.prior = {{32, 32}, Activation::tanh, 0};
  without_flow.decoder = narrow.decoder;
  without_flow.flow = {};
  return {{"ci-ivae-4096", published},
          {"ci-ivae-60", narrow},
          {"conv-ci-ivae-32", convolution},
          {"pi-vae-60", pi_vae},
          {"pi-vae-mlp-60", without_flow}};
}

// A fleet in training on made-up data.
struct StepMemory {
  static constexpr std::int64_t kBatches = 17;  // of an epoch
  static constexpr std::int32_t kBatch = 200;

  StepMemory(Device& device, const ModelDesign& design, std::int32_t n_members, Observes observes) : observed(device, observes) {
    const bool windowed = design.window > 1;
    const bool is_noisy = !windowed && design.observation == Observation::squared_error;
    // As the studies of these models, none of which clips.
    const TrainingPlan plan{.batch = kBatch, .coupled_decay = 5e-6, .clip_norm = 0, .input_noise = 0.01, .noisy_target = is_noisy};
    FleetData data{.n_rows = 4200, .inputs = {}, .targets = {}, .labels = {}, .window_begin = {}};
    for (std::int64_t i = 0; i < data.n_rows * design.n_neurons; ++i) data.inputs.push_back(static_cast<float>(i * 2654435761u % 97 / 90));
    data.targets = data.inputs;
    for (std::int64_t i = 0; i < data.n_rows * design.n_labels; ++i) data.labels.push_back(static_cast<float>(i % 89) / 89);
    if (windowed)
      for (std::int64_t i = 0; i < data.n_rows; ++i) data.window_begin.push_back(static_cast<std::int32_t>(std::min<std::int64_t>(i, data.n_rows - design.window)));
    std::vector<std::int32_t> rows;
    for (std::int64_t i = 0; i < kBatches * kBatch; ++i) rows.push_back(static_cast<std::int32_t>(i % data.n_rows));
    std::vector<MemberPlan> members;
    for (std::int32_t member = 0; member < n_members; ++member)
      members.push_back({.name = "bench", .seed = static_cast<std::uint64_t>(member), .learning_rate = 1e-4, .beta = 0.01, .train_rows = rows, .valid_rows = {}});
    fleet = std::make_unique<Fleet>(observed, design, plan, data, members);
  }
  void begin() { fleet->begin_epoch(0); }
  ObservedDevice observed;
  std::unique_ptr<Fleet> fleet;
};

// CEBRA as its demos train it, on a short recording and a long one, and twice as wide; at the paper's settings for the
// rat: more draws than there are bins, each bin encoded once; and as many draws from a recording that has bins for all,
// each draw's window encoded.
struct CebraStep {
  std::string name;
  std::int32_t batch, width, n_neurons, n_rows;
};
const std::vector<CebraStep> kCebraSteps = {{"cebra-offset10-512", 512, 32, 120, 4200},
                                            {"cebra-offset10-512-width-64", 512, 64, 120, 4200},
                                            {"cebra-offset10-512-of-6577", 512, 32, 48, 6577},
                                            {"cebra-offset10-512-of-100000", 512, 32, 48, 100000},
                                            {"cebra-offset10-20000", 20000, 64, 120, 4200},
                                            {"cebra-offset10-20000-of-100000", 20000, 64, 120, 100000}};

// A fleet in training on made-up data.
struct CebraStepMemory {
  CebraStepMemory(Device& device, const CebraStep& step, std::int32_t n_members, Observes observes) : observed(device, observes) {
    const CebraDesign design{.n_neurons = step.n_neurons, .width = step.width};
    CebraData data{.n_rows = step.n_rows, .inputs = {}, .segments = {}, .sets = {{}}};
    auto& set = data.sets.front();
    for (std::int64_t i = 0; i < data.n_rows * design.n_neurons; ++i) data.inputs.push_back(static_cast<float>(i * 2654435761u % 97 / 90));
    data.segments = set.segments = std::vector<std::int32_t>(static_cast<std::size_t>(data.n_rows), 0);
    for (std::int32_t row = 0; row < data.n_rows; ++row) {
      set.rows.push_back(row);
      set.labels.insert(set.labels.end(), {static_cast<float>(std::abs(std::sin(0.01 * row))), row / 314 % 2 ? 1.0f : 0.0f, row / 314 % 2 ? 0.0f : 1.0f});
    }
    std::vector<CebraMemberPlan> members;
    for (std::int32_t member = 0; member < n_members; ++member) members.push_back({.name = "bench", .seed = static_cast<std::uint64_t>(member)});
    fleet = std::make_unique<CebraFleet>(observed, design, CebraPlan{.batch = step.batch, .samples = {.n_labels = 3, .time_offset = 10}}, data, members);
    // Each pair of reference and negative meets in two passes: n_features products for its similarity, as many for the
    // gradient, and an exponential.
    const double n_compared = fleet->weighs_draws() ? data.n_rows - design.window + 1 : step.batch;
    pair_flops = n_members * n_compared * n_compared * 2 * (4 * design.n_features + kFunctionFlops);
  }
  void begin() {}
  ObservedDevice observed;
  std::unique_ptr<CebraFleet> fleet;
  double pair_flops = 0;
};

// What a step of one member multiplies. Counted on the CPU: of layers that run by kernels of their own nobody asks for
// products.
template <class Memory, class Model>
ProductCount products_of(const Model& model) {
  const auto cpu = make_cpu_device(0);
  Memory alone(*cpu, model, 1, Observes::products);
  alone.begin();
  alone.observed.count = {};
  alone.fleet->training_step()->run(1);
  return alone.observed.count;
}

// Gives a case its work and its floor.
void set_floor(std::int32_t n_members, double n_parameters, double pair_flops, const MeasuredLimits& limits,
               BenchCase& self) {
  const double forward_flops = n_members * self.count->forward_flops,
               weight_flops = n_members * self.count->weight_flops;
  // Weights are read for the values and for the inputs' gradients; Adam, fused with the weights' gradients, would read and write three arrays.
  const double weight_reads = 2 * sizeof(float) * n_parameters, optimizer = 6 * sizeof(float) * n_parameters;
  self.work = {weight_reads + optimizer, forward_flops + weight_flops};
  if (limits.copy_bytes_per_s > 0 && limits.product_flops_per_s > 0)
    self.floor_s = std::max(forward_flops / limits.product_flops_per_s, weight_reads / limits.copy_bytes_per_s) +
                   std::max(weight_flops / limits.product_flops_per_s, optimizer / limits.copy_bytes_per_s) +
                   pair_flops / limits.product_flops_per_s;
}

BenchCase step_case(const StepModel& model, std::int32_t n_members) {
  return {.name = fmt::format("step/{}/{}", model.name, n_members),
          .work = {},
          .count = {},
          .prepare = [model, n_members](Device& device, const MeasuredLimits& limits, BenchCase& self) {
            if (!self.count) self.count = products_of<StepMemory>(model.design);
            const auto memory = std::make_shared<StepMemory>(device, model.design, n_members, Observes::nothing);
            auto sequence = memory->fleet->training_step();
            set_floor(n_members, static_cast<double>(memory->fleet->n_parameters(0)) * n_members, 0, limits, self);
            return PreparedBench{.memory = memory,
                                 .sequence = std::move(sequence),
                                 .reset = [memory = memory.get()] { memory->begin(); },
                                 .n_replays = StepMemory::kBatches - 1};
          }};
}

BenchCase step_case(const CebraStep& step, std::int32_t n_members) {
  constexpr std::int64_t kReplays = 16;  // two recordings of eight steps
  return {.name = fmt::format("step/{}/{}", step.name, n_members),
          .work = {},
          .count = {},
          .prepare = [step, n_members](Device& device, const MeasuredLimits& limits, BenchCase& self) {
            if (!self.count) self.count = products_of<CebraStepMemory>(step);
            const auto memory = std::make_shared<CebraStepMemory>(device, step, n_members, Observes::nothing);
            auto sequence = memory->fleet->training_step();
            set_floor(n_members, static_cast<double>(memory->fleet->parameters_per_member()) * n_members,
                      memory->pair_flops, limits, self);
            return PreparedBench{.memory = memory, .sequence = std::move(sequence), .reset = {}, .n_replays = device.execution().cuda ? kReplays : 1};
          }};
}

std::map<std::string, OperationTime> mean_times(Device::Sequence& sequence, ObservedDevice& observed,
                                                std::int64_t n_steps) {
  sequence.run(1);  // caches and clocks
  observed.times.clear();
  sequence.run(n_steps);
  for (auto& [operation, time] : observed.times) {
    time.seconds /= static_cast<double>(n_steps);
    time.calls /= n_steps;
    time.work.bytes /= static_cast<double>(n_steps);
    time.work.flops /= static_cast<double>(n_steps);
  }
  return observed.times;
}

// Mean times of the operations of some steps.
std::map<std::string, OperationTime> operation_times(Device& device, const StepModel& model, std::int32_t n_members) {
  StepMemory memory(device, model.design, n_members, Observes::times);
  const auto sequence = memory.fleet->training_step();
  memory.begin();
  return mean_times(*sequence, memory.observed, StepMemory::kBatches - 1);
}
std::map<std::string, OperationTime> operation_times(Device& device, const CebraStep& step, std::int32_t n_members) {
  CebraStepMemory memory(device, step, n_members, Observes::times);
  const auto sequence = memory.fleet->training_step();
  return mean_times(*sequence, memory.observed, 3);
}

// What a fleet allocates: of members beyond three as much as the third.
template <class Memory, class Model>
double bytes_of_fleet(const Model& model, std::int32_t n_members) {
  const auto bytes = [&](std::int32_t n) {
    const auto build = [&](Device& counting) { Memory(counting, model, n, Observes::nothing); };
    return static_cast<double>(measure_memory(build));
  };
  if (n_members <= 3) return bytes(n_members);
  const double of_three = bytes(3);
  return of_three + (of_three - bytes(2)) * (n_members - 3);
}
double bytes_of(const StepModel& model, std::int32_t n_members) {
  return bytes_of_fleet<StepMemory>(model.design, n_members);
}
double bytes_of(const CebraStep& step, std::int32_t n_members) {
  return bytes_of_fleet<CebraStepMemory>(step, n_members);
}

// How many members are worth timing.
std::vector<std::int32_t> fleet_sizes(const StepModel& model, bool on_gpu) {
  const auto& widths = model.design.encoder.widths;
  if (!widths.empty() && widths.front() > 1000) return {1};  // memory for one member only
  return on_gpu ? std::vector<std::int32_t>{1, 16, 132} : std::vector<std::int32_t>{1, 2, 8};
}
std::vector<std::int32_t> fleet_sizes(const CebraStep& step, bool on_gpu) {
  const bool is_large = step.batch > 1000 && step.batch < step.n_rows;  // memory for one member only
  if (!on_gpu || is_large) return {1};
  return step.batch > 1000 ? std::vector<std::int32_t>{1, 16} : std::vector<std::int32_t>{1, 16, 132};
}

// Calls found(model, number of members) for the model that a step's name says.
template <class Found>
void find_step(const std::string& name, const Found& found) {
  const auto try_one = [&](const auto& model) {
    const std::string alone = "step/" + model.name;
    if (name == alone) return found(model, 1);
    if (!name.starts_with(alone + "/")) return;
    std::int32_t n_members = 0;
    const char *begin = name.data() + alone.size() + 1, *end = name.data() + name.size();
    const auto [stopped, error] = std::from_chars(begin, end, n_members);
    if (error == std::errc() && stopped == end && n_members > 0) found(model, n_members);
  };
  for (const auto& model : step_models()) try_one(model);
  for (const auto& step : kCebraSteps) try_one(step);
}

}  // namespace

std::vector<BenchCase> step_cases(bool on_gpu) {
  std::vector<BenchCase> cases;
  const auto add = [&](const auto& model) {
    for (const std::int32_t n_members : fleet_sizes(model, on_gpu)) cases.push_back(step_case(model, n_members));
  };
  for (const auto& model : step_models()) add(model);
  for (const auto& step : kCebraSteps) add(step);
  return cases;
}

std::optional<BenchCase> step_case_named(const std::string& name) {
  std::optional<BenchCase> named;
  find_step(name, [&](const auto& model, std::int32_t n_members) { named = step_case(model, n_members); });
  return named;
}

double bytes_of_step(const std::string& name) {
  double bytes = 0;
  find_step(name, [&](const auto& model, std::int32_t n_members) { bytes = bytes_of(model, n_members); });
  return bytes;
}

std::map<std::string, OperationTime> profile_step(Device& device, const std::string& name) {
  std::map<std::string, OperationTime> times;
  find_step(name,
            [&](const auto& model, std::int32_t n_members) { times = operation_times(device, model, n_members); });
  return times;
}

}  // namespace idem
