#include "host/evaluation/decoding_scores.h"

#include <algorithm>
#include <string>

#include "host/evaluation/scores.h"
#include "kernels/common/to_size.h"

namespace idem {

using nlohmann::json;

static bool varies(const std::vector<double>& values) {
  return std::any_of(values.begin(), values.end(), [&](double value) { return value != values.front(); });
}

double label_score(const Labels& problem, std::span<const std::int32_t> rows, const Prediction& prediction,
                   std::size_t number) {
  const LabelColumn& label = *problem.targets[number].label;
  std::vector<double> errors(rows.size());
  double n_right = 0;
  for (std::size_t i = 0; i < rows.size(); ++i) {
    const double predicted = prediction.values[i * problem.targets.size() + number],
                 measured = label.values[to_size(rows[i])];
    errors[i] = distance_on_label(label, predicted, measured);
    n_right += predicted == measured;
  }
  return label.kind == LabelKind::categorical ? n_right / static_cast<double>(rows.size()) : median(std::move(errors));
}

DecodingScores score(const Labels& problem, std::span<const std::int32_t> rows, const Prediction& prediction) {
  const auto n_columns = to_size(column_count(problem.targets)), n_labels = problem.targets.size();
  const std::vector<double> truth = problem.true_columns(rows);
  DecodingScores scores;
  double total = 0;
  int n_varying = 0;
  for (std::size_t label = 0; label < n_labels; ++label) {
    const auto& target = problem.targets[label];
    double label_total = 0;
    int n_varying_of_label = 0;
    std::vector<double> true_column(rows.size()), predicted_column(rows.size());
    for (int column = 0; column < target.n_columns; ++column) {
      for (std::size_t i = 0; i < rows.size(); ++i) {
        const std::size_t place = i * n_columns + to_size(target.first_column + column);
        true_column[i] = truth[place];
        predicted_column[i] = prediction.columns[place];
      }
      // R2 tells nothing of a column without variance: a category that never occurs, and is never named, would pass for
      // one that is told perfectly.
      if (!varies(true_column)) continue;
      label_total += r2(true_column, predicted_column);
      ++n_varying_of_label;
    }
    total += label_total;
    n_varying += n_varying_of_label;
    const std::optional<double> label_r2 =
        n_varying_of_label > 0 ? std::optional(label_total / n_varying_of_label) : std::nullopt;
    const double of_label = label_score(problem, rows, prediction, label);
    if (target.label == problem.position) {
      scores.position_r2 = label_r2;
      scores.position_error = of_label;
    } else if (target.label == problem.direction) {
      scores.direction_r2 = label_r2;
      scores.direction_accuracy = of_label;
    } else {
      scores.others.push_back({target.label, of_label});
    }
  }
  if (n_varying > 0) scores.total_r2 = total / n_varying;
  return scores;
}

json to_json(const DecodingScores& scores, const Recording& recording, const DecodingOptions& options) {
  json result = json::object();
  if (scores.position_error) {
    const auto [key, scale] = position_error_of(*position_label(recording, options.position_label));
    result[key] = *scores.position_error * scale;
  }
  if (scores.position_r2) result["position_r2"] = *scores.position_r2;
  if (scores.direction_r2) result["direction_r2"] = *scores.direction_r2;
  if (scores.direction_accuracy) result["direction_accuracy"] = *scores.direction_accuracy;
  if (scores.total_r2) result["total_r2"] = *scores.total_r2;
  return result;
}

void add_scores(json& result, const char* part, const DecodingScores& scores, const Labels& problem) {
  result[part] = to_json(scores, problem.recording, problem.options);
  for (const auto& [label, value] : scores.others)
    result["labels"][label->name][part] = label->kind == LabelKind::categorical
                                              ? json{{"accuracy", value}}
                                              : json{{"median_error", value}, {"unit", label->unit}};
}

void score_decoded(json& result, const char* part, const std::vector<double>& values,
                   std::span<const std::int32_t> rows, const Recording& recording, const DecodingOptions& options) {
  const Labels labels(recording, options);
  if (labels.targets.empty() || rows.empty()) return;
  add_scores(result, part, score(labels, rows, {labels.columns_of(values), values}), labels);
}

}  // namespace idem
