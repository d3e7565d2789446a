#include "host/evaluation/place_fields.h"

#include <algorithm>
#include <cmath>
#include <limits>

#include "host/evaluation/decoding.h"
#include "host/evaluation/linear_decoder.h"
#include "host/support/cells.h"
#include "kernels/common/to_size.h"

namespace idem {

namespace {

using nlohmann::json;

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
        const auto value = [&](std::int32_t row) { return label.values[to_size(row)]; };
        const auto [low, high] =
            std::minmax_element(train.begin(), train.end(), [&](auto a, auto b) { return value(a) < value(b); });
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
    for (const auto& axis : axes_) cell = cell * axis.n + axis.bin(axis.label->values[to_size(row)]);
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
          values.col(cell) +=
              std::exp(-0.5 * shift * shift / (sigma * sigma)) * before.col(cell + (from - bin) * stride);
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

// log p(activity | cell) + log visits, but for terms of the activity alone: activity . linear + its squares . quadratic
// + offset of a cell.
struct Fields {
  Eigen::MatrixXd linear, quadratic;  // [n_neurons x n_cells]; quadratic: of Gaussian activity alone
  Eigen::VectorXd offset;             // [n_cells], -infinity where nothing is known
};

constexpr double kFewestVisits = 1e-3;  // after smoothing: below, nothing is known of a cell

// near: smoothed sums of the counts of each neuron, and below them the visits; mean: of each neuron over the train
// rows.
Fields poisson_fields(const Eigen::MatrixXd& near, const Eigen::VectorXd& mean) {
  Fields fields{
      .linear = Eigen::MatrixXd(mean.size(), near.cols()), .quadratic = {}, .offset = Eigen::VectorXd(near.cols())};
  for (Eigen::Index cell = 0; cell < near.cols(); ++cell) {
    const double visits = near(mean.size(), cell);
    const bool known = visits > kFewestVisits;
    // A neuron that never fires tells nothing; one that is silent here may still fire once.
    const Eigen::VectorXd field =
        known ? Eigen::VectorXd((near.col(cell).head(mean.size()) / visits).cwiseMax(1e-2 * mean).cwiseMax(1e-9))
              : mean.cwiseMax(1e-9);
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
  // A cell that was visited but once has no variance of its own: every one is at least a quarter of the neuron's mean
  // variance within cells.
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
  return std::all_of(values.begin(), values.end(),
                     [](float value) { return value >= 0 && value == std::floor(value); });
}

std::vector<Prediction> predict_by_place_fields(const Problem& problem, bool is_poisson,
                                                std::span<const std::int32_t> train,
                                                std::span<const std::int32_t> query,
                                                const std::vector<double>& settings) {
  const Cells cells(problem.targets, train);
  const auto n_cells = static_cast<Eigen::Index>(cells.count());
  Eigen::MatrixXd activity = matrix_of(problem.embedding, query), of_train = matrix_of(problem.embedding, train);
  const Eigen::VectorXd mean = of_train.colwise().mean().transpose();
  const Eigen::Index n_neurons = of_train.cols();
  if (!is_poisson) {
    of_train.rowwise() -= mean.transpose();
    const Eigen::ArrayXd sd =
        (of_train.colwise().squaredNorm() / static_cast<double>(train.size())).cwiseSqrt().transpose();
    // A spread of less than the digits that a float of the neuron's size keeps is rounding: the neuron tells nothing,
    // whatever its value later.
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

}  // namespace

json decode_by_place_fields(const Embedding& activity, const Recording& recording, const Split& split,
                            const DecodingOptions& options, ThreadPool& pool, std::vector<double>* decoded) {
  const Problem problem(activity, recording, options, pool);
  const bool is_poisson = are_counts(activity.values);
  const int n_sums = is_poisson ? activity.n_dims : 2 * activity.n_dims;
  if (problem.targets.empty() || split.train.empty() ||
      Cells(problem.targets, split.train).count() * n_sums > kMostFieldValues)
    return json::object();
  const std::vector<double> grid = split.valid.empty() ? std::vector<double>{1} : options.field_smoothing_bins;
  const auto decode = [&](auto train, auto query, const auto& settings) {
    return predict_by_place_fields(problem, is_poisson, train, query, settings);
  };
  DecoderResult result =
      run_protocol(problem, split, grid_of(grid, "field smoothing"), "smoothing_bins", NeighboursBy::r2, decode);
  if (decoded) *decoded = std::move(result.of_test);
  result.scores["smoothing_bins"] = result.settings.front();
  result.scores["activity"] = is_poisson ? "poisson" : "gaussian";
  return result.scores;
}

}  // namespace idem
