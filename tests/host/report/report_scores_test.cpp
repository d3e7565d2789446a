#include <fmt/format.h>
#include <gtest/gtest.h>

#include <cmath>
#include <string>
#include <utility>
#include <vector>

#include "host/report/numbers_format.h"
#include "host/report/payload.h"
#include "host/report/results.h"
#include "host/report/score_tables.h"
#include "host/support/errors.h"
#include "tests/support/error_message.h"
#include "tests/host/report/report_page.h"

namespace idem {
namespace {

TEST_F(Report, EveryCellOfTheScoreTablesIsTheMeanAndSpreadOfItsRuns) {
  fixture.write(directory);
  const std::string html = page();
  const std::vector<std::pair<std::string, std::pair<double, int>>> metrics{{"position_error_cm", {1, 1}},
                                                                            {"position_r2", {1, 2}},
                                                                            {"direction_r2", {1, 2}},
                                                                            {"total_r2", {1, 2}},
                                                                            {"direction_accuracy", {100, 1}}};
  for (std::size_t metric = 0; metric < metrics.size(); ++metric) {
    const auto& [key, shown] = metrics[metric];
    const std::string panel = between(html, fmt::format("<div class=\"panel panel-{}\">", metric), "<details>");
    for (const auto& model : fixture.models) {
      const auto cells = cells_of_row(panel, model.name);
      ASSERT_EQ(cells.size(), 12u) << model.name;
      std::size_t cell = 0;
      for (const char* latents : {"encoder", "posterior"})
        for (const char* decoder : {"euclidean", "cosine", "linear"})
          for (const char* split : {"valid", "test"}) {
            double sum = 0, squares = 0;
            int n = 0;
            for (const auto& run : fixture.metrics["runs"]) {
              if (run["model"] != model.name) continue;
              const double value = run["metrics"][latents][decoder][split][key].get<double>() * shown.first;
              sum += value, squares += value * value, ++n;
            }
            const double mean = sum / n, sd = std::sqrt((squares - n * mean * mean) / (n - 1));
            std::string expected = fmt::format("{:.{}f}\u00a0±\u00a0{:.{}f}", mean, shown.second, sd, shown.second);
            if (expected[0] == '-') expected.replace(0, 1, "−");
            EXPECT_EQ(cells[cell++], expected)
                << key << ", " << model.name << ", " << latents << ", " << decoder << ", " << split;
          }
    }
  }
}

TEST_F(Report, TheAnswerNamesTheBestModelByValidationAndItsTestErrorAgainstTheBaselines) {
  fixture.write(directory);
  // The other model would win on the test bins: it must not be chosen for that.
  auto metrics = fixture.metrics;
  for (auto& run : metrics["runs"])
    if (run["model"] == "ivae") run["metrics"]["encoder"]["euclidean"]["test"]["position_error_cm"] = 1.0;
  ReportFixture::write_text(directory / "metrics.json", metrics.dump());
  const std::string answer = without_tags(between(page(), "<section id=\"answer\">", "</p>"));
  EXPECT_NE(answer.find("of 2 models encoder-elbo (2 seeds × 2 splits) decodes the validation bins best"),
            std::string::npos)
      << answer;
  EXPECT_NE(answer.find("to within 14.6\u00a0cm (median error)"), std::string::npos) << answer;
  EXPECT_NE(answer.find("guessing gives 45.0\u00a0cm, two principal components (fitted on all bins) 22.7\u00a0cm and "
                        "the raw window sums 13.2\u00a0cm"),
            std::string::npos)
      << answer;
  // Without evidence no word about which is better.
  EXPECT_NE(answer.find("How sure these are is computed when all runs are done."), std::string::npos) << answer;
  EXPECT_EQ(answer.find("better than"), std::string::npos) << answer;
  EXPECT_NE(answer.find("latents agree"), std::string::npos) << answer;
}

// One recording's evidence: a candidate and a gain for each of these.
Json made_up_evidence(const char* grounds, const char* verdict_of_sums) {
  const auto candidate = [&](const char* name, const char* kind, const char* reading, double test) {
    return Json{{"name", name}, {"kind", kind},      {"reading", reading},  {"valid", test},
                {"test", test}, {"low", test - 1.5}, {"high", test + 1.25}, {"grounds", grounds}};
  };
  const auto gain = [&](const char* name, double by, const char* verdict) {
    return Json{{"name", name}, {"gain", by},    {"low", by - 2},      {"high", by + 2},
                {"p", 0.01},    {"p_holm", 0.1}, {"grounds", grounds}, {"verdict", verdict}};
  };
  return {{"subject", "buddy"},
          {"metric", "position_error_cm"},
          {"units", "trials"},
          {"units_of_splits", {6, 6}},
          {"best", "ivae"},
          {"candidates",
           {candidate("ivae", "model", "marginal", 7.5), candidate("encoder-elbo", "model", "euclidean", 9),
            candidate("window_sums", "baseline", "window_sums/cosine", 9.5),
            candidate("chance", "baseline", "chance", 45)}},
          {"against",
           {gain("encoder-elbo", 1.5, "not told apart"), gain("window_sums", 2, verdict_of_sums),
            gain("chance", 37.5, verdict_of_sums), gain("place_fields", -3, "worse")}}};
}

TEST_F(Report, TheAnswerSaysBetterWhereTheEvidenceDoesAndHowSureItIs) {
  fixture.write(directory);
  auto metrics = fixture.metrics;
  const auto answer_of = [&](const Json& evidence) {
    metrics["evidence"]["decoding"] = {evidence};
    ReportFixture::write_text(directory / "metrics.json", metrics.dump());
    return without_tags(between(page(), "<section id=\"answer\">", "</p>"));
  };
  const std::string answer = answer_of(made_up_evidence("trials and seeds", "better"));
  for (const char* part :
       {"of 2 models ivae (",
        "to within 7.5\u00a0cm (95\u00a0% 6.0 to 8.8) (median error), read by the model's own likelihood",
        "guessing gives 45.0\u00a0cm and the raw window sums by cosine nearest neighbours 9.5\u00a0cm",
        "it is better than the window sums by 2.0\u00a0cm (0.0 to 4.0) and guessing by 37.5\u00a0cm (35.5 to 39.5), "
        "worse "
        "than place fields by 3.0\u00a0cm (1.0 to 5.0) and not told apart from encoder-elbo (1.5\u00a0cm (−0.5 to "
        "3.5))",
        "not of other training sets or animals", "(Holm, 4 comparisons)"})
    EXPECT_NE(answer.find(part), std::string::npos) << part << "\n" << answer;
  auto unsure = made_up_evidence("one seed", "none");
  unsure["against"].erase(3);
  unsure["against"].erase(0);
  const std::string doubt = answer_of(unsure);
  EXPECT_EQ(doubt.find("better"), std::string::npos) << doubt;
  EXPECT_NE(doubt.find("it differs from the window sums by 2.0\u00a0cm (0.0 to 4.0) and guessing by"),
            std::string::npos)
      << doubt;
  EXPECT_NE(doubt.find("With one seed of a model nothing is said of others"), std::string::npos) << doubt;
  EXPECT_NE(answer_of(made_up_evidence("few trials", "none")).find("With 12 trials of test bins there is no verdict."),
            std::string::npos);
  unsure["against"][0].erase("gain");
  metrics["evidence"]["decoding"] = {unsure};
  ReportFixture::write_text(directory / "metrics.json", metrics.dump());
  EXPECT_MESSAGE(DataError, page(), "metrics.json: evidence: is not what idem run writes");
}

TEST_F(Report, WhatDecodesByItselfHasARowOfItsOwn) {
  fixture.write(directory);
  EXPECT_EQ(page().find("by its likelihood"), std::string::npos);
  auto metrics = fixture.metrics;
  for (auto& run : metrics["runs"])
    if (run["model"] == "ivae")
      run["metrics"]["marginal"] = {
          {"candidates", 20}, {"valid", {{"position_error_cm", 8.25}}}, {"test", {{"position_error_cm", 9.5}}}};
  const auto panel_with = [&](const Json& activity) {
    for (auto& baseline : metrics["baselines"]) {
      baseline["place_fields"] = {
          {"smoothing_bins", 1}, {"valid", {{"position_error_cm", 6.25}}}, {"test", {{"position_error_cm", 7.5}}}};
      if (!activity.is_null()) baseline["place_fields"]["activity"] = activity;
    }
    ReportFixture::write_text(directory / "metrics.json", metrics.dump());
    return between(page(), "<h3>position error <small>", "<details>");
  };
  EXPECT_EQ(cells_of_row(panel_with(nullptr), "place fields (Bayes)").at(1), "7.5\u00a0±\u00a00.0")
      << "as results are that do not say";
  EXPECT_EQ(cells_of_row(panel_with("poisson"), "place fields (Bayes, Poisson)").at(1), "7.5\u00a0±\u00a00.0");
  const std::string panel = panel_with("gaussian");
  const auto model = cells_of_row(panel, "ivae, by its likelihood"),
             limit = cells_of_row(panel, "place fields (Bayes, Gaussian)");
  EXPECT_EQ(model.at(0), "8.2\u00a0±\u00a00.0");
  EXPECT_EQ(model.at(1), "9.5\u00a0±\u00a00.0");
  EXPECT_EQ(model.at(2), "");
  EXPECT_EQ(limit.at(1), "7.5\u00a0±\u00a00.0");

  // How far the integral may be off stands beside it, in the digits that it takes: that of the run where it is largest.
  EXPECT_EQ(panel.find("its integral to"), std::string::npos);
  double error = 0.002;
  for (auto& run : metrics["runs"])
    if (run["model"] == "ivae")
      run["metrics"]["marginal"]["numerical_error"] = {
          {"of", "position_error_cm"}, {"valid", error}, {"test", error += 0.004}};
  const std::string with_error = panel_with("poisson");
  EXPECT_NE(with_error.find("ivae, by its likelihood <small>(its integral to ±\u00a00.0"), std::string::npos)
      << with_error;
}

TEST_F(Report, NumbersOfNeighboursAtTheEndOfTheirGridAreTold) {
  fixture.write(directory);
  StudyResult changed = read_study(directory);
  EXPECT_EQ(numbers_section(changed).find("number of neighbours on offer"), std::string::npos);
  int n_runs = 0;
  for (auto& run : changed.runs)
    if (run.model == "ivae" && ++n_runs <= 2) run.metrics["encoder"]["cosine"]["grid_end"]["neighbours"] = "largest";
  for (auto& baseline : changed.baselines) {
    baseline.decoded["window_sums"]["euclidean"]["direction_neighbours"] = 2;
    baseline.decoded["window_sums"]["euclidean"]["grid_end"]["direction_neighbours"] = "smallest";
  }
  const std::string section = numbers_section(changed);
  EXPECT_NE(
      section.find(
          "The largest number of neighbours on offer was the best on validation, so a larger one may decode better "
          "(evaluation.neighbours): buddy, ivae, label-free, cosine, position (2 of 4).</p>"),
      std::string::npos);
  EXPECT_NE(section.find("so a smaller one may decode better (evaluation.neighbours): buddy, window sums, Euclidean, "
                         "direction (2 of 2).</p>"),
            std::string::npos);
}

TEST_F(Report, LabelsAreCalledByTheirNamesAndUnits) {
  fixture.write(directory);
  std::string text = fixture.metrics.dump();
  for (std::size_t at; (at = text.find("position_error_cm")) != std::string::npos;)
    text.replace(at, 17, "position_error");
  auto metrics = Json::parse(text);
  metrics["labels"]["buddy"] = {{"position", {{"name", "heading"}, {"unit", "deg"}}},
                                {"direction", {{"name", "odour"}}}};
  for (auto& run : metrics["runs"])
    for (const char* latents : {"encoder", "posterior"})
      for (const char* decoder : {"euclidean", "cosine", "linear"})
        run["metrics"][latents][decoder]["labels"] = {{"speed", {{"test", {{"median_error", 3.25}, {"unit", "cm/s"}}}}},
                                                      {"task", {{"test", {{"accuracy", 0.75}}}}}};
  for (auto& baseline : metrics["baselines"])
    baseline["chance"] = {{"test", {{"position_error", 90}}},
                          {"labels", {{"speed", {{"test", {{"median_error", 9.5}, {"unit", "cm/s"}}}}}}}};
  ReportFixture::write_text(directory / "metrics.json", metrics.dump());
  const std::string html = page(), answer = without_tags(between(html, "<section id=\"answer\">", "</section>"));
  EXPECT_NE(answer.find("finds the heading in the test bins, from spikes alone, to within 14.6\u00a0deg"),
            std::string::npos)
      << answer;
  EXPECT_EQ(answer.find("position"), std::string::npos) << answer;
  for (const char* title :
       {">heading error</label>", ">odour accuracy</label>", ">speed error</label>", ">task accuracy</label>"})
    EXPECT_NE(html.find(title), std::string::npos) << title;
  EXPECT_NE(html.find("Decoded and measured heading"), std::string::npos);
  const std::string panel = between(html, "<h3>speed error <small>(median, cm/s", "<details>");
  EXPECT_EQ(cells_of_row(panel, "ivae").at(1), "3.250\u00a0±\u00a00.000");
  EXPECT_EQ(cells_of_row(panel, "chance").at(1), "9.500\u00a0±\u00a00.000");
}

TEST_F(Report, UnitsAndTurnsOfLabelsAreThoseThatTheRunRead) {
  fixture.write(directory);
  // The configuration names a unit and leaves the turn to the reader.
  auto config = Json::parse(text_of(directory / "config.json"));
  config["recording"]["labels"] = Json::array({{{"name", "heading"}, {"kind", "circular"}, {"unit", "deg"}}});
  ReportFixture::write_text(directory / "config.json", config.dump());
  auto metrics = fixture.metrics;
  metrics["labels"]["buddy"]["columns"] = {{"heading", {{"kind", "circular"}, {"unit", "deg"}, {"period", 360}}}};
  ReportFixture::write_text(directory / "metrics.json", metrics.dump());
  const StudyResult study = read_study(directory);
  const LabelFacts heading = study.label_facts.at("buddy").at("heading");
  EXPECT_EQ(heading.unit, "deg");
  EXPECT_EQ(heading.period, 360);
  EXPECT_EQ(study.label_facts.at("buddy").count("position"), 0u);
}

TEST_F(Report, ColumnsWithoutANumberAreLeftOut) {
  fixture.write(directory);
  auto metrics = fixture.metrics;
  for (auto& run : metrics["runs"])
    if (run["model"] == "ivae") run["fit"] = {{"temperature", 1.5}};
  ReportFixture::write_text(directory / "metrics.json", metrics.dump());
  const std::string fit = between(page(), "<h3>Fit of InfoNCE</h3>", "</table>");
  EXPECT_EQ(cells_of_row(fit, "temperature").size(), 1u) << fit;
  EXPECT_EQ(fit.find("encoder-elbo"), std::string::npos) << fit;

  // As of contrastive models alone, trained with one seed.
  metrics.erase("consistency");
  for (auto& run : metrics["runs"]) {
    run["metrics"].erase("posterior"), run.erase("agreement"), run.erase("collapse");
    run["training"].erase("kept_epoch"), run["training"].erase("epochs"), run["training"]["steps"] = 40;
  }
  ReportFixture::write_text(directory / "metrics.json", metrics.dump());
  const std::string html = page();
  EXPECT_EQ(markup_fault(html), "");
  EXPECT_EQ(html.find("<table class=\"same\">"), std::string::npos);
  EXPECT_NE(html.find("With one seed there is no telling"), std::string::npos);
  EXPECT_NE(html.find("The labels of encoder-elbo and ivae only choose which bins are compared"), std::string::npos);
  EXPECT_EQ(cells_of_row(between(html, "<table class=\"scores\">", "</table>"), "ivae").size(), 6u);
  EXPECT_EQ(html.find("leaks test labels"), std::string::npos);
  EXPECT_EQ(html.find("With-label"), std::string::npos);
  EXPECT_EQ(html.find("<section id=\"collapse\">"), std::string::npos);
  EXPECT_EQ(html.find("epoch kept"), std::string::npos);
  EXPECT_EQ(cells_of_row(between(html, "<section id=\"training\">", "</section>"), "ivae").size(), 7u);
}

TEST(ReportNumbers, AreRoundedSignedAndMissingAsPeopleExpect) {
  EXPECT_EQ(format_number(-0.004, 2), "0.00");
  EXPECT_EQ(format_number(-0.4, 1), "−0.4");
  EXPECT_EQ(format_number(std::nan(""), 1), "–");
  EXPECT_EQ(format_spread(spread_of({1, 3, std::nan("")}), metric_style("position_error_cm")), "2.0\u00a0±\u00a01.4");
  EXPECT_EQ(format_spread(spread_of({2}), metric_style("position_error_cm")), "2.0");
  EXPECT_EQ(format_spread(spread_of({}), metric_style("position_error_cm")), "–");
  EXPECT_EQ(base64("any carnal pleas"), "YW55IGNhcm5hbCBwbGVhcw==");
  EXPECT_EQ(base64("any carnal pleasu"), "YW55IGNhcm5hbCBwbGVhc3U=");
}

}  // namespace
}  // namespace idem
