#include "host/bench/bench.h"

#include <gtest/gtest.h>

#include <nlohmann/json.hpp>
#include <set>

#include "host/errors.h"
#include "host/files.h"
#include "tests/error_message.h"
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
    EXPECT_EQ(names.count("step/cebra-offset10-512-width-64/132"), on_gpu);
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
    EXPECT_EQ(bench.work.flops, 8 * 2 * 200 * (3 * (encoder + heads + prior + 2 * decoder) - inputs));
    EXPECT_GT(bench.floor_s, bench.work.flops / 1e9 - 1e-9);
  }
}

TEST(Bench, APiVaeWithoutFlowHasTheParametersThatItsGoalIsStatedFor) {
  const auto device = make_device("cpu", 1);
  auto bench = step_case_named("step/pi-vae-mlp-60/2");
  ASSERT_TRUE(bench.has_value());
  bench->prepare(*device, {}, *bench);
  EXPECT_EQ(bench->work.bytes, 2 * 8 * 4 * 23'640);  // of two members, twice read and three times read and written
}

TEST(Bench, AStepIsFoundByItsNameForAnyNumberOfMembers) {
  EXPECT_EQ(step_case_named("step/pi-vae-60")->name, "step/pi-vae-60/1");
  EXPECT_EQ(step_case_named("step/cebra-offset10-512/7")->name, "step/cebra-offset10-512/7");
  for (const char* name : {"step/pi-vae", "step/pi-vae-60/", "step/pi-vae-60/0", "step/pi-vae-60/-1",
                           "step/pi-vae-60/1x", "operation/copy"})
    EXPECT_FALSE(step_case_named(name).has_value()) << name;
}

TEST(Bench, ACaseRunsOnceAndAnUnknownOneNamesThoseNearIt) {
  const auto once = [](const std::string& name) {
    return run_once(
        {.device = "cpu", .filter = {}, .out = {}, .profile = {}, .floors = {}, .once = name, .n_threads = 1});
  };
  EXPECT_EQ(once("step/pi-vae-mlp-60/3"), "step/pi-vae-mlp-60/3 ran once on cpu (1 thread)\n");
  EXPECT_EQ(once("operation/adam/24-thousand"), "operation/adam/24-thousand ran once on cpu (1 thread)\n");
  EXPECT_MESSAGE(ConfigError, once("step/pivae-60/1"),
                 "--once step/pivae-60/1: there is no such case; near it are step/pi-vae-60/1, ");
  EXPECT_MESSAGE(ConfigError, once("adam/24-thousand"), "operation/adam/24-thousand");
}

TEST(Bench, CountsOfAnEarlierBenchAreTakenForAnyNumberOfMembers) {
  const TemporaryFolder folder;
  const auto counted = folder.path() / "floors.json", file = folder.path() / "bench.json";
  write_file_bytes(counted, R"({"cases": [{"name": "operation/copy"},
    {"name": "step/pi-vae-mlp-60/1", "products_of_a_member": {"forward_flops": 1000, "weight_flops": 24}}]})");
  run_bench({.device = "cpu",
             .filter = "step/pi-vae-mlp-60/8",
             .out = file.string(),
             .profile = {},
             .floors = counted.string(),
             .once = {},
             .repetitions = 1,
             .n_threads = 1});
  EXPECT_EQ(nlohmann::json::parse(read_file_bytes(file)).at("cases")[2].at("flops"), 8 * 1024);
  write_file_bytes(counted, "{}");
  EXPECT_THROW(run_bench({.device = "cpu",
                          .filter = "adam/24",
                          .out = {},
                          .profile = {},
                          .floors = counted.string(),
                          .once = {},
                          .n_threads = 1}),
               DataError);
}

TEST(Bench, AStepsOperationsAreToldByName) {
  const auto device = make_device("cpu", 1);
  const auto times = profile_step(*device, "step/ci-ivae-60/1");
  EXPECT_EQ(times.at("ci_ivae_bound").calls, 1);
  EXPECT_EQ(times.at("adam").calls, 1);
  EXPECT_EQ(times.at("weight_gradients").calls, 3);  // of encoder, prior and decoder
  EXPECT_GT(times.at("row_chain_forward").seconds, 0);
  EXPECT_EQ(profile_step(*device, "step/ci-ivae-60/3").at("adam").work.bytes, 3 * times.at("adam").work.bytes);
  EXPECT_TRUE(profile_step(*device, "operation/copy").empty());
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
    EXPECT_EQ(bench.work.flops, 2 * (3 * (first + residual + last) - first));
    EXPECT_NEAR(bench.floor_s, (bench.work.flops + 2 * 28.0 * 4191 * 4191) / 1e9,
                1e-9);  // and the loss, of every window with every other
  }
  const auto times = profile_step(*device, "step/cebra-offset10-512/1");
  EXPECT_EQ(times.at("uniformity_backward").calls, 1);
  EXPECT_EQ(times.at("drawn_rows_backward").calls, 1);
}

TEST(Bench, ResultsAreWrittenAsFractionsOfWhatTheDeviceCanDo) {
  const TemporaryFolder folder;
  const auto file = folder.path() / "bench.json";
  run_bench({.device = "cpu",
             .filter = "adam/24",
             .out = file.string(),
             .profile = {},
             .floors = {},
             .once = {},
             .n_threads = 1});
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
  EXPECT_THROW(run_bench({.device = "cpu",
                          .filter = "no such case",
                          .out = {},
                          .profile = {},
                          .floors = {},
                          .once = {},
                          .n_threads = 1}),
               ConfigError);
  EXPECT_THROW(
      run_bench({.device = "cpu", .filter = "(", .out = {}, .profile = {}, .floors = {}, .once = {}, .n_threads = 1}),
      ConfigError);
}

}  // namespace
}  // namespace idem
