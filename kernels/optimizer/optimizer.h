// optimizer.h - one step of Adam for a whole fleet, in one pass over [member][parameter] or over a stretch of every
// member's parameters.
#pragma once

#include "kernels/common/operation.h"

namespace idem {

// Euclidean norm of each active member's gradient; infinite or NaN where the gradient is.
//   gradient [n_members x n_parameters], member stride member_stride; norm [n_members]. gradient and partial start on
//   16 bytes, and a member's stretch of gradients is padded to four
// Squares are added in double and the norm of a block is kept, so that no finite gradient overflows.
// Determinism: run_to_run (fixed blocks of kNormBlock parameters, then their norms in order).
template <class Real>
struct GradientNorm {
  FleetExtent fleet;
  std::int64_t n_parameters = 0, member_stride = 0;
  const Real* gradient = nullptr;
  Real* partial = nullptr;  // [n_members x gradient_norm_partials(n_parameters)] scratch
  Real* norm = nullptr;
};
constexpr std::int64_t kNormBlock = 4096;
HD constexpr std::int64_t gradient_norm_blocks(std::int64_t n_parameters) {
  return (n_parameters + kNormBlock - 1) / kNormBlock;
}
HD constexpr std::int64_t gradient_norm_partials(std::int64_t n_parameters) {
  return (gradient_norm_blocks(n_parameters) + 3) / 4 * 4;
}
IDEM_OPERATION(gradient_norm, GradientNorm)

// Adam (Kingma & Ba 2015), in torch's form: m and v bias-corrected by the member's own step count, eps after the square
// root.
//   coupled_decay   added to the gradient (L2); decoupled_decay  w -= lr * decay * w (AdamW)
//   clip_norm       gradients of a member whose norm is above it are scaled down to it; 0: off
//   norm [n_members] from gradient_norm. A member whose norm is not finite is left untouched. Without clipping it may
//   be null: then nothing has to
//     wait for the norm of all gradients, and a parameter whose own gradient is not finite is left untouched
//   parameters, gradient and moments start on 16 bytes, and a member's stretch of them is padded to four
//   nonfinite [n_members] becomes 1 where a gradient was not finite, or null
//   step [n_members] steps done before this one; goes up by one for members that step (by the caller's advance, see
//   AdvanceStep)
template <class Real>
struct Adam {
  FleetExtent fleet;
  std::int64_t n_parameters = 0, member_stride = 0;
  Real *parameters = nullptr, *moment1 = nullptr, *moment2 = nullptr;
  const Real* gradient = nullptr;
  const Real* learning_rate = nullptr;  // [n_members]
  Real beta1 = Real(0.9), beta2 = Real(0.999), epsilon = Real(1e-8);
  Real coupled_decay = 0, decoupled_decay = 0, clip_norm = 0;
  const Real* norm = nullptr;
  std::uint32_t* nonfinite = nullptr;
  const std::uint32_t* step = nullptr;
};
IDEM_OPERATION(adam, Adam)

// Moves the counters after a step: step[member] += 1 where active and the norm, if there is one, was finite (without
// one all but the parameters that were hit have stepped), skipped[member] += 1 where active and norm or nonfinite says
// that a gradient was not, draw[member] += 1 where active (the random counter moves even when a step is skipped),
// position[1] += 1; nonfinite goes back to 0. Null pointers are left out.
template <class Real>
struct AdvanceStep {
  FleetExtent fleet;
  const Real* norm = nullptr;
  std::uint32_t *nonfinite = nullptr, *step = nullptr, *skipped = nullptr, *draw = nullptr, *position = nullptr;
};
IDEM_OPERATION(advance_step, AdvanceStep)

}  // namespace idem
