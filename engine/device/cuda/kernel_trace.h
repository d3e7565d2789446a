// kernel_trace.h - what the GPU ran, by CUPTI's activity records: kernels of replayed graphs too, each with the
// operation that asked for it.
//
// CUPTI (libcupti, of the CUDA toolkit) is loaded when it is first asked for; without it there is no trace. Needs no
// privileges. One per process, as CUPTI has one subscriber: under another profiler there is none.
#pragma once

#include <cstdint>
#include <functional>
#include <string>
#include <vector>

#include "engine/device/activity.h"

namespace idem {

class KernelTrace {
 public:
  virtual ~KernelTrace() = default;

  // Null where CUPTI cannot be loaded or is in other hands.
  static KernelTrace* instance();
  // Why it is null, in words: "there is no libcupti (...)"; else "".
  static std::string why_none();

  // What is asked for from now on, at once or in a recording, belongs to this operation; -1: to none. On the thread
  // that records.
  virtual void attribute_to(std::int64_t operation) = 0;
  // Runs `operations`, which wait for what they start, and tells all of it in the order of its beginnings: nothing
  // where CUPTI did not record or lost a part.
  virtual std::vector<Activity> of(const std::function<void()>& operations) = 0;
};

}  // namespace idem
