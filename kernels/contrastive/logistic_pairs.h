// logistic_pairs.h - which pairs of data and labels belong together: the logistic regression of generalized contrastive
// learning (Hyvarinen, Sasaki & Turner 2019, arXiv 1805.08651, section 3).
#pragma once

#include "kernels/common/operation.h"

namespace idem {

// Each row of a batch comes once with its own labels and once with another row's. A score r > 0 says that they belong
// together.
//   score      [n_members x 2 batch x 1]  r: the true pairs, then the shuffled ones
//   row_weight [n_members x batch] (stride row_scalar_stride)  of both pairs of a row: gradients are those of sum_rows
//                                                              row_weight * loss
//   loss       [n_members x batch] (stride row_scalar_stride)  (softplus(-r_true) + softplus(r_shuffled)) / 2 in nats:
//                                                              ln 2 for one that guesses
//   accuracy   [n_members x batch] (stride row_scalar_stride)  the share of both that the sign of r tells right; 1/2
//                                                              for one that guesses
//   d_score    as score
// Determinism: run_to_run.
template <class Real>
struct LogisticPairs {
  FleetExtent fleet;
  std::int32_t batch = 0;
  Rows<const Real> score;
  const Real* row_weight = nullptr;
  std::int64_t row_scalar_stride = 0;
  Real *loss = nullptr, *accuracy = nullptr;
  Rows<Real> d_score;
};
IDEM_OPERATION(logistic_pairs, LogisticPairs)

}  // namespace idem
