// linear.h - linear maps: least squares, ridge and principal components in closed form, support vectors by Newton's
// method. All in double.
#pragma once

#include <Eigen/Core>
#include <cstdint>
#include <functional>
#include <vector>

namespace idem {

// outputs = inputs * weight + intercept, rows are samples.
struct LinearMap {
  Eigen::MatrixXd weight;        // [n_inputs x n_outputs]
  Eigen::RowVectorXd intercept;  // [n_outputs]
  Eigen::MatrixXd apply(const Eigen::MatrixXd& inputs) const { return (inputs * weight).rowwise() + intercept; }
};

// Minimises |outputs - inputs W - b|^2 + penalty |W|^2 (the intercept b is free). penalty 0: least squares, of smallest
// norm where the inputs are linearly dependent. Throws ConfigError for no rows or a negative penalty.
LinearMap fit_linear(const Eigen::MatrixXd& inputs, const Eigen::MatrixXd& outputs, double penalty);

// A linear support vector machine with squared hinge loss (scikit-learn's LinearSVC): minimises
//   (|w|^2 + b^2) / 2 + cost * sum_i max(0, 1 - y_i (x_i w + b))^2,  y_i = 1 where `positive`, else -1.
// The minimum is the only one and is found to rounding (Keerthi & DeCoste 2005, J. Machine Learning Research 6, 341:
// Newton's method on a function that is quadratic between finitely many borders). Throws ConfigError for no rows or a
// cost that is not positive.
struct SupportVectorMachine {
  Eigen::VectorXd weight;  // [n_inputs]
  double intercept = 0;
  Eigen::VectorXd margin(const Eigen::MatrixXd& inputs) const {
    return (inputs * weight).array() + intercept;
  }  // positive: the positive side
};
SupportVectorMachine fit_support_vectors(const Eigen::MatrixXd& inputs, const std::vector<bool>& positive, double cost);

// Principal components of n_rows samples: latents = (samples - mean) * components.
struct Pca {
  Eigen::RowVectorXd mean;     // [n_dims]
  Eigen::MatrixXd components;  // [n_dims x n_components], unit columns in descending order of variance; each column's
                               // largest entry is positive
  Eigen::VectorXd variance;    // [n_components], of the samples along each component (divisor n_rows - 1)
};

// Fills rows [begin, end) of the samples into `block` [(end - begin) x n_dims].
using SampleReader = std::function<void(std::int64_t begin, std::int64_t end, Eigen::MatrixXd& block)>;

// Exact: eigenvectors of the covariance, which is summed over blocks of rows so that the samples need not be held at
// once; beyond 1024 dimensions found by iteration until |covariance v - variance v| is 1e-10 of the largest variance
// (at most 200 passes over the samples). Throws ConfigError where n_components is not in 1 ... min(n_rows - 1, n_dims).
Pca fit_pca(std::int64_t n_rows, int n_dims, int n_components, const SampleReader& read);

// The latents of all samples. [n_rows x n_components]
Eigen::MatrixXd project(const Pca& pca, std::int64_t n_rows, const SampleReader& read);

}  // namespace idem
