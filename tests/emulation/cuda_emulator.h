// cuda_emulator.h - runs the CUDA twins of the kernel files on the CPU, so that they are tested where there is no GPU.
//
// One fiber per CUDA thread, blocks one after another. A fiber runs until a barrier, a warp collective or (in random order) an atomic. Found:
//   divergent barriers and deadlocks          Error naming where each group of threads waits
//   wrong or mismatching warp masks           Error naming the lanes
//   out of bounds                             each shared array is its own allocation: -fsanitize=address has red zones around it
//   uninitialised shared memory, dead lanes   read as 0xFF bytes, which are NaN
//   races, in shared and in global memory     -fsanitize=thread; barriers and __syncwarp alone order threads
//   impossible launches                       Error
// Schedules: 0 ascending order of threads and blocks, 1 descending, 2 and above random but reproducible.
// A test device may record launches instead of running them, as a CUDA graph does (Recording), and open its memory for kernels alone
// (open_device_memory).
// Not modelled: weak memory order, the last bits of the device's maths functions, performance. One launch at a time, from one host thread.
#pragma once

#include <sys/mman.h>

#include <algorithm>
#include <bit>
#include <cmath>
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <functional>
#include <stdexcept>
#include <string>
#include <tuple>
#include <type_traits>
#include <vector>

#include "kernels/common/operation.h"

#if !defined(__x86_64__)
#error "the emulation switches stacks by x86-64 assembly: build its tests on such a machine"
#endif

#if defined(__SANITIZE_ADDRESS__)
#define CUDA_EMULATOR_ASAN 1
#elif defined(__SANITIZE_THREAD__)
#define CUDA_EMULATOR_TSAN 1
#elif defined(__has_feature)
#if __has_feature(address_sanitizer)
#define CUDA_EMULATOR_ASAN 1
#elif __has_feature(thread_sanitizer)
#define CUDA_EMULATOR_TSAN 1
#endif
#endif

// The runtime itself is no CUDA thread: its accesses must not be seen as theirs.
#if defined(__clang__)
#define CUDA_EMULATOR_RUNTIME __attribute__((noinline, disable_sanitizer_instrumentation, no_sanitize_thread, no_sanitize_address))
#else
#define CUDA_EMULATOR_RUNTIME __attribute__((noinline, no_sanitize_thread, no_sanitize_address))
#endif

extern "C" {
#if defined(CUDA_EMULATOR_ASAN)
void __sanitizer_start_switch_fiber(void** fake_stack, const void* bottom, std::size_t size);
void __sanitizer_finish_switch_fiber(void* fake_stack, const void** old_bottom, std::size_t* old_size);
void __asan_unpoison_memory_region(const volatile void* begin, std::size_t size);
#endif
#if defined(CUDA_EMULATOR_TSAN)
void* __tsan_create_fiber(unsigned flags);
void* __tsan_get_current_fiber(void);
void __tsan_switch_to_fiber(void* fiber, unsigned flags);
void __tsan_acquire(void* object);
void __tsan_release(void* object);
void AnnotateIgnoreReadsBegin(const char* file, int line);
void AnnotateIgnoreReadsEnd(const char* file, int line);
void AnnotateIgnoreWritesBegin(const char* file, int line);
void AnnotateIgnoreWritesEnd(const char* file, int line);
#else
inline void __tsan_acquire(void*) {}
inline void __tsan_release(void*) {}
#endif
}

// ---- qualifiers, shared memory and built-in variables ----------------------------------------------------------------------------------
#define __global__
#define __device__
#define __host__
#define __constant__ static
#define __forceinline__ inline __attribute__((always_inline))
#define __launch_bounds__(...)
#define __align__(n) alignas(n)
#define CU_SHARED(T, name, dims)       \
  static const char name##_key = 0;    \
  typedef T name##_array dims;         \
  auto& name = *static_cast<name##_array*>(cuda_emulator::shared_array(&name##_key, sizeof(name##_array)))
#define CU_DYN_SHARED(T, name) T* name = static_cast<T*>(cuda_emulator::state.dynamic_shared)

