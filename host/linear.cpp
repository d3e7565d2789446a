#include "host/linear.h"

#include <Eigen/Cholesky>
#include <Eigen/Eigenvalues>
#include <Eigen/QR>
#include <algorithm>

#include "fmt/format.h"
#include "host/errors.h"

namespace idem {

namespace {
constexpr std::int64_t kRowsPerBlock = 1024;

void for_each_block(std::int64_t n_rows, int n_dims, const SampleReader& read, const std::function<void(std::int64_t, Eigen::MatrixXd&)>& use) {
  Eigen::MatrixXd block;
  for (std::int64_t begin = 0; begin < n_rows; begin += kRowsPerBlock) {
    const std::int64_t end = std::min(n_rows, begin + kRowsPerBlock);
    block.resize(end - begin, n_dims);
    read(begin, end, block);
    use(begin, block);
  }
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

Pca fit_pca(std::int64_t n_rows, int n_dims, int n_components, const SampleReader& read) {
  const std::int64_t most = std::min<std::int64_t>(n_rows - 1, n_dims);
  if (n_components < 1 || n_components > most)
    throw ConfigError(
        fmt::format("principal components: {} asked for of {} samples with {} dimensions: at most {}", n_components, n_rows, n_dims, most));
  Pca pca;
  pca.mean = Eigen::RowVectorXd::Zero(n_dims);
  for_each_block(n_rows, n_dims, read, [&](std::int64_t, Eigen::MatrixXd& block) { pca.mean += block.colwise().sum(); });
  pca.mean /= static_cast<double>(n_rows);

  Eigen::MatrixXd covariance = Eigen::MatrixXd::Zero(n_dims, n_dims);
  for_each_block(n_rows, n_dims, read, [&](std::int64_t, Eigen::MatrixXd& block) {
    block.rowwise() -= pca.mean;
    covariance.selfadjointView<Eigen::Lower>().rankUpdate(block.transpose());
  });
  covariance /= static_cast<double>(n_rows - 1);

  const Eigen::SelfAdjointEigenSolver<Eigen::MatrixXd> solver(covariance);  // reads the lower triangle; eigenvalues ascend
  pca.components.resize(n_dims, n_components);
  pca.variance.resize(n_components);
  for (int component = 0; component < n_components; ++component) {
    Eigen::VectorXd axis = solver.eigenvectors().col(n_dims - 1 - component);
    Eigen::Index largest = 0;
    axis.cwiseAbs().maxCoeff(&largest);
    if (axis[largest] < 0) axis = -axis;
    pca.components.col(component) = axis;
    pca.variance[component] = solver.eigenvalues()[n_dims - 1 - component];
  }
  return pca;
}

Eigen::MatrixXd project(const Pca& pca, std::int64_t n_rows, const SampleReader& read) {
  Eigen::MatrixXd latents(n_rows, pca.components.cols());
  for_each_block(n_rows, static_cast<int>(pca.components.rows()), read, [&](std::int64_t begin, Eigen::MatrixXd& block) {
    block.rowwise() -= pca.mean;
    latents.middleRows(begin, block.rows()) = block * pca.components;
  });
  return latents;
}

}  // namespace idem
