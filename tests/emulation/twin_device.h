// twin_device.h - where check_twins runs the CUDA twins: on emulated threads (twin_device_emulated.cpp) or on a GPU
// (twin_device_cuda.cpp).
#pragma once

#include <cstddef>

namespace idem::twin_device {

// Memory of the device for an array that lies at `host`, without its values; null where kernels work on the host's own.
unsigned char* allocate(std::size_t bytes);
void release(unsigned char* memory) noexcept;
void upload(unsigned char* to, const unsigned char* host, std::size_t bytes);
void download(unsigned char* host, const unsigned char* from, std::size_t bytes);  // after what was launched before

// Order of threads and blocks, 0 to 3, the largest block and the largest grid; a GPU has its own.
bool has_schedules();
void set_schedule(unsigned schedule);
void set_largest_block(int n_threads);
void set_largest_grid(unsigned n_blocks);
void reset();

}  // namespace idem::twin_device
