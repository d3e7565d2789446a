#include "host/evaluation/decoding.h"

#include <algorithm>
#include <limits>
#include <utility>

#include "fmt/format.h"
#include "host/evaluation/decoding_scores.h"
#include "host/evaluation/linear_decoder.h"
#include "host/evaluation/neighbour_decoder.h"
#include "host/support/errors.h"
#include "kernels/common/to_size.h"

namespace idem {

namespace {

using nlohmann::json;

// Of each label the place of its setting, by the scores on `rows`; the first among equals.
std::vector<std::size_t> choose_settings(const Problem& problem, std::span<const std::int32_t> rows,
                                         const std::vector<Prediction>& predictions, NeighboursBy by) {
  const auto first_best = [&](const auto& score_of) {
    std::vector<double> scores;
    for (const auto& prediction : predictions) scores.push_back(score_of(prediction));
    return to_size(std::max_element(scores.begin(), scores.end()) - scores.begin());
  };
  if (by == NeighboursBy::r2)
    return std::vector<std::size_t>(
        problem.targets.size(), first_best([&](const Prediction& one) {
          return score(problem, rows, one).total_r2.value_or(-std::numeric_limits<double>::infinity());
        }));
  std::vector<std::size_t> chosen;
  for (std::size_t label = 0; label < problem.targets.size(); ++label) {
    const double sign = problem.targets[label].label->kind == LabelKind::categorical ? 1 : -1;
    chosen.push_back(first_best([&](const Prediction& one) { return sign * label_score(problem, rows, one, label); }));
  }
  return chosen;
}

// Each label as predictions[chosen[label]] has it.
Prediction composed(const Problem& problem, const std::vector<Prediction>& predictions,
                    const std::vector<std::size_t>& chosen) {
  const std::size_t n_labels = problem.targets.size(), n_columns = to_size(column_count(problem.targets));
  Prediction result = predictions.front();
  for (std::size_t label = 0; label < n_labels; ++label) {
    const Prediction& from = predictions[chosen[label]];
    const auto first = to_size(problem.targets[label].first_column), n = to_size(problem.targets[label].n_columns);
    for (std::size_t row = 0; row < result.values.size() / n_labels; ++row) {
      result.values[row * n_labels + label] = from.values[row * n_labels + label];
      for (std::size_t column = first; column < first + n; ++column)
        result.columns[row * n_columns + column] = from.columns[row * n_columns + column];
    }
  }
  return result;
}

// The number of neighbours of each label, and which of them are an end of the grid. most: the largest number that was
// asked for.
json with_neighbours(DecoderResult result, const Problem& problem, const std::vector<double>& grid, double most) {
  for (std::size_t label = 0; label < problem.targets.size(); ++label) {
    const LabelColumn* of = problem.targets[label].label;
    const double setting = result.settings[label];
    const auto add = [&](json& to, const char* key) {
      to[key] = static_cast<int>(setting);
      if (grid.size() < 2) return;
      if (setting == most) to["grid_end"][key] = "largest";
      if (setting == grid.front() && setting > 1) to["grid_end"][key] = "smallest";
    };
    if (of == problem.position)
      add(result.scores, "neighbours");
    else if (of == problem.direction)
      add(result.scores, "direction_neighbours");
    else
      add(result.scores["labels"][of->name], "neighbours");
  }
  if (!problem.position) result.scores["neighbours"] = result.scores["direction_neighbours"];
  return result.scores;
}

}  // namespace

std::vector<double> grid_of(std::vector<double> grid, const std::string& name) {
  std::sort(grid.begin(), grid.end());
  grid.erase(std::unique(grid.begin(), grid.end()), grid.end());
  if (grid.empty()) throw ConfigError(fmt::format("decoding: the grid of {} is empty: give at least one value", name));
  return grid;
}

DecoderResult run_protocol(const Problem& problem, const Split& split, const std::vector<double>& grid,
                           const std::string& setting_name, NeighboursBy by, const FitAndPredict& decode) {
  DecoderResult result{
      .scores = json::object(), .settings = std::vector<double>(problem.targets.size(), grid.front()), .of_test = {}};
  if (!split.valid.empty()) {
    const auto predictions = decode(split.train, split.valid, grid);
    const std::vector<std::size_t> chosen = choose_settings(problem, split.valid, predictions, by);
    for (std::size_t label = 0; label < chosen.size(); ++label) result.settings[label] = grid[chosen[label]];
    add_scores(result.scores, "valid", score(problem, split.valid, composed(problem, predictions, chosen)), problem);
  } else if (grid.size() > 1) {
    throw ConfigError(
        fmt::format("decoding: split {} has no validation bins to choose the {} by: give one value instead of {}",
                    split.name, setting_name, grid.size()));
  }
  if (!split.test.empty()) {
    const std::vector<double> needed = grid_of(result.settings, setting_name);
    std::vector<std::size_t> places;
    for (const double setting : result.settings)
      places.push_back(to_size(std::find(needed.begin(), needed.end(), setting) - needed.begin()));
    const auto predictions = decode(train_and_valid(split), split.test, needed);
    Prediction prediction = composed(problem, predictions, places);
    add_scores(result.scores, "test", score(problem, split.test, prediction), problem);
    result.of_test = std::move(prediction.values);
  }
  return result;
}

json decode_embedding(const Embedding& embedding, const Recording& recording, const Split& split,
                      const DecodingOptions& options, ThreadPool& pool, TestReadings* decoded) {
  const Problem problem(embedding, recording, options, pool);
  json result = json::object();
  if (problem.targets.empty()) return result;
  if (split.train.empty()) throw ConfigError(fmt::format("decoding: split {} has no train bins", split.name));

  std::vector<double> neighbours = grid_of({options.neighbours.begin(), options.neighbours.end()}, "neighbours");
  if (neighbours.front() < 1)
    throw ConfigError(fmt::format("decoding: {} neighbours: give 1 or more", neighbours.front()));
  const double most = neighbours.back();
  std::erase_if(neighbours, [&](double k) { return k > static_cast<double>(split.train.size()); });
  if (neighbours.empty())
    throw ConfigError(
        fmt::format("decoding: split {} has {} train bins, fewer than every entry of neighbours: add a smaller one",
                    split.name, split.train.size()));
  for (const auto& [name, distance] : {std::pair{"cosine", Distance::cosine}, {"euclidean", Distance::euclidean}}) {
    DecoderResult found = run_protocol(problem, split, neighbours, "neighbours", options.neighbours_by,
                                       [&](auto train, auto query, const auto& settings) {
                                         return predict_by_neighbours(problem, distance, train, query, settings);
                                       });
    if (decoded) (*decoded)[name] = found.of_test;
    result[name] = with_neighbours(std::move(found), problem, neighbours, most);
  }
  DecoderResult linear = run_protocol(
      problem, split, grid_of(options.ridge_penalties, "ridge penalties"), "penalty", NeighboursBy::r2,
      [&](auto train, auto query, const auto& settings) { return predict_linearly(problem, train, query, settings); });
  if (decoded) (*decoded)["linear"] = std::move(linear.of_test);
  linear.scores["penalty"] = linear.settings.front();
  result["linear"] = std::move(linear.scores);
  if (problem.direction && problem.direction->categories.size() == 2)
    result["support_vectors"] =
        decode_direction_by_support_vectors(problem, split, grid_of(options.support_vector_costs, "costs"));
  return result;
}

}  // namespace idem
