// step_samples.h - times of the operations of a sequence, run after run, and what a profile makes of them.
#pragma once

#include <cstdint>
#include <map>
#include <string>
#include <vector>

#include "host/profile/profile.h"

namespace idem {

// One kernel of an operation, over all its calls.
struct KernelTime {
  double seconds = 0;
  std::int64_t calls = 0;
  double longest_s = 0;
  LaunchShape launch;  // of the longest call

  KernelTime& operator+=(const KernelTime& more);
};

// One kind of operation, over all its calls.
struct OperationTime {
  std::string part;
  double seconds = 0;
  std::int64_t calls = 0;
  Work work;
  std::map<std::string, KernelTime> kernels;  // by name
};

struct StepSample {
  std::int64_t n_steps = 0;
  double seconds = 0;  // of all the steps, from before the first to after the last
  std::map<std::string, OperationTime> operations;
};

// Of one sequence. Longer trainings are kept in fewer samples, each of as many steps as the others.
class StepSamples {
 public:
  static constexpr std::size_t kMost = 64;

  void add(StepSample sample);
  // Steps that run, looked at or not.
  void count(std::int64_t n_steps) { n_run_ += n_steps; }
  // What is added from now on, up to the next call, is one sample.
  void begin_sample() { begins_sample_ = is_grouped_ = true; }
  // `seconds` are those of the samples, and so are profiled_seconds.
  StepProfile profile(const std::string& name) const;
  bool empty() const { return samples_.empty(); }

 private:
  std::vector<StepSample> samples_;
  std::int64_t n_run_ = 0;
  std::size_t merges_ = 1;  // runs that make a sample
  std::size_t in_last_ = 0;
  bool is_grouped_ = false, begins_sample_ = false;
};

// The folder of kernels that declares an operation, by the path of its header; other files: "products".
std::string part_of_step(const char* file);

}  // namespace idem
