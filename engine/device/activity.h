// activity.h - what a GPU ran, as it saw it itself.
#pragma once

#include <cstdint>
#include <string>

namespace idem {

// How a kernel was started, and how well that fills the GPU.
struct LaunchShape {
  std::int64_t blocks = 0, threads = 0;  // of the grid; of a block
  std::int32_t registers = 0;            // of a thread
  std::int64_t shared_bytes = 0;         // of a block, static and dynamic
  double waves = 0;                      // how often the blocks fill all multiprocessors: 1.1 takes as long as 2
  double occupancy = 0;                  // of a multiprocessor's warps, those that are there at once: 0 to 1
};

// One kernel, copy or filling.
struct Activity {
  std::int64_t operation = -1;            // what Device::attribute_to was last given when it was asked for
  std::string kernel;                     // the function's name without its arguments; "copy", "fill"
  std::int64_t begin_ns = 0, end_ns = 0;  // of a clock that begins long ago: only differences are exact in seconds
  LaunchShape launch;                     // of kernels
};

}  // namespace idem
