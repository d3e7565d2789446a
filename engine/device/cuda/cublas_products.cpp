#include "engine/device/cuda/cublas_products.h"

#include <algorithm>
#include <cmath>
#include <limits>
#include <optional>

#include "engine/device/cuda/check.h"
#include "engine/device/cuda/cuda_device.h"
#include "kernels/common/to_size.h"

namespace idem {

namespace {

void check(cublasStatus_t status, const std::string& what) {
  if (status != CUBLAS_STATUS_SUCCESS) throw DeviceError(what + ": " + cublasLtGetStatusString(status));
}

// Tensors start on 256 bytes; the rows of a batch, and a stretch of them, on 64.
constexpr std::uint32_t kAlignmentBytes = 64;

cublasLtEpilogue_t epilogue_of(const MatrixProduct<float>& p) {
  if (p.a_sums) return CUBLASLT_EPILOGUE_BGRADB;  // what cuBLASLt calls B is a: see ProductDescription
  switch (p.activation) {
    case Activation::relu: return CUBLASLT_EPILOGUE_RELU_BIAS;
    case Activation::gelu_tanh: return p.pre_activation ? CUBLASLT_EPILOGUE_GELU_AUX_BIAS : CUBLASLT_EPILOGUE_GELU_BIAS;
    default: return p.bias ? CUBLASLT_EPILOGUE_BIAS : CUBLASLT_EPILOGUE_DEFAULT;
  }
}

// What decides the algorithm of a product: all but the number of members and how far apart they lie.
std::array<std::int64_t, 11> key_of(const MatrixProduct<float>& p) {
  return {p.m,
          p.n,
          p.k,
          p.transpose_a,
          p.transpose_b,
          p.accumulate,
          p.a.row_stride,
          p.b.row_stride,
          p.c.row_stride,
          epilogue_of(p),
          p.pre_activation.row_stride};
}

cublasComputeType_t compute_type(ProductPrecision precision) {
  switch (precision) {
    case ProductPrecision::tf32: return CUBLAS_COMPUTE_32F_FAST_TF32;
    case ProductPrecision::bf16: return CUBLAS_COMPUTE_32F_FAST_16BF;
    case ProductPrecision::fp32: break;
  }
  return CUBLAS_COMPUTE_32F;
}

template <class Attribute, class Value>
void set(cublasLtMatmulPreference_t preference, Attribute attribute, const Value& value) {
  check(cublasLtMatmulPreferenceSetAttribute(preference, attribute, &value, sizeof value),
        "cublasLtMatmulPreferenceSetAttribute");
}

// The description of a product for cuBLASLt. Row-major C = A B is column-major C' = B' A': left, right and result are
// the primed matrices.
class ProductDescription {
 public:
  ProductDescription(const MatrixProduct<float>& p, std::int32_t n_members, ProductPrecision precision) try {
    check(cublasLtMatmulDescCreate(&operation, compute_type(precision), CUDA_R_32F), "cublasLtMatmulDescCreate");
    transpose(CUBLASLT_MATMUL_DESC_TRANSA, p.transpose_b);
    transpose(CUBLASLT_MATMUL_DESC_TRANSB, p.transpose_a);
    left = layout(p.transpose_b ? p.k : p.n, p.transpose_b ? p.n : p.k, p.b.row_stride, p.b.member_stride, n_members);
    right = layout(p.transpose_a ? p.m : p.k, p.transpose_a ? p.k : p.m, p.a.row_stride, p.a.member_stride, n_members);
    result = layout(p.n, p.m, p.c.row_stride, p.c.member_stride, n_members);
    if (!p.has_epilogue()) return;
    set(CUBLASLT_MATMUL_DESC_EPILOGUE, epilogue_of(p));
    set(CUBLASLT_MATMUL_DESC_BIAS_BATCH_STRIDE, p.a_sums ? p.a_sums.member_stride : p.bias.member_stride);
    if (p.pre_activation) {
      set(CUBLASLT_MATMUL_DESC_EPILOGUE_AUX_LD, p.pre_activation.row_stride);
      set(CUBLASLT_MATMUL_DESC_EPILOGUE_AUX_BATCH_STRIDE, p.pre_activation.member_stride);
    }
    point(p, 0);
  } catch (...) {
    destroy();
    throw;
  }
  ~ProductDescription() { destroy(); }
  ProductDescription(const ProductDescription&) = delete;
  ProductDescription& operator=(const ProductDescription&) = delete;

