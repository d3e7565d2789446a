// products.h - what a device multiplies and convolves: matrix products with their epilogues, convolutions over bins.
#pragma once

#include <cstdint>
#include <string>

#include "kernels/layers/layers.h"

namespace idem {

// C = A op B for every active member, row-major, Real accumulation.
//   c [m x n] = a [m x k] * b, where b is [k x n], or [n x k] when transpose_b, and a is [k x m] when transpose_a
//   accumulate adds to c instead of overwriting it
// Determinism: the same bits every time, and for a member the same alone and in any fleet. On the CPU also for any
// number of threads (c is cut into blocks by shape alone). On a GPU the algorithm is chosen once for a shape; a member
// alone and any fleet run that one, at once where cuBLASLt can, else member by member. Another GPU, driver or library
// version may choose another. All arrays start on 64 bytes, as do the rows of a, b, c and pre_activation.
//
// The rest is the epilogue, what a device may do in the same pass; multiply takes one only where fuses says so:
//   activation, bias   c = activation(a b + bias), with c's old value added before where `accumulate`; bias [n_members
//                      x n] (row_stride unused)
//   pre_activation     as c: what the activation was given, or empty
//   a_sums             [n_members x m] = a [k x m] (transpose_a) summed over its k rows: of a weight's gradient the
//                      bias's
template <class Real>
struct MatrixProduct {
  FleetExtent fleet;
  std::int64_t m = 0, n = 0, k = 0;
  bool transpose_a = false, transpose_b = false, accumulate = false;
  Activation activation = Activation::identity;
  Rows<const Real> a, b;
  Rows<Real> c;
  Rows<const Real> bias;
  Rows<Real> pre_activation, a_sums;

  bool has_epilogue() const { return activation != Activation::identity || bias || pre_activation || a_sums; }
};
// Of a product and of a convolution, as of operations (operation.h); what epilogues add is left out.
Work work(const MatrixProduct<float>& p);

// A convolution over bins or one of its gradients, for every member. Bins lie as in convolution.h:
// [bin][batch][feature].
//   x       [n_bins * batch x n_in]
//   weight  [n_out * n_taps x n_in], row out * n_taps + tap
//   y       [(n_bins - n_taps + 1) * batch x n_out], y[t] = sum over taps of x[t + tap] weight[tap]'
//   out     what the pass computes, in the place of the one it does not read: y is overwritten by `forward`, the
//           gradient of weight by `weight_gradient`, the gradient of x is added to by `input_gradient` (y then holds
//           the gradient of y)
// Determinism: as MatrixProduct.
enum class ConvolutionPass { forward, input_gradient, weight_gradient };
template <class Real>
struct BinConvolution {
  FleetExtent fleet;
  ConvolutionPass pass = ConvolutionPass::forward;
  std::int64_t batch = 0, n_bins = 0, n_taps = 1, n_in = 0, n_out = 0;
  Rows<const Real> x, weight, y;
  Rows<Real> out;
};
Work work(const BinConvolution<float>& p);

// Who convolves. gemm: this project's own kernels where they run narrow convolutions, else products on shifted rows;
// both batched over members. cudnn: cuDNN on a GPU, member by member, because it has no batch of independent filters; a
// choice and never automatic, so that a member's bits do not depend on how many others train beside it.
enum class ConvolutionMethod { gemm, cudnn };
template <>
struct EnumNames<ConvolutionMethod> {
  static constexpr const char* what = "convolutions";
  static constexpr EnumName<ConvolutionMethod> all[] = {{ConvolutionMethod::gemm, "gemm"},
                                                        {ConvolutionMethod::cudnn, "cudnn"}};
};

}  // namespace idem
