// sampling.h - every random number of a training step: normals, and the order of the rows.
// A draw is a function of what it is for (streams.h), never of who computes it: the same integer bits on CPU and GPU,
// alone or in a fleet, for any launch shape. Source of the generator: Salmon et al. 2011, Parallel random numbers: as
// easy as 1, 2, 3.
#pragma once

#include "kernels/common/operation.h"
#include "kernels/common/streams.h"

namespace idem {

// Standard normal draws (Box-Muller on Philox4x32-10, four per counter).
//   seed [n_members], step [n_members]  key and counter word 1
//   out  [n_members x n_rows x n_cols]  element index = row * n_cols + col (padding is not counted)
// The float draws are defined in float arithmetic on both twins (integer bits equal; log, sqrt, sin and cos to a few
// ulp); double draws use the same integers in double arithmetic.
template <class Real>
struct DrawNormals {
  FleetExtent fleet;
  std::int64_t n_rows = 0;
  std::int32_t n_cols = 0;
  RandomStream stream = RandomStream::posterior_noise;
  const std::uint64_t* seed = nullptr;
  const std::uint32_t* step = nullptr;
  Rows<Real> out;
};
IDEM_OPERATION(draw_normals, DrawNormals)
template <class Real>
using SeveralDraws = Several<DrawNormals<Real>>;
IDEM_OPERATION(draw_several, SeveralDraws)

// The rows of batch `position[1]` of epoch `position[0]` for every member (position lies with the other arrays, so that
// a captured step can be replayed while the counters move).
//   row_lists    concatenated row lists; list_begin [n_members + 1] offsets into it; members may have different lengths
//   seed         [n_members]
//   shuffle      false: rows in list order
//   rows         [n_members x batch]  a keyed Feistel permutation of the member's list, walked batch by batch; places
//                                     past the end of the list
//                repeat its first row and get weight 0
//   weights      [n_members x batch] (member stride weights_stride)  1 / (number of real rows in this batch), or 0
//   active       [n_members]          0 where the member is not in `enabled` (may be null) or has no row left in this
//                                     epoch
template <class Real>
struct BatchRows {
  std::int32_t n_members = 1, batch = 0;
  bool shuffle = true;
  const std::uint32_t* position = nullptr;  // [2] epoch, batch index
  const std::int32_t* row_lists = nullptr;
  const std::int64_t* list_begin = nullptr;
  const std::uint64_t* seed = nullptr;
  const std::uint8_t* enabled = nullptr;
  std::int32_t* rows = nullptr;
  Real* weights = nullptr;
  std::int64_t weights_stride = 0;
  std::uint8_t* active = nullptr;
};
IDEM_OPERATION(batch_rows, BatchRows)

}  // namespace idem
