// device_under_test.h - the device that the tests of the engine run on: the CPU in idem_tests, the emulated GPU in
// idem_emulated_device_tests, a real one in idem_cuda_tests. The assertions are the same.
#pragma once

#include <memory>

#include "engine/device/device.h"

namespace idem {

inline std::unique_ptr<Device> device_under_test(int n_threads = 2) { return make_device(IDEM_TEST_DEVICE, n_threads); }

inline std::unique_ptr<Device> cudnn_device() {
  return make_device(IDEM_TEST_DEVICE, 2, ProductPrecision::fp32, ConvolutionMethod::cudnn);
}
// Why convolutions by cuDNN cannot be tested here; "" when they can.
inline std::string why_no_cudnn() {
  try {
    cudnn_device();
  } catch (const DeviceError& error) {
    return error.what();
  }
  return "";
}

}  // namespace idem
