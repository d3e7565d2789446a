// shuffled_order.h - a random permutation that is computed place by place and never stored.
#pragma once

#include "kernels/common/philox.h"

namespace idem {

// A permutation of 0 ... size - 1 that can be asked for any single place: a Feistel network over the smallest power of
// two that holds the list, its two halves changed in turn; a result outside the list is put through again until it
// falls inside (at most 2 rounds on average). Eight changes make every permutation of a short list about equally likely
// and leave no order in a long one.
struct ShuffledOrder {
  std::uint32_t size = 0, low_bits = 0, low_mask = 0, high_mask = 0;
  PhiloxWords keys[2] = {};

  HD ShuffledOrder(std::uint64_t seed, RandomStream stream, std::uint32_t step, std::uint32_t list_size)
      : size(list_size) {
    std::uint32_t bits = 0;
    while (bits < 32 && (std::uint64_t{1} << bits) < list_size) ++bits;
    low_bits = (bits + 1) / 2;
    low_mask = (1u << low_bits) - 1;
    high_mask = (1u << (bits - low_bits)) - 1;
    for (std::uint32_t block = 0; block < 2; ++block) keys[block] = random_words(seed, stream, step, block);
  }
  // Mixes 32 bits one to one (multiply and shift, constants of the murmur finaliser).
  static HD std::uint32_t mix(std::uint32_t x) {
    x *= 0x85ebca6bu;
    x ^= x >> 13;
    x *= 0xc2b2ae35u;
    return x ^ (x >> 16);
  }
  HD std::uint32_t permuted(std::uint32_t place) const {
    std::uint32_t low = place & low_mask, high = place >> low_bits;
    for (int block = 0; block < 2; ++block) {
      low ^= mix(high + keys[block].w[0]) & low_mask;
      high ^= mix(low + keys[block].w[1]) & high_mask;
      low ^= mix(high + keys[block].w[2]) & low_mask;
      high ^= mix(low + keys[block].w[3]) & high_mask;
    }
    return high << low_bits | low;
  }
  HD std::uint32_t walked(std::uint32_t place) const {
    while (place >= size) place = permuted(place);
    return place;
  }
};

}  // namespace idem
