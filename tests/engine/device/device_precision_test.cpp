// What networks on a GPU round when products are asked to be fast.
#include <gtest/gtest.h>

#include <random>

#include "engine/device/array.h"
#include "engine/networks/dense.h"
#include "kernels/common/to_size.h"
#include "kernels/layers/row_chain.h"
#include "tests/support/device_under_test.h"

namespace idem {
namespace {

// What is rounded and what is not shows in a sum of one term: 1 + 2^-9 is kept by 10 bits of mantissa, not by 7.
TEST(DevicePrecision, NarrowLayersOnAGpuRoundTheirFactorsToThePrecision) {
  const auto device = device_under_test();
  if (!device->execution().cuda) GTEST_SKIP() << "the CPU rounds nothing";
  for (const auto& [precision, kept] : {std::pair{ProductPrecision::fp32, 1 + 0x1p-9f + 0x1p-12f},
                                        {ProductPrecision::tf32, 1 + 0x1p-9f},
                                        {ProductPrecision::bf16, 1.0f}}) {
    const Array<float> x(*device, std::vector<float>(16, 0)), weight(*device, std::vector<float>(16, 0)),
        bias(*device, 16), value(*device, 16);
    std::vector<float> one(16, 0);
    one[0] = 1 + 0x1p-9f + 0x1p-12f;
    x.upload(one);
    one[0] = 1;
    weight.upload(one);
    RowChain<float> p{.n_rows = 1, .precision = precision};
    p.begin_chain();
    auto& layer = p.add(RowOperation::layer).layer;
    layer = {.n_in = 1, .n_out = 1};
    layer.x = {x.data(), 16, 16};
    layer.weight = {weight.data(), 16, 16};
    layer.bias = {bias.data(), 16, 16};
    layer.value = {value.data(), 16, 16};
    row_chain_forward(device->execution(), p);
    EXPECT_EQ(value.download()[0], kept);
  }
}

// Linear layers, whose backward pass does not depend on the forward one: each has to round by itself.
TEST(DevicePrecision, NetworksOnAGpuRoundTheirFactorsForwardsAndBackwards) {
  if (!device_under_test()->execution().cuda) GTEST_SKIP() << "the CPU rounds nothing";
  constexpr std::int32_t kIn = 9, kOut = 5;
  constexpr std::int64_t kRows = 20;
  const auto values_of = [&](ProductPrecision precision) {
    const auto device = make_device(IDEM_TEST_DEVICE, 2, precision);
    ParameterLayout layout;
    Mlp<float> network(layout, "network", kIn, {{kOut}, Activation::identity, 0}, kOut);
    network.plan(*device, 1, kRows, true);
    Parameters<float> parameters(*device, layout, 1, true);
    parameters.initialise(0, 1, Initialisation::glorot_uniform);
    std::mt19937 random(2);
    const Activations<float> x(*device, 1, kRows, kIn), d_x(*device, 1, kRows, kIn);
    std::vector<float> host(x.memory().size());
    for (auto& value : host) value = std::normal_distribution<float>()(random);
    x.memory().upload(host);
    network.forward(*device, parameters, {}, kRows, x);
    std::vector<float> value(to_size(kRows * padded(kOut)));
    device->copy_out(value.data(), network.value().data, value.size() * sizeof(float));
    device->copy_in(network.d_value().data, host.data(), value.size() * sizeof(float));
    network.backward(*device, parameters, {}, kRows, x, d_x);
    device->join();
    return std::pair{value, d_x.memory().download()};
  };
  const auto exact = values_of(ProductPrecision::fp32);
  for (const auto precision : {ProductPrecision::tf32, ProductPrecision::bf16}) {
    const auto rounded = values_of(precision);
    EXPECT_NE(rounded.first, exact.first) << to_string(precision);
    EXPECT_NE(rounded.second, exact.second) << to_string(precision);
    for (std::size_t i = 0; i < exact.second.size(); ++i)
      EXPECT_NEAR(rounded.second[i], exact.second[i], 0.1f) << to_string(precision);
  }
}

}  // namespace
}  // namespace idem
