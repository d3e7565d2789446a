// interval.h - 95 % intervals of estimates whose variance has several sources, each known with few degrees of freedom.
//
// Welch (1947, doi 10.1093/biomet/34.1-2.28) and Satterthwaite (1946, doi 10.2307/3002019): the sum of the variances is
// taken for one of (sum of v)^2 / (sum of v^2 / d) degrees, and the interval is that of Student's t.
#pragma once

#include <span>

namespace idem {

// One source: its share of the estimate's variance, and the degrees of freedom that this is known with.
struct VarianceSource {
  double variance = 0, degrees = 0;
};

struct Interval {
  double estimate = 0, low = 0, high = 0;  // 95 %
  double standard_error = 0, degrees = 0;
  double p = 1;  // two-sided, of the hypothesis that the estimate's mean is 0

  bool excludes_zero() const { return low > 0 || high < 0; }
};

// Without any variance the interval is the estimate, and p is 0 or, of an estimate of 0, 1.
Interval interval_of(double estimate, std::span<const VarianceSource> sources);

}  // namespace idem
