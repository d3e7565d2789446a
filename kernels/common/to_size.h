// to_size.h - a length or a place that is kept signed, as containers count.
#pragma once

#include <cstddef>

namespace idem {

// Of a number that is not negative.
template <class Number>
constexpr std::size_t to_size(Number n) {
  return static_cast<std::size_t>(n);
}

}  // namespace idem
