#include <algorithm>
#include <fstream>
#include <string>

#include "engine/device/device.h"

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
  std::unique_ptr<Sequence> make_sequence(const char*, std::function<void()>) override { return nullptr; }

 private:
  Execution execution_;
  std::size_t bytes_ = 0;
};

// The number behind a word of a file; 0 where it is not there.
std::size_t number_in(const char* path, const std::string& before) {
  std::ifstream file(path);
  std::string word;
  std::size_t number = 0;
  if (before.empty()) return file >> number ? number : 0;
  while (file >> word)
    if (word == before) return file >> number ? number : 0;
  return 0;
}

}  // namespace

std::size_t free_host_bytes() {
  const std::size_t available = number_in("/proc/meminfo", "MemAvailable:") << 10;
  const std::size_t allowed = number_in("/sys/fs/cgroup/memory.max", "");  // "max" where there is no limit
  return allowed && available ? std::min(available, allowed) : available;
}

std::size_t measure_memory(const std::function<void(Device&)>& build) {
  CountingDevice device;
  build(device);
  return device.bytes();
}

}  // namespace idem
