#include "host/evaluation/linear.h"

#include <gtest/gtest.h>

#include <Eigen/Eigenvalues>
#include <cmath>

#include "host/support/errors.h"
#include "kernels/common/to_size.h"
#include "tests/support/reproducible_values.h"

namespace idem {
namespace {

Eigen::MatrixXd reproducible_matrix(int n_rows, int first_column, int n_columns) {
  Eigen::MatrixXd matrix(n_rows, n_columns);
  for (int row = 0; row < n_rows; ++row)
    for (int column = 0; column < n_columns; ++column)
      matrix(row, column) = reproducible_value(row, first_column + column);
  return matrix;
}

void expect_near(const Eigen::MatrixXd& got, const Eigen::MatrixXd& want, double tolerance) {
  ASSERT_EQ(got.rows(), want.rows());
  ASSERT_EQ(got.cols(), want.cols());
  EXPECT_TRUE((got - want).cwiseAbs().maxCoeff() <= tolerance) << "got\n" << got << "\nwant\n" << want;
}

TEST(LinearFit, LeastSquaresAndRidgeEqualScikitLearn) {
  const Eigen::MatrixXd inputs = reproducible_matrix(60, 0, 3), outputs = reproducible_matrix(60, 7, 2);
  const LinearMap plain = fit_linear(inputs, outputs, 0), ridge = fit_linear(inputs, outputs, 2.5);
  Eigen::MatrixXd weight(3, 2);
  weight << -0.0280983497123, -0.188372899201, 0.0511459048815, -0.0384173043646, 0.0696949602365, 0.149530022056;
  expect_near(plain.weight, weight, 1e-12);
  expect_near(plain.intercept, Eigen::RowVector2d(-0.485468001894, 0.71454277917), 1e-11);
  weight << -0.0280562695679, -0.188003227837, 0.0510530431933, -0.038275799823, 0.06956471604, 0.149233230105;
  expect_near(ridge.weight, weight, 1e-12);
  expect_near(ridge.intercept, Eigen::RowVector2d(-0.485589167321, 0.714677080259), 1e-11);
  expect_near(plain.apply(inputs).colwise().mean(), outputs.colwise().mean(), 1e-12);
}

TEST(LinearFit, DependentInputsGetTheSmallestWeightsAsInScikitLearn) {
  Eigen::MatrixXd inputs(60, 4);
  inputs << reproducible_matrix(60, 0, 3), Eigen::VectorXd::Zero(60);
  inputs.col(3) = inputs.col(0) + inputs.col(1);
  Eigen::MatrixXd weight(4, 2);
  weight << -0.035780868102, -0.112776164679, 0.0434633864917, 0.0371794301574, 0.0696949602365, 0.149530022056,
      0.00768251838972, -0.0755967345219;
  expect_near(fit_linear(inputs, reproducible_matrix(60, 7, 2), 0).weight, weight, 1e-11);
}

TEST(SupportVectors, EqualScikitLearn) {
  const Eigen::MatrixXd inputs = reproducible_matrix(200, 0, 3);
  std::vector<bool> positive;
  for (int row = 0; row < 200; ++row)
    positive.push_back(reproducible_value(row, 0) + 0.5 * reproducible_value(row, 1) + reproducible_value(row, 5) >
                       0.7);
  // LinearSVC stops where its gradient is some 1e-6.
  const SupportVectorMachine soft = fit_support_vectors(inputs, positive, 0.01),
                             hard = fit_support_vectors(inputs, positive, 1);
  expect_near(soft.weight, Eigen::Vector3d(0.116996757, 0.046083588, 0.004738044), 1e-8);
  EXPECT_NEAR(soft.intercept, -0.065868778, 1e-8);
  expect_near(hard.weight, Eigen::Vector3d(0.119092124, 0.047662061, 0.004874785), 1e-8);
  EXPECT_NEAR(hard.intercept, -0.084579456, 2e-8);
}

TEST(SupportVectors, EndWhereTheGradientVanishes) {
  // 80 rows of one class and 4 of the other, of badly scaled inputs.
  Eigen::MatrixXd inputs = reproducible_matrix(84, 2, 5);
  inputs.col(1) *= 1e4;
  inputs.col(4) *= 1e-4;
  std::vector<bool> positive(84);
  for (const std::size_t row : {3u, 20u, 21u, 77u}) positive[row] = true;
  for (const double cost : {1e-6, 1.0, 1e6}) {
    const SupportVectorMachine machine = fit_support_vectors(inputs, positive, cost);
    const Eigen::VectorXd margin = machine.margin(inputs);
    Eigen::VectorXd gradient = machine.weight, size = machine.weight.cwiseAbs();
    for (int row = 0; row < 84; ++row) {
      const double y = positive[to_size(row)] ? 1 : -1, lack = std::max(0.0, 1 - y * margin[row]);
      gradient -= 2 * cost * lack * y * inputs.row(row).transpose();
      size += 2 * cost * lack * inputs.row(row).transpose().cwiseAbs();
    }
    EXPECT_TRUE((gradient.cwiseAbs().array() <= 1e-9 * size.array()).all()) << cost << ": " << gradient.transpose();
  }
}

TEST(SupportVectors, NoRowsOrNoCostAreRefused) {
  EXPECT_THROW(fit_support_vectors(Eigen::MatrixXd(0, 2), {}, 1), ConfigError);
  EXPECT_THROW(fit_support_vectors(Eigen::MatrixXd::Zero(3, 2), {true, false, true}, 0), ConfigError);
}

TEST(LinearFit, NoRowsOrANegativePenaltyAreRefused) {
  EXPECT_THROW(fit_linear(Eigen::MatrixXd(0, 2), Eigen::MatrixXd(0, 1), 0), ConfigError);
  EXPECT_THROW(fit_linear(Eigen::MatrixXd::Zero(3, 2), Eigen::MatrixXd::Zero(3, 1), -1), ConfigError);
}

TEST(PrincipalComponents, EqualScikitLearnOverSeveralBlocksOfRows) {
  const int n_rows = 2500;
  const SampleReader read = [](std::int64_t begin, std::int64_t end, Eigen::MatrixXd& block) {
    const double scale[] = {1, 2, 3, 0.5};
    for (std::int64_t row = begin; row < end; ++row)
      for (int column = 0; column < 4; ++column)
        block(row - begin, column) = reproducible_value(row, column) * scale[column];
  };
  const Pca pca = fit_pca(n_rows, 4, 2, read);
  expect_near(pca.mean, Eigen::RowVector4d(0.12626875, -0.3552875, -0.6311625, 0.01401875), 1e-12);
  expect_near(pca.variance, Eigen::Vector2d(182.090650073, 81.7248889483), 1e-8);
  // Both components' largest entries are positive, as they happen to be in scikit-learn's result.
  Eigen::MatrixXd components(2, 4);
  components << -0.0091765470359, -0.0685190365695, 0.997570379859, 0.00861799516191, -0.00779983868863, 0.997539966058,
      0.0683278592946, 0.0135824253322;
  expect_near(pca.components, components.transpose(), 1e-10);

  const Eigen::MatrixXd latents = project(pca, n_rows, read);
  expect_near(latents.colwise().mean(), Eigen::RowVector2d::Zero(), 1e-10);
  Eigen::MatrixXd row(1, 4);
  read(2000, 2001, row);
  expect_near(latents.row(2000), (row - pca.mean) * pca.components, 1e-10);
}

TEST(PrincipalComponents, ManyDimensionsAreIteratedUntilTheComponentsAreEigenvectors) {
  const int n_rows = 40, n_dims = 1100;
  const SampleReader read = [](std::int64_t begin, std::int64_t end, Eigen::MatrixXd& block) {
    for (std::int64_t row = begin; row < end; ++row)
      for (int column = 0; column < block.cols(); ++column) {
        double value = reproducible_value(row, column) / 20;
        for (int factor = 0; factor < 3; ++factor)
          value += reproducible_value(row, 1 + factor) * std::cos(column * 0.01 * (factor + 1)) / (factor + 1);
        block(row - begin, column) = value;
      }
  };
  const Pca pca = fit_pca(n_rows, n_dims, 3, read);
  Eigen::MatrixXd samples(n_rows, n_dims);
  read(0, n_rows, samples);
  const Eigen::MatrixXd centred = samples.rowwise() - samples.colwise().mean();
  // The Gram matrix of the rows has the same leading eigenvalues as the covariance.
  const Eigen::VectorXd variance =
      Eigen::SelfAdjointEigenSolver<Eigen::MatrixXd>(centred * centred.transpose() / (n_rows - 1)).eigenvalues();
  expect_near(pca.variance, variance.tail(3).reverse(), 1e-8 * variance.maxCoeff());
  const Eigen::MatrixXd image = centred.transpose() * (centred * pca.components) / (n_rows - 1);
  expect_near(image, pca.components * pca.variance.asDiagonal(), 1e-9 * variance.maxCoeff());
  expect_near(pca.components.transpose() * pca.components, Eigen::MatrixXd::Identity(3, 3), 1e-10);
}

TEST(PrincipalComponents, TheSignDoesNotDependOnTheSamples) {
  for (double sign : {1.0, -1.0}) {
    const Pca pca = fit_pca(50, 2, 1, [&](std::int64_t begin, std::int64_t end, Eigen::MatrixXd& block) {
      for (std::int64_t row = begin; row < end; ++row) {
        const double along = sign * reproducible_value(row, 0);
        block.row(row - begin) << along, -3 * along;
      }
    });
    expect_near(pca.components, Eigen::Vector2d(-1, 3) / std::sqrt(10.0), 1e-12);
  }
}

TEST(PrincipalComponents, MoreComponentsThanTheSamplesSpanAreRefused) {
  const SampleReader read = [](std::int64_t, std::int64_t, Eigen::MatrixXd& block) { block.setZero(); };
  EXPECT_THROW(fit_pca(3, 5, 3, read), ConfigError);
  EXPECT_THROW(fit_pca(10, 2, 3, read), ConfigError);
}

}  // namespace
}  // namespace idem
