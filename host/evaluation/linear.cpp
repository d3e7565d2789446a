#include "host/evaluation/linear.h"

#include <Eigen/Cholesky>
#include <Eigen/Eigenvalues>
#include <Eigen/QR>
#include <algorithm>
#include <cmath>

#include "fmt/format.h"
#include "host/support/errors.h"
#include "kernels/common/to_size.h"

namespace idem {

namespace {

constexpr std::int64_t kRowsPerBlock = 1024;
constexpr int kMostDimsOfCovariance =
    1024;  // beyond, its full decomposition takes longer than iterating for the few components wanted

void for_each_block(std::int64_t n_rows, int n_dims, const SampleReader& read,
                    const std::function<void(std::int64_t, Eigen::MatrixXd&)>& use) {
  Eigen::MatrixXd block;
  for (std::int64_t begin = 0; begin < n_rows; begin += kRowsPerBlock) {
    const std::int64_t end = std::min(n_rows, begin + kRowsPerBlock);
    block.resize(end - begin, n_dims);
    read(begin, end, block);
    use(begin, block);
  }
}

// Leading eigenvectors of the covariance without forming it: orthogonal iteration with Rayleigh-Ritz (Halko, Martinsson
// and Tropp 2011 in its converged form). A fixed start, so the result is a function of the samples.
void fit_by_iteration(std::int64_t n_rows, int n_dims, int n_components, const SampleReader& read, Pca& pca) {
  const int width = std::min<int>(
      n_dims, n_components + 10);  // guard vectors: the error shrinks by variance[width] / variance[component] per pass
  constexpr int kPasses = 200;
  constexpr double kTolerance = 1e-10;
  Eigen::MatrixXd basis(n_dims, width);
  for (int column = 0; column < width; ++column)
    for (int dim = 0; dim < n_dims; ++dim)
      basis(dim, column) = std::cos(0.7 * (column + 1) * (dim + 1) + column * column);
  const auto orthonormal = [&](const Eigen::MatrixXd& matrix) -> Eigen::MatrixXd {
    return Eigen::HouseholderQR<Eigen::MatrixXd>(matrix).householderQ() * Eigen::MatrixXd::Identity(n_dims, width);
  };
  basis = orthonormal(basis);
  for (int pass = 0; pass < kPasses; ++pass) {
    Eigen::MatrixXd image = Eigen::MatrixXd::Zero(n_dims, width);  // covariance * basis
    for_each_block(n_rows, n_dims, read, [&](std::int64_t, Eigen::MatrixXd& block) {
      block.rowwise() -= pca.mean;
      image.noalias() += block.transpose() * (block * basis);
    });
    image /= static_cast<double>(n_rows - 1);
    const Eigen::SelfAdjointEigenSolver<Eigen::MatrixXd> ritz(basis.transpose() * image);
    const Eigen::MatrixXd rotation = ritz.eigenvectors().rowwise().reverse();  // descending
    const Eigen::VectorXd variance = ritz.eigenvalues().reverse();
    const Eigen::MatrixXd components = (basis * rotation).leftCols(n_components),
                          images = (image * rotation).leftCols(n_components);
    const double residual =
        (images - components * variance.head(n_components).asDiagonal()).colwise().norm().maxCoeff();
    pca.components = components;
    pca.variance = variance.head(n_components);
    if (residual <= kTolerance * variance[0]) break;
    basis = orthonormal(image * rotation);
  }
}

void fit_by_covariance(std::int64_t n_rows, int n_dims, int n_components, const SampleReader& read, Pca& pca) {
  Eigen::MatrixXd covariance = Eigen::MatrixXd::Zero(n_dims, n_dims);
  for_each_block(n_rows, n_dims, read, [&](std::int64_t, Eigen::MatrixXd& block) {
    block.rowwise() -= pca.mean;
    covariance.selfadjointView<Eigen::Lower>().rankUpdate(block.transpose());
  });
  covariance /= static_cast<double>(n_rows - 1);
  const Eigen::SelfAdjointEigenSolver<Eigen::MatrixXd> solver(
      covariance);  // reads the lower triangle; eigenvalues ascend
  pca.components = solver.eigenvectors().rightCols(n_components).rowwise().reverse();
  pca.variance = solver.eigenvalues().tail(n_components).reverse();
}

}  // namespace

LinearMap fit_linear(const Eigen::MatrixXd& inputs, const Eigen::MatrixXd& outputs, double penalty) {
  if (inputs.rows() == 0) throw ConfigError("linear fit: no rows to fit to");
  if (!(penalty >= 0)) throw ConfigError(fmt::format("linear fit: penalty {} must be 0 or more", penalty));
  const Eigen::RowVectorXd input_mean = inputs.colwise().mean(), output_mean = outputs.colwise().mean();
  const Eigen::MatrixXd x = inputs.rowwise() - input_mean, y = outputs.rowwise() - output_mean;
  LinearMap map;
  if (penalty == 0) {
    map.weight = x.completeOrthogonalDecomposition().solve(y);
  } else {
    Eigen::MatrixXd gram = x.transpose() * x;
    gram.diagonal().array() += penalty;
    map.weight = gram.ldlt().solve(x.transpose() * y);
  }
  map.intercept = output_mean - input_mean * map.weight;
  return map;
}

SupportVectorMachine fit_support_vectors(const Eigen::MatrixXd& inputs, const std::vector<bool>& positive,
                                         double cost) {
  if (inputs.rows() == 0 || positive.size() != to_size(inputs.rows()))
    throw ConfigError(fmt::format("support vectors: {} rows and {} classes, there must be one for each", inputs.rows(),
                                  positive.size()));
  if (!(cost > 0)) throw ConfigError(fmt::format("support vectors: cost {} must be above 0", cost));
  Eigen::MatrixXd signed_inputs(inputs.rows(), inputs.cols() + 1);  // y_i (x_i, 1)
  signed_inputs << inputs, Eigen::VectorXd::Ones(inputs.rows());
  for (Eigen::Index row = 0; row < inputs.rows(); ++row)
    if (!positive[to_size(row)]) signed_inputs.row(row) *= -1;

  const auto lack = [&](const Eigen::VectorXd& w) { return Eigen::VectorXd((1 - (signed_inputs * w).array()).max(0)); };
  const auto objective = [&](const Eigen::VectorXd& w) { return 0.5 * w.squaredNorm() + cost * lack(w).squaredNorm(); };
  Eigen::VectorXd w = Eigen::VectorXd::Zero(signed_inputs.cols());
  constexpr int kSteps = 200;  // a handful is enough: each ends at the minimum of the quadratic piece it began in
  for (int step = 0; step < kSteps; ++step) {
    const Eigen::VectorXd missing = lack(w);
    const Eigen::VectorXd gradient = w - 2 * cost * (signed_inputs.transpose() * missing);
    Eigen::MatrixXd curvature = Eigen::MatrixXd::Identity(w.size(), w.size());
    for (Eigen::Index begin = 0; begin < signed_inputs.rows(); begin += kRowsPerBlock) {
      const Eigen::Index n = std::min<Eigen::Index>(kRowsPerBlock, signed_inputs.rows() - begin);
      const auto block = signed_inputs.middleRows(begin, n);
      const Eigen::MatrixXd active = block.array().colwise() * (missing.segment(begin, n).array() > 0).cast<double>();
      curvature.noalias() += 2 * cost * (active.transpose() * block);
    }
    const Eigen::VectorXd change = -curvature.ldlt().solve(gradient);
    const double slope = gradient.dot(change), before = objective(w);
    double length = 1;
    while (length > 1e-10 && !(objective(w + length * change) <= before + 1e-4 * length * slope)) length /= 2;
    w += length * change;
    if (!(-slope > 1e-24 * (1 + before))) break;
  }
  return {w.head(inputs.cols()), w[inputs.cols()]};
}

Pca fit_pca(std::int64_t n_rows, int n_dims, int n_components, const SampleReader& read) {
  const std::int64_t most = std::min<std::int64_t>(n_rows - 1, n_dims);
  if (n_components < 1 || n_components > most)
    throw ConfigError(fmt::format("principal components: {} asked for of {} samples with {} dimensions: at most {}",
                                  n_components, n_rows, n_dims, most));
  Pca pca;
  pca.mean = Eigen::RowVectorXd::Zero(n_dims);
  for_each_block(n_rows, n_dims, read,
                 [&](std::int64_t, Eigen::MatrixXd& block) { pca.mean += block.colwise().sum(); });
  pca.mean /= static_cast<double>(n_rows);

  (n_dims > kMostDimsOfCovariance ? fit_by_iteration : fit_by_covariance)(n_rows, n_dims, n_components, read, pca);
  for (int component = 0; component < n_components; ++component) {
    Eigen::Index largest = 0;
    pca.components.col(component).cwiseAbs().maxCoeff(&largest);
    if (pca.components(largest, component) < 0) pca.components.col(component) *= -1;
  }
  return pca;
}

Eigen::MatrixXd project(const Pca& pca, std::int64_t n_rows, const SampleReader& read) {
  Eigen::MatrixXd latents(n_rows, pca.components.cols());
  for_each_block(n_rows, static_cast<int>(pca.components.rows()), read,
                 [&](std::int64_t begin, Eigen::MatrixXd& block) {
                   block.rowwise() -= pca.mean;
                   latents.middleRows(begin, block.rows()) = block * pca.components;
                 });
  return latents;
}

}  // namespace idem
