#include "host/bench/bench.h"

#include <gtest/gtest.h>

#include <nlohmann/json.hpp>
#include <set>

#include "host/errors.h"
#include "host/files.h"
#include "tests/temporary_folder.h"

namespace idem {
namespace {

TEST(Bench, EveryCaseHasANameOfItsOwn) {
  for (const bool on_gpu : {false, true}) {
    std::set<std::string> names;
    for (const auto& cases : {operation_cases(on_gpu), step_cases(on_gpu)})
      for (const auto& bench : cases) EXPECT_TRUE(names.insert(bench.name).second) << bench.name;
    EXPECT_TRUE(names.count("operation/ci_ivae_bound/200x50x39"));
    EXPECT_TRUE(names.count("step/conv-ci-ivae-32/1"));
    EXPECT_TRUE(names.count("step/cebra-offset10-20000/1"));
  }
}

TEST(Bench, TheProductsOfAStepAreAllCounted) {
  const auto device = make_device("cpu", 1);
  for (auto& bench : step_cases(false)) {
    if (bench.name != "step/ci-ivae-60/8") continue;
    const auto prepared = bench.prepare(*device, {.copy_bytes_per_s = 1e9, .product_flops_per_s = 1e9}, bench);
    // Weights of the encoder, two priors and the decoder, which sees both samples of 200 rows; values and weights' gradients of each, and inputs'
    // gradients of all but what the data enter.
    const double encoder = 60 * 120 + 60 * 60, heads = 2 * 60 * 2, prior = 2 * (60 * 3 + 60 * 60 + 60 * 2), decoder = 60 * 2 + 60 * 60 + 60 * 120;
    const double inputs = 60 * 120 + 2 * 60 * 3;
    EXPECT_EQ(bench.flops, 8 * 2 * 200 * (3 * (encoder + heads + prior + 2 * decoder) - inputs));
    EXPECT_GT(bench.floor_s, bench.flops / 1e9 - 1e-9);
  }
}

TEST(Bench, AStepsOperationsAreToldByName) {
  const auto device = make_device("cpu", 1);
  const auto times = profile_step(*device, "step/ci-ivae-60/1");
  EXPECT_EQ(times.at("ci_ivae_bound").calls, 1);
  EXPECT_EQ(times.at("adam").calls, 1);
  EXPECT_EQ(times.at("weight_gradients").calls, 3);  // of encoder, prior and decoder
  EXPECT_GT(times.at("row_chain_forward").seconds, 0);
  // Of the taps of each layer of two encoders.
  EXPECT_EQ(profile_step(*device, "step/conv-ci-ivae-32/1").at("product (weights' gradients)").calls, 2 * (2 + 3 * 3 + 3));
}

TEST(Bench, AStepOfMoreDrawsThanBinsEncodesEachBinOnce) {
  const auto device = make_device("cpu", 2);
  for (auto& bench : step_cases(false)) {
    if (bench.name != "step/cebra-offset10-20000/1") continue;
    bench.prepare(*device, {.copy_bytes_per_s = 1e9, .product_flops_per_s = 1e9}, bench);
    // Multiply-adds of 4200 bins, of which every layer leaves fewer: the first convolution, three residual ones, the last one.
    const double first = 4199 * 2 * 120 * 64, residual = (4197 + 4195 + 4193) * 3 * 64 * 64, last = 4191 * 3 * 64 * 3;
    EXPECT_EQ(bench.flops, 2 * (3 * (first + residual + last) - first));
    EXPECT_NEAR(bench.floor_s, (bench.flops + 2 * 28.0 * 4191 * 4191) / 1e9, 1e-9);  // and the loss, of every window with every other
  }
  const auto times = profile_step(*device, "step/cebra-offset10-512/1");
  EXPECT_EQ(times.at("uniformity_backward").calls, 1);
  EXPECT_EQ(times.at("drawn_rows_backward").calls, 1);
}

TEST(Bench, ResultsAreWrittenAsFractionsOfWhatTheDeviceCanDo) {
  const TemporaryFolder folder;
  const auto file = folder.path() / "bench.json";
  run_bench({.device = "cpu", .filter = "adam/24", .out = file.string(), .profile = {}, .n_threads = 1});
  const auto result = nlohmann::json::parse(read_file_bytes(file));
  ASSERT_EQ(result.at("cases").size(), 3u);  // the two limits come first, always
  EXPECT_EQ(result.at("cases")[0].at("copy_fraction"), 1);
  EXPECT_EQ(result.at("cases")[1].at("product_fraction"), 1);
  EXPECT_EQ(result.at("cases")[2].at("name"), "operation/adam/24-thousand");
  EXPECT_GT(result.at("cases")[2].at("copy_fraction").get<double>(), 0);
  if (!result.at("cases")[2].contains("peak_mib")) GTEST_SKIP() << "Linux does not forget this process's peak of memory";
  EXPECT_GT(result.at("cases")[2].at("peak_mib").get<double>(), 0);
  EXPECT_LT(result.at("cases")[2].at("peak_mib").get<double>(), result.at("cases")[0].at("peak_mib").get<double>());  // of its own case alone
}

TEST(Bench, AFilterThatMatchesNothingIsAnError) {
  EXPECT_THROW(run_bench({.device = "cpu", .filter = "no such case", .out = {}, .profile = {}, .n_threads = 1}), ConfigError);
  EXPECT_THROW(run_bench({.device = "cpu", .filter = "(", .out = {}, .profile = {}, .n_threads = 1}), ConfigError);
}

}  // namespace
}  // namespace idem