  // The epilogue's arrays belong to the description: to be set before every product, as another of the same shape may
  // have used it.
  void point(const MatrixProduct<float>& p, std::int64_t member) const {
    if (!p.has_epilogue()) return;
    set(CUBLASLT_MATMUL_DESC_BIAS_POINTER, p.a_sums ? p.a_sums.row(member, 0) : p.bias.row(member, 0));
    if (p.pre_activation) set(CUBLASLT_MATMUL_DESC_EPILOGUE_AUX_POINTER, p.pre_activation.row(member, 0));
  }

  cublasLtMatmulDesc_t operation = nullptr;
  cublasLtMatrixLayout_t left = nullptr, right = nullptr, result = nullptr;

 private:
  template <class Value>
  void set(cublasLtMatmulDescAttributes_t attribute, const Value& value) const {
    check(cublasLtMatmulDescSetAttribute(operation, attribute, &value, sizeof value), "cublasLtMatmulDescSetAttribute");
  }
  void transpose(cublasLtMatmulDescAttributes_t attribute, bool transposed) const {
    set(attribute, transposed ? CUBLAS_OP_T : CUBLAS_OP_N);
  }
  static cublasLtMatrixLayout_t layout(std::int64_t n_rows, std::int64_t n_cols, std::int64_t stride,
                                       std::int64_t member_stride, std::int32_t n_members) {
    cublasLtMatrixLayout_t matrix = nullptr;
    check(cublasLtMatrixLayoutCreate(&matrix, CUDA_R_32F, static_cast<std::uint64_t>(n_rows),
                                     static_cast<std::uint64_t>(n_cols), stride),
          "cublasLtMatrixLayoutCreate");
    check(cublasLtMatrixLayoutSetAttribute(matrix, CUBLASLT_MATRIX_LAYOUT_BATCH_COUNT, &n_members, sizeof n_members),
          "cublasLtMatrixLayoutSetAttribute");
    check(cublasLtMatrixLayoutSetAttribute(matrix, CUBLASLT_MATRIX_LAYOUT_STRIDED_BATCH_OFFSET, &member_stride,
                                           sizeof member_stride),
          "cublasLtMatrixLayoutSetAttribute");
    return matrix;
  }
  void destroy() noexcept {
    for (auto* matrix : {left, right, result})
      if (matrix) cublasLtMatrixLayoutDestroy(matrix);
    if (operation) cublasLtMatmulDescDestroy(operation);
  }
};

template <class Value>
Value attribute_of(const cublasLtMatmulAlgo_t& algorithm, cublasLtMatmulAlgoConfigAttributes_t attribute) {
  Value value{};
  std::size_t written = 0;
  check(cublasLtMatmulAlgoConfigGetAttribute(&algorithm, attribute, &value, sizeof value, &written),
        "cublasLtMatmulAlgoConfigGetAttribute");
  return value;
}

// The algorithms that cuBLASLt thinks best for the product of p's members, the best first; none if it has none.
std::vector<cublasLtMatmulAlgo_t> best_algorithms(cublasLtHandle_t handle, const MatrixProduct<float>& p,
                                                  ProductPrecision precision) {
  constexpr int kMost = 16;
  const ProductDescription all(p, p.fleet.n_members, precision);
  cublasLtMatmulPreference_t preference = nullptr;
  check(cublasLtMatmulPreferenceCreate(&preference), "cublasLtMatmulPreferenceCreate");
  const std::unique_ptr<std::remove_pointer_t<cublasLtMatmulPreference_t>, decltype(&cublasLtMatmulPreferenceDestroy)>
      owner(preference, cublasLtMatmulPreferenceDestroy);
  set(preference, CUBLASLT_MATMUL_PREF_MAX_WORKSPACE_BYTES, CublasProducts::kWorkspaceBytes);
  // No reduction through atomics: the same product must give the same bits every time.
  set(preference, CUBLASLT_MATMUL_PREF_REDUCTION_SCHEME_MASK,
      static_cast<std::uint32_t>(CUBLASLT_REDUCTION_SCHEME_COMPUTE_TYPE | CUBLASLT_REDUCTION_SCHEME_OUTPUT_TYPE));
  for (const auto matrix : {CUBLASLT_MATMUL_PREF_MIN_ALIGNMENT_A_BYTES, CUBLASLT_MATMUL_PREF_MIN_ALIGNMENT_B_BYTES,
                            CUBLASLT_MATMUL_PREF_MIN_ALIGNMENT_C_BYTES, CUBLASLT_MATMUL_PREF_MIN_ALIGNMENT_D_BYTES})
    set(preference, matrix, kAlignmentBytes);
  std::array<cublasLtMatmulHeuristicResult_t, kMost> found{};
  int n_found = 0;
  const auto status = cublasLtMatmulAlgoGetHeuristic(handle, all.operation, all.left, all.right, all.result, all.result,
                                                     preference, kMost, found.data(), &n_found);
  if (status == CUBLAS_STATUS_NOT_SUPPORTED || status == CUBLAS_STATUS_INVALID_VALUE) return {};
  check(status, "cublasLtMatmulAlgoGetHeuristic");
  std::vector<cublasLtMatmulAlgo_t> algorithms;
  for (int i = 0; i < n_found; ++i)
    if (found[to_size(i)].state == CUBLAS_STATUS_SUCCESS) algorithms.push_back(found[to_size(i)].algo);
  return algorithms;
}

// How many times over the product's blocks fill the GPU by this algorithm; nothing where it can't do p's members at
// once.
std::optional<float> waves_of(cublasLtHandle_t handle, const cublasLtMatmulAlgo_t& algorithm,
                              const MatrixProduct<float>& p, ProductPrecision precision) {
  const ProductDescription d(p, p.fleet.n_members, precision);
  cublasLtMatmulHeuristicResult_t result{};
  const auto status =
      cublasLtMatmulAlgoCheck(handle, d.operation, d.left, d.right, d.result, d.result, &algorithm, &result);
  if (status != CUBLAS_STATUS_SUCCESS || result.workspaceSize > CublasProducts::kWorkspaceBytes) return std::nullopt;
  return result.wavesCount;
}

// As many members of this shape that lie one after the other.
MatrixProduct<float> members_in_a_row(MatrixProduct<float> p, std::int32_t n_members) {
  p.fleet.n_members = n_members;
  p.a.member_stride = (p.transpose_a ? p.k : p.m) * p.a.row_stride;
  p.b.member_stride = (p.transpose_b ? p.n : p.k) * p.b.row_stride;
  p.c.member_stride = p.m * p.c.row_stride;
  p.pre_activation.member_stride = p.m * p.pre_activation.row_stride;
  p.bias.member_stride = padded(p.n);
  p.a_sums.member_stride = padded(p.m);
  return p;
}

// One algorithm per shape, for a member alone and for any fleet, so that a member's bits never depend on its fleet.
struct ChosenAlgorithm {
  cublasLtMatmulAlgo_t algorithm{};
  std::string remark;  // what it costs that it has to serve both
};

// Of those that cuBLASLt proposes for one, two and many members the first, in its own order, among those that leave the
// GPU little idle for one and for many together: waves alone say nothing of how fast an algorithm's tiles are. Nothing
// where none can do all three.
class AlgorithmChoice {
 public:
  AlgorithmChoice(cublasLtHandle_t handle, const MatrixProduct<float>& p, ProductPrecision precision)
      : handle_(handle), precision_(precision) {
    for (const std::int32_t n : {2, 1, kManyMembers})
      for (const auto& algorithm : best_algorithms(handle, members_in_a_row(p, n), precision)) weigh(algorithm, p);
  }
  std::optional<ChosenAlgorithm> chosen() const {
    if (candidates_.empty()) return std::nullopt;
    const auto idle = [](const Candidate& candidate) { return candidate.idle; };
    const double least = std::ranges::min(candidates_, {}, idle).idle;
    const auto is_alike = [&](double of) { return of <= kAlikeIdle * least; };
    const Candidate& best = *std::ranges::find_if(candidates_, is_alike, idle);
    ChosenAlgorithm chosen{.algorithm = best.algorithm};
    if (idle_alone_ < best.idle_alone)
      chosen.remark = ", " + std::to_string(static_cast<int>(100 * (best.idle_alone / idle_alone_ - 1))) +
                      " % more waves alone than by an algorithm that fleets can't run";
    return chosen;
  }

