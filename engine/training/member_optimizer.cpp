#include "engine/training/member_optimizer.h"

#include <algorithm>

#include "kernels/optimizer/optimizer.h"
#include "kernels/common/to_size.h"

namespace idem {

MemberOptimizer::MemberOptimizer(Device& device, Parameters<float>& parameters, const AdamSettings& settings,
                                 const std::vector<std::uint64_t>& seeds, std::int64_t n_stepped)
    : device_(device),
      parameters_(parameters),
      settings_(settings),
      stride_(parameters.layout().member_stride()),
      n_stepped_(n_stepped > 0 ? n_stepped : stride_),
      seeds_(device, seeds),
      step_counts_(device, n()),
      draws_(device, n()),
      skipped_(device, n()),
      nonfinite_(device, n()),
      learning_rates_(device, n()),
      norms_(device, n()),
      norm_partials_(device, n() * to_size(gradient_norm_partials(stride_))),
      kept_(device, n() * to_size(stride_)) {
  if (clips() || n_stepped_ < stride_) return;
  parameters.step_early([this](const FleetExtent& fleet, std::int64_t first, std::int64_t n_parameters) {
    step_stretch(fleet, first, n_parameters);
    stepped_.emplace_back(first, n_parameters);
  });
}

void MemberOptimizer::begin() {
  stepped_.clear();
  for (auto* counts : {&step_counts_, &draws_, &skipped_, &nonfinite_}) counts->clear();
  for (float* moments : {parameters_.moment1_data(), parameters_.moment2_data()})
    device_.clear(moments, n() * to_size(stride_) * sizeof(float));
}

void MemberOptimizer::set_learning_rates(const std::vector<double>& rates) {
  learning_rates_.upload({rates.begin(), rates.end()});
}

void MemberOptimizer::step_stretch(const FleetExtent& fleet, std::int64_t first, std::int64_t n_parameters) {
  adam(device_.execution(), Adam<float>{.fleet = fleet,
                                        .n_parameters = n_parameters,
                                        .member_stride = stride_,
                                        .parameters = parameters_.weight_data() + first,
                                        .moment1 = parameters_.moment1_data() + first,
                                        .moment2 = parameters_.moment2_data() + first,
                                        .gradient = parameters_.gradient_data() + first,
                                        .learning_rate = learning_rates_.data(),
                                        .beta1 = static_cast<float>(settings_.beta1),
                                        .beta2 = static_cast<float>(settings_.beta2),
                                        .epsilon = static_cast<float>(settings_.epsilon),
                                        .coupled_decay = static_cast<float>(settings_.coupled_decay),
                                        .decoupled_decay = static_cast<float>(settings_.decoupled_decay),
                                        .clip_norm = static_cast<float>(settings_.clip_norm),
                                        .norm = clips() ? norms_.data() : nullptr,
                                        .nonfinite = clips() ? nullptr : nonfinite_.data(),
                                        .step = step_counts_.data()});
}

void MemberOptimizer::step(const FleetExtent& fleet, std::uint32_t* position) {
  const auto& on = device_.execution();
  if (clips())
    gradient_norm(on, GradientNorm<float>{.fleet = fleet,
                                          .n_parameters = n_stepped_,
                                          .member_stride = stride_,
                                          .gradient = parameters_.gradient_data(),
                                          .partial = norm_partials_.data(),
                                          .norm = norms_.data()});
  std::sort(stepped_.begin(), stepped_.end());
  stepped_.emplace_back(n_stepped_, 0);
  std::int64_t begin = 0;
  for (const auto& [first, n_parameters] : stepped_) {
    if (first > begin) step_stretch(fleet, begin, first - begin);
    begin = first + n_parameters;
  }
  stepped_.clear();
  advance_step(on, AdvanceStep<float>{.fleet = fleet,
                                      .norm = clips() ? norms_.data() : nullptr,
                                      .nonfinite = clips() ? nullptr : nonfinite_.data(),
                                      .step = step_counts_.data(),
                                      .skipped = skipped_.data(),
                                      .draw = draws_.data(),
                                      .position = position});
}

void MemberOptimizer::keep(std::int32_t member) {
  device_.copy(kept_.data() + member * stride_, parameters_.weight_data() + member * stride_,
               to_size(stride_) * sizeof(float));
}

NamedTensors MemberOptimizer::kept(std::int32_t member) const {
  std::vector<float> values(to_size(stride_));
  device_.copy_out(values.data(), kept_.data() + member * stride_, values.size() * sizeof(float));
  return parameters_.unpack(values);
}

}  // namespace idem
