// philox.h - the counter-based generator behind every random number: Philox4x32-10 of Salmon et al. 2011 (Parallel
// random numbers: as easy as 1, 2, 3). A number is a function of the member's seed and of what it is for (streams.h);
// there is no state.
#pragma once

#include <type_traits>

#include "kernels/common/stable_math.h"
#include "kernels/common/streams.h"

namespace idem {

struct PhiloxWords {
  std::uint32_t w[4];
};

HD PhiloxWords philox4x32_10(PhiloxWords counter, std::uint32_t key0, std::uint32_t key1) {
  std::uint32_t c0 = counter.w[0], c1 = counter.w[1], c2 = counter.w[2], c3 = counter.w[3];
  for (int round = 0; round < 10; ++round) {
    const std::uint32_t high0 = static_cast<std::uint32_t>((std::uint64_t{c0} * 0xD2511F53u) >> 32),
                        low0 = c0 * 0xD2511F53u;
    const std::uint32_t high1 = static_cast<std::uint32_t>((std::uint64_t{c2} * 0xCD9E8D57u) >> 32),
                        low1 = c2 * 0xCD9E8D57u;
    c0 = high1 ^ c1 ^ key0;
    c1 = low1;
    c2 = high0 ^ c3 ^ key1;
    c3 = low0;
    key0 += 0x9E3779B9u;
    key1 += 0xBB67AE85u;
  }
  return {{c0, c1, c2, c3}};
}

// The four words of elements 4 * block ... 4 * block + 3 of a stream.
HD PhiloxWords random_words(std::uint64_t seed, RandomStream stream, std::uint32_t step, std::uint32_t block) {
  return philox4x32_10({{block, step, 0u, static_cast<std::uint32_t>(stream)}}, static_cast<std::uint32_t>(seed),
                       static_cast<std::uint32_t>(seed >> 32));
}

// On a grid of 2^-24, which float holds exactly: (0, 1] and [0, 1).
template <class Real>
HD Real uniform_above_zero(std::uint32_t word) {
  return static_cast<Real>(static_cast<std::int32_t>(word >> 8) + 1) * Real(1.0 / 16777216);
}
template <class Real>
HD Real uniform_below_one(std::uint32_t word) {
  return static_cast<Real>(static_cast<std::int32_t>(word >> 8)) * Real(1.0 / 16777216);
}

// sin and cos of 2 pi turns, 0 <= turns < 1. float on the CPU: the nearest quarter turn is taken off exactly,
// polynomials (our own fits, 2 ulp) serve the rest.
template <class Real>
HD void sine_cosine_of_turns(Real turns, Real& sine, Real& cosine) {
#if defined(__CUDA_ARCH__)
  sincospi(Real(2) * turns, &sine, &cosine);
#else
  if constexpr (std::is_same_v<Real, float>) {
    const std::int32_t quarter = static_cast<std::int32_t>(turns * 4.0f + 0.5f);
    const float r = turns - static_cast<float>(quarter) * 0.25f, square = r * r;
    float s = -75.3935623f;
    s = s * square + 81.5923538f;
    s = s * square - 41.3416634f;
    s = s * square + 6.28318548f;
    s = s * r;
    float c = 59.2292442f;
    c = c * square - 85.4432373f;
    c = c * square + 64.9393234f;
    c = c * square - 19.7392082f;
    c = c * square + 1.0f;
    const bool swapped = (quarter & 1) != 0;
    const float sine_magnitude = swapped ? c : s, cosine_magnitude = swapped ? s : c;
    sine = (quarter & 2) != 0 ? -sine_magnitude : sine_magnitude;
    cosine = ((quarter + 1) & 2) != 0 ? -cosine_magnitude : cosine_magnitude;
  } else {
    const Real angle = Real(6.283185307179586477) * turns;
    sine = std::sin(angle);
    cosine = std::cos(angle);
  }
#endif
}

// Two independent standard normal numbers, at most 5.77 in magnitude (Box-Muller).
template <class Real>
HD void normal_pair(std::uint32_t word0, std::uint32_t word1, Real& first, Real& second) {
  const Real radius = stable::sqrt(Real(-2) * stable::log_of_normal(uniform_above_zero<Real>(word0)));
  Real sine, cosine;
  sine_cosine_of_turns(uniform_below_one<Real>(word1), sine, cosine);
  first = radius * cosine;
  second = radius * sine;
}

}  // namespace idem
