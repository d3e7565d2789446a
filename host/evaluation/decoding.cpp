#include "host/evaluation/decoding.h"

#include <algorithm>
#include <cmath>
#include <functional>
#include <limits>
#include <numbers>

#include "fmt/format.h"
#include "host/support/cells.h"
#include "host/support/errors.h"
#include "host/evaluation/linear.h"
#include "host/recordings/recording_npz.h"
#include "host/evaluation/scores.h"

namespace idem {

namespace {

using nlohmann::json;

constexpr double kTurn = 2 * std::numbers::pi;

// One label as the decoders see it: the columns of all bins, and how to get back from columns to the label.
struct Target {
  const LabelColumn* label = nullptr;
  int n_columns = 0, first_column = 0;

  double value_from_columns(const double* columns) const {
    switch (label->kind) {
      case LabelKind::continuous: return columns[0];
      case LabelKind::circular: {
        const double turns = std::atan2(columns[0], columns[1]) / kTurn;
        const double value = (turns - std::floor(turns)) * label->period;
        return value < label->period ? value : 0;
      }
      case LabelKind::categorical: return static_cast<double>(std::max_element(columns, columns + n_columns) - columns);
    }
    return 0;
  }
  void columns_from_value(double value, double* columns) const {
    switch (label->kind) {
      case LabelKind::continuous: columns[0] = value; break;
      case LabelKind::circular:
        columns[0] = std::sin(kTurn * value / label->period);
        columns[1] = std::cos(kTurn * value / label->period);
        break;
      case LabelKind::categorical:
        for (int category = 0; category < n_columns; ++category) columns[category] = static_cast<int>(value) == category ? 1 : 0;
        break;
    }
  }
};

std::vector<Target> targets_of(const Recording& recording) {
  std::vector<Target> targets;
  int n_columns = 0;
  for (const auto& label : recording.labels) {
    const int columns = label.kind == LabelKind::continuous ? 1 : label.kind == LabelKind::circular ? 2 : static_cast<int>(label.categories.size());
    targets.push_back({&label, columns, n_columns});
    n_columns += columns;
  }
  return targets;
}

int column_count(const std::vector<Target>& targets) { return targets.empty() ? 0 : targets.back().first_column + targets.back().n_columns; }

// Predictions for some rows. columns [n_rows x n_columns]; values [n_rows x n_labels].
struct Prediction {
  std::vector<double> columns, values;
};

// What is to be decoded.
struct Labels {
  const Recording& recording;
  const DecodingOptions& options;
  std::vector<Target> targets;
  const LabelColumn* position;
  const LabelColumn* direction;

  Labels(const Recording& r, const DecodingOptions& o)
      : recording(r),
        options(o),
        targets(targets_of(r)),
        position(position_label(r, o.position_label)),
        direction(direction_label(r, o.direction_label)) {}

  std::vector<double> true_columns(std::span<const std::int32_t> rows) const {
    std::vector<double> values;
    for (const auto row : rows)
      for (const auto& target : targets) values.push_back(target.label->values[static_cast<std::size_t>(row)]);
    return columns_of(values);
  }
  // values [n_rows x n_labels]
  std::vector<double> columns_of(const std::vector<double>& values) const {
    const auto n_columns = static_cast<std::size_t>(column_count(targets)), n_labels = targets.size();
    std::vector<double> columns(values.size() / n_labels * n_columns);
    for (std::size_t i = 0; i < values.size() / n_labels; ++i)
      for (std::size_t label = 0; label < n_labels; ++label)
        targets[label].columns_from_value(values[i * n_labels + label],
                                          columns.data() + i * n_columns + static_cast<std::size_t>(targets[label].first_column));
    return columns;
  }
};

struct Problem : Labels {
  const Embedding& embedding;
  ThreadPool& pool;

