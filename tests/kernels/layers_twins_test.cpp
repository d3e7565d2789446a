#include "kernels/layers/layers.h"

#include <algorithm>
#include <functional>
#include <numeric>

#include "tests/emulation/twin_check.h"
#include "kernels/common/to_size.h"

namespace idem {
namespace {

const std::vector<Activation> kActivations = {Activation::identity, Activation::relu,     Activation::leaky_relu,
                                              Activation::tanh,     Activation::gelu_erf, Activation::gelu_tanh,
                                              Activation::sigmoid,  Activation::softplus};

template <class Run>
using Scalar = typename std::decay_t<Run>::Scalar;

TEST(ScaleRowsTwins, AgreeOnEverySize) {
  for (std::int64_t n_rows : kHardSizes) {
    for (std::int32_t n_features : {0, 1, 33, 120}) {
      SCOPED_TRACE(testing::Message() << n_rows << " rows of " << n_features);
      check_twins(TwinFleet::several(), [&](auto& run) {
        ScaleRows<Scalar<decltype(run)>> p;
        p.fleet = run.fleet();
        p.n_rows = n_rows;
        p.n_features = n_features;
        p.scale = run.input("scale", n_rows);
        p.scale_stride = n_rows;
        p.value = run.in_out_rows("value", n_rows, n_features);
        scale_rows(run.execution(), p);
      });
    }
  }
}

void check_add(std::int64_t n_rows, std::int32_t n_features, bool in_place) {
  SCOPED_TRACE(testing::Message() << n_rows << " rows of " << n_features << (in_place ? " in place" : ""));
  check_twins(TwinFleet::several(), [&](auto& run) {
    AddRows<Scalar<decltype(run)>> p;
    p.fleet = run.fleet();
    p.n_rows = n_rows;
    p.n_features = n_features;
    p.b = run.input_rows("b", n_rows, n_features);
    if (in_place) {
      p.sum = run.in_out_rows("a", n_rows, n_features);
      p.a = p.sum;
    } else {
      p.a = run.input_rows("a", n_rows, n_features);
      p.sum = run.output_rows("sum", n_rows, n_features);
    }
    add_rows(run.execution(), p);
  });
}
TEST(AddRowsTwins, AgreeOnEverySizeAndInPlace) {
  for (std::int64_t n_rows : kHardSizes) {
    for (std::int32_t n_features : {0, 1, 33})
      for (bool in_place : {false, true}) check_add(n_rows, n_features, in_place);
  }
}

// cropped: rows of the frame on either side of the source.
void check_pad(std::int64_t n_source_rows, std::int64_t cropped, std::int32_t n_features) {
  SCOPED_TRACE(testing::Message() << n_source_rows << " rows of " << n_features << " between " << cropped
                                  << " on either side");
  check_twins(TwinFleet::several(), [&](auto& run) {
    PadRows<Scalar<decltype(run)>> p;
    p.fleet = run.fleet();
    p.n_rows = n_source_rows + 2 * cropped;
    p.first = cropped;
    p.n_source_rows = n_source_rows;
    p.n_features = n_features;
    if (n_source_rows > 0) p.source = run.input_rows("source", n_source_rows, n_features);
    p.out = run.output_rows("out", p.n_rows, n_features);
    pad_rows(run.execution(), p);
  });
}
TEST(PadRowsTwins, AgreeOnEverySize) {
  for (std::int64_t n_source_rows : kHardSizes) {
    for (std::int32_t n_features : {0, 1, 33})
      for (std::int64_t cropped : {0, 31}) check_pad(n_source_rows, cropped, n_features);
  }
}

void check_forward(Activation activation, std::int64_t n_rows, std::int32_t n_features, bool with_bias, bool keeps) {
  SCOPED_TRACE(testing::Message() << "activation " << static_cast<int>(activation) << ", " << n_rows << " rows of "
                                  << n_features);
  check_twins(TwinFleet::several(), [&](auto& run) {
    BiasActivation<Scalar<decltype(run)>> p;
    p.fleet = run.fleet();
    p.n_rows = n_rows;
    p.n_features = n_features;
    p.activation = activation;
    if (with_bias) p.bias = run.input_rows("bias", 1, n_features);
    p.value = run.in_out_rows("value", n_rows, n_features, normal_values(3.0f));
    if (keeps) p.pre_activation = run.output_rows("pre_activation", n_rows, n_features);
    bias_activation_forward(run.execution(), p);
  });
}

TEST(BiasActivationForwardTwins, AgreeForEveryActivation) {
  for (Activation activation : kActivations) {
    check_forward(activation, 61, 33, true, true);
    check_forward(activation, 3, 64, false, false);
  }
}
TEST(BiasActivationForwardTwins, AgreeOnEverySize) {
  for (std::int64_t n_rows : kHardSizes) {
    for (std::int32_t n_features : {1, 31, 257}) check_forward(Activation::tanh, n_rows, n_features, true, false);
  }
}

// What the forward pass leaves: values in the range of the activation, float in every twin.
ValueSource values_after(Activation activation) {
  if (activation == Activation::tanh) return uniform_values(-1.0f, 1.0f);
  if (activation == Activation::sigmoid) return uniform_values(0.0f, 1.0f);
  if (activation == Activation::softplus) return uniform_values(0.0f, 4.0f);
  return normal_values();
}
void check_backward(Activation activation, std::int64_t n_rows, std::int32_t n_features, bool with_bias,
                    bool accumulate = false) {
  SCOPED_TRACE(testing::Message() << "activation " << static_cast<int>(activation) << ", " << n_rows << " rows of "
                                  << n_features);
  check_twins(TwinFleet::several(), [&](auto& run) {
    BiasActivationGradient<Scalar<decltype(run)>> p;
    p.fleet = run.fleet();
    p.n_rows = n_rows;
    p.n_features = n_features;
    p.activation = activation;
    if (needs_pre_activation(activation))
      p.pre_activation = run.input_rows("pre_activation", n_rows, n_features, normal_values(2.0f));
    if (!needs_pre_activation(activation) && activation != Activation::identity)
      p.value = run.input_rows("value", n_rows, n_features, values_after(activation));
    p.d_value = run.in_out_rows("d_value", n_rows, n_features);
    if (with_bias)
      p.d_bias = accumulate ? run.in_out_rows("d_bias", 1, n_features) : run.output_rows("d_bias", 1, n_features);
    p.accumulate = accumulate;
    bias_activation_backward(run.execution(), p);
  });
}

TEST(BiasActivationBackwardTwins, AgreeForEveryActivation) {
  for (Activation activation : kActivations) {
    check_backward(activation, 61, 33, true);
    check_backward(activation, 9, 64, false);
    check_backward(activation, 17, 35, true, true);
  }
}
TEST(BiasActivationBackwardTwins, AgreeOnEverySize) {
  for (std::int64_t n_rows : kHardSizes) {
    for (std::int32_t n_features : {0, 1, 31, 257}) check_backward(Activation::leaky_relu, n_rows, n_features, true);
  }
  check_backward(Activation::gelu_erf, 1100, 9, true);  // more than a block has rows at once
}

// Some permutation; null where there is none.
template <class Run>
const std::int32_t* places(Run& run, std::int32_t n, bool is_permuted) {
  std::vector<std::int32_t> place(to_size(n));
  std::iota(place.begin(), place.end(), 0);
  std::shuffle(place.begin(), place.end(), std::mt19937(5));
  return is_permuted ? run.shared_array("place", place) : nullptr;
}

void check_join(std::int64_t n_rows, std::int32_t n_a, std::int32_t n_b, bool is_permuted) {
  SCOPED_TRACE(testing::Message() << n_rows << " rows of " << n_a << " and " << n_b
                                  << (is_permuted ? " permuted" : ""));
  check_twins(TwinFleet::several(), [&](auto& run) {
    JoinFeatures<Scalar<decltype(run)>> p;
    p.fleet = run.fleet();
    p.n_rows = n_rows;
    p.n_a = n_a;
    p.n_b = n_b;
    p.place = places(run, n_a + n_b, is_permuted);
    p.a = run.input_rows("a", n_rows, n_a);
    p.b = run.input_rows("b", n_rows, n_b);
    p.out = run.output_rows("out", n_rows, n_a + n_b);
    join_features_forward(run.execution(), p);
  });
  check_twins(TwinFleet::several(), [&](auto& run) {
    JoinFeaturesGradient<Scalar<decltype(run)>> p;
    p.fleet = run.fleet();
    p.n_rows = n_rows;
    p.n_a = n_a;
    p.n_b = n_b;
    p.place = places(run, n_a + n_b, is_permuted);
    p.d_out = run.input_rows("d_out", n_rows, n_a + n_b);
    p.d_a = run.output_rows("d_a", n_rows, n_a);
    p.d_b = run.output_rows("d_b", n_rows, n_b);
    join_features_backward(run.execution(), p);
  });
}
TEST(JoinFeaturesTwins, AgreeOnEverySize) {
  for (std::int64_t n_rows : kHardSizes)
    for (std::int32_t n_b : {1, 31, 257}) check_join(n_rows, 2, n_b, n_rows % 2 == 1);
}

void check_coupling(std::int64_t n_rows, std::int32_t n_features, bool is_permuted) {
  SCOPED_TRACE(testing::Message() << n_rows << " rows of " << n_features << (is_permuted ? " permuted" : ""));
  const std::int32_t n_moved = n_features - n_features / 2;
  check_twins(TwinFleet::several(), [&](auto& run) {
    Coupling<Scalar<decltype(run)>> p;
    p.fleet = run.fleet();
    p.n_rows = n_rows;
    p.n_features = n_features;
    p.place = places(run, n_features, is_permuted);
    p.x = run.input_rows("x", n_rows, n_features);
    p.raw = run.input_rows("raw", n_rows, 2 * n_moved - 1, normal_values(2.0f));
    p.log_scale = run.output_rows("log_scale", n_rows, n_moved);
    p.out = run.output_rows("out", n_rows, n_features);
    coupling_forward(run.execution(), p);
  });
  check_twins(TwinFleet::several(), [&](auto& run) {
    CouplingGradient<Scalar<decltype(run)>> p;
    p.forward.fleet = run.fleet();
    p.forward.n_rows = n_rows;
    p.forward.n_features = n_features;
    p.forward.place = places(run, n_features, is_permuted);
    p.forward.x = run.input_rows("x", n_rows, n_features);
    p.forward.log_scale = run.in_out_rows("log_scale", n_rows, n_moved, uniform_values(-0.1f, 0.1f));
    p.d_out = run.input_rows("d_out", n_rows, n_features);
    p.d_x = run.output_rows("d_x", n_rows, n_features);
    p.d_raw = run.output_rows("d_raw", n_rows, 2 * n_moved - 1);
    coupling_backward(run.execution(), p);
  });
}
TEST(CouplingTwins, AgreeOnEverySize) {
  for (std::int64_t n_rows : kHardSizes)
    for (std::int32_t n_features : {2, 3, 33, 120})
      check_coupling(n_rows, n_features, n_features % 2 == 1 || n_rows == 61);
  check_coupling(7, 515, true);
}

struct GradientShape {
  std::int64_t n_rows, tap_rows;
  std::int32_t n_out, n_in, n_taps;
  bool with_bias = true, accumulate = false;
};
void check_weight_gradients(const std::vector<GradientShape>& shapes) {
  SCOPED_TRACE(testing::Message() << shapes.size() << " layers, the first of " << shapes[0].n_rows << " rows, "
                                  << shapes[0].n_out << " x " << shapes[0].n_in << ", " << shapes[0].n_taps << " taps");
  check_twins(TwinFleet::several(), [&](auto& run) {
    using Real = Scalar<decltype(run)>;
    WeightGradients<Real> p;
    p.fleet = run.fleet();
    for (const GradientShape& shape : shapes) {
      const std::string number = std::to_string(p.n_layers);
      WeightGradient<Real>& layer = p.layers[p.n_layers++];
      layer.n_rows = shape.n_rows;
      layer.tap_rows = shape.tap_rows;
      layer.n_out = shape.n_out;
      layer.n_in = shape.n_in;
      layer.n_taps = shape.n_taps;
      layer.accumulate = shape.accumulate;
      layer.d = run.input_rows("d" + number, shape.n_rows, shape.n_out);
      layer.x = run.input_rows("x" + number, shape.n_rows + (shape.n_taps - 1) * shape.tap_rows, shape.n_in);
      const std::int64_t n_weight_rows = std::int64_t{shape.n_out} * shape.n_taps;
      const auto sums = [&](const std::string& name, std::int64_t n_rows, std::int64_t n_features) {
        return shape.accumulate ? run.in_out_rows(name + number, n_rows, n_features)
                                : run.output_rows(name + number, n_rows, n_features);
      };
      layer.d_weight = sums("d_weight", n_weight_rows, shape.n_in);
      if (shape.with_bias) layer.d_bias = sums("d_bias", 1, shape.n_out);
      p.partial_stride += weight_gradient_scratch(layer);
    }
    if (p.partial_stride > 0) p.partial_sums = run.scratch("partial_sums", p.partial_stride);
    weight_gradients(run.execution(), p);
  });
}
TEST(WeightGradientsTwins, AgreeOnEverySize) {
  for (std::int64_t n_rows : kHardSizes)
    for (std::int32_t n_in : {1, 33, 61}) check_weight_gradients({{n_rows, 0, 31, n_in, 1}});
}
TEST(WeightGradientsTwins, AgreeForLayersOfSeveralTapsAndManyRows) {
  check_weight_gradients({{700, 1, 32, 35, 2}, {698, 1, 33, 32, 3, true, true}, {515, 7, 3, 32, 3, false}});
  check_weight_gradients({{130, 1, 4, 4, 2, true, true}, {512, 0, 1, 1, 1}, {0, 0, 5, 3, 1, true, true}});
}

// On tensor cores values that they keep whole: their products are exact then, and only the sums' order differs.
std::function<float(std::mt19937_64&)> factors_of(ProductPrecision precision) {
  if (precision == ProductPrecision::fp32) return normal_values(1.0f);
  return [](std::mt19937_64& random) { return static_cast<float>(static_cast<int>(random() % 33) - 16) / 16.0f; };
}

// Adds a convolution whose arrays have that name to those that run side by side.
template <class Run>
void add_convolution(Run& run, NarrowConvolutions<Scalar<Run>>& together, const std::string& name,
                     const GradientShape& shape, bool is_residual, Activation activation, ProductPrecision precision) {
  const std::int64_t n_x_rows = shape.n_rows + (shape.n_taps - 1) * shape.tap_rows,
                     n_weight_rows = std::int64_t{shape.n_out} * shape.n_taps;
  NarrowConvolution<Scalar<Run>> p;
  p.fleet = run.fleet();
  p.n_rows = shape.n_rows;
  p.tap_rows = shape.tap_rows;
  p.n_in = shape.n_in;
  p.n_out = shape.n_out;
  p.n_taps = shape.n_taps;
  p.is_residual = is_residual;
  p.precision = precision;
  p.activation = activation;
  p.x = run.input_rows(name + "x", n_x_rows, shape.n_in, factors_of(precision));
  p.weight = run.input_rows(name + "weight", n_weight_rows, shape.n_in, factors_of(precision));
  p.bias = run.input_rows(name + "bias", 1, shape.n_out);
  p.value = run.output_rows(name + "value", shape.n_rows, shape.n_out);
  if (needs_pre_activation(activation))
    p.pre_activation = run.output_rows(name + "pre_activation", shape.n_rows, shape.n_out);
  if (!needs_pre_activation(activation) && is_residual)
    p.activated = run.output_rows(name + "activated", shape.n_rows, shape.n_out);
  together.add(p);
}

template <class Run>
void add_convolution_gradient(Run& run, NarrowConvolutionGradients<Scalar<Run>>& together, const std::string& name,
                              const GradientShape& shape, bool is_residual, Activation activation, bool gives_d_x,
                              ProductPrecision precision) {
  const std::int64_t n_x_rows = shape.n_rows + (shape.n_taps - 1) * shape.tap_rows,
                     n_weight_rows = std::int64_t{shape.n_out} * shape.n_taps;
  NarrowConvolutionGradient<Scalar<Run>> p;
  p.fleet = run.fleet();
  p.n_rows = shape.n_rows;
  p.tap_rows = shape.tap_rows;
  p.n_in = shape.n_in;
  p.n_out = shape.n_out;
  p.n_taps = shape.n_taps;
  p.is_residual = is_residual;
  p.precision = precision;
  p.d_pre = run.input_rows(name + "d_pre", shape.n_rows, shape.n_out, factors_of(precision));
  if (is_residual) p.d_value = run.input_rows(name + "d_value", shape.n_rows, shape.n_out);
  p.weight = run.input_rows(name + "weight", n_weight_rows, shape.n_in, factors_of(precision));
  if (gives_d_x) p.d_x = run.output_rows(name + "d_x", n_x_rows, shape.n_in);
  p.activation_below = activation;
  if (needs_pre_activation(activation)) {
    p.d_below = run.in_out_rows(name + "kept", n_x_rows, shape.n_in, normal_values(2.0f));
    p.kept_below = p.d_below;
  } else if (activation != Activation::identity || !gives_d_x) {
    p.kept_below = run.input_rows(name + "kept", n_x_rows, shape.n_in, values_after(activation));
    p.d_below = run.output_rows(name + "d_below", n_x_rows, shape.n_in);
  }
  together.add(p);
}

void check_narrow_convolution(const GradientShape& shape, bool is_residual, Activation activation,
                              bool gives_d_x = true, const std::vector<std::string>& names = {""},
                              ProductPrecision precision = ProductPrecision::fp32) {
  SCOPED_TRACE(testing::Message() << shape.n_rows << " rows, " << shape.n_out << " x " << shape.n_in << ", "
                                  << shape.n_taps << " taps " << shape.tap_rows << " rows apart, activation "
                                  << static_cast<int>(activation));
  check_twins(TwinFleet::several(), [&](auto& run) {
    NarrowConvolutions<Scalar<decltype(run)>> together{.fleet = run.fleet()};
    for (const auto& name : names) add_convolution(run, together, name, shape, is_residual, activation, precision);
    narrow_convolution_forward(run.execution(), together);
  });
  check_twins(TwinFleet::several(), [&](auto& run) {
    NarrowConvolutionGradients<Scalar<decltype(run)>> together{.fleet = run.fleet()};
    for (const auto& name : names)
      add_convolution_gradient(run, together, name, shape, is_residual, activation, gives_d_x, precision);
    narrow_convolution_backward(run.execution(), together);
  });
}
TEST(NarrowConvolutionTwins, AgreeOnEverySize) {
  for (std::int64_t n_rows : {1, 31, 33, 61})
    for (std::int32_t n_in : {1, 33, 61})
      for (std::int32_t n_out : {3, 35})
        check_narrow_convolution({n_rows, 1, n_out, n_in, 2}, false, Activation::leaky_relu, n_in != 33);
  check_narrow_convolution({0, 1, 3, 4, 2}, false, Activation::identity);
}
TEST(NarrowConvolutionTwins, AgreeForEveryActivationWithAndWithoutASkip) {
  for (Activation activation : kActivations) {
    check_narrow_convolution({37, 1, 32, 32, 3}, true, activation);
    check_narrow_convolution({40, 7, 20, 20, 3}, true, activation);
    check_narrow_convolution({40, 7, 6, 20, 3}, false, activation);
  }
}
TEST(NarrowConvolutionTwins, AgreeWhereTheFactorsDoNotFitIntoSharedMemoryAtOnce) {
  check_narrow_convolution({34, 5, 33, 150, 2}, false, Activation::gelu_erf);
  check_narrow_convolution({34, 1, 128, 128, 3}, true, Activation::tanh);
}
TEST(NarrowConvolutionTwins, AgreeOfFewOutputsWhoseTapsShareASlice) {
  for (std::int32_t n_out : {1, 3, 8, 9}) check_narrow_convolution({67, 1, n_out, 32, 3}, false, Activation::gelu_erf);
  check_narrow_convolution({67, 2, 5, 130, 5}, false, Activation::relu, false);
}
TEST(NarrowConvolutionTwins, AgreeSideBySide) {
  check_narrow_convolution({37, 7, 20, 20, 3}, true, Activation::gelu_tanh, true, {"mean.", "log_var."});
  check_narrow_convolution({37, 7, 2, 20, 3}, false, Activation::identity, false, {"mean.", "log_var."});
}
TEST(NarrowConvolutionTensorTwins, AgreeOnEverySize) {
  for (const auto precision : {ProductPrecision::tf32, ProductPrecision::bf16}) {
    for (std::int64_t n_rows : {1, 33, 61})
      for (const auto& [n_in, n_out] : {std::pair{1, 3}, {33, 35}, {61, 8}})
        check_narrow_convolution({n_rows, 1, n_out, n_in, 2}, false, Activation::leaky_relu, true, {""}, precision);
    check_narrow_convolution({40, 7, 20, 20, 3}, true, Activation::gelu_erf, true, {"mean.", "log_var."}, precision);
    check_narrow_convolution({34, 5, 33, 150, 2}, false, Activation::relu, false, {""}, precision);
  }
}

}  // namespace
}  // namespace idem
