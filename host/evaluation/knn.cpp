#include "host/evaluation/knn.h"

#include <algorithm>
#include <cmath>
#include <limits>
#include <numeric>

#include "fmt/format.h"
#include "host/support/errors.h"
#include "kernels/common/target.h"
#include "kernels/common/to_size.h"

namespace idem {

namespace {

constexpr int kLanes = 256;          // training rows per block: 2 KB of distances per query stay in L1
constexpr int kStrip = 16;           // training rows per register strip: two AVX-512 or four AVX2 registers of sums
constexpr int kQueriesPerTask = 16;  // each block of training rows is read once for this many queries

// block [n_dims x kLanes], query [n_dims], out [kLanes]. Whole strips only, so every pair sees the same operations in
// the same order.
IDEM_SIMD_CLONES void squared_distances(const double* block, const double* query, int n_dims, double* out) {
  for (int strip = 0; strip < kLanes; strip += kStrip) {
    double sum[kStrip] = {};
    for (int dim = 0; dim < n_dims; ++dim) {
      const double q = query[dim];
      const double* x = block + static_cast<std::int64_t>(dim) * kLanes + strip;
      for (int lane = 0; lane < kStrip; ++lane) sum[lane] += (q - x[lane]) * (q - x[lane]);
    }
    for (int lane = 0; lane < kStrip; ++lane) out[strip + lane] = sum[lane];
  }
}

IDEM_SIMD_CLONES void negative_products(const double* block, const double* query, int n_dims, double* out) {
  for (int strip = 0; strip < kLanes; strip += kStrip) {
    double sum[kStrip] = {};
    for (int dim = 0; dim < n_dims; ++dim) {
      const double q = query[dim];
      const double* x = block + static_cast<std::int64_t>(dim) * kLanes + strip;
      for (int lane = 0; lane < kStrip; ++lane) sum[lane] -= q * x[lane];
    }
    for (int lane = 0; lane < kStrip; ++lane) out[strip + lane] = sum[lane];
  }
}

// What distances are compared by, cheaper than they are: squared (Euclidean), less 1 (cosine). The furthest that ties
// with `key`: see knn.h.
double furthest_tied(double key, int n_dims, Distance distance) {
  const double tolerance = (2.0 * n_dims + 8) * std::numeric_limits<double>::epsilon();
  return key + (distance == Distance::cosine ? tolerance : tolerance * key);
}

bool nearer(const Neighbour& a, const Neighbour& b) {
  return a.distance < b.distance || (a.distance == b.distance && a.train < b.train);
}

// The k nearest of what has been offered and all that tie with the k-th; their `distance` is a key.
class Candidates {
 public:
  explicit Candidates(const NeighbourSearch& search)
      : search_(search), k_(to_size(search.n_neighbours)), full_(2 * k_) {}

  void offer(const double* key, int n, std::int32_t first) {
    for (int lane = 0; lane < n; ++lane)
      if (key[lane] <= limit_) list_.push_back({key[lane], first + lane});
    if (list_.size() < full_) return;
    select();
    full_ = 2 * list_.size();  // many may tie: a selection has to be paid for by as many newcomers as it leaves
  }
  // In ascending order of key, then of place; keys that tie with the k-th are made equal to it.
  std::span<const Neighbour> sorted() {
    const double last = select();
    auto end = list_.end();
    if (list_.size() > k_) {
      end = std::partition(list_.begin(), list_.end(),
                           [&](const Neighbour& neighbour) { return neighbour.distance < last; });
      order_by_place(end, last);
    }
    std::sort(list_.begin(), end, nearer);
    return list_;
  }