#define CUDA_EMULATOR_VECTORS(T, base, align2, align4)                                     \
  struct alignas(align2) base##2 { T x, y; };                                              \
  struct base##3 { T x, y, z; };                                                           \
  struct alignas(align4) base##4 { T x, y, z, w; };                                        \
  inline base##2 make_##base##2(T x, T y) { return {x, y}; }                               \
  inline base##3 make_##base##3(T x, T y, T z) { return {x, y, z}; }                       \
  inline base##4 make_##base##4(T x, T y, T z, T w) { return {x, y, z, w}; }
CUDA_EMULATOR_VECTORS(float, float, 8, 16)
CUDA_EMULATOR_VECTORS(int, int, 8, 16)
CUDA_EMULATOR_VECTORS(unsigned, uint, 8, 16)
CUDA_EMULATOR_VECTORS(double, double, 16, 16)
#undef CUDA_EMULATOR_VECTORS

struct dim3 {
  unsigned x, y, z;
  constexpr dim3(unsigned x_ = 1, unsigned y_ = 1, unsigned z_ = 1) : x(x_), y(y_), z(z_) {}
};
using cudaStream_t = CUstream_st*;
inline uint3 threadIdx{}, blockIdx{};
inline dim3 blockDim, gridDim;
constexpr int warpSize = 32;

// ---- fibers and their scheduler --------------------------------------------------------------------------------------------------------
namespace cuda_emulator {

struct Error : std::runtime_error {
  using std::runtime_error::runtime_error;
};

// Where a thread waits. An optimiser may duplicate a call, so its address tells two places apart only in unoptimised builds.
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
constexpr int kFiberSets = 2;       // neighbouring blocks use different fibers, so that races between blocks are seen
constexpr int kLargestBlock = 96;   // newer thread sanitizers lose track of more threads than about a hundred
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

// Operations kept to be run later, with the arguments of the moment they were recorded.
struct Operation {
  std::string name;
  std::vector<unsigned char> arguments;  // all that decides what it does, byte by byte
  std::function<void()> run;
};
struct Recording {
  idem::Stream stream = nullptr;  // the only one that may be launched on
  std::vector<Operation> operations;
};
inline Recording* recording = nullptr;  // while set, launches go there

// Called with true before a kernel runs and with false after it, so that a test device can keep the host away from its memory.
inline void (*open_device_memory)(bool open) = nullptr;
struct OpenDeviceMemory {
  OpenDeviceMemory() {
    if (open_device_memory) open_device_memory(true);
  }
  ~OpenDeviceMemory() {
    if (open_device_memory) open_device_memory(false);
  }
  OpenDeviceMemory(const OpenDeviceMemory&) = delete;
  OpenDeviceMemory& operator=(const OpenDeviceMemory&) = delete;
};

// The bytes of a value, those between its members as zeros where the compiler can say which they are (else none: values then count as equal).
template <class T>
void append_bytes(std::vector<unsigned char>& bytes, [[maybe_unused]] T value) {
  static_assert(std::is_trivially_copyable_v<T>, "a kernel's arguments are plain structs");
#if defined(__GNUC__) && !defined(__clang__)
  __builtin_clear_padding(&value);
  const auto* first = reinterpret_cast<const unsigned char*>(&value);
  bytes.insert(bytes.end(), first, first + sizeof value);
#endif
}

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

// Memory obtained inside counts as fresh: the thread sanitizer sees neither its earlier use nor the filling.
struct Unseen {
#if defined(CUDA_EMULATOR_TSAN)
  Unseen() {
    AnnotateIgnoreReadsBegin("", 0);
    AnnotateIgnoreWritesBegin("", 0);
  }
  ~Unseen() {
    AnnotateIgnoreWritesEnd("", 0);
    AnnotateIgnoreReadsEnd("", 0);
  }
#else
  ~Unseen() {}
#endif
};

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
  for (int i = 0; i < state.n_threads; ++i) make_ready(&state.fibers[state.schedule == 1 ? state.n_threads - 1 - i : i]);
}

