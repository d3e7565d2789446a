// What every Device keeps to: products, memory, sequences.
#include "engine/device/device.h"

#include <gtest/gtest.h>

#include <cmath>
#include <random>

#include "engine/device/array.h"
#include "engine/networks/convolution.h"
#include "kernels/common/to_size.h"
#include "kernels/layers/layers.h"
#include "kernels/layers/row_chain.h"
#include "kernels/optimizer/optimizer.h"
#include "tests/support/device_under_test.h"
#include "tests/support/error_message.h"
#include "tests/support/host_rows.h"

namespace idem {
namespace {

// Host rows and their copy on the device.
struct DeviceRows {
  DeviceRows(Device& device, HostRows<float> on_host) : host(std::move(on_host)), memory(device, host.values) {}
  Rows<float> rows() const { return {memory.data(), host.n_rows * host.row_stride, host.row_stride}; }
  HostRows<float> downloaded() const {
    HostRows<float> result = host;
    result.values = memory.download();
    return result;
  }
  HostRows<float> host;
  Array<float> memory;
};

struct ProductCase {
  std::int64_t m, n, k;
  bool transpose_a, transpose_b, accumulate;
};

// a and b are drawn member by member, so that member 0 alone draws what member 0 of a fleet does.
HostRows<float> drawn(std::int64_t n_members, std::int64_t n_rows, std::int64_t n_features, unsigned seed) {
  HostRows<float> rows(n_members, n_rows, n_features);
  std::mt19937_64 random(seed);
  return rows.fill_normal(random);
}

HostRows<float> product(Device& device, const ProductCase& c, std::int64_t n_members) {
  const DeviceRows a(device, c.transpose_a ? drawn(n_members, c.k, c.m, 1) : drawn(n_members, c.m, c.k, 1));
  const DeviceRows b(device, c.transpose_b ? drawn(n_members, c.n, c.k, 2) : drawn(n_members, c.k, c.n, 2));
  const DeviceRows out(device, drawn(n_members, c.m, c.n, 3));
  device.multiply(MatrixProduct<float>{.fleet = {static_cast<std::int32_t>(n_members), nullptr},
                                       .m = c.m,
                                       .n = c.n,
                                       .k = c.k,
                                       .transpose_a = c.transpose_a,
                                       .transpose_b = c.transpose_b,
                                       .accumulate = c.accumulate,
                                       .a = a.rows(),
                                       .b = b.rows(),
                                       .c = out.rows()});
  return out.downloaded();
}

std::vector<ProductCase> product_cases() {
  std::vector<ProductCase> cases;
  for (const bool transpose_a : {false, true})
    for (const bool transpose_b : {false, true})
      for (const bool accumulate : {false, true})
        for (const auto& [m, n, k] :
             {std::array<std::int64_t, 3>{1, 1, 1}, {33, 17, 5}, {200, 60, 120}, {7, 130, 257}, {24, 300, 65}})
          cases.push_back({m, n, k, transpose_a, transpose_b, accumulate});
  return cases;
}

TEST(Device, MultipliesAsTheDefinitionSaysWithinRoundingAndLeavesThePaddingZero) {
  const auto device = device_under_test();
  for (const auto& c : product_cases()) {
    SCOPED_TRACE(testing::Message() << c.m << " x " << c.n << " x " << c.k << (c.transpose_a ? " a'" : "")
                                    << (c.transpose_b ? " b'" : "") << (c.accumulate ? " added" : ""));
    const std::int64_t n_members = 2;
    const auto a = c.transpose_a ? drawn(n_members, c.k, c.m, 1) : drawn(n_members, c.m, c.k, 1);
    const auto b = c.transpose_b ? drawn(n_members, c.n, c.k, 2) : drawn(n_members, c.k, c.n, 2);
    const auto before = drawn(n_members, c.m, c.n, 3);
    const auto got = product(*device, c, n_members);
    double worst = 0;
    for (std::int64_t member = 0; member < n_members; ++member)
      for (std::int64_t i = 0; i < c.m; ++i) {
        for (std::int64_t j = 0; j < c.n; ++j) {
          double want = c.accumulate ? static_cast<double>(before.at(member, i, j)) : 0;
          for (std::int64_t l = 0; l < c.k; ++l)
            want += static_cast<double>(c.transpose_a ? a.at(member, l, i) : a.at(member, i, l)) *
                    static_cast<double>(c.transpose_b ? b.at(member, j, l) : b.at(member, l, j));
          const double off = std::abs(static_cast<double>(got.at(member, i, j)) - want);
          worst = off <= worst ? worst : off;
        }
        for (std::int64_t j = c.n; j < got.row_stride; ++j) ASSERT_EQ(got.at(member, i, j), 0.0f);
      }
    EXPECT_TRUE(worst <= 2e-6 * std::sqrt(static_cast<double>(c.k)) + 2e-6) << worst;
  }
}

TEST(Device, GivesTheSameBitsForOneProductAndForTheSameInAFleet) {
  const auto device = device_under_test();
  for (const auto& c : product_cases()) {
    SCOPED_TRACE(testing::Message() << c.m << " x " << c.n << " x " << c.k);
    const auto alone = product(*device, c, 1), again = product(*device, c, 1), fleet = product(*device, c, 5);
    EXPECT_EQ(alone.values, again.values);
    EXPECT_TRUE(std::equal(alone.values.begin(), alone.values.end(), fleet.values.begin()));
  }
}

TEST(Device, WritesZerosForAProductOverNothing) {
  const auto device = device_under_test();
  const DeviceRows a(*device, HostRows<float>(1, 3, 16)), out(*device, drawn(1, 3, 5, 1));
  device->multiply(MatrixProduct<float>{.m = 3, .n = 5, .k = 0, .a = a.rows(), .b = a.rows(), .c = out.rows()});
  for (const float value : out.memory.download()) EXPECT_EQ(value, 0.0f);
}

struct EpilogueCase {
  Activation activation;
  bool keeps, sums_a;
};

// A product with its epilogue, one operation where the device fuses it (fused) or as a product and a kernel's CPU twin.
struct Epilogue {
  HostRows<float> c, kept, sums;
  bool fuses = false;
};

Epilogue with_epilogue(Device& device, const ProductCase& shape, const EpilogueCase& epilogue, std::int32_t n_members,
                       bool fused) {
  const DeviceRows a(device,
                     shape.transpose_a ? drawn(n_members, shape.k, shape.m, 1) : drawn(n_members, shape.m, shape.k, 1));
  const DeviceRows b(device,
                     shape.transpose_b ? drawn(n_members, shape.n, shape.k, 2) : drawn(n_members, shape.k, shape.n, 2));
  const DeviceRows bias(device, drawn(n_members, 1, shape.n, 4));
  const DeviceRows c(device, drawn(n_members, shape.m, shape.n, 3)),
      kept(device, HostRows<float>(n_members, shape.m, shape.n));
  const DeviceRows sums(device, HostRows<float>(n_members, 1, shape.m));
  MatrixProduct<float> p{.fleet = {n_members, nullptr},
                         .m = shape.m,
                         .n = shape.n,
                         .k = shape.k,
                         .transpose_a = shape.transpose_a,
                         .transpose_b = shape.transpose_b,
                         .accumulate = shape.accumulate,
                         .a = a.rows(),
                         .b = b.rows(),
                         .c = c.rows()};
  auto with = p;
  with.activation = epilogue.activation;
  if (epilogue.sums_a)
    with.a_sums = sums.rows();
  else
    with.bias = bias.rows();
  if (epilogue.keeps) with.pre_activation = kept.rows();
  const bool fuses = device.fuses(with);
  if (fused) {
    if (fuses) device.multiply(with);
    return {c.downloaded(), kept.downloaded(), sums.downloaded(), fuses};
  }
  device.multiply(p);
  Epilogue host{c.downloaded(), kept.host, sums.host};
  ThreadPool pool(1);
  if (epilogue.sums_a) {
    auto summed = a.host;
    bias_activation_backward_cpu(BiasActivationGradient<float>{.fleet = {n_members, nullptr},
                                                               .n_rows = shape.k,
                                                               .n_features = static_cast<std::int32_t>(shape.m),
                                                               .d_value = summed.rows(),
                                                               .d_bias = host.sums.rows()},
                                 pool);
  } else {
    bias_activation_forward_cpu(
        BiasActivation<float>{.fleet = {n_members, nullptr},
                              .n_rows = shape.m,
                              .n_features = static_cast<std::int32_t>(shape.n),
                              .activation = epilogue.activation,
                              .bias = bias.host.rows(),
                              .value = host.c.rows(),
                              .pre_activation = epilogue.keeps ? host.kept.rows() : Rows<float>{}},
        pool);
  }
  return host;
}

void expect_near(const HostRows<float>& got, const HostRows<float>& want, float tolerance, const char* what) {
  float worst = 0;
  for (std::size_t i = 0; i < want.values.size(); ++i) {
    const float off = std::abs(got.values[i] - want.values[i]) / (1 + std::abs(want.values[i]));
    worst = off <= worst ? worst : off;
  }
  EXPECT_TRUE(worst <= tolerance) << what << " differs by " << worst;
}

TEST(Device, FusesWithAProductWhatTheKernelsDoAfterItTheSameAloneAsInAFleet) {
  int n_fused = 0;
  for (const auto precision : {ProductPrecision::fp32, ProductPrecision::tf32}) {
    if (!device_under_test()->execution().cuda && precision != ProductPrecision::fp32) continue;
    const auto device = make_device(IDEM_TEST_DEVICE, 2, precision);
    for (const auto& epilogue :
         {EpilogueCase{Activation::identity, false, false}, EpilogueCase{Activation::relu, false, false},
          EpilogueCase{Activation::tanh, false, false}, EpilogueCase{Activation::gelu_erf, true, false},
          EpilogueCase{Activation::gelu_tanh, true, false}, EpilogueCase{Activation::gelu_tanh, false, false},
          EpilogueCase{Activation::identity, false, true}})
      for (const auto& shape : product_cases()) {
        if (epilogue.sums_a ? !shape.transpose_a || shape.transpose_b || shape.accumulate : shape.transpose_a)
          continue;  // as layers ask
        SCOPED_TRACE(testing::Message() << to_string(precision) << ", activation "
                                        << static_cast<int>(epilogue.activation) << ", " << shape.m << " x " << shape.n
                                        << " x " << shape.k << (shape.transpose_a ? " a'" : "")
                                        << (shape.transpose_b ? " b'" : "") << (shape.accumulate ? " added" : ""));
        const auto got = with_epilogue(*device, shape, epilogue, 2, true);
        if (!got.fuses) continue;
        ++n_fused;
        const auto want = with_epilogue(*device, shape, epilogue, 2, false);
        // What cuBLASLt computes a GELU with has no stated accuracy.
        expect_near(got.c, want.c, epilogue.activation == Activation::gelu_tanh ? 2e-3f : 2e-5f, "the product");
        expect_near(got.kept, want.kept, 2e-5f, "the pre-activation");
        expect_near(got.sums, want.sums, precision == ProductPrecision::fp32 ? 2e-5f : 1e-2f,
                    "the sum");  // of a as rounded, perhaps
        const auto alone = with_epilogue(*device, shape, epilogue, 1, true);
        ASSERT_TRUE(alone.fuses);
        EXPECT_TRUE(std::equal(alone.c.values.begin(), alone.c.values.end(), got.c.values.begin()));
        EXPECT_TRUE(std::equal(alone.kept.values.begin(), alone.kept.values.end(), got.kept.values.begin()));
        EXPECT_TRUE(std::equal(alone.sums.values.begin(), alone.sums.values.end(), got.sums.values.begin()));
      }
  }
  EXPECT_GT(n_fused, 0);
}

TEST(Device, RefusesAnEpilogueThatItDoesNotFuse) {
  const auto device = device_under_test();
  const DeviceRows rows(*device, drawn(1, 16, 16, 1)), out(*device, HostRows<float>(1, 16, 16));
  MatrixProduct<float> p{
      .m = 16, .n = 16, .k = 16, .a = rows.rows(), .b = rows.rows(), .c = out.rows(), .bias = rows.rows()};
  EXPECT_TRUE(device->fuses(p));
  for (const auto activation : {Activation::leaky_relu, Activation::tanh, Activation::gelu_erf, Activation::gelu_tanh,
                                Activation::sigmoid, Activation::softplus}) {
    if (!device->execution().cuda && activation != Activation::leaky_relu)
      continue;  // the CPU fuses what it knows the slope of
    p.activation = activation;
    EXPECT_FALSE(device->fuses(p));
    EXPECT_THROW(device->multiply(p), DeviceError);
  }
  if (device->execution().cuda) return;
  p.activation = Activation::identity;
  for (auto* sums : {&p.a_sums, &p.pre_activation}) {
    p.bias = sums == &p.a_sums ? p.bias : Rows<const float>{};
    *sums = out.rows();
    EXPECT_FALSE(device->fuses(p));
    EXPECT_THROW(device->multiply(p), DeviceError);
    *sums = {};
  }
  std::vector<double> doubles(16 * 16);
  const Rows<double> of_doubles{doubles.data(), 16 * 16, 16};
  EXPECT_THROW(device->multiply(MatrixProduct<double>{
                   .m = 16, .n = 16, .k = 16, .a = of_doubles, .b = of_doubles, .c = of_doubles, .bias = of_doubles}),
               DeviceError);
}

TEST(Device, PassesNaNOnThroughWhatItFuses) {
  const auto device = device_under_test();
  auto host = drawn(1, 16, 16, 1);
  host.at(0, 3, 5) = NAN;
  const DeviceRows a(*device, host), b(*device, drawn(1, 16, 16, 2)), out(*device, HostRows<float>(1, 16, 16));
  for (const auto activation : {Activation::identity, Activation::relu}) {
    const MatrixProduct<float> p{.m = 16,
                                 .n = 16,
                                 .k = 16,
                                 .activation = activation,
                                 .a = a.rows(),
                                 .b = b.rows(),
                                 .c = out.rows(),
                                 .bias = b.rows()};
    if (!device->fuses(p)) continue;
    device->multiply(p);
    const auto got = out.downloaded();
    for (std::int64_t j = 0; j < 16; ++j) EXPECT_TRUE(std::isnan(got.at(0, 3, j)) && !std::isnan(got.at(0, 4, j)));
  }
}

TEST(Device, HandsOutZeroedMemoryAndCopiesWhatItIsGiven) {
  const auto device = device_under_test();
  const Array<float> fresh(*device, 1000);
  EXPECT_EQ(fresh.download(), std::vector<float>(1000, 0.0f));
  std::vector<float> values(1000);
  for (std::size_t i = 0; i < values.size(); ++i) values[i] = static_cast<float>(i);
  fresh.upload(values);
  const Array<float> copy(*device, 1000);
  device->copy(copy.data() + 1, fresh.data(), 999 * sizeof(float));
  auto want = values;
  want.pop_back();
  want.insert(want.begin(), 0.0f);
  EXPECT_EQ(copy.download(), want);
  copy.clear();
  EXPECT_EQ(copy.download(), std::vector<float>(1000, 0.0f));
}

TEST(Device, RunsASequenceAsOftenAsAskedAndSeesWhatIsUploadedBetween) {
  const auto device = device_under_test();
  const Array<std::uint32_t> draws(*device, 3), copied(*device, 3);
  const Array<std::uint8_t> active(*device, std::vector<std::uint8_t>{1, 0, 1});
  const auto sequence = device->make_sequence("sequence", [&] {
    advance_step(device->execution(), AdvanceStep<float>{.fleet = {3, active.data()}, .draw = draws.data()});
    device->copy(copied.data(), draws.data(), 3 * sizeof(std::uint32_t));
  });
  sequence->run(0);
  EXPECT_EQ(draws.download(), (std::vector<std::uint32_t>{0, 0, 0}));
  sequence->run(1);
  sequence->run(3);
  EXPECT_EQ(copied.download(), (std::vector<std::uint32_t>{4, 0, 4}));
  active.upload({0, 1, 1});
  draws.upload({10, 20, 30});
  sequence->run(2);
  EXPECT_EQ(copied.download(), (std::vector<std::uint32_t>{10, 22, 32}));
}

TEST(Device, RunsABranchBetweenWhatWasAskedForBeforeItAndItsJoin) {
  const auto device = device_under_test();
  const Array<std::uint32_t> count(*device, 1), seen_by_branch(*device, 1), other(*device, 1), after(*device, 2);
  const auto advance = [&](const Array<std::uint32_t>& counter) {
    advance_step(device->execution(), AdvanceStep<float>{.draw = counter.data()});
  };
  const auto step = [&] {
    advance(count);
    device->aside([&] {
      device->copy(seen_by_branch.data(), count.data(), 4);
      device->aside([&] { advance(seen_by_branch); });  // part of the branch
      device->join();                                   // there is nothing to wait for within one
    });
    advance(other);
    device->aside([&] { advance(seen_by_branch); });  // after the first branch
    device->join();
    device->copy(after.data(), seen_by_branch.data(), 4);
    device->copy(after.data() + 1, other.data(), 4);
  };
  step();
  EXPECT_EQ(after.download(), (std::vector<std::uint32_t>{3, 1}));
  const auto sequence = device->make_sequence("sequence", step);
  sequence->run(4);
  EXPECT_EQ(after.download(), (std::vector<std::uint32_t>{7, 5}));
}

// A layer of a temporal convolution with its gradients.
struct LayerPasses {
  HostRows<float> value, d_x;
  std::vector<NamedTensors> gradients;
};

LayerPasses layer_passes(Device& device, const Convolution<float>::Shape& shape, std::int32_t n_members) {
  constexpr std::int32_t kBatch = 9;
  const std::int64_t n_rows = std::int64_t{kBatch} * (shape.n_bins - shape.n_taps + 1);
  ParameterLayout layout;
  Convolution<float> layer(layout, "layer", shape);
  layer.plan(device, n_members, kBatch, true);
  Parameters<float> parameters(device, layout, n_members, true);
  for (std::int32_t member = 0; member < n_members; ++member)
    parameters.initialise(member, static_cast<std::uint64_t>(member), Initialisation::torch_linear);
  const DeviceRows x(device, drawn(n_members, std::int64_t{kBatch} * shape.n_bins, shape.n_in, 5));
  const DeviceRows d_y(device, drawn(n_members, n_rows, shape.n_out, 6));
  const DeviceRows d_x(device, HostRows<float>(n_members, std::int64_t{kBatch} * shape.n_bins, shape.n_in));
  DeviceRows value(device, HostRows<float>(n_members, n_rows, shape.n_out));
  const FleetExtent fleet{n_members, nullptr};
  layer.forward(device, parameters, fleet, x.rows());
  device.copy(value.memory.data(), layer.value().data, value.host.values.size() * sizeof(float));
  device.copy(layer.d_value().data, d_y.memory.data(), d_y.host.values.size() * sizeof(float));
  layer.backward(device, parameters, fleet, x.rows(), d_x.rows());
  device.join();
  LayerPasses result{value.downloaded(), d_x.downloaded(), {}};
  for (std::int32_t member = 0; member < n_members; ++member)
    result.gradients.push_back(parameters.get_gradients(member));
  return result;
}

TEST(Device, IsUsableAfterASequenceThatFailedBeforeItsBranchesWereJoined) {
  const auto device = make_device(IDEM_TEST_DEVICE, 2);
  Array<float> array(*device, std::vector<float>{1, 2, 3});
  const auto step = [&] { device->clear(array.data(), sizeof(float)); };
  const auto failing = device->make_sequence("sequence", [&] {
    device->aside(step);
    throw DeviceError("out of memory");
  });
  EXPECT_MESSAGE(DeviceError, failing->run(1), "out of memory");
  EXPECT_MESSAGE(DeviceError, failing->run(1), "out of memory");
  device->make_sequence("sequence", step)->run(1);
  EXPECT_EQ(array.download(), (std::vector<float>{0, 2, 3}));
}

TEST(Device, ConvolvesByCudnnAsByProductsTheSameAloneAsInAFleet) {
  if (const auto reason = why_no_cudnn(); !reason.empty()) GTEST_SKIP() << reason;
  const auto cudnn = cudnn_device(), products = device_under_test();
  for (const auto& shape :
       {Convolution<float>::Shape{
            .n_in = 21, .n_out = 32, .n_bins = 10, .n_taps = 2, .activation = Activation::gelu_tanh},
        Convolution<float>::Shape{
            .n_in = 32, .n_out = 32, .n_bins = 9, .n_taps = 3, .is_residual = true, .activation = Activation::tanh},
        Convolution<float>::Shape{.n_in = 16, .n_out = 48, .n_bins = 4, .n_taps = 3}}) {
    SCOPED_TRACE(testing::Message() << shape.n_in << " -> " << shape.n_out << ", " << shape.n_bins << " bins, "
                                    << shape.n_taps << " taps");
    const BinConvolution<float> asked{
        .batch = 9, .n_bins = shape.n_bins, .n_taps = shape.n_taps, .n_in = shape.n_in, .n_out = shape.n_out};
    ASSERT_TRUE(cudnn->convolves(asked));
    EXPECT_FALSE(products->convolves(asked));
    const auto got = layer_passes(*cudnn, shape, 2), again = layer_passes(*cudnn, shape, 2),
               alone = layer_passes(*cudnn, shape, 1), want = layer_passes(*products, shape, 2);
    expect_near(got.value, want.value, 1e-5f, "the value");
    expect_near(got.d_x, want.d_x, 1e-5f, "the gradient of x");
    for (std::size_t member = 0; member < 2; ++member)
      for (const auto& [name, tensor] : want.gradients[member])
        for (std::size_t i = 0; i < tensor.values.size(); ++i)
          ASSERT_TRUE(std::abs(got.gradients[member].at(name).values[i] - tensor.values[i]) <=
                      1e-5 * (1 + std::abs(tensor.values[i])))
              << name;
    EXPECT_EQ(got.value.values, again.value.values);
    EXPECT_EQ(got.d_x.values, again.d_x.values);
    EXPECT_TRUE(std::equal(alone.value.values.begin(), alone.value.values.end(), got.value.values.begin()));
    EXPECT_TRUE(std::equal(alone.d_x.values.begin(), alone.d_x.values.end(), got.d_x.values.begin()));
    for (const auto& [name, tensor] : got.gradients[0]) {
      EXPECT_EQ(tensor.values, again.gradients[0].at(name).values) << name;
      EXPECT_EQ(tensor.values, alone.gradients[0].at(name).values) << name;
    }
  }
  for (const auto& [n_bins, n_taps, n_out] :
       {std::array<std::int64_t, 3>{3, 3, 32}, {9, 1, 32}, {9, 3, 12}})  // products, a layout with padding
    EXPECT_FALSE(cudnn->convolves(
        BinConvolution<float>{.batch = 9, .n_bins = n_bins, .n_taps = n_taps, .n_in = 32, .n_out = n_out}));
}

TEST(MakeDevice, RefusesOnTheCpuAPrecisionThatOnlyGpusHave) {
  EXPECT_MESSAGE(DeviceError, make_device("cpu", 1, ProductPrecision::tf32), "use --precision fp32");
  EXPECT_MESSAGE(DeviceError, make_device("gpu", 1), "known: auto, cpu, cuda");
  EXPECT_MESSAGE(DeviceError, make_device("cuda:x", 1), "known: auto, cpu, cuda");
  for (const auto precision : {ProductPrecision::fp32, ProductPrecision::tf32, ProductPrecision::bf16})
    EXPECT_EQ(enum_from<ProductPrecision>(to_string(precision)), precision);
  EXPECT_MESSAGE(std::invalid_argument, enum_from<ProductPrecision>("fp16"), "known: fp32, tf32, bf16");
  EXPECT_MESSAGE(DeviceError, make_device("cpu", 1, ProductPrecision::fp32, ConvolutionMethod::cudnn),
                 "use --convolutions gemm");
  for (const auto method : {ConvolutionMethod::gemm, ConvolutionMethod::cudnn})
    EXPECT_EQ(enum_from<ConvolutionMethod>(to_string(method)), method);
  EXPECT_MESSAGE(std::invalid_argument, enum_from<ConvolutionMethod>("fft"), "known: gemm, cudnn");
}

}  // namespace
}  // namespace idem
