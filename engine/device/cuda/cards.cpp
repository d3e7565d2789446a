#include "engine/device/cuda/cards.h"

#include <cuda_runtime_api.h>

#include "engine/device/cuda/architectures.h"

namespace idem {

std::string why_cuda_is_unusable(int index) {
  int driver = 0, n_devices = 0;
  if (cudaDriverGetVersion(&driver) != cudaSuccess || driver == 0) return "there is no NVIDIA driver on this machine";
  const auto status = cudaGetDeviceCount(&n_devices);
  if (status == cudaErrorInsufficientDriver)
    return "the NVIDIA driver supports CUDA " + std::to_string(driver / 1000) + "." +
           std::to_string(driver % 1000 / 10) + ", this program needs CUDA " + std::to_string(CUDART_VERSION / 1000) +
           "." + std::to_string(CUDART_VERSION % 1000 / 10) + ": update the driver";
  if (status != cudaSuccess || n_devices == 0) return "the NVIDIA driver finds no GPU";
  if (index >= n_devices)
    return "there is no cuda:" + std::to_string(index) + "; GPUs here: " + std::to_string(n_devices);
  cudaDeviceProp properties{};
  if (cudaGetDeviceProperties(&properties, index) != cudaSuccess)
    return "cuda:" + std::to_string(index) + " does not answer; look at nvidia-smi";
  if (!architectures_cover(IDEM_CUDA_ARCHITECTURES, properties.major, properties.minor))
    return std::string(properties.name) + " has compute capability " + std::to_string(properties.major) + "." +
           std::to_string(properties.minor) +
           ", this program was built for " IDEM_CUDA_ARCHITECTURES "; build it with -DCMAKE_CUDA_ARCHITECTURES=" +
           std::to_string(10 * properties.major + properties.minor);
  return "";
}

std::vector<std::string> list_cuda_devices() {
  const auto reason = why_cuda_is_unusable(0);
  if (!reason.empty()) return {"cuda: not usable, " + reason};
  int n_devices = 0;
  cudaGetDeviceCount(&n_devices);
  std::vector<std::string> lines;
  for (int index = 0; index < n_devices; ++index) {
    cudaDeviceProp properties{};
    cudaGetDeviceProperties(&properties, index);
    lines.push_back("cuda:" + std::to_string(index) + ": " + properties.name + ", compute capability " +
                    std::to_string(properties.major) + "." + std::to_string(properties.minor) + ", " +
                    std::to_string(properties.totalGlobalMem >> 30) + " GiB");
  }
  return lines;
}

}  // namespace idem