// Ends the launch; the fiber is never resumed. (Not [[noreturn]]: the address sanitizer would unwind the thread's own stack.)
template <class... Values>
CUDA_EMULATOR_RUNTIME void fail(const char* format, Values... values) {
  const int used = std::snprintf(state.error, sizeof state.error, "block (%u,%u,%u) thread %d: ", blockIdx.x, blockIdx.y, blockIdx.z,
                                 state.current->thread);
  std::snprintf(state.error + used, sizeof state.error - static_cast<std::size_t>(used), format, values...);
  state.failed = true;
  switch_to(&state.main);
}

// The next thread to run; main when none can.
CUDA_EMULATOR_RUNTIME inline Fiber* next_fiber() {
  if (state.head == state.tail && state.n_alive > 0 && state.n_at_barrier == state.n_alive && state.n_alive == state.n_threads) {
    for (int thread = 1; thread < state.n_threads; ++thread) {
      if (!(state.fibers[thread].site == state.fibers[0].site)) return &state.main;  // different barriers: main reports them
    }
    state.barrier_result = state.predicate_sum;
    state.n_at_barrier = state.predicate_sum = 0;
    make_all_ready();
  }
  if (state.head == state.tail) return &state.main;
  int* first = &state.ready[state.head++ % kMaxThreads];
  int* chosen = state.schedule < 2 ? first : &state.ready[(state.head - 1 + random_bits() % (state.tail - state.head + 1)) % kMaxThreads];
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

// Does the collective that `waiting` is in, once every live lane of its mask has arrived.
CUDA_EMULATOR_RUNTIME inline bool complete(Fiber* waiting) {
  const int warp = waiting->thread / 32;
  const unsigned participants = waiting->mask & state.alive_lanes[warp];
  if (participants & ~state.waiting_lanes[warp]) return false;
  Fiber* lanes[32] = {};
  for (int i = 0; i < 32; ++i) {
    if (!(participants >> i & 1)) continue;
    Fiber* lane = lanes[i] = &state.fibers[warp * 32 + i];
    if (lane->mask != waiting->mask || !(lane->site == waiting->site)) {
      fail("warp collective mismatch: lane %d in %s mask %08x at %s:%d, lane %d in %s mask %08x at %s:%d", waiting->thread % 32,
           waiting->site.operation, waiting->mask, waiting->site.file, waiting->site.line, i, lane->site.operation, lane->mask, lane->site.file,
           lane->site.line);
    }
  }
  state.waiting_lanes[warp] &= ~participants;
  waiting->collective(lanes, participants);
  for (Fiber* lane : lanes) {
    if (lane && lane != state.current) make_ready(lane);
    if (lane && lane == state.current) lane->state = ThreadState::ready;
  }
  return true;
}
CUDA_EMULATOR_RUNTIME inline void join_collective(const char* operation, unsigned mask, Collective collective, const char* file, int line,
                                                  const void* address) {
  Fiber* self = state.current;
  if (!(mask >> (self->thread % 32) & 1)) fail("%s at %s:%d: calling lane is not in its mask %08x", operation, file, line, mask);
  self->state = ThreadState::in_collective;
  self->mask = mask;
  self->collective = collective;
  self->site = {file, operation, line, address};
  state.waiting_lanes[self->thread / 32] |= 1u << (self->thread % 32);
  if (!complete(self)) yield();
}

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
    message += example.state == ThreadState::exited
                   ? "exited"
                   : std::string("wait in ") + example.site.operation + " at " + example.site.file + ":" + std::to_string(example.site.line);
  }
  state.failed = true;
  std::snprintf(state.error, sizeof state.error, "block (%u,%u,%u): %s", blockIdx.x, blockIdx.y, blockIdx.z, message.c_str());
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
  for (int thread = 0; state.failed && thread < state.n_threads; ++thread) {  // abandoned fibers: order them before main, clean their stacks
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
      void* memory =
          mmap(nullptr, kStackBytes + kGuardBytes, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
      if (memory == MAP_FAILED || mprotect(memory, kGuardBytes, PROT_NONE)) throw Error("no memory for the stacks of emulated threads");
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

CUDA_EMULATOR_RUNTIME inline void run_grid(const char* name, dim3 grid, dim3 block, std::size_t dynamic_bytes, void (*invoke)(void*), void* call) {
  const std::size_t n_threads = std::size_t{block.x} * block.y * block.z, n_blocks = std::size_t{grid.x} * grid.y * grid.z;
  if (n_threads < 1 || n_threads > kMaxThreads || block.z > 64 || dynamic_bytes > kSharedBytes || n_blocks == 0 || grid.x > 0x7fffffffu ||
      grid.y > 65535 || grid.z > 65535) {
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
  for (std::size_t i = 0; i < n_blocks; ++i) order[i] = static_cast<unsigned>(state.schedule == 1 ? n_blocks - 1 - i : i);
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

// ---- warp collectives ------------------------------------------------------------------------------------------------------------------
enum class Shuffle { index, up, down, exclusive_or };

template <Shuffle kind>
CUDA_EMULATOR_RUNTIME void exchange(Fiber** lanes, unsigned participants) {
  for (int i = 0; i < 32; ++i) {
    if (!(participants >> i & 1)) continue;
    Fiber* lane = lanes[i];
    const int argument = lane->argument, width = lane->width, base = i & ~(width - 1), last = base + width - 1;
    int source = i;
    if (kind == Shuffle::index) source = base + (argument & (width - 1));
    if (kind == Shuffle::up && i - argument >= base) source = i - argument;
    if (kind == Shuffle::down && i + argument <= last) source = i + argument;
    if (kind == Shuffle::exclusive_or && (i ^ argument) <= last) source = i ^ argument;
    if (participants >> source & 1) {
      std::memcpy(lane->received, lanes[source]->sent, 8);
    } else {
      std::memset(lane->received, 0xFF, 8);  // a lane that takes no part has no value to give
    }
  }
}
template <Shuffle kind, class T>
CUDA_EMULATOR_RUNTIME T shuffle(const char* operation, unsigned mask, T value, int argument, int width, const char* file, int line) {
  static_assert(sizeof(T) <= 8 && std::is_trivially_copyable_v<T>);
  Fiber* self = state.current;
  std::memcpy(self->sent, &value, sizeof value);
  self->argument = argument;
  self->width = width;
  join_collective(operation, mask, exchange<kind>, file, line, CUDA_EMULATOR_ADDRESS);
  std::memcpy(&value, self->received, sizeof value);
  return value;
}

struct Votes {
  unsigned yes = 0, participants = 0;
};
CUDA_EMULATOR_RUNTIME inline void count_votes(Fiber** lanes, unsigned participants) {
  Votes votes{0, participants};
  for (int i = 0; i < 32; ++i) {
    if (participants >> i & 1) votes.yes |= static_cast<unsigned>(lanes[i]->argument != 0) << i;
  }
  for (int i = 0; i < 32; ++i) {
    if (participants >> i & 1) std::memcpy(lanes[i]->received, &votes, sizeof votes);
  }
}
CUDA_EMULATOR_RUNTIME inline Votes vote(const char* operation, unsigned mask, int predicate, const char* file, int line) {
  state.current->argument = predicate;
  join_collective(operation, mask, count_votes, file, line, CUDA_EMULATOR_ADDRESS);
  Votes votes;
  std::memcpy(&votes, state.current->received, sizeof votes);
  return votes;
}
// Tensor cores: which element of the factors and sums a lane holds is as in the PTX ISA.
struct TensorProduct {
  float* sum;
  const unsigned *rows, *columns;
};
inline float of_bf16(unsigned half) { return std::bit_cast<float>(half << 16); }
template <bool is_bf16>
CUDA_EMULATOR_RUNTIME void multiply_tile(Fiber** lanes, unsigned participants) {
  if (participants != ~0u) fail("mma.sync: lanes %08x are not there", ~participants);
  constexpr int depth = is_bf16 ? 16 : 8;
  float a[16][depth], b[depth][8];
  TensorProduct of[32];
  for (int lane = 0; lane < 32; ++lane) {
    TensorProduct* product;
    std::memcpy(&product, lanes[lane]->sent, sizeof product);
    of[lane] = *product;
    const int group = lane / 4, place = lane % 4;
    for (int i = 0; i < 4; ++i) {
      const int row = group + 8 * (i % 2), half = i / 2;
      if constexpr (is_bf16) {
        for (int pair = 0; pair < 2; ++pair) a[row][8 * half + 2 * place + pair] = of_bf16(of[lane].rows[i] >> 16 * pair & 0xffffu);
      } else {
        a[row][4 * half + place] = std::bit_cast<float>(of[lane].rows[i] & ~0x1fffu);  // the hardware drops what is below 10 bits
      }
    }
    for (int half = 0; half < 2; ++half) {
      if constexpr (is_bf16) {
        for (int pair = 0; pair < 2; ++pair) b[8 * half + 2 * place + pair][group] = of_bf16(of[lane].columns[half] >> 16 * pair & 0xffffu);
      } else {
        b[4 * half + place][group] = std::bit_cast<float>(of[lane].columns[half] & ~0x1fffu);
      }
    }
  }
  for (int lane = 0; lane < 32; ++lane) {
    for (int i = 0; i < 4; ++i) {
      const int row = lane / 4 + 8 * (i / 2), column = 2 * (lane % 4) + i % 2;
      for (int k = 0; k < depth; ++k) of[lane].sum[i] += a[row][k] * b[k][column];
    }
  }
}
template <bool is_bf16>
CUDA_EMULATOR_RUNTIME void multiply_by_warp(const char* operation, float* sum, const unsigned* rows, const unsigned* columns, const char* file, int line) {
  const TensorProduct product{sum, rows, columns}, *at = &product;
  std::memcpy(state.current->sent, &at, sizeof at);
  join_collective(operation, ~0u, multiply_tile<is_bf16>, file, line, CUDA_EMULATOR_ADDRESS);
}
CUDA_EMULATOR_RUNTIME inline void sync_warp(unsigned mask, const char* file, int line) {
  Fiber* self = state.current;
  void* event = &state.warp_event[state.set][self->thread / 32][self->n_warp_syncs++ % 2];
  __tsan_release(event);
  join_collective("__syncwarp", mask, count_votes, file, line, CUDA_EMULATOR_ADDRESS);
  __tsan_acquire(event);
}

// Relaxed, as on the device; a real atomic, so that the thread sanitizer sees one.
template <class T, class Change>
T read_modify_write(T* address, Change change) {
  shake_order_of_atomics();
  T old, changed;
  __atomic_load(address, &old, __ATOMIC_RELAXED);
  do {
    changed = change(old);
  } while (!__atomic_compare_exchange(address, &old, &changed, false, __ATOMIC_RELAXED, __ATOMIC_RELAXED));
  return old;
}

}  // namespace cuda_emulator

// ---- device functions ------------------------------------------------------------------------------------------------------------------
__forceinline__ void __syncthreads(CUDA_EMULATOR_AT) { cuda_emulator::barrier("__syncthreads", 0, file, line); }
__forceinline__ int __syncthreads_count(int p, CUDA_EMULATOR_AT) { return cuda_emulator::barrier("__syncthreads_count", p, file, line); }
__forceinline__ int __syncthreads_or(int p, CUDA_EMULATOR_AT) { return cuda_emulator::barrier("__syncthreads_or", p, file, line) != 0; }
__forceinline__ int __syncthreads_and(int p, CUDA_EMULATOR_AT) {
  return cuda_emulator::barrier("__syncthreads_and", p, file, line) == cuda_emulator::state.n_threads;
}
__forceinline__ void __syncwarp(unsigned mask = ~0u, CUDA_EMULATOR_AT) { cuda_emulator::sync_warp(mask, file, line); }
template <class T>
__forceinline__ T __shfl_sync(unsigned mask, T value, int source, int width = 32, CUDA_EMULATOR_AT) {
  return cuda_emulator::shuffle<cuda_emulator::Shuffle::index>("__shfl_sync", mask, value, source, width, file, line);
}
template <class T>
__forceinline__ T __shfl_up_sync(unsigned mask, T value, unsigned offset, int width = 32, CUDA_EMULATOR_AT) {
  return cuda_emulator::shuffle<cuda_emulator::Shuffle::up>("__shfl_up_sync", mask, value, static_cast<int>(offset), width, file, line);
}
template <class T>
__forceinline__ T __shfl_down_sync(unsigned mask, T value, unsigned offset, int width = 32, CUDA_EMULATOR_AT) {
  return cuda_emulator::shuffle<cuda_emulator::Shuffle::down>("__shfl_down_sync", mask, value, static_cast<int>(offset), width, file, line);
}
template <class T>
__forceinline__ T __shfl_xor_sync(unsigned mask, T value, int lanes, int width = 32, CUDA_EMULATOR_AT) {
  return cuda_emulator::shuffle<cuda_emulator::Shuffle::exclusive_or>("__shfl_xor_sync", mask, value, lanes, width, file, line);
}
__forceinline__ unsigned __ballot_sync(unsigned mask, int p, CUDA_EMULATOR_AT) {
  return cuda_emulator::vote("__ballot_sync", mask, p, file, line).yes;
}
__forceinline__ int __any_sync(unsigned mask, int p, CUDA_EMULATOR_AT) {
  return cuda_emulator::vote("__any_sync", mask, p, file, line).yes != 0;
}
__forceinline__ int __all_sync(unsigned mask, int p, CUDA_EMULATOR_AT) {
  const auto votes = cuda_emulator::vote("__all_sync", mask, p, file, line);
  return votes.yes == votes.participants;
}

inline void __threadfence() {
  __tsan_release(&cuda_emulator::state.fence_event);
  __tsan_acquire(&cuda_emulator::state.fence_event);
}
inline void __threadfence_block() { __threadfence(); }
template <class T>
T atomicAdd(T* address, std::type_identity_t<T> value) {
  return cuda_emulator::read_modify_write(address, [value](T old) { return static_cast<T>(old + value); });
}
template <class T>
T atomicMax(T* address, std::type_identity_t<T> value) {
  return cuda_emulator::read_modify_write(address, [value](T old) { return old > value ? old : value; });
}
template <class T>
T atomicMin(T* address, std::type_identity_t<T> value) {
  return cuda_emulator::read_modify_write(address, [value](T old) { return old < value ? old : value; });
}
template <class T>
T atomicExch(T* address, std::type_identity_t<T> value) {
  return cuda_emulator::read_modify_write(address, [value](T) { return value; });
}
template <class T>
T atomicCAS(T* address, std::type_identity_t<T> compare, std::type_identity_t<T> value) {
  return cuda_emulator::read_modify_write(address, [compare, value](T old) { return old == compare ? value : old; });
}

template <class T>
T __ldg(const T* address) {
  return *address;
}
inline float rsqrtf(float x) { return 1.0f / std::sqrt(x); }
inline float __expf(float x) { return std::exp(x); }
inline float __logf(float x) { return std::log(x); }
inline float __fdividef(float a, float b) { return a / b; }
inline float __frcp_rn(float x) { return 1.0f / x; }
inline float __powf(float a, float b) { return std::pow(a, b); }
inline void sincospif(float x, float* sine, float* cosine) {
  *sine = static_cast<float>(std::sin(M_PI * static_cast<double>(x)));
  *cosine = static_cast<float>(std::cos(M_PI * static_cast<double>(x)));
}
inline unsigned __umulhi(unsigned a, unsigned b) { return static_cast<unsigned>((static_cast<std::uint64_t>(a) * b) >> 32); }
inline int __popc(unsigned x) { return std::popcount(x); }
inline int __clz(int x) { return std::countl_zero(static_cast<unsigned>(x)); }
inline int __ffs(int x) { return __builtin_ffs(x); }
inline int __float_as_int(float x) { return std::bit_cast<int>(x); }
inline float __int_as_float(int x) { return std::bit_cast<float>(x); }
// Instructions that only PTX names (kernels/common/tensor_cores.h).
namespace idem::cu {
inline unsigned to_tf32(float x) {
  const auto bits = std::bit_cast<unsigned>(x);
  return std::isfinite(x) ? (bits + 0x1000u) & ~0x1fffu : bits;
}
inline unsigned to_bf16(float x) {
  const auto bits = std::bit_cast<unsigned>(x);
  return (std::isfinite(x) ? bits + 0x7fffu + (bits >> 16 & 1u) : bits) >> 16;
}
inline unsigned to_two_bf16(float low, float high) { return to_bf16(low) | to_bf16(high) << 16; }
__forceinline__ void mma_m16n8k8_tf32(float (&d)[4], const unsigned (&a)[4], const unsigned (&b)[2], CUDA_EMULATOR_AT) {
  cuda_emulator::multiply_by_warp<false>("mma.sync.m16n8k8", d, a, b, file, line);
}
__forceinline__ void mma_m16n8k16_bf16(float (&d)[4], const unsigned (&a)[4], const unsigned (&b)[2], CUDA_EMULATOR_AT) {
  cuda_emulator::multiply_by_warp<true>("mma.sync.m16n8k16", d, a, b, file, line);
}
}  // namespace idem::cu

inline unsigned __float_as_uint(float x) { return std::bit_cast<unsigned>(x); }
inline float __uint_as_float(unsigned x) { return std::bit_cast<float>(x); }
using std::max;
using std::min;

namespace idem::cu {

inline int threads(int preferred) { return std::min(preferred, cuda_emulator::state.largest_block / 32 * 32); }
inline unsigned blocks(unsigned limit) { return std::min(limit, cuda_emulator::state.largest_grid); }

template <class... Parameters, class... Arguments>
void launch(const char* name, void (*kernel)(Parameters...), dim3 grid, dim3 block, std::size_t shared_bytes, Stream stream,
            Arguments&&... arguments) {
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
  if (stream != recording->stream) throw cuda_emulator::Error(std::string("kernel ") + name + ": not launched on the stream that is recorded");
  cuda_emulator::Operation operation{name, {}, run};
  cuda_emulator::append_bytes(operation.arguments, kernel);
  for (const dim3 extent : {grid, block}) cuda_emulator::append_bytes(operation.arguments, extent);
  cuda_emulator::append_bytes(operation.arguments, shared_bytes);
  std::apply([&](const auto&... values) { (cuda_emulator::append_bytes(operation.arguments, values), ...); }, call.arguments);
  recording->operations.push_back(std::move(operation));
}

// In the place of CUB's (kernels/common/sort.h). One thread sorts, so that it is recorded, ordered and kept to the device's memory as a kernel is;
// the scratch is left as it may be: without meaning.
inline std::size_t sort_bytes(std::int64_t n, int, int) { return static_cast<std::size_t>(n) * sizeof(std::uint64_t); }
inline void sort_kernel(void* scratch, std::size_t scratch_bytes, const std::uint64_t* keys, std::uint64_t* sorted, std::int64_t n, int first_bit,
                        int end_bit) {
  const auto bits = [=](std::uint64_t key) { return key << (64 - end_bit) >> (64 - end_bit + first_bit); };
  std::copy_n(keys, n, sorted);
  std::stable_sort(sorted, sorted + n, [&](std::uint64_t a, std::uint64_t b) { return bits(a) < bits(b); });
  std::memset(scratch, 0xFF, scratch_bytes);
}
inline void sort(const char* name, void* scratch, std::size_t scratch_bytes, const std::uint64_t* keys, std::uint64_t* sorted, std::int64_t n,
                 int first_bit, int end_bit, Stream stream) {
  if (scratch_bytes < sort_bytes(n, first_bit, end_bit)) throw cuda_emulator::Error(std::string(name) + ": too little scratch to sort");
  launch(name, sort_kernel, 1, 1, 0, stream, scratch, scratch_bytes, keys, sorted, n, first_bit, end_bit);
}

}  // namespace idem::cu
