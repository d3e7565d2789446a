// cudnn_convolutions.h - convolutions over bins by cuDNN's graph API. In a build without cuDNN (IDEM_WITH_CUDNN) there
// is only an error to be had.
//
// A pass is one convolution node over NHWC tensors: one image, its height the bins, its width the batch, its channels
// the features (padded to the rows' stride: zeros are convolved along), a filter [n_out][tap][1][feature]. The rows of
// the engine are that layout as they lie. The plan of a shape is the first that cuDNN's heuristics name (mode A, then
// fallback) of those that are deterministic, keep to the precision and fit the workspace. It is chosen once and never
// by timing: two runs of one configuration must not choose differently.
#pragma once

#include <array>
#include <map>
#include <memory>
#include <string>
#include <vector>

#include "engine/device/device.h"

namespace idem {

class CudnnConvolutions {
 public:
  // precision: fp32 refuses engines on tensor cores, tf32 and bf16 allow those that round factors to tf32, none that
  // round them further. device_properties: of the GPU to choose plans for, as cuDNN writes them (JSON), where there is
  // none to run them on; "" for the current one. Throws DeviceError when cuDNN cannot be used here.
  explicit CudnnConvolutions(ProductPrecision precision, std::size_t workspace_bytes,
                             const std::string& device_properties = "");
  ~CudnnConvolutions();

  // Whether there is a plan for a convolution of this shape.
  bool convolves(const BinConvolution<float>& p);
  // Member by member, asynchronous on the stream. workspace: workspace_bytes that nothing else uses until then.
  void convolve(const BinConvolution<float>& p, void* workspace, Stream stream);
  const std::vector<std::string>& algorithm_lines() const { return algorithm_lines_; }

 private:
  struct Plan;
  struct Library;
  using Shape = std::array<std::int64_t, 6>;
  // Null where there is none.
  const Plan* plan_of(const BinConvolution<float>& p);

  ProductPrecision precision_;
  std::size_t workspace_bytes_;
  std::unique_ptr<Library> library_;
  std::map<Shape, std::unique_ptr<Plan>> plans_;
  std::vector<std::string> algorithm_lines_;
};

}  // namespace idem
