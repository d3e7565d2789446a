#include "engine/device/device.h"

namespace idem {

void Device::convolve(const BinConvolution<float>&) { throw DeviceError("this device convolves by products"); }
void Device::convolve(const BinConvolution<double>&) const {
  throw DeviceError("double precision is convolved by products");
}

void Device::aside(const std::function<void()>& branch) {
  if (in_branch_) return branch();
  struct InBranch {
    explicit InBranch(bool& state) : flag(state) { flag = true; }
    ~InBranch() { flag = false; }
    bool& flag;
  } in_branch(in_branch_);
  run_branch(branch);
}

void Device::apart(const std::function<void()>& work) {
  if (!in_branch_) return aside(work);
  run_apart(work);
}

void Device::join() {
  if (!in_branch_) join_branches();
}

double Device::seconds(Sequence& sequence, std::int64_t n_times) {
  synchronize();
  const auto began = std::chrono::steady_clock::now();
  sequence.run(n_times);
  synchronize();
  return std::chrono::duration<double>(std::chrono::steady_clock::now() - began).count();
}

void Device::start_watch() {
  synchronize();
  watch_started_ = std::chrono::steady_clock::now();
}
double Device::stop_watch() {
  synchronize();
  return std::chrono::duration<double>(std::chrono::steady_clock::now() - watch_started_).count();
}

void Device::profiled(const std::function<void()>& operations) {
  operations();
  synchronize();
}

std::vector<Activity> Device::traced(const std::function<void()>&) {
  throw DeviceError(name() + " does not tell what runs on it");
}

}  // namespace idem
