// launch.h - launches of kernels, run or recorded, and the sort in the place of CUB's.
#pragma once

#include <algorithm>
#include <cstdint>
#include <cstring>
#include <string>
#include <tuple>
#include <type_traits>
#include <utility>

#include "tests/emulation/cuda/blocks.h"
#include "tests/emulation/cuda/recording.h"

namespace idem::cu {

inline int threads(int preferred) { return std::min(preferred, cuda_emulator::state.largest_block / 32 * 32); }
inline unsigned blocks(unsigned limit) { return std::min(limit, cuda_emulator::state.largest_grid); }

template <class... Parameters, class... Arguments>
void launch(const char* name, void (*kernel)(Parameters...), dim3 grid, dim3 block, std::size_t shared_bytes,
            Stream stream, Arguments&&... arguments) {
  if (grid.x == 0 || grid.y == 0 || grid.z == 0) return;
  struct Call {
    void (*kernel)(Parameters...);
    std::tuple<std::decay_t<Parameters>...> arguments;
  } call{kernel, {static_cast<Parameters>(arguments)...}};
  const auto run = [name, grid, block, shared_bytes, call] {
    const cuda_emulator::OpenDeviceMemory open;
    Call now = call;
    cuda_emulator::run_grid(
        name, grid, block, shared_bytes,
        [](void* made) {
          auto* it = static_cast<Call*>(made);
          std::apply(it->kernel, it->arguments);
        },
        &now);
  };
  auto* recording = cuda_emulator::recording;
  if (!recording) return run();
  if (stream != recording->stream)
    throw cuda_emulator::Error(std::string("kernel ") + name + ": not launched on the stream that is recorded");
  cuda_emulator::Operation operation{name, {}, run};
  cuda_emulator::append_bytes(operation.arguments, kernel);
  for (const dim3 extent : {grid, block}) cuda_emulator::append_bytes(operation.arguments, extent);
  cuda_emulator::append_bytes(operation.arguments, shared_bytes);
  std::apply([&](const auto&... values) { (cuda_emulator::append_bytes(operation.arguments, values), ...); },
             call.arguments);
  recording->operations.push_back(std::move(operation));
}

// In the place of CUB's (kernels/common/sort.h). One thread sorts, so that it is recorded, ordered and kept to the
// device's memory as a kernel is; the scratch is left as it may be: without meaning.
inline std::size_t sort_bytes(std::int64_t n, int, int) { return static_cast<std::size_t>(n) * sizeof(std::uint64_t); }
inline void sort_kernel(void* scratch, std::size_t scratch_bytes, const std::uint64_t* keys, std::uint64_t* sorted,
                        std::int64_t n, int first_bit, int end_bit) {
  const auto bits = [=](std::uint64_t key) { return key << (64 - end_bit) >> (64 - end_bit + first_bit); };
  std::copy_n(keys, n, sorted);
  std::stable_sort(sorted, sorted + n, [&](std::uint64_t a, std::uint64_t b) { return bits(a) < bits(b); });
  std::memset(scratch, 0xFF, scratch_bytes);
}
inline void sort(const char* name, void* scratch, std::size_t scratch_bytes, const std::uint64_t* keys,
                 std::uint64_t* sorted, std::int64_t n, int first_bit, int end_bit, Stream stream) {
  if (scratch_bytes < sort_bytes(n, first_bit, end_bit))
    throw cuda_emulator::Error(std::string(name) + ": too little scratch to sort");
  launch(name, sort_kernel, 1, 1, 0, stream, scratch, scratch_bytes, keys, sorted, n, first_bit, end_bit);
}

}  // namespace idem::cu
