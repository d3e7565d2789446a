#include "host/profile/step_samples.h"

#include <algorithm>
#include <filesystem>
#include <functional>
#include <utility>

namespace idem {
namespace {

void add_to(OperationTime& sum, const OperationTime& more) {
  sum.part = more.part;
  sum.seconds += more.seconds;
  sum.calls += more.calls;
  sum.work += more.work;
  for (const auto& [name, kernel] : more.kernels) sum.kernels[name] += kernel;
}

void add_to(StepSample& sum, const StepSample& more) {
  sum.n_steps += more.n_steps;
  sum.seconds += more.seconds;
  for (const auto& [name, time] : more.operations) add_to(sum.operations[name], time);
}

std::vector<KernelProfile> kernels_of_a_step(const OperationTime& time, double n_steps) {
  std::vector<KernelProfile> kernels;
  for (const auto& [name, kernel] : time.kernels)
    kernels.push_back({.kernel = name,
                       .seconds = kernel.seconds / n_steps,
                       .calls = static_cast<double>(kernel.calls) / n_steps,
                       .launch = kernel.launch});
  std::ranges::sort(kernels, std::greater{}, &KernelProfile::seconds);
  return kernels;
}

}  // namespace

KernelTime& KernelTime::operator+=(const KernelTime& more) {
  seconds += more.seconds;
  calls += more.calls;
  if (more.longest_s > longest_s) {
    longest_s = more.longest_s;
    launch = more.launch;
  }
  return *this;
}

void StepSamples::add(StepSample sample) {
  if (is_grouped_ ? !std::exchange(begins_sample_, false) : in_last_ > 0 && in_last_ < merges_) {
    add_to(samples_.back(), sample);
    ++in_last_;
    return;
  }
  if (samples_.size() == kMost) {  // two of them become one
    std::vector<StepSample> merged;
    for (std::size_t i = 0; i < kMost; i += 2) {
      merged.push_back(std::move(samples_[i]));
      add_to(merged.back(), samples_[i + 1]);
    }
    samples_ = std::move(merged);
    merges_ *= 2;
  }
  samples_.push_back(std::move(sample));
  in_last_ = 1;
}

StepProfile StepSamples::profile(const std::string& name) const {
  StepProfile step{
      .name = name, .n_steps = 0, .n_run = n_run_, .seconds = {}, .profiled_seconds = {}, .operations = {}};
  StepSample all;
  for (const auto& sample : samples_) {
    add_to(all, sample);
    step.seconds.push_back(sample.seconds / static_cast<double>(sample.n_steps));
  }
  step.n_steps = all.n_steps;
  step.profiled_seconds = step.seconds;
  const auto n_steps = static_cast<double>(all.n_steps);
  for (const auto& [operation, time] : all.operations) {
    OperationProfile of{.name = operation,
                        .part = time.part,
                        .seconds = {},
                        .calls = static_cast<double>(time.calls) / n_steps,
                        .work = {time.work.bytes / n_steps, time.work.flops / n_steps},
                        .kernels = kernels_of_a_step(time, n_steps)};
    for (const auto& sample : samples_) {
      const auto found = sample.operations.find(operation);
      const double seconds = found == sample.operations.end() ? 0 : found->second.seconds;
      of.seconds.push_back(seconds / static_cast<double>(sample.n_steps));
    }
    step.operations.push_back(std::move(of));
  }
  std::ranges::stable_sort(step.operations, std::greater{}, &OperationProfile::median_s);
  return step;
}

std::string part_of_step(const char* file) {
  const auto folder = std::filesystem::path(file).parent_path();
  return folder.parent_path().filename() == "kernels" ? folder.filename().string() : "products";
}

}  // namespace idem
