#include "engine/device/array.h"
#include "host/bench/bench.h"
#include "kernels/common/to_size.h"
#include "kernels/input/input.h"
#include "kernels/latent/latent.h"
#include "kernels/layers/layers.h"
#include "kernels/limits/copy_values.h"
#include "kernels/limits/multiply_adds.h"
#include "kernels/objective/objective.h"
#include "kernels/optimizer/optimizer.h"
#include "kernels/sampling/sampling.h"

namespace idem {
namespace {

// Arrays of one case, kept alive by the function that is timed. Values are standard normals: no operation is timed on
// zeros alone.
class Arrays {
 public:
  explicit Arrays(Device& device)
      : device_(device), seed_(device, std::vector<std::uint64_t>{1}), step_(device, std::vector<std::uint32_t>{0}) {}

  Rows<float> rows(std::int64_t n_rows, std::int64_t n_cols) {
    const std::int64_t stride = padded(n_cols);
    memory_.emplace_back(device_, to_size(n_rows * stride));
    const Rows<float> made{memory_.back().data(), n_rows * stride, stride};
    ++*step_value_;
    step_.upload({*step_value_});
    draw_normals(device_.execution(), DrawNormals<float>{.n_rows = n_rows,
                                                         .n_cols = static_cast<std::int32_t>(n_cols),
                                                         .stream = RandomStream::input_noise,
                                                         .seed = seed_.data(),
                                                         .step = step_.data(),
                                                         .out = made});
    return made;
  }
  float* values(std::int64_t size) { return rows(1, size).data; }
  float* filled(std::int64_t size, float value) {
    memory_.emplace_back(device_, std::vector<float>(to_size(size), value));
    return memory_.back().data();
  }
  template <class T>
  T* list_of(const std::vector<T>& list) {
    auto array = std::make_shared<Array<T>>(device_, list);
    keep_.push_back(array);
    return array->data();
  }
  const std::uint64_t* seed() const { return seed_.data(); }
  const std::uint32_t* step() const { return step_.data(); }

