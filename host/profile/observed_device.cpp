#include "host/profile/observed_device.h"

#include <algorithm>
#include <chrono>
#include <set>
#include <utility>

namespace idem {
namespace {

using Clock = std::chrono::steady_clock;

double seconds_since(Clock::time_point begin) { return std::chrono::duration<double>(Clock::now() - begin).count(); }

}  // namespace

class ObservedDevice::ObservedSequence final : public Device::Sequence {
 public:
  ObservedSequence(ObservedDevice& of, const char* name, std::function<void()> operations)
      : of_(of),
        name_(name),
        one_by_one_(operations),
        sequence_(of.device_.make_sequence(name, std::move(operations))) {}

  void run(std::int64_t n_times) override {
    if (n_times <= 0) return;
    record();
    of_.samples_of(name_).count(n_times);
    if (!of_.looks_) return sequence_->run(n_times);
    if (!of_.execution_.cuda) return of_.look_at(name_, n_times, [&] { sequence_->run(n_times); });
    if (std::exchange(of_sample_, of_.sample_number_) != of_.sample_number_) n_looked_at_ = 0;
    for (; n_times > 0 && n_looked_at_ < kStepsOfGpu; --n_times, ++n_looked_at_) look_at_one();
    sequence_->run(n_times);
  }
  void prepare(std::int64_t n_times) override {
    record();
    sequence_->prepare(n_times);
  }

 private:
  void look_at_one() {
    if (!of_.traces()) return of_.look_at(name_, 1, [&] { one_by_one_.run(1); });
    of_.look_at(name_, 1, [&] { sequence_->run(1); });
  }
  // The recording of one step asks for its operations; its replays are what is traced.
  void record() {
    if (!of_.traces() || is_recorded_) return;
    of_.execution_.observer = &of_;
    const struct Ended {
      ~Ended() { of.execution_.observer = nullptr; }
      ObservedDevice& of;
    } ended{of_};
    sequence_->prepare(1);
    is_recorded_ = true;
  }

