#include "host/evaluation/linear_decoder.h"

#include <algorithm>

#include "host/evaluation/linear.h"
#include "host/evaluation/row_major_matrix.h"
#include "kernels/common/to_size.h"

namespace idem {

using nlohmann::json;

Eigen::MatrixXd matrix_of(const Embedding& embedding, std::span<const std::int32_t> rows) {
  Eigen::MatrixXd matrix(static_cast<Eigen::Index>(rows.size()), embedding.n_dims);
  for (std::size_t i = 0; i < rows.size(); ++i)
    for (int dim = 0; dim < embedding.n_dims; ++dim)
      matrix(static_cast<Eigen::Index>(i), dim) =
          embedding.values[to_size(rows[i]) * to_size(embedding.n_dims) + to_size(dim)];
  return matrix;
}

std::vector<Prediction> predict_linearly(const Problem& problem, std::span<const std::int32_t> train,
                                         std::span<const std::int32_t> query, const std::vector<double>& settings) {
  const auto n_columns = to_size(column_count(problem.targets)), n_labels = problem.targets.size();
  const Eigen::MatrixXd inputs = matrix_of(problem.embedding, train),
                        query_inputs = matrix_of(problem.embedding, query);
  std::vector<double> columns = problem.true_columns(train);
  const Eigen::MatrixXd outputs = Eigen::Map<RowMajorMatrix>(columns.data(), static_cast<Eigen::Index>(train.size()),
                                                             static_cast<Eigen::Index>(n_columns));
  std::vector<Prediction> predictions(settings.size());
  for (std::size_t setting = 0; setting < settings.size(); ++setting) {
    const RowMajorMatrix predicted = fit_linear(inputs, outputs, settings[setting]).apply(query_inputs);
    auto& prediction = predictions[setting];
    prediction.columns.assign(predicted.data(), predicted.data() + predicted.size());
    prediction.values.resize(query.size() * n_labels);
    for (std::size_t i = 0; i < query.size(); ++i)
      for (std::size_t label = 0; label < n_labels; ++label) {
        const auto& target = problem.targets[label];
        prediction.values[i * n_labels + label] =
            target.value_from_columns(prediction.columns.data() + i * n_columns + to_size(target.first_column));
      }
  }
  return predictions;
}

// How many of `query` a machine of each cost, fitted on `train`, gets right.
static std::vector<double> direction_accuracies(const Problem& problem, std::span<const std::int32_t> train,
                                                std::span<const std::int32_t> query, const std::vector<double>& costs) {
  const auto is_first = [&](std::int32_t row) { return problem.direction->values[to_size(row)] == 0; };
  Eigen::MatrixXd inputs = matrix_of(problem.embedding, train), asked = matrix_of(problem.embedding, query);
  const Eigen::RowVectorXd mean = inputs.colwise().mean();
  inputs.rowwise() -= mean;
  asked.rowwise() -= mean;
  const Eigen::RowVectorXd sd = (inputs.colwise().squaredNorm() / static_cast<double>(train.size())).cwiseSqrt();
  const Eigen::RowVectorXd scale = (sd.array() > 0).select(sd.cwiseInverse(), 1.0);
  inputs.array().rowwise() *= scale.array();
  asked.array().rowwise() *= scale.array();
  std::vector<bool> first;
  for (const auto row : train) first.push_back(is_first(row));
  std::vector<double> accuracies;
  for (const double cost : costs) {
    const Eigen::VectorXd margin = fit_support_vectors(inputs, first, cost).margin(asked);
    double n_right = 0;
    for (std::size_t i = 0; i < query.size(); ++i)
      n_right += (margin[static_cast<Eigen::Index>(i)] >= 0) == is_first(query[i]);
    accuracies.push_back(n_right / static_cast<double>(query.size()));
  }
  return accuracies;
}

json decode_direction_by_support_vectors(const Problem& problem, const Split& split, const std::vector<double>& costs) {
  json result = json::object();
  double cost = costs.front();
  if (!split.valid.empty()) {
    const std::vector<double> accuracies = direction_accuracies(problem, split.train, split.valid, costs);
    const auto best = std::max_element(accuracies.begin(), accuracies.end());
    cost = costs[to_size(best - accuracies.begin())];
    result["valid"]["direction_accuracy"] = *best;
  }
  if (!split.test.empty())
    result["test"]["direction_accuracy"] =
        direction_accuracies(problem, train_and_valid(split), split.test, {cost}).front();
  result["cost"] = cost;
  return result;
}

}  // namespace idem
