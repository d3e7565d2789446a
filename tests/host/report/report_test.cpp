#include "host/report/report.h"

#include <fmt/format.h>
#include <gtest/gtest.h>
#include <unistd.h>
#include <zlib.h>

#include <algorithm>
#include <cstdlib>
#include <cstring>
#include <functional>
#include <numbers>
#include <set>
#include <sstream>

#include "host/support/errors.h"
#include "host/report/figures.h"
#include "host/report/loss_parts.h"
#include "host/report/payload.h"
#include "host/report/results.h"
#include "host/report/numbers_format.h"
#include "host/report/score_tables.h"
#include "host/report/view.h"
#include "tests/host/report/report_fixture.h"

namespace idem {
namespace {

namespace fs = std::filesystem;

constexpr const char* no_gnuplot = "no-such-gnuplot";

class Report : public testing::Test {
 protected:
  void SetUp() override {
    const auto* test = testing::UnitTest::GetInstance()->current_test_info();
    directory = fs::temp_directory_path() / fmt::format("idem_report_{}_{}", test->name(), static_cast<long>(getpid())) / "study";
    fs::remove_all(directory.parent_path());
    // The real script would make every page of these tests 2 MB larger.
    assets = built_in_report_assets();
    assets.plotly = "/* stands for Plotly */";
  }
  void TearDown() override { fs::remove_all(directory.parent_path()); }

  static std::string text_of(const fs::path& path) {
    std::ifstream file(path, std::ios::binary);
    std::ostringstream text;
    text << file.rdbuf();
    return text.str();
  }
  std::string page() {
    write_report(directory, assets, no_gnuplot);
    return text_of(directory / "report.html");
  }