  ObservedDevice& of_;
  std::string name_;
  PlainSequence one_by_one_;
  std::unique_ptr<Sequence> sequence_;
  bool is_recorded_ = false;
  std::int64_t n_looked_at_ = 0;
  int of_sample_ = 0;
};

ObservedDevice::ObservedDevice(Device& device, Observes observes)
    : device_(device),
      observes_(observes),
      why_untraced_(observes == Observes::times ? device.why_untraced() : "nothing is timed"),
      execution_(device.execution()) {}

std::vector<StepProfile> ObservedDevice::step_profiles() const {
  std::vector<StepProfile> profiles;
  for (const auto& [name, samples] : samples_)
    if (!samples.empty()) profiles.push_back(samples.profile(name));
  return profiles;
}

std::string ObservedDevice::method() const {
  if (!execution_.cuda) return "the CPU's clock before and after each operation, in all steps";
  if (traces())
    return "CUPTI's records of the kernels of replayed steps, the first " + std::to_string(kStepsOfGpu) +
           " of each sequence";
  return "events around each operation, which runs alone, so that times of short ones are too long; kernels of a "
         "replayed step are not told apart, as " +
         why_untraced_;
}

void ObservedDevice::begin_sample() {
  is_grouped_ = true;
  ++sample_number_;
  for (auto& [name, samples] : samples_) samples.begin_sample();
}

template <class Run>
void ObservedDevice::observe(const OperationName& operation, const Work& work, const Run& run) {
  begin(operation, work);
  const struct Ended {
    ~Ended() { of.end(); }
    ObservedDevice& of;
  } ended{*this};
  run();
}

void* ObservedDevice::allocate(std::size_t bytes) {
  void* memory = device_.allocate(bytes);
  allocated_[memory] = bytes;
  bytes_ += bytes;
  peak_bytes_ = std::max(peak_bytes_, bytes_);
  return memory;
}
void ObservedDevice::release(void* memory) noexcept {
  if (const auto found = allocated_.find(memory); found != allocated_.end()) {
    bytes_ -= found->second;
    allocated_.erase(found);
  }
  device_.release(memory);
}

void ObservedDevice::copy(void* to, const void* from, std::size_t bytes) {
  observe({"copy", ""}, {2.0 * static_cast<double>(bytes), 0}, [&] { device_.copy(to, from, bytes); });
}
void ObservedDevice::clear(void* memory, std::size_t bytes) {
  observe({"clear", ""}, {static_cast<double>(bytes), 0}, [&] { device_.clear(memory, bytes); });
}

void ObservedDevice::multiply(const MatrixProduct<float>& product) {
  (product.transpose_a ? count.weight_flops : count.forward_flops) += work(product).flops;
  observe({product.transpose_a ? "product (weights' gradients)" : "product", ""}, work(product),
          [&] { device_.multiply(product); });
}
void ObservedDevice::convolve(const BinConvolution<float>& p) {
  const bool is_weight = p.pass == ConvolutionPass::weight_gradient;
  (is_weight ? count.weight_flops : count.forward_flops) += work(p).flops;
  observe({is_weight ? "convolution (weights' gradients)" : "convolution", ""}, work(p), [&] { device_.convolve(p); });
}

std::unique_ptr<Device::Sequence> ObservedDevice::make_sequence(const char* name, std::function<void()> operations) {
  if (observes_ != Observes::times) return device_.make_sequence(name, std::move(operations));
  return std::make_unique<ObservedSequence>(*this, name, std::move(operations));
}

void ObservedDevice::begin(const OperationName& operation, const Work& work) {
  if (traces() && execution_.observer) {
    device_.attribute_to(static_cast<std::int64_t>(asked_.size()));
    asked_.push_back({operation.name, part_of_step(operation.file), work});
  }
  if (!sample_ || traces()) return;
  running_ = &timed_[operation.name];
  running_->file = operation.file;
  running_->work += work;
  device_.start_watch();
}
void ObservedDevice::end() {
  if (traces() && execution_.observer) device_.attribute_to(-1);
  if (!running_) return;
  running_->seconds += device_.stop_watch();
  ++running_->calls;
  running_ = nullptr;
}

// On the stream that the device gives. An operation's time is its own only while nothing runs beside it.
void ObservedDevice::run_beside(void (Device::*beside)(const std::function<void()>&),
                                const std::function<void()>& work) {
  if (sample_ && !traces()) return work();
  const struct Ended {
    ~Ended() { of.execution_.stream = of.device_.execution().stream; }
    ObservedDevice& of;
  } ended{*this};
  (device_.*beside)([&] {
    execution_.stream = device_.execution().stream;
    work();
  });
}

void ObservedDevice::look_at(const std::string& sequence, std::int64_t n_steps, const std::function<void()>& steps) {
  StepSample sample{.n_steps = n_steps, .seconds = 0, .operations = {}};
  sample_ = &sample;
  execution_.observer = this;
  const struct Ended {
    ~Ended() { of.sample_ = nullptr, of.execution_.observer = nullptr; }
    ObservedDevice& of;
  } ended{*this};
  const auto began = Clock::now();
  if (traces()) {
    if (!take(device_.traced(steps))) {  // what ran is right all the same
      why_untraced_ = "CUPTI handed over no records, or not all";
      return;
    }
  } else {
    steps();
    device_.synchronize();
    sample.seconds = seconds_since(began);
    take_timed();
  }
  samples_of(sequence).add(std::move(sample));
}

void ObservedDevice::take_timed() {
  for (const auto& [name, timed] : timed_) {
    auto& time = sample_->operations[name];
    time.part = part_of_step(timed.file);
    time.seconds += timed.seconds;
    time.calls += timed.calls;
    time.work += timed.work;
  }
  timed_.clear();
}

// Of one step: whatever an operation ran, it was asked for once.
bool ObservedDevice::take(const std::vector<Activity>& activities) {
  if (activities.empty()) return false;
  const auto seconds_of = [](std::int64_t ns) { return 1e-9 * static_cast<double>(ns); };
  std::set<std::int64_t> seen;
  std::int64_t last_ns = 0;
  for (const auto& activity : activities) {
    last_ns = std::max(last_ns, activity.end_ns);
    const bool is_known = activity.operation >= 0 && activity.operation < static_cast<std::int64_t>(asked_.size());
    const Asked asked = is_known ? asked_[static_cast<std::size_t>(activity.operation)]
                                 : Asked{.name = activity.kernel, .part = "products", .work = {}};
    auto& time = sample_->operations[asked.name];
    time.part = asked.part;
    const double seconds = seconds_of(activity.end_ns - activity.begin_ns);
    time.seconds += seconds;
    if (!is_known || seen.insert(activity.operation).second) {
      ++time.calls;
      time.work += asked.work;
    }
    time.kernels[activity.kernel] += {.seconds = seconds, .calls = 1, .longest_s = seconds, .launch = activity.launch};
  }
  sample_->seconds = seconds_of(last_ns - activities.front().begin_ns);
  return true;
}

StepSamples& ObservedDevice::samples_of(const std::string& sequence) {
  const std::string name = section_.empty() ? sequence : section_ + ": " + sequence;
  const auto found = std::ranges::find(samples_, name, &std::pair<std::string, StepSamples>::first);
  if (found != samples_.end()) return found->second;
  auto& samples = samples_.emplace_back(name, StepSamples()).second;
  if (is_grouped_) samples.begin_sample();
  return samples;
}

}  // namespace idem
