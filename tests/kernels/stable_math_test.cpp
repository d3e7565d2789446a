#include "kernels/common/stable_math.h"

#include <gtest/gtest.h>

#include <cmath>
#include <limits>
#include <vector>

namespace idem {
namespace {

constexpr float kInfinity = std::numeric_limits<float>::infinity();
constexpr float kNan = std::numeric_limits<float>::quiet_NaN();

// Distance of got from want in units of the last place of want.
double ulp_distance(float got, double want) {
  const float rounded = static_cast<float>(want);
  if (got == rounded) return 0;
  const float magnitude = std::max(std::fabs(rounded), 1.17549435e-38f);
  return std::fabs(static_cast<double>(got) - want) /
         (static_cast<double>(std::nextafter(magnitude, kInfinity)) - static_cast<double>(magnitude));
}

// Every function is tried in a loop that the compiler vectorises and clones, as the kernels use it.
template <class Function>
IDEM_SIMD_CLONES void map(const Function& function, const float* x, float* y, std::int64_t n) {
  for (std::int64_t i = 0; i < n; ++i) y[i] = function(x[i]);
}

template <class Function, class Oracle>
void expect_within_ulp(const char* name, float low, float high, double ulp, const Function& function,
                       const Oracle& oracle) {
  const std::int64_t n = 40001;
  std::vector<float> x(n), y(n);
  for (std::int64_t i = 0; i < n; ++i)
    x[i] = static_cast<float>(low + (static_cast<double>(high) - low) * static_cast<double>(i) / (n - 1));
  map(function, x.data(), y.data(), n);
  double worst = 0;
  float worst_x = 0;
  for (std::int64_t i = 0; i < n; ++i) {
    const double distance = ulp_distance(y[i], oracle(static_cast<double>(x[i])));
    if (!(distance <= worst)) worst = distance, worst_x = x[i];
  }
  EXPECT_TRUE(worst <= ulp) << name << ": " << worst << " ulp at " << worst_x;
}

// Same, over magnitudes from 1e-30 to 1e30 (or the largest below).
template <class Function, class Oracle>
void expect_within_ulp_over_magnitudes(const char* name, float largest, bool negative, double ulp,
                                       const Function& function, const Oracle& oracle) {
  std::vector<float> x;
  for (double magnitude = 1e-30; magnitude <= largest; magnitude *= 1.0037)
    x.push_back(static_cast<float>(negative ? -magnitude : magnitude));
  std::vector<float> y(x.size());
  map(function, x.data(), y.data(), static_cast<std::int64_t>(x.size()));
  for (std::size_t i = 0; i < x.size(); ++i) {
    const double distance = ulp_distance(y[i], oracle(static_cast<double>(x[i])));
    ASSERT_TRUE(distance <= ulp) << name << ": " << distance << " ulp at " << x[i] << ": got " << y[i];
  }
}

TEST(StableMath, FloatExponentialStaysWithinTwoUlp) {
  const auto function = [](float x) { return stable::exp(x); };
  const auto oracle = [](double x) { return std::exp(x); };
  expect_within_ulp("exp", -86.5f, 88.72f, 2, function, oracle);
  expect_within_ulp("exp", -1, 1, 2, function, oracle);
  EXPECT_EQ(stable::exp(0.0f), 1.0f);
  EXPECT_EQ(stable::exp(-88.0f), 0.0f);
  EXPECT_EQ(stable::exp(-1e4f), 0.0f);
  EXPECT_EQ(stable::exp(-kInfinity), 0.0f);
  EXPECT_EQ(stable::exp(88.8f), kInfinity);
  EXPECT_EQ(stable::exp(1e4f), kInfinity);
  EXPECT_EQ(stable::exp(kInfinity), kInfinity);
  EXPECT_TRUE(std::isnan(stable::exp(kNan)));
}

TEST(StableMath, FloatLogarithmStaysWithinTwoUlp) {
  const auto function = [](float x) { return stable::log(x); };
  const auto normal = [](float x) { return stable::log_of_normal(x); };
  const auto oracle = [](double x) { return std::log(x); };
  expect_within_ulp("log", 0.5f, 2, 2, function, oracle);
  expect_within_ulp("log", 0.99f, 1.01f, 2, function, oracle);
  expect_within_ulp_over_magnitudes("log", 3e38f, false, 2, function, oracle);
  expect_within_ulp_over_magnitudes("log_of_normal", 3e38f, false, 2, normal, oracle);
  EXPECT_EQ(stable::log(1.0f), 0.0f);
  EXPECT_EQ(stable::log(0.0f), -kInfinity);
  EXPECT_EQ(stable::log(-0.0f), -kInfinity);
  EXPECT_EQ(stable::log(kInfinity), kInfinity);
  EXPECT_TRUE(std::isnan(stable::log(-1.0f)));
  EXPECT_TRUE(std::isnan(stable::log(-kInfinity)));
  EXPECT_TRUE(std::isnan(stable::log(kNan)));
  EXPECT_NEAR(stable::log(1e-40f), std::log(static_cast<double>(1e-40f)), 1e-5);
}

TEST(StableMath, FloatLogOfOnePlusKeepsSmallArguments) {
  const auto function = [](float x) { return stable::log1p(x); };
  const auto unit = [](float x) { return stable::log1p_of_unit(x); };
  const auto oracle = [](double x) { return std::log1p(x); };
  expect_within_ulp("log1p", -0.99f, 3, 4, function, oracle);
  expect_within_ulp("log1p_of_unit", 0, 1, 4, unit, oracle);
  expect_within_ulp_over_magnitudes("log1p", 3e38f, false, 4, function, oracle);
  expect_within_ulp_over_magnitudes("log1p", 0.9f, true, 4, function, oracle);
  expect_within_ulp_over_magnitudes("log1p_of_unit", 1, false, 4, unit, oracle);
  EXPECT_EQ(stable::log1p(-1.0f), -kInfinity);
  EXPECT_EQ(stable::log1p(kInfinity), kInfinity);
  EXPECT_TRUE(std::isnan(stable::log1p(-1.5f)));
  EXPECT_TRUE(std::isnan(stable::log1p(kNan)));
  EXPECT_TRUE(std::isnan(stable::log1p_of_unit(kNan)));
}

TEST(StableMath, FloatHyperbolicTangentAndErrorFunctionStayWithinTwoUlp) {
  const auto tangent = [](float x) { return stable::tanh(x); };
  const auto tangent_oracle = [](double x) { return std::tanh(x); };
  const auto error = [](float x) { return stable::erf(x); };
  const auto error_oracle = [](double x) { return std::erf(x); };
  for (bool negative : {false, true}) {
    expect_within_ulp_over_magnitudes("tanh", 3e38f, negative, 2, tangent, tangent_oracle);
    expect_within_ulp_over_magnitudes("erf", 3e38f, negative, 2, error, error_oracle);
  }
  expect_within_ulp("tanh", -10, 10, 2, tangent, tangent_oracle);
  expect_within_ulp("erf", -5, 5, 2, error, error_oracle);
  for (float sign : {1.0f, -1.0f}) {
    EXPECT_EQ(stable::tanh(sign * kInfinity), sign);
    EXPECT_EQ(stable::tanh(sign * 1e4f), sign);
    EXPECT_EQ(stable::erf(sign * kInfinity), sign);
    EXPECT_EQ(stable::erf(sign * 1e4f), sign);
  }
  EXPECT_TRUE(std::isnan(stable::tanh(kNan)));
  EXPECT_TRUE(std::isnan(stable::erf(kNan)));
}

TEST(StableMath, SigmoidAndSoftplusHoldAtTenThousand) {
  const auto softplus = [](float x) { return stable::softplus(x); };
  const auto softplus_oracle = [](double x) { return x > 30 ? x + std::exp(-x) : std::log1p(std::exp(x)); };
  const auto sigmoid = [](float x) { return stable::sigmoid(x); };
  const auto sigmoid_oracle = [](double x) { return 1 / (1 + std::exp(-x)); };
  expect_within_ulp("softplus", -86, 100, 4, softplus, softplus_oracle);
  expect_within_ulp("sigmoid", -86, 100, 3, sigmoid, sigmoid_oracle);
  EXPECT_EQ(stable::softplus(1e4f), 1e4f);
  EXPECT_EQ(stable::softplus(-1e4f), 0.0f);
  EXPECT_EQ(stable::softplus(kInfinity), kInfinity);
  EXPECT_EQ(stable::softplus(-kInfinity), 0.0f);
  EXPECT_EQ(stable::sigmoid(1e4f), 1.0f);
  EXPECT_EQ(stable::sigmoid(-1e4f), 0.0f);
  EXPECT_EQ(stable::sigmoid(kInfinity), 1.0f);
  EXPECT_EQ(stable::sigmoid(-kInfinity), 0.0f);
  EXPECT_TRUE(std::isnan(stable::softplus(kNan)));
  EXPECT_TRUE(std::isnan(stable::sigmoid(kNan)));
  EXPECT_EQ(stable::softplus(1e4), 1e4);
  EXPECT_EQ(stable::sigmoid(-1e4), 0.0);
}

TEST(StableMath, LogSoftplusBecomesItsArgumentWhereSoftplusVanishes) {
  const auto function = [](float x) { return stable::log_softplus(x); };
  const auto oracle = [](double x) { return std::log(x > 30 ? x + std::exp(-x) : std::log1p(std::exp(x))); };
  expect_within_ulp("log_softplus", -80, 0, 4, function, oracle);
  expect_within_ulp("log_softplus", 1, 200, 4, function, oracle);
  EXPECT_EQ(stable::log_softplus(-1e4f), -1e4f);
  EXPECT_EQ(stable::log_softplus(-1e4), -1e4);
  EXPECT_NEAR(stable::log_softplus(1e4f), std::log(1e4), 1e-6);
  EXPECT_EQ(stable::log_softplus_derivative(-1e4f), 1.0f);
  for (double t : {-40.0, -15.1, -15.0, -14.9, -3.0, 0.0, 2.0, 50.0}) {
    const double h = 1e-4, slope = (oracle(t + h) - oracle(t - h)) / (2 * h);
    EXPECT_NEAR(stable::log_softplus(t), oracle(t), 1e-13 * std::max(1.0, std::fabs(t))) << t;
    EXPECT_NEAR(stable::log_softplus_derivative(t), slope, 1e-8) << t;
    EXPECT_NEAR(stable::log_softplus_derivative(static_cast<float>(t)), slope, 1e-6) << t;
  }
  EXPECT_TRUE(std::isnan(stable::log_softplus(kNan)));
  EXPECT_TRUE(std::isnan(stable::log_softplus_derivative(kNan)));
}

TEST(StableMath, LogAddExpTakesTheLargerOneFarAway) {
  EXPECT_FLOAT_EQ(stable::log_add_exp(89.0f, 88.0f), 89.3132617f);
  EXPECT_FLOAT_EQ(stable::log_add_exp(-110.0f, -111.0f), -109.686738f);
  EXPECT_EQ(stable::log_add_exp(1e4f, -1e4f), 1e4f);
  EXPECT_EQ(stable::log_add_exp(-kInfinity, 2.0f), 2.0f);
  EXPECT_EQ(stable::log_add_exp(2.0f, -kInfinity), 2.0f);
  EXPECT_EQ(stable::log_add_exp(-kInfinity, -kInfinity), -kInfinity);
  EXPECT_EQ(stable::log_add_exp(kInfinity, -kInfinity), kInfinity);
  EXPECT_EQ(stable::log_add_exp(kInfinity, kInfinity), kInfinity);
  EXPECT_TRUE(std::isnan(stable::log_add_exp(kNan, 0.0f)));
  EXPECT_TRUE(std::isnan(stable::log_add_exp(0.0f, kNan)));
  EXPECT_NEAR(stable::log_add_exp(0.3, -1.2), std::log(std::exp(0.3) + std::exp(-1.2)), 1e-15);
}

TEST(StableMath, LogFactorialOfWholeCountsIsTheSumOfLogs) {
  double sum = 0;
  for (int count = 0; count < 2000; ++count) {
    if (count > 1) sum += std::log(count);
    ASSERT_TRUE(ulp_distance(stable::log_factorial(static_cast<float>(count)), sum) <= 5) << count;
    ASSERT_NEAR(stable::log_factorial(static_cast<double>(count)), sum, 1e-13 * std::max(1.0, sum)) << count;
  }
  EXPECT_EQ(stable::log_factorial(0.0f), 0.0f);
  EXPECT_EQ(stable::log_factorial(1.0f), 0.0f);
  const auto function = [](float x) { return stable::log_factorial(x); };
  const auto oracle = [](double x) { return std::lgamma(x + 1); };
  expect_within_ulp("log_factorial", 0, 3.5f, 5, function, oracle);
  expect_within_ulp("log_factorial", 3, 100, 5, function, oracle);
  EXPECT_TRUE(std::isnan(stable::log_factorial(kNan)));
}

TEST(StableMath, BoundedLogVarianceIsTheIdentityInsideAndStaysInsideOutside) {
  for (double raw : {-5.0, -1.0, 0.0, 1.5}) EXPECT_NEAR(stable::bound_log_var(raw, -20.0, 20.0), raw, 1e-6);
  for (float raw = -200; raw <= 200; raw += 0.37f) {
    const float bounded = stable::bound_log_var(raw, -12.0f, 6.0f),
                slope = stable::bound_log_var_derivative(raw, -12.0f, 6.0f);
    ASSERT_TRUE(bounded >= -12.0f && bounded <= 6.0f) << raw;
    ASSERT_TRUE(slope >= 0.0f && slope <= 1.0f) << raw;
    const double x = static_cast<double>(raw), h = 1e-5;
    const double finite_difference =
        (stable::bound_log_var(x + h, -12.0, 6.0) - stable::bound_log_var(x - h, -12.0, 6.0)) / (2 * h);
    ASSERT_NEAR(stable::bound_log_var_derivative(x, -12.0, 6.0), finite_difference, 1e-8) << raw;
    ASSERT_NEAR(slope, finite_difference, 1e-6) << raw;
  }
  EXPECT_TRUE(std::isnan(stable::bound_log_var(kNan, -12.0f, 6.0f)));
}

TEST(StableMath, GeluHasItsLimitsAndItsSlope) {
  const double root = std::sqrt(2 / 3.14159265358979323846);
  for (double x = -12; x <= 12; x += 0.061) {
    const double h = 1e-5, by_erf = 0.5 * x * std::erfc(-x / std::sqrt(2.0)),
                 by_tanh = 0.5 * x * (1 + std::tanh(root * (x + 0.044715 * x * x * x)));
    EXPECT_NEAR(stable::gelu_erf(x), by_erf, 1e-14);
    EXPECT_NEAR(stable::gelu_tanh(x), by_tanh, 1e-14);
    EXPECT_NEAR(stable::gelu_erf(static_cast<float>(x)), by_erf, 1e-6 * std::max(1.0, std::fabs(x)));
    EXPECT_NEAR(stable::gelu_tanh(static_cast<float>(x)), by_tanh, 1e-6 * std::max(1.0, std::fabs(x)));
    const double erf_slope = (stable::gelu_erf(x + h) - stable::gelu_erf(x - h)) / (2 * h);
    const double tanh_slope = (stable::gelu_tanh(x + h) - stable::gelu_tanh(x - h)) / (2 * h);
    EXPECT_NEAR(stable::gelu_erf_derivative(x), erf_slope, 1e-9);
    EXPECT_NEAR(stable::gelu_tanh_derivative(x), tanh_slope, 1e-9);
    EXPECT_NEAR(stable::gelu_erf_derivative(static_cast<float>(x)), erf_slope, 1e-6);
    EXPECT_NEAR(stable::gelu_tanh_derivative(static_cast<float>(x)), tanh_slope, 1e-6);
  }
  for (float large : {1e4f, 1e20f, kInfinity}) {
    EXPECT_EQ(stable::gelu_erf(large), large);
    EXPECT_EQ(stable::gelu_tanh(large), large);
    EXPECT_EQ(stable::gelu_erf(-large), 0.0f);
    EXPECT_EQ(stable::gelu_tanh(-large), 0.0f);
    EXPECT_EQ(stable::gelu_erf_derivative(large), 1.0f);
    EXPECT_EQ(stable::gelu_tanh_derivative(large), 1.0f);
    EXPECT_EQ(stable::gelu_erf_derivative(-large), 0.0f);
    EXPECT_EQ(stable::gelu_tanh_derivative(-large), 0.0f);
  }
  EXPECT_TRUE(std::isnan(stable::gelu_erf(kNan)));
  EXPECT_TRUE(std::isnan(stable::gelu_tanh_derivative(kNan)));
}

}  // namespace
}  // namespace idem
