// sanitizers.h - what the emulation tells the address and the thread sanitizer, and hides from them.
#pragma once

#include <cstddef>

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
#define CUDA_EMULATOR_RUNTIME \
  __attribute__((noinline, disable_sanitizer_instrumentation, no_sanitize_thread, no_sanitize_address))
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

namespace cuda_emulator {

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

}  // namespace cuda_emulator
