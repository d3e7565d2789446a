// device.h - where a fleet lives: memory, copies, matrix products, convolutions and step graphs of one device.
//
// Everything above this interface is the same program on the CPU, on a GPU and on the tests' emulated GPU.
#pragma once

#include <chrono>
#include <cstdint>
#include <functional>
#include <memory>
#include <string>
#include <vector>

#include "engine/device/activity.h"
#include "engine/device/products.h"

namespace idem {

class Device {
 public:
  virtual ~Device() = default;
  virtual std::string name() const = 0;  // as in logs: "cpu (2 threads)", "cuda:0 NVIDIA H100 80GB HBM3"
  virtual const Execution& execution() const = 0;

  // Memory is zeroed. Throws DeviceError with the size asked for when there is not enough.
  virtual void* allocate(std::size_t bytes) = 0;
  virtual void release(void* memory) noexcept = 0;
  virtual void copy_in(void* to, const void* host, std::size_t bytes) = 0;
  virtual void copy_out(void* host, const void* from, std::size_t bytes) = 0;  // waits for what was started before
  virtual void copy(void* to, const void* from, std::size_t bytes) = 0;
  virtual void clear(void* memory, std::size_t bytes) = 0;
  virtual void synchronize() = 0;

  virtual void multiply(const MatrixProduct<float>& product) = 0;
  virtual void multiply(const MatrixProduct<double>& product) = 0;
  // Whether multiply can do this product's epilogue. The answer is by shape and alignment alone: the same for a member
  // alone and in any fleet.
  virtual bool fuses(const MatrixProduct<float>& product) { return !product.has_epilogue(); }
  bool fuses(const MatrixProduct<double>& product) const {
    return !product.has_epilogue();
  }  // double precision is the oracle
  // Whether layers of few features (fits_a_chain) run by row_chain and weight_gradients rather than by products, whose
  // start takes a GPU longer than their work, and after each of which a CPU's threads wait for each other. Only tests
  // and whoever counts products say no.
  virtual bool runs_narrow_layers() const { return true; }
  // Whether convolutions of few channels (kNarrowFeatures) run by narrow_convolution rather than by products.
  virtual bool runs_narrow_convolutions() const { return false; }
  // Whether convolve can do this one; if not, it is to be done by products. As fuses: by shape alone.
  virtual bool convolves(const BinConvolution<float>&) { return false; }
  bool convolves(const BinConvolution<double>&) const { return false; }
  virtual void convolve(const BinConvolution<float>& convolution);
  void convolve(const BinConvolution<double>&) const;
  // Bytes that can still be allocated; 0 where nobody knows. Others may take them before.
  virtual std::size_t free_bytes() const { return 0; }
  // Bytes of a cache in which what one operation leaves is still found by the next, where work is worth cutting for it;
  // 0: nowhere.
  virtual std::size_t cache_bytes() const { return 0; }
  // The algorithm of each shape multiplied or convolved so far, one line each, where the device chooses among several.
  virtual std::vector<std::string> chosen_algorithms() const { return {}; }

  // Independent branches of a step. What `branch` asks for starts when all that was asked for before has ended, and
  // runs beside what is asked for afterwards, until join: all that is asked for after it waits for all branches.
  // Branches run one after the other, in order; a branch of a branch is part of it. Until the join neither side may
  // write what the other one reads or writes, and the host may not ask for anything. A GPU runs branches on a second
  // stream, the CPU at once, the tests' device at once or as late as it may: a missing join then gives wrong numbers.
  void aside(const std::function<void()>& branch);
  // From a branch: what `work` asks for starts when all that the branch asked for before has ended, and runs beside
  // what the branch asks for afterwards, until the join. Such work runs in order, on a GPU on a third stream.
  void apart(const std::function<void()>& work);
  void join();

