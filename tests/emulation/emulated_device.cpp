// emulated_device.cpp - the test backend behind the engine's CUDA device: plain memory, the CPU's matrix products, operations run as they come; the kernels
// are the CUDA twins on emulated threads. So the device path of a whole training step runs where there is no GPU.
#include "engine/cuda/cuda_device.h"

namespace idem {

namespace {

class EmulatedDevice final : public Device {
 public:
  explicit EmulatedDevice(int n_threads) : memory_(make_cpu_device(n_threads)) {
    execution_ = memory_->execution();
    execution_.cuda = true;
  }

  std::string name() const override { return "cuda:0 emulated"; }
  const Execution& execution() const override { return execution_; }
  void* allocate(std::size_t bytes) override { return memory_->allocate(bytes); }
  void release(void* memory) noexcept override { memory_->release(memory); }
  void copy_in(void* to, const void* host, std::size_t bytes) override { memory_->copy_in(to, host, bytes); }
  void copy_out(void* host, const void* from, std::size_t bytes) override { memory_->copy_out(host, from, bytes); }
  void copy(void* to, const void* from, std::size_t bytes) override { memory_->copy(to, from, bytes); }
  void clear(void* memory, std::size_t bytes) override { memory_->clear(memory, bytes); }
  void synchronize() override {}
  void multiply(const MatrixProduct<float>& product) override {
    MatrixProduct<float> whole_fleet = product;  // a GPU computes inactive members too
    whole_fleet.fleet.active = nullptr;
    memory_->multiply(whole_fleet);
  }
  void multiply(const MatrixProduct<double>&) override { throw DeviceError("double precision has no GPU twin"); }
  std::unique_ptr<Sequence> make_sequence(std::function<void()> operations) override { return memory_->make_sequence(std::move(operations)); }

 private:
  std::unique_ptr<Device> memory_;
  Execution execution_;
};

}  // namespace

std::string why_cuda_is_unusable(int index) { return index == 0 ? "" : "only cuda:0 is emulated"; }
std::unique_ptr<Device> make_cuda_device(int, int n_threads) { return std::make_unique<EmulatedDevice>(n_threads); }
std::vector<std::string> list_cuda_devices() { return {"cuda:0 emulated"}; }

}  // namespace idem
