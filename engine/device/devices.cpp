#include <charconv>
#include <chrono>
#include <stdexcept>

#include "engine/device/device.h"
#include "engine/device/open_blas.h"

#if IDEM_CUDA_TWINS
#include "engine/device/cuda/cuda_device.h"
#endif

namespace idem {

namespace {

#if !IDEM_CUDA_TWINS
std::string why_cuda_is_unusable(int) { return "this program was built without the CUDA backend (build it with -DCUDA_BACKEND=ON)"; }
std::unique_ptr<Device> make_cuda_device(int, int, ProductPrecision, ConvolutionMethod) { throw DeviceError(why_cuda_is_unusable(0)); }
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

std::string to_string(ProductPrecision precision) {
  switch (precision) {
    case ProductPrecision::tf32: return "tf32";
    case ProductPrecision::bf16: return "bf16";
    case ProductPrecision::fp32: break;
  }
  return "fp32";
}

ProductPrecision product_precision_from_string(const std::string& name) {
  for (const auto precision : {ProductPrecision::fp32, ProductPrecision::tf32, ProductPrecision::bf16})
    if (to_string(precision) == name) return precision;
  throw std::invalid_argument("unknown precision \"" + name + "\"; known: fp32, tf32, bf16");
}

std::string to_string(ConvolutionMethod method) { return method == ConvolutionMethod::cudnn ? "cudnn" : "gemm"; }

ConvolutionMethod convolution_method_from_string(const std::string& name) {
  for (const auto method : {ConvolutionMethod::gemm, ConvolutionMethod::cudnn})
    if (to_string(method) == name) return method;
  throw std::invalid_argument("unknown convolutions \"" + name + "\"; known: gemm, cudnn");
}

std::unique_ptr<Device> make_device(const std::string& name, int n_threads, ProductPrecision precision, ConvolutionMethod convolutions) {
  if (name == "cpu" || (name == "auto" && !why_cuda_is_unusable(0).empty())) {
    if (precision != ProductPrecision::fp32)
      throw DeviceError("--precision " + to_string(precision) + ": only a GPU multiplies like that, this would run on a CPU; use --precision fp32");
    if (convolutions != ConvolutionMethod::gemm)
      throw DeviceError("--convolutions " + to_string(convolutions) + ": cuDNN needs a GPU, this would run on a CPU; use --convolutions gemm");
    return make_cpu_device(n_threads);
  }
  const int index = name == "auto" ? 0 : cuda_index(name);
  if (const auto reason = why_cuda_is_unusable(index); !reason.empty())
    throw DeviceError("--device " + name + ": " + reason + "; or use --device cpu");
  return make_cuda_device(index, n_threads, precision, convolutions);
}

DeviceError out_of_memory(const std::string& whose, std::size_t bytes_asked, std::size_t bytes_free) {
  return DeviceError("out of " + whose + "memory: " + std::to_string((bytes_asked >> 20) + 1) + " MiB more were asked for" +
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

void Device::convolve(const BinConvolution<float>&) { throw DeviceError("this device convolves by products"); }
void Device::convolve(const BinConvolution<double>&) const { throw DeviceError("double precision is convolved by products"); }

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

Work work(const MatrixProduct<float>& p) {
  const auto values = static_cast<double>(p.m * p.k + p.k * p.n + p.m * p.n * (p.accumulate ? 2 : 1));
  return {p.fleet.n_members * values * sizeof(float), 2.0 * p.fleet.n_members * static_cast<double>(p.m * p.n * p.k)};
}

Work work(const BinConvolution<float>& p) {
  const std::int64_t n_outputs = p.n_bins - p.n_taps + 1;
  const double x = static_cast<double>(p.n_bins * p.batch * p.n_in),
               y = static_cast<double>(n_outputs * p.batch * p.n_out);
  const double weights = static_cast<double>(p.n_out * p.n_taps * p.n_in),
               added = p.pass == ConvolutionPass::input_gradient ? x : 0;
  return {p.fleet.n_members * (x + y + weights + added) * sizeof(float),
          2.0 * p.fleet.n_members * y * static_cast<double>(p.n_taps * p.n_in)};
}

}  // namespace idem