  Problem(const Embedding& e, const Recording& r, const DecodingOptions& o, ThreadPool& p) : Labels(r, o), embedding(e), pool(p) {
    if (embedding.n_rows != recording.n_times ||
        embedding.values.size() != static_cast<std::size_t>(embedding.n_rows) * static_cast<std::size_t>(embedding.n_dims) || embedding.n_dims < 1)
      throw DataError(fmt::format("embedding: {} rows of {} values; the recording of {} has {} bins, one row is needed for each", embedding.n_rows,
                                  embedding.n_dims, recording.subject, recording.n_times));
  }
};

// The prediction of each setting, fitted on `train`, for the rows `query`.
using Decoder = std::function<std::vector<Prediction>(std::span<const std::int32_t> train, std::span<const std::int32_t> query,
                                                      const std::vector<double>& settings)>;

std::vector<Prediction> predict_by_neighbours(const Problem& problem, Distance distance, std::span<const std::int32_t> train,
                                              std::span<const std::int32_t> query, const std::vector<double>& settings) {
  std::vector<const Target*> averaged, voted;
  int n_averaged = 0;
  for (const auto& target : problem.targets)
    if (target.label->kind == LabelKind::categorical) {
      voted.push_back(&target);
    } else {
      averaged.push_back(&target);
      n_averaged += target.n_columns;
    }
  std::vector<double> means(train.size() * static_cast<std::size_t>(n_averaged));
  std::vector<std::int32_t> classes(train.size() * voted.size());
  for (std::size_t i = 0; i < train.size(); ++i) {
    double* columns = means.data() + i * static_cast<std::size_t>(n_averaged);
    for (const auto* target : averaged) {
      target->columns_from_value(target->label->values[static_cast<std::size_t>(train[i])], columns);
      columns += target->n_columns;
    }
    for (std::size_t j = 0; j < voted.size(); ++j)
      classes[i * voted.size() + j] = static_cast<std::int32_t>(voted[j]->label->values[static_cast<std::size_t>(train[i])]);
  }
  const std::vector<int> neighbours(settings.begin(), settings.end());
  const auto found = predict_from_neighbours({problem.embedding, train, query, 1, distance}, means, n_averaged, classes,
                                             static_cast<int>(voted.size()), neighbours, problem.pool);

  const auto n_columns = static_cast<std::size_t>(column_count(problem.targets)), n_labels = problem.targets.size();
  std::vector<Prediction> predictions(found.size());
  for (std::size_t setting = 0; setting < found.size(); ++setting) {
    auto& prediction = predictions[setting];
    prediction.columns.resize(query.size() * n_columns);
    prediction.values.resize(query.size() * n_labels);
    for (std::size_t i = 0; i < query.size(); ++i) {
      const double* mean = found[setting].means.data() + i * static_cast<std::size_t>(n_averaged);
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
        target.columns_from_value(value, prediction.columns.data() + i * n_columns + static_cast<std::size_t>(target.first_column));
      }
    }
  }
  return predictions;
}

Eigen::MatrixXd matrix_of(const Embedding& embedding, std::span<const std::int32_t> rows) {
  Eigen::MatrixXd matrix(static_cast<Eigen::Index>(rows.size()), embedding.n_dims);
  for (std::size_t i = 0; i < rows.size(); ++i)
    for (int dim = 0; dim < embedding.n_dims; ++dim)
      matrix(static_cast<Eigen::Index>(i), dim) =
          embedding.values[static_cast<std::size_t>(rows[i]) * static_cast<std::size_t>(embedding.n_dims) + static_cast<std::size_t>(dim)];
  return matrix;
}

using RowMajorMatrix = Eigen::Matrix<double, Eigen::Dynamic, Eigen::Dynamic, Eigen::RowMajor>;

std::vector<Prediction> predict_linearly(const Problem& problem, std::span<const std::int32_t> train, std::span<const std::int32_t> query,
                                         const std::vector<double>& settings) {
  const auto n_columns = static_cast<std::size_t>(column_count(problem.targets)), n_labels = problem.targets.size();
  const Eigen::MatrixXd inputs = matrix_of(problem.embedding, train), query_inputs = matrix_of(problem.embedding, query);
  std::vector<double> columns = problem.true_columns(train);
  const Eigen::MatrixXd outputs =
      Eigen::Map<RowMajorMatrix>(columns.data(), static_cast<Eigen::Index>(train.size()), static_cast<Eigen::Index>(n_columns));
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
            target.value_from_columns(prediction.columns.data() + i * n_columns + static_cast<std::size_t>(target.first_column));
      }
  }
  return predictions;
}

// Cells of the labels' space, numbered with the first label changing slowest.
class Cells {
 public:
  static constexpr int kBins = 40;

