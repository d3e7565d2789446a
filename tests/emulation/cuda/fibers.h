// fibers.h - a fiber for each CUDA thread, and which of them runs next.
#pragma once

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <cstdio>
#include <cstring>
#include <stdexcept>

#include "tests/emulation/cuda/language.h"
#include "tests/emulation/cuda/sanitizers.h"

#if !defined(__x86_64__)
#error "the emulation switches stacks by x86-64 assembly: build its tests on such a machine"
#endif

namespace cuda_emulator {

struct Error : std::runtime_error {
  using std::runtime_error::runtime_error;
};

// Where a thread waits. An optimiser may duplicate a call, so its address tells two places apart only in unoptimised
// builds.
struct Site {
  const char *file = "", *operation = "";
  int line = 0;
  const void* address = nullptr;

  bool operator==(const Site& other) const {
    const auto same = [](const char* a, const char* b) { return a == b || !std::strcmp(a, b); };
    return line == other.line && address == other.address && same(file, other.file) && same(operation, other.operation);
  }
};
#if defined(__OPTIMIZE__)
#define CUDA_EMULATOR_ADDRESS nullptr
#else
#define CUDA_EMULATOR_ADDRESS __builtin_return_address(0)
#endif
#define CUDA_EMULATOR_AT const char *file = __builtin_FILE(), int line = __builtin_LINE()

enum class ThreadState : unsigned char { ready, at_barrier, in_collective, exited };

constexpr int kMaxThreads = 1024, kWarps = kMaxThreads / 32;
constexpr std::size_t kStackBytes = 256 << 10, kGuardBytes = 4096;
constexpr std::size_t kStaticSharedBytes = 48 << 10, kSharedBytes = 99 << 10;  // of the cards that have least
constexpr int kMaxSharedArrays = 32;
#if defined(CUDA_EMULATOR_TSAN)
constexpr int kFiberSets = 2;      // neighbouring blocks use different fibers, so that races between blocks are seen
constexpr int kLargestBlock = 96;  // newer thread sanitizers lose track of more threads than about a hundred
#else
constexpr int kFiberSets = 1;
constexpr int kLargestBlock = kMaxThreads;
#endif

struct Fiber;
using Collective = void (*)(Fiber** lanes, unsigned participants);  // lanes[i] is valid where bit i is set

struct Fiber {
  void *stack_pointer = nullptr, *tsan_fiber = nullptr;
  char* stack = nullptr;
  std::size_t stack_bytes = 0;
  ThreadState state = ThreadState::exited;
  int thread = 0, argument = 0, width = 32;
  unsigned mask = 0, n_barriers = 0, n_warp_syncs = 0;
  Site site;
  Collective collective = nullptr;
  uint3 index{};
  unsigned char sent[8], received[8];
};

struct SharedArray {
  const void* key;
  void* memory;
};

struct State {
  Fiber pool[kFiberSets][kMaxThreads], main;
  Fiber *fibers = nullptr, *current = nullptr;
  int ready[kMaxThreads];  // ring buffer
  unsigned head = 0, tail = 0;
  int n_threads = 0, n_alive = 0, n_at_barrier = 0, predicate_sum = 0, barrier_result = 0, set = 0;
  unsigned alive_lanes[kWarps], waiting_lanes[kWarps];
  SharedArray shared[kMaxSharedArrays];
  int n_shared = 0;
  std::size_t dynamic_bytes = 0, static_bytes = 0;
  void *dynamic_shared = nullptr, *call = nullptr;
  void (*invoke)(void*) = nullptr;
  bool failed = false;
  char error[2048];
  unsigned schedule = 0;
  std::uint64_t random = 1;
  int largest_block = kLargestBlock;
  unsigned largest_grid = ~0u;
  // Addresses stand for the events that order threads.
  char launch_event, end_event, fence_event, barrier_event[kFiberSets][2], warp_event[kFiberSets][kWarps][2];
};
inline State state;

inline void set_schedule(unsigned schedule) {
  state.schedule = schedule;
  state.random = schedule * 0x9E3779B97F4A7C15ull + 1;
}
// Kernels that ask for their block size (cu::threads) get at most this many threads.
inline void set_largest_block(int n_threads) { state.largest_block = std::min(n_threads, kLargestBlock); }
// Kernels whose blocks go on to further work get a grid of at most this many blocks along each axis.
inline void set_largest_grid(unsigned n_blocks) { state.largest_grid = n_blocks; }
inline void reset() {
  set_schedule(0);
  set_largest_grid(~0u);
  set_largest_block(kMaxThreads);
}

CUDA_EMULATOR_RUNTIME inline unsigned random_bits() {
  state.random ^= state.random << 13;
  state.random ^= state.random >> 7;
  state.random ^= state.random << 17;
  return static_cast<unsigned>(state.random >> 32);
}

__attribute__((naked, noinline)) inline void swap_stack(void**, void*) {
  __asm__(
      "pushq %rbp; pushq %rbx; pushq %r12; pushq %r13; pushq %r14; pushq %r15\n"
      "movq %rsp,(%rdi); movq %rsi,%rsp\n"
      "popq %r15; popq %r14; popq %r13; popq %r12; popq %rbx; popq %rbp; ret");
}

CUDA_EMULATOR_RUNTIME inline void switch_to(Fiber* to) {
  Fiber* from = state.current;
  state.current = to;
  threadIdx = to->index;
#if defined(CUDA_EMULATOR_TSAN)
  __tsan_switch_to_fiber(to->tsan_fiber, 1);  // 1: the switch orders nothing
#endif
#if defined(CUDA_EMULATOR_ASAN)
  void* fake_stack = nullptr;
  const bool leaves = from->state == ThreadState::exited && from != &state.main;
  __sanitizer_start_switch_fiber(leaves ? nullptr : &fake_stack, to->stack, to->stack_bytes);
#endif
  swap_stack(&from->stack_pointer, to->stack_pointer);
#if defined(CUDA_EMULATOR_ASAN)
  __sanitizer_finish_switch_fiber(fake_stack, nullptr, nullptr);
#endif
}

CUDA_EMULATOR_RUNTIME inline void make_ready(Fiber* fiber) {
  fiber->state = ThreadState::ready;
  state.ready[state.tail++ % kMaxThreads] = fiber->thread;
}
CUDA_EMULATOR_RUNTIME inline void make_all_ready() {
  for (int i = 0; i < state.n_threads; ++i)
    make_ready(&state.fibers[state.schedule == 1 ? state.n_threads - 1 - i : i]);
}

// Ends the launch; the fiber is never resumed. (Not [[noreturn]]: the address sanitizer would unwind the thread's own
// stack.)
template <class... Values>
CUDA_EMULATOR_RUNTIME void fail(const char* format, Values... values) {
  const int used = std::snprintf(state.error, sizeof state.error, "block (%u,%u,%u) thread %d: ", blockIdx.x,
                                 blockIdx.y, blockIdx.z, state.current->thread);
  std::snprintf(state.error + used, sizeof state.error - static_cast<std::size_t>(used), format, values...);
  state.failed = true;
  switch_to(&state.main);
}

// The next thread to run; main when none can.
CUDA_EMULATOR_RUNTIME inline Fiber* next_fiber() {
  if (state.head == state.tail && state.n_alive > 0 && state.n_at_barrier == state.n_alive &&
      state.n_alive == state.n_threads) {
    for (int thread = 1; thread < state.n_threads; ++thread) {
      if (!(state.fibers[thread].site == state.fibers[0].site))
        return &state.main;  // different barriers: main reports them
    }
    state.barrier_result = state.predicate_sum;
    state.n_at_barrier = state.predicate_sum = 0;
    make_all_ready();
  }
  if (state.head == state.tail) return &state.main;
  int* first = &state.ready[state.head++ % kMaxThreads];
  int* chosen = state.schedule < 2
                    ? first
                    : &state.ready[(state.head - 1 + random_bits() % (state.tail - state.head + 1)) % kMaxThreads];
  const int thread = *chosen;
  *chosen = *first;
  return &state.fibers[thread];
}
CUDA_EMULATOR_RUNTIME inline void yield() {
  Fiber* next = next_fiber();
  if (next != state.current) switch_to(next);
}
CUDA_EMULATOR_RUNTIME inline void shake_order_of_atomics() {
  if (state.schedule < 2 || !state.current || state.current == &state.main || random_bits() % 4 != 0) return;
  make_ready(state.current);
  yield();
}

CUDA_EMULATOR_RUNTIME inline int barrier(const char* operation, int predicate, const char* file, int line) {
  Fiber* self = state.current;
  self->state = ThreadState::at_barrier;
  self->site = {file, operation, line, CUDA_EMULATOR_ADDRESS};
  ++state.n_at_barrier;
  state.predicate_sum += predicate != 0;
  void* event = &state.barrier_event[state.set][self->n_barriers++ % 2];
  __tsan_release(event);
  yield();
  __tsan_acquire(event);
  return state.barrier_result;
}

}  // namespace cuda_emulator
