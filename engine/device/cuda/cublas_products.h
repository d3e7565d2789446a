// cublas_products.h - single precision matrix products by cuBLASLt.
#pragma once

#include <cublasLt.h>
#include <cuda_runtime_api.h>

#include <array>
#include <map>
#include <memory>
#include <string>
#include <vector>

#include "engine/device/device.h"

namespace idem {

// One algorithm per shape, for a member alone and for any fleet, so that a member's bits never depend on its fleet;
// chosen at the shape's first product or question. Not thread-safe; the device whose GPU it was made for must be
// selected.
class CublasProducts {
 public:
  static constexpr std::size_t kWorkspaceBytes = 32u << 20;  // what cuBLASLt advises for Hopper

  explicit CublasProducts(ProductPrecision precision);
  ~CublasProducts();
  CublasProducts(const CublasProducts&) = delete;
  CublasProducts& operator=(const CublasProducts&) = delete;

  // workspace: kWorkspaceBytes of GPU memory that nothing else uses until the product has ended. Throws DeviceError
  // where cuBLASLt has no algorithm.
  void multiply(const MatrixProduct<float>& p, void* workspace, cudaStream_t stream);
  // Whether some algorithm does p with its epilogue.
  bool fuses(const MatrixProduct<float>& p);
  // A line for each shape and fleet so far.
  const std::vector<std::string>& algorithm_lines() const { return lines_; }

 private:
  struct Shape;
  class Product;
  using ShapeKey = std::array<std::int64_t, 11>;

  Shape& shape_of(const MatrixProduct<float>& p);
  const Product& product_of(const MatrixProduct<float>& p);

  ProductPrecision precision_;
  cublasLtHandle_t handle_ = nullptr;
  std::map<ShapeKey, Shape> shapes_;
  std::vector<std::string> lines_;
};

}  // namespace idem
