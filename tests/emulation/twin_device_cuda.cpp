#include <cuda_runtime_api.h>

#include <algorithm>
#include <string>

#include "kernels/common/operation.h"
#include "tests/emulation/twin_device.h"

namespace idem::twin_device {

namespace {

void check(cudaError_t status) {
  if (status != cudaSuccess) throw DeviceError(std::string("in check_twins: ") + cudaGetErrorString(status));
}

}  // namespace

unsigned char* allocate(std::size_t bytes) {
  void* memory = nullptr;
  check(cudaMalloc(&memory, std::max<std::size_t>(bytes, 1)));
  return static_cast<unsigned char*>(memory);
}
void release(unsigned char* memory) noexcept { cudaFree(memory); }
void upload(unsigned char* to, const unsigned char* host, std::size_t bytes) {
  check(cudaMemcpy(to, host, bytes, cudaMemcpyHostToDevice));
}
void download(unsigned char* host, const unsigned char* from, std::size_t bytes) {
  check(cudaDeviceSynchronize());
  check(cudaMemcpy(host, from, bytes, cudaMemcpyDeviceToHost));
}
bool has_schedules() { return false; }
void set_schedule(unsigned) {}
void set_largest_block(int) {}
void set_largest_grid(unsigned) {}
void reset() {}

}  // namespace idem::twin_device
