// roofs.h - what a device reaches at most, measured now, with this project's own kernels and its library's products.
#pragma once

#include <string>

#include "engine/device/device.h"
#include "host/profile/profile.h"

namespace idem {

// Takes some seconds. Of a GPU also products of each precision, on devices made for them. precision: of the products
// that will be held against the roofs.
Roofs measure_roofs(Device& device, const std::string& device_name, int n_threads, ProductPrecision precision);

}  // namespace idem