  Cells(const std::vector<Target>& targets, std::span<const std::int32_t> train) {
    for (const auto& target : targets) {
      const LabelColumn& label = *target.label;
      Axis axis{&label, 0, label.period, kBins};
      if (label.kind == LabelKind::categorical) axis.n = static_cast<int>(label.categories.size());
      if (label.kind == LabelKind::continuous) {
        const auto value = [&](std::int32_t row) { return label.values[static_cast<std::size_t>(row)]; };
        const auto [low, high] = std::minmax_element(train.begin(), train.end(), [&](auto a, auto b) { return value(a) < value(b); });
        axis.low = value(*low);
        axis.width = value(*high) - axis.low;
      }
      axes_.push_back(axis);
    }
  }
  double count() const {
    double n = 1;
    for (const auto& axis : axes_) n *= axis.n;
    return n;
  }
  Eigen::Index of_row(std::int32_t row) const {
    Eigen::Index cell = 0;
    for (const auto& axis : axes_) cell = cell * axis.n + axis.bin(axis.label->values[static_cast<std::size_t>(row)]);
    return cell;
  }
  // One value per label: the middle of the cell.
  void append_middle(Eigen::Index cell, std::vector<double>& values) const {
    const std::size_t first = values.size();
    for (auto axis = axes_.rbegin(); axis != axes_.rend(); ++axis) {
      values.push_back(axis->middle(static_cast<int>(cell % axis->n)));
      cell /= axis->n;
    }
    std::reverse(values.begin() + static_cast<std::ptrdiff_t>(first), values.end());
  }
  // Gaussian of `sigma` bins along every axis that is not one of categories; columns are cells.
  Eigen::MatrixXd smoothed(Eigen::MatrixXd values, double sigma) const {
    Eigen::Index stride = 1;
    for (auto axis = axes_.rbegin(); axis != axes_.rend(); stride *= axis->n, ++axis) {
      if (axis->label->kind == LabelKind::categorical) continue;
      const Eigen::MatrixXd before = values;
      values.setZero();
      const bool wraps = axis->label->kind == LabelKind::circular;
      const int reach = std::min(axis->n - 1, static_cast<int>(std::ceil(4 * sigma)));
      for (Eigen::Index cell = 0; cell < before.cols(); ++cell) {
        const int bin = static_cast<int>(cell / stride % axis->n);
        for (int shift = -reach; shift <= reach; ++shift) {
          const int from = wraps ? (bin + shift + axis->n) % axis->n : bin + shift;
          if (from < 0 || from >= axis->n) continue;
          values.col(cell) += std::exp(-0.5 * shift * shift / (sigma * sigma)) * before.col(cell + (from - bin) * stride);
        }
      }
    }
    return values;
  }

 private:
  struct Axis {
    const LabelColumn* label;
    double low, width;
    int n;

    int bin(double value) const {
      if (label->kind == LabelKind::categorical) return static_cast<int>(value);
      return width > 0 ? cell_of((value - low) / width, n) : 0;
    }
    double middle(int i) const { return label->kind == LabelKind::categorical ? i : low + width * (i + 0.5) / n; }
  };
  std::vector<Axis> axes_;
};

constexpr double kMostFieldValues = 2e7;  // cells times sums of neurons

// log p(activity | cell) + log visits, but for terms of the activity alone: activity . linear + its squares . quadratic + offset of a cell.
struct Fields {
  Eigen::MatrixXd linear, quadratic;  // [n_neurons x n_cells]; quadratic: of Gaussian activity alone
  Eigen::VectorXd offset;             // [n_cells], -infinity where nothing is known
};

constexpr double kFewestVisits = 1e-3;  // after smoothing: below, nothing is known of a cell

// near: smoothed sums of the counts of each neuron, and below them the visits; mean: of each neuron over the train rows.
Fields poisson_fields(const Eigen::MatrixXd& near, const Eigen::VectorXd& mean) {
  Fields fields{.linear = Eigen::MatrixXd(mean.size(), near.cols()), .quadratic = {}, .offset = Eigen::VectorXd(near.cols())};
  for (Eigen::Index cell = 0; cell < near.cols(); ++cell) {
    const double visits = near(mean.size(), cell);
    const bool known = visits > kFewestVisits;
    // A neuron that never fires tells nothing; one that is silent here may still fire once.
    const Eigen::VectorXd field =
        known ? Eigen::VectorXd((near.col(cell).head(mean.size()) / visits).cwiseMax(1e-2 * mean).cwiseMax(1e-9)) : mean.cwiseMax(1e-9);
    fields.linear.col(cell) = field.array().log();
    fields.offset[cell] = known ? std::log(visits) - field.sum() : -std::numeric_limits<double>::infinity();
  }
  return fields;
}

