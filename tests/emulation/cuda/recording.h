// recording.h - launches that are kept to be run later, and the device's memory while a kernel runs.
#pragma once

#include <functional>
#include <string>
#include <type_traits>
#include <vector>

#include "kernels/common/operation.h"

namespace cuda_emulator {

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

// Called with true before a kernel runs and with false after it, so that a test device can keep the host away from its
// memory.
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

// The bytes of a value, those between its members as zeros where the compiler can say which they are (else none: values
// then count as equal).
template <class T>
void append_bytes(std::vector<unsigned char>& bytes, [[maybe_unused]] T value) {
  static_assert(std::is_trivially_copyable_v<T>, "a kernel's arguments are plain structs");
#if defined(__GNUC__) && !defined(__clang__)
  __builtin_clear_padding(&value);
  const auto* first = reinterpret_cast<const unsigned char*>(&value);
  bytes.insert(bytes.end(), first, first + sizeof value);
#endif
}

}  // namespace cuda_emulator
