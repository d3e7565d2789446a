#include "engine/device/open_blas.h"

#include <dlfcn.h>
#include <sys/mman.h>

#include <algorithm>
#include <cstdlib>
#include <vector>

#include "kernels/common/operation.h"

namespace idem {

namespace {

constexpr const char* kLibrary = "libopenblas.so.0";

// The name by which OpenBLAS knows the widest kernels this processor can run; null: what it chooses itself is right.
const char* widest_kernels() {
#if defined(__x86_64__)
  if (__builtin_cpu_supports("avx512f") && __builtin_cpu_supports("avx512bw") && __builtin_cpu_supports("avx512dq") &&
      __builtin_cpu_supports("avx512vl"))
    return "SKYLAKEX";
  if (__builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma")) return "HASWELL";
#endif
  return nullptr;
}

template <class Function>
Function function(void* library, const char* name) {
  if (void* found = dlsym(library, name)) return reinterpret_cast<Function>(found);
  throw DeviceError(std::string(kLibrary) + " has no function " + name +
                    ": install OpenBLAS 0.3 (Debian and Ubuntu: libopenblas0-pthread)");
}

// While it lives, an environment variable that the user has not set.
class Preset {
 public:
  Preset(const char* name, const char* value) : name_(value && !std::getenv(name) ? name : nullptr) {
    if (name_) setenv(name_, value, 1);
  }
  ~Preset() {
    if (name_) unsetenv(name_);
  }
  Preset(const Preset&) = delete;
  Preset& operator=(const Preset&) = delete;

 private:
  const char* name_;
};

void* load_library() {
  const Preset kernels("OPENBLAS_CORETYPE", widest_kernels()), threads("OPENBLAS_NUM_THREADS", "1");
  // As the machine's alternatives and the user's LD_LIBRARY_PATH choose, else the one this program was built beside.
  void* library = dlopen(kLibrary, RTLD_NOW | RTLD_LOCAL);
  if (!library) library = dlopen(IDEM_OPENBLAS_LIBRARY, RTLD_NOW | RTLD_LOCAL);
  if (!library) {
    const char* why = dlerror();
    throw DeviceError(std::string("OpenBLAS cannot be loaded: ") + (why ? why : kLibrary) +
                      "; install it (Debian and Ubuntu: libopenblas0-pthread)");
  }
  function<decltype(&openblas_set_num_threads)>(library, "openblas_set_num_threads")(1);
  return library;
}

void* loaded_library() {
  static void* const library = load_library();
  return library;
}

OpenBlas functions(void* library) {
  return {.sgemm = function<decltype(&cblas_sgemm)>(library, "cblas_sgemm"),
          .dgemm = function<decltype(&cblas_dgemm)>(library, "cblas_dgemm"),
          .kernels = function<decltype(&openblas_get_corename)>(library, "openblas_get_corename")()};
}

}  // namespace

const OpenBlas& open_blas() {
  static const OpenBlas loaded = functions(loaded_library());
  return loaded;
}

void reserve_product_buffers(int n_threads) {
  constexpr std::size_t kBufferBytes = std::size_t{128} << 20;  // its BUFFER_SIZE where that is largest
  constexpr int kMostBuffers = 64;                              // as many as it keeps for sure
  const int n_buffers = std::min(n_threads, kMostBuffers);
  using Allocate = void* (*)(int);
  using Free = void (*)(void*);
  // Not among the functions that its header declares, and yet exported; without them the memory is only tried.
  const auto allocate = reinterpret_cast<Allocate>(dlsym(loaded_library(), "blas_memory_alloc"));
  const auto release = reinterpret_cast<Free>(dlsym(loaded_library(), "blas_memory_free"));
  const bool takes = allocate && release;
  std::vector<void*> tried, taken;
  for (int i = 0; i < n_buffers; ++i) {
    void* room = mmap(nullptr, kBufferBytes, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    if (room == MAP_FAILED) break;
    if (takes) {
      munmap(room, kBufferBytes);
      taken.push_back(allocate(0));
    } else {
      tried.push_back(room);
    }
  }
  for (void* room : tried) munmap(room, kBufferBytes);
  for (void* buffer : taken) release(buffer);  // stays the library's, for the products
  if (static_cast<int>(tried.size() + taken.size()) < n_buffers)
    throw DeviceError("out of memory: OpenBLAS's matrix products need 128 MiB of address space" +
                      (n_threads == 1 ? std::string("; raise the limit (ulimit -v)")
                                      : " for each of " + std::to_string(n_threads) +
                                            " threads; raise the limit (ulimit -v), or lower --threads"));
}

}  // namespace idem
