// emulated_device.cpp - the test backend behind the engine's CUDA device, so that the device path of whole training
// steps runs where there is no GPU: the kernels are the CUDA twins on emulated threads, the matrix products the CPU's,
// a sequence is recorded and replayed as a CUDA graph is. A branch runs as late as it may, at its join, or (in odd
// schedules, see cuda_emulator.h) at once: what is not ordered between it and the operations beside it is found in
// wrong numbers. Convolutions, where cuDNN is asked for, are sums in double over their definition. Found, as
// DeviceError unless said otherwise:
//   the host touching device memory                 the process dies at the place: only operations and copies open it
//   a write outside an array                        a failure of the running test, when the array is released
//   copies from and to the host, waiting, allocating or releasing inside a sequence or a branch
//   a sequence that ends, or a host that copies or waits, before the branches were joined
//   a sequence that asks for other operations, or the same with other arguments, when it is asked again
//   an operation of a sequence on another stream    (cuda_emulator::Error)
#include <gtest/gtest.h>
#include <sys/mman.h>

#include <cstring>
#include <map>

#include "engine/device/cuda/cards.h"
#include "engine/device/cuda/cuda_device.h"
#include "tests/emulation/cuda_emulator.h"
#include "tests/emulation/emulated_device.h"

namespace idem {

std::size_t emulated_cache_bytes = 2048;
bool emulated_runs_narrow_layers = true;
OperationObserver* emulated_observer = nullptr;

namespace {

using cuda_emulator::OpenDeviceMemory;

// Addresses of all emulated devices of the process. Nothing is used twice, so that what points to released memory finds
// nothing there.
class DeviceMemory {
 public:
  static constexpr std::size_t kBytes = std::size_t{1} << 30;  // at once; ten times as many addresses
  static constexpr std::size_t kGuardBytes = 256;

  static DeviceMemory& instance() {
    static DeviceMemory memory;
    return memory;
  }

  void* allocate(std::size_t bytes) {
    if (bytes > kBytes - in_use_) throw out_of_memory("GPU ", bytes, kBytes - in_use_);
    const std::size_t stretch = 2 * kGuardBytes + (bytes + 255) / 256 * 256;
    if (end_ + stretch > begin_ + 10 * kBytes) throw DeviceError("the emulated device has used up its addresses");
    unsigned char* memory = end_ + kGuardBytes;
    end_ += stretch;
    sizes_[memory] = bytes;
    in_use_ += bytes;
    protect(begin_, PROT_READ | PROT_WRITE);
    std::memset(memory - kGuardBytes, 0xFF, stretch);
    std::memset(memory, 0, bytes);
    protect(begin_, PROT_NONE);
    return memory;
  }

  void release(void* memory) noexcept {
    const auto found = sizes_.find(static_cast<unsigned char*>(memory));
    if (found == sizes_.end()) {
      ADD_FAILURE() << "released what the emulated device did not allocate";
      return;
    }
    const auto [data, bytes] = *found;
    protect(begin_, PROT_READ | PROT_WRITE);
    for (std::size_t i = 0; i < kGuardBytes; ++i) {
      if (data[bytes + i] == 0xFF && data[-static_cast<std::ptrdiff_t>(i) - 1] == 0xFF) continue;
      ADD_FAILURE() << "an array of " << bytes << " bytes on the emulated device was written outside its bounds";
      break;
    }
    protect(begin_, PROT_NONE);
    in_use_ -= bytes;
    sizes_.erase(found);
    unsigned char* first_in_use = sizes_.empty() ? end_ : sizes_.begin()->first - kGuardBytes;
    first_in_use -= reinterpret_cast<std::uintptr_t>(first_in_use) % 4096;
    madvise(begin_, static_cast<std::size_t>(first_in_use - begin_), MADV_DONTNEED);
    begin_ = first_in_use;  // closed for good
  }