  // A sequence of operations to be run many times. A GPU records it once and replays the recording, so `operations`
  // must make the same calls with the same pointers every time. name: what profilers show its replays under; it must
  // outlive the sequence.
  class Sequence {
   public:
    virtual ~Sequence() = default;
    virtual void run(std::int64_t n_times) = 0;
    virtual void prepare(std::int64_t) {}  // for that many runs, where the first would take longer
  };
  virtual std::unique_ptr<Sequence> make_sequence(const char* name, std::function<void()> operations) = 0;
  // One that asks for its operations anew at every run.
  class PlainSequence;
  // Seconds that n_times replays take once everything started before has ended. A GPU replays once more beforehand, to
  // have the recording in place.
  virtual double seconds(Sequence& sequence, std::int64_t n_times);

  // Seconds from one call to the other that the device has taken for what was asked for between them. A GPU times
  // itself, and is kept busy before the first so that it does not wait for the host between them.
  virtual void start_watch();
  virtual double stop_watch();
  // Runs `operations` to their end; a profiler that was told to wait for the program (ncu --profile-from-start off)
  // sees them and nothing else.
  virtual void profiled(const std::function<void()>& operations);
  // A stretch of time that profilers show under a name; stretches are nested.
  virtual void begin_range(const char*) {}
  virtual void end_range() {}
  // Why `traced` cannot tell what ran, in words; "" where it can.
  virtual std::string why_untraced() const { return "only GPUs tell what runs on them"; }
  // Everything that is asked for from now on, or recorded now and replayed later, belongs to the operation of that
  // number; -1: to none.
  virtual void attribute_to(std::int64_t) {}
  // Runs `operations` to their end and tells each kernel, copy and filling, in the order of their beginnings; nothing
  // where some were lost. What is recorded in a sequence should have been before (Sequence::prepare).
  virtual std::vector<Activity> traced(const std::function<void()>& operations);

 protected:
  virtual void run_branch(const std::function<void()>& branch) { branch(); }
  virtual void run_apart(const std::function<void()>& work) { work(); }  // from a branch
  virtual void join_branches() {}

 private:
  bool in_branch_ = false;
  std::chrono::steady_clock::time_point watch_started_;
};

// A stretch of time that ends with the block.
class DeviceRange {
 public:
  DeviceRange(Device& device, const char* name) : device_(device) { device.begin_range(name); }
  ~DeviceRange() { device_.end_range(); }
  DeviceRange(const DeviceRange&) = delete;
  DeviceRange& operator=(const DeviceRange&) = delete;

 private:
  Device& device_;
};

class Device::PlainSequence final : public Device::Sequence {
 public:
  explicit PlainSequence(std::function<void()> operations) : operations_(std::move(operations)) {}
  void run(std::int64_t n_times) override {
    for (std::int64_t i = 0; i < n_times; ++i) operations_();
  }

 private:
  std::function<void()> operations_;
};

// What a device says when it has no memory left. whose: "GPU ", or "" for the machine's own, whose free bytes nobody
// knows (0).
DeviceError out_of_memory(const std::string& whose, std::size_t bytes_asked, std::size_t bytes_free);

// Bytes of this machine's memory that this process can still get: what the system has and the process's control group
// allows; 0 where the system does not say.
std::size_t free_host_bytes();

// Bytes that `build` allocates, found by building on a device that only counts.
std::size_t measure_memory(const std::function<void(Device&)>& build);

// n_threads as ThreadPool. Throws DeviceError where OpenBLAS cannot be loaded.
std::unique_ptr<Device> make_cpu_device(int n_threads);

// name: "auto" (a usable GPU, else the CPU), "cpu", "cuda" or "cuda:i". Throws DeviceError with the remedy when the GPU
// asked for cannot be used, or when the CPU is to multiply in anything but fp32 or to convolve by cuDNN.
std::unique_ptr<Device> make_device(const std::string& name, int n_threads,
                                    ProductPrecision precision = ProductPrecision::fp32,
                                    ConvolutionMethod convolutions = ConvolutionMethod::gemm);

// One line per device for `idem devices`; the CPU first.
std::vector<std::string> list_devices();

}  // namespace idem
