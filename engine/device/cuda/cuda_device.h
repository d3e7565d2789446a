// cuda_device.h - NVIDIA GPUs behind the Device interface. Only part of builds with the CUDA backend.
#pragma once

#include <memory>

#include "engine/device/device.h"

namespace idem {

std::unique_ptr<Device> make_cuda_device(int index, int n_threads, ProductPrecision precision,
                                         ConvolutionMethod convolutions);

// Whether cuBLASLt has an epilogue for what this product asks for. Its only smooth activation is the GELU by tanh, to
// an accuracy it does not state: one for products whose factors are rounded anyway, not for fp32.
inline bool has_cuda_epilogue(const MatrixProduct<float>& p, ProductPrecision precision) {
  if (p.a_sums) return p.transpose_a && p.activation == Activation::identity && !p.bias && !p.pre_activation;
  if (!p.bias) return false;
  switch (p.activation) {
    case Activation::identity:
    case Activation::relu: return !p.pre_activation;
    case Activation::gelu_tanh: return precision != ProductPrecision::fp32;
    default: return false;
  }
}

// Whether a convolution is one for cuDNN: more than one bin of results (else it is a single product), and features that
// fill rows to their end, as cuDNN's layouts have no padding. The layer's inputs may be padded: zeros are convolved
// along.
inline bool has_cudnn_convolution(const BinConvolution<float>& p, ConvolutionMethod method) {
  return method == ConvolutionMethod::cudnn && p.batch > 0 && p.n_taps > 1 && p.n_bins > p.n_taps && p.n_in > 0 &&
         p.n_out > 0 && padded(p.n_out) == p.n_out;
}

}  // namespace idem