 private:
  DeviceMemory() {
    void* addresses = mmap(nullptr, 10 * kBytes, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
    if (addresses == MAP_FAILED) throw DeviceError("no addresses for the emulated device");
    begin_ = end_ = static_cast<unsigned char*>(addresses);
    cuda_emulator::open_device_memory = [](bool open) {
      auto& memory = instance();
      if (open ? memory.n_open_++ == 0 : --memory.n_open_ == 0)
        memory.protect(memory.begin_, open ? PROT_READ | PROT_WRITE : PROT_NONE);
    };
  }

  void protect(unsigned char* from, int protection) const {
    if (n_open_ > 0 && protection == PROT_NONE) return;
    if (from != end_) mprotect(from, static_cast<std::size_t>(end_ - from), protection);
  }

  unsigned char *begin_ = nullptr, *end_ = nullptr;  // begin_ on a page; what is before it is closed
  std::map<unsigned char*, std::size_t> sizes_;
  std::size_t in_use_ = 0;
  int n_open_ = 0;
};

class EmulatedDevice final : public Device {
 public:
  EmulatedDevice(int n_threads, ProductPrecision precision, ConvolutionMethod convolutions)
      : cpu_(make_cpu_device(n_threads)), precision_(precision), convolutions_(convolutions) {
    cuda_emulator::set_largest_block(64);  // fewer stacks to go round: a third faster
    execution_ = cpu_->execution();
    execution_.cuda = true;
    execution_.stream = stream_;
    execution_.observer = emulated_observer;
    execution_.precision = precision;
  }

  std::string name() const override { return "cuda:0 emulated"; }
  std::size_t cache_bytes() const override { return emulated_cache_bytes; }
  const Execution& execution() const override { return execution_; }

  void* allocate(std::size_t bytes) override {
    forbid_while_recording("memory was allocated");
    return DeviceMemory::instance().allocate(bytes);
  }
  void release(void* memory) noexcept override {
    if (cuda_emulator::recording) fault_ = "memory was released";
    DeviceMemory::instance().release(memory);
  }
  void copy_in(void* to, const void* host, std::size_t bytes) override {
    forbid_now("the host's memory was copied from");
    const OpenDeviceMemory open;
    cpu_->copy(to, host, bytes);
  }
  void copy_out(void* host, const void* from, std::size_t bytes) override {
    forbid_now("the host's memory was copied to");
    const OpenDeviceMemory open;
    cpu_->copy(host, from, bytes);
  }
  void synchronize() override { forbid_now("the host waited for the device"); }
  void copy(void* to, const void* from, std::size_t bytes) override {
    record_or_run("copy", [=, this] { cpu_->copy(to, from, bytes); }, to, from, bytes);
  }
  void clear(void* memory, std::size_t bytes) override {
    record_or_run("clear", [=, this] { cpu_->clear(memory, bytes); }, memory, bytes);
  }

  // A GPU computes inactive members too. One operation with its epilogue: whoever relies on a fused product finds out
  // if it is not one.
  void multiply(const MatrixProduct<float>& product) override {
    if (!fuses(product)) throw DeviceError("a product was given an epilogue that a GPU does not fuse");
    MatrixProduct<float> plain = product;
    plain.fleet.active = nullptr;
    plain.activation = Activation::identity;
    plain.bias = {};
    plain.pre_activation = plain.a_sums = {};
    const BiasActivation<float> then{.fleet = plain.fleet,
                                     .n_rows = product.m,
                                     .n_features = static_cast<std::int32_t>(product.n),
                                     .activation = product.activation,
                                     .bias = product.bias,
                                     .value = product.c,
                                     .pre_activation = product.pre_activation};
    record_or_run(
        "multiply",
        [=, this] {
          cpu_->multiply(plain);
          if (product.bias) bias_activation_forward_cpu(then, *execution_.pool);
          for (std::int64_t member = 0; product.a_sums && member < plain.fleet.n_members; ++member)
            for (std::int64_t i = 0; i < product.m; ++i) {
              double sum = 0;
              for (std::int64_t row = 0; row < product.k; ++row)
                sum += static_cast<double>(product.a.row(member, row)[i]);
              product.a_sums.row(member, 0)[i] = static_cast<float>(sum);
            }
        },
        product);
  }
  bool runs_narrow_layers() const override { return emulated_runs_narrow_layers; }
  bool runs_narrow_convolutions() const override { return emulated_runs_narrow_layers; }
  bool fuses(const MatrixProduct<float>& product) override {
    return !product.has_epilogue() || has_cuda_epilogue(product, precision_);
  }
  void multiply(const MatrixProduct<double>&) override { throw DeviceError("double precision has no GPU twin"); }
  bool convolves(const BinConvolution<float>& p) override { return has_cudnn_convolution(p, convolutions_); }
  void convolve(const BinConvolution<float>& p) override {
    if (!convolves(p)) throw DeviceError("a convolution was asked for that cuDNN does not do");
    auto all_members = p;
    all_members.fleet.active = nullptr;
    record_or_run("convolve", [=] { convolve_by_definition(all_members); }, p);
  }

