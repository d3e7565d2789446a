// architectures.h - which GPUs a binary holds code for, by the list it was built with.
#pragma once

#include <charconv>
#include <string_view>

#include "kernels/common/to_size.h"

namespace idem {

// architectures: as CMAKE_CUDA_ARCHITECTURES, its items parted by spaces: "80-real 86-real 90". An item NN-real is
// machine code for compute capability N.N and newer minor versions of the same major; NN-virtual, for N.N and
// everything newer; NN both. NNa runs on N.N alone, NNf like NN-real. Words without a number (native, all) count as
// covering every card.
inline bool architectures_cover(std::string_view architectures, int major, int minor) {
  while (!architectures.empty()) {
    const auto space = architectures.find(' ');
    const std::string_view item = architectures.substr(0, space);
    architectures.remove_prefix(space == std::string_view::npos ? architectures.size() : space + 1);
    if (item.empty()) continue;
    int number = 0;
    const auto [end, error] = std::from_chars(item.data(), item.data() + item.size(), number);
    if (error != std::errc()) return true;
    const std::string_view kind(end, to_size(item.data() + item.size() - end));
    const int item_major = number / 10, item_minor = number % 10;
    const bool same_family = major == item_major && minor >= item_minor, newer = 10 * major + minor >= number;
    const bool only_itself = kind.starts_with('a');
    const bool covered = only_itself                                       ? major == item_major && minor == item_minor
                         : kind.starts_with('f') || kind.ends_with("real") ? same_family
                                                                           : newer;
    if (covered) return true;
  }
  return false;
}

}  // namespace idem
