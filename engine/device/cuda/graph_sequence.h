// graph_sequence.h - a sequence of operations as CUDA graphs.
#pragma once

#include <cuda_runtime_api.h>

#include <functional>

#include "engine/device/device.h"

namespace idem {

// Which have been started since the last join.
struct Branches {
  bool any = false, apart = false;
};

// Planned and recorded as a CUDA graph at its first run, replayed from then on; many runs by a graph of several, as
// launching one takes longer than the pause between the steps in it.
class GraphSequence final : public Device::Sequence {
 public:
  // name: of the replays, for profilers. branches: the device's; a recording that fails leaves none behind. plan: runs
  // operations without their kernels (CudaDevice::plan).
  GraphSequence(cudaStream_t stream, Branches& branches, const char* name, std::function<void()> operations,
                std::function<void(const std::function<void()>&)> plan)
      : stream_(stream), branches_(branches), name_(name), operations_(std::move(operations)), plan_(std::move(plan)) {}
  ~GraphSequence() override;
  void run(std::int64_t n_times) override;
  void prepare(std::int64_t n_times) override;

 private:
  static constexpr std::int64_t kSeveral = 8;

  cudaGraphExec_t recorded(cudaGraphExec_t& graph, std::int64_t n_times);
  void launch(cudaGraphExec_t graph) const;
  void record(cudaGraphExec_t& graph, std::int64_t n_times);

  cudaStream_t stream_;
  Branches& branches_;
  const char* name_;
  std::function<void()> operations_;
  std::function<void(const std::function<void()>&)> plan_;
  cudaGraphExec_t once_ = nullptr, several_ = nullptr;
};

}  // namespace idem
