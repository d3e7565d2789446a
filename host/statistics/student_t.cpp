#include "host/statistics/student_t.h"

#include <cmath>

#include <unsupported/Eigen/SpecialFunctions>

namespace idem {

double student_t_two_sided(double t, double degrees) {
  if (std::isinf(degrees)) return std::erfc(std::abs(t) / std::sqrt(2.0));
  if (std::isinf(t)) return 0;
  return Eigen::numext::betainc(degrees / 2, 0.5, degrees / (degrees + t * t));
}

double student_t_critical(double p, double degrees) {
  double low = 0, high = 1;
  while (student_t_two_sided(high, degrees) > p) low = high, high *= 2;
  while (high - low > 1e-13 * high) {
    const double middle = low + (high - low) / 2;
    if (middle <= low || middle >= high) break;
    (student_t_two_sided(middle, degrees) > p ? low : high) = middle;
  }
  return low + (high - low) / 2;
}

}  // namespace idem
