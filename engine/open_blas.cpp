#include "engine/open_blas.h"

#include <dlfcn.h>

#include <cstdlib>

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
  throw DeviceError(std::string(kLibrary) + " has no function " + name + ": install OpenBLAS 0.3 (Debian and Ubuntu: libopenblas0-pthread)");
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

OpenBlas load() {
  const Preset kernels("OPENBLAS_CORETYPE", widest_kernels()), threads("OPENBLAS_NUM_THREADS", "1");
  // As the machine's alternatives and the user's LD_LIBRARY_PATH choose, else the one this program was built beside.
  void* library = dlopen(kLibrary, RTLD_NOW | RTLD_LOCAL);
  if (!library) library = dlopen(IDEM_OPENBLAS_LIBRARY, RTLD_NOW | RTLD_LOCAL);
  if (!library) {
    const char* why = dlerror();
    throw DeviceError(std::string("OpenBLAS cannot be loaded: ") + (why ? why : kLibrary) + "; install it (Debian and Ubuntu: libopenblas0-pthread)");
  }
  function<decltype(&openblas_set_num_threads)>(library, "openblas_set_num_threads")(1);
  return {.sgemm = function<decltype(&cblas_sgemm)>(library, "cblas_sgemm"),
          .dgemm = function<decltype(&cblas_dgemm)>(library, "cblas_dgemm"),
          .kernels = function<decltype(&openblas_get_corename)>(library, "openblas_get_corename")()};
}

}  // namespace

const OpenBlas& open_blas() {
  static const OpenBlas loaded = load();
  return loaded;
}

}  // namespace idem
