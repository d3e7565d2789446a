// cuda_emulator.h - runs the CUDA twins of the kernel files on the CPU, so that they are tested where there is no GPU.
//
// One fiber per CUDA thread, blocks one after another. A fiber runs until a barrier, a warp collective or (in random
// order) an atomic. Found:
//   divergent barriers and deadlocks          Error naming where each group of threads waits
//   wrong or mismatching warp masks           Error naming the lanes
//   out of bounds                             each shared array is its own allocation: -fsanitize=address has red zones
//                                             around it
//   uninitialised shared memory, dead lanes   read as 0xFF bytes, which are NaN
//   races, in shared and in global memory     -fsanitize=thread; barriers and __syncwarp alone order threads
//   impossible launches                       Error
// Schedules: 0 ascending order of threads and blocks, 1 descending, 2 and above random but reproducible. A test device
// may record launches instead of running them, as a CUDA graph does (Recording), and open its memory for kernels alone
// (open_device_memory). Not modelled: weak memory order, the last bits of the device's maths functions, performance.
// One launch at a time, from one host thread.
#pragma once

#include "tests/emulation/cuda/blocks.h"
#include "tests/emulation/cuda/device_functions.h"
#include "tests/emulation/cuda/fibers.h"
#include "tests/emulation/cuda/language.h"
#include "tests/emulation/cuda/launch.h"
#include "tests/emulation/cuda/recording.h"
#include "tests/emulation/cuda/sanitizers.h"
#include "tests/emulation/cuda/tensor_cores.h"
#include "tests/emulation/cuda/warps.h"
