#include "kernels/common/cuda.h"
#include "tests/emulation/twin_device.h"

namespace idem::twin_device {

unsigned char* allocate(std::size_t) { return nullptr; }
void release(unsigned char*) noexcept {}
void upload(unsigned char*, const unsigned char*, std::size_t) {}
void download(unsigned char*, const unsigned char*, std::size_t) {}
bool has_schedules() { return true; }
void set_schedule(unsigned schedule) { cuda_emulator::set_schedule(schedule); }
void set_largest_block(int n_threads) { cuda_emulator::set_largest_block(n_threads); }
void set_largest_grid(unsigned n_blocks) { cuda_emulator::set_largest_grid(n_blocks); }
void reset() { cuda_emulator::reset(); }

}  // namespace idem::twin_device
