#include "host/bench/bench.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <cstdlib>
#include <nlohmann/json.hpp>
#include <set>

#include "host/families/families.h"
#include "host/support/errors.h"
#include "host/support/files.h"
#include "tests/host/profile/made_up_profile.h"
#include "tests/support/error_message.h"
#include "tests/support/program.h"
#include "tests/support/temporary_folder.h"

namespace idem {
namespace {

namespace fs = std::filesystem;

// The table of a bench on the CPU.
std::string table_of(BenchArguments arguments) {
  arguments.steps = step_benches();
  arguments.device = "cpu";
  arguments.n_threads = 1;
  std::string table;
  EXPECT_TRUE(run_bench(arguments, [&](std::string_view row) { table += row; }));
  return table;
}

std::ptrdiff_t lines_of(const std::string& text) { return std::count(text.begin(), text.end(), '\n'); }

// What only the program itself does: exit codes, signals, options that exclude each other.
struct BenchProgram : testing::Test {
  const TemporaryFolder folder;
  const Program program{folder};

  void refuses(const std::vector<std::string>& arguments, int code, const std::string& part) {
    const auto result = program.run(arguments);
    EXPECT_EQ(result.code, code) << part;
    EXPECT_EQ(result.output, "");
    EXPECT_EQ(lines_of(result.errors), 1) << result.errors;
    EXPECT_NE(result.errors.find(part), std::string::npos) << "wanted: " << part << ", said: " << result.errors;
  }
};

TEST(Bench, EveryCaseHasANameOfItsOwn) {
  for (const bool on_gpu : {false, true}) {
    std::set<std::string> names;
    for (const auto& cases : {operation_cases(on_gpu), step_cases(step_benches(), on_gpu)})
      for (const auto& bench : cases) EXPECT_TRUE(names.insert(bench.name).second) << bench.name;
    EXPECT_TRUE(names.count("operation/ci_ivae_bound/200x50x39"));
    EXPECT_TRUE(names.count("step/conv-ci-ivae-32/1"));
    EXPECT_TRUE(names.count("step/cebra-offset10-20000/1"));
    EXPECT_EQ(names.count("step/cebra-offset10-512-width-64/132"), on_gpu);
  }
}

TEST(Bench, TheProductsOfAStepAreAllCounted) {
  const auto device = make_device("cpu", 1);
  for (auto& bench : step_cases(step_benches(), false)) {
    if (bench.name != "step/ci-ivae-60/8") continue;
    const auto prepared = bench.prepare(*device, {.copy_bytes_per_s = 1e9, .product_flops_per_s = 1e9}, bench);
    // Weights of the encoder, two priors and the decoder, which sees both samples of 200 rows; values and weights'
    // gradients of each, and inputs' gradients of all but what the data enter.
    const double encoder = 60 * 120 + 60 * 60, heads = 2 * 60 * 2, prior = 2 * (60 * 3 + 60 * 60 + 60 * 2),
                 decoder = 60 * 2 + 60 * 60 + 60 * 120;
    const double inputs = 60 * 120 + 2 * 60 * 3;
    EXPECT_EQ(bench.work.flops, 8 * 2 * 200 * (3 * (encoder + heads + prior + 2 * decoder) - inputs));
    EXPECT_GT(bench.floor_s, bench.work.flops / 1e9 - 1e-9);
  }
}

TEST(Bench, APiVaeWithoutFlowHasTheParametersThatItsGoalIsStatedFor) {
  const auto device = make_device("cpu", 1);
  auto bench = step_case_named(step_benches(), "step/pi-vae-mlp-60/2");
  ASSERT_TRUE(bench.has_value());
  bench->prepare(*device, {}, *bench);
  EXPECT_EQ(bench->work.bytes, 2 * 8 * 4 * 23'640);  // of two members, twice read and three times read and written
}

TEST(Bench, AStepIsFoundByItsNameForAnyNumberOfMembers) {
  EXPECT_EQ(step_case_named(step_benches(), "step/pi-vae-60")->name, "step/pi-vae-60/1");
  EXPECT_EQ(step_case_named(step_benches(), "step/cebra-offset10-512/7")->name, "step/cebra-offset10-512/7");
  for (const char* name : {"step/pi-vae", "step/pi-vae-60/", "step/pi-vae-60/0", "step/pi-vae-60/-1",
                           "step/pi-vae-60/1x", "operation/copy"})
    EXPECT_FALSE(step_case_named(step_benches(), name).has_value()) << name;
}

TEST(Bench, ACaseRunsOnceAndAnUnknownOneNamesThoseNearIt) {
  const auto once = [](const std::string& name) {
    return run_once({.steps = step_benches(),
                     .device = "cpu",
                     .filter = {},
                     .out = {},
                     .profile = {},
                     .floors = {},
                     .once = name,
                     .n_threads = 1});
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
  table_of({.filter = "step/pi-vae-mlp-60/8",
            .out = file.string(),
            .profile = {},
            .floors = counted.string(),
            .once = {},
            .repetitions = 1});
  EXPECT_EQ(nlohmann::json::parse(read_file_bytes(file)).at("cases")[2].at("flops"), 8 * 1024);
}

TEST(Bench, CountsThatNoStepMultipliesAreRefused) {
  const TemporaryFolder folder;
  const auto file = folder.path() / "floors.json";
  const auto bench_of = [&](const std::string& floors, const std::string& filter = "step/pi-vae-mlp-60/1") {
    write_file_bytes(file, floors);
    return table_of(
        {.filter = filter, .out = {}, .profile = {}, .floors = file.string(), .once = {}, .repetitions = 1});
  };
  const auto counted = [](const std::string& count) {
    const std::string counts = R"({"forward_flops": 9, "weight_flops": )" + count + "}";
    return R"({"cases": [{"name": "step/pi-vae-mlp-60/1", "products_of_a_member": )" + counts + "}]}";
  };
  for (const std::string count : {"-1", "0", "1e30"})
    EXPECT_MESSAGE(DataError, bench_of(counted(count)), "step/pi-vae-mlp-60/1: weight_flops is ");
  for (const std::string count : {"1e999", "null", "\"many\""})
    EXPECT_MESSAGE(DataError, bench_of(counted(count)), "is no result of idem bench; make one with");
  EXPECT_MESSAGE(DataError, bench_of("{}"), "is no result of idem bench");
  EXPECT_MESSAGE(DataError, bench_of(R"({"cases": []})"), "counts products of none of the chosen steps");
  EXPECT_MESSAGE(DataError, bench_of(counted("9"), "step/ci-ivae-60/1"), "counts products of none of the chosen steps");
  EXPECT_EQ(lines_of(bench_of(R"({"cases": []})", "adam/24")), 5);  // no step is chosen
}

TEST(Bench, ARowIsPrintedAndWrittenWhenItsCaseHasBeenTimed) {
  const TemporaryFolder folder;
  const auto file = folder.path() / "bench.json";
  std::vector<std::string> printed;
  std::vector<std::size_t> written;
  const BenchArguments arguments{.device = "cpu",
                                 .filter = "adam",
                                 .out = file.string(),
                                 .profile = {},
                                 .floors = {},
                                 .once = {},
                                 .repetitions = 1,
                                 .n_threads = 1};
  const auto print = [&](std::string_view row) { printed.emplace_back(row); };
  const auto is_interrupted = [&] {
    if (printed.size() > 1) written.push_back(nlohmann::json::parse(read_file_bytes(file)).at("cases").size());
    return printed.size() == 3;
  };
  EXPECT_FALSE(run_bench(arguments, print, is_interrupted));
  EXPECT_EQ(written, (std::vector<std::size_t>{1, 2}));
  ASSERT_GE(printed.size(), 3u);
  EXPECT_EQ(lines_of(printed[0]), 2);
  EXPECT_NE(printed[0].find("% copy"), std::string::npos);
  EXPECT_EQ(printed[1].find("operation/copy "), 0u);
  EXPECT_EQ(printed[2].find("operation/product/large "), 0u);
  EXPECT_EQ(nlohmann::json::parse(read_file_bytes(file)).at("cases").size(), 2u);
}

TEST(Bench, TheMemoryOfManyMembersIsEstimatedFromFew) {
  for (const std::string model :
       {"step/ci-ivae-60", "step/pi-vae-60", "step/conv-ci-ivae-32", "step/cebra-offset10-512"}) {
    const double one = bytes_of_step(step_benches(), model), two = bytes_of_step(step_benches(), model + "/2"),
                 many = bytes_of_step(step_benches(), model + "/132");
    EXPECT_GT(one, 1e5) << model;
    EXPECT_NEAR(many, one + 131 * (two - one), 0.02 * many) << model;
  }
  // Two copies of weights for Adam, gradients and the weights, of 23,640 parameters.
  EXPECT_GT(bytes_of_step(step_benches(), "step/pi-vae-mlp-60/1000000000"), 1e9 * 4 * 4 * 23'640);
  EXPECT_EQ(bytes_of_step(step_benches(), "operation/copy"), 0);
  EXPECT_GT(make_device("cpu", 1)->free_bytes(), 1u << 20);
}

TEST(Bench, TheProfilersScriptFindsTheProgramFromWhereItIsCalled) {
  const TemporaryFolder folder;
  fs::create_directories(folder.path() / "profile");
  fs::create_directories(folder.path() / "bin");
  const auto script = folder.path() / "profile/nsight.sh";
  write_file_bytes(script,
                   profilers_script({.device = "cuda:1", .precision = ProductPrecision::bf16}, "step/pi-vae-60/16"));
  const auto make_program = [&](const fs::path& path, const std::string& text) {
    write_file_bytes(path, "#!/bin/sh\n" + text + "\n");
    fs::permissions(path, fs::perms::owner_all);
  };
  make_program(folder.path() / "idem", "echo ran \"$@\"");
  const auto call = [&](const std::string& arguments, const std::string& path) {
    const auto said = folder.path() / "said.txt";
    const std::string command = "cd '" + folder.path().string() + "' && PATH='" + path +
                                "' /bin/bash profile/nsight.sh " + arguments + " >'" + said.string() + "' 2>&1";
    const int status = std::system(command.c_str());
    return std::make_pair(WEXITSTATUS(status), text_of_file(said));
  };
  const std::string bin = (folder.path() / "bin").string();
  for (const char* tool : {"realpath", "dirname", "rm"})
    fs::create_symlink(fs::path("/usr/bin") / tool, folder.path() / "bin" / tool);
  const auto without = call("", bin), nowhere = call("./none", bin), no_ncu = call("./idem", bin);
  EXPECT_EQ(without.first, 2);
  EXPECT_EQ(without.second, "usage: nsight.sh IDEM [CASE], as nsight.sh build/cuda/idem step/pi-vae-60/16\n");
  EXPECT_EQ(nowhere.first, 2);
  EXPECT_EQ(nowhere.second, "nsight.sh: ./none: there is no such program; name idem itself, as build/cuda/idem\n");
  EXPECT_EQ(no_ncu.first, 1);
  EXPECT_EQ(
      no_ncu.second.find("nsight.sh: there is no nsys (Nsight Systems): no timeline\nnsight.sh: there is no ncu "), 0u)
      << no_ncu.second;
  make_program(folder.path() / "bin/ncu",
               "[ \"$1\" = --import ] && { echo a table; exit 0; }\n"
               "while [ \"$1\" != kernels ]; do shift; done; shift; exec \"$@\"");
  const std::string once = "\nran bench --device cuda:1 --precision bf16 --convolutions gemm --once ";
  EXPECT_NE(call("./idem", bin).second.find(once + "step/pi-vae-60/16\n"), std::string::npos);
  EXPECT_NE(call("./idem adam/x", bin).second.find(once + "adam/x\n"), std::string::npos);
  EXPECT_EQ(call("./idem", bin).first, 0);
  EXPECT_NE(call("./idem", bin).second.find("\nran profile ncu kernels.csv\n"), std::string::npos);
  write_file_bytes(folder.path() / "profile/profile.json", "{}");
  EXPECT_NE(call("./idem adam/x", bin).second.find("\nran profile show . --step adam/x --ncu kernels.csv\n"),
            std::string::npos);
  EXPECT_EQ(text_of_file(folder.path() / "profile/kernels.csv"), "a table\n");
  make_program(folder.path() / "idem", "[ \"$2\" = show ] && exit 3; echo ran \"$@\"");  // no such step in the profile
  EXPECT_EQ(call("./idem adam/x", bin).first, 0);
  EXPECT_NE(call("./idem adam/x", bin).second.find("\nran profile ncu kernels.csv\n"), std::string::npos);
  // Those of an earlier run are not taken for its own.
  make_program(folder.path() / "bin/ncu", "[ \"$1\" = --import ] && exit 1; echo ERR_NVGPUCTRPERM; exit 1");
  const auto refused = call("./idem", bin);
  EXPECT_EQ(refused.first, 1);
  EXPECT_NE(refused.second.find("\nnsight.sh: ncu failed; if it says ERR_NVGPUCTRPERM, "), std::string::npos);
  EXPECT_EQ(refused.second.find("ran profile"), std::string::npos) << refused.second;
  EXPECT_FALSE(fs::exists(folder.path() / "profile/kernels.csv"));
  make_program(folder.path() / "bin/ncu", "[ \"$1\" = --import ] && exit 1; exit 0");
  EXPECT_EQ(call("./idem", bin).first, 1);
  make_program(folder.path() / "bin/ncu", "exit 0");
  make_program(folder.path() / "bin/nsys", "[ \"$1\" = stats ] && exit 1; exit 0");
  fs::create_symlink("/usr/bin/tee", folder.path() / "bin/tee");
  const auto no_timeline = call("./idem", bin);
  EXPECT_EQ(no_timeline.first, 1);
  EXPECT_NE(no_timeline.second.find("nsight.sh: nsys failed"), std::string::npos) << no_timeline.second;
}

TEST(Bench, AStepsOperationsAreToldByName) {
  const auto device = make_device("cpu", 1);
  const auto operation = [&](const std::string& step, const std::string& name) {
    const auto profile = profile_step(*device, step_benches(), step, 2);
    return *std::ranges::find(profile.value().operations, name, &OperationProfile::name);
  };
  EXPECT_EQ(operation("step/ci-ivae-60/1", "ci_ivae_bound").calls, 1);
  const auto adam = operation("step/ci-ivae-60/1", "adam");
  EXPECT_EQ(adam.calls, 1);
  EXPECT_EQ(adam.seconds.size(), 2u);
  EXPECT_EQ(operation("step/ci-ivae-60/1", "weight_gradients").calls, 3);  // of encoder, prior and decoder
  EXPECT_GT(operation("step/ci-ivae-60/1", "row_chain_forward").median_s(), 0);
  EXPECT_EQ(operation("step/ci-ivae-60/3", "adam").work.bytes, 3 * adam.work.bytes);
  EXPECT_FALSE(profile_step(*device, step_benches(), "operation/copy", 2).has_value());
  // Of the taps of each layer of two encoders.
  EXPECT_EQ(operation("step/conv-ci-ivae-32/1", "product (weights' gradients)").calls, 2 * (2 + 3 * 3 + 3));
}

TEST(Bench, AStepOfMoreDrawsThanBinsEncodesEachBinOnce) {
  const auto device = make_device("cpu", 2);
  for (auto& bench : step_cases(step_benches(), false)) {
    if (bench.name != "step/cebra-offset10-20000/1") continue;
    bench.prepare(*device, {.copy_bytes_per_s = 1e9, .product_flops_per_s = 1e9}, bench);
    // Multiply-adds of 4200 bins, of which every layer leaves fewer: the first convolution, three residual ones, the
    // last one.
    const double first = 4199 * 2 * 120 * 64, residual = (4197 + 4195 + 4193) * 3 * 64 * 64, last = 4191 * 3 * 64 * 3;
    EXPECT_EQ(bench.work.flops, 2 * (3 * (first + residual + last) - first));
    EXPECT_NEAR(bench.floor_s, (bench.work.flops + 2 * 28.0 * 4191 * 4191) / 1e9,
                1e-9);  // and the loss, of every window with every other
  }
  const auto operations = profile_step(*device, step_benches(), "step/cebra-offset10-512/1", 1).value().operations;
  for (const char* once : {"uniformity_backward", "drawn_rows_backward"})
    EXPECT_EQ(std::ranges::find(operations, once, &OperationProfile::name)->calls, 1) << once;
}

TEST(Bench, ResultsAreWrittenAsFractionsOfWhatTheDeviceCanDo) {
  const TemporaryFolder folder;
  const auto file = folder.path() / "bench.json";
  table_of({.filter = "adam/24", .out = file.string(), .profile = {}, .floors = {}, .once = {}});
  const auto result = nlohmann::json::parse(read_file_bytes(file));
  ASSERT_EQ(result.at("cases").size(), 3u);  // the two limits come first, always
  EXPECT_EQ(result.at("cases")[0].at("copy_fraction"), 1);
  EXPECT_EQ(result.at("cases")[1].at("product_fraction"), 1);
  EXPECT_EQ(result.at("cases")[2].at("name"), "operation/adam/24-thousand");
  EXPECT_GT(result.at("cases")[2].at("copy_fraction").get<double>(), 0);
  if (!result.at("cases")[2].contains("peak_mib"))
    GTEST_SKIP() << "Linux does not forget this process's peak of memory";
  EXPECT_GT(result.at("cases")[2].at("peak_mib").get<double>(), 0);
  EXPECT_LT(result.at("cases")[2].at("peak_mib").get<double>(),
            result.at("cases")[0].at("peak_mib").get<double>());  // of its own case alone
}

TEST(Bench, AFilterThatMatchesNothingNamesTheCasesNearIt) {
  const auto bench_of = [](const std::string& filter) {
    return table_of({.filter = filter, .out = {}, .profile = {}, .floors = {}, .once = {}});
  };
  EXPECT_MESSAGE(ConfigError, bench_of("adma"),
                 "--filter adma: matches none of the cases; near it are operation/adam/");
  EXPECT_MESSAGE(ConfigError, bench_of("step/pivae"), "step/pi-vae-60/1");
  EXPECT_MESSAGE(ConfigError, bench_of("("), "is no regular expression");
}

TEST(Bench, AFilterMayNameAStepOfAnyNumberOfMembers) {
  const std::string table = table_of({.filter = "^step/pi-vae-mlp-60/3$|adam/24",
                                      .out = {},
                                      .profile = {},
                                      .floors = {},
                                      .once = {},
                                      .repetitions = 1});
  EXPECT_NE(table.find("\nstep/pi-vae-mlp-60/3 "), std::string::npos) << table;
  EXPECT_NE(table.find("\noperation/adam/24"), std::string::npos) << table;
  EXPECT_EQ(table.find("\nstep/pi-vae-mlp-60/1 "), std::string::npos) << table;
}

TEST(Bench, CasesAreNearOfWhichAPartIsLikeTheText) {
  EXPECT_EQ(cases_near("adam/x", step_benches(), false).front().find("operation/adam/"), 0u);
  EXPECT_EQ(cases_near("pi-vae-mlp", step_benches(), false).front(), "step/pi-vae-mlp-60/1");
  EXPECT_EQ(cases_near("step/pivae-60/2", step_benches(), false).front(), "step/pi-vae-60/2");
}

TEST_F(BenchProgram, MoreMembersThanThereIsMemoryForAreRefusedBeforeTheyAreMade) {
  for (const std::string name : {"step/ci-ivae-60/999999999", "step/cebra-offset10-512/999999999"}) {
    refuses({"bench", "--device", "cpu", "--once", name}, 4, "--once " + name + ": 999999999 members need about ");
    refuses({"bench", "--device", "cpu", "--once", name}, 4, " that are free; take fewer\n");
    refuses({"bench", "--device", "cpu", "--filter", name}, 4, "--filter " + name + ": 999999999 members need about ");
  }
}

TEST_F(BenchProgram, OneCaseExcludesWhatOnlyTimingUses) {
  for (const std::string option : {"--out", "--profile", "--filter", "--repetitions", "--floors"})
    refuses({"bench", "--once", "operation/copy", option, "1"}, 2, option + " excludes --once");
}

TEST_F(BenchProgram, FilesThatMakeNoSenseAreRefused) {
  const auto floors = (folder.path() / "floors.json").string();
  refuses({"bench", "--floors", "none.json"}, 3,
          "--floors none.json: no such file; check the path (a relative one starts at the current folder)");
  write_file_bytes(floors, "mine");
  refuses({"bench", "--floors", "floors.json", "--out", floors}, 2,
          "is what --floors reads, floors.json; choose another");
  EXPECT_EQ(text_of_file(floors), "mine");
}

TEST_F(BenchProgram, ASignalEndsItAfterTheCaseWithWhatIsDone) {
  const auto to_one_pipe = [] { dup2(STDERR_FILENO, STDOUT_FILENO); };
  const auto ended =
      program.run_among({"bench", "--device", "cpu", "--threads", "1", "--repetitions", "1", "--out", "b.json"},
                        to_one_pipe, {{"operation/copy ", SIGTERM}});
  EXPECT_EQ(ended.code, 5) << ended.errors;
  EXPECT_NE(ended.errors.find("interrupted: ending after this case (again to quit at once)"), std::string::npos);
  const auto written = nlohmann::json::parse(text_of_file(folder.path() / "b.json")).at("cases");
  std::size_t n_rows = 0;
  for (std::size_t at = 0; (at = ended.errors.find("\noperation/", at)) != std::string::npos; ++at) ++n_rows;
  EXPECT_EQ(n_rows, written.size());
  EXPECT_LT(written.size(), 10u);  // of some sixty
}

TEST_F(BenchProgram, ACpusProfileIsAFileAndAPageAndNoScript) {
  const auto result = program.run({"bench", "--device", "cpu", "--threads", "1", "--repetitions", "2", "--filter",
                                   "step/pi-vae-mlp-60/1$", "--profile", "profile"});
  EXPECT_EQ(result.code, 0) << result.errors;
  EXPECT_NE(result.output.find("\nstep/pi-vae-mlp-60/1\n"), std::string::npos) << result.output;
  const auto written = folder.path() / "profile";
  EXPECT_FALSE(fs::exists(written / "nsight.sh"));
  EXPECT_NE(text_of_file(written / "profile.html").find("<svg "), std::string::npos);
  EXPECT_NE(program.run({"profile", "show", "profile"}).output.find("row_chain_forward"), std::string::npos);
  const std::string kept = text_of_file(written / "profile.json");
  for (const char* path : {"profile/profile.json", "./profile/../profile/profile.json"})
    refuses({"profile", "compare", "profile", "profile", "--out", path}, 2, "is a profile that is compared");
  EXPECT_EQ(text_of_file(written / "profile.json"), kept);
  refuses({"profile", "compare", "profile", "profile/profile.json"}, 2, "profile/profile.json: is named twice");
  fs::copy(written / "profile.json", folder.path() / "again.json");
  const auto same = program.run({"profile", "compare", "profile", "again.json", "--out", "c.html"});
  EXPECT_EQ(same.code, 0) << same.errors;
  EXPECT_EQ(same.output.find("SLOWER"), std::string::npos) << same.output;
  EXPECT_NE(text_of_file(folder.path() / "c.html").find("before: a step takes"), std::string::npos);
  refuses({"bench", "--device", "cpu", "--filter", "step/pi-vae-mlp-60/1$", "--profile", "profile"}, 2,
          "--profile profile: holds a profile already");
}

TEST_F(BenchProgram, OfAProfileOneStepMayBeShownAndNcuIsOfOne) {
  Profile profile = made_up_profile();
  profile.steps.push_back(profile.steps[0]);
  profile.steps[1].name = "step/b/2";
  write_profile(folder.path() / "profile.json", profile);
  write_file_bytes(folder.path() / "kernels.csv",
                   "\"Kernel Name\",\"launch__grid_size\"\n\"\",\"\"\n\"void idem::adam_kernel(int)\",\"132\"\n");
  const auto shown = program.run({"profile", "show", ".", "--step", "step/b/2", "--ncu", "kernels.csv"});
  EXPECT_EQ(shown.code, 0) << shown.errors;
  EXPECT_EQ(shown.output.find("step/a/1"), std::string::npos) << shown.output;
  EXPECT_EQ(shown.output.find("phases of the study"), std::string::npos) << shown.output;
  EXPECT_NE(shown.output.find("ncu: blocks 132\n"), std::string::npos) << shown.output;
  EXPECT_NE(shown.output.find("a kernel's first launch"), std::string::npos) << shown.output;
  EXPECT_NE(program.run({"profile", "show", "."}).output.find("step/a/1"), std::string::npos);
  refuses({"profile", "show", ".", "--step", "step/c/1"}, 3,
          "--step step/c/1: . holds no such step; its steps are: step/a/1, step/b/2");
  refuses({"profile", "show", ".", "--ncu", "kernels.csv"}, 2,
          "--ncu kernels.csv: name the step that ncu looked at with --step, one of step/a/1, step/b/2");
}

TEST_F(BenchProgram, AsManyProfilesBeforeAsAfterAreCompared) {
  write_profile(folder.path() / "profile.json", made_up_profile());
  for (const std::size_t n : {1, 3}) {
    std::vector<std::string> arguments = {"profile", "compare"};
    arguments.insert(arguments.end(), n, "profile.json");
    refuses(arguments, 2, ": name as many before as after the change");
  }
  EXPECT_NE(program.run({"profile", "compare", "--help"}).output.find(" BEFORE... AFTER...\n"), std::string::npos);
}

TEST_F(BenchProgram, WhatIsNoProfileIsRefused) {
  write_file_bytes(folder.path() / "mine.json", "[]");
  refuses({"profile", "show", "nowhere"}, 3, "nowhere: no such file");
  refuses({"profile", "show", "mine.json"}, 3, "mine.json: is no whole profile (");
  refuses({"profile", "show", "."}, 3, ".: holds no profile.json; idem run --profile and idem bench --profile");
  refuses({"bench", "--device", "cpu", "--filter", "adam", "--profile", "new"}, 2,
          "--profile new: looks at training steps, and --filter chooses none");
  EXPECT_FALSE(fs::exists(folder.path() / "new"));
  refuses({"bench", "--profile", "mine.json"}, 3, "--profile mine.json: cannot be made");
}

}  // namespace
}  // namespace idem
