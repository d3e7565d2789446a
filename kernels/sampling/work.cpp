#include "kernels/common/elements.h"
#include "kernels/sampling/contrastive_indices.h"
#include "kernels/sampling/sampling.h"

namespace idem {

// Two draws share a logarithm, a root, a sine and a cosine.
template <class Real>
Work work(const DrawNormals<Real>& p) {
  const double n = n_elements(p.fleet, p.n_rows, p.n_cols);
  return {n * sizeof(Real), n * (2 * kFunctionFlops + 1)};
}
IDEM_INSTANTIATE_WORK(DrawNormals)

template <class Real>
Work work(const SeveralDraws<Real>& p) {
  return work_of_all(p);
}
IDEM_INSTANTIATE_WORK(SeveralDraws)

// A row of the list is read for each that is written.
template <class Real>
Work work(const BatchRows<Real>& p) {
  return {static_cast<double>(p.n_members) * p.batch * (2 * sizeof(std::int32_t) + sizeof(Real)), 0};
}
IDEM_INSTANTIATE_WORK(BatchRows)

// What is written; what the search for the nearest labels reads depends on the labels.
template <class Real>
Work work(const ContrastiveIndices<Real>& p) {
  const double lists = 3 + given(p.time_positive) + given(p.source);
  return {n_elements(p.fleet, 1, p.batch) * lists * sizeof(std::int32_t), 0};
}
IDEM_INSTANTIATE_WORK(ContrastiveIndices)

template <class Real>
Work work(const JoinSessions<Real>& p) {
  const double rows = n_elements(p.fleet, 3, p.batch);
  return {2 * rows * p.n_features * sizeof(Real) + rows / 3 * sizeof(std::int32_t), 0};
}
IDEM_INSTANTIATE_WORK(JoinSessions)

// Of each draw an index and a place are read, its place and its entry of the list written; what a sort takes in between
// is its own affair.
template <class Real>
Work work(const DrawnPlaces<Real>& p) {
  const double draws = n_elements(p.fleet, p.n_lists, p.batch),
               counts = given(p.counts) * n_elements(p.fleet, p.n_lists, p.n_places);
  return {(4 * draws + n_elements(p.fleet, p.n_lists, p.n_places + 1) + counts) * sizeof(std::int32_t), 0};
}
IDEM_INSTANTIATE_WORK(DrawnPlaces)

}  // namespace idem
