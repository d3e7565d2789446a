// numpy_random.h - NumPy's legacy generator (numpy.random.seed and friends), number for number, so that published
// simulations come out as published. MT19937 seeded by init_genrand; doubles of 53 bits from two words; normals by the
// polar method, which keeps its second number for the next call; permutations by masked rejection. Checked against
// golden numbers in tests/host/support/numpy_random_test.cpp.
#pragma once

#include <cstdint>
#include <random>
#include <vector>

namespace idem {

class NumpyRandom {
 public:
  explicit NumpyRandom(std::uint32_t seed) : words_(seed) {}

  double uniform();  // [0, 1)
  double uniform(double low, double high) { return low + (high - low) * uniform(); }
  double normal();  // mean 0, standard deviation 1
  std::int64_t poisson(
      double mean);  // 0 <= mean < 10 only: NumPy takes another method beyond. Throws std::invalid_argument
  std::vector<std::int32_t> permutation(std::int32_t n);

 private:
  std::mt19937 words_;  // the standard fixes its seeding and output to those of MT19937's authors
  bool has_second_ = false;
  double second_ = 0;
};

}  // namespace idem
