// check.h - a CUDA call that fails becomes a DeviceError that says what was asked for and what to try.
#pragma once

#include <cuda_runtime_api.h>

#include <string>

#include "engine/device/device.h"

namespace idem {

inline void check(cudaError_t status, const std::string& what) {
  if (status == cudaSuccess) return;
  throw DeviceError(what + ": " + cudaGetErrorString(status) +
                    " (rerun with --device cpu, or build with -DSYNC_AFTER_LAUNCH=ON to find the operation)");
}

}  // namespace idem
