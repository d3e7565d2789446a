// operation.h - how an operation is declared once and run on the CPU or the GPU.
//
// IDEM_OPERATION(name, Params) declares
//   name_cpu(const Params<Real>&, ThreadPool&)    float and double (double on the CPU is the oracle)
//   name_cuda(const Params<float>&, Stream)       asynchronous on the stream
//   name(const Execution&, const Params<Real>&)   runs the twin that the execution names
//   work(const Params<Real>&)                     what it has to do at least; its folder's work.cpp says so,
//   IDEM_INSTANTIATE_WORK(Params)
// The .cu file ends with IDEM_INSTANTIATE_CPU(name, Params).
#pragma once

#include <stdexcept>
#include <type_traits>

#include "kernels/common/enum_names.h"
#include "kernels/common/fleet.h"
#include "kernels/common/thread_pool.h"

struct CUstream_st;

namespace idem {

using Stream = CUstream_st*;

// A device that is missing, full or at fault, or a launch it refused.
struct DeviceError : std::runtime_error {
  using std::runtime_error::runtime_error;
};

// What an operation has to do at least, of all members whether active or not, by what its struct says.
//   bytes  of all that is read and of all that is written, each array once each way; padding is not counted
//   flops  multiplications plus additions of what is computed; a function (an exponential, a logarithm, a root ...) is
//   worth kFunctionFlops: a GPU has
//          that many fewer units for it, a CPU makes it of about as many. Whole numbers are not counted
struct Work {
  double bytes = 0, flops = 0;

  Work& operator+=(const Work& other) {
    bytes += other.bytes;
    flops += other.flops;
    return *this;
  }
};
constexpr double kFunctionFlops = 16;

// An operation as profiles name it; file: where it is declared, whose folder says what part of a step it is.
struct OperationName {
  const char *name, *file;
};

// Told when an operation begins and ends, for profiles.
class OperationObserver {
 public:
  virtual void begin(const OperationName& operation, const Work& work) = 0;
  virtual void end() = 0;

 protected:
  ~OperationObserver() = default;
};

// How a GPU multiplies; sums are fp32 in all three, and all that is stored is fp32. tf32 and bf16 round the factors to
// 10 and 7 bits of mantissa.
enum class ProductPrecision : std::int32_t { fp32, tf32, bf16 };
template <>
struct EnumNames<ProductPrecision> {
  static constexpr const char* what = "precision";
  static constexpr EnumName<ProductPrecision> all[] = {
      {ProductPrecision::fp32, "fp32"}, {ProductPrecision::tf32, "tf32"}, {ProductPrecision::bf16, "bf16"}};
};

// Where an operation runs. cuda is true for arrays on the device (or for the tests' emulated device).
struct Execution {
  ThreadPool* pool = nullptr;
  Stream stream = nullptr;
  bool cuda = false;
  OperationObserver* observer = nullptr;
  ProductPrecision precision = ProductPrecision::fp32;  // of products; a CPU knows no other
};

struct ObservedOperation {
  template <class Params>
  ObservedOperation(const Execution& on, const OperationName& operation, const Params& p) : observer(on.observer) {
    if (observer) observer->begin(operation, work(p));
  }
  ~ObservedOperation() {
    if (observer) observer->end();
  }
  ObservedOperation(const ObservedOperation&) = delete;
  ObservedOperation& operator=(const ObservedOperation&) = delete;
  OperationObserver* observer;
};

#if IDEM_CUDA_TWINS
#define IDEM_DISPATCH_CUDA(name)                   \
  if constexpr (std::is_same_v<Real, float>) {     \
    if (on.cuda) return name##_cuda(p, on.stream); \
  }
#else
#define IDEM_DISPATCH_CUDA(name)
#endif

#define IDEM_OPERATION(name, Params)                            \
  template <class Real>                                         \
  void name##_cpu(const Params<Real>& p, ThreadPool& pool);     \
  void name##_cuda(const Params<float>& p, Stream stream);      \
  template <class Real>                                         \
  Work work(const Params<Real>& p);                             \
  template <class Real>                                         \
  void name(const Execution& on, const Params<Real>& p) {       \
    const ObservedOperation observed(on, {#name, __FILE__}, p); \
    IDEM_DISPATCH_CUDA(name)                                    \
    name##_cpu(p, *on.pool);                                    \
  }

#define IDEM_INSTANTIATE_CPU(name, Params)                            \
  template void name##_cpu<float>(const Params<float>&, ThreadPool&); \
  template void name##_cpu<double>(const Params<double>&, ThreadPool&);

#define IDEM_INSTANTIATE_WORK(Params)         \
  template Work work(const Params<float>& p); \
  template Work work(const Params<double>& p);

// A few operations of one kind that do not wait for each other, in one launch; fleet is that of them all.
constexpr std::int32_t kMostTogether = 4;
template <class Params>
struct Several {
  FleetExtent fleet;
  std::int32_t n = 0;
  Params of[kMostTogether];

  void add(const Params& params) { of[n++] = params; }
};
template <class Params>
Work work_of_all(const Several<Params>& p) {
  Work sum;
  for (std::int32_t i = 0; i < p.n; ++i) sum += work(p.of[i]);
  return sum;
}

// Cuts [n_members x n_rows] into tasks of at most rows_per_task rows and calls body(member, row_begin, row_end) for
// each of an active member.
template <class Body>
void for_each_row_block(ThreadPool& pool, const FleetExtent& fleet, std::int64_t n_rows, std::int64_t rows_per_task,
                        const Body& body) {
  const std::int64_t blocks = (n_rows + rows_per_task - 1) / rows_per_task;
  pool.parallel_for(fleet.n_members * blocks, [&](std::int64_t task) {
    const std::int64_t member = task / blocks, begin = task % blocks * rows_per_task;
    if (fleet.is_active(member)) body(member, begin, begin + rows_per_task < n_rows ? begin + rows_per_task : n_rows);
  });
}

}  // namespace idem
