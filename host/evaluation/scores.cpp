#include "host/evaluation/scores.h"

#include <algorithm>
#include <cmath>
#include <limits>

namespace idem {

namespace {

constexpr double kNaN = std::numeric_limits<double>::quiet_NaN();

double r2_of_column(const double* truth, const double* predicted, std::int64_t n_rows, std::int64_t stride) {
  if (n_rows == 0) return kNaN;
  double sum = 0;
  bool varies = false;
  for (std::int64_t row = 0; row < n_rows; ++row) {
    sum += truth[row * stride];
    varies = varies || truth[row * stride] != truth[0];
  }
  const double mean = sum / static_cast<double>(n_rows);
  double residual = 0, total = 0;
  for (std::int64_t row = 0; row < n_rows; ++row) {
    const double error = truth[row * stride] - predicted[row * stride], deviation = truth[row * stride] - mean;
    residual += error * error;
    total += deviation * deviation;
  }
  if (!varies) return residual == 0 ? 1 : (std::isnan(residual) ? kNaN : 0);
  return 1 - residual / total;
}

}  // namespace

double median(std::vector<double> values) {
  if (values.empty()) return kNaN;
  for (double value : values)
    if (std::isnan(value)) return kNaN;
  const auto middle = values.begin() + static_cast<std::ptrdiff_t>(values.size() / 2);
  std::nth_element(values.begin(), middle, values.end());
  if (values.size() % 2 == 1) return *middle;
  return 0.5 * (*std::max_element(values.begin(), middle) + *middle);
}

double circular_difference(double a, double b, double period) { return std::remainder(a - b, period); }

double r2(std::span<const double> truth, std::span<const double> predicted) {
  return r2_of_column(truth.data(), predicted.data(), static_cast<std::int64_t>(truth.size()), 1);
}

double mean_r2(std::span<const double> truth, std::span<const double> predicted, std::int64_t n_columns) {
  const std::int64_t n_rows = static_cast<std::int64_t>(truth.size()) / n_columns;
  double sum = 0;
  for (std::int64_t column = 0; column < n_columns; ++column)
    sum += r2_of_column(truth.data() + column, predicted.data() + column, n_rows, n_columns);
  return sum / static_cast<double>(n_columns);
}

double correlation(std::span<const double> a, std::span<const double> b) {
  const double n = static_cast<double>(a.size());
  double mean_a = 0, mean_b = 0;
  for (std::size_t row = 0; row < a.size(); ++row) {
    mean_a += a[row] / n;
    mean_b += b[row] / n;
  }
  double aa = 0, bb = 0, ab = 0;
  for (std::size_t row = 0; row < a.size(); ++row) {
    const double x = a[row] - mean_a, y = b[row] - mean_b;
    aa += x * x;
    bb += y * y;
    ab += x * y;
  }
  // Below rounding of the mean the deviations are noise, not variation.
  const double floor_a = 1e-30 * mean_a * mean_a * n, floor_b = 1e-30 * mean_b * mean_b * n;
  if (aa <= floor_a || bb <= floor_b) return 0;
  return ab / std::sqrt(aa * bb);
}

}  // namespace idem
