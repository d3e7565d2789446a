// fake_cupti.cpp - as much of CUPTI's interface as kernel_trace.cpp calls, as a library to be loaded in its place.
// Tests queue what "the GPU ran"; a flush hands it over as CUPTI does, in buffers that the program gave.
#include "engine/device/cuda/cupti_records.h"

#include <cstdint>
#include <cstring>
#include <utility>
#include <vector>

namespace {

CUpti_CallbackFunc node_changed = nullptr;
void* of_subscriber = nullptr;
CUpti_BuffersCallbackRequestFunc buffer_wanted = nullptr;
CUpti_BuffersCallbackCompleteFunc buffer_filled = nullptr;
int enabled_kinds = 0;
std::size_t n_dropped = 0;
std::vector<std::uint64_t> asking;              // operations, the latest last
std::vector<std::vector<std::uint8_t>> queued;  // records
std::size_t next = 0;

template <class Record>
void queue(const Record& record) {
  const auto* bytes = reinterpret_cast<const std::uint8_t*>(&record);
  queued.emplace_back(bytes, bytes + sizeof(Record));
}

}  // namespace

extern "C" {

CUptiResult cuptiSubscribe(CUpti_SubscriberHandle* subscriber, CUpti_CallbackFunc callback, void* data) {
  node_changed = callback;
  of_subscriber = data;
  *subscriber = reinterpret_cast<CUpti_SubscriberHandle>(&of_subscriber);
  return CUPTI_SUCCESS;
}
CUptiResult cuptiUnsubscribe(CUpti_SubscriberHandle) { return CUPTI_SUCCESS; }
CUptiResult cuptiEnableCallback(std::uint32_t, CUpti_SubscriberHandle, CUpti_CallbackDomain, CUpti_CallbackId) {
  return CUPTI_SUCCESS;
}
CUptiResult cuptiGetGraphNodeId(CUgraphNode node, std::uint64_t* id) {
  *id = reinterpret_cast<std::uint64_t>(node);
  return CUPTI_SUCCESS;
}
CUptiResult cuptiActivityRegisterCallbacks(CUpti_BuffersCallbackRequestFunc wanted,
                                           CUpti_BuffersCallbackCompleteFunc filled) {
  buffer_wanted = wanted;
  buffer_filled = filled;
  return CUPTI_SUCCESS;
}
CUptiResult cuptiActivityEnable(CUpti_ActivityKind) {
  ++enabled_kinds;
  return CUPTI_SUCCESS;
}
CUptiResult cuptiActivityDisable(CUpti_ActivityKind) {
  --enabled_kinds;
  return CUPTI_SUCCESS;
}
CUptiResult cuptiActivityGetNumDroppedRecords(CUcontext, std::uint32_t, std::size_t* n) {
  *n = std::exchange(n_dropped, 0);
  return CUPTI_SUCCESS;
}
// One record in each buffer, at its start.
CUptiResult cuptiActivityGetNextRecord(std::uint8_t* buffer, std::size_t, CUpti_Activity** record) {
  if (next++ > 0) return CUPTI_ERROR_MAX_LIMIT_REACHED;
  *record = reinterpret_cast<CUpti_Activity*>(buffer);
  return CUPTI_SUCCESS;
}
CUptiResult cuptiActivityFlushAll(std::uint32_t) {
  for (const auto& record : queued) {
    std::uint8_t* buffer = nullptr;
    std::size_t size = 0, most = 0;
    buffer_wanted(&buffer, &size, &most);
    std::memcpy(buffer, record.data(), record.size());
    next = 0;
    buffer_filled(nullptr, 0, buffer, size, record.size());
  }
  queued.clear();
  return CUPTI_SUCCESS;
}
CUptiResult cuptiActivityPushExternalCorrelationId(CUpti_ExternalCorrelationKind, std::uint64_t id) {
  asking.push_back(id);
  return CUPTI_SUCCESS;
}
CUptiResult cuptiActivityPopExternalCorrelationId(CUpti_ExternalCorrelationKind, std::uint64_t* last) {
  *last = asking.back();
  asking.pop_back();
  return CUPTI_SUCCESS;
}

// ---- what tests call ----
int fake_enabled_kinds() { return enabled_kinds; }
void fake_dropped(std::size_t n) { n_dropped = n; }
// A node is recorded; or cloned from another into a graph in use, which creates it too, before or after.
void fake_node(std::uint64_t node, std::uint64_t original) {
  CUpti_GraphData graph{};
  graph.node = reinterpret_cast<CUgraphNode>(node);
  graph.originalNode = reinterpret_cast<CUgraphNode>(original);
  CUpti_ResourceData resource{};
  resource.resourceDescriptor = &graph;
  const auto tell = [&](CUpti_CallbackId what) {
    node_changed(of_subscriber, CUPTI_CB_DOMAIN_RESOURCE, what, &resource);
  };
  tell(CUPTI_CBID_RESOURCE_GRAPHNODE_CREATED);
  if (!original) return;
  tell(CUPTI_CBID_RESOURCE_GRAPHNODE_CLONED);
  tell(CUPTI_CBID_RESOURCE_GRAPHNODE_CREATED);
}
// A kernel ran: of a graph's node, or (node 0) asked for now. Times on the clock of our days; 0 to 0: it was not timed.
void fake_kernel(const char* name, std::uint64_t begin_ns, std::uint64_t end_ns, std::uint64_t node) {
  static std::uint32_t correlation = 0;
  idem::KernelRecord kernel{};
  kernel.kind = CUPTI_ACTIVITY_KIND_CONCURRENT_KERNEL;
  kernel.name = name;
  constexpr std::uint64_t kNow = 1'800'000'000'000'000'000;
  kernel.start = end_ns ? kNow + begin_ns : 0;
  kernel.end = end_ns ? kNow + end_ns : 0;
  kernel.gridX = 264;
  kernel.gridY = kernel.gridZ = kernel.blockY = kernel.blockZ = 1;
  kernel.blockX = 256;
  kernel.registersPerThread = 64;
  kernel.dynamicSharedMemory = 1024;
  kernel.graphNodeId = node;
  kernel.correlationId = ++correlation;
  queue(kernel);
  if (node || asking.empty()) return;
  CUpti_ActivityExternalCorrelation link{};
  link.kind = CUPTI_ACTIVITY_KIND_EXTERNAL_CORRELATION;
  link.externalKind = CUPTI_EXTERNAL_CORRELATION_KIND_CUSTOM0;
  link.externalId = asking.back();
  link.correlationId = correlation;
  queue(link);
}
}
