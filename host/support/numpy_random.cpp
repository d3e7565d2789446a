#include "host/support/numpy_random.h"

#include <cmath>
#include <numeric>
#include <stdexcept>
#include <utility>

#include "kernels/common/to_size.h"

namespace idem {

double NumpyRandom::uniform() {
  const std::uint32_t high = static_cast<std::uint32_t>(words_()) >> 5, low = static_cast<std::uint32_t>(words_()) >> 6;
  return (high * 67108864.0 + low) / 9007199254740992.0;
}

double NumpyRandom::normal() {
  if (has_second_) {
    has_second_ = false;
    return second_;
  }
  double x1, x2, square;
  do {
    x1 = 2 * uniform() - 1;
    x2 = 2 * uniform() - 1;
    square = x1 * x1 + x2 * x2;
  } while (square >= 1 || square == 0);
  const double scale = std::sqrt(-2 * std::log(square) / square);
  second_ = scale * x1;
  has_second_ = true;
  return scale * x2;
}

std::int64_t NumpyRandom::poisson(double mean) {
  if (!(mean >= 0 && mean < 10)) throw std::invalid_argument("NumpyRandom::poisson: the mean must be in [0, 10)");
  if (mean == 0) return 0;
  const double limit = std::exp(-mean);
  std::int64_t count = 0;
  for (double product = uniform(); product > limit; product *= uniform()) ++count;
  return count;
}

std::vector<std::int32_t> NumpyRandom::permutation(std::int32_t n) {
  std::vector<std::int32_t> order(to_size(n));
  std::iota(order.begin(), order.end(), 0);
  for (std::uint32_t last = static_cast<std::uint32_t>(n) - 1; n > 1 && last > 0; --last) {
    std::uint32_t mask = last;
    for (int shift : {1, 2, 4, 8, 16}) mask |= mask >> shift;
    std::uint32_t chosen;
    do chosen = static_cast<std::uint32_t>(words_()) & mask;
    while (chosen > last);
    std::swap(order[last], order[chosen]);
  }
  return order;
}

}  // namespace idem
