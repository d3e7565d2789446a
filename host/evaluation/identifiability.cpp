#include "host/evaluation/identifiability.h"

#include <algorithm>
#include <cmath>
#include <limits>

#include "fmt/format.h"
#include "host/support/errors.h"
#include "host/evaluation/linear.h"
#include "host/evaluation/row_major_matrix.h"
#include "host/evaluation/scores.h"
#include "kernels/common/to_size.h"

namespace idem {

namespace {

template <class Value>
RowMajorMatrix rows_of(std::span<const Value> values, int n_columns, std::span<const std::int32_t> rows) {
  RowMajorMatrix matrix(static_cast<Eigen::Index>(rows.size()), n_columns);
  for (std::size_t i = 0; i < rows.size(); ++i)
    for (int column = 0; column < n_columns; ++column) {
      const double value = values[to_size(rows[i]) * to_size(n_columns) + to_size(column)];
      if (!std::isfinite(value))
        throw DataError(fmt::format("identifiability: row {}, column {} is {}: the model that made it has diverged",
                                    rows[i], column, value));
      matrix(static_cast<Eigen::Index>(i), column) = value;
    }
  return matrix;
}

}  // namespace

std::vector<int> best_assignment(std::span<const double> gain, int n_rows, int n_columns) {
  if (n_rows > n_columns)
    throw ConfigError(
        fmt::format("assignment: {} rows to {} columns: give the smaller side as rows", n_rows, n_columns));
  // Shortest augmenting paths with potentials (Kuhn 1955; Jonker and Volgenant 1987); row and column 0 are sentinels.
  const auto rows = to_size(n_rows), columns = to_size(n_columns);
  std::vector<double> row_potential(rows + 1, 0), column_potential(columns + 1, 0);
  std::vector<std::size_t> row_of(columns + 1, 0), previous(columns + 1, 0);
  for (std::size_t row = 1; row <= rows; ++row) {
    row_of[0] = row;
    std::size_t column = 0;
    std::vector<double> slack(columns + 1, std::numeric_limits<double>::infinity());
    std::vector<bool> visited(columns + 1, false);
    do {
      visited[column] = true;
      const std::size_t current = row_of[column];
      double step = std::numeric_limits<double>::infinity();
      std::size_t next = 0;
      for (std::size_t other = 1; other <= columns; ++other) {
        if (visited[other]) continue;
        const double reduced =
            -gain[(current - 1) * columns + other - 1] - row_potential[current] - column_potential[other];
        if (reduced < slack[other]) {
          slack[other] = reduced;
          previous[other] = column;
        }
        if (slack[other] < step) {
          step = slack[other];
          next = other;
        }
      }
      for (std::size_t other = 0; other <= columns; ++other) {
        if (visited[other]) {
          row_potential[row_of[other]] += step;
          column_potential[other] -= step;
        } else {
          slack[other] -= step;
        }
      }
      column = next;
    } while (row_of[column] != 0);
    for (; column != 0; column = previous[column]) row_of[column] = row_of[previous[column]];
  }
  std::vector<int> assignment(rows, 0);
  for (std::size_t column = 1; column <= columns; ++column)
    if (row_of[column] != 0) assignment[row_of[column] - 1] = static_cast<int>(column - 1);
  return assignment;
}

double matched_correlation(std::span<const double> a, int n_a, std::span<const double> b, int n_b) {
  if (n_a > n_b) return matched_correlation(b, n_b, a, n_a);
  const std::size_t n_rows = a.size() / to_size(n_a);
  const auto column_of = [n_rows](std::span<const double> values, int n_columns, int column) {
    std::vector<double> out(n_rows);
    for (std::size_t row = 0; row < n_rows; ++row) out[row] = values[row * to_size(n_columns) + to_size(column)];
    return out;
  };
  std::vector<double> gain;
  for (int i = 0; i < n_a; ++i) {
    const std::vector<double> first = column_of(a, n_a, i);
    for (int j = 0; j < n_b; ++j) gain.push_back(std::abs(correlation(first, column_of(b, n_b, j))));
  }
  const std::vector<int> match = best_assignment(gain, n_a, n_b);
  double sum = 0;
  for (int i = 0; i < n_a; ++i) sum += gain[to_size(i * n_b + match[to_size(i)])];
  return sum / n_a;
}

IdentifiabilityScores measure_identifiability(const Embedding& embedding, std::span<const double> target, int n_targets,
                                              std::span<const std::int32_t> fit_rows,
                                              std::span<const std::int32_t> score_rows) {
  if (fit_rows.empty() || score_rows.empty())
    throw ConfigError("identifiability: rows to fit the affine map on and rows to score it on are needed");
  if (target.size() != to_size(embedding.n_rows) * to_size(n_targets))
    throw DataError(fmt::format("identifiability: {} target values for {} rows of {} targets", target.size(),
                                embedding.n_rows, n_targets));
  const RowMajorMatrix fitted = rows_of(embedding.values, embedding.n_dims, fit_rows),
                       scored = rows_of(embedding.values, embedding.n_dims, score_rows);
  const RowMajorMatrix truth = rows_of(target, n_targets, score_rows);
  const RowMajorMatrix mapped = fit_linear(fitted, rows_of(target, n_targets, fit_rows), 0).apply(scored);
  return {mean_r2(values_of(truth), values_of(mapped), n_targets),
          matched_correlation(values_of(scored), embedding.n_dims, values_of(truth), n_targets),
          matched_correlation(values_of(mapped), n_targets, values_of(truth), n_targets)};
}

double affine_agreement(const Embedding& from, const Embedding& to, const Split& split) {
  const auto& score_rows = split.test.empty() ? split.valid : split.test;
  if (split.train.empty() || score_rows.empty())
    throw ConfigError("agreement: bins to fit the affine map on and bins to score it on are needed");
  const RowMajorMatrix truth = rows_of(to.values, to.n_dims, score_rows);
  const LinearMap map =
      fit_linear(rows_of(from.values, from.n_dims, split.train), rows_of(to.values, to.n_dims, split.train), 0);
  const RowMajorMatrix mapped = map.apply(rows_of(from.values, from.n_dims, score_rows));
  return std::max(0.0, mean_r2(values_of(truth), values_of(mapped), to.n_dims));
}

double mean_affine_agreement(const std::vector<Embedding>& embeddings, const Split& split) {
  double sum = 0;
  const std::size_t n = embeddings.size();
  for (std::size_t from = 0; from < n; ++from)
    for (std::size_t to = 0; to < n; ++to)
      if (from != to) sum += affine_agreement(embeddings[from], embeddings[to], split);
  return n < 2 ? std::numeric_limits<double>::quiet_NaN() : sum / static_cast<double>(n * (n - 1));
}

std::vector<double> label_conditional_mean(std::span<const double> values, int n_columns,
                                           std::span<const std::int32_t> label_bin,
                                           std::span<const std::int32_t> rows) {
  const auto columns = to_size(n_columns);
  const std::size_t n_bins = label_bin.empty() ? 0 : to_size(*std::max_element(label_bin.begin(), label_bin.end())) + 1;
  std::vector<double> sums(n_bins * columns, 0), counts(n_bins, 0), all(columns, 0), means(values.size());
  for (const auto row : rows) {
    const auto time = to_size(row), bin = to_size(label_bin[time]);
    ++counts[bin];
    for (std::size_t column = 0; column < columns; ++column) {
      sums[bin * columns + column] += values[time * columns + column];
      all[column] += values[time * columns + column] / static_cast<double>(rows.size());
    }
  }
  for (std::size_t time = 0; time < label_bin.size(); ++time) {
    const auto bin = to_size(label_bin[time]);
    for (std::size_t column = 0; column < columns; ++column)
      means[time * columns + column] = counts[bin] > 0 ? sums[bin * columns + column] / counts[bin] : all[column];
  }
  return means;
}

nlohmann::json identifiability_report(const Embedding& embedding, const Recording& recording, const Split& split,
                                      std::span<const std::int32_t> label_bin) {
  nlohmann::json report = nlohmann::json::object();
  if (recording.n_true_latents == 0) return report;
  const std::vector<double> label_mean =
      recording.true_latent_means.empty()
          ? label_conditional_mean(recording.true_latents, recording.n_true_latents, label_bin, split.train)
          : recording.true_latent_means;
  const std::pair<const char*, std::span<const double>> targets[] = {{"true_latent", recording.true_latents},
                                                                     {"label_mean", label_mean}};
  for (const auto& [name, target] : targets) {
    const IdentifiabilityScores scores =
        measure_identifiability(embedding, target, recording.n_true_latents, split.valid, split.test);
    report[name] = {{"affine_r2", scores.affine_r2}, {"strong_mcc", scores.strong_mcc}, {"weak_mcc", scores.weak_mcc}};
  }
  return report;
}

}  // namespace idem
