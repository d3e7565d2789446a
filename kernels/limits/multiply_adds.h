// multiply_adds.h - multiplications and additions as fast as this device's units make them, with nothing to wait for:
// the roof of whatever waits for arithmetic.
#pragma once

#include "kernels/common/operation.h"

namespace idem {

// values[i] becomes values[i] * factor + term, `rounds` times, for i in 0 ... n. Values stay small where |factor| < 1.
// Values are chains that do not wait for each other; a CPU takes kChains at once. Determinism: gpu_to_gpu.
template <class Real>
struct MultiplyAdds {
  std::int64_t n = 0;
  std::int32_t rounds = 0;
  Real factor = Real(0.5), term = Real(1);
  Real* values = nullptr;
};
IDEM_OPERATION(multiply_adds, MultiplyAdds)

}  // namespace idem
