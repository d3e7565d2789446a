// contrastive.h - embeddings of unit length and the InfoNCE loss between them.
//
// Of reference x_i, positive p_k and negative q_j with the similarity s(x, y) times an inverse temperature b:
//   loss = alignment + uniformity = -mean_k b s(x_k, p_k) + mean_i log sum_j exp(b s(x_i, q_j))
// Sources: van den Oord, Li & Vinyals 2018 (arXiv 1807.03748); in this form (a plain sum over shared negatives, without
// the positive) Schneider, Lee & Mathis 2023 (Nature 617, 360-368). No array of references x negatives is kept: each
// pass streams over one axis. Multiplicities: a row that was drawn several times may stand once, with its count, on
// both axes; the loss and the gradients are the same to rounding.
#pragma once

#include "kernels/common/enum_names.h"
#include "kernels/common/operation.h"
#include "kernels/common/placed_draws.h"

namespace idem {

enum class Similarity : std::int32_t {
  cosine,     // x . y, of rows of unit length
  euclidean,  // -|x - y|^2
};
template <>
struct EnumNames<Similarity> {
  static constexpr const char* what = "similarity";
  static constexpr EnumName<Similarity> all[] = {{Similarity::cosine, "cosine"}, {Similarity::euclidean, "euclidean"}};
};

constexpr std::int32_t kMostContrastiveFeatures = 128;

// value = x / |x| of each row; value may alias x.
//   x, value      [n_members x n_rows x n_features]
//   inverse_norm  [n_members x n_rows]  kept for the gradient
// A row without direction (its norm is 0 or below the smallest normal number) stays a row of zeros and passes no
// gradient on; what is not finite stays visible as NaN. Determinism: run_to_run.
template <class Real>
struct NormaliseRows {
  FleetExtent fleet;
  std::int64_t n_rows = 0;
  std::int32_t n_features = 0;
  Rows<const Real> x;
  Rows<Real> value;
  Real* inverse_norm = nullptr;
};
IDEM_OPERATION(normalise_rows_forward, NormaliseRows)

// d_value becomes the gradient with respect to x, in place: (I - value value^T) d_value / |x|.
template <class Real>
struct NormaliseRowsGradient {
  FleetExtent fleet;
  std::int64_t n_rows = 0;
  std::int32_t n_features = 0;
  Rows<const Real> value;
  const Real* inverse_norm = nullptr;
  Rows<Real> d_value;
};
IDEM_OPERATION(normalise_rows_backward, NormaliseRowsGradient)

// The rows of the draws, out of rows that are encoded once each.
//   source  [n_members x n_rows x n_features]
//   place   [n_members x n_draws]               row of each draw
//   drawn   [n_members x n_draws x n_features]
//   normalises  as normalise_rows_forward would leave them: the source is not normalised yet
// Determinism: gpu_to_gpu (copies only), run_to_run where it normalises.
template <class Real>
struct DrawnRows {
  FleetExtent fleet;
  std::int64_t n_draws = 0;
  std::int32_t n_features = 0;
  bool normalises = false;
  const std::int32_t* place = nullptr;
  Rows<const Real> source;
  Rows<Real> drawn;
};
IDEM_OPERATION(drawn_rows_forward, DrawnRows)

// d_source [n_members x n_places x n_features] = the sum over the draws of each place, list after list in ascending
// order; 0 where none fell.
//   d_drawn     [n_members x n_lists * batch x n_features]
//   normalises  the sum is of normalised rows, and goes on to the gradient of the source as it is (source as DrawnRows,
//               else not read)
// Determinism: gpu_to_gpu, the same on both twins; run_to_run where it normalises.
template <class Real>
struct DrawnRowsGradient {
  FleetExtent fleet;
  std::int32_t n_features = 0;
  bool normalises = false;
  PlacedDraws draws;
  Rows<const Real> source, d_drawn;
  Rows<Real> d_source;
};
IDEM_OPERATION(drawn_rows_backward, DrawnRowsGradient)

// b = min(e^theta, largest) of the learned theta = -log temperature.
//   log_inverse_temperature [n_members], member stride log_stride
//   value [n_members]  b
//   slope [n_members]  d log b / d theta: 1, or 0 above `largest`, where theta moves on the optimizer's momentum alone
template <class Real>
struct InverseTemperature {
  FleetExtent fleet;
  const Real* log_inverse_temperature = nullptr;
  std::int64_t log_stride = 1;
  Real largest = 0;
  Real *value = nullptr, *slope = nullptr;
};
IDEM_OPERATION(inverse_temperature, InverseTemperature)

// The second term, and its gradient at the references; one pass over all negatives for each reference.
//   reference [n_members x n_references x n_features], negative [.. n_negatives ..]; n_features at most
//   kMostContrastiveFeatures
//   inverse_temperature [n_members]
//   reference_count, negative_count  [n_members x n_..], member stride count_stride: how often each was drawn; null:
//                                    once. Each member needs a
//                    negative. A reference that was not drawn is left out: its log_sum and mean_similarity become 0
//   scale            uniformity = scale * sum_i reference_count_i log_sum_i: 1 over the number of references drawn
//   log_sum          [n_members x n_references]  log sum_j negative_count_j exp(b s_ij), from the largest b s_ij on
//   mean_similarity  [n_members x n_references]  sum_j P_ij b s_ij under the softmax P_ij; uniformity's slope in log b
//   d_reference      as reference: the gradient of uniformity is added; empty to skip
// Determinism: run_to_run.
template <class Real>
struct Uniformity {
  FleetExtent fleet;
  std::int64_t n_references = 0, n_negatives = 0;
  std::int32_t n_features = 0;
  Similarity similarity = Similarity::cosine;
  const Real* inverse_temperature = nullptr;
  Rows<const Real> reference, negative;
  const std::int32_t *reference_count = nullptr, *negative_count = nullptr;
  std::int64_t count_stride = 0;
  Real scale = 1;
  Real *log_sum = nullptr, *mean_similarity = nullptr;
  Rows<Real> d_reference;
};
IDEM_OPERATION(uniformity_forward, Uniformity)

// The gradient at the negatives, after the forward pass; one pass over all references for each negative.
//   d_negative  as negative: added to; it may lie in the same rows as d_reference
// Determinism: run_to_run.
template <class Real>
struct UniformityGradient {
  Uniformity<Real> forward;  // mean_similarity and d_reference are not used
  Rows<Real> d_negative;
};
IDEM_OPERATION(uniformity_backward, UniformityGradient)

// The first term, and its gradient.
//   reference, positive  [n_members x n_pairs x n_features]; pair k is row k of both. With draws: both are rows
//                        [n_members x n_places x n_features] of the same memory, and pair k is of the rows where draw k
//                        of the first list and draw k of positive_list fell
//   similarity_value     [n_members x n_pairs]  b s_k
//   d_reference, d_positive  the gradient of alignment = -mean_k b s_k is added; with draws they too are the same
//                            memory; empty to skip
// Determinism: run_to_run; the pairs of a row are added in ascending order, and of a pair that is one row twice first
// that of the reference.
template <class Real>
struct Alignment {
  FleetExtent fleet;
  std::int64_t n_pairs = 0;
  std::int32_t n_features = 0;
  Similarity similarity = Similarity::cosine;
  const Real* inverse_temperature = nullptr;
  Rows<const Real> reference, positive;
  PlacedDraws draws;
  std::int32_t positive_list = 0;
  Real* similarity_value = nullptr;
  Rows<Real> d_reference, d_positive;
};
IDEM_OPERATION(alignment, Alignment)

// The two terms of each member, and the gradient of the learned temperature.
//   similarity_value [n_members x n_pairs]; log_sum, mean_similarity, reference_count (may be null), count_stride,
//   scale as above
//   alignment, uniformity, loss  [n_members]
//   temperature_slope [n_members] from inverse_temperature; null where the temperature is fixed
//   d_log_inverse_temperature    [n_members], member stride d_log_stride
//   accumulate   loss and gradient are added to what is there: a second pair of terms of the same loss
// Determinism: run_to_run (sums in double, in a fixed order).
template <class Real>
struct InfoNceTerms {
  FleetExtent fleet;
  std::int64_t n_pairs = 0, n_references = 0;
  const Real *similarity_value = nullptr, *log_sum = nullptr, *mean_similarity = nullptr;
  const std::int32_t* reference_count = nullptr;
  std::int64_t count_stride = 0;
  Real scale = 1;
  bool accumulate = false;
  Real *alignment = nullptr, *uniformity = nullptr, *loss = nullptr;
  const Real* temperature_slope = nullptr;
  Real* d_log_inverse_temperature = nullptr;
  std::int64_t d_log_stride = 0;
};
IDEM_OPERATION(info_nce_terms, InfoNceTerms)

}  // namespace idem
