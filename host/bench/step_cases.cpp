#include <algorithm>

#include <fmt/format.h>

#include "engine/fleet.h"
#include "host/bench/bench.h"

namespace idem {
namespace {

// Passes everything on to another device and counts the matrix products' work on the way.
class CountingDevice final : public Device {
 public:
  explicit CountingDevice(Device& device) : device_(device) {}
  std::string name() const override { return device_.name(); }
  const Execution& execution() const override { return device_.execution(); }
  void* allocate(std::size_t bytes) override { return device_.allocate(bytes); }
  void release(void* memory) noexcept override { device_.release(memory); }
  void copy_in(void* to, const void* host, std::size_t bytes) override { device_.copy_in(to, host, bytes); }
  void copy_out(void* host, const void* from, std::size_t bytes) override { device_.copy_out(host, from, bytes); }
  void copy(void* to, const void* from, std::size_t bytes) override { device_.copy(to, from, bytes); }
  void clear(void* memory, std::size_t bytes) override { device_.clear(memory, bytes); }
  void synchronize() override { device_.synchronize(); }
  void multiply(const MatrixProduct<float>& product) override {
    count(product);
    device_.multiply(product);
  }
  void multiply(const MatrixProduct<double>& product) override { device_.multiply(product); }
  std::unique_ptr<Sequence> make_sequence(std::function<void()> operations) override { return device_.make_sequence(std::move(operations)); }

  double forward_flops = 0;  // of values and of inputs' gradients: these read weights
  double weight_flops = 0;   // of weights' gradients

 private:
  void count(const MatrixProduct<float>& product) {
    const double flops = 2.0 * static_cast<double>(product.m * product.n * product.k) * product.fleet.n_members;
    (product.transpose_a ? weight_flops : forward_flops) += flops;
  }
  Device& device_;
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

// The report's model (Conv-CI-iVAE as published, 4096 wide) and the paper's width with the same objective.
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
  return {{"ci-ivae-4096", published}, {"ci-ivae-60", narrow}};
}

struct StepMemory {
  explicit StepMemory(Device& device) : counted(device) {}
  CountingDevice counted;
  std::unique_ptr<Fleet> fleet;
};

BenchCase step_case(const StepModel& model, std::int32_t n_members) {
  return {.name = fmt::format("step/{}/{}", model.name, n_members),
          .prepare = [model, n_members](Device& device, const MeasuredLimits& limits, BenchCase& self) {
            constexpr std::int64_t kReplays = 10;
            const TrainingPlan plan{.batch = 200, .coupled_decay = 5e-6, .clip_norm = 1, .input_noise = 0.01, .noisy_target = true};
            FleetData data{.n_rows = 4200, .inputs = {}, .targets = {}, .labels = {}};
            for (std::int64_t i = 0; i < data.n_rows * model.design.n_neurons; ++i) data.inputs.push_back(static_cast<float>(i * 2654435761u % 97 / 90));
            data.targets = data.inputs;
            for (std::int64_t i = 0; i < data.n_rows * model.design.n_labels; ++i) data.labels.push_back(static_cast<float>(i % 89) / 89);
            std::vector<std::int32_t> rows;
            for (std::int64_t i = 0; i < (kReplays + 1) * plan.batch; ++i) rows.push_back(static_cast<std::int32_t>(i % data.n_rows));
            std::vector<MemberPlan> members;
            for (std::int32_t member = 0; member < n_members; ++member)
              members.push_back({.name = "bench", .seed = static_cast<std::uint64_t>(member), .learning_rate = 1e-4, .beta = 0.01, .train_rows = rows,
                                 .valid_rows = {}});

            const auto memory = std::make_shared<StepMemory>(device);
            auto& counted = memory->counted;
            memory->fleet = std::make_unique<Fleet>(counted, model.design, plan, data, members);
            Fleet& fleet = *memory->fleet;
            auto sequence = fleet.training_step();
            fleet.begin_epoch(0);
            counted.forward_flops = counted.weight_flops = 0;
            sequence->run(1);  // a GPU records here; either way the products are counted once
            self.flops = counted.forward_flops + counted.weight_flops;
            // Weights are read for the values and for the inputs' gradients; Adam reads gradient-free (fused) three arrays and writes three.
            const double parameters = static_cast<double>(fleet.parameters_per_member()) * n_members;
            const double weight_reads = 2 * sizeof(float) * parameters, optimizer = 6 * sizeof(float) * parameters;
            self.bytes = weight_reads + optimizer;
            if (limits.copy_bytes_per_s > 0 && limits.product_flops_per_s > 0)
              self.floor_s = std::max(counted.forward_flops / limits.product_flops_per_s, weight_reads / limits.copy_bytes_per_s) +
                             std::max(counted.weight_flops / limits.product_flops_per_s, optimizer / limits.copy_bytes_per_s);
            return PreparedBench{.memory = memory, .sequence = std::move(sequence), .reset = [&fleet] { fleet.begin_epoch(0); }, .n_replays = kReplays};
          }};
}

}  // namespace

std::vector<BenchCase> step_cases(bool on_gpu) {
  std::vector<BenchCase> cases;
  for (const auto& model : step_models()) {
    const bool is_wide = model.design.encoder.widths.front() > 1000;
    for (const std::int32_t n_members : is_wide ? std::vector<std::int32_t>{1} : on_gpu ? std::vector<std::int32_t>{1, 16, 132} : std::vector<std::int32_t>{1, 8})
      cases.push_back(step_case(model, n_members));
  }
  return cases;
}

}  // namespace idem
