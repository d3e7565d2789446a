#include "host/evaluation/aligned_animals.h"

#include <algorithm>
#include <cmath>
#include <limits>
#include <set>
#include <span>

#include "host/evaluation/linear.h"
#include "host/evaluation/row_major_matrix.h"
#include "host/evaluation/scores.h"
#include "kernels/common/to_size.h"

namespace idem {
namespace {

struct BinMeans {
  RowMajorMatrix means;         // [n_bins x n_dims]
  std::vector<bool> is_filled;  // [n_bins]
};

// is_ring: the last edge is the first once more, and no label lies beyond.
BinMeans bin_means(const AlignedRows& animal, const std::vector<double>& edges, bool is_ring, int n_groups,
                   bool unit_length) {
  const auto per_group = static_cast<int>(edges.size()) - 1;
  const int n_dims = animal.embedding.n_dims;
  // One more than counts: labels at the very top enter where a neighbour is empty.
  const int stride = per_group + 2;
  RowMajorMatrix sums = RowMajorMatrix::Zero(n_groups * stride, n_dims);
  std::vector<std::int64_t> counts(to_size(n_groups * stride), 0);
  for (std::size_t i = 0; i < animal.rows.size(); ++i) {
    double label = animal.label[i];
    if (is_ring) {
      label -= std::floor(label / edges.back()) * edges.back();
      if (!(label < edges.back())) label = 0;  // what rounds to a whole turn
    }
    const auto bin = static_cast<int>(std::upper_bound(edges.begin(), edges.end(), label) - edges.begin());
    const int at = animal.group[i] * stride + bin;
    const float* row = animal.embedding.values.data() + std::int64_t{animal.rows[i]} * n_dims;
    for (int dim = 0; dim < n_dims; ++dim) sums(at, dim) += row[dim];
    ++counts[to_size(at)];
  }
  BinMeans result{RowMajorMatrix::Zero(n_groups * per_group, n_dims),
                  std::vector<bool>(to_size(n_groups * per_group), false)};
  for (int group = 0; group < n_groups; ++group)
    for (int bin = 1; bin <= per_group; ++bin) {
      const int to = group * per_group + bin - 1;
      for (int reach = 0; reach <= 2 && !result.is_filled[to_size(to)]; ++reach) {
        Eigen::RowVectorXd sum = Eigen::RowVectorXd::Zero(n_dims);
        std::int64_t n = 0;
        const int first = is_ring ? bin - reach : std::max(0, bin - reach);
        const int last = is_ring ? std::min(bin + reach, first + per_group - 1)
                                 : std::min(stride - 1, bin + reach);  // a ring's bins once each
        for (int near = first; near <= last; ++near) {
          const int at = group * stride + (is_ring ? 1 + (near - 1 + per_group) % per_group : near);
          sum += sums.row(at);
          n += counts[to_size(at)];
        }
        if (n == 0) continue;
        sum /= static_cast<double>(n);
        const double length = sum.norm();
        if (unit_length && !(length > 0)) continue;
        result.means.row(to) = unit_length ? Eigen::RowVectorXd(sum / length) : sum;
        result.is_filled[to_size(to)] = true;
      }
    }
  return result;
}

}  // namespace

AnimalConsistency consistency_of_animals(const std::vector<AlignedRows>& animals, int n_edges, bool unit_length,
                                         double period) {
  const bool is_ring = period > 0;
  double low = std::numeric_limits<double>::infinity(), high = -low;
  int n_groups = 1;
  for (const auto& animal : animals) {
    for (const double label : animal.label) low = std::min(low, label), high = std::max(high, label);
    for (const auto group : animal.group) n_groups = std::max(n_groups, group + 1);
  }
  if (is_ring) low = 0, high = period;
  std::vector<double> edges;
  for (int i = 0; i < n_edges; ++i) edges.push_back(low + i * (high - low) / (n_edges - 1));
  edges.back() = high;
  std::vector<BinMeans> means;
  for (const auto& animal : animals) means.push_back(bin_means(animal, edges, is_ring, n_groups, unit_length));

  AnimalConsistency result;
  result.n_bins = n_groups * (n_edges - 1);
  std::set<std::size_t> left_out;
  for (const auto& from : means) {
    auto &row = result.r2.emplace_back(), &unmapped = result.unmapped_r2.emplace_back();
    for (const auto& to : means) {
      row.push_back(std::numeric_limits<double>::quiet_NaN());
      unmapped.push_back(std::numeric_limits<double>::quiet_NaN());
      if (&from == &to) continue;
      std::vector<Eigen::Index> common;
      for (std::size_t bin = 0; bin < from.is_filled.size(); ++bin)
        if (from.is_filled[bin] && to.is_filled[bin])
          common.push_back(static_cast<Eigen::Index>(bin));
        else
          left_out.insert(bin);
      if (static_cast<Eigen::Index>(common.size()) < kBinsPerCoefficient * (from.means.cols() + 1)) continue;
      const RowMajorMatrix inputs = from.means(common, Eigen::all), truth = to.means(common, Eigen::all);
      const RowMajorMatrix mapped = fit_linear(inputs, truth, 0).apply(inputs);
      row.back() = mean_r2(values_of(truth), values_of(mapped), truth.cols());
      unmapped.back() = mean_r2(values_of(truth), values_of(inputs), truth.cols());
    }
  }
  result.n_bins_left_out = static_cast<std::int32_t>(left_out.size());
  return result;
}

}  // namespace idem
