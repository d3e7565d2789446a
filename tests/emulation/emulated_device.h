// emulated_device.h - what tests may change of the emulated device.
#pragma once

#include <cstddef>

namespace idem {

// What it says of its cache: so little that the small layers of tests are cut as the large ones of models are.
extern std::size_t emulated_cache_bytes;

}  // namespace idem
