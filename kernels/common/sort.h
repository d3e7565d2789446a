// sort.h - CUB's radix sort for kernel files: the real one under nvcc, the tests' (cuda_emulator.h) under the C++
// compiler. In a header of its own, as CUB takes long to compile.
//   cu::sort_bytes(n, first_bit, end_bit)    scratch that a sort of n keys takes
//   cu::sort(name, scratch, scratch_bytes, keys, sorted, n, first_bit, end_bit, stream)
//                                            keys by their bits from first_bit to before end_bit; equals stay in order
// Only launches: a sort may be captured. While planning it runs, on whatever its keys are, so that its kernels are
// loaded before a recording.
#pragma once

#include "kernels/common/cuda.h"

#if defined(__CUDACC__)

#include <cub/device/device_radix_sort.cuh>

namespace idem::cu {

inline std::size_t sort_bytes(std::int64_t n, int first_bit, int end_bit) {
  std::size_t bytes = 0;
  const std::uint64_t* keys = nullptr;
  check(
      cub::DeviceRadixSort::SortKeys(nullptr, bytes, keys, static_cast<std::uint64_t*>(nullptr), n, first_bit, end_bit),
      "sort_bytes", {}, {}, 0);
  return bytes;
}

inline void sort(const char* name, void* scratch, std::size_t scratch_bytes, const std::uint64_t* keys,
                 std::uint64_t* sorted, std::int64_t n, int first_bit, int end_bit, Stream stream) {
  const NamedRange range(name);
  check(cub::DeviceRadixSort::SortKeys(scratch, scratch_bytes, keys, sorted, n, first_bit, end_bit, stream), name, {},
        {}, 0);
}

}  // namespace idem::cu

#endif
