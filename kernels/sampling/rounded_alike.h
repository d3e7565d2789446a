// rounded_alike.h - normal numbers and turns that are the same bits on every processor.
#pragma once

#include <cmath>
#include <cstdint>

#include "kernels/common/philox.h"
#include "kernels/common/stable_math.h"

namespace idem {

// What a nearest label row is decided on has to be the same bits everywhere, so the functions here are made of
// operations that every processor rounds alike: products feed nothing but fma and division, and no library function is
// called but the square root.
HD double exact_fma(double a, double b, double c) {
#if defined(__CUDA_ARCH__)
  return ::fma(a, b, c);
#else
  return std::fma(a, b, c);
#endif
}

// ln((whole + 1) / 2^24) for whole in [0, 2^24), by 2 artanh((f - 1) / (f + 1)) on f in [1, 2), to 1e-10.
HD double exact_log_of_uniform(std::uint32_t whole) {
  double f = static_cast<double>(whole + 1);
  int power = -24;
  for (int halving = 16; halving > 0; halving /= 2) {
    if (f >= static_cast<double>(1u << halving)) {
      f /= static_cast<double>(1u << halving);
      power += halving;
    }
  }
  const double s = (f - 1.0) / (f + 1.0), square = s * s;
  double series = 1.0 / 17;
  for (int odd = 15; odd > 0; odd -= 2) series = exact_fma(series, square, 1.0 / odd);
  return exact_fma(static_cast<double>(power), 0.69314718055994531, 2.0 * s * series);
}

// Sine and cosine of a turn's fraction whole / 2^24: the nearest quarter is taken off exactly, Taylor's series serve
// the rest, to 1e-10.
HD void exact_sine_cosine(std::uint32_t whole, double& sine, double& cosine) {
  const std::uint32_t quarter = (whole + (1u << 21)) >> 22;
  const double x = static_cast<double>(static_cast<std::int32_t>(whole) - static_cast<std::int32_t>(quarter << 22)) *
                   3.7450702829239286e-07;
  const double square = x * x;
  double s = 1.0, c = 1.0;
  for (int k = 10; k > 0; k -= 2) {
    s = exact_fma(-s / (k * (k + 1)), square, 1.0);
    c = exact_fma(-c / (k * (k - 1)), square, 1.0);
  }
  s = x * s;
  const bool swaps = (quarter & 1) != 0;
  sine = swaps ? c : s;
  cosine = swaps ? s : c;
  if ((quarter & 2) != 0) sine = -sine;
  if (((quarter + 1) & 2) != 0) cosine = -cosine;
}

// Normal `element` of a stream (Box-Muller).
HD float exact_normal(std::uint64_t seed, RandomStream stream, std::uint32_t step, std::int64_t element) {
  const PhiloxWords words = random_words(seed, stream, step, static_cast<std::uint32_t>(element / 4));
  const int pair = static_cast<int>(element % 4) / 2 * 2;
  double sine, cosine;
  exact_sine_cosine(words.w[pair + 1] >> 8, sine, cosine);
  const double radius = stable::sqrt(-2.0 * exact_log_of_uniform(words.w[pair] >> 8));
  return static_cast<float>(radius * (element % 2 == 0 ? cosine : sine));
}

// Sine and cosine of an angle that a direction is turned by.
struct Turn {
  double sine, cosine;

  // From one (sine, cosine) to another. Products of floats are exact in double, so each sum is rounded once, and no
  // change is no turn at all.
  HD static Turn between(const float* from, const float* to) {
    const double from_sine = static_cast<double>(from[0]), from_cosine = static_cast<double>(from[1]);
    const double to_sine = static_cast<double>(to[0]), to_cosine = static_cast<double>(to[1]);
    const double sine = exact_fma(to_sine, from_cosine, -(to_cosine * from_sine));
    const double cosine = exact_fma(to_cosine, from_cosine, to_sine * from_sine);
    const double length = stable::sqrt(exact_fma(cosine, cosine, sine * sine));
    if (!(length > 0)) return {0.0, 1.0};
    return {sine / length, cosine / length};
  }
  // By an angle in radians, to the 2^24th of a turn.
  HD static Turn by(double angle) {
    const double turns = angle / 6.283185307179586;
    const double part = turns - ::floor(turns);
    Turn turn{0.0, 1.0};
    if (part >= 0)
      exact_sine_cosine(static_cast<std::uint32_t>(part * 16777216.0 + 0.5) & 0xffffffu, turn.sine, turn.cosine);
    return turn;
  }
};
HD void write_turned(float* out, const float* from, const Turn& by) {
  const double sine = static_cast<double>(from[0]), cosine = static_cast<double>(from[1]);
  out[0] = static_cast<float>(exact_fma(sine, by.cosine, cosine * by.sine));
  out[1] = static_cast<float>(exact_fma(cosine, by.cosine, -(sine * by.sine)));
}

}  // namespace idem
