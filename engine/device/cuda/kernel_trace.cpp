#include "engine/device/cuda/kernel_trace.h"

#if IDEM_WITH_CUPTI
#include <cuda_occupancy.h>
#include <cuda_runtime_api.h>
#include <dlfcn.h>

#include <algorithm>
#include <atomic>
#include <cstdlib>
#include <exception>
#include <map>
#include <memory>
#include <mutex>
#include <string>
#include <unordered_map>
#include <utility>

#include "engine/device/cuda/cupti_records.h"
#include "engine/device/kernel_name.h"
#endif

namespace idem {

#if IDEM_WITH_CUPTI
namespace {

constexpr CUpti_ActivityKind kKinds[] = {CUPTI_ACTIVITY_KIND_CONCURRENT_KERNEL, CUPTI_ACTIVITY_KIND_MEMCPY,
                                         CUPTI_ACTIVITY_KIND_MEMSET, CUPTI_ACTIVITY_KIND_EXTERNAL_CORRELATION};
constexpr CUpti_CallbackIdResource kNodeChanges[] = {CUPTI_CBID_RESOURCE_GRAPHNODE_CREATED,
                                                     CUPTI_CBID_RESOURCE_GRAPHNODE_CLONED,
                                                     CUPTI_CBID_RESOURCE_GRAPHNODE_DESTROY_STARTING};
constexpr auto kLink = CUPTI_EXTERNAL_CORRELATION_KIND_CUSTOM0;

// Those of CUPTI's functions that are used.
struct Cupti {
#define IDEM_CUPTI_FUNCTIONS(each)                                                                             \
  each(cuptiSubscribe) each(cuptiUnsubscribe) each(cuptiEnableCallback) each(cuptiGetGraphNodeId)              \
      each(cuptiActivityRegisterCallbacks) each(cuptiActivityEnable) each(cuptiActivityDisable)                \
          each(cuptiActivityGetNextRecord) each(cuptiActivityGetNumDroppedRecords) each(cuptiActivityFlushAll) \
              each(cuptiActivityPushExternalCorrelationId) each(cuptiActivityPopExternalCorrelationId)
#define IDEM_DECLARE(name) decltype(&::name) name = nullptr;
  IDEM_CUPTI_FUNCTIONS(IDEM_DECLARE)

