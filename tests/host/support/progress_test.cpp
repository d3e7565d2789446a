#include "host/support/progress.h"

#include <gtest/gtest.h>

#include <cmath>
#include <fstream>
#include <regex>
#include <sstream>

#include "host/support/run_log.h"
#include "kernels/common/to_size.h"
#include "tests/support/temporary_folder.h"

namespace idem {
namespace {

TrainingRecord record(std::int32_t epoch, double loss) {
  const double none = std::nan("");
  return {.done = epoch,
          .train = {{"loss", loss}, {"skew", 0}},
          .valid = {{"loss", loss + 1},
                    {"reconstruction_encoder", 3},
                    {"reconstruction_posterior", none},
                    {"kl_encoder", 2},
                    {"kl_posterior", none}}};
}

// What a stage of n_epochs prints when each epoch takes two seconds.
std::string shown(Progress::Style style, std::int32_t n_epochs, std::int32_t epochs_done, int columns = 200,
                  const std::string& stage = "buddy ivae") {
  std::FILE* file = std::tmpfile();
  double now_s = 100;
  {
    Progress progress(file, style, [&] { return now_s; }, columns);
    progress.plan({{0, 1}, {0, 2}});
    progress.begin_stage({.name = stage,
                          .n = n_epochs,
                          .shown = {{"recon", {"reconstruction_encoder", "reconstruction_posterior"}},
                                    {"KL", {"kl_encoder", "kl_posterior"}}}});
    for (std::int32_t epoch = 1; epoch <= epochs_done; ++epoch) {
      now_s += 2;
      progress.show(std::vector{record(epoch, 10), record(epoch, 20)});
    }
    progress.end_stage();
    progress.note("done");
    progress.warning("careful");
  }
  std::string text(to_size(std::ftell(file)), '\0');
  std::rewind(file);
  EXPECT_EQ(std::fread(text.data(), 1, text.size(), file), text.size());
  std::fclose(file);
  return text;
}

TEST(Progress, PipedLinesBeginWithTheTimeTheWholeStudyTakesAndShowMeansOverRuns) {
  EXPECT_EQ(
      shown(Progress::Style::lines, 4, 1),
      "ETA 0:22  buddy ivae  epoch 1/4  loss 15  valid 16  2 runs  recon 3  KL 2\ndone\nidem: warning: careful\n");
}

TEST(Progress, LinesHaveAtMostEightyColumnsAndLoseTheLeastImportantFirst) {
  const std::string text = shown(Progress::Style::lines, 1000000, 1, 200, "a subject and a model of very long names");
  EXPECT_EQ(text.substr(0, text.find('\n')),
            "ETA 1666:39:58  a subject and a .. very long names  epoch 1/1000000  loss 15");
}

TEST(Progress, PipedOutputHasAtMostTwentyOneLinesAndTheLastEpochAmongThem) {
  const std::string text = shown(Progress::Style::lines, 1000, 1000);
  EXPECT_LE(std::count(text.begin(), text.end(), '\n'), 23);
  EXPECT_NE(text.find("epoch 1/1000"), std::string::npos);
  EXPECT_NE(text.find("epoch 1000/1000"), std::string::npos);
}

TEST(Progress, ATerminalGetsOneLineThatIsOverwrittenAndNeverWraps) {
  const std::string text = shown(Progress::Style::bar, 4, 2, 40);
  EXPECT_EQ(text.find("\r\x1b[2KETA 0:22 buddy ivae  epoch 1/4  loss 15\r"), 0u) << text;
  const std::string wide = shown(Progress::Style::bar, 4, 2, 80);
  EXPECT_EQ(wide.find("\r\x1b[2KETA 0:22 [===         ] buddy ivae  epoch 1/4  loss 15  valid 16  2 runs\r"), 0u)
      << wide;
  EXPECT_EQ(text.find('\n'), text.find("\ndone"));
  const std::string second = text.substr(text.find('\r', 1) + 5, text.find('\n') - text.find('\r', 1) - 5);
  EXPECT_LE(second.size(), 39u) << second;
}

TEST(Progress, QuietShowsWarningsAlone) { EXPECT_EQ(shown(Progress::Style::quiet, 4, 4), "idem: warning: careful\n"); }

TEST(Progress, DurationsReadAsOnAClock) {
  EXPECT_EQ(format_duration(0.2), "0:01");
  EXPECT_EQ(format_duration(725), "12:05");
  EXPECT_EQ(format_duration(3723), "1:02:03");
}

TEST(RunLog, EveryEventIsALineOfItsOwnAndNonFiniteNumbersAreNull) {
  TemporaryFolder folder;
  const auto path = folder / "log.jsonl";
  {
    RunLog log(path, false);
    log.message("start", "two\nlines");
    TrainingRecord epoch = record(3, 10);
    epoch.more = {{"best", true}, {"learning_rate", 0.25}};
    epoch.train[1].second = std::numeric_limits<double>::infinity();
    log.record("a-b-s1-f0", TrainingUnit::epoch, epoch);
  }
  {
    std::ofstream file(path, std::ios::app);
    file << "{\"event\": \"ep";  // killed in the middle of a line
  }
  RunLog(path, true).message("finished", "ok");
  std::ifstream file(path);
  std::vector<std::string> lines;
  for (std::string line; std::getline(file, line);) lines.push_back(line);
  ASSERT_EQ(lines.size(), 3u);  // without the half one
  auto start = nlohmann::json::parse(lines[0]);
  EXPECT_TRUE(std::regex_match(start.value("time", ""), std::regex(R"(\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z)")));
  start.erase("time");
  EXPECT_EQ(start, nlohmann::json({{"event", "start"}, {"message", "two\nlines"}}));
  const auto epoch = nlohmann::json::parse(lines[1]);
  EXPECT_EQ(epoch.at("run"), "a-b-s1-f0");
  EXPECT_EQ(epoch.at("epoch"), 3);
  EXPECT_EQ(epoch.at("learning_rate"), 0.25);
  EXPECT_EQ(epoch.at("best"), true);
  EXPECT_TRUE(epoch.at("train").at("skew").is_null());
  EXPECT_TRUE(epoch.at("valid").at("kl_posterior").is_null());
  EXPECT_EQ(epoch.at("valid").at("loss"), 11);
  EXPECT_EQ(nlohmann::json::parse(lines[2]).at("event"), "finished");
}

}  // namespace
}  // namespace idem