 private:
  static constexpr std::int32_t kManyMembers =
      132;  // a fleet that has a member for every multiprocessor of a large GPU
  static constexpr double kAlikeIdle = 1.1;
  // Time over that of a full GPU: a last wave takes as long as a whole one.
  static double idleness(float waves) {
    return waves > 0 ? std::ceil(static_cast<double>(waves)) / static_cast<double>(waves) : 1;
  }

  struct Candidate {
    cublasLtMatmulAlgo_t algorithm;
    double idle, idle_alone;
  };

  void weigh(const cublasLtMatmulAlgo_t& algorithm, const MatrixProduct<float>& p) {
    const auto alone = waves_of(handle_, algorithm, members_in_a_row(p, 1), precision_);
    const auto two = waves_of(handle_, algorithm, members_in_a_row(p, 2), precision_);
    const auto many = waves_of(handle_, algorithm, members_in_a_row(p, kManyMembers), precision_);
    if (!alone) return;
    if (two && many)
      candidates_.push_back({algorithm, idleness(*alone) + idleness(*many), idleness(*alone)});
    else
      idle_alone_ = std::min(idle_alone_, idleness(*alone));
  }

  cublasLtHandle_t handle_;
  ProductPrecision precision_;
  std::vector<Candidate> candidates_;
  double idle_alone_ = std::numeric_limits<double>::infinity();  // the least of those that fleets can't run
};

std::string epilogue_name(const MatrixProduct<float>& p) {
  if (p.a_sums) return " with the sums of a";
  if (!p.bias) return "";
  if (p.activation == Activation::identity) return " with bias";
  return p.activation == Activation::relu ? " with bias and relu" : " with bias and gelu";
}

std::string describe(const MatrixProduct<float>& p, const cublasLtMatmulAlgo_t& algorithm, bool at_once,
                     ProductPrecision precision) {
  const auto number = [&](cublasLtMatmulAlgoConfigAttributes_t attribute) {
    return std::to_string(attribute_of<std::int32_t>(algorithm, attribute));
  };
  return std::to_string(p.m) + " x " + std::to_string(p.n) + " x " + std::to_string(p.k) +
         (p.transpose_a ? " a'" : "") + (p.transpose_b ? " b'" : "") + (p.accumulate ? " added" : "") +
         epilogue_name(p) + ", " + std::to_string(p.fleet.n_members) + " members " +
         (at_once ? "at once" : "one by one") + ", " + to_string(precision) + ": cuBLASLt algorithm " +
         number(CUBLASLT_ALGO_CONFIG_ID) + ", tile " + number(CUBLASLT_ALGO_CONFIG_TILE_ID) + ", stages " +
         number(CUBLASLT_ALGO_CONFIG_STAGES_ID) + ", split k " + number(CUBLASLT_ALGO_CONFIG_SPLITK_NUM);
}

}  // namespace

// A product of one shape for one number of members.
class CublasProducts::Product {
 public:
  Product(cublasLtHandle_t handle, const cublasLtMatmulAlgo_t& algorithm, const MatrixProduct<float>& p,
          ProductPrecision precision)
      : algorithm_(algorithm), whole_(p, p.fleet.n_members, precision), one_(p, 1, precision) {
    at_once_ = waves_of(handle, algorithm, p, precision).has_value();
  }

