#include "host/families/vae/bench.h"

#include <algorithm>

#include "engine/families/vae/vae_fleet.h"
#include "kernels/common/to_size.h"

namespace idem {
namespace {

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
      pi_vae.flow.permutations[to_size(block)].push_back((output * (7 + 4 * block)) % pi_vae.n_outputs());
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

class VaeStep final : public StepFleet {
 public:
  static constexpr std::int64_t kBatches = 17;  // of an epoch
  static constexpr std::int32_t kBatch = 200;

  VaeStep(Device& device, const ModelDesign& design, std::int32_t n_members) {
    const bool windowed = design.window > 1;
    const bool is_noisy = !windowed && design.observation == Observation::squared_error;
    // As the studies of these models, none of which clips.
    const TrainingPlan plan{
        .batch = kBatch, .coupled_decay = 5e-6, .clip_norm = 0, .input_noise = 0.01, .noisy_target = is_noisy};
    FleetData data{.n_rows = 4200, .inputs = {}, .targets = {}, .labels = {}, .window_begin = {}};
    for (std::int64_t i = 0; i < data.n_rows * design.n_neurons; ++i)
      data.inputs.push_back(static_cast<float>(i * 2654435761u % 97 / 90));
    data.targets = data.inputs;
    for (std::int64_t i = 0; i < data.n_rows * design.n_labels; ++i)
      data.labels.push_back(static_cast<float>(i % 89) / 89);
    if (windowed)
      for (std::int64_t i = 0; i < data.n_rows; ++i)
        data.window_begin.push_back(static_cast<std::int32_t>(std::min<std::int64_t>(i, data.n_rows - design.window)));
    std::vector<std::int32_t> rows;
    for (std::int64_t i = 0; i < kBatches * kBatch; ++i) rows.push_back(static_cast<std::int32_t>(i % data.n_rows));
    std::vector<MemberPlan> members;
    for (std::int32_t member = 0; member < n_members; ++member)
      members.push_back({.name = "bench",
                         .seed = static_cast<std::uint64_t>(member),
                         .learning_rate = 1e-4,
                         .beta = 0.01,
                         .train_rows = rows,
                         .valid_rows = {}});
    fleet_ = std::make_unique<Fleet>(device, design, plan, data, members);
  }
  std::unique_ptr<Device::Sequence> training_step() override { return fleet_->training_step(); }
  void begin() override { fleet_->begin_epoch(0); }
  std::int64_t n_parameters() const override { return fleet_->n_parameters(0); }

 private:
  std::unique_ptr<Fleet> fleet_;
};

}  // namespace

std::vector<StepBench> vae_step_benches() {
  std::vector<StepBench> benches;
  for (const auto& [name, design] : step_models()) {
    const auto& widths = design.encoder.widths;
    const bool is_large = !widths.empty() && widths.front() > 1000;  // memory for one member only
    const std::vector<std::int32_t> one{1};
    const auto make = [design = design](Device& device, std::int32_t n_members) {
      return std::make_unique<VaeStep>(device, design, n_members);
    };
    benches.push_back({.name = name,
                       .make = make,
                       .cpu_sizes = is_large ? one : std::vector<std::int32_t>{1, 2, 8},
                       .gpu_sizes = is_large ? one : std::vector<std::int32_t>{1, 16, 132},
                       .cpu_replays = VaeStep::kBatches - 1,
                       .gpu_replays = VaeStep::kBatches - 1});
  }
  return benches;
}

}  // namespace idem
