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

// The nearest training rows of each query row.
//   train, query   rows of `points`, in any order; a row may be in both
//   n_neighbours   1 ... number of training rows
struct NeighbourSearch {
  Embedding points;
  std::span<const std::int32_t> train, query;
  int n_neighbours = 1;
  Distance distance = Distance::euclidean;
};

// Calls visit(place in the list of query rows, neighbours in ascending order of distance, then of place in `train`) once per query row, from
// any thread of the pool. Exact (no index structure), in double. Determinism: the same for any number of threads; equal training rows have
// equal distances. Throws DataError where a row is not finite, ConfigError where n_neighbours is out of range.
void find_neighbours(const NeighbourSearch& search, ThreadPool& pool, const std::function<void(std::int64_t, std::span<const Neighbour>)>& visit);

// k-nearest-neighbour decoder with uniform weights, for several k from one search.
//   targets        [n_train x n_targets] to be averaged (a circular label: sine and cosine, whose mean's direction is the circular mean)
//   classes        [n_train x n_class_columns], small whole numbers >= 0, to be voted on; a tied vote goes to the lowest class
//   search.n_neighbours is not read: the largest of `neighbours` is used
// Result, one per entry of `neighbours`: means [n_query x n_targets], votes [n_query x n_class_columns].
struct NeighbourPrediction {
  std::vector<double> means;
  std::vector<std::int32_t> votes;
};
std::vector<NeighbourPrediction> predict_from_neighbours(NeighbourSearch search, std::span<const double> targets, int n_targets,
                                                         std::span<const std::int32_t> classes, int n_class_columns,
                                                         const std::vector<int>& neighbours, ThreadPool& pool);

}  // namespace idem