 private:
  // Leaves those that count. Returns the k-th smallest key.
  double select() {
    const auto kth = list_.begin() + static_cast<std::ptrdiff_t>(k_ - 1);
    std::nth_element(list_.begin(), kth, list_.end(), nearer);
    limit_ = furthest_tied(kth->distance, search_.points.n_dims, search_.distance);
    const double last = kth->distance;
    list_.erase(
        std::remove_if(kth + 1, list_.end(), [&](const Neighbour& neighbour) { return neighbour.distance > limit_; }),
        list_.end());
    return last;
  }
  // Thousands may tie: they are marked and read off, not sorted.
  void order_by_place(std::vector<Neighbour>::iterator tied, double key) {
    std::vector<char> is_tied(search_.train.size(), 0);
    for (auto neighbour = tied; neighbour != list_.end(); ++neighbour) is_tied[to_size(neighbour->train)] = 1;
    for (std::size_t place = 0; place < is_tied.size(); ++place)
      if (is_tied[place] != 0) *tied++ = {key, static_cast<std::int32_t>(place)};
  }

  const NeighbourSearch& search_;
  std::size_t k_, full_;
  std::vector<Neighbour> list_;
  double limit_ = std::numeric_limits<double>::infinity();
};

// Rows of the embedding in double, scaled to unit length for the cosine; row i of the result is row rows[i]. [n x
// n_dims]
std::vector<double> rows_of(const Embedding& points, std::span<const std::int32_t> rows, Distance distance) {
  const auto n_dims = to_size(points.n_dims);
  std::vector<double> out(rows.size() * n_dims);
  for (std::size_t i = 0; i < rows.size(); ++i) {
    if (rows[i] < 0 || rows[i] >= points.n_rows)
      throw DataError(
          fmt::format("embedding: row {} is asked for, there are {}: check that the split belongs to this recording",
                      rows[i], points.n_rows));
    const float* row = points.values.data() + to_size(rows[i]) * n_dims;
    double squared = 0;
    for (std::size_t dim = 0; dim < n_dims; ++dim) {
      const double value = row[dim];
      if (!std::isfinite(value))
        throw DataError(fmt::format("embedding: row {}, column {} is {}: the model that made it has diverged", rows[i],
                                    dim, value));
      out[i * n_dims + dim] = value;
      squared += value * value;
    }
    if (distance == Distance::cosine && squared > 0)
      for (std::size_t dim = 0; dim < n_dims; ++dim) out[i * n_dims + dim] /= std::sqrt(squared);
  }
  return out;
}

// find_neighbours, with keys in place of distances.
template <class Visit>
void find_by_key(const NeighbourSearch& search, ThreadPool& pool, const Visit& visit) {
  const auto n_train = static_cast<std::int64_t>(search.train.size()),
             n_query = static_cast<std::int64_t>(search.query.size());
  const int n_dims = search.points.n_dims;
  if (search.n_neighbours < 1 || search.n_neighbours > n_train)
    throw ConfigError(
        fmt::format("{} neighbours among {} training rows: ask for 1 to {}", search.n_neighbours, n_train, n_train));
  const std::vector<double> train = rows_of(search.points, search.train, search.distance);
  const std::vector<double> query = rows_of(search.points, search.query, search.distance);

  const std::int64_t n_blocks = (n_train + kLanes - 1) / kLanes,
                     block_size = static_cast<std::int64_t>(n_dims) * kLanes;
  std::vector<double> blocks(to_size(n_blocks * block_size), 0.0);
  for (std::int64_t row = 0; row < n_train; ++row)
    for (int dim = 0; dim < n_dims; ++dim)
      blocks[to_size(row / kLanes * block_size + static_cast<std::int64_t>(dim) * kLanes + row % kLanes)] =
          train[to_size(row * n_dims + dim)];

  const bool cosine = search.distance == Distance::cosine;
  pool.parallel_for((n_query + kQueriesPerTask - 1) / kQueriesPerTask, [&](std::int64_t task) {
    const std::int64_t begin = task * kQueriesPerTask, end = std::min(n_query, begin + kQueriesPerTask);
    std::vector<Candidates> candidates(to_size(end - begin), Candidates(search));
    double keys[kLanes];
    for (std::int64_t block = 0; block < n_blocks; ++block)
      for (std::int64_t row = begin; row < end; ++row) {
        (cosine ? negative_products : squared_distances)(blocks.data() + block * block_size,
                                                         query.data() + row * n_dims, n_dims, keys);
        candidates[to_size(row - begin)].offer(
            keys, static_cast<int>(std::min<std::int64_t>(kLanes, n_train - block * kLanes)),
            static_cast<std::int32_t>(block * kLanes));
      }
    for (std::int64_t row = begin; row < end; ++row) visit(row, candidates[to_size(row - begin)].sorted());
  });
}

// The order of training rows by their targets, in which rows that tie are summed: rows of equal targets add up to the
// same in any order.
std::vector<std::size_t> order_by_targets(std::span<const double> targets, std::size_t n_targets, std::size_t n_rows) {
  std::vector<std::size_t> order(n_rows);
  std::iota(order.begin(), order.end(), std::size_t{0});
  const auto row = [&](std::size_t i) { return targets.subspan(i * n_targets, n_targets); };
  std::stable_sort(order.begin(), order.end(),
                   [&](std::size_t a, std::size_t b) { return std::ranges::lexicographical_compare(row(a), row(b)); });
  return order;
}

}  // namespace

void find_neighbours(const NeighbourSearch& search, ThreadPool& pool,
                     const std::function<void(std::int64_t, std::span<const Neighbour>)>& visit) {
  find_by_key(search, pool, [&](std::int64_t query, std::span<const Neighbour> nearest) {
    std::vector<Neighbour> neighbours(nearest.begin(), nearest.end());
    for (auto& [distance, train] : neighbours)
      distance = search.distance == Distance::cosine ? 1 + distance : std::sqrt(distance);
    visit(query, neighbours);
  });
}

std::vector<NeighbourPrediction> predict_from_neighbours(NeighbourSearch search, std::span<const double> targets,
                                                         int n_targets, std::span<const std::int32_t> classes,
                                                         int n_class_columns, const std::vector<int>& neighbours,
                                                         ThreadPool& pool) {
  const auto n_query = search.query.size();
  std::vector<NeighbourPrediction> predictions(neighbours.size());
  for (auto& prediction : predictions) {
    prediction.means.resize(n_query * to_size(n_targets));
    prediction.votes.resize(n_query * to_size(n_class_columns));
  }
  if (neighbours.empty()) return predictions;

  std::vector<std::size_t> ascending(neighbours.size());
  for (std::size_t i = 0; i < ascending.size(); ++i) ascending[i] = i;
  std::sort(ascending.begin(), ascending.end(),
            [&](std::size_t a, std::size_t b) { return neighbours[a] < neighbours[b]; });
  search.n_neighbours = neighbours[ascending.back()];
  const std::int32_t n_classes = classes.empty() ? 0 : 1 + *std::max_element(classes.begin(), classes.end());

  const std::vector<std::size_t> order = order_by_targets(targets, to_size(n_targets), search.train.size());
  std::vector<std::int32_t> ordered;
  for (const std::size_t i : order) ordered.push_back(search.train[i]);
  search.train = ordered;

  find_by_key(search, pool, [&](std::int64_t query, std::span<const Neighbour> nearest) {
    std::vector<double> sums(to_size(n_targets), 0.0);
    std::vector<std::int32_t> votes(to_size(n_class_columns * n_classes), 0);
    std::size_t counted = 0;
    for (std::size_t i : ascending) {
      const double furthest =
          furthest_tied(nearest[to_size(neighbours[i] - 1)].distance, search.points.n_dims, search.distance);
      for (; counted < nearest.size() && nearest[counted].distance <= furthest; ++counted) {
        const std::size_t train = order[to_size(nearest[counted].train)];
        for (std::size_t target = 0; target < sums.size(); ++target)
          sums[target] += targets[train * sums.size() + target];
        for (int column = 0; column < n_class_columns; ++column)
          ++votes[to_size(column * n_classes + classes[train * to_size(n_class_columns) + to_size(column)])];
      }
      auto& prediction = predictions[i];
      for (std::size_t target = 0; target < sums.size(); ++target)
        prediction.means[to_size(query) * sums.size() + target] = sums[target] / static_cast<double>(counted);
      for (int column = 0; column < n_class_columns; ++column) {
        const auto first = votes.begin() + column * n_classes;
        prediction.votes[to_size(query * n_class_columns + column)] =
            static_cast<std::int32_t>(std::max_element(first, first + n_classes) - first);
      }
    }
  });
  return predictions;
}

}  // namespace idem
