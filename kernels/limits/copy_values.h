// copy_values.h - a copy as fast as this project's own kernels can make one: the roof of whatever waits for memory.
#pragma once

#include "kernels/common/operation.h"

namespace idem {

// to[0 ... n) = from[0 ... n); both start on 16 bytes and do not overlap. Determinism: gpu_to_gpu.
template <class Real>
struct CopyValues {
  std::int64_t n = 0;
  const Real* from = nullptr;
  Real* to = nullptr;
};
IDEM_OPERATION(copy_values, CopyValues)

}  // namespace idem
