#include <gtest/gtest.h>

#include <cmath>
#include <string>
#include <vector>

#include "host/families/families.h"
#include "host/report/loss_parts.h"
#include "host/report/results.h"
#include "tests/host/report/report_page.h"

namespace idem {
namespace {

TEST_F(Report, NonFiniteStepsAreToldFirst) {
  fixture.write(directory);
  EXPECT_NE(page().find("No step of 8 runs had a non-finite loss or gradient."), std::string::npos);
  auto metrics = fixture.metrics;
  metrics["runs"][2]["training"]["nonfinite_steps"] = 3;
  metrics["runs"][5]["training"]["nonfinite_steps"] = 4;
  ReportFixture::write_text(directory / "metrics.json", metrics.dump());
  EXPECT_NE(page().find("7 non-finite steps were skipped, in 2 of 8 runs."), std::string::npos);
}

TEST_F(Report, TheTrainingTableTellsTheEpochThatWasKeptAndTheTimeOfTheWholeFleet) {
  fixture.write(directory);
  const std::string training = between(page(), "<section id=\"training\">", "</section>");
  const auto elbo = cells_of_row(training, "encoder-elbo"), ivae = cells_of_row(training, "ivae");
  ASSERT_EQ(elbo.size(), 8u) << training;
  EXPECT_EQ(elbo[4], "9–10");  // not the best epochs, 8 and 9
  EXPECT_EQ(elbo[5], "6.505\u00a0±\u00a00.006");
  EXPECT_EQ(elbo[7], "41.5 s of all 4 runs together");
  EXPECT_EQ(ivae[7], "1.7 min of all 4 runs together");
  EXPECT_EQ(cells_of_row(training, "buddy-ivae-s1-f0"), (std::vector<std::string>{"0", "12", "10", "6.5100"}));
  // Two runs that a resumed study trained later, in a fleet of their own.
  auto metrics = fixture.metrics;
  for (const std::size_t run : {4u, 5u})
    metrics["runs"][run]["training"]["fleet_seconds"] = 30, metrics["runs"][run]["training"]["fleet_size"] = 2;
  ReportFixture::write_text(directory / "metrics.json", metrics.dump());
  EXPECT_EQ(cells_of_row(between(page(), "<section id=\"training\">", "</section>"), "ivae")[7],
            "30.0 s of all 2 runs together, 1.7 min of all 4 runs together");
}

TEST_F(Report, RunsThatDivergedAreMarkedAndStayInTheMeans) {
  fixture.write(directory);
  const std::string sane = page();
  EXPECT_EQ(sane.find("diverged</span>"), std::string::npos);
  auto metrics = fixture.metrics;
  metrics["runs"][5]["training"]["kept_valid_loss"] = 9.75;  // ivae, seed 0, split 1; untrained: 9.5
  ReportFixture::write_text(directory / "metrics.json", metrics.dump());
  const std::string html = page();
  EXPECT_EQ(markup_fault(html), "");
  const std::string panel = between(html, "<div class=\"panel panel-0\">", "<details>"),
                    by_split = between(html, "<details>", "</details>");
  EXPECT_NE(panel.find("ivae <span class=\"tag diverged\">1 of 4 diverged</span></th>"), std::string::npos) << panel;
  EXPECT_EQ(cells_of_row(panel, "ivae"),
            cells_of_row(between(sane, "<div class=\"panel panel-0\">", "<details>"), "ivae"));
  EXPECT_NE(by_split.find("ivae, 1 <span class=\"tag diverged\">1 of 2 diverged</span></th>"), std::string::npos)
      << by_split;
  EXPECT_NE(between(html, "<table class=\"same\">", "</table>").find("1 of 4 diverged"), std::string::npos);
  const std::string training = between(html, "<section id=\"training\">", "</section>");
  EXPECT_NE(training.find("ivae <span class=\"tag diverged\">1 of 4 diverged"), std::string::npos);
  EXPECT_NE(training.find("buddy-ivae-s0-f1 <span class=\"tag diverged\">diverged</span>"), std::string::npos);
  EXPECT_NE(training.find("such runs are part of every mean"), std::string::npos);
  EXPECT_EQ(html.find("Do not trust these numbers"), std::string::npos);  // the best model is another one
  for (auto& run : metrics["runs"])
    if (run["model"] == "encoder-elbo") run["training"]["kept_valid_loss"] = 4e22;
  ReportFixture::write_text(directory / "metrics.json", metrics.dump());
  const std::string diverged = page();
  EXPECT_NE(without_tags(between(diverged, "<section id=\"answer\">", "</p>"))
                .find("Do not trust these numbers: 4 of the 4 runs of encoder-elbo diverged"),
            std::string::npos);
  EXPECT_NE(diverged.find("4.00e+22"), std::string::npos);
}

TEST_F(Report, LossesOfWindowsAreCalledSo) {
  fixture.write(directory);
  std::string loss = between(page(), "<section id=\"loss\">", "</section>");
  EXPECT_NE(loss.find("nats per window, not per bin"), std::string::npos) << loss;
  EXPECT_NE(loss.find("a spike is scored once for every window that holds it"), std::string::npos) << loss;
  auto metrics = fixture.metrics;
  for (auto& run : metrics["runs"]) run["target"] = "centre-bin";
  ReportFixture::write_text(directory / "metrics.json", metrics.dump());
  loss = between(page(), "<section id=\"loss\">", "</section>");
  EXPECT_EQ(loss.find("per window"), std::string::npos) << loss;
}

TEST_F(Report, AFailedRunIsNamedAndHasNoPartInAnyMeanOrFigure) {
  fixture.n_times = 200;
  fixture.write(directory);
  auto metrics = fixture.metrics;
  auto& failed = metrics["runs"][1];  // encoder-elbo, seed 0, split 1
  failed["failed"] = true, failed["reason"] = "its loss was lost";
  failed["metrics"]["encoder"]["euclidean"]["test"]["position_error_cm"] = 1e6;
  ReportFixture::write_text(directory / "metrics.json", metrics.dump());
  fs::remove_all(directory / "runs" / "buddy-encoder-elbo-s0-f1");
  write_report(directory, assets, "gnuplot");
  const std::string html = text_of(directory / "report.html");
  EXPECT_EQ(markup_fault(html), "");
  const std::string answer = without_tags(between(html, "<section id=\"answer\">", "</section>"));
  EXPECT_NE(
      answer.find("1 of 8 runs failed and has part in nothing below: buddy-encoder-elbo-s0-f1 (its loss was lost)"),
      std::string::npos)
      << answer;
  EXPECT_NE(answer.find("encoder-elbo (3 runs)"), std::string::npos) << answer;
  EXPECT_EQ(html.find("1000000"), std::string::npos);

  for (auto& run : metrics["runs"]) run["failed"] = true;
  ReportFixture::write_text(directory / "metrics.json", metrics.dump());
  fs::remove_all(directory / "runs");
  const std::string none = page();
  EXPECT_EQ(markup_fault(none), "");
  EXPECT_NE(none.find("8 of 8 runs failed"), std::string::npos);
  EXPECT_NE(none.find("Every run failed"), std::string::npos);
}

TEST(ReportLossPanels, LeaveOutWhatNeverChangesAndGoLogarithmicOverThreePowersOfTen) {
  RunResult run;
  run.family = find_family("vae");
  for (int epoch = 1; epoch <= 10; ++epoch)
    run.epochs.push_back({epoch,
                          {{"loss", 5}, {"alpha", 1}, {"kl_encoder", std::pow(10, epoch)}, {"skew", std::nan("")}},
                          {{"loss", 5}, {"own", epoch}}});
  const auto panels = loss_panels({&run});
  ASSERT_EQ(panels.size(), 3u);
  EXPECT_EQ(panels[0].parts[0].key, "loss");
  EXPECT_EQ(panels[1].parts[0].key, "kl_encoder");
  EXPECT_TRUE(panels[1].logarithmic);
  EXPECT_EQ(panels[0].title, "loss (per bin)");
  run.target = "window-sum";
  EXPECT_EQ(loss_panels({&run})[0].title, "loss (per window)");
  EXPECT_EQ(panels[1].low, 100);  // the first epoch is not looked at
  EXPECT_EQ(panels[2].parts[0].key, "own");
  EXPECT_FALSE(panels[2].logarithmic);
}

TEST(ReportLossPanels, KeepTheLossWhereNoNumberIsFinite) {
  RunResult run;
  run.family = find_family("vae");
  for (int epoch = 1; epoch <= 3; ++epoch)
    run.epochs.push_back({epoch, {{"loss", std::nan("")}}, {{"loss", std::nan("")}}});
  EXPECT_EQ(loss_panels({&run}).size(), 1u);
}

}  // namespace
}  // namespace idem
