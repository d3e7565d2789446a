#include "engine/device.h"

namespace idem {

namespace {

// Adds up what is asked for and hands out nothing; nothing may run on it.
class CountingDevice final : public Device {
 public:
  std::size_t bytes() const { return bytes_; }

  std::string name() const override { return "counting"; }
  const Execution& execution() const override { return execution_; }
  void* allocate(std::size_t bytes) override {
    bytes_ += bytes;
    return nullptr;
  }
  void release(void*) noexcept override {}
  void copy_in(void*, const void*, std::size_t) override {}
  void copy_out(void*, const void*, std::size_t) override {}
  void copy(void*, const void*, std::size_t) override {}
  void clear(void*, std::size_t) override {}
  void synchronize() override {}
  void multiply(const MatrixProduct<float>&) override {}
  void multiply(const MatrixProduct<double>&) override {}
  bool runs_narrow_convolutions() const override { return true; }  // which need scratch besides
  std::unique_ptr<Sequence> make_sequence(std::function<void()>) override { return nullptr; }

 private:
  Execution execution_;
  std::size_t bytes_ = 0;
};

}  // namespace

std::size_t measure_memory(const std::function<void(Device&)>& build) {
  CountingDevice device;
  build(device);
  return device.bytes();
}

}  // namespace idem
