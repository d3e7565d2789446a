// cuda.h - the only CUDA header kernel files include: the real runtime under nvcc, the tests' emulation
// (IDEM_CUDA_HEADER) under the C++ compiler, nothing in a CPU build.
//
// Rules that keep a kernel runnable in both worlds: shared memory only by the two macros, launches only by cu::launch,
// arguments are plain structs by value, any multiple of 32 as block size (cu::threads), no return before a barrier,
// full warp masks, no float atomics, no waiting for another block.
//   CU_SHARED(float, tile, [32][33]);   static shared array
//   CU_DYN_SHARED(float, buffer);       dynamic shared memory, its size given at the launch
//   cu::launch(name, kernel, grid, block, shared_bytes, stream, arguments...)   throws DeviceError; an empty grid is no
//                                                                               launch
//   cu::threads(256)                    the block size to use where 256 would be best (tests make it smaller)
//   cu::grid_extent(n)                  as many blocks as there is work for, or as a grid can have (tests allow fewer)
//   cu::launch_rows(...)                element-wise kernels in one line
#pragma once

#include "kernels/common/operation.h"
#include "kernels/common/planning.h"

#if IDEM_COMPILES_CUDA_TWINS

// Put before a loop. Arrays of a thread stay in registers only where every index is a constant; UNROLLED_BY(1): a long
// body is there once.
#if defined(__CUDACC__)
#define CU_PRAGMA(words) _Pragma(#words)
#define UNROLLED CU_PRAGMA(unroll)
#define UNROLLED_BY(n) CU_PRAGMA(unroll n)
#else
#define UNROLLED
#define UNROLLED_BY(n)
#endif

#include <limits>
#include <string>

namespace idem::cu {
constexpr std::size_t kMostSharedBytes = 99 * 1024;  // of a block, that every card has from compute capability 8.0 on
}

#if defined(__CUDACC__)

#include <cuda_runtime.h>
#include <nvtx3/nvToolsExt.h>

#define CU_SHARED(T, name, dims) __shared__ __align__(16) T name dims
#define CU_DYN_SHARED(T, name)                                       \
  extern __shared__ __align__(16) unsigned char cu_dynamic_shared[]; \
  T* name = reinterpret_cast<T*>(cu_dynamic_shared)

namespace idem::cu {

inline int threads(int preferred) { return preferred; }
inline unsigned blocks(unsigned limit) { return limit; }

// What profilers show a launch under; costs nothing without one.
struct NamedRange {
  explicit NamedRange(const char* name) { nvtxRangePushA(name); }
  ~NamedRange() { nvtxRangePop(); }
  NamedRange(const NamedRange&) = delete;
  NamedRange& operator=(const NamedRange&) = delete;
};

inline void check(cudaError_t status, const char* kernel, dim3 grid, dim3 block, std::size_t shared_bytes) {
  if (status == cudaSuccess) return;
  std::string message =
      std::string("kernel ") + kernel + ": " + cudaGetErrorString(status) + " (" + cudaGetErrorName(status) + ")";
  if (status == cudaErrorNoKernelImageForDevice || status == cudaErrorInvalidDeviceFunction) {
    message +=
        ": this build holds no code for the GPU; configure with -DCMAKE_CUDA_ARCHITECTURES=native and build again";
  } else if (status == cudaErrorInvalidConfiguration || status == cudaErrorInvalidValue ||
             status == cudaErrorLaunchOutOfResources) {
    message += ": grid " + std::to_string(grid.x) + "x" + std::to_string(grid.y) + "x" + std::to_string(grid.z) +
               ", block " + std::to_string(block.x) + "x" + std::to_string(block.y) + "x" + std::to_string(block.z) +
               ", " + std::to_string(shared_bytes) +
               " bytes of shared memory; lower the batch, the window or the model's widths, or use --device cpu";
  } else {
    message +=
        ": this or an earlier kernel failed; configure with -DSYNC_AFTER_LAUNCH=ON to learn which, or use --device cpu";
  }
  throw DeviceError(message);
}

template <class... Parameters, class... Arguments>
void launch(const char* name, void (*kernel)(Parameters...), dim3 grid, dim3 block, std::size_t shared_bytes,
            Stream stream, Arguments&&... arguments) {
  if (grid.x == 0 || grid.y == 0 || grid.z == 0) return;
  if (is_planning || shared_bytes > 48 * 1024) {
    cudaFuncAttributes attributes{};
    check(cudaFuncGetAttributes(&attributes, kernel), name, grid, block, shared_bytes);  // which loads the kernel, too
    // Raised only: a recorded launch of the same kernel may need more than this one.
    if (shared_bytes > 48 * 1024 && attributes.maxDynamicSharedSizeBytes < static_cast<int>(shared_bytes))
      check(cudaFuncSetAttribute(kernel, cudaFuncAttributeMaxDynamicSharedMemorySize, static_cast<int>(shared_bytes)),
            name, grid, block, shared_bytes);
  }
  if (is_planning) return;
  const NamedRange range(name);
  kernel<<<grid, block, shared_bytes, stream>>>(static_cast<Parameters>(arguments)...);
  check(cudaGetLastError(), name, grid, block, shared_bytes);
#if defined(IDEM_SYNC_AFTER_LAUNCH)
  cudaStreamCaptureStatus capture = cudaStreamCaptureStatusNone;
  check(cudaStreamIsCapturing(stream, &capture), name, grid, block, shared_bytes);
  if (capture == cudaStreamCaptureStatusNone) check(cudaStreamSynchronize(stream), name, grid, block, shared_bytes);
#endif
}

}  // namespace idem::cu

