// cuda_device.h - NVIDIA GPUs behind the Device interface. Only part of builds with the CUDA backend.
#pragma once

#include <memory>
#include <string>
#include <vector>

#include "engine/device.h"

namespace idem {

// Why no GPU can be used ("" when one can): no driver, a driver too old for this program, no device, an architecture this program has no code for.
std::string why_cuda_is_unusable(int index);

std::unique_ptr<Device> make_cuda_device(int index, int n_threads, ProductPrecision precision);

std::vector<std::string> list_cuda_devices();

}  // namespace idem