  bool at_once() const { return at_once_; }
  void run(cublasLtHandle_t handle, const MatrixProduct<float>& p, void* workspace, cudaStream_t stream) const {
    const float one = 1, beta = p.accumulate ? 1.0f : 0.0f;
    const auto multiply = [&](const ProductDescription& d, std::int64_t member) {
      d.point(p, member);
      float* c = p.c.row(member, 0);
      check(cublasLtMatmul(handle, d.operation, &one, p.b.row(member, 0), d.left, p.a.row(member, 0), d.right, &beta, c,
                           d.result, c, d.result, &algorithm_, workspace, kWorkspaceBytes, stream),
            "cublasLtMatmul");
    };
    if (at_once_) return multiply(whole_, 0);
    for (std::int64_t member = 0; member < p.fleet.n_members; ++member) multiply(one_, member);
  }

 private:
  cublasLtMatmulAlgo_t algorithm_;
  ProductDescription whole_, one_;
  bool at_once_ = false;
};

// Products that differ in the number of members, or in how far these lie apart, share the algorithm.
struct CublasProducts::Shape {
  std::optional<ChosenAlgorithm> chosen;
  std::map<std::array<std::int64_t, 7>, std::unique_ptr<Product>> of_fleet;
};

CublasProducts::CublasProducts(ProductPrecision precision) : precision_(precision) {
  check(cublasLtCreate(&handle_), "cublasLtCreate");
}

CublasProducts::~CublasProducts() {
  shapes_.clear();
  cublasLtDestroy(handle_);
}

void CublasProducts::multiply(const MatrixProduct<float>& p, void* workspace, cudaStream_t stream) {
  product_of(p).run(handle_, p, workspace, stream);
}

bool CublasProducts::fuses(const MatrixProduct<float>& p) { return shape_of(p).chosen.has_value(); }

CublasProducts::Shape& CublasProducts::shape_of(const MatrixProduct<float>& p) {
  const auto key = key_of(p);
  auto found = shapes_.find(key);
  if (found == shapes_.end()) {
    auto chosen = AlgorithmChoice(handle_, p, precision_).chosen();
    if (!chosen && !p.has_epilogue()) {  // a fleet then goes through it member by member
      const auto alone = best_algorithms(handle_, members_in_a_row(p, 1), precision_);
      if (alone.empty())
        throw DeviceError("cuBLASLt has no algorithm for a product of " + std::to_string(p.m) + " x " +
                          std::to_string(p.n) + " x " + std::to_string(p.k) + "; use --device cpu");
      chosen = ChosenAlgorithm{.algorithm = alone.front()};
    }
    found = shapes_.emplace(key, Shape{chosen, {}}).first;
  }
  return found->second;
}

const CublasProducts::Product& CublasProducts::product_of(const MatrixProduct<float>& p) {
  Shape& shape = shape_of(p);
  if (!shape.chosen || (p.has_epilogue() && !has_cuda_epilogue(p, precision_)))
    throw DeviceError("a product was given an epilogue that this GPU does not fuse");
  auto& product = shape.of_fleet[{p.fleet.n_members, p.a.member_stride, p.b.member_stride, p.c.member_stride,
                                  p.bias.member_stride, p.pre_activation.member_stride, p.a_sums.member_stride}];
  if (!product) {
    product = std::make_unique<Product>(handle_, shape.chosen->algorithm, p, precision_);
    lines_.push_back(describe(p, shape.chosen->algorithm, product->at_once(), precision_) + shape.chosen->remark);
  }
  return *product;
}

}  // namespace idem
