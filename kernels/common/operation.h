// operation.h - how an operation is declared once and run on the CPU or the GPU.
//
// IDEM_OPERATION(name, Params) declares
//   name_cpu(const Params<Real>&, ThreadPool&)    float and double (double on the CPU is the oracle)
//   name_cuda(const Params<float>&, Stream)       asynchronous on the stream
//   name(const Execution&, const Params<Real>&)   runs the twin that the execution names
// The .cu file ends with IDEM_INSTANTIATE_CPU(name, Params).
#pragma once

#include <stdexcept>
#include <type_traits>

#include "kernels/common/fleet.h"
#include "kernels/common/thread_pool.h"

struct CUstream_st;

namespace idem {

using Stream = CUstream_st*;

// A device that is missing, full or at fault, or a launch it refused.
struct DeviceError : std::runtime_error {
  using std::runtime_error::runtime_error;
};

// Told when an operation begins and ends, for profiles.
class OperationObserver {
 public:
  virtual void begin(const char* operation) = 0;
  virtual void end() = 0;

 protected:
  ~OperationObserver() = default;
};

// How a GPU multiplies; sums are fp32 in all three, and all that is stored is fp32. tf32 and bf16 round the factors to 10 and 7 bits of mantissa.
enum class ProductPrecision : std::int32_t { fp32, tf32, bf16 };

// Where an operation runs. cuda is true for arrays on the device (or for the tests' emulated device).
struct Execution {
  ThreadPool* pool = nullptr;
  Stream stream = nullptr;
  bool cuda = false;
  OperationObserver* observer = nullptr;
  ProductPrecision precision = ProductPrecision::fp32;  // of products; a CPU knows no other
};

struct ObservedOperation {
  ObservedOperation(const Execution& on, const char* operation) : observer(on.observer) {
    if (observer) observer->begin(operation);
  }
  ~ObservedOperation() {
    if (observer) observer->end();
  }
  ObservedOperation(const ObservedOperation&) = delete;
  ObservedOperation& operator=(const ObservedOperation&) = delete;
  OperationObserver* observer;
};

#if IDEM_CUDA_TWINS
#define IDEM_DISPATCH_CUDA(name)                                     \
  if constexpr (std::is_same_v<Real, float>) {                       \
    if (on.cuda) return name##_cuda(p, on.stream);                   \
  }
#else
#define IDEM_DISPATCH_CUDA(name)
#endif

#define IDEM_OPERATION(name, Params)                                 \
  template <class Real>                                              \
  void name##_cpu(const Params<Real>& p, ThreadPool& pool);          \
  void name##_cuda(const Params<float>& p, Stream stream);           \
  template <class Real>                                              \
  void name(const Execution& on, const Params<Real>& p) {            \
    const ObservedOperation observed(on, #name);                     \
    IDEM_DISPATCH_CUDA(name)                                         \
    name##_cpu(p, *on.pool);                                         \
  }

#define IDEM_INSTANTIATE_CPU(name, Params)                           \
  template void name##_cpu<float>(const Params<float>&, ThreadPool&); \
  template void name##_cpu<double>(const Params<double>&, ThreadPool&);

// A few operations of one kind that do not wait for each other, in one launch; fleet is that of them all.
constexpr std::int32_t kMostTogether = 4;
template <class Params>
struct Several {
  FleetExtent fleet;
  std::int32_t n = 0;
  Params of[kMostTogether];

  void add(const Params& params) { of[n++] = params; }
};

// Cuts [n_members x n_rows] into tasks of at most rows_per_task rows and calls body(member, row_begin, row_end) for each of an active member.
template <class Body>
void for_each_row_block(ThreadPool& pool, const FleetExtent& fleet, std::int64_t n_rows, std::int64_t rows_per_task, const Body& body) {
  const std::int64_t blocks = (n_rows + rows_per_task - 1) / rows_per_task;
  pool.parallel_for(fleet.n_members * blocks, [&](std::int64_t task) {
    const std::int64_t member = task / blocks, begin = task % blocks * rows_per_task;
    if (fleet.is_active(member)) body(member, begin, begin + rows_per_task < n_rows ? begin + rows_per_task : n_rows);
  });
}

}  // namespace idem