  std::unique_ptr<Sequence> make_sequence(const char*, std::function<void()> operations) override {
    return std::make_unique<RecordedSequence>(*this, std::move(operations));
  }

 private:
  // A CUDA graph never asks for its operations again. Here they are asked for before every replay, to compare; what
  // runs is the recording.
  class RecordedSequence final : public Sequence {
   public:
    RecordedSequence(EmulatedDevice& device, std::function<void()> operations)
        : device_(device), ask_(std::move(operations)) {}
    void run(std::int64_t n_times) override {
      for (std::int64_t i = 0; i < n_times; ++i) {
        auto asked = device_.record(ask_);
        if (recorded_.empty())
          recorded_ = std::move(asked);
        else
          compare(asked);
        for (auto& operation : recorded_) operation.run();
      }
    }

   private:
    void compare(const std::vector<cuda_emulator::Operation>& asked) const {
      if (asked.size() != recorded_.size())
        throw DeviceError("a sequence of " + std::to_string(recorded_.size()) + " operations asked for " +
                          std::to_string(asked.size()) + " at its replay");
      for (std::size_t i = 0; i < asked.size(); ++i) {
        if (asked[i].name != recorded_[i].name)
          throw DeviceError("operation " + std::to_string(i) + " of a sequence was " + recorded_[i].name + " and is " +
                            asked[i].name + " at its replay");
        if (asked[i].arguments != recorded_[i].arguments)
          throw DeviceError("operation " + std::to_string(i) + " of a sequence, " + asked[i].name +
                            ", has other arguments at its replay");
      }
    }

    EmulatedDevice& device_;
    std::function<void()> ask_;
    std::vector<cuda_emulator::Operation> recorded_;
  };

  std::vector<cuda_emulator::Operation> record(const std::function<void()>& ask) {
    forbid_now("a sequence was run");
    std::vector<cuda_emulator::Operation> operations;
    try {
      operations = recorded(stream_, ask);
    } catch (...) {
      n_unjoined_ = 0;  // as a recording that failed leaves no branch behind on a GPU
      throw;
    }
    if (!fault_.empty()) throw DeviceError("inside a sequence " + std::exchange(fault_, ""));
    if (std::exchange(n_unjoined_, 0) > 0) throw DeviceError("a sequence ended before its branches were joined");
    return operations;
  }

  // What `ask` asks for on a stream, which is all it may use.
  std::vector<cuda_emulator::Operation> recorded(Stream stream, const std::function<void()>& ask) {
    cuda_emulator::Recording recording{.stream = stream, .operations = {}};
    const struct Recorder {
      Recorder(Execution& on, cuda_emulator::Recording* to)
          : execution(on),
            stream(std::exchange(on.stream, to->stream)),
            outer(std::exchange(cuda_emulator::recording, to)) {}
      ~Recorder() {
        execution.stream = stream;
        cuda_emulator::recording = outer;
      }
      Execution& execution;
      Stream stream;
      cuda_emulator::Recording* outer;
    } recorder(execution_, &recording);
    ask();
    return std::move(recording.operations);
  }

  void run_branch(const std::function<void()>& branch) override { run_late("branch: ", branch_stream_, late_, branch); }
  void run_apart(const std::function<void()>& work) override { run_late("apart: ", apart_stream_, later_, work); }
  void run_late(const std::string& what, Stream stream, std::vector<std::function<void()>>& late,
                const std::function<void()>& branch) {
    auto operations = recorded(stream, branch);
    ++n_unjoined_;
    for (auto& operation : operations) {
      auto run = [&late, now = std::move(operation.run)] {
        if (cuda_emulator::state.schedule % 2 == 1)
          now();
        else
          late.push_back(now);
      };
      record_or_run_on({what + operation.name, std::move(operation.arguments), std::move(run)});
    }
  }
  void join_branches() override {
    n_unjoined_ = 0;
    record_or_run_on({"join", {}, [this] {
                        for (auto* late : {&late_, &later_})
                          for (const auto& operation : std::exchange(*late, {})) operation();
                      }});
  }
  static void record_or_run_on(cuda_emulator::Operation operation) {
    if (!cuda_emulator::recording) return operation.run();
    cuda_emulator::recording->operations.push_back(std::move(operation));
  }

