// emulated_device.h - what tests may change of the emulated device.
#pragma once

#include <cstddef>

#include "kernels/common/operation.h"

namespace idem {

// What it says of its cache: so little that the small layers of tests are cut as the large ones of models are.
extern std::size_t emulated_cache_bytes;
// Whether it runs narrow layers by their own kernels, as a GPU does, or by products, as a GPU does wide ones.
extern bool emulated_runs_narrow_layers;
// Told of all hand-written operations that devices made while it is set are asked for, those of a sequence at every run
// again.
extern OperationObserver* emulated_observer;

}  // namespace idem