  fs::path directory;
  ReportAssets assets;
  ReportFixture fixture;
};

std::string between(const std::string& text, const std::string& begin, const std::string& end) {
  const auto from = text.find(begin);
  if (from == std::string::npos) return {};
  const auto to = text.find(end, from + begin.size());
  return to == std::string::npos ? std::string() : text.substr(from + begin.size(), to - from - begin.size());
}

std::string without_tags(const std::string& html) {
  std::string text;
  bool inside = false;
  for (const char c : html) {
    if (c == '<') inside = true;
    if (!inside) text += c;
    if (c == '>') inside = false;
  }
  return text;
}

// Walks the page as a parser would: quoted attributes, raw script and style, void elements. Empty when every element is closed in order.
std::string markup_fault(const std::string& html) {
  static const std::set<std::string> void_elements{"meta", "input", "img", "br", "link", "hr"};
  std::vector<std::string> open;
  for (std::size_t i = 0; i < html.size(); ++i) {
    if (html[i] == '>') return "a bare > near: " + html.substr(i < 40 ? 0 : i - 40, 60);
    if (html[i] != '<') continue;
    std::size_t j = i + 1;
    if (html.compare(i, 2, "<!") == 0) {
      i = html.find('>', i);
      continue;
    }
    const bool closing = j < html.size() && html[j] == '/';
    if (closing) ++j;
    std::string name;
    while (j < html.size() && std::isalnum(static_cast<unsigned char>(html[j]))) name += html[j++];
    if (name.empty()) return "a bare < near: " + html.substr(i, 60);
    for (char quote = 0; j < html.size() && (quote || html[j] != '>'); ++j) {
      if (quote ? html[j] == quote : html[j] == '"') quote = quote ? 0 : html[j];
      if (!quote && html[j] == '<') return "a < inside a tag near: " + html.substr(i, 60);
    }
    if (j >= html.size()) return "a tag without end: " + html.substr(i, 60);
    i = j;
    if (closing) {
      if (open.empty() || open.back() != name) return "</" + name + "> closes " + (open.empty() ? "nothing" : open.back());
      open.pop_back();
    } else if (!void_elements.count(name)) {
      open.push_back(name);
      if (name == "script" || name == "style") {
        const auto end = html.find("</" + name + ">", i);
        if (end == std::string::npos) return "no end of " + name;
        i = end - 1;
      }
    }
  }
  return open.empty() ? "" : "never closed: " + open.back();
}

// The cells of the table row that begins with a name, in order.
std::vector<std::string> cells_of_row(const std::string& table, const std::string& name) {
  std::vector<std::string> cells;
  const auto start = table.find("<th class=\"name\">" + name);
  if (start == std::string::npos) return cells;
  const std::string row = table.substr(start, table.find("</tr>", start) - start);
  for (std::size_t at = row.find("<td"); at != std::string::npos; at = row.find("<td", at + 1))
    cells.push_back(between(row.substr(at), ">", "</td>"));
  return cells;
}

TEST_F(Report, EveryCellOfTheScoreTablesIsTheMeanAndSpreadOfItsRuns) {
  fixture.write(directory);
  const std::string html = page();
  const std::vector<std::pair<std::string, std::pair<double, int>>> metrics{
      {"position_error_cm", {1, 1}}, {"position_r2", {1, 2}}, {"direction_r2", {1, 2}}, {"total_r2", {1, 2}}, {"direction_accuracy", {100, 1}}};
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
            EXPECT_EQ(cells[cell++], expected) << key << ", " << model.name << ", " << latents << ", " << decoder << ", " << split;
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
  EXPECT_NE(answer.find("of 2 models encoder-elbo (2 seeds × 2 splits) decodes the validation bins best"), std::string::npos) << answer;
  EXPECT_NE(answer.find("to within 14.6\u00a0±\u00a01.2\u00a0cm (median error)"), std::string::npos) << answer;
  EXPECT_NE(answer.find("guessing gives 45.0\u00a0cm, two principal components (fitted on all bins) 22.7\u00a0cm and the raw window sums 13.2\u00a0cm"), std::string::npos)
      << answer;
  // Paired by split: splits differ more than the model from the baselines.
  EXPECT_NE(answer.find("By position error on the same test bins (mean ± standard deviation over runs) it is better than guessing by "
                        "30.4\u00a0±\u00a00.8\u00a0cm, better than PCA by 8.1\u00a0±\u00a00.8\u00a0cm and worse than the window sums by "
                        "1.4\u00a0±\u00a00.8\u00a0cm."),
            std::string::npos)
      << answer;
  EXPECT_NE(answer.find("latents agree"), std::string::npos) << answer;
}

TEST_F(Report, ADifferenceWithinTheSpreadOfTheRunsIsNoVerdict) {
  fixture.write(directory);
  auto metrics = fixture.metrics;
  for (auto& baseline : metrics["baselines"]) {
    auto& error = baseline["window_sums"]["euclidean"]["test"]["position_error_cm"];
    error = error.get<double>() + 1.2;
  }
  ReportFixture::write_text(directory / "metrics.json", metrics.dump());
  const auto answer = [&] { return without_tags(between(page(), "<section id=\"answer\">", "</p>")); };
  EXPECT_NE(answer().find("not told apart from the window sums (0.2\u00a0±\u00a00.8\u00a0cm)"), std::string::npos) << answer();
  // One run has no spread that a difference could lie within.
  metrics["runs"].erase(metrics["runs"].begin() + 1, metrics["runs"].end());
  ReportFixture::write_text(directory / "metrics.json", metrics.dump());
  EXPECT_NE(answer().find("(one run: its spread is unknown) it is better than guessing by "), std::string::npos) << answer();
  EXPECT_EQ(answer().find("not told apart"), std::string::npos) << answer();
}

TEST_F(Report, WhatDecodesByItselfHasARowOfItsOwn) {
  fixture.write(directory);
  EXPECT_EQ(page().find("by its likelihood"), std::string::npos);
  auto metrics = fixture.metrics;
  for (auto& run : metrics["runs"])
    if (run["model"] == "ivae")
      run["metrics"]["marginal"] = {{"candidates", 20}, {"valid", {{"position_error_cm", 8.25}}}, {"test", {{"position_error_cm", 9.5}}}};
  const auto panel_with = [&](const Json& activity) {
    for (auto& baseline : metrics["baselines"]) {
      baseline["place_fields"] = {{"smoothing_bins", 1}, {"valid", {{"position_error_cm", 6.25}}}, {"test", {{"position_error_cm", 7.5}}}};
      if (!activity.is_null()) baseline["place_fields"]["activity"] = activity;
    }
    ReportFixture::write_text(directory / "metrics.json", metrics.dump());
    return between(page(), "<h3>position error <small>", "<details>");
  };
  EXPECT_EQ(cells_of_row(panel_with(nullptr), "place fields (Bayes)").at(1), "7.5\u00a0±\u00a00.0") << "as results are that do not say";
  EXPECT_EQ(cells_of_row(panel_with("poisson"), "place fields (Bayes, Poisson)").at(1), "7.5\u00a0±\u00a00.0");
  const std::string panel = panel_with("gaussian");
  const auto model = cells_of_row(panel, "ivae, by its likelihood"), limit = cells_of_row(panel, "place fields (Bayes, Gaussian)");
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
  for (std::size_t at; (at = text.find("position_error_cm")) != std::string::npos;) text.replace(at, 17, "position_error");
  auto metrics = Json::parse(text);
  metrics["labels"]["buddy"] = {{"position", {{"name", "heading"}, {"unit", "deg"}}}, {"direction", {{"name", "odour"}}}};
  for (auto& run : metrics["runs"])
    for (const char* latents : {"encoder", "posterior"})
      for (const char* decoder : {"euclidean", "cosine", "linear"})
        run["metrics"][latents][decoder]["labels"] = {{"speed", {{"test", {{"median_error", 3.25}, {"unit", "cm/s"}}}}},
                                                      {"task", {{"test", {{"accuracy", 0.75}}}}}};
  for (auto& baseline : metrics["baselines"])
    baseline["chance"] = {{"test", {{"position_error", 90}}}, {"labels", {{"speed", {{"test", {{"median_error", 9.5}, {"unit", "cm/s"}}}}}}}};
  ReportFixture::write_text(directory / "metrics.json", metrics.dump());
  const std::string html = page(), answer = without_tags(between(html, "<section id=\"answer\">", "</section>"));
  EXPECT_NE(answer.find("finds the heading in the test bins, from spikes alone, to within 14.6\u00a0±\u00a01.2\u00a0deg"), std::string::npos)
      << answer;
  EXPECT_EQ(answer.find("position"), std::string::npos) << answer;
  for (const char* title : {">heading error</label>", ">odour accuracy</label>", ">speed error</label>", ">task accuracy</label>"})
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

TEST_F(Report, TheConfigurationInThePageNamesNoFolder) {
  fixture.write(directory);
  auto config = Json::parse(text_of(directory / "config.json"));
  config["recording"]["path"] = "/home/somebody/secret/buddy.jl";
  config["also"] = Json::array({"/home/somebody/secret/other.npy"});
  ReportFixture::write_text(directory / "config.json", config.dump());
  const std::string html = page();
  EXPECT_EQ(html.find("somebody"), std::string::npos);
  EXPECT_NE(html.find("&quot;buddy.jl&quot;"), std::string::npos);
}

TEST_F(Report, ModelsWhoseLatentsDependOnTheLabelsAreNamedInTheAnswer) {
  fixture.write(directory);
  auto metrics = fixture.metrics;
  for (auto& run : metrics["runs"])
    if (run["model"] == "ivae") run["agreement"] = 0.02;
  ReportFixture::write_text(directory / "metrics.json", metrics.dump());
  const std::string answer = without_tags(between(page(), "<section id=\"answer\">", "</p>"));
  EXPECT_NE(answer.find("label-free and with-label latents agree"), std::string::npos) << answer;
  EXPECT_NE(answer.find("Label-free and with-label latents do not agree in ivae (0.02)"), std::string::npos) << answer;
  EXPECT_NE(answer.find("Two seeds of the best find the same label-free latents (R² 0.92\u00a0±\u00a00.01)"), std::string::npos) << answer;
  EXPECT_EQ(answer.find("lowest loss"), std::string::npos) << answer;
}

TEST_F(Report, SeedsThatEndedInPoorerSolutionsAreSaidToBeWhyTheyDiffer) {
  fixture.write(directory);
  auto metrics = fixture.metrics;
  for (auto& entry : metrics["consistency"]["runs"])
    for (auto& split : entry["splits"]) split.update({{"encoder", 0.6}, {"encoder_lowest_loss", 0.95}});
  ReportFixture::write_text(directory / "metrics.json", metrics.dump());
  const std::string answer = without_tags(between(page(), "<section id=\"answer\">", "</p>"));
  EXPECT_NE(answer.find("only partly the same label-free latents (R² 0.60\u00a0±\u00a00.00). The half of the seeds with the lowest loss agree better "
                        "(R² 0.95\u00a0±\u00a00.00): the others ended in poorer solutions."),
            std::string::npos)
      << answer;
}

TEST_F(Report, AModelWithoutLabelFreeLatentsHasDashesAndNoPartInTheAnswer) {
  fixture.write(directory);
  auto metrics = fixture.metrics;
  for (auto& run : metrics["runs"])
    if (run["model"] == "encoder-elbo") {  // which would be the best
      run["metrics"].erase("encoder");
      run.erase("agreement");
      run["collapse"]["test"].erase("label_weight");
    }
  for (auto& entry : metrics["consistency"]["runs"])
    if (entry["model"] == "encoder-elbo")
      for (auto& split : entry["splits"]) split.erase("encoder");
  ReportFixture::write_text(directory / "metrics.json", metrics.dump());
  const std::string html = page();
  const std::string answer = without_tags(between(html, "<section id=\"answer\">", "</p>"));
  EXPECT_TRUE(answer.starts_with("On ") || answer.find(", ivae (2 seeds × 2 splits)") != std::string::npos) << answer;
  EXPECT_EQ(answer.find("of 2 models"), std::string::npos) << answer;
  EXPECT_GT(answer.find("encoder-elbo has no label-free latents: the encoder is given the labels"), answer.find("Its label-free and with-label"))
      << answer;  // or "its" would be the wrong model's
  EXPECT_TRUE(answer.ends_with("and this comparison leaves it out.")) << answer;
  const auto same = cells_of_row(between(html, "<table class=\"same\">", "</table>"), "encoder-elbo");
  ASSERT_EQ(same.size(), 4u);
  for (const std::size_t dash : {0u, 1u, 2u}) EXPECT_EQ(same[dash], "–");
  EXPECT_NE(same[3], "–");
  const auto scores = cells_of_row(between(html, "<table class=\"scores\">", "</table>"), "encoder-elbo");
  ASSERT_EQ(scores.size(), 12u);
  for (std::size_t cell = 0; cell < 12; ++cell) EXPECT_EQ(scores[cell] == "–", cell < 6) << cell;
  EXPECT_EQ(markup_fault(html), "");

  for (auto& run : metrics["runs"]) run["metrics"].erase("encoder");
  ReportFixture::write_text(directory / "metrics.json", metrics.dump());
  EXPECT_NE(without_tags(page()).find("no run has a label-free decoding score, so no model can be called best. encoder-elbo and ivae have no "
                                      "label-free latents"),
            std::string::npos);
}

TEST_F(Report, AModelThatSeesNoLabelHasNoNumberThatLooksLikeLabels) {
  fixture.write(directory);
  auto metrics = fixture.metrics;
  for (auto& run : metrics["runs"]) {
    if (run["model"] == "encoder-elbo") run["sees_labels"] = false;
    for (const char* latents : {"encoder", "posterior"}) run["identifiability"][latents]["true_latent"]["affine_r2"] = 0.75;
    run["collapse"]["test"]["label_swap_reliance"] = 0.5;
  }
  ReportFixture::write_text(directory / "metrics.json", metrics.dump());
  const std::string html = page();
  EXPECT_EQ(markup_fault(html), "");
  const auto same = cells_of_row(between(html, "<table class=\"same\">", "</table>"), "encoder-elbo");
  ASSERT_EQ(same.size(), 4u);
  for (std::size_t cell = 0; cell < 4; ++cell) EXPECT_EQ(same[cell] == "–", cell != 2) << cell;  // agreement, label weight; seeds: label-free, with labels
  const auto scores = cells_of_row(between(html, "<table class=\"scores\">", "</table>"), "encoder-elbo");
  ASSERT_EQ(scores.size(), 12u);
  for (std::size_t cell = 0; cell < 12; ++cell) EXPECT_EQ(scores[cell] == "–", cell >= 6) << cell;
  const std::string answer = without_tags(between(html, "<section id=\"answer\">", "</section>"));
  EXPECT_EQ(answer.find("Its label-free and with-label latents"), std::string::npos) << answer;
  EXPECT_EQ(answer.find("Given the true labels"), std::string::npos) << answer;
  EXPECT_NE(answer.find("encoder-elbo sees no label, so it has no latents with labels."), std::string::npos) << answer;
  EXPECT_NE(between(html, "<section id=\"numbers\">", "</section>").find("encoder-elbo sees no label, so it has no latents with labels."),
            std::string::npos);
  const std::string collapse = between(html, "<section id=\"collapse\">", "</section>");
  EXPECT_EQ(between(collapse, "<h3>Label weight</h3>", "<h3>").find("encoder-elbo"), std::string::npos);
  EXPECT_NE(between(collapse, "<h3>KL to the label prior, label-free</h3>", "<h3>").find("encoder-elbo"), std::string::npos);
  EXPECT_EQ(between(collapse, "<h3>KL to the label prior, with labels</h3>", "<table").find("encoder-elbo"), std::string::npos);
  EXPECT_EQ(cells_of_row(collapse, "label swap reliance"), (std::vector<std::string>{"–", "0.500\u00a0±\u00a00.000"}));
  EXPECT_NE(collapse.find("Of encoder-elbo, which sees no label, the KL divergence is to a prior of no label"), std::string::npos) << collapse;
  EXPECT_EQ(cells_of_row(between(html, "<section id=\"identifiability\">", "</section>"), "label-free").size(), 2u);
  EXPECT_NE(html.find("with labels, true latent, affine R²: <b>leaks test labels</b></th><td class=\"leak\">–</td>"), std::string::npos);

  const StudyResult study = read_study(directory);
  ASSERT_FALSE(study.runs.front().sees_labels);
  const RunView view = make_run_view(read_run_latents(study, study.runs.front()), {});
  EXPECT_TRUE(view.has_encoder && !view.has_posterior);
  for (const LossPanel& panel : loss_panels({&study.runs.front()})) {
    EXPECT_EQ(panel.title.find("label"), std::string::npos) << panel.title;
    for (const auto& part : panel.parts) EXPECT_EQ(part.name.find("label"), std::string::npos) << part.name;
  }
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

TEST_F(Report, AnimalsAreTabledWithLatentsWithLabelsWhereThereAreSuch) {
  fixture.write(directory);
  auto metrics = fixture.metrics;
  for (const auto& [from, to, score] : {std::tuple{"buddy", "achilles", 0.5}, std::tuple{"achilles", "buddy", 0.25}})
    metrics["consistency"]["animals"].push_back({{"from", from},
                                                 {"to", to},
                                                 {"model", "ivae"},
                                                 {"splits", Json::array({{{"split", 0}, {"encoder", {{"test", score}}}, {"posterior", {{"test", 0.75}}}}})}});
  const auto row = [&] {
    ReportFixture::write_text(directory / "metrics.json", metrics.dump());
    return cells_of_row(between(page(), "<h3>One animal or another</h3>", "</table>"), "ivae");
  };
  EXPECT_EQ(row(), (std::vector<std::string>{"0.50", "0.25", "0.38\u00a0±\u00a00.18", "0.75\u00a0±\u00a00.00"}));
  for (auto& entry : metrics["consistency"]["animals"]) entry["splits"][0].erase("posterior");
  EXPECT_EQ(row(), (std::vector<std::string>{"0.50", "0.25", "0.38\u00a0±\u00a00.18"}));
  for (auto& entry : metrics["consistency"]["animals"])
    entry["splits"][0]["encoder"].update({{"test_unmapped", -1.5}, {"across_position_error_cm", 40.25}});
  EXPECT_EQ(row(), (std::vector<std::string>{"0.50", "0.25", "0.38\u00a0±\u00a00.18", "\u22121.50\u00a0±\u00a00.00", "40.2\u00a0±\u00a00.0"}));
}

TEST_F(Report, SourcesAreThoseOfTheModelsInTheStudy) {
  fixture.write(directory);
  const auto sources = [&](const std::vector<std::string>& there, const std::vector<std::string>& absent) {
    const std::string list = between(page(), "<section id=\"sources\">", "</section>");
    for (const auto& source : there) EXPECT_NE(list.find("<li>" + source + ": "), std::string::npos) << source << " in " << list;
    for (const auto& source : absent) EXPECT_EQ(list.find(source), std::string::npos) << source << " in " << list;
  };
  sources({"iVAE", "CI-iVAE", "Scores, splits and kNN protocol", "Active units"},
          {"<li>VAE", "pi-VAE:", "InfoNCE", "CEBRA", "patent", "contrastive learning"});
  auto metrics = fixture.metrics;
  for (auto& run : metrics["runs"])
    if (run["model"] == "encoder-elbo") run["objective"] = "InfoNCE (cosine), positives by time-delta", run["training"]["steps"] = 40;
  auto config = Json::parse(text_of(directory / "config.json"));
  config["model"] = {{"preset", "none"}, {"decoder", {{"kind", "mlp"}}}};
  config["models"] = {{{"preset", "cebra-behavior"}}, {{"preset", "conv-pi-vae"}}};
  ReportFixture::write_text(directory / "config.json", config.dump());
  ReportFixture::write_text(directory / "metrics.json", metrics.dump());
  sources({"iVAE", "pi-VAE", "InfoNCE", "CEBRA, scores, splits and kNN protocol"}, {"<li>VAE", "CI-iVAE", "contrastive learning"});
  EXPECT_NE(page().find("WO2023143843A1"), std::string::npos);
  for (auto& run : metrics["runs"]) {
    if (run["model"] == "encoder-elbo") run["objective"] = "generalized contrastive learning", run["training"].erase("steps");
    else run["sees_labels"] = false;
  }
  config["models"][1] = {{"decoder", {{"kind", "gin"}}}};
  ReportFixture::write_text(directory / "config.json", config.dump());
  ReportFixture::write_text(directory / "metrics.json", metrics.dump());
  sources({"VAE", "pi-VAE", "Generalized contrastive learning"}, {"iVAE:", "InfoNCE", "CEBRA"});
}

TEST_F(Report, WhetherItIsTheSameLatentIsTabledForEveryModel) {
  fixture.write(directory);
  std::string table = between(page(), "<table class=\"same\">", "</table>");
  EXPECT_EQ(cells_of_row(table, "encoder-elbo"), (std::vector<std::string>{"0.94\u00a0±\u00a00.01", "0.21\u00a0±\u00a00.01",
                                                                            "0.92\u00a0±\u00a00.01", "0.95\u00a0±\u00a00.03"}));
  EXPECT_EQ(cells_of_row(table, "ivae"), (std::vector<std::string>{"0.64\u00a0±\u00a00.01", "0.41\u00a0±\u00a00.01", "0.67\u00a0±\u00a00.01",
                                                                    "0.85\u00a0±\u00a00.03"}));
  auto metrics = fixture.metrics;
  metrics.erase("consistency");
  for (auto& run : metrics["runs"]) run["collapse"].erase("test");
  ReportFixture::write_text(directory / "metrics.json", metrics.dump());
  const std::string html = page();
  table = between(html, "<table class=\"same\">", "</table>");
  EXPECT_EQ(cells_of_row(table, "encoder-elbo"), (std::vector<std::string>{"0.94\u00a0±\u00a00.01", "0.51\u00a0±\u00a00.01"}));
  EXPECT_NE(html.find("With one seed there is no telling"), std::string::npos);
  EXPECT_NE(html.find("no bin was left to test"), std::string::npos);
}

TEST_F(Report, KlSpreadOverManyPowersOfTenGetsALogarithmicAxis) {
  fixture.write(directory);
  const auto kl_gauge = [&] { return between(page(), "<h3>KL to the label prior, label-free</h3>", "<h3>"); };
  EXPECT_EQ(kl_gauge().find("<sup>"), std::string::npos);
  auto metrics = fixture.metrics;
  for (auto& run : metrics["runs"])
    if (run["model"] == "ivae")
      for (auto& latent : run["collapse"]["test"]["latents"]) latent["kl_encoder"] = 250000;
  ReportFixture::write_text(directory / "metrics.json", metrics.dump());
  const std::string gauge = kl_gauge();
  EXPECT_NE(gauge.find("10<sup>5</sup>"), std::string::npos) << gauge;
  EXPECT_NE(gauge.find("250,000\u00a0±\u00a00"), std::string::npos) << gauge;
}

TEST_F(Report, ThePageIsBalancedAndReachesForNothingOutside) {
  fixture.write(directory);
  for (const bool interactive : {true, false}) {
    if (!interactive) assets.plotly = {};
    const std::string html = page();
    EXPECT_EQ(markup_fault(html), "");
    EXPECT_EQ(html.find("http:"), std::string::npos);
    EXPECT_EQ(html.find("https:"), std::string::npos);
    EXPECT_EQ(html.find("href="), std::string::npos);
    EXPECT_NE(html.find("default-src 'none'"), std::string::npos);
    EXPECT_EQ(html.find("{{"), std::string::npos);
    EXPECT_NE(html.find("<meta name=\"viewport\""), std::string::npos);
  }
}

TEST_F(Report, SectionsComeInTheOrderOfTheirWeight) {
  fixture.write(directory);
  const std::string html = page();
  std::size_t before = 0;
  for (const char* id : {"answer", "numbers", "training", "latents", "loss", "decoding", "collapse", "configuration", "sources"}) {
    const auto at = html.find(fmt::format("<section id=\"{}\">", id));
    ASSERT_NE(at, std::string::npos) << id;
    EXPECT_GT(at, before) << id;
    before = at;
  }
}

TEST_F(Report, NamesCannotBreakThePageOrTheFigures) {
  fixture.subject = "<b>&\"";
  fixture.models = {{"it's<i", 2, 0.3, 0.2}};
  fixture.n_times = 200, fixture.n_splits = 1;
  fixture.write(directory);
  write_report(directory, assets, "gnuplot");
  const std::string html = text_of(directory / "report.html");
  EXPECT_EQ(markup_fault(html), "");
  EXPECT_EQ(html.find("<b>&\""), std::string::npos);
  EXPECT_EQ(html.find("<i<"), std::string::npos);
  EXPECT_NE(html.find("&lt;b&gt;&amp;&quot;"), std::string::npos);
  EXPECT_NE(html.find("it&#39;s&lt;i"), std::string::npos);
  if (fs::exists(directory / "figures")) {
    EXPECT_TRUE(fs::exists(directory / "figures" / "latents-<b>&\"-it's<i-s0-f0.svg"));
  }
}

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
  for (const std::size_t run : {4u, 5u}) metrics["runs"][run]["training"]["fleet_seconds"] = 30, metrics["runs"][run]["training"]["fleet_size"] = 2;
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
  const std::string panel = between(html, "<div class=\"panel panel-0\">", "<details>"), by_split = between(html, "<details>", "</details>");
  EXPECT_NE(panel.find("ivae <span class=\"tag diverged\">1 of 4 diverged</span></th>"), std::string::npos) << panel;
  EXPECT_EQ(cells_of_row(panel, "ivae"), cells_of_row(between(sane, "<div class=\"panel panel-0\">", "<details>"), "ivae"));
  EXPECT_NE(by_split.find("ivae, 1 <span class=\"tag diverged\">1 of 2 diverged</span></th>"), std::string::npos) << by_split;
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
  EXPECT_NE(without_tags(between(diverged, "<section id=\"answer\">", "</p>")).find("Do not trust these numbers: 4 of the 4 runs of encoder-elbo diverged"),
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
  EXPECT_NE(answer.find("1 of 8 runs failed and has part in nothing below: buddy-encoder-elbo-s0-f1 (its loss was lost)"), std::string::npos)
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

TEST_F(Report, MeasuresMayBeGroupedBySplitOrTarget) {
  fixture.write(directory);
  const std::string by_metric = page();
  auto metrics = fixture.metrics;
  for (auto& baseline : metrics["baselines"]) {
    const Json error = baseline["chance"]["position_error_cm"];
    baseline["chance"] = {{"valid", {{"position_error_cm", error["valid"]}}}, {"test", {{"position_error_cm", error["test"]}}}};
  }
  ReportFixture::write_text(directory / "metrics.json", metrics.dump());
  EXPECT_EQ(page(), by_metric);
  metrics["runs"][0]["identifiability"] = {{"encoder", {{"true_latent", {{"affine_r2", 0.8125}, {"strong_mcc", 0.75}}}}},
                                           {"posterior", {{"true_latent", {{"affine_r2", 0.9375}}}}}};
  ReportFixture::write_text(directory / "metrics.json", metrics.dump());
  const std::string section = between(page(), "<section id=\"identifiability\">", "</section>");
  EXPECT_EQ(cells_of_row(section, "label-free, true latent, affine R²").front(), "0.812");
  EXPECT_EQ(cells_of_row(section, "label-free, true latent, strong MCC").front(), "0.750");
  // With-label latents have seen what they are asked for.
  EXPECT_NE(section.find("<tr class=\"leak\"><th class=\"name leak\">with labels, true latent, affine R²: <b>leaks test labels</b></th>"
                         "<td class=\"leak\">0.938</td>"),
            std::string::npos)
      << section;
}

TEST_F(Report, TheSameFolderGivesTheSameBytes) {
  fixture.write(directory);
  const std::string once = page();
  EXPECT_EQ(page(), once);
}

TEST_F(Report, ThinnedNumbersInThePageAreTheRunsNumbers) {
  fixture.write(directory);
  const std::string html = page();
  std::string packed;
  {
    const std::string letters = between(html, "id=\"payload\">", "</script>");
    ASSERT_FALSE(letters.empty());
    unsigned group = 0;
    int bits = 0;
    for (const char c : letters) {
      const std::string alphabet = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
      const auto code = alphabet.find(c);
      if (code == std::string::npos) break;
      group = group << 6 | static_cast<unsigned>(code), bits += 6;
      if (bits >= 8) packed += static_cast<char>(group >> (bits -= 8) & 255);
    }
  }
  std::string bytes(1 << 22, '\0');
  z_stream stream{};
  ASSERT_EQ(inflateInit2(&stream, 15 + 16), Z_OK);
  stream.next_in = reinterpret_cast<Bytef*>(packed.data()), stream.avail_in = static_cast<uInt>(packed.size());
  stream.next_out = reinterpret_cast<Bytef*>(bytes.data()), stream.avail_out = static_cast<uInt>(bytes.size());
  ASSERT_EQ(inflate(&stream, Z_FINISH), Z_STREAM_END);
  bytes.resize(stream.total_out);
  inflateEnd(&stream);

  std::uint32_t n_text = 0;
  std::memcpy(&n_text, bytes.data(), sizeof n_text);
  const Json data = Json::parse(bytes.substr(4, n_text));
  ASSERT_EQ(data["runs"].size(), 8u);
  const auto decode = [&](const Json& reference) {
    std::vector<double> values;
    for (std::size_t i = 0; i < reference["n"]; ++i) {
      std::int16_t code = 0;
      std::memcpy(&code, bytes.data() + 4 + n_text + reference["o"].get<std::size_t>() + 2 * i, sizeof code);
      values.push_back(reference["a"].get<double>() + reference["b"].get<double>() * code);
    }
    return values;
  };
  for (const Json& run : data["runs"]) {
    const auto arrays = read_npz(directory / "runs" / run["name"].get<std::string>() / "latents.npz");
    const auto split = arrays.at("split").as<std::int32_t>();
    for (const auto& [name, array] : {std::pair{"encoder", "encoder_mean"}, std::pair{"posterior", "posterior_mean"}}) {
      const auto stored = arrays.at(array).as<double>();
      const auto n_latents = static_cast<std::size_t>(arrays.at(array).shape[1]);
      ASSERT_EQ(run[name].size(), n_latents);
      for (std::size_t latent = 0; latent < n_latents; ++latent) {
        const auto values = decode(run[name][latent]);
        std::vector<double> expected;  // nothing is thinned at this size: train, then valid, then test
        for (const int of : {0, 1, 2})
          for (std::size_t time = 0; time < split.size(); ++time)
            if (split[time] == of) expected.push_back(stored[time * n_latents + latent]);
        ASSERT_EQ(values.size(), expected.size());
        const double tolerance = run[name][latent]["b"].get<double>();
        for (std::size_t i = 0; i < values.size(); ++i)
          ASSERT_TRUE(std::abs(values[i] - expected[i]) <= tolerance) << i << ": " << values[i] << ", want " << expected[i];
      }
    }
  }
  // Bins' labels are stored once per split, not once per run.
  EXPECT_EQ(data["sets"].size(), 2u);
}

TEST_F(Report, SeedsOfSixtyFourBitsAreKeptApart) {
  fixture.write(directory);
  auto metrics = fixture.metrics;
  for (auto& run : metrics["runs"]) run["seed"] = 18446744073709551614u + run["seed"].get<std::uint64_t>();
  ReportFixture::write_text(directory / "metrics.json", metrics.dump());
  EXPECT_NE(page().find("(2 seeds × 2 splits)"), std::string::npos);
  EXPECT_EQ(read_study(directory).runs[2].seed, 18446744073709551615u);
}

// So that a fault of the figures is not taken for a machine without gnuplot.
bool has_gnuplot() { return std::system("gnuplot --version > /dev/null 2>&1") == 0; }

TEST_F(Report, FiguresAreDrawnWhereGnuplotIs) {
  if (!has_gnuplot()) GTEST_SKIP() << "gnuplot is not installed";
  fixture.n_times = 200;
  fixture.write(directory);
  EXPECT_EQ(write_report(directory, assets, "gnuplot"), "");
  for (const char* name :
       {"latents-buddy-encoder-elbo-s0-f0", "latents-buddy-encoder-elbo-s0-f1", "latents-buddy-ivae-s0-f0", "seeds-buddy-encoder-elbo",
        "seeds-buddy-ivae", "loss-buddy-encoder-elbo", "loss-buddy-ivae", "decoding-buddy-encoder-elbo-s0-f0", "decoding-buddy-ivae-s0-f1"}) {
    const std::string svg = text_of(directory / "figures" / (std::string(name) + ".svg")),
                      png = text_of(directory / "figures" / (std::string(name) + ".png"));
    EXPECT_NE(svg.find("</svg>"), std::string::npos) << name;
    ASSERT_GT(png.size(), 24u) << name;
    EXPECT_EQ(png.substr(0, 8), "\x89PNG\r\n\x1a\n") << name;
  }
  std::size_t n_files = 0;
  for ([[maybe_unused]] const auto& entry : fs::directory_iterator(directory / "figures")) ++n_files;
  EXPECT_EQ(n_files, 2u * (4 + 2 + 2 + 4));
}

TEST_F(Report, WithoutGnuplotOneLineWarnsAndThePageIsStillWritten) {
  fixture.write(directory);
  const std::string warning = write_report(directory, assets, no_gnuplot);
  EXPECT_NE(warning.find("no static figures: no-such-gnuplot"), std::string::npos) << warning;
  EXPECT_NE(warning.find("install gnuplot-nox"), std::string::npos) << warning;
  EXPECT_EQ(warning.find('\n'), std::string::npos);
  EXPECT_TRUE(fs::exists(directory / "report.html"));
  EXPECT_FALSE(fs::exists(directory / "figures"));
}

TEST_F(Report, WithoutPlotlyThePageHoldsStillFigures) {
  fixture.n_times = 200;
  fixture.write(directory);
  assets.plotly = {};
  const std::string warning = write_report(directory, assets, has_gnuplot() ? "gnuplot" : no_gnuplot);
  const std::string html = text_of(directory / "report.html");
  EXPECT_EQ(html.find("<script"), std::string::npos);
  EXPECT_NE(html.find("built without Plotly"), std::string::npos);
  EXPECT_EQ(markup_fault(html), "");
  if (!has_gnuplot()) GTEST_SKIP() << "gnuplot is not installed";
  EXPECT_EQ(warning, "");
  std::size_t n_figures = 0;
  for (auto at = html.find("src=\"data:image/"); at != std::string::npos; at = html.find("src=\"data:image/", at + 1)) ++n_figures;
  EXPECT_EQ(n_figures, 2u + 2 + 2 + 2);  // of each model: latents and decoding of the first split, all seeds, loss
}

TEST_F(Report, AStudyWithoutAFinishedRunSaysSo) {
  fixture.models.clear();
  fixture.n_splits = 0;
  fixture.write(directory);
  const std::string html = page();
  EXPECT_NE(html.find("No run has finished yet"), std::string::npos);
  EXPECT_EQ(markup_fault(html), "");
}

TEST_F(Report, RunsWithoutScoresLabelsOrDecodingStillGetAPage) {
  fixture.decoded = false;
  fixture.write(directory);
  auto metrics = fixture.metrics;
  for (auto& run : metrics["runs"]) {
    run.erase("metrics"), run.erase("collapse"), run.erase("training");
    const auto path = directory / "runs" / run["run"].get<std::string>() / "latents.npz";
    auto arrays = read_npz(path);
    arrays["labels"] = NumpyArray::of<float>({fixture.n_times, 0}, {});
    arrays["label_names"] = NumpyArray::of_texts({});
    write_npz(path, arrays);
  }
  metrics.erase("baselines");
  ReportFixture::write_text(directory / "metrics.json", metrics.dump());
  ReportFixture::write_text(directory / "log.jsonl", "");
  const std::string html = page();
  EXPECT_EQ(markup_fault(html), "");
  EXPECT_NE(html.find("no run has a decoding score"), std::string::npos);
  EXPECT_NE(html.find("No position was decoded"), std::string::npos);
}

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
      {"cut metrics", "metrics.json", [](const fs::path& d) { fs::resize_file(d / "metrics.json", fs::file_size(d / "metrics.json") / 2); }},
      {"runs is no list", "metrics.json: runs", [](const fs::path& d) { ReportFixture::write_text(d / "metrics.json", "{\"runs\":{}}"); }},
      {"a negative seed", "runs[1].seed", edit_metrics([](Json& m) { m["runs"][1]["seed"] = -1; })},
      {"a seed in words", "runs[1].seed", edit_metrics([](Json& m) { m["runs"][1]["seed"] = "one"; })},
      {"a score in words", "position_r2",
       edit_metrics([](Json& m) { m["runs"][1]["metrics"]["encoder"]["cosine"]["test"]["position_r2"] = "good"; })},
      {"a run that leaves the folder", "runs[1].run", edit_metrics([](Json& m) { m["runs"][1]["run"] = "../../secret"; })},
      {"a run with a line break", "runs[1].run", edit_metrics([](Json& m) { m["runs"][1]["run"] = "a\nb"; })},
      {"a run twice", "there twice", edit_metrics([](Json& m) { m["runs"][1]["run"] = m["runs"][0]["run"]; })},
      {"no latents", "latents.npz", [run](const fs::path& d) { fs::remove(d / run); }},
      {"cut latents", "latents.npz", [run](const fs::path& d) { fs::resize_file(d / run, fs::file_size(d / run) / 2); }},
      {"latents of another length", "posterior_mean", edit_latents([](auto& a) {
         a["posterior_mean"] = NumpyArray::of<float>({2, 3}, std::vector<float>(6));
       })},
      {"an array missing", "encoder_mean", edit_latents([](auto& a) { a.erase("encoder_mean"); })},
      {"a split out of range", "split[4]", edit_latents([this](auto& a) {
         std::vector<std::int32_t> split(static_cast<std::size_t>(fixture.n_times), 0);
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
    return Json{{"event", "epoch"}, {"run", run}, {"epoch", number}, {"train", {{"loss", loss}}}, {"valid", {{"loss", loss}}}}.dump() + "\n";
  };
  // Two epochs, killed in the third, started again for two.
  ReportFixture::write_text(directory / "log.jsonl", epoch(1, 9) + epoch(2, 8) + epoch(3, 7) + epoch(1, 5) + epoch(2, 4) + epoch(3, 3).substr(0, 30));
  const StudyResult study = read_study(directory);
  const auto found = std::find_if(study.runs.begin(), study.runs.end(), [&](const RunResult& r) { return r.name == run; });
  ASSERT_EQ(found->epochs.size(), 2u);
  EXPECT_EQ(found->epochs[0].valid.at("loss"), 5);
  EXPECT_EQ(found->epochs[1].valid.at("loss"), 4);
}

TEST_F(Report, DamagedLinesOfTheLogAreToldAndPassedOver) {
  fixture.n_epochs = 3;
  fixture.write(directory);
  const std::string run = "buddy-ivae-s0-f0";
  const auto epoch = [&](const Json& number, const Json& loss) {
    return Json{{"event", "epoch"}, {"run", run}, {"epoch", number}, {"train", {{"loss", loss}}}, {"valid", {{"loss", loss}}}}.dump() + "\n";
  };
  ReportFixture::write_text(directory / "log.jsonl", epoch(1, 5) + "{broken\n" + epoch("two", 4) + "[]\n" + epoch(2, "four") + std::string(9, '\0') + "\n" +
                                                         "K\xE4" "fig\n" + epoch(3, 2));
  const StudyResult study = read_study(directory);
  const auto found = std::find_if(study.runs.begin(), study.runs.end(), [&](const RunResult& r) { return r.name == run; });
  ASSERT_EQ(found->epochs.size(), 2u);
  EXPECT_EQ(found->epochs[1].valid.at("loss"), 2);
  EXPECT_EQ(study.log_fault.find("log.jsonl: lines 2, 3, 4, 5, 6, 7 are damaged and left out"), 0u) << study.log_fault;
  EXPECT_EQ(write_report(directory, assets, no_gnuplot).find(study.log_fault), 0u);
  EXPECT_NE(text_of(directory / "report.html").find("lines 2, 3, 4, 5, 6, 7 are damaged"), std::string::npos);
}

TEST(ReportLossPanels, LeaveOutWhatNeverChangesAndGoLogarithmicOverThreePowersOfTen) {
  RunResult run;
  for (int epoch = 1; epoch <= 10; ++epoch)
    run.epochs.push_back(
        {epoch, {{"loss", 5}, {"alpha", 1}, {"kl_encoder", std::pow(10, epoch)}, {"skew", std::nan("")}}, {{"loss", 5}, {"own", epoch}}});
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
  for (int epoch = 1; epoch <= 3; ++epoch) run.epochs.push_back({epoch, {{"loss", std::nan("")}}, {{"loss", std::nan("")}}});
  EXPECT_EQ(loss_panels({&run}).size(), 1u);
}

TEST(ReportAssetsBuiltIn, AreTheFilesOfTheSourceTree) {
  const ReportAssets assets = built_in_report_assets();
  const auto text = [](const char* name) {
    std::ifstream file(fs::path(IDEM_SOURCE_DIR) / "host" / "report" / name, std::ios::binary);
    std::ostringstream bytes;
    bytes << file.rdbuf();
    return bytes.str();
  };
  EXPECT_EQ(assets.page, text("page.html"));
  EXPECT_EQ(assets.style, text("page.css"));
  EXPECT_EQ(assets.script, text("page.js") + text("plots.js"));
  // The script stands in the page as it is.
  EXPECT_EQ(assets.script.find("</script"), std::string_view::npos);
  EXPECT_EQ(assets.script.find("<!--"), std::string_view::npos);
}

RunLatents small_latents(const std::vector<std::string>& label_names, std::int32_t n_times) {
  RunLatents latents;
  latents.n_times = n_times, latents.n_latents = 2, latents.n_features = static_cast<std::int32_t>(label_names.size());
  latents.label_names = label_names;
  for (std::int32_t time = 0; time < n_times; ++time) {
    latents.time_s.push_back(0.025 * time);
    latents.segment.push_back(0);
    latents.split.push_back(time % 3 == 2 ? 2 : 0);
    const float a = static_cast<float>(std::sin(0.7 * time)), b = static_cast<float>(std::cos(1.3 * time + 0.2));
    latents.encoder_mean.insert(latents.encoder_mean.end(), {a, b});
    latents.posterior_mean.insert(latents.posterior_mean.end(), {2 * a - b + 3, 0.5f * b + a});
    for (std::int32_t feature = 0; feature < latents.n_features; ++feature)
      latents.labels.push_back(feature == 0 ? static_cast<float>(time) : (time + feature) % 2 ? 1.0f : 0.0f);
  }
  return latents;
}

TEST(ReportView, RightIsCoolAndLeftIsViridisInEitherOrder) {
  for (const bool right_first : {true, false}) {
    const auto view = make_run_view(small_latents(right_first ? std::vector<std::string>{"position", "direction=right", "direction=left"}
                                                              : std::vector<std::string>{"position", "direction=left", "direction=right"},
                                                  30),
                                    {});
    const std::size_t right = right_first ? 0 : 1;
    ASSERT_EQ(view.colouring.groups.size(), 2u);
    EXPECT_EQ(view.colouring.groups[right].name, "right");
    EXPECT_EQ(view.colouring.colour(right, view.colouring.low), 0x00ffffu);
    EXPECT_EQ(view.colouring.colour(right, view.colouring.high), 0xff00ffu);
    EXPECT_EQ(view.colouring.colour(1 - right, view.colouring.low), 0x440154u);
    EXPECT_EQ(view.colouring.colour(1 - right, view.colouring.high), 0xfde725u);
    EXPECT_EQ(view.colouring.colour(right, (view.colouring.low + view.colouring.high) / 2), 0x8080ffu);
  }
}

TEST(ReportView, CategoriesGetPlainColoursAndAnglesAClosedColourMap) {
  const auto categories = make_run_view(small_latents({"odour=a", "odour=b", "odour=c"}, 30), {});
  ASSERT_EQ(categories.colouring.groups.size(), 3u);
  for (const auto& group : categories.colouring.groups) EXPECT_EQ(group.stops.size(), 1u);
  const auto angle = make_run_view(small_latents({"heading.sin", "heading.cos"}, 30), {});
  EXPECT_EQ(angle.colouring.value_name, "heading");
  EXPECT_NEAR(angle.colouring.high, 2 * std::numbers::pi, 1e-12);
  EXPECT_EQ(angle.colouring.colour(0, 0), angle.colouring.colour(0, angle.colouring.high));
  const auto degrees = make_run_view(small_latents({"heading.sin", "heading.cos"}, 30), {{"heading", {"deg", 360}}});
  EXPECT_EQ(degrees.colouring.high, 360);
  EXPECT_EQ(degrees.colouring.unit, "deg");
}

TEST(ReportView, TheLabelThatIsDecodedGivesTheColours) {
  const auto latents = small_latents({"depth", "speed", "heading.sin", "heading.cos"}, 30);
  EXPECT_EQ(make_run_view(latents, {}).colouring.value_name, "depth");
  EXPECT_EQ(make_run_view(latents, {}, "speed").colouring.value_name, "speed");
  EXPECT_EQ(make_run_view(latents, {}, "heading").colouring.value_name, "heading");
}

TEST(ReportView, TheDecodedTrackBreaksWhereTimeDoes) {
  RunLatents latents = small_latents({"position"}, 12);
  for (std::size_t time = 0; time < 12; ++time)
    latents.split[time] = time < 4 || (time >= 6 && time < 10) ? 2 : 0, latents.decoded_position.push_back(1.0f);
  latents.segment = {0, 0, 0, 0, 0, 0, 0, 0, 1, 1, 1, 1};
  const ViewTrack track = make_run_view(latents, {}).track;
  EXPECT_EQ(track.n_of, 8);
  std::vector<std::size_t> breaks;
  for (std::size_t i = 0; i < track.decoded_position.size(); ++i)
    if (std::isnan(track.decoded_position[i])) breaks.push_back(i);
  EXPECT_EQ(breaks, (std::vector<std::size_t>{4, 7}));  // an unused stretch, then a new segment
  EXPECT_NEAR(track.joined_s.back(), 7 * 0.025, 1e-6);
}

TEST(ReportView, ThinningKeepsAtMostTheAskedNumberEvenly) {
  EXPECT_EQ(evenly_thinned(3, 10), (std::vector<std::size_t>{0, 1, 2}));
  EXPECT_EQ(evenly_thinned(10, 4), (std::vector<std::size_t>{0, 2, 5, 7}));
  EXPECT_TRUE(evenly_thinned(0, 4).empty());
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
