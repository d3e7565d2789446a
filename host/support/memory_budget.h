// memory_budget.h - what reading one file may make in memory, over all that it holds.
//
// A few bytes of a crafted file can stand for any number of values: texts that recall one text, archives whose entries
// are one entry. So readers count what they are about to make, before they make it, against what a file of that size
// can honestly hold.
#pragma once

#include <algorithm>
#include <cstddef>
#include <limits>
#include <string>

#include "host/support/errors.h"

namespace idem {

class MemoryBudget {
 public:
  // content_bytes: what is read, unpacked where the file was compressed, of which each byte may become `per_byte` of
  // them. file_bytes: on disk; beyond 8 GiB nothing is made of a file that is small itself.
  MemoryBudget(std::size_t content_bytes, std::size_t per_byte, std::size_t file_bytes)
      : left_(std::min(sum(product(content_bytes, per_byte), kSmall), std::max(kLarge, product(file_bytes, 8)))) {}

  // Throws DataError where that is more than is left.
  void spend(std::size_t bytes, const std::string& where) {
    if (bytes > left_)
      throw DataError(where +
                      ": unfolds to far more data than the file holds; save plain arrays, as with numpy.savez, and "
                      "split what is larger than 8 GiB");
    left_ -= bytes;
  }
  void spend(std::size_t n, std::size_t bytes_each, const std::string& where) { spend(product(n, bytes_each), where); }

  // Of sizes that are not known to fit: the largest number where they do not.
  static std::size_t product(std::size_t a, std::size_t b) {
    std::size_t result;
    return __builtin_mul_overflow(a, b, &result) ? std::numeric_limits<std::size_t>::max() : result;
  }
  static std::size_t sum(std::size_t a, std::size_t b) {
    std::size_t result;
    return __builtin_add_overflow(a, b, &result) ? std::numeric_limits<std::size_t>::max() : result;
  }

 private:
  static constexpr std::size_t kSmall = std::size_t{1} << 20, kLarge = std::size_t{8} << 30;
  std::size_t left_;
};

}  // namespace idem
