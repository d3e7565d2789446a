#include "kernels/layers/row_chain.h"

#include <algorithm>
#include <cstring>
#include <numeric>

#include "tests/emulation/twin_check.h"
#include "kernels/common/to_size.h"

namespace idem {
namespace {

const std::vector<Activation> kChainActivations = {Activation::identity, Activation::relu,     Activation::leaky_relu,
                                                   Activation::tanh,     Activation::gelu_erf, Activation::gelu_tanh,
                                                   Activation::sigmoid,  Activation::softplus};
constexpr float kSlope = 0.2f;

template <class Run>
using Scalar = typename std::decay_t<Run>::Scalar;

// Adds a layer to the last chain and returns its value. Inputs are scaled so that sums stay near 1.
template <class Run>
Rows<Scalar<Run>> add_layer(Run& run, RowChain<Scalar<Run>>& chain, const std::string& name, Rows<const Scalar<Run>> x,
                            std::int32_t n_in, std::int32_t n_out, Activation activation) {
  auto& layer = chain.add(RowOperation::layer).layer;
  layer.n_in = n_in;
  layer.n_out = n_out;
  layer.activation = activation;
  layer.slope = kSlope;
  layer.x = x;
  layer.weight = run.input_rows(name + ".weight", n_out, n_in, normal_values(1 / std::sqrt(static_cast<float>(n_in))));
  layer.bias = run.input_rows(name + ".bias", 1, n_out);
  layer.value = run.output_rows(name + ".value", chain.n_rows, n_out);
  if (needs_pre_activation(activation))
    layer.pre_activation = run.output_rows(name + ".pre_activation", chain.n_rows, n_out);
  return layer.value;
}

void check_layer(Activation activation, std::int64_t n_rows, std::int32_t n_in, std::int32_t n_out,
                 const TwinFleet& fleet = TwinFleet::several()) {
  SCOPED_TRACE(testing::Message() << "activation " << static_cast<int>(activation) << ", " << n_rows << " rows, "
                                  << n_in << " to " << n_out);
  check_twins(fleet, [&](auto& run) {
    RowChain<Scalar<decltype(run)>> p;
    p.fleet = run.fleet();
    p.n_rows = n_rows;
    p.begin_chain();
    add_layer(run, p, "layer", run.input_rows("x", n_rows, n_in), n_in, n_out, activation);
    row_chain_forward(run.execution(), p);
  });
}

TEST(RowChainForwardTwins, AgreeForEveryActivation) {
  for (const auto activation : kChainActivations) check_layer(activation, 61, 33, 30);
}
TEST(RowChainForwardTwins, AgreeOnEverySize) {
  for (const auto n_rows : kHardSizes)
    for (const auto& [n_in, n_out] : {std::pair{1, 1}, {3, 2}, {60, 119}, {256, 64}})
      check_layer(Activation::tanh, n_rows, n_in, n_out);
}
// Of 1501 rows three members have blocks of 32 rows, one alone blocks of 8.
constexpr std::int64_t kManyRows = 1501;
// Idle members count as well: of sixteen 257 rows suffice for blocks of 32, of sixty-four for blocks of 64, in a
// fraction of the time.
TwinFleet one_of(std::size_t n_members) {
  TwinFleet fleet{std::vector<std::uint8_t>(n_members, 0)};
  fleet.active.back() = 1;
  return fleet;
}
TEST(RowChainForwardTwins, AgreeOfSoManyRowsThatBlocksTakeMoreAtOnce) {
  check_layer(Activation::relu, kManyRows, 5, 7);
  check_layer(Activation::relu, 257, 64, 256, one_of(16));
  check_layer(Activation::gelu_erf, 257, 9, 6, one_of(64));
}

// Member 0 of a fleet, whose values the names of the arrays decide, against the same member alone; on the CPU by
// another number of threads too.
template <class Build>
void expect_alone_as_in_a_fleet(const Build& build) {
  ThreadPool one_thread(1), three_threads(3);
  const TwinFleet one = TwinFleet::single(), several = TwinFleet::several();
  for (const bool cuda : {true, false}) {
    TwinRun<float> alone(one, one_thread, cuda), fleet(several, cuda ? one_thread : three_threads, cuda);
    build(alone);
    alone.finish("alone");
    build(fleet);
    fleet.finish("fleet");
    for (std::size_t i = 0; i < alone.arrays().size(); ++i) {
      const auto &a = *alone.arrays()[i], &b = *fleet.arrays()[i];
      EXPECT_EQ(std::memcmp(a.data(), b.data(), a.size * a.element_bytes), 0) << a.name << (cuda ? "" : " on the CPU");
    }
  }
}
TEST(RowChainForwardTwins, AMemberIsTheSameAloneInBlocksOfFewRowsAndInAFleetInBlocksOfMany) {
  expect_alone_as_in_a_fleet([](auto& run) {
    RowChain<Scalar<decltype(run)>> p;
    p.fleet = run.fleet();
    p.n_rows = kManyRows;
    p.begin_chain();
    const auto hidden = add_layer(run, p, "0", run.input_rows("x", p.n_rows, 33), 33, 21, Activation::gelu_erf);
    add_layer(run, p, "1", hidden, 21, 6, Activation::tanh);
    row_chain_forward(run.execution(), p);
  });
}

// Values that both roundings keep: what tensor cores multiply is then exact, and only the sums' order differs.
auto coarse_values() {
  return [](std::mt19937_64& random) { return static_cast<float>(static_cast<int>(random() % 33) - 16) / 16.0f; };
}
void check_on_tensor_cores(ProductPrecision precision, std::int64_t n_rows, std::int32_t n_in, std::int32_t n_out,
                           const TwinFleet& fleet = TwinFleet::several()) {
  SCOPED_TRACE(testing::Message() << "precision " << static_cast<int>(precision) << ", " << n_rows << " rows, " << n_in
                                  << " to " << n_out);
  check_twins(fleet, [&](auto& run) {
    RowChain<Scalar<decltype(run)>> p;
    p.fleet = run.fleet();
    p.n_rows = n_rows;
    p.precision = precision;
    p.begin_chain();
    auto& layer = p.add(RowOperation::layer).layer;
    layer = {.n_in = n_in, .n_out = n_out, .activation = Activation::tanh};
    layer.x = run.input_rows("x", n_rows, n_in, coarse_values());
    layer.weight = run.input_rows("weight", n_out, n_in, coarse_values());
    layer.bias = run.input_rows("bias", 1, n_out);
    layer.value = run.output_rows("value", n_rows, n_out);
    row_chain_forward(run.execution(), p);
  });
  check_twins(fleet, [&](auto& run) {
    RowChainGradient<Scalar<decltype(run)>> p;
    p.fleet = run.fleet();
    p.n_rows = n_rows;
    p.precision = precision;
    p.begin_chain();
    auto& layer = p.add(RowOperation::layer).layer;
    layer = {.n_in = n_in, .n_out = n_out, .activation = Activation::relu, .accumulate = true};
    layer.weight = run.input_rows("weight", n_out, n_in, coarse_values());
    layer.value = run.input_rows("value", n_rows, n_out);
    layer.d_value = run.in_out_rows("d_value", n_rows, n_out, coarse_values());
    layer.d_x = run.in_out_rows("d_x", n_rows, n_in);
    row_chain_backward(run.execution(), p);
  });
}
TEST(RowChainTensorTwins, AgreeOnEverySize) {
  for (const auto precision : {ProductPrecision::tf32, ProductPrecision::bf16}) {
    for (const auto& [n_in, n_out] : {std::pair{1, 1}, {3, 2}, {60, 119}})
      check_on_tensor_cores(precision, 33, n_in, n_out);
    check_on_tensor_cores(precision, 1, 37, 64);
    check_on_tensor_cores(precision, 257, 20, 11, one_of(16));  // blocks of 32 rows
  }
  check_on_tensor_cores(ProductPrecision::tf32, 257, 20, 11, one_of(64));  // of 64
}

TEST(RowChainForwardTwins, AgreeForNetworksSideBySide) {
  check_twins(TwinFleet::several(), [&](auto& run) {
    RowChain<Scalar<decltype(run)>> p;
    p.fleet = run.fleet();
    p.n_rows = 61;
    const auto x = run.input_rows("x", p.n_rows, 40);
    for (const std::string name : {"mean", "log_var"}) {
      p.begin_chain();
      const auto first = add_layer(run, p, name + ".0", x, 40, 12, Activation::tanh);
      const auto second = add_layer(run, p, name + ".1", first, 12, 9, Activation::gelu_erf);
      add_layer(run, p, name + ".2", second, 9, 2, Activation::identity);
    }
    row_chain_forward(run.execution(), p);
  });
}

std::vector<std::int32_t> permutation(std::int32_t n) {
  std::vector<std::int32_t> place(to_size(n));
  for (std::int32_t i = 0; i < n; ++i) place[to_size(i)] = (7 * i + 3) % n;
  return place;
}

// The lift of a flow, then a coupling that ends a block and one that ends the flow.
void check_flow(std::int64_t n_rows, std::int32_t n_features) {
  SCOPED_TRACE(testing::Message() << n_rows << " rows of " << n_features);
  const std::int32_t n_passed = n_features / 2, n_raw = 2 * (n_features - n_passed) - 1;
  check_twins(TwinFleet::several(), [&](auto& run) {
    using Real = Scalar<decltype(run)>;
    RowChain<Real> p;
    p.fleet = run.fleet();
    p.n_rows = n_rows;
    const auto* place = run.shared_array("place", permutation(n_features));
    const auto z = run.input_rows("z", n_rows, 2);
    p.begin_chain();
    const auto lift = add_layer(run, p, "lift", z, 2, n_features - 2, Activation::relu);
    Rows<Real> x = run.output_rows("x0", n_rows, n_features);
    p.add(RowOperation::join).join = {.fleet = p.fleet,
                                      .n_rows = n_rows,
                                      .n_a = 2,
                                      .n_b = n_features - 2,
                                      .place = place,
                                      .a = z,
                                      .b = lift,
                                      .out = x};
    for (const std::string name : {"1", "2"}) {
      const auto raw = add_layer(run, p, "network" + name, x, n_passed, n_raw, Activation::identity);
      const auto out = run.output_rows("x" + name, n_rows, n_features);
      p.add(RowOperation::coupling).coupling = {
          .fleet = p.fleet,
          .n_rows = n_rows,
          .n_features = n_features,
          .place = name == "1" ? place : nullptr,
          .x = x,
          .raw = raw,
          .log_scale = run.output_rows("log_scale" + name, n_rows, n_features - n_passed),
          .out = out};
      x = out;
    }
    row_chain_forward(run.execution(), p);
  });
}
TEST(RowChainForwardTwins, AgreeForFlows) {
  for (const std::int64_t n_rows : {0, 1, 61})
    for (const std::int32_t n_features : {5, 64, 67}) check_flow(n_rows, n_features);
}

// Adds the gradient of a layer to the last chain.
template <class Run>
void add_layer_gradient(Run& run, RowChainGradient<Scalar<Run>>& chain, const std::string& name,
                        Rows<Scalar<Run>> d_value, Rows<Scalar<Run>> d_x, std::int32_t n_in, std::int32_t n_out,
                        Activation activation, bool accumulate) {
  auto& layer = chain.add(RowOperation::layer).layer;
  layer.n_in = n_in;
  layer.n_out = n_out;
  layer.activation = activation;
  layer.slope = kSlope;
  layer.accumulate = accumulate;
  layer.weight = run.input_rows(name + ".weight", n_out, n_in, normal_values(1 / std::sqrt(static_cast<float>(n_out))));
  if (needs_pre_activation(activation))
    layer.pre_activation = run.input_rows(name + ".pre_activation", chain.n_rows, n_out);
  else
    layer.value = run.input_rows(name + ".value", chain.n_rows, n_out, uniform_values(0.1f, 0.9f));
  layer.d_value = d_value;
  layer.d_x = d_x;
}

void check_layer_gradient(Activation activation, std::int64_t n_rows, std::int32_t n_in, std::int32_t n_out,
                          bool accumulate, const TwinFleet& fleet = TwinFleet::several()) {
  SCOPED_TRACE(testing::Message() << "activation " << static_cast<int>(activation) << ", " << n_rows << " rows, "
                                  << n_in << " to " << n_out);
  check_twins(fleet, [&](auto& run) {
    RowChainGradient<Scalar<decltype(run)>> p;
    p.fleet = run.fleet();
    p.n_rows = n_rows;
    p.begin_chain();
    const auto d_x = accumulate ? run.in_out_rows("d_x", n_rows, n_in) : run.output_rows("d_x", n_rows, n_in);
    add_layer_gradient(run, p, "layer", run.in_out_rows("d_value", n_rows, n_out), d_x, n_in, n_out, activation,
                       accumulate);
    row_chain_backward(run.execution(), p);
  });
}
TEST(RowChainBackwardTwins, AgreeForEveryActivation) {
  for (const auto activation : kChainActivations)
    check_layer_gradient(activation, 61, 33, 30, activation == Activation::relu);
}
TEST(RowChainBackwardTwins, AgreeOnEverySize) {
  for (const auto n_rows : kHardSizes)
    for (const auto& [n_in, n_out] : {std::pair{1, 1}, {3, 2}, {60, 119}, {256, 64}})
      check_layer_gradient(Activation::tanh, n_rows, n_in, n_out, false);
}
TEST(RowChainBackwardTwins, AgreeOfSoManyRowsThatBlocksTakeMoreAtOnce) {
  check_layer_gradient(Activation::relu, kManyRows, 5, 7, true);
  check_layer_gradient(Activation::relu, 257, 64, 256, true, one_of(16));
  check_layer_gradient(Activation::gelu_erf, 257, 9, 6, true, one_of(64));
}
TEST(RowChainBackwardTwins, AMemberIsTheSameAloneInBlocksOfFewRowsAndInAFleetInBlocksOfMany) {
  expect_alone_as_in_a_fleet([](auto& run) {
    RowChainGradient<Scalar<decltype(run)>> p;
    p.fleet = run.fleet();
    p.n_rows = kManyRows;
    p.begin_chain();
    const auto d_hidden = run.output_rows("d_hidden", p.n_rows, 21);
    add_layer_gradient(run, p, "1", run.in_out_rows("d_value", p.n_rows, 6), d_hidden, 21, 6, Activation::tanh, false);
    add_layer_gradient(run, p, "0", d_hidden, run.in_out_rows("d_x", p.n_rows, 33), 33, 21, Activation::gelu_erf, true);
    row_chain_backward(run.execution(), p);
  });
}

TEST(RowChainBackwardTwins, AgreeForNetworksSideBySideWhoseInputsHaveNoGradient) {
  check_twins(TwinFleet::several(), [&](auto& run) {
    using Real = Scalar<decltype(run)>;
    RowChainGradient<Real> p;
    p.fleet = run.fleet();
    p.n_rows = 61;
    for (const std::string name : {"mean", "log_var"}) {
      p.begin_chain();
      const auto d_hidden = run.output_rows(name + ".d_hidden", p.n_rows, 9);
      add_layer_gradient(run, p, name + ".1", run.in_out_rows(name + ".d_value", p.n_rows, 2), d_hidden, 9, 2,
                         Activation::identity, false);
      add_layer_gradient(run, p, name + ".0", d_hidden, Rows<Real>{}, 40, 9, Activation::softplus, false);
    }
    row_chain_backward(run.execution(), p);
  });
}

// Three products and two couplings one after another: of one row the CPU's distance is that of too few numbers to say
// how far one may be off.
TEST(RowChainBackwardTwins, AgreeForFlows) {
  for (const std::int64_t n_rows : {0, 1, 61}) {
    for (const std::int32_t n_features : {5, 64, 67}) {
      SCOPED_TRACE(testing::Message() << n_rows << " rows of " << n_features);
      const std::int32_t n_passed = n_features / 2, n_moved = n_features - n_passed, n_raw = 2 * n_moved - 1;
      check_twins(TwinFleet::several(),
                  [&](auto& run) {
                    using Real = Scalar<decltype(run)>;
                    RowChainGradient<Real> p;
                    p.fleet = run.fleet();
                    p.n_rows = n_rows;
                    const auto* place = run.shared_array("place", permutation(n_features));
                    Rows<Real> d_first;
                    p.begin_chain();
                    const auto weighed = run.in_out_rows("d_out", n_rows, n_features);
                    p.add(RowOperation::scale).scale = {.fleet = p.fleet,
                                                        .n_rows = n_rows,
                                                        .n_features = n_features,
                                                        .scale = run.input("scale", n_rows),
                                                        .scale_stride = n_rows,
                                                        .value = weighed};
                    Rows<const Real> d_out = weighed;
                    for (const std::string name : {"2", "1"}) {
                      const auto d_x = run.output_rows("d_x" + name, n_rows, n_features),
                                 d_raw = run.output_rows("d_raw" + name, n_rows, n_raw);
                      auto& coupling = p.add(RowOperation::coupling).coupling;
                      coupling.forward = {.fleet = p.fleet,
                                          .n_rows = n_rows,
                                          .n_features = n_features,
                                          .place = name == "1" ? place : nullptr,
                                          .x = run.input_rows("x" + name, n_rows, n_features)};
                      coupling.forward.log_scale =
                          run.in_out_rows("log_scale" + name, n_rows, n_moved, uniform_values(-0.1f, 0.1f));
                      coupling.d_out = d_out;
                      coupling.d_x = d_x;
                      coupling.d_raw = d_raw;
                      add_layer_gradient(run, p, "network" + name, d_raw, d_x, n_passed, n_raw, Activation::identity,
                                         true);
                      d_out = d_first = d_x;
                    }
                    const auto d_lift = run.output_rows("d_lift", n_rows, n_features - 2),
                               d_z = run.output_rows("d_z", n_rows, 2);
                    p.add(RowOperation::join).join = {.fleet = p.fleet,
                                                      .n_rows = n_rows,
                                                      .n_a = 2,
                                                      .n_b = n_features - 2,
                                                      .place = place,
                                                      .d_out = d_first,
                                                      .d_a = d_z,
                                                      .d_b = d_lift};
                    add_layer_gradient(run, p, "lift", d_lift, d_z, 2, n_features - 2, Activation::relu, true);
                    row_chain_backward(run.execution(), p);
                  },
                  {.ulps_of_rms = 16});
    }
  }
}

}  // namespace
}  // namespace idem
