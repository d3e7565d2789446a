// knn.h - exact nearest neighbours of rows among rows, and what they predict.
#pragma once

#include <cstdint>
#include <functional>
#include <span>
#include <vector>

#include "kernels/common/thread_pool.h"

namespace idem {

// One vector per bin of a recording, as a model or a baseline made it. values [n_rows x n_dims], row-major, not owned.
struct Embedding {
  std::int64_t n_rows = 0;
  int n_dims = 0;
  std::span<const float> values;
};

// cosine: 1 - cos of the angle about the origin; a zero vector has distance 1 to every vector (scikit-learn's rule).
enum class Distance { cosine, euclidean };

struct Neighbour {
  double distance = 0;
  std::int32_t train = 0;  // place in the list of training rows
};

// The nearest training rows of each query row: all that are no further than the k-th nearest is, so more than k where
// some are as far as it is. Counts tie massively; which of the tied rows comes first in a recording says nothing, so
// none is left out. Tied are distances that rounding alone can tell apart: up to (2 n_dims + 8) 2^-52 beyond the k-th,
// of the squared distance (Euclidean) or of 1 (cosine), the most that two correct ways of summing n_dims products
// differ by. Parallel vectors tie by cosine, and so do zero vectors, with all.
//   train, query   rows of `points`, in any order; a row may be in both
//   n_neighbours   1 ... number of training rows
struct NeighbourSearch {
  Embedding points;
  std::span<const std::int32_t> train, query;
  int n_neighbours = 1;
  Distance distance = Distance::euclidean;
};

// Calls visit(place in the list of query rows, neighbours in ascending order of distance, then of place in `train`)
// once per query row, from any thread of the pool; those tied with the k-th have its distance. Exact (no index
// structure), in double. Work: n_train distances per query row, and a constant number of steps for each row that ties.
// Determinism: the same for any number of threads; the rows that are found do not depend on the order of `train`.
// Throws DataError where a row is not finite, ConfigError where n_neighbours is out of range.
void find_neighbours(const NeighbourSearch& search, ThreadPool& pool,
                     const std::function<void(std::int64_t, std::span<const Neighbour>)>& visit);

// k-nearest-neighbour decoder, for several k from one search: every row that find_neighbours gives for a k has the same
// weight. The result does not depend on the order of `train`, to the last bit: rows are summed in the order of
// distance, then of their targets.
//   targets        [n_train x n_targets] to be averaged (a circular label: sine and cosine, whose mean's direction is
//                  the circular mean)
//   classes        [n_train x n_class_columns], small whole numbers >= 0, to be voted on; a tied vote goes to the
//                  lowest class
//   search.n_neighbours is not read: the largest of `neighbours` is used
// Result, one per entry of `neighbours`: means [n_query x n_targets], votes [n_query x n_class_columns].
struct NeighbourPrediction {
  std::vector<double> means;
  std::vector<std::int32_t> votes;
};
std::vector<NeighbourPrediction> predict_from_neighbours(NeighbourSearch search, std::span<const double> targets,
                                                         int n_targets, std::span<const std::int32_t> classes,
                                                         int n_class_columns, const std::vector<int>& neighbours,
                                                         ThreadPool& pool);

}  // namespace idem
