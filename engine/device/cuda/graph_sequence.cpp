#include "engine/device/cuda/graph_sequence.h"

#include "engine/device/cuda/check.h"
#include "engine/device/cuda/named_range.h"

namespace idem {

GraphSequence::~GraphSequence() {
  for (auto* graph : {once_, several_})
    if (graph) cudaGraphExecDestroy(graph);
}

void GraphSequence::run(std::int64_t n_times) {
#if defined(IDEM_SYNC_AFTER_LAUNCH)
  for (std::int64_t i = 0; i < n_times; ++i) operations_();  // a graph would hide which operation failed
#else
  for (; n_times >= kSeveral; n_times -= kSeveral) launch(recorded(several_, kSeveral));
  for (; n_times > 0; --n_times) launch(recorded(once_, 1));
#endif
}

void GraphSequence::prepare(std::int64_t n_times) {
#if !defined(IDEM_SYNC_AFTER_LAUNCH)
  if (n_times >= kSeveral) check(cudaGraphUpload(recorded(several_, kSeveral), stream_), "preparing a recorded step");
  if (n_times % kSeveral > 0) check(cudaGraphUpload(recorded(once_, 1), stream_), "preparing a recorded step");
#endif
}

cudaGraphExec_t GraphSequence::recorded(cudaGraphExec_t& graph, std::int64_t n_times) {
  if (!graph) record(graph, n_times);
  return graph;
}

void GraphSequence::launch(cudaGraphExec_t graph) const {
  // A replay's kernels carry no ranges of their own: those that the recording was made under have long ended.
  const NamedRange range(name_);
  check(cudaGraphLaunch(graph, stream_), "launching a recorded step");
}

void GraphSequence::record(cudaGraphExec_t& graph, std::int64_t n_times) {
  if (!once_ && !several_) plan_(operations_);
  // Relaxed: a library may still allocate for itself.
  check(cudaStreamBeginCapture(stream_, cudaStreamCaptureModeRelaxed), "recording a step");
  cudaGraph_t capture = nullptr;
  try {
    for (std::int64_t i = 0; i < n_times; ++i) operations_();
  } catch (...) {
    branches_ = {};
    cudaStreamEndCapture(stream_, &capture);
    if (capture) cudaGraphDestroy(capture);
    cudaGetLastError();
    throw;
  }
  check(cudaStreamEndCapture(stream_, &capture), "recording a step");
  // Without the flag every operation of a replay has the priority of the stream it is launched on: branches would hold
  // up what is waited for.
  const auto status = cudaGraphInstantiate(&graph, capture, cudaGraphInstantiateFlagUseNodePriority);
  cudaGraphDestroy(capture);
  check(status, "preparing a recorded step");
}

}  // namespace idem