  // Whether the library of that name is there and has them all.
  bool load(const char* place) {
    void* const library = dlopen(place, RTLD_NOW | RTLD_LOCAL);
    if (!library) return false;
    bool has_all = true;
#define IDEM_LOAD(name)                                           \
  name = reinterpret_cast<decltype(name)>(dlsym(library, #name)); \
  has_all = has_all && name;
    IDEM_CUPTI_FUNCTIONS(IDEM_LOAD)
    return has_all;
  }
};

// Of no launch where the device does not say what it has.
LaunchShape shape_of(const KernelRecord& record, const cudaDeviceProp& properties) {
  LaunchShape shape{.blocks = std::int64_t{record.gridX} * record.gridY * record.gridZ,
                    .threads = std::int64_t{record.blockX} * record.blockY * record.blockZ,
                    .registers = record.registersPerThread,
                    .shared_bytes = std::int64_t{record.staticSharedMemory} + record.dynamicSharedMemory};
  if (properties.multiProcessorCount == 0) return shape;
  const cudaOccDeviceProp device(properties);
  const cudaOccDeviceState state{};
  cudaOccFuncAttributes function{};
  function.maxThreadsPerBlock = properties.maxThreadsPerBlock;
  function.numRegs = record.registersPerThread;
  function.sharedSizeBytes = static_cast<std::size_t>(record.staticSharedMemory);
  function.shmemLimitConfig = FUNC_SHMEM_LIMIT_OPTIN;
  function.maxDynamicSharedSizeBytes = properties.sharedMemPerBlockOptin;
  function.numBlockBarriers = 1;
  cudaOccResult result{};
  if (cudaOccMaxActiveBlocksPerMultiprocessor(&result, &device, &function, &state, static_cast<int>(shape.threads),
                                              static_cast<std::size_t>(record.dynamicSharedMemory)) !=
          CUDA_OCC_SUCCESS ||
      result.activeBlocksPerMultiprocessor == 0)
    return shape;
  const double at_once = result.activeBlocksPerMultiprocessor;
  shape.waves = static_cast<double>(shape.blocks) / (at_once * properties.multiProcessorCount);
  shape.occupancy =
      at_once * static_cast<double>((shape.threads + 31) / 32 * 32) / properties.maxThreadsPerMultiProcessor;
  return shape;
}

class CuptiTrace final : public KernelTrace {
 public:
  // Why CUPTI cannot be used, or "".
  std::string start() {
    const char* const places[] = {std::getenv("IDEM_CUPTI"), "libcupti.so.13", "libcupti.so.12", IDEM_CUPTI_LIBRARY};
    if (std::ranges::none_of(places, [&](const char* place) { return place && cupti_.load(place); }))
      return "there is no libcupti, which is part of the CUDA toolkit; IDEM_CUPTI may name the file";
    const auto subscribed = cupti_.cuptiSubscribe(&subscriber_, node_changed, this);
    if (subscribed == CUPTI_ERROR_MULTIPLE_SUBSCRIBERS_NOT_SUPPORTED) return "another profiler looks at this program";
    if (subscribed != CUPTI_SUCCESS) return "CUPTI refuses to start here";
    bool is_ready = cupti_.cuptiActivityRegisterCallbacks(buffer_wanted, buffer_filled) == CUPTI_SUCCESS;
    for (const auto change : kNodeChanges)
      is_ready =
          is_ready && cupti_.cuptiEnableCallback(1, subscriber_, CUPTI_CB_DOMAIN_RESOURCE, change) == CUPTI_SUCCESS;
    if (is_ready) return "";
    cupti_.cuptiUnsubscribe(subscriber_);
    return "CUPTI tells nothing of graphs here";
  }

  void attribute_to(std::int64_t operation) override {
    if (operation_.exchange(operation) >= 0) {
      std::uint64_t last = 0;
      cupti_.cuptiActivityPopExternalCorrelationId(kLink, &last);
    }
    if (operation >= 0) cupti_.cuptiActivityPushExternalCorrelationId(kLink, static_cast<std::uint64_t>(operation));
  }

  std::vector<Activity> of(const std::function<void()>& operations) override {
    {
      const std::lock_guard lock(mutex_);
      recorded_ = {};
    }
    bool records = true;
    for (const auto kind : kKinds) records = cupti_.cuptiActivityEnable(kind) == CUPTI_SUCCESS && records;
    const struct Ended {
      ~Ended() {
        cupti.cuptiActivityFlushAll(CUPTI_ACTIVITY_FLAG_FLUSH_FORCED);
        for (const auto kind : kKinds) cupti.cuptiActivityDisable(kind);
      }
      Cupti& cupti;
    } ended{cupti_};
    operations();
    records = cupti_.cuptiActivityFlushAll(CUPTI_ACTIVITY_FLAG_FLUSH_FORCED) == CUPTI_SUCCESS && records;
    Recorded recorded;
    {
      const std::lock_guard lock(mutex_);
      recorded = std::exchange(recorded_, {});
    }
    return records && !recorded.is_partial ? activities(recorded) : std::vector<Activity>();
  }

 private:
  static constexpr std::size_t kBufferBytes = std::size_t{1} << 20;

  // As CUPTI handed it over: its thread does nothing but copy.
  struct Recorded {
    std::vector<KernelRecord> kernels;  // their names belong to CUPTI and stay
    std::vector<CopyRecord> copies;
    std::vector<FillRecord> fills;
    std::map<std::uint32_t, std::int64_t> links;  // operations by correlation, of what no recording asked for
    bool is_partial = false;

    void add(const CUpti_Activity& record) {
      switch (record.kind) {
        case CUPTI_ACTIVITY_KIND_CONCURRENT_KERNEL: return add_to(kernels, record);
        case CUPTI_ACTIVITY_KIND_MEMCPY: return add_to(copies, record);
        case CUPTI_ACTIVITY_KIND_MEMSET: return add_to(fills, record);
        case CUPTI_ACTIVITY_KIND_EXTERNAL_CORRELATION: {
          const auto& link = reinterpret_cast<const LinkRecord&>(record);
          if (link.externalKind == kLink) links[link.correlationId] = static_cast<std::int64_t>(link.externalId);
          break;
        }
        default: break;
      }
    }
    template <class Record>
    void add_to(std::vector<Record>& all, const CUpti_Activity& record) {
      const auto& of = reinterpret_cast<const Record&>(record);
      is_partial |= of.start == 0 || of.end == 0;  // CUPTI could not time it
      all.push_back(of);
    }
  };

  // A node that a recording makes belongs to the operation that asks for it; one that a graph in use is made of, to
  // that of its original. Instantiating a graph creates nodes outside operations.
  static void CUPTIAPI node_changed(void* self, CUpti_CallbackDomain, CUpti_CallbackId id, const void* data) noexcept {
    auto& trace = *static_cast<CuptiTrace*>(self);
    const auto& graph =
        *static_cast<const CUpti_GraphData*>(static_cast<const CUpti_ResourceData*>(data)->resourceDescriptor);
    std::uint64_t node = 0, original = 0;
    if (trace.cupti_.cuptiGetGraphNodeId(graph.node, &node) != CUPTI_SUCCESS) return;
    if (id == CUPTI_CBID_RESOURCE_GRAPHNODE_CLONED &&
        trace.cupti_.cuptiGetGraphNodeId(graph.originalNode, &original) != CUPTI_SUCCESS)
      return;
    const std::lock_guard lock(trace.mutex_);
    auto& operations = trace.operation_of_node_;
    try {
      if (id == CUPTI_CBID_RESOURCE_GRAPHNODE_DESTROY_STARTING) {
        operations.erase(node);
      } else if (id == CUPTI_CBID_RESOURCE_GRAPHNODE_CREATED) {
        if (const auto operation = trace.operation_.load(); operation >= 0) operations[node] = operation;
      } else if (const auto found = operations.find(original); found != operations.end()) {
        operations[node] = found->second;
      }
    } catch (const std::exception&) {  // no memory: the kernel will be one that nobody asked for
    }
  }

  static void CUPTIAPI buffer_wanted(std::uint8_t** buffer, std::size_t* size, std::size_t* most_records) noexcept {
    *buffer = static_cast<std::uint8_t*>(std::aligned_alloc(8, kBufferBytes));
    *size = *buffer ? kBufferBytes : 0;
    *most_records = 0;
  }
  static void CUPTIAPI buffer_filled(CUcontext context, std::uint32_t stream, std::uint8_t* buffer, std::size_t,
                                     std::size_t valid) noexcept {
    auto& trace = *static_cast<CuptiTrace*>(instance());
    const auto& cupti = trace.cupti_;
    const std::unique_ptr<std::uint8_t, decltype(&std::free)> owner(buffer, &std::free);
    std::size_t n_dropped = 0;
    bool is_partial =
        cupti.cuptiActivityGetNumDroppedRecords(context, stream, &n_dropped) != CUPTI_SUCCESS || n_dropped > 0;
    // One after the other, as CUPTI may hold a lock of its own that whoever holds ours waits for.
    for (CUpti_Activity* record = nullptr;
         valid > 0 && cupti.cuptiActivityGetNextRecord(buffer, valid, &record) == CUPTI_SUCCESS;) {
      const std::lock_guard lock(trace.mutex_);
      try {
        trace.recorded_.add(*record);
      } catch (const std::exception&) {
        is_partial = true;
      }
    }
    const std::lock_guard lock(trace.mutex_);
    trace.recorded_.is_partial |= is_partial;
  }

  std::vector<Activity> activities(const Recorded& recorded) {
    std::vector<Activity> all;
    for (const auto& kernel : recorded.kernels) {
      all.push_back(activity(recorded, kernel, short_kernel_name(kernel.name ? kernel.name : "?")));
      all.back().launch = shape_of(kernel, properties_of(static_cast<int>(kernel.deviceId)));
    }
    for (const auto& copy : recorded.copies) all.push_back(activity(recorded, copy, "copy"));
    for (const auto& fill : recorded.fills) all.push_back(activity(recorded, fill, "fill"));
    std::ranges::stable_sort(all, {}, &Activity::begin_ns);
    return all;
  }
  template <class Record>
  Activity activity(const Recorded& recorded, const Record& record, std::string name) {
    const auto link = recorded.links.find(record.correlationId);
    return {.operation = record.graphNodeId != 0        ? operation_of(record.graphNodeId)
                         : link != recorded.links.end() ? link->second
                                                        : -1,
            .kernel = std::move(name),
            .begin_ns = static_cast<std::int64_t>(record.start),
            .end_ns = static_cast<std::int64_t>(record.end)};
  }
  std::int64_t operation_of(std::uint64_t node) {
    const std::lock_guard lock(mutex_);
    const auto found = operation_of_node_.find(node);
    return found != operation_of_node_.end() ? found->second : -1;
  }
  const cudaDeviceProp& properties_of(int device) {
    const auto found = properties_.find(device);
    if (found != properties_.end()) return found->second;
    auto& properties = properties_[device];
    if (cudaGetDeviceProperties(&properties, device) != cudaSuccess) properties = {};
    return properties;
  }

  Cupti cupti_;
  CUpti_SubscriberHandle subscriber_ = nullptr;
  std::mutex mutex_;                          // CUPTI hands records over from a thread of its own
  std::atomic<std::int64_t> operation_ = -1;  // of what is asked for now
  std::unordered_map<std::uint64_t, std::int64_t> operation_of_node_;
  Recorded recorded_;
  std::map<int, cudaDeviceProp> properties_;
};

struct Started {
  CuptiTrace* trace = nullptr;  // never freed: CUPTI may hand over its last records while the program ends
  std::string why_none;
};
const Started& started() {
  static const Started once = [] {
    auto trace = std::make_unique<CuptiTrace>();
    const std::string why_none = trace->start();
    return Started{why_none.empty() ? trace.release() : nullptr, why_none};
  }();
  return once;
}

}  // namespace

KernelTrace* KernelTrace::instance() { return started().trace; }
std::string KernelTrace::why_none() { return started().why_none; }
#else
KernelTrace* KernelTrace::instance() { return nullptr; }
std::string KernelTrace::why_none() { return "this program was built without CUPTI"; }
#endif

}  // namespace idem
