// observed_device.h - a device that passes everything on to another and tells what ran: times or products.
#pragma once

#include <map>
#include <memory>
#include <string>
#include <unordered_map>
#include <utility>
#include <vector>

#include "engine/device/device.h"
#include "host/profile/step_samples.h"

namespace idem {

enum class Observes {
  nothing,
  times,     // of every operation
  products,  // whose work it counts: no narrow layer then runs by kernels of its own
};

// What one member's step multiplies: of values and inputs' gradients, which read weights, and of weights' gradients.
struct ProductCount {
  double forward_flops = 0, weight_flops = 0;
};

// Passes everything on to another device, which must outlive it.
//
// Times: a CPU reads its clock before and after each operation, of all steps. A GPU is traced (Device::traced) for the
// first kStepsOfGpu steps of every sequence and sample; where it cannot be, or tells nothing, those steps run operation
// by operation, each timed alone, which hides that several would have run side by side. No result changes.
class ObservedDevice final : public Device, private OperationObserver {
 public:
  static constexpr std::int64_t kStepsOfGpu = 32;

  ObservedDevice(Device& device, Observes observes);

  // What is looked at from now on belongs to it: "pi-VAE of Buddy".
  void begin_section(std::string name) { section_ = std::move(name); }
  // Of every section and sequence, in the order in which they were first run.
  std::vector<StepProfile> step_profiles() const;
  std::string method() const;                             // how operations are timed, in words
  std::size_t peak_bytes() const { return peak_bytes_; }  // allocated at once
  // The sample of what is looked at up to the next call is one; else every run of a sequence is (StepSamples).
  void begin_sample();
  // Times go to the samples from now on, or to nobody.
  void look(bool looks) { looks_ = looks; }

  std::string name() const override { return device_.name(); }
  const Execution& execution() const override {
    device_.execution();  // which may have to say whose turn it is
    return execution_;
  }
  void* allocate(std::size_t bytes) override;
  void release(void* memory) noexcept override;
  void copy_in(void* to, const void* host, std::size_t bytes) override { device_.copy_in(to, host, bytes); }
  void copy_out(void* host, const void* from, std::size_t bytes) override { device_.copy_out(host, from, bytes); }
  void copy(void* to, const void* from, std::size_t bytes) override;
  void clear(void* memory, std::size_t bytes) override;
  void synchronize() override { device_.synchronize(); }
  double seconds(Sequence& sequence, std::int64_t n_times) override { return device_.seconds(sequence, n_times); }
  void multiply(const MatrixProduct<float>& product) override;
  void multiply(const MatrixProduct<double>& product) override { device_.multiply(product); }
  bool fuses(const MatrixProduct<float>& product) override { return device_.fuses(product); }
  bool runs_narrow_layers() const override { return observes_ != Observes::products && device_.runs_narrow_layers(); }
  bool runs_narrow_convolutions() const override {
    return observes_ != Observes::products && device_.runs_narrow_convolutions();
  }
  std::size_t free_bytes() const override { return device_.free_bytes(); }
  std::size_t cache_bytes() const override { return device_.cache_bytes(); }
  std::vector<std::string> chosen_algorithms() const override { return device_.chosen_algorithms(); }
  bool convolves(const BinConvolution<float>& convolution) override { return device_.convolves(convolution); }
  void convolve(const BinConvolution<float>& convolution) override;
  std::unique_ptr<Sequence> make_sequence(const char* name, std::function<void()> operations) override;
  void begin_range(const char* name) override { device_.begin_range(name); }
  void end_range() override { device_.end_range(); }

  ProductCount count;

 private:
  class ObservedSequence;
  struct Asked {  // of a traced GPU: an operation that was asked for
    std::string name, part;
    Work work;
  };

  // Of a kind of operation, in the steps that run now; a step may take less time than a hundred look-ups of names.
  struct Timed {
    const char* file = "";
    double seconds = 0;
    std::int64_t calls = 0;
    Work work;
  };

  void begin(const OperationName& operation, const Work& work) override;
  void end() override;
  template <class Run>
  void observe(const OperationName& operation, const Work& work, const Run& run);
  void run_branch(const std::function<void()>& branch) override { run_beside(&Device::aside, branch); }
  void run_apart(const std::function<void()>& work) override { run_beside(&Device::apart, work); }
  void join_branches() override { device_.join(); }
  void run_beside(void (Device::*beside)(const std::function<void()>&), const std::function<void()>& work);

  // Runs `steps`, which are n_steps, and adds what is seen of them to the samples of a sequence.
  void look_at(const std::string& sequence, std::int64_t n_steps, const std::function<void()>& steps);
  bool take(const std::vector<Activity>& activities);  // false where there are none
  void take_timed();
  StepSamples& samples_of(const std::string& sequence);
  bool traces() const { return why_untraced_.empty(); }

  Device& device_;
  Observes observes_;
  std::string why_untraced_;  // "": the device is traced
  Execution execution_;
  bool looks_ = true;
  bool is_grouped_ = false;
  int sample_number_ = 0;
  std::string section_;
  std::vector<std::pair<std::string, StepSamples>> samples_;  // by "section: sequence"
  StepSample* sample_ = nullptr;                              // of the steps that run now
  std::unordered_map<const char*, Timed> timed_;              // the same name may be there twice
  Timed* running_ = nullptr;
  std::vector<Asked> asked_;  // by the numbers that activities carry
  std::map<void*, std::size_t> allocated_;
  std::size_t bytes_ = 0, peak_bytes_ = 0;
};

}  // namespace idem
