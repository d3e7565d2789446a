// scores.h - the numbers predictions are judged by. All sums in double, in row order.
#pragma once

#include <cstdint>
#include <span>
#include <vector>

namespace idem {

// Middle value; the mean of the two middle ones for an even count. NaN for no values.
double median(std::vector<double> values);

// a - b on a circle of circumference `period`, in [-period/2, period/2].
double circular_difference(double a, double b, double period);

// 1 - SSres / SStot of one column, SStot about the mean of `truth` (so below 0 where predicting that mean would be
// better). A column that does not vary: 1 if predicted exactly, else 0 (scikit-learn's rule). NaN for no rows.
double r2(std::span<const double> truth, std::span<const double> predicted);

// Unweighted mean of r2 over columns. Both [n_rows x n_columns], row-major.
double mean_r2(std::span<const double> truth, std::span<const double> predicted, std::int64_t n_columns);

// Pearson correlation of two columns; 0 where one of them does not vary.
double correlation(std::span<const double> a, std::span<const double> b);

}  // namespace idem
