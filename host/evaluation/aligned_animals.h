// aligned_animals.h - how alike the embeddings of animals are, brought together by a label they share.
#pragma once

#include <cstdint>
#include <vector>

#include "host/evaluation/knn.h"

namespace idem {

// Rows of an embedding and what each is aligned by: a label, within groups that never mix (a running direction).
struct AlignedRows {
  Embedding embedding;
  std::vector<std::int32_t> rows;   // of the embedding
  std::vector<double> label;        // [rows]
  std::vector<std::int32_t> group;  // [rows], from 0
};

// How alike two animals' embeddings are, aligned by label (Schneider, Lee & Mathis 2023: consistency of data sets): R2
// of the affine map from the one's mean embeddings of label bins to the other's, fitted and scored on these bins,
// unweighted mean over the columns of `to`. Not symmetric. Label bins: n_edges edges, evenly from the smallest to the
// largest label of all `animals`, in each group; a row's bin is the number of edges at or below its label, of which 1
// ... n_edges - 1 count. Of a circular label the edges go once round, from 0 to `period`: as many bins, the last one
// next to the first. A bin without rows takes those of the bins next to it, or two away; where there are none either,
// it is left out of every pair that it would be part of (the published code stops there).
struct AnimalConsistency {
  // [from][to]; NaN on the diagonal, and for pairs with fewer than kBinsPerCoefficient bins in common for each
  // coefficient of a column's map, which would fit anything.
  std::vector<std::vector<double>> r2;
  // The same bins without a map, the one's means taken for the other's: 1 only in one space.
  std::vector<std::vector<double>> unmapped_r2;
  std::int32_t n_bins = 0, n_bins_left_out = 0;  // of all groups; left out of some pair
};
// unit_length: every bin's mean is scaled to length 1 first, as published (made for embeddings on a sphere; of others
// it keeps the direction from the origin alone).
inline constexpr int kBinsPerCoefficient = 2;
AnimalConsistency consistency_of_animals(const std::vector<AlignedRows>& animals, int n_edges, bool unit_length,
                                         double period = 0);  // of a circular label; 0: it is none

}  // namespace idem
