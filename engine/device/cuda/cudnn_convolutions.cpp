#include "engine/device/cuda/cudnn_convolutions.h"
#include "kernels/common/to_size.h"

#if IDEM_WITH_CUDNN

#include <cudnn.h>

#include <algorithm>
#include <span>
#include <utility>

namespace idem {

namespace {

void check(cudnnStatus_t status, const std::string& what) {
  if (status != CUDNN_STATUS_SUCCESS)
    throw DeviceError(what + ": cuDNN says " + cudnnGetErrorString(status) + " (or use --convolutions gemm)");
}

constexpr std::int64_t kAlignmentBytes = 64;  // of every array of the engine, see MatrixProduct
enum TensorId : std::int64_t { kX = 1, kWeight, kY };

// A descriptor of the graph API: attributes are set, then it is finalised and does not change.
class Descriptor {
 public:
  Descriptor() = default;
  explicit Descriptor(cudnnBackendDescriptorType_t type) {
    check(cudnnBackendCreateDescriptor(type, &descriptor_), "describing a convolution");
  }
  ~Descriptor() {
    if (descriptor_) cudnnBackendDestroyDescriptor(descriptor_);
  }
  Descriptor(Descriptor&& other) noexcept : descriptor_(std::exchange(other.descriptor_, nullptr)) {}
  Descriptor& operator=(Descriptor&& other) noexcept {
    std::swap(descriptor_, other.descriptor_);
    return *this;
  }

  template <class Value>
  void set(cudnnBackendAttributeName_t name, cudnnBackendAttributeType_t type, std::span<const Value> values) {
    check(cudnnBackendSetAttribute(descriptor_, name, type, static_cast<std::int64_t>(values.size()), values.data()),
          "describing a convolution");
  }
  template <class Value>
  void set(cudnnBackendAttributeName_t name, cudnnBackendAttributeType_t type, const Value& value) {
    set(name, type, std::span<const Value>(&value, 1));
  }
  void set(cudnnBackendAttributeName_t name, const Descriptor& value) {
    set(name, CUDNN_TYPE_BACKEND_DESCRIPTOR, value.descriptor_);
  }

  // Up to `most` values.
  template <class Value>
  std::vector<Value> get(cudnnBackendAttributeName_t name, cudnnBackendAttributeType_t type, std::int64_t most) const {
    std::vector<Value> values(to_size(most));
    std::int64_t n = 0;
    check(cudnnBackendGetAttribute(descriptor_, name, type, most, &n, values.data()),
          "asking cuDNN about a convolution");
    values.resize(to_size(std::min(n, most)));
    return values;
  }
  cudnnStatus_t try_to_finalise() { return cudnnBackendFinalize(descriptor_); }
  void finalise(const char* what) { check(try_to_finalise(), what); }
  cudnnBackendDescriptor_t get() const { return descriptor_; }