 private:
  Device& device_;
  Array<std::uint64_t> seed_;
  Array<std::uint32_t> step_;
  std::shared_ptr<std::uint32_t> step_value_ = std::make_shared<std::uint32_t>(0);
  std::vector<Array<float>> memory_;
  std::vector<std::shared_ptr<void>> keep_;
};

struct Prepared {
  Work work;
  std::function<void()> run;
};
template <class Params>
Prepared prepared(Device& device, void (*operation)(const Execution&, const Params&), const Params& p) {
  return {work(p), [&device, operation, p] { operation(device.execution(), p); }};
}

BenchCase make_case(std::string name, std::function<Prepared(Device&, const std::shared_ptr<Arrays>&)> prepare) {
  return {.name = "operation/" + std::move(name),
          .work = {},
          .count = {},
          .prepare = [prepare = std::move(prepare)](Device& device, const MeasuredLimits&, BenchCase& self) {
            const auto arrays = std::make_shared<Arrays>(device);
            auto made = prepare(device, arrays);
            self.work = made.work;
            return PreparedBench{
                .memory = arrays, .sequence = device.make_sequence("operation", std::move(made.run)), .reset = {}};
          }};
}

BenchCase product(const std::string& name, std::int64_t m, std::int64_t n, std::int64_t k, bool transpose_a,
                  bool transpose_b) {
  return make_case("product/" + name, [=](Device& device, const auto& arrays) -> Prepared {
    const MatrixProduct<float> p{.m = m,
                                 .n = n,
                                 .k = k,
                                 .transpose_a = transpose_a,
                                 .transpose_b = transpose_b,
                                 .a = transpose_a ? arrays->rows(k, m) : arrays->rows(m, k),
                                 .b = transpose_b ? arrays->rows(n, k) : arrays->rows(k, n),
                                 .c = arrays->rows(m, n)};
    return {work(p), [&device, p] { device.multiply(p); }};
  });
}

// Everything at the size `n_rows` of a batch.
void add_row_operations(std::vector<BenchCase>& cases, const std::string& size, std::int64_t n_rows) {
  constexpr std::int32_t kNeurons = 120, kWidth = 64, kLatents = 2;
  const auto batch = static_cast<std::int32_t>(n_rows);

  cases.push_back(make_case("gather_rows/" + size, [=](Device& device, const auto& arrays) -> Prepared {
    std::vector<std::int32_t> order(to_size(n_rows));
    for (std::int64_t i = 0; i < n_rows; ++i) order[to_size(i)] = static_cast<std::int32_t>(i * 7919 % n_rows);
    const auto source = arrays->rows(n_rows, kNeurons);
    const GatherRows<float> p{.batch = batch,
                              .n_features = kNeurons,
                              .source = source.data,
                              .source_stride = source.row_stride,
                              .rows = arrays->list_of(order),
                              .out = arrays->rows(n_rows, kNeurons)};
    return prepared(device, gather_rows<float>, p);
  }));
  cases.push_back(make_case("draw_normals/" + size, [=](Device& device, const auto& arrays) -> Prepared {
    const DrawNormals<float> p{.n_rows = n_rows,
                               .n_cols = kNeurons,
                               .seed = arrays->seed(),
                               .step = arrays->step(),
                               .out = arrays->rows(n_rows, kNeurons)};
    return prepared(device, draw_normals<float>, p);
  }));
  for (const auto& [name, activation] :
       {std::pair("leaky_relu", Activation::leaky_relu), std::pair("tanh", Activation::tanh),
        std::pair("gelu_tanh", Activation::gelu_tanh)}) {
    const bool keeps = activation == Activation::gelu_tanh;  // and reads what it kept
    cases.push_back(make_case(
        std::string("bias_") + name + "_forward/" + size, [=](Device& device, const auto& arrays) -> Prepared {
          const BiasActivation<float> p{.n_rows = n_rows,
                                        .n_features = kWidth,
                                        .activation = activation,
                                        .bias = arrays->rows(1, kWidth),
                                        .value = arrays->rows(n_rows, kWidth),
                                        .pre_activation = keeps ? arrays->rows(n_rows, kWidth) : Rows<float>{}};
          return prepared(device, bias_activation_forward<float>, p);
        }));
    cases.push_back(make_case(
        std::string("bias_") + name + "_backward/" + size, [=](Device& device, const auto& arrays) -> Prepared {
          const BiasActivationGradient<float> p{.n_rows = n_rows,
                                                .n_features = kWidth,
                                                .activation = activation,
                                                .value = arrays->rows(n_rows, kWidth),
                                                .pre_activation = keeps ? arrays->rows(n_rows, kWidth) : Rows<float>{},
                                                .d_value = arrays->rows(n_rows, kWidth),
                                                .d_bias = arrays->rows(1, kWidth)};
          return prepared(device, bias_activation_backward<float>, p);
        }));
  }
  const auto latent = [=](Arrays& arrays) {
    const auto made = [&] { return arrays.rows(n_rows, kLatents); };
    return LatentSample<float>{.batch = batch,
                               .n_latents = kLatents,
                               .encoder_mean = made(),
                               .encoder_raw = made(),
                               .prior_mean = made(),
                               .prior_raw = made(),
                               .noise_encoder = made(),
                               .noise_posterior = made(),
                               .encoder_log_var = made(),
                               .prior_log_var = made(),
                               .posterior_mean = made(),
                               .posterior_log_var = made(),
                               .z_encoder = made(),
                               .z_posterior = made()};
  };
  cases.push_back(make_case("latent_sample_forward/" + size, [=](Device& device, const auto& arrays) -> Prepared {
    return prepared(device, latent_sample_forward<float>, latent(*arrays));
  }));
  cases.push_back(make_case("latent_sample_backward/" + size, [=](Device& device, const auto& arrays) -> Prepared {
    const auto made = [&] { return arrays->rows(n_rows, kLatents); };
    const LatentSampleGradient<float> p{.forward = latent(*arrays),
                                        .d_z_encoder = made(),
                                        .d_z_posterior = made(),
                                        .d_mean = made(),
                                        .d_log_var = made(),
                                        .d_prior_mean = made(),
                                        .d_prior_log_var = made()};
    return prepared(device, latent_sample_backward<float>, p);
  }));
  cases.push_back(make_case("reconstruction_poisson/" + size, [=](Device& device, const auto& arrays) -> Prepared {
    const Reconstruction<float> p{.n_rows = n_rows,
                                  .n_target_rows = n_rows,
                                  .n_neurons = kNeurons,
                                  .pre = arrays->rows(n_rows, kNeurons),
                                  .target = arrays->rows(n_rows, kNeurons),
                                  .loss = arrays->values(n_rows),
                                  .loss_stride = n_rows,
                                  .d_pre = arrays->rows(n_rows, kNeurons)};
    return prepared(device, reconstruction<float>, p);
  }));
}

BenchCase bound(const std::string& name, std::int32_t batch, std::int32_t n_samples, std::int32_t n_alphas) {
  constexpr std::int32_t kLatents = 2;
  return make_case("ci_ivae_bound/" + name, [=](Device& device, const auto& arrays) -> Prepared {
    std::vector<float> alphas;
    for (std::int32_t i = 1; i <= n_alphas; ++i)
      alphas.push_back(static_cast<float>(i) / static_cast<float>(n_alphas + 1));
    const auto made = [&] { return arrays->rows(batch, kLatents); };
    const auto scalars = [&] { return arrays->values(batch); };
    const CiIvaeBound<float> p{.batch = batch,
                               .n_latents = kLatents,
                               .n_samples = n_samples,
                               .n_alphas = n_alphas,
                               .skew_term = SkewTerm::published,
                               .mean = made(),
                               .log_var = made(),
                               .prior_mean = made(),
                               .prior_log_var = made(),
                               .noise = arrays->rows(batch, std::int64_t{kLatents} * n_samples),
                               .alphas = arrays->list_of(alphas),
                               .loss_posterior = scalars(),
                               .loss_encoder = scalars(),
                               .row_weight = arrays->filled(batch, 1.0f / static_cast<float>(batch)),
                               .row_scalar_stride = batch,
                               .kl_scale = arrays->filled(1, 1),
                               .skew_scale = arrays->filled(1, 1),
                               .loss = scalars(),
                               .kl_encoder = scalars(),
                               .kl_posterior = scalars(),
                               .skew = scalars(),
                               .alpha = scalars(),
                               .alpha_index = arrays->list_of(std::vector<std::int32_t>(to_size(batch))),
                               .weight_posterior = scalars(),
                               .weight_encoder = scalars(),
                               .d_mean = made(),
                               .d_log_var = made(),
                               .d_prior_mean = made(),
                               .d_prior_log_var = made()};
    return prepared(device, ci_ivae_bound<float>, p);
  });
}

void add_filter(std::vector<BenchCase>& cases, const std::string& size, std::int64_t n_times) {
  constexpr std::int32_t kNeurons = 128, kTaps = 10;
  for (const bool forward : {true, false})
    cases.push_back(make_case(
        std::string("temporal_filter_") + (forward ? "forward/" : "backward/") + size,
        [=](Device& device, const auto& arrays) -> Prepared {
          const auto n = to_size(n_times);
          const auto in = arrays->rows(n_times, kNeurons), out = arrays->rows(n_times, kNeurons);
          const TemporalFilter<float> p{
              .n_times = n_times,
              .n_rows = n_times,
              .n_neurons = kNeurons,
              .n_taps = kTaps,
              .left = kTaps / 2,
              .counts = in.data,
              .counts_stride = in.row_stride,
              .segment_begin = arrays->list_of(std::vector<std::int32_t>(n, 0)),
              .segment_end = arrays->list_of(std::vector<std::int32_t>(n, static_cast<std::int32_t>(n_times))),
              .taps = arrays->filled(kTaps, 1),
              .smoothed = out.data,
              .smoothed_stride = out.row_stride};
          if (forward) return prepared(device, temporal_filter_forward<float>, p);
          const TemporalFilterGradient<float> gradient{.forward = p, .d_smoothed = in.data, .d_counts = out.data};
          return prepared(device, temporal_filter_backward<float>, gradient);
        }));
}

void add_optimizer(std::vector<BenchCase>& cases, const std::string& size, std::int64_t n_parameters) {
  cases.push_back(make_case("gradient_norm/" + size, [=](Device& device, const auto& arrays) -> Prepared {
    const GradientNorm<float> p{.n_parameters = n_parameters,
                                .member_stride = n_parameters,
                                .gradient = arrays->values(n_parameters),
                                .partial = arrays->values(gradient_norm_partials(n_parameters)),
                                .norm = arrays->values(1)};
    return prepared(device, gradient_norm<float>, p);
  }));
  cases.push_back(make_case("adam/" + size, [=](Device& device, const auto& arrays) -> Prepared {
    const Adam<float> p{.n_parameters = n_parameters,
                        .member_stride = n_parameters,
                        .parameters = arrays->values(n_parameters),
                        .moment1 = arrays->values(n_parameters),
                        .moment2 = arrays->filled(n_parameters, 1),
                        .gradient = arrays->values(n_parameters),
                        .learning_rate = arrays->filled(1, 1e-3f),
                        .clip_norm = 1,
                        .norm = arrays->filled(1, 1),
                        .step = arrays->step()};
    return prepared(device, adam<float>, p);
  }));
}

// Roofs: of memory, of the last cache that a core or the GPU has to itself, of arithmetic.
void add_limits(std::vector<BenchCase>& cases, bool on_gpu) {
  const auto add_copy = [&](const char* name, std::int64_t n) {
    cases.push_back(make_case(name, [=](Device& device, const auto& arrays) -> Prepared {
      return prepared(device, copy_values<float>,
                      CopyValues<float>{.n = n, .from = arrays->filled(n, 1), .to = arrays->filled(n, 2)});
    }));
  };
  add_copy("copy", on_gpu ? 128 << 20 : 24 << 20);
  add_copy("copy/in-cache", on_gpu ? 2 << 20 : 64 << 10);
  const std::int64_t n_chains = on_gpu ? 4 << 20 : 64 << 10;
  cases.push_back(make_case("multiply_adds", [=](Device& device, const auto& arrays) -> Prepared {
    return prepared(device, multiply_adds<float>,
                    MultiplyAdds<float>{.n = n_chains, .rounds = 1024, .values = arrays->filled(n_chains, 1)});
  }));
}

}  // namespace

std::vector<BenchCase> operation_cases(bool on_gpu) {
  // Large: hundreds of megabytes on a GPU, some times the last cache on a CPU.
  const std::int64_t large_rows = on_gpu ? 400'000 : 60'000;
  std::vector<BenchCase> cases;
  add_limits(cases, on_gpu);
  const std::int64_t square = on_gpu ? 8192 : 1024;
  cases.push_back(product("large", square, square, square, false, false));
  cases.push_back(product("200x60x120", 200, 60, 120, false, true));
  cases.push_back(product("200x120x60-gradient", 200, 120, 60, false, false));
  cases.push_back(product("60x120x200-weight-gradient", 60, 120, 200, true, false));
  cases.push_back(product("200x4096x4096", 200, 4096, 4096, false, true));
  add_filter(cases, "session", 6577);
  add_filter(cases, "large", large_rows);
  add_row_operations(cases, "batch-200", 200);
  add_row_operations(cases, "large", large_rows);
  cases.push_back(bound("200x50x39", 200, 50, 39));
  add_optimizer(cases, "24-thousand", 23'640 / 256 * 256);
  add_optimizer(cases, "large", 34'613'248);
  return cases;
}

}  // namespace idem