  // y[t][b] = sum over taps of x[t + tap][b] weight[tap]' and its gradients.
  static void convolve_by_definition(const BinConvolution<float>& p) {
    const std::int64_t n_rows = (p.n_bins - p.n_taps + 1) * p.batch;
    const auto sum = [](std::int64_t n, const auto& term) {
      double total = 0;
      for (std::int64_t i = 0; i < n; ++i) total += term(i);
      return total;
    };
    const auto value = [](const Rows<const float>& rows, std::int64_t member, std::int64_t row, std::int64_t col) {
      return static_cast<double>(rows.row(member, row)[col]);
    };
    for (std::int64_t m = 0; m < p.fleet.n_members; ++m) {
      switch (p.pass) {
        case ConvolutionPass::forward:
          for (std::int64_t row = 0; row < n_rows; ++row)
            for (std::int64_t out = 0; out < p.n_out; ++out)
              p.out.row(m, row)[out] = static_cast<float>(sum(p.n_taps, [&](std::int64_t tap) {
                return sum(p.n_in, [&](std::int64_t in) {
                  return value(p.x, m, row + tap * p.batch, in) * value(p.weight, m, out * p.n_taps + tap, in);
                });
              }));
          break;
        case ConvolutionPass::input_gradient:
          for (std::int64_t row = 0; row < p.n_bins * p.batch; ++row)
            for (std::int64_t in = 0; in < p.n_in; ++in)
              p.out.row(m, row)[in] += static_cast<float>(sum(p.n_taps, [&](std::int64_t tap) {
                const std::int64_t from = row - tap * p.batch;
                if (from < 0 || from >= n_rows) return 0.0;
                return sum(p.n_out, [&](std::int64_t out) {
                  return value(p.y, m, from, out) * value(p.weight, m, out * p.n_taps + tap, in);
                });
              }));
          break;
        case ConvolutionPass::weight_gradient:
          for (std::int64_t out = 0; out < p.n_out; ++out)
            for (std::int64_t tap = 0; tap < p.n_taps; ++tap)
              for (std::int64_t in = 0; in < p.n_in; ++in)
                p.out.row(m, out * p.n_taps + tap)[in] = static_cast<float>(sum(n_rows, [&](std::int64_t row) {
                  return value(p.y, m, row, out) * value(p.x, m, row + tap * p.batch, in);
                }));
          break;
      }
    }
  }

  template <class Run, class... Arguments>
  void record_or_run(const char* name, const Run& run, const Arguments&... arguments) {
    const auto opened = [run] {
      const OpenDeviceMemory open;
      run();
    };
    cuda_emulator::Operation operation{name, {}, opened};
    (cuda_emulator::append_bytes(operation.arguments, arguments), ...);
    record_or_run_on(std::move(operation));
  }

  static void forbid_while_recording(const std::string& what) {
    if (cuda_emulator::recording) throw DeviceError("inside a sequence " + what);
  }
  void forbid_now(const std::string& what) const {
    forbid_while_recording(what);
    if (n_unjoined_ > 0) throw DeviceError("before the branches were joined " + what);
  }

  std::unique_ptr<Device> cpu_;
  ProductPrecision precision_;  // of kernels, and of what is fused; products themselves are the CPU's
  ConvolutionMethod convolutions_;
  Execution execution_;
  const Stream stream_ = reinterpret_cast<Stream>(&execution_), branch_stream_ = reinterpret_cast<Stream>(&late_),
               apart_stream_ = reinterpret_cast<Stream>(&later_);  // only compared
  std::vector<std::function<void()>> late_, later_;                // of branches, and of what runs apart from them
  int n_unjoined_ = 0;
  std::string fault_;
};

}  // namespace

std::string why_cuda_is_unusable(int index) { return index == 0 ? "" : "only cuda:0 is emulated"; }
std::unique_ptr<Device> make_cuda_device(int, int n_threads, ProductPrecision precision,
                                         ConvolutionMethod convolutions) {
  return std::make_unique<EmulatedDevice>(n_threads, precision, convolutions);
}
std::vector<std::string> list_cuda_devices() { return {"cuda:0 emulated"}; }

}  // namespace idem
