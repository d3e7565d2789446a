// blocks.h - runs the blocks of a grid: the threads' stacks and shared memory, their end, and why a block is stuck.
#pragma once

#include <sys/mman.h>

#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <exception>
#include <string>
#include <utility>
#include <vector>

#include "tests/emulation/cuda/warps.h"

namespace cuda_emulator {

CUDA_EMULATOR_RUNTIME inline void exit_thread() {
  Fiber* self = state.current;
  self->state = ThreadState::exited;
  --state.n_alive;
  const int warp = self->thread / 32, own_lane = self->thread % 32;
  state.alive_lanes[warp] &= ~(1u << own_lane);
  for (int i = 0; i < 32; ++i) {  // lanes may be waiting for this one alone
    Fiber* lane = &state.fibers[warp * 32 + i];
    if ((state.waiting_lanes[warp] >> i & 1) && (lane->mask >> own_lane & 1)) complete(lane);
  }
  switch_to(next_fiber());
}
CUDA_EMULATOR_RUNTIME inline void enter_thread() {
#if defined(CUDA_EMULATOR_ASAN)
  const void* bottom = nullptr;
  std::size_t size = 0;
  __sanitizer_finish_switch_fiber(nullptr, &bottom, &size);
  if (!state.main.stack) {  // the first switch of all comes from main
    state.main.stack = static_cast<char*>(const_cast<void*>(bottom));
    state.main.stack_bytes = size;
  }
#endif
  __tsan_acquire(&state.launch_event);
  try {
    state.invoke(state.call);
  } catch (const std::exception& error) {
    fail("exception in a kernel: %s", error.what());
  }
  __tsan_release(&state.end_event);
  exit_thread();
}

CUDA_EMULATOR_RUNTIME inline void* shared_array(const void* key, std::size_t bytes) {
  for (int i = 0; i < state.n_shared; ++i) {
    if (state.shared[i].key == key) return state.shared[i].memory;
  }
  state.static_bytes += bytes;
  if (state.static_bytes > kStaticSharedBytes || state.n_shared == kMaxSharedArrays) {
    fail("static shared memory of %zu bytes is over 48 KiB, or over %d arrays", state.static_bytes, kMaxSharedArrays);
  }
  if (state.static_bytes + state.dynamic_bytes > kSharedBytes) {
    fail("shared memory of %zu bytes is over 99 KiB", state.static_bytes + state.dynamic_bytes);
  }
  Unseen unseen;
  void* memory = std::malloc(bytes);
  std::memset(memory, 0xFF, bytes);
  state.shared[state.n_shared++] = {key, memory};
  return memory;
}

CUDA_EMULATOR_RUNTIME inline void report_stuck_block() {
  std::string message = "divergent barrier or deadlock:";
  std::vector<char> told(static_cast<std::size_t>(state.n_threads), 0);
  for (int first = 0; first < state.n_threads; ++first) {
    if (told[static_cast<std::size_t>(first)]) continue;
    const Fiber& example = state.fibers[first];
    int n_alike = 0;
    for (int thread = first; thread < state.n_threads; ++thread) {
      const Fiber& other = state.fibers[thread];
      if (told[static_cast<std::size_t>(thread)] || other.state != example.state) continue;
      if (example.state != ThreadState::exited && !(other.site == example.site)) continue;
      told[static_cast<std::size_t>(thread)] = 1;
      ++n_alike;
    }
    message += "\n  " + std::to_string(n_alike) + " thread(s), first is " + std::to_string(first) + ", ";
    message += example.state == ThreadState::exited ? "exited"
                                                    : std::string("wait in ") + example.site.operation + " at " +
                                                          example.site.file + ":" + std::to_string(example.site.line);
  }
  state.failed = true;
  std::snprintf(state.error, sizeof state.error, "block (%u,%u,%u): %s", blockIdx.x, blockIdx.y, blockIdx.z,
                message.c_str());
}

CUDA_EMULATOR_RUNTIME inline void run_block() {
  state.n_alive = state.n_threads;
  state.n_at_barrier = state.predicate_sum = state.n_shared = 0;
  state.head = state.tail = 0;
  state.static_bytes = 0;
  for (int thread = 0; thread < state.n_threads; ++thread) {
    Fiber* fiber = &state.fibers[thread];
    fiber->thread = thread;
    fiber->n_barriers = fiber->n_warp_syncs = 0;
    const unsigned t = static_cast<unsigned>(thread);
    fiber->index = {t % blockDim.x, t / blockDim.x % blockDim.y, t / (blockDim.x * blockDim.y)};
    // Stack tops are staggered: on the same cache set 1024 of them would evict each other.
    void** stack_pointer = reinterpret_cast<void**>(fiber->stack + fiber->stack_bytes - thread % 32 * 128) - 1;
    *--stack_pointer = reinterpret_cast<void*>(enter_thread);
    for (int saved_register = 0; saved_register < 6; ++saved_register) *--stack_pointer = nullptr;
    fiber->stack_pointer = stack_pointer;
    state.alive_lanes[thread / 32] = thread % 32 ? state.alive_lanes[thread / 32] | 1u << (thread % 32) : 1u;
    state.waiting_lanes[thread / 32] = 0;
  }
  make_all_ready();
  {
    Unseen unseen;
    state.dynamic_shared = state.dynamic_bytes ? std::malloc(state.dynamic_bytes) : nullptr;
    if (state.dynamic_shared) std::memset(state.dynamic_shared, 0xFF, state.dynamic_bytes);
  }
  switch_to(next_fiber());
  if (!state.failed && state.n_alive > 0) report_stuck_block();
  for (int thread = 0; state.failed && thread < state.n_threads;
       ++thread) {  // abandoned fibers: order them before main, clean their stacks
#if defined(CUDA_EMULATOR_TSAN)
    __tsan_switch_to_fiber(state.fibers[thread].tsan_fiber, 0);
    __tsan_switch_to_fiber(state.main.tsan_fiber, 0);
#endif
#if defined(CUDA_EMULATOR_ASAN)
    __asan_unpoison_memory_region(state.fibers[thread].stack, state.fibers[thread].stack_bytes);
#endif
  }
  Unseen unseen;
  for (int i = 0; i < state.n_shared; ++i) std::free(state.shared[i].memory);
  std::free(state.dynamic_shared);
}

CUDA_EMULATOR_RUNTIME inline void prepare_stacks() {
  for (auto& set : state.pool) {
    for (int thread = 0; thread < state.n_threads; ++thread) {
      if (set[thread].stack) continue;
      void* memory = mmap(nullptr, kStackBytes + kGuardBytes, PROT_READ | PROT_WRITE,
                          MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
      if (memory == MAP_FAILED || mprotect(memory, kGuardBytes, PROT_NONE))
        throw Error("no memory for the stacks of emulated threads");
      set[thread].stack = static_cast<char*>(memory) + kGuardBytes;
      set[thread].stack_bytes = kStackBytes;
#if defined(CUDA_EMULATOR_TSAN)
      set[thread].tsan_fiber = __tsan_create_fiber(0);
#endif
    }
  }
#if defined(CUDA_EMULATOR_TSAN)
  state.main.tsan_fiber = __tsan_get_current_fiber();
#endif
}

CUDA_EMULATOR_RUNTIME inline void run_grid(const char* name, dim3 grid, dim3 block, std::size_t dynamic_bytes,
                                           void (*invoke)(void*), void* call) {
  const std::size_t n_threads = std::size_t{block.x} * block.y * block.z,
                    n_blocks = std::size_t{grid.x} * grid.y * grid.z;
  if (n_threads < 1 || n_threads > kMaxThreads || block.z > 64 || dynamic_bytes > kSharedBytes || n_blocks == 0 ||
      grid.x > 0x7fffffffu || grid.y > 65535 || grid.z > 65535) {
    throw Error(std::string("kernel ") + name + ": invalid launch configuration");
  }
  if (state.current) throw Error(std::string("kernel ") + name + ": launched inside a kernel");
  state.n_threads = static_cast<int>(n_threads);
  prepare_stacks();
  state.current = &state.main;
  state.failed = false;
  state.dynamic_bytes = dynamic_bytes;
  state.invoke = invoke;
  state.call = call;
  gridDim = grid;
  blockDim = block;
  __tsan_release(&state.launch_event);
  std::vector<unsigned> order(n_blocks);
  for (std::size_t i = 0; i < n_blocks; ++i)
    order[i] = static_cast<unsigned>(state.schedule == 1 ? n_blocks - 1 - i : i);
  for (std::size_t i = n_blocks; state.schedule >= 2 && i > 1; --i) std::swap(order[i - 1], order[random_bits() % i]);
  for (std::size_t i = 0; i < n_blocks && !state.failed; ++i) {
    state.set = static_cast<int>(i % kFiberSets);
    state.fibers = state.pool[state.set];
    blockIdx = {order[i] % grid.x, order[i] / grid.x % grid.y, order[i] / (grid.x * grid.y)};
    run_block();
  }
  __tsan_acquire(&state.end_event);
  state.current = nullptr;
  if (state.failed) throw Error(std::string("kernel ") + name + ": " + state.error);
}

}  // namespace cuda_emulator