 private:
  cudnnBackendDescriptor_t descriptor_ = nullptr;
};

// NHWC, listed as N, C, H, W.
Descriptor tensor(TensorId id, std::int64_t n, std::int64_t channels, std::int64_t height, std::int64_t width) {
  Descriptor result(CUDNN_BACKEND_TENSOR_DESCRIPTOR);
  const std::array<std::int64_t, 4> extents{n, channels, height, width},
      strides{height * width * channels, 1, width * channels, channels};
  result.set(CUDNN_ATTR_TENSOR_DATA_TYPE, CUDNN_TYPE_DATA_TYPE, CUDNN_DATA_FLOAT);
  result.set(CUDNN_ATTR_TENSOR_DIMENSIONS, CUDNN_TYPE_INT64, std::span<const std::int64_t>(extents));
  result.set(CUDNN_ATTR_TENSOR_STRIDES, CUDNN_TYPE_INT64, std::span<const std::int64_t>(strides));
  result.set(CUDNN_ATTR_TENSOR_UNIQUE_ID, CUDNN_TYPE_INT64, static_cast<std::int64_t>(id));
  result.set(CUDNN_ATTR_TENSOR_BYTE_ALIGNMENT, CUDNN_TYPE_INT64, kAlignmentBytes);
  result.finalise("describing a tensor");
  return result;
}

Descriptor convolution() {
  Descriptor result(CUDNN_BACKEND_CONVOLUTION_DESCRIPTOR);
  const std::array<std::int64_t, 2> none{0, 0}, every{1, 1};
  result.set(CUDNN_ATTR_CONVOLUTION_SPATIAL_DIMS, CUDNN_TYPE_INT64, std::int64_t{2});
  result.set(CUDNN_ATTR_CONVOLUTION_COMP_TYPE, CUDNN_TYPE_DATA_TYPE, CUDNN_DATA_FLOAT);
  result.set(CUDNN_ATTR_CONVOLUTION_CONV_MODE, CUDNN_TYPE_CONVOLUTION_MODE, CUDNN_CROSS_CORRELATION);
  for (const auto padding : {CUDNN_ATTR_CONVOLUTION_PRE_PADDINGS, CUDNN_ATTR_CONVOLUTION_POST_PADDINGS})
    result.set(padding, CUDNN_TYPE_INT64, std::span<const std::int64_t>(none));
  for (const auto step : {CUDNN_ATTR_CONVOLUTION_FILTER_STRIDES, CUDNN_ATTR_CONVOLUTION_DILATIONS})
    result.set(step, CUDNN_TYPE_INT64, std::span<const std::int64_t>(every));
  result.finalise("describing a convolution");
  return result;
}

// What the node of a pass is called, and its parts.
struct PassNames {
  const char* name;
  cudnnBackendDescriptorType_t type;
  cudnnBackendAttributeName_t convolution, x, weight, y, alpha, beta;
  float beta_value;
};
PassNames names_of(ConvolutionPass pass) {
  switch (pass) {
    case ConvolutionPass::input_gradient:
      return {"input gradient",
              CUDNN_BACKEND_OPERATION_CONVOLUTION_BACKWARD_DATA_DESCRIPTOR,
              CUDNN_ATTR_OPERATION_CONVOLUTION_BWD_DATA_CONV_DESC,
              CUDNN_ATTR_OPERATION_CONVOLUTION_BWD_DATA_DX,
              CUDNN_ATTR_OPERATION_CONVOLUTION_BWD_DATA_W,
              CUDNN_ATTR_OPERATION_CONVOLUTION_BWD_DATA_DY,
              CUDNN_ATTR_OPERATION_CONVOLUTION_BWD_DATA_ALPHA,
              CUDNN_ATTR_OPERATION_CONVOLUTION_BWD_DATA_BETA,
              1};
    case ConvolutionPass::weight_gradient:
      return {"weight gradient",
              CUDNN_BACKEND_OPERATION_CONVOLUTION_BACKWARD_FILTER_DESCRIPTOR,
              CUDNN_ATTR_OPERATION_CONVOLUTION_BWD_FILTER_CONV_DESC,
              CUDNN_ATTR_OPERATION_CONVOLUTION_BWD_FILTER_X,
              CUDNN_ATTR_OPERATION_CONVOLUTION_BWD_FILTER_DW,
              CUDNN_ATTR_OPERATION_CONVOLUTION_BWD_FILTER_DY,
              CUDNN_ATTR_OPERATION_CONVOLUTION_BWD_FILTER_ALPHA,
              CUDNN_ATTR_OPERATION_CONVOLUTION_BWD_FILTER_BETA,
              0};
    case ConvolutionPass::forward: break;
  }
  return {"forward",
          CUDNN_BACKEND_OPERATION_CONVOLUTION_FORWARD_DESCRIPTOR,
          CUDNN_ATTR_OPERATION_CONVOLUTION_FORWARD_CONV_DESC,
          CUDNN_ATTR_OPERATION_CONVOLUTION_FORWARD_X,
          CUDNN_ATTR_OPERATION_CONVOLUTION_FORWARD_W,
          CUDNN_ATTR_OPERATION_CONVOLUTION_FORWARD_Y,
          CUDNN_ATTR_OPERATION_CONVOLUTION_FORWARD_ALPHA,
          CUDNN_ATTR_OPERATION_CONVOLUTION_FORWARD_BETA,
          0};
}

// Whether an engine computes what the precision promises, the same every time.
bool keeps_promises(const Descriptor& engine, ProductPrecision precision) {
  const auto notes = engine.get<cudnnBackendNumericalNote_t>(
      CUDNN_ATTR_ENGINE_NUMERICAL_NOTE, CUDNN_TYPE_NUMERICAL_NOTE, CUDNN_NUMERICAL_NOTE_TYPE_COUNT);
  return std::none_of(notes.begin(), notes.end(), [&](cudnnBackendNumericalNote_t note) {
    return note == CUDNN_NUMERICAL_NOTE_NONDETERMINISTIC || note == CUDNN_NUMERICAL_NOTE_DOWN_CONVERT_INPUTS ||
           note == CUDNN_NUMERICAL_NOTE_REDUCED_PRECISION_REDUCTION ||
           (precision == ProductPrecision::fp32 && note == CUDNN_NUMERICAL_NOTE_TENSOR_CORE);
  });
}

}  // namespace

// Null without a device: plans are then made for `properties`.
struct CudnnConvolutions::Library {
  Library() = default;
  Library(const Library&) = delete;
  ~Library() {
    if (handle) cudnnDestroy(handle);
  }
  cudnnHandle_t handle = nullptr;
  Descriptor properties;
};

struct CudnnConvolutions::Plan {
  Descriptor descriptor;
};

CudnnConvolutions::CudnnConvolutions(ProductPrecision precision, std::size_t workspace_bytes,
                                     const std::string& device_properties)
    : precision_(precision), workspace_bytes_(workspace_bytes), library_(std::make_unique<Library>()) {
  if (device_properties.empty()) {
    check(cudnnCreate(&library_->handle), "starting cuDNN");
    return;
  }
  library_->properties = Descriptor(CUDNN_BACKEND_DEVICEPROP_DESCRIPTOR);
  library_->properties.set(CUDNN_ATTR_DEVICEPROP_JSON_REPRESENTATION, CUDNN_TYPE_CHAR,
                           std::span<const char>(device_properties.c_str(), device_properties.size() + 1));
  library_->properties.finalise("reading a device's properties");
}
CudnnConvolutions::~CudnnConvolutions() = default;

const CudnnConvolutions::Plan* CudnnConvolutions::plan_of(const BinConvolution<float>& p) {
  const Shape shape{static_cast<std::int64_t>(p.pass), p.batch, p.n_bins, p.n_taps, padded(p.n_in), p.n_out};
  if (const auto found = plans_.find(shape); found != plans_.end()) return found->second.get();
  auto& plan = plans_[shape];

  const auto names = names_of(p.pass);
  Descriptor node(names.type);
  node.set(names.convolution, convolution());
  node.set(names.x, tensor(kX, 1, padded(p.n_in), p.n_bins, p.batch));
  node.set(names.weight, tensor(kWeight, p.n_out, padded(p.n_in), p.n_taps, 1));
  node.set(names.y, tensor(kY, 1, p.n_out, p.n_bins - p.n_taps + 1, p.batch));
  node.set(names.alpha, CUDNN_TYPE_FLOAT, 1.0f);
  node.set(names.beta, CUDNN_TYPE_FLOAT, names.beta_value);
  node.finalise("describing a convolution");
  Descriptor graph(CUDNN_BACKEND_OPERATIONGRAPH_DESCRIPTOR);
  if (library_->handle) graph.set(CUDNN_ATTR_OPERATIONGRAPH_HANDLE, CUDNN_TYPE_HANDLE, library_->handle);
  graph.set(CUDNN_ATTR_OPERATIONGRAPH_OPS, node);
  graph.finalise("describing a convolution");

  for (const auto mode : {CUDNN_HEUR_MODE_A, CUDNN_HEUR_MODE_FALLBACK}) {
    Descriptor heuristics(CUDNN_BACKEND_ENGINEHEUR_DESCRIPTOR);
    heuristics.set(CUDNN_ATTR_ENGINEHEUR_OPERATION_GRAPH, graph);
    heuristics.set(CUDNN_ATTR_ENGINEHEUR_MODE, CUDNN_TYPE_HEUR_MODE, mode);
    if (!library_->handle) heuristics.set(CUDNN_ATTR_ENGINEHEUR_DEVICEPROP, library_->properties);
    if (heuristics.try_to_finalise() != CUDNN_STATUS_SUCCESS)
      continue;  // a mode that knows nothing about this operation
    std::int64_t n = 0;
    check(cudnnBackendGetAttribute(heuristics.get(), CUDNN_ATTR_ENGINEHEUR_RESULTS, CUDNN_TYPE_BACKEND_DESCRIPTOR, 0,
                                   &n, nullptr),
          "asking cuDNN for its engines");
    std::vector<Descriptor> configurations;
    std::vector<cudnnBackendDescriptor_t> to_fill;
    for (std::int64_t i = 0; i < n; ++i)
      to_fill.push_back(configurations.emplace_back(CUDNN_BACKEND_ENGINECFG_DESCRIPTOR).get());
    check(cudnnBackendGetAttribute(heuristics.get(), CUDNN_ATTR_ENGINEHEUR_RESULTS, CUDNN_TYPE_BACKEND_DESCRIPTOR, n,
                                   &n, to_fill.data()),
          "asking cuDNN for its engines");
    configurations.resize(to_size(n));
    for (const auto& configuration : configurations) {
      Descriptor engine(CUDNN_BACKEND_ENGINE_DESCRIPTOR);
      std::int64_t n_engines = 0;
      auto engine_to_fill = engine.get();
      check(cudnnBackendGetAttribute(configuration.get(), CUDNN_ATTR_ENGINECFG_ENGINE, CUDNN_TYPE_BACKEND_DESCRIPTOR, 1,
                                     &n_engines, &engine_to_fill),
            "asking cuDNN for an engine");
      if (!keeps_promises(engine, precision_)) continue;
      Descriptor candidate(CUDNN_BACKEND_EXECUTION_PLAN_DESCRIPTOR);
      candidate.set(CUDNN_ATTR_EXECUTION_PLAN_ENGINE_CONFIG, configuration);
      if (library_->handle)
        candidate.set(CUDNN_ATTR_EXECUTION_PLAN_HANDLE, CUDNN_TYPE_HANDLE, library_->handle);
      else
        candidate.set(CUDNN_ATTR_EXECUTION_PLAN_DEVICEPROP, library_->properties);
      if (candidate.try_to_finalise() != CUDNN_STATUS_SUCCESS) continue;  // the heuristics promise nothing
      const auto bytes =
          candidate.get<std::int64_t>(CUDNN_ATTR_EXECUTION_PLAN_WORKSPACE_SIZE, CUDNN_TYPE_INT64, 1).at(0);
      if (bytes > static_cast<std::int64_t>(workspace_bytes_)) continue;
      const auto index = engine.get<std::int64_t>(CUDNN_ATTR_ENGINE_GLOBAL_INDEX, CUDNN_TYPE_INT64, 1).at(0);
      algorithm_lines_.push_back("convolution of " + std::to_string(p.n_taps) + " of " + std::to_string(p.n_bins) +
                                 " bins x " + std::to_string(p.batch) + ", " + std::to_string(p.n_in) + " -> " +
                                 std::to_string(p.n_out) + ", " + names.name + ", " + to_string(precision_) +
                                 ": cuDNN " + std::to_string(cudnnGetVersion()) + " engine " + std::to_string(index) +
                                 ", workspace " + std::to_string(bytes) + " bytes");
      plan = std::make_unique<Plan>(Plan{std::move(candidate)});
      return plan.get();
    }
  }
  algorithm_lines_.push_back("convolution of " + std::to_string(p.n_taps) + " of " + std::to_string(p.n_bins) +
                             " bins x " + std::to_string(p.batch) + ", " + std::to_string(p.n_in) + " -> " +
                             std::to_string(p.n_out) + ", " + names.name + ", " + to_string(precision_) +
                             ": by products, cuDNN has no deterministic engine of this precision and workspace");
  return nullptr;
}

bool CudnnConvolutions::convolves(const BinConvolution<float>& p) { return plan_of(p) != nullptr; }

void CudnnConvolutions::convolve(const BinConvolution<float>& p, void* workspace, Stream stream) {
  const Plan* plan = plan_of(p);
  if (!plan) throw DeviceError("cuDNN has no engine for a convolution that it was asked for");
  check(cudnnSetStream(library_->handle, stream), "choosing a stream for cuDNN");
  const auto address = [](const auto& rows, std::int64_t member) { return const_cast<float*>(rows.row(member, 0)); };
  for (std::int64_t member = 0; member < p.fleet.n_members; ++member) {
    float* out = p.out.row(member, 0);
    const std::array<std::int64_t, 3> ids{kX, kWeight, kY};
    const std::array<void*, 3> arrays{p.pass == ConvolutionPass::input_gradient ? out : address(p.x, member),
                                      p.pass == ConvolutionPass::weight_gradient ? out : address(p.weight, member),
                                      p.pass == ConvolutionPass::forward ? out : address(p.y, member)};
    Descriptor pack(CUDNN_BACKEND_VARIANT_PACK_DESCRIPTOR);
    pack.set(CUDNN_ATTR_VARIANT_PACK_UNIQUE_IDS, CUDNN_TYPE_INT64, std::span<const std::int64_t>(ids));
    pack.set(CUDNN_ATTR_VARIANT_PACK_DATA_POINTERS, CUDNN_TYPE_VOID_PTR, std::span<void* const>(arrays));
    pack.set(CUDNN_ATTR_VARIANT_PACK_WORKSPACE, CUDNN_TYPE_VOID_PTR, workspace);
    pack.finalise("pointing cuDNN at a convolution's arrays");
    check(cudnnBackendExecute(library_->handle, plan->descriptor.get(), pack.get()), "convolving");
  }
}

}  // namespace idem

#else

namespace idem {

struct CudnnConvolutions::Plan {};
struct CudnnConvolutions::Library {};

CudnnConvolutions::CudnnConvolutions(ProductPrecision, std::size_t, const std::string&) {
  throw DeviceError(
      "--convolutions cudnn: this program was built without cuDNN; install cuDNN 9 and configure again, or use "
      "--convolutions gemm");
}
CudnnConvolutions::~CudnnConvolutions() = default;
bool CudnnConvolutions::convolves(const BinConvolution<float>&) { return false; }
void CudnnConvolutions::convolve(const BinConvolution<float>&, void*, Stream) {}

}  // namespace idem

#endif