// near: smoothed sums of the standardised activity of each neuron, of its squares, and the visits.
Fields gaussian_fields(const Eigen::MatrixXd& near) {
  const Eigen::Index n_neurons = near.rows() / 2, n_cells = near.cols();
  const auto visits = near.row(2 * n_neurons);
  const auto mean = [&](Eigen::Index cell) -> Eigen::ArrayXd { return near.col(cell).head(n_neurons) / visits[cell]; };
  const auto variance = [&](Eigen::Index cell) -> Eigen::ArrayXd {
    return near.col(cell).segment(n_neurons, n_neurons).array() / visits[cell] - mean(cell).square();
  };
  // A cell that was visited but once has no variance of its own: every one is at least a quarter of the neuron's mean variance within cells.
  Eigen::ArrayXd least = Eigen::ArrayXd::Zero(n_neurons);
  for (Eigen::Index cell = 0; cell < n_cells; ++cell)
    if (visits[cell] > kFewestVisits) least += 0.25 * visits[cell] / visits.sum() * variance(cell);
  least = least.max(1e-6);
  Fields fields{.linear = Eigen::MatrixXd::Zero(n_neurons, n_cells),
                .quadratic = Eigen::MatrixXd::Zero(n_neurons, n_cells),
                .offset = Eigen::VectorXd::Constant(n_cells, -std::numeric_limits<double>::infinity())};
  for (Eigen::Index cell = 0; cell < n_cells; ++cell) {
    if (!(visits[cell] > kFewestVisits)) continue;
    const Eigen::ArrayXd of_cell = mean(cell), precision = variance(cell).max(least).inverse();
    fields.linear.col(cell) = of_cell * precision;
    fields.quadratic.col(cell) = -0.5 * precision;
    fields.offset[cell] = std::log(visits[cell]) - 0.5 * (of_cell.square() * precision - precision.log()).sum();
  }
  return fields;
}

// Whether every value could be a number of spikes.
bool are_counts(std::span<const float> values) {
  return std::all_of(values.begin(), values.end(), [](float value) { return value >= 0 && value == std::floor(value); });
}

std::vector<Prediction> predict_by_place_fields(const Problem& problem, bool is_poisson, std::span<const std::int32_t> train,
                                                std::span<const std::int32_t> query, const std::vector<double>& settings) {
  const Cells cells(problem.targets, train);
  const auto n_cells = static_cast<Eigen::Index>(cells.count());
  Eigen::MatrixXd activity = matrix_of(problem.embedding, query), of_train = matrix_of(problem.embedding, train);
  const Eigen::VectorXd mean = of_train.colwise().mean().transpose();
  const Eigen::Index n_neurons = of_train.cols();
  if (!is_poisson) {
    of_train.rowwise() -= mean.transpose();
    const Eigen::ArrayXd sd = (of_train.colwise().squaredNorm() / static_cast<double>(train.size())).cwiseSqrt().transpose();
    // A spread of less than the digits that a float of the neuron's size keeps is rounding: the neuron tells nothing, whatever its value later.
    const Eigen::VectorXd scale = (sd > 1e-6 * mean.array().abs()).select(sd.inverse(), 0.0);
    activity = (activity.rowwise() - mean.transpose()) * scale.asDiagonal();
    of_train *= scale.asDiagonal();
  }
  // Below the neurons' sums (of squares too, where they are Gaussian) how often each cell was visited.
  const Eigen::Index n_sums = is_poisson ? n_neurons : 2 * n_neurons;
  Eigen::MatrixXd sums = Eigen::MatrixXd::Zero(n_sums + 1, n_cells);
  for (std::size_t i = 0; i < train.size(); ++i) {
    const auto row = of_train.row(static_cast<Eigen::Index>(i)).transpose();
    auto of_cell = sums.col(cells.of_row(train[i]));
    of_cell.head(n_neurons) += row;
    if (!is_poisson) of_cell.segment(n_neurons, n_neurons) += row.cwiseAbs2();
    of_cell[n_sums] += 1;
  }
  std::vector<Prediction> predictions;
  for (const double sigma : settings) {
    const Eigen::MatrixXd near = cells.smoothed(sums, sigma);
    const Fields fields = is_poisson ? poisson_fields(near, mean) : gaussian_fields(near);
    Prediction& prediction = predictions.emplace_back();
    constexpr Eigen::Index at_once = 256;  // rows: of each there is a score for every cell
    for (Eigen::Index begin = 0; begin < activity.rows(); begin += at_once) {
      const auto rows = activity.middleRows(begin, std::min(at_once, activity.rows() - begin));
      Eigen::MatrixXd score = rows * fields.linear;
      if (!is_poisson) score += rows.cwiseAbs2() * fields.quadratic;
      score.rowwise() += fields.offset.transpose();
      for (Eigen::Index row = 0; row < score.rows(); ++row) {
        Eigen::Index best = 0;
        score.row(row).maxCoeff(&best);
        cells.append_middle(best, prediction.values);
      }
    }
    prediction.columns = problem.columns_of(prediction.values);
  }
  return predictions;
}

