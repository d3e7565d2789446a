#include "host/evaluation/neighbour_decoder.h"
#include "kernels/common/to_size.h"

namespace idem {

std::vector<Prediction> predict_by_neighbours(const Problem& problem, Distance distance,
                                              std::span<const std::int32_t> train, std::span<const std::int32_t> query,
                                              const std::vector<double>& settings) {
  std::vector<const Target*> averaged, voted;
  int n_averaged = 0;
  for (const auto& target : problem.targets)
    if (target.label->kind == LabelKind::categorical) {
      voted.push_back(&target);
    } else {
      averaged.push_back(&target);
      n_averaged += target.n_columns;
    }
  std::vector<double> means(train.size() * to_size(n_averaged));
  std::vector<std::int32_t> classes(train.size() * voted.size());
  for (std::size_t i = 0; i < train.size(); ++i) {
    double* columns = means.data() + i * to_size(n_averaged);
    for (const auto* target : averaged) {
      target->columns_from_value(target->label->values[to_size(train[i])], columns);
      columns += target->n_columns;
    }
    for (std::size_t j = 0; j < voted.size(); ++j)
      classes[i * voted.size() + j] = static_cast<std::int32_t>(voted[j]->label->values[to_size(train[i])]);
  }
  const std::vector<int> neighbours(settings.begin(), settings.end());
  const auto found = predict_from_neighbours({problem.embedding, train, query, 1, distance}, means, n_averaged, classes,
                                             static_cast<int>(voted.size()), neighbours, problem.pool);

  const auto n_columns = to_size(column_count(problem.targets)), n_labels = problem.targets.size();
  std::vector<Prediction> predictions(found.size());
  for (std::size_t setting = 0; setting < found.size(); ++setting) {
    auto& prediction = predictions[setting];
    prediction.columns.resize(query.size() * n_columns);
    prediction.values.resize(query.size() * n_labels);
    for (std::size_t i = 0; i < query.size(); ++i) {
      const double* mean = found[setting].means.data() + i * to_size(n_averaged);
      const std::int32_t* vote = found[setting].votes.data() + i * voted.size();
      for (std::size_t label = 0; label < n_labels; ++label) {
        const auto& target = problem.targets[label];
        double& value = prediction.values[i * n_labels + label];
        if (target.label->kind == LabelKind::categorical) {
          value = *vote++;
        } else {
          value = target.value_from_columns(mean);
          mean += target.n_columns;
        }
        target.columns_from_value(value, prediction.columns.data() + i * n_columns + to_size(target.first_column));
      }
    }
  }
  return predictions;
}

DecodedPosition decode_position(const Embedding& embedding, const Recording& recording, const Split& split,
                                const DecodingOptions& options, Distance distance, int neighbours, ThreadPool& pool) {
  const Problem problem(embedding, recording, options, pool);
  DecodedPosition result;
  if (!problem.position) return result;
  const auto prediction =
      predict_by_neighbours(problem, distance, train_and_valid(split), split.test, {static_cast<double>(neighbours)})
          .front();
  const auto label = to_size(problem.position - recording.labels.data());
  result.unit = problem.position->unit;
  result.rows = split.test;
  for (std::size_t i = 0; i < split.test.size(); ++i) {
    result.truth.push_back(problem.position->values[to_size(split.test[i])]);
    result.decoded.push_back(prediction.values[i * problem.targets.size() + label]);
  }
  return result;
}

}  // namespace idem
