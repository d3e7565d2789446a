// observed_device.h - a device that passes everything on to another and tells what ran: times or products.
#pragma once

#include <map>
#include <memory>
#include <string>

#include "host/bench/bench.h"

namespace idem {

enum class Observes {
  nothing,
  times,     // of every operation
  products,  // whose work it counts: no narrow layer then runs by kernels of its own
};

// Passes everything on to another device.
class ObservedDevice final : public Device, public OperationObserver {
 public:
  ObservedDevice(Device& device, Observes observes)
      : device_(device), observes_(observes), execution_(device.execution()) {
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
  bool runs_narrow_convolutions() const override {
    return observes_ != Observes::products && device_.runs_narrow_convolutions();
  }
  std::size_t cache_bytes() const override { return device_.cache_bytes(); }
  bool convolves(const BinConvolution<float>& convolution) override { return device_.convolves(convolution); }
  void convolve(const BinConvolution<float>& p) override {
    const bool is_weight = p.pass == ConvolutionPass::weight_gradient;
    (is_weight ? count.weight_flops : count.forward_flops) += work(p).flops;
    const ObservedOperation observed(execution_, is_weight ? "convolution (weights' gradients)" : "convolution", p);
    device_.convolve(p);
  }
  std::unique_ptr<Sequence> make_sequence(std::function<void()> operations) override {
    if (observes_ == Observes::times)
      return std::make_unique<PlainSequence>(
          std::move(operations));  // a recording could not be stopped after each operation
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

}  // namespace idem
