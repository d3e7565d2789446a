#include "host/families/cebra/bench.h"

#include <cmath>

#include "engine/families/cebra/cebra_fleet.h"
#include "kernels/common/to_size.h"

namespace idem {
namespace {

// CEBRA as its demos train it, on a short recording and a long one, and twice as wide; at the paper's settings for the
// rat: more draws than there are bins, each bin encoded once; and as many draws from a recording that has bins for all,
// each draw's window encoded.
struct CebraStep {
  std::string name;
  std::int32_t batch, width, n_neurons, n_rows;
};
const std::vector<CebraStep> kCebraSteps = {
    {"cebra-offset10-512", 512, 32, 120, 4200},        {"cebra-offset10-512-width-64", 512, 64, 120, 4200},
    {"cebra-offset10-512-of-6577", 512, 32, 48, 6577}, {"cebra-offset10-512-of-100000", 512, 32, 48, 100000},
    {"cebra-offset10-20000", 20000, 64, 120, 4200},    {"cebra-offset10-20000-of-100000", 20000, 64, 120, 100000}};

class CebraStepFleet final : public StepFleet {
 public:
  CebraStepFleet(Device& device, const CebraStep& step, std::int32_t n_members) {
    const CebraDesign design{.n_neurons = step.n_neurons, .width = step.width};
    CebraData data{.n_rows = step.n_rows, .inputs = {}, .segments = {}, .sets = {{}}};
    auto& set = data.sets.front();
    for (std::int64_t i = 0; i < data.n_rows * design.n_neurons; ++i)
      data.inputs.push_back(static_cast<float>(i * 2654435761u % 97 / 90));
    data.segments = set.segments = std::vector<std::int32_t>(to_size(data.n_rows), 0);
    for (std::int32_t row = 0; row < data.n_rows; ++row) {
      set.rows.push_back(row);
      set.labels.insert(set.labels.end(), {static_cast<float>(std::abs(std::sin(0.01 * row))),
                                           row / 314 % 2 ? 1.0f : 0.0f, row / 314 % 2 ? 0.0f : 1.0f});
    }
    std::vector<CebraMemberPlan> members;
    for (std::int32_t member = 0; member < n_members; ++member)
      members.push_back({.name = "bench", .seed = static_cast<std::uint64_t>(member)});
    fleet_ = std::make_unique<CebraFleet>(
        device, design, CebraPlan{.batch = step.batch, .samples = {.n_labels = 3, .time_offset = 10}}, data, members);
    // Each pair of reference and negative meets in two passes: n_features products for its similarity, as many for the
    // gradient, and an exponential.
    const double n_compared = fleet_->weighs_draws() ? data.n_rows - design.window + 1 : step.batch;
    pair_flops_ = n_members * n_compared * n_compared * 2 * (4 * design.n_features + kFunctionFlops);
  }
  std::unique_ptr<Device::Sequence> training_step() override { return fleet_->training_step(); }
  std::int64_t n_parameters() const override { return fleet_->parameters_per_member(); }
  double pair_flops() const override { return pair_flops_; }

 private:
  std::unique_ptr<CebraFleet> fleet_;
  double pair_flops_ = 0;
};

}  // namespace

std::vector<StepBench> cebra_step_benches() {
  std::vector<StepBench> benches;
  for (const auto& step : kCebraSteps) {
    const bool is_long = step.batch > 1000,
               is_large = is_long && step.batch < step.n_rows;  // memory for one member only
    const std::vector<std::int32_t> one{1};
    benches.push_back(
        {.name = step.name,
         .make = [step](Device& device,
                        std::int32_t n_members) { return std::make_unique<CebraStepFleet>(device, step, n_members); },
         .cpu_sizes = one,
         .gpu_sizes = is_large  ? one
                      : is_long ? std::vector<std::int32_t>{1, 16}
                                : std::vector<std::int32_t>{1, 16, 132},
         .cpu_replays = 1,
         .gpu_replays = 16});  // two recordings of eight steps
  }
  return benches;
}

}  // namespace idem
