#include <gtest/gtest.h>

#include <algorithm>
#include <functional>
#include <map>
#include <string>
#include <vector>

#include "host/report/results.h"
#include "host/support/errors.h"
#include "kernels/common/to_size.h"
#include "tests/host/report/report_page.h"

namespace idem {
namespace {

TEST_F(Report, EveryDamageIsOneLineThatNamesTheFile) {
  struct Damage {
    const char* what;
    const char* named;  // must be in the message
    std::function<void(const fs::path&)> make;
  };
  const std::string run = "runs/buddy-ivae-s1-f0/latents.npz";
  const auto edit_metrics = [&](std::function<void(Json&)> edit) {
    return [this, edit](const fs::path& d) {
      Json metrics = fixture.metrics;
      edit(metrics);
      ReportFixture::write_text(d / "metrics.json", metrics.dump());
    };
  };
  const auto edit_latents = [&](std::function<void(std::map<std::string, NumpyArray>&)> edit) {
    return [run, edit](const fs::path& d) {
      auto arrays = read_npz(d / run);
      edit(arrays);
      write_npz(d / run, arrays);
    };
  };
  const std::vector<Damage> damages{
      {"no metrics", "metrics.json", [](const fs::path& d) { fs::remove(d / "metrics.json"); }},
      {"no configuration", "config.json", [](const fs::path& d) { fs::remove(d / "config.json"); }},
      {"no log", "log.jsonl", [](const fs::path& d) { fs::remove(d / "log.jsonl"); }},
      {"cut metrics", "metrics.json",
       [](const fs::path& d) { fs::resize_file(d / "metrics.json", fs::file_size(d / "metrics.json") / 2); }},
      {"runs is no list", "metrics.json: runs",
       [](const fs::path& d) { ReportFixture::write_text(d / "metrics.json", "{\"runs\":{}}"); }},
      {"a negative seed", "runs[1].seed", edit_metrics([](Json& m) { m["runs"][1]["seed"] = -1; })},
      {"a seed in words", "runs[1].seed", edit_metrics([](Json& m) { m["runs"][1]["seed"] = "one"; })},
      {"a score in words", "position_r2",
       edit_metrics([](Json& m) { m["runs"][1]["metrics"]["encoder"]["cosine"]["test"]["position_r2"] = "good"; })},
      {"a run that leaves the folder", "runs[1].run",
       edit_metrics([](Json& m) { m["runs"][1]["run"] = "../../secret"; })},
      {"a run with a line break", "runs[1].run", edit_metrics([](Json& m) { m["runs"][1]["run"] = "a\nb"; })},
      {"a run twice", "there twice", edit_metrics([](Json& m) { m["runs"][1]["run"] = m["runs"][0]["run"]; })},
      {"no latents", "latents.npz", [run](const fs::path& d) { fs::remove(d / run); }},
      {"cut latents", "latents.npz",
       [run](const fs::path& d) { fs::resize_file(d / run, fs::file_size(d / run) / 2); }},
      {"latents of another length", "posterior_mean",
       edit_latents([](auto& a) { a["posterior_mean"] = NumpyArray::of<float>({2, 3}, std::vector<float>(6)); })},
      {"an array missing", "encoder_mean", edit_latents([](auto& a) { a.erase("encoder_mean"); })},
      {"a split out of range", "split[4]", edit_latents([this](auto& a) {
         std::vector<std::int32_t> split(to_size(fixture.n_times), 0);
         split[4] = 3;
         a["split"] = NumpyArray::of<std::int32_t>({fixture.n_times}, split);
       })},
  };
  for (const Damage& damage : damages) {
    fs::remove_all(directory);
    fixture.n_times = 100, fixture.n_epochs = 2;
    fixture.write(directory);
    damage.make(directory);
    try {
      write_report(directory, assets, no_gnuplot);
      ADD_FAILURE() << damage.what << ": no error";
    } catch (const DataError& error) {
      const std::string message = error.what();
      EXPECT_NE(message.find(damage.named), std::string::npos) << damage.what << ": " << message;
      EXPECT_NE(message.find(directory.string()), std::string::npos) << damage.what << ": " << message;
      EXPECT_EQ(message.find('\n'), std::string::npos) << damage.what << ": " << message;
    }
    EXPECT_FALSE(fs::exists(directory / "report.html")) << damage.what;
  }
  EXPECT_THROW(write_report(directory / "nowhere", assets, no_gnuplot), DataError);
}

TEST_F(Report, AKilledRunsHalfLineAndRepeatedEpochsDoNotCount) {
  fixture.n_epochs = 3;
  fixture.write(directory);
  const std::string run = "buddy-ivae-s0-f0";
  const auto epoch = [&](int number, double loss) {
    return Json{{"event", "epoch"},
                {"run", run},
                {"epoch", number},
                {"train", {{"loss", loss}}},
                {"valid", {{"loss", loss}}}}
               .dump() +
           "\n";
  };
  // Two epochs, killed in the third, started again for two.
  ReportFixture::write_text(directory / "log.jsonl", epoch(1, 9) + epoch(2, 8) + epoch(3, 7) + epoch(1, 5) +
                                                         epoch(2, 4) + epoch(3, 3).substr(0, 30));
  const StudyResult study = read_study(directory);
  const auto found =
      std::find_if(study.runs.begin(), study.runs.end(), [&](const RunResult& r) { return r.name == run; });
  ASSERT_EQ(found->epochs.size(), 2u);
  EXPECT_EQ(found->epochs[0].valid.at("loss"), 5);
  EXPECT_EQ(found->epochs[1].valid.at("loss"), 4);
}

TEST_F(Report, DamagedLinesOfTheLogAreToldAndPassedOver) {
  fixture.n_epochs = 3;
  fixture.write(directory);
  const std::string run = "buddy-ivae-s0-f0";
  const auto epoch = [&](const Json& number, const Json& loss) {
    return Json{{"event", "epoch"},
                {"run", run},
                {"epoch", number},
                {"train", {{"loss", loss}}},
                {"valid", {{"loss", loss}}}}
               .dump() +
           "\n";
  };
  ReportFixture::write_text(directory / "log.jsonl", epoch(1, 5) + "{broken\n" + epoch("two", 4) + "[]\n" +
                                                         epoch(2, "four") + std::string(9, '\0') + "\n" +
                                                         "K\xE4"
                                                         "fig\n" +
                                                         epoch(3, 2));
  const StudyResult study = read_study(directory);
  const auto found =
      std::find_if(study.runs.begin(), study.runs.end(), [&](const RunResult& r) { return r.name == run; });
  ASSERT_EQ(found->epochs.size(), 2u);
  EXPECT_EQ(found->epochs[1].valid.at("loss"), 2);
  EXPECT_EQ(study.log_fault.find("log.jsonl: lines 2, 3, 4, 5, 6, 7 are damaged and left out"), 0u) << study.log_fault;
  EXPECT_EQ(write_report(directory, assets, no_gnuplot).find(study.log_fault), 0u);
  EXPECT_NE(text_of(directory / "report.html").find("lines 2, 3, 4, 5, 6, 7 are damaged"), std::string::npos);
}

}  // namespace
}  // namespace idem