#else
#include IDEM_CUDA_HEADER  // defines the same macros and functions
#endif

namespace idem::cu {

// Grid extents: x may be large, y may not (65,535). Kernels that launch on these loop on by gridDim.
inline unsigned grid_extent(std::int64_t n, unsigned limit = 65535) {
  limit = blocks(limit);
  return n < limit ? static_cast<unsigned>(n < 0 ? 0 : n) : limit;
}

// Same order of additions on every run: a butterfly over the 32 lanes, each of which gets the sum.
template <class T>
static __device__ __forceinline__ T warp_sum(T value) {
  for (int offset = 16; offset > 0; offset /= 2) value += __shfl_xor_sync(0xffffffffu, value, offset);
  return value;
}
template <class T>
static __device__ __forceinline__ T warp_max(T value) {
  for (int offset = 16; offset > 0; offset /= 2) {
    const T other = __shfl_xor_sync(0xffffffffu, value, offset);
    value = other > value ? other : value;
  }
  return value;
}

// A thread's part of all elements of the active members: rows along y of block and x of grid, features along x of
// block, members along y of grid.
template <class Body>
static __device__ __forceinline__ void for_each_of_grid(const FleetExtent& fleet, std::int64_t n_rows,
                                                        std::int32_t n_features, const Body& body) {
  for (std::int64_t member = blockIdx.y; member < fleet.n_members; member += gridDim.y) {
    if (!fleet.is_active(member)) continue;
    for (std::int64_t row = static_cast<std::int64_t>(blockIdx.x) * blockDim.y + threadIdx.y; row < n_rows;
         row += static_cast<std::int64_t>(gridDim.x) * blockDim.y) {
      for (std::int32_t feature = static_cast<std::int32_t>(threadIdx.x); feature < n_features;
           feature += static_cast<std::int32_t>(blockDim.x)) {
        body(member, row, feature);
      }
    }
  }
}

// The launch for that: features run along the threads of a warp, so that neighbours read neighbours; one feature gives
// one thread per row.
struct RowsShape {
  dim3 grid, block;
  RowsShape(const FleetExtent& fleet, std::int64_t n_rows, std::int32_t n_features) {
    const unsigned most = static_cast<unsigned>(threads(256));
    unsigned along_features = 1;
    while (along_features < most && along_features < static_cast<unsigned>(n_features)) along_features *= 2;
    const unsigned along_rows = along_features < most ? most / along_features : 1;
    if (along_features > most) along_features = most;
    block = dim3(along_features, along_rows);
    grid = dim3(n_features > 0
                    ? grid_extent((n_rows + along_rows - 1) / along_rows, std::numeric_limits<std::int32_t>::max())
                    : 0,
                grid_extent(fleet.n_members));
  }
};

template <class Body>
__global__ void rows_kernel(FleetExtent fleet, std::int64_t n_rows, std::int32_t n_features, Body body) {
  for_each_of_grid(fleet, n_rows, n_features, body);
}

// Calls body(member, row, feature) once for every element of every active member. body: a struct with an HD call
// operator, copied to the device.
template <class Body>
void launch_rows(const char* name, const FleetExtent& fleet, std::int64_t n_rows, std::int32_t n_features,
                 const Body& body, Stream stream) {
  const RowsShape shape(fleet, n_rows, n_features);
  launch(name, rows_kernel<Body>, shape.grid, shape.block, 0, stream, fleet, n_rows, n_features, body);
}

}  // namespace idem::cu

#endif  // IDEM_COMPILES_CUDA_TWINS