bool varies(const std::vector<double>& values) {
  return std::any_of(values.begin(), values.end(), [&](double value) { return value != values.front(); });
}

// Accuracy of a categorical label, else the median error in the label's unit.
double label_score(const Labels& problem, std::span<const std::int32_t> rows, const Prediction& prediction,
                   std::size_t number) {
  const LabelColumn& label = *problem.targets[number].label;
  std::vector<double> errors(rows.size());
  double n_right = 0;
  for (std::size_t i = 0; i < rows.size(); ++i) {
    const double predicted = prediction.values[i * problem.targets.size() + number],
                 measured = label.values[static_cast<std::size_t>(rows[i])];
    errors[i] = distance_on_label(label, predicted, measured);
    n_right += predicted == measured;
  }
  return label.kind == LabelKind::categorical ? n_right / static_cast<double>(rows.size()) : median(std::move(errors));
}

DecodingScores score(const Labels& problem, std::span<const std::int32_t> rows, const Prediction& prediction) {
  const auto n_columns = static_cast<std::size_t>(column_count(problem.targets)), n_labels = problem.targets.size();
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
        const std::size_t place = i * n_columns + static_cast<std::size_t>(target.first_column + column);
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

std::vector<std::int32_t> train_and_valid(const Split& split) {
  std::vector<std::int32_t> rows = split.train;
  rows.insert(rows.end(), split.valid.begin(), split.valid.end());
  return rows;
}

// The scores of one part of the split, "valid" or "test".
void add_scores(json& result, const char* part, const DecodingScores& scores, const Labels& problem) {
  result[part] = to_json(scores, problem.recording, problem.options);
  for (const auto& [label, value] : scores.others)
    result["labels"][label->name][part] =
        label->kind == LabelKind::categorical ? json{{"accuracy", value}} : json{{"median_error", value}, {"unit", label->unit}};
}

// Of each label the place of its setting, by the scores on `rows`; the first among equals.
std::vector<std::size_t> choose_settings(const Problem& problem, std::span<const std::int32_t> rows,
                                         const std::vector<Prediction>& predictions, NeighboursBy by) {
  const auto first_best = [&](const auto& score_of) {
    std::vector<double> scores;
    for (const auto& prediction : predictions) scores.push_back(score_of(prediction));
    return static_cast<std::size_t>(std::max_element(scores.begin(), scores.end()) - scores.begin());
  };
  if (by == NeighboursBy::r2)
    return std::vector<std::size_t>(
        problem.targets.size(), first_best([&](const Prediction& one) { return score(problem, rows, one).total_r2.value_or(-std::numeric_limits<double>::infinity()); }));
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
  const std::size_t n_labels = problem.targets.size(),
                    n_columns = static_cast<std::size_t>(column_count(problem.targets));
  Prediction result = predictions.front();
  for (std::size_t label = 0; label < n_labels; ++label) {
    const Prediction& from = predictions[chosen[label]];
    const auto first = static_cast<std::size_t>(problem.targets[label].first_column),
               n = static_cast<std::size_t>(problem.targets[label].n_columns);
    for (std::size_t row = 0; row < result.values.size() / n_labels; ++row) {
      result.values[row * n_labels + label] = from.values[row * n_labels + label];
      for (std::size_t column = first; column < first + n; ++column)
        result.columns[row * n_columns + column] = from.columns[row * n_columns + column];
    }
  }
  return result;
}

// Ascending, each once, so that "the smallest among equals" is the first.
std::vector<double> grid_of(std::vector<double> grid, const std::string& name) {
  std::sort(grid.begin(), grid.end());
  grid.erase(std::unique(grid.begin(), grid.end()), grid.end());
  if (grid.empty()) throw ConfigError(fmt::format("decoding: the grid of {} is empty: give at least one value", name));
  return grid;
}

struct DecoderResult {
  json scores;
  std::vector<double> settings;  // of each label
};

// Setting by validation, then test: see the protocol above.
DecoderResult run_protocol(const Problem& problem, const Split& split, const std::vector<double>& grid,
                           const std::string& setting_name, NeighboursBy by, const Decoder& decode) {
  DecoderResult result{.scores = json::object(), .settings = std::vector<double>(problem.targets.size(), grid.front())};
  if (!split.valid.empty()) {
    const auto predictions = decode(split.train, split.valid, grid);
    const std::vector<std::size_t> chosen = choose_settings(problem, split.valid, predictions, by);
    for (std::size_t label = 0; label < chosen.size(); ++label) result.settings[label] = grid[chosen[label]];
    add_scores(result.scores, "valid", score(problem, split.valid, composed(problem, predictions, chosen)), problem);
  } else if (grid.size() > 1) {
    throw ConfigError(fmt::format("decoding: split {} has no validation bins to choose the {} by: give one value instead of {}", split.name,
                                  setting_name, grid.size()));
  }
  if (!split.test.empty()) {
    const std::vector<double> needed = grid_of(result.settings, setting_name);
    std::vector<std::size_t> places;
    for (const double setting : result.settings)
      places.push_back(static_cast<std::size_t>(std::find(needed.begin(), needed.end(), setting) - needed.begin()));
    const auto predictions = decode(train_and_valid(split), split.test, needed);
    add_scores(result.scores, "test", score(problem, split.test, composed(problem, predictions, places)), problem);
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

// How many of `query` a machine of each cost, fitted on `train`, gets right.
std::vector<double> direction_accuracies(const Problem& problem, std::span<const std::int32_t> train, std::span<const std::int32_t> query,
                                         const std::vector<double>& costs) {
  const auto is_first = [&](std::int32_t row) { return problem.direction->values[static_cast<std::size_t>(row)] == 0; };
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
    for (std::size_t i = 0; i < query.size(); ++i) n_right += (margin[static_cast<Eigen::Index>(i)] >= 0) == is_first(query[i]);
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
    cost = costs[static_cast<std::size_t>(best - accuracies.begin())];
    result["valid"]["direction_accuracy"] = *best;
  }
  if (!split.test.empty())
    result["test"]["direction_accuracy"] = direction_accuracies(problem, train_and_valid(split), split.test, {cost}).front();
  result["cost"] = cost;
  return result;
}

const LabelColumn* find_label(const Recording& recording, const std::string& name, bool categorical, const char* part) {
  if (name.empty()) {
    for (const auto& label : recording.labels)
      if ((label.kind == LabelKind::categorical) == categorical) return &label;
    return nullptr;
  }
  const LabelColumn& label = recording.label(name);
  if ((label.kind == LabelKind::categorical) != categorical)
    throw ConfigError(fmt::format("decoding: {} label \"{}\" is {}categorical: name a {} label", part, name, categorical ? "not " : "",
                                  categorical ? "categorical" : "continuous or circular"));
  return &label;
}

// The bins t - left ... t + right - 1 of every t, shifted inside what the window of t may see.
class Windows {
 public:
  Windows(const Recording& recording, int left, int right, EdgePolicy edges, const Split& split)
      : source_(window_source(recording, split, edges)), left_(left), length_(left + right) {
    if (left < 0 || right < 1)
      throw ConfigError(fmt::format("baseline windows: bins [t - {}, t + {}) do not contain t: left >= 0, right >= 1", left, right));
  }
  int length() const { return length_; }
  // Bin read by tap `tap` of the window of `time`; a stretch shorter than the window repeats its last bin.
  std::int32_t bin(std::int64_t time, int tap) const {
    const std::int32_t row = source_.row_of_bin[static_cast<std::size_t>(time)];
    const std::int32_t begin = source_.segment_begin[static_cast<std::size_t>(row)], end = source_.segment_end[static_cast<std::size_t>(row)];
    const std::int32_t first = std::max(begin, std::min(row - left_, end - length_));
    return source_.source_bins[static_cast<std::size_t>(std::min(first + tap, end - 1))];
  }

 private:
  WindowSource source_;
  int left_, length_;
};

}  // namespace

double distance_on_label(const LabelColumn& label, double a, double b) {
  return std::abs(label.kind == LabelKind::circular ? circular_difference(a, b, label.period) : a - b);
}

double centimetres_per_unit(const std::string& unit) {
  return unit == "m" ? 100 : unit == "cm" ? 1 : unit == "mm" ? 0.1 : 0;
}

const LabelColumn* position_label(const Recording& recording, const std::string& name) { return find_label(recording, name, false, "position"); }

const LabelColumn* direction_label(const Recording& recording, const std::string& name) { return find_label(recording, name, true, "direction"); }

json to_json(const DecodingScores& scores, const Recording& recording, const DecodingOptions& options) {
  json result = json::object();
  if (scores.position_error) {
    const double scale = centimetres_per_unit(position_label(recording, options.position_label)->unit);
    result[scale > 0 ? "position_error_cm" : "position_error"] = *scores.position_error * (scale > 0 ? scale : 1);
  }
  if (scores.position_r2) result["position_r2"] = *scores.position_r2;
  if (scores.direction_r2) result["direction_r2"] = *scores.direction_r2;
  if (scores.direction_accuracy) result["direction_accuracy"] = *scores.direction_accuracy;
  if (scores.total_r2) result["total_r2"] = *scores.total_r2;
  return result;
}

json decoded_labels(const Recording& recording, const DecodingOptions& options) {
  json result = json::object();
  if (const auto* position = position_label(recording, options.position_label))
    result["position"] = {{"name", position->name}, {"unit", centimetres_per_unit(position->unit) > 0 ? "cm" : position->unit}};
  if (const auto* direction = direction_label(recording, options.direction_label)) result["direction"] = {{"name", direction->name}};
  for (const auto& label : recording.labels) {
    json& column = result["columns"][label.name] = {{"kind", to_string(label.kind)}, {"unit", label.unit}};
    if (label.kind == LabelKind::circular) column["period"] = label.period;
  }
  return result;
}

json decode_embedding(const Embedding& embedding, const Recording& recording, const Split& split, const DecodingOptions& options, ThreadPool& pool) {
  const Problem problem(embedding, recording, options, pool);
  json result = json::object();
  if (problem.targets.empty()) return result;
  if (split.train.empty()) throw ConfigError(fmt::format("decoding: split {} has no train bins", split.name));

  std::vector<double> neighbours = grid_of({options.neighbours.begin(), options.neighbours.end()}, "neighbours");
  if (neighbours.front() < 1) throw ConfigError(fmt::format("decoding: {} neighbours: give 1 or more", neighbours.front()));
  const double most = neighbours.back();
  std::erase_if(neighbours, [&](double k) { return k > static_cast<double>(split.train.size()); });
  if (neighbours.empty())
    throw ConfigError(
        fmt::format("decoding: split {} has {} train bins, fewer than every entry of neighbours: add a smaller one", split.name, split.train.size()));
  for (const auto& [name, distance] : {std::pair{"cosine", Distance::cosine}, {"euclidean", Distance::euclidean}}) {
    DecoderResult found = run_protocol(problem, split, neighbours, "neighbours", options.neighbours_by,
                                       [&](auto train, auto query, const auto& settings) {
                                         return predict_by_neighbours(problem, distance, train, query, settings);
                                       });
    result[name] = with_neighbours(std::move(found), problem, neighbours, most);
  }
  DecoderResult linear = run_protocol(
      problem, split, grid_of(options.ridge_penalties, "ridge penalties"), "penalty", NeighboursBy::r2,
      [&](auto train, auto query, const auto& settings) { return predict_linearly(problem, train, query, settings); });
  linear.scores["penalty"] = linear.settings.front();
  result["linear"] = std::move(linear.scores);
  if (problem.direction && problem.direction->categories.size() == 2)
    result["support_vectors"] = decode_direction_by_support_vectors(problem, split, grid_of(options.support_vector_costs, "costs"));
  return result;
}

json decode_by_place_fields(const Embedding& activity, const Recording& recording, const Split& split, const DecodingOptions& options,
                            ThreadPool& pool) {
  const Problem problem(activity, recording, options, pool);
  const bool is_poisson = are_counts(activity.values);
  const int n_sums = is_poisson ? activity.n_dims : 2 * activity.n_dims;
  if (problem.targets.empty() || split.train.empty() || Cells(problem.targets, split.train).count() * n_sums > kMostFieldValues) return json::object();
  const std::vector<double> grid = split.valid.empty() ? std::vector<double>{1} : options.field_smoothing_bins;
  const auto decode = [&](auto train, auto query, const auto& settings) {
    return predict_by_place_fields(problem, is_poisson, train, query, settings);
  };
  DecoderResult result =
      run_protocol(problem, split, grid_of(grid, "field smoothing"), "smoothing_bins", NeighboursBy::r2, decode);
  result.scores["smoothing_bins"] = result.settings.front();
  result.scores["activity"] = is_poisson ? "poisson" : "gaussian";
  return result.scores;
}

void score_decoded(json& result, const char* part, const std::vector<double>& values, std::span<const std::int32_t> rows, const Recording& recording,
                   const DecodingOptions& options) {
  const Labels labels(recording, options);
  if (labels.targets.empty() || rows.empty()) return;
  add_scores(result, part, score(labels, rows, {labels.columns_of(values), values}), labels);
}

DecodedPosition decode_position(const Embedding& embedding, const Recording& recording, const Split& split, const DecodingOptions& options,
                                Distance distance, int neighbours, ThreadPool& pool) {
  const Problem problem(embedding, recording, options, pool);
  DecodedPosition result;
  if (!problem.position) return result;
  const auto prediction = predict_by_neighbours(problem, distance, train_and_valid(split), split.test, {static_cast<double>(neighbours)}).front();
  const auto label = static_cast<std::size_t>(problem.position - recording.labels.data());
  result.unit = problem.position->unit;
  result.rows = split.test;
  for (std::size_t i = 0; i < split.test.size(); ++i) {
    result.truth.push_back(problem.position->values[static_cast<std::size_t>(split.test[i])]);
    result.decoded.push_back(prediction.values[i * problem.targets.size() + label]);
  }
  return result;
}

Baselines::Baselines(const Recording& recording, int left, int right, EdgePolicy edges, const Split& split) : recording_(recording) {
  const Windows windows(recording, left, right, edges, split);
  const int n_neurons = recording.n_neurons, n_dims = windows.length() * n_neurons;
  const SampleReader read = [&](std::int64_t begin, std::int64_t end, Eigen::MatrixXd& block) {
    for (std::int64_t time = begin; time < end; ++time)
      for (int tap = 0; tap < windows.length(); ++tap)
        for (int neuron = 0; neuron < n_neurons; ++neuron)
          block(time - begin, tap * n_neurons + neuron) = recording.count(windows.bin(time, tap), neuron);
  };
  n_components_ = std::min({n_components_, n_dims, recording.n_times - 1});
  const Pca pca = fit_pca(recording.n_times, n_dims, n_components_, read);
  const RowMajorMatrix latents = project(pca, recording.n_times, read);
  pca_.assign(latents.data(), latents.data() + latents.size());

  window_sums_.resize(recording.counts.size());
  for (std::int64_t time = 0; time < recording.n_times; ++time)
    for (int tap = 0; tap < windows.length(); ++tap)
      for (int neuron = 0; neuron < n_neurons; ++neuron)
        window_sums_[static_cast<std::size_t>(time * n_neurons + neuron)] += recording.count(windows.bin(time, tap), neuron);
}

json Baselines::decode(const Split& split, const DecodingOptions& options, ThreadPool& pool) const {
  json result = json::object();
  result["pca"] = decode_embedding(pca(), recording_, split, options, pool);
  result["window_sums"] = decode_embedding(window_sums(), recording_, split, options, pool);
  if (const json fields = decode_by_place_fields(window_sums(), recording_, split, options, pool); !fields.empty()) result["place_fields"] = fields;

  // Chance: every row gets the same label.
  const Labels problem(recording_, options);
  if (problem.targets.empty()) return result;
  std::vector<double> columns(static_cast<std::size_t>(column_count(problem.targets))), values;
  for (const auto& target : problem.targets) {
    double* own = columns.data() + target.first_column;
    for (std::int32_t row : split.train) {
      std::vector<double> one(static_cast<std::size_t>(target.n_columns));
      target.columns_from_value(target.label->values[static_cast<std::size_t>(row)], one.data());
      for (std::size_t column = 0; column < one.size(); ++column) own[column] += one[column];
    }
    double value = target.value_from_columns(own);
    if (target.label->kind == LabelKind::continuous) {
      std::vector<double> train(split.train.size());
      std::transform(split.train.begin(), split.train.end(), train.begin(),
                     [&](auto row) { return target.label->values[static_cast<std::size_t>(row)]; });
      value = median(std::move(train));
    }
    values.push_back(value);
  }
  for (const auto& [name, rows] : {std::pair{"valid", &split.valid}, {"test", &split.test}}) {
    if (rows->empty()) continue;
    std::vector<double> guesses;
    for (std::size_t i = 0; i < rows->size(); ++i) guesses.insert(guesses.end(), values.begin(), values.end());
    score_decoded(result["chance"], name, guesses, *rows, recording_, options);
  }
  return result;
}

}  // namespace idem
