#include <charconv>

#include "engine/device/device.h"
#include "engine/device/open_blas.h"

#if IDEM_CUDA_TWINS
#include "engine/device/cuda/cards.h"
#include "engine/device/cuda/cuda_device.h"
#endif

namespace idem {

namespace {

#if !IDEM_CUDA_TWINS
std::string why_cuda_is_unusable(int) {
  return "this program was built without the CUDA backend (build it with -DCUDA_BACKEND=ON)";
}
std::unique_ptr<Device> make_cuda_device(int, int, ProductPrecision, ConvolutionMethod) {
  throw DeviceError(why_cuda_is_unusable(0));
}
std::vector<std::string> list_cuda_devices() { return {"cuda: not usable, " + why_cuda_is_unusable(0)}; }
#endif

int cuda_index(const std::string& name) {
  int index = 0;
  const std::string number = name.substr(name.find(':') == std::string::npos ? name.size() : name.find(':') + 1);
  if (name == "cuda") return 0;
  const auto [end, error] = std::from_chars(number.data(), number.data() + number.size(), index);
  if (name.rfind("cuda:", 0) != 0 || number.empty() || error != std::errc() || end != number.data() + number.size())
    throw DeviceError("unknown device \"" + name + "\"; known: auto, cpu, cuda, cuda:0, cuda:1, ...");
  return index;
}

}  // namespace

std::unique_ptr<Device> make_device(const std::string& name, int n_threads, ProductPrecision precision,
                                    ConvolutionMethod convolutions) {
  if (name == "cpu" || (name == "auto" && !why_cuda_is_unusable(0).empty())) {
    if (precision != ProductPrecision::fp32)
      throw DeviceError("--precision " + to_string(precision) +
                        ": only a GPU multiplies like that, this would run on a CPU; use --precision fp32");
    if (convolutions != ConvolutionMethod::gemm)
      throw DeviceError("--convolutions " + to_string(convolutions) +
                        ": cuDNN needs a GPU, this would run on a CPU; use --convolutions gemm");
    return make_cpu_device(n_threads);
  }
  const int index = name == "auto" ? 0 : cuda_index(name);
  if (const auto reason = why_cuda_is_unusable(index); !reason.empty())
    throw DeviceError("--device " + name + ": " + reason + "; or use --device cpu");
  return make_cuda_device(index, n_threads, precision, convolutions);
}

DeviceError out_of_memory(const std::string& whose, std::size_t bytes_asked, std::size_t bytes_free) {
  return DeviceError("out of " + whose + "memory: " + std::to_string((bytes_asked >> 20) + 1) +
                     " MiB more were asked for" +
                     (bytes_free ? ", " + std::to_string(bytes_free >> 20) + " MiB are free" : "") +
                     "; lower training.batch, the model's widths or the number of seeds");
}

std::vector<std::string> list_devices() {
  std::vector<std::string> lines;
  try {
    lines.push_back(make_cpu_device(0)->name() + ", products by OpenBLAS's " + open_blas().kernels + " kernels");
  } catch (const DeviceError& error) {
    lines.push_back(std::string("cpu: not usable, ") + error.what());
  }
  for (auto& line : list_cuda_devices()) lines.push_back(std::move(line));
  return lines;
}

}  // namespace idem
