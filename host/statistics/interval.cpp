#include "host/statistics/interval.h"

#include <cmath>
#include <limits>

#include "host/statistics/student_t.h"

namespace idem {

Interval interval_of(double estimate, std::span<const VarianceSource> sources) {
  double variance = 0, of_degrees = 0;
  for (const auto& source : sources) {
    variance += source.variance;
    of_degrees += source.variance * source.variance / source.degrees;
  }
  if (!(variance > 0))
    return {.estimate = estimate,
            .low = estimate,
            .high = estimate,
            .degrees = std::numeric_limits<double>::infinity(),
            .p = estimate == 0 ? 1.0 : 0.0};
  const double degrees = variance * variance / of_degrees, error = std::sqrt(variance);
  const double half = error * student_t_critical(0.05, degrees);
  return {.estimate = estimate,
          .low = estimate - half,
          .high = estimate + half,
          .standard_error = error,
          .degrees = degrees,
          .p = student_t_two_sided(estimate / error, degrees)};
}

}  // namespace idem
