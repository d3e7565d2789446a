#include <gtest/gtest.h>

#include <string>
#include <vector>

#include "host/report/loss_parts.h"
#include "host/report/results.h"
#include "host/report/view.h"
#include "tests/host/report/report_page.h"

namespace idem {
namespace {

TEST_F(Report, ModelsWhoseLatentsDependOnTheLabelsAreNamedInTheAnswer) {
  fixture.write(directory);
  auto metrics = fixture.metrics;
  for (auto& run : metrics["runs"])
    if (run["model"] == "ivae") run["agreement"] = 0.02;
  ReportFixture::write_text(directory / "metrics.json", metrics.dump());
  const std::string answer = without_tags(between(page(), "<section id=\"answer\">", "</p>"));
  EXPECT_NE(answer.find("label-free and with-label latents agree"), std::string::npos) << answer;
  EXPECT_NE(answer.find("Label-free and with-label latents do not agree in ivae (0.02)"), std::string::npos) << answer;
  EXPECT_NE(answer.find("Two seeds of the best find the same label-free latents (R² 0.92\u00a0±\u00a00.01)"),
            std::string::npos)
      << answer;
  EXPECT_EQ(answer.find("lowest loss"), std::string::npos) << answer;
}

TEST_F(Report, SeedsThatEndedInPoorerSolutionsAreSaidToBeWhyTheyDiffer) {
  fixture.write(directory);
  auto metrics = fixture.metrics;
  for (auto& entry : metrics["consistency"]["runs"])
    for (auto& split : entry["splits"]) split.update({{"encoder", 0.6}, {"encoder_lowest_loss", 0.95}});
  ReportFixture::write_text(directory / "metrics.json", metrics.dump());
  const std::string answer = without_tags(between(page(), "<section id=\"answer\">", "</p>"));
  EXPECT_NE(answer.find("only partly the same label-free latents (R² 0.60\u00a0±\u00a00.00). The half of the seeds "
                        "with the lowest loss agree better "
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
  EXPECT_GT(answer.find("encoder-elbo has no label-free latents: the encoder is given the labels"),
            answer.find("Its label-free and with-label"))
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
  EXPECT_NE(without_tags(page()).find(
                "no run has a label-free decoding score, so no model can be called best. encoder-elbo and ivae have no "
                "label-free latents"),
            std::string::npos);
}

TEST_F(Report, AModelThatSeesNoLabelHasNoNumberThatLooksLikeLabels) {
  fixture.write(directory);
  auto metrics = fixture.metrics;
  for (auto& run : metrics["runs"]) {
    if (run["model"] == "encoder-elbo") run["sees_labels"] = false;
    for (const char* latents : {"encoder", "posterior"})
      run["identifiability"][latents]["true_latent"]["affine_r2"] = 0.75;
    run["collapse"]["test"]["label_swap_reliance"] = 0.5;
  }
  ReportFixture::write_text(directory / "metrics.json", metrics.dump());
  const std::string html = page();
  EXPECT_EQ(markup_fault(html), "");
  const auto same = cells_of_row(between(html, "<table class=\"same\">", "</table>"), "encoder-elbo");
  ASSERT_EQ(same.size(), 4u);
  for (std::size_t cell = 0; cell < 4; ++cell)
    EXPECT_EQ(same[cell] == "–", cell != 2) << cell;  // agreement, label weight; seeds: label-free, with labels
  const auto scores = cells_of_row(between(html, "<table class=\"scores\">", "</table>"), "encoder-elbo");
  ASSERT_EQ(scores.size(), 12u);
  for (std::size_t cell = 0; cell < 12; ++cell) EXPECT_EQ(scores[cell] == "–", cell >= 6) << cell;
  const std::string answer = without_tags(between(html, "<section id=\"answer\">", "</section>"));
  EXPECT_EQ(answer.find("Its label-free and with-label latents"), std::string::npos) << answer;
  EXPECT_EQ(answer.find("Given the true labels"), std::string::npos) << answer;
  EXPECT_NE(answer.find("encoder-elbo sees no label, so it has no latents with labels."), std::string::npos) << answer;
  EXPECT_NE(between(html, "<section id=\"numbers\">", "</section>")
                .find("encoder-elbo sees no label, so it has no latents with labels."),
            std::string::npos);
  const std::string collapse = between(html, "<section id=\"collapse\">", "</section>");
  EXPECT_EQ(between(collapse, "<h3>Label weight</h3>", "<h3>").find("encoder-elbo"), std::string::npos);
  EXPECT_NE(between(collapse, "<h3>KL to the label prior, label-free</h3>", "<h3>").find("encoder-elbo"),
            std::string::npos);
  EXPECT_EQ(between(collapse, "<h3>KL to the label prior, with labels</h3>", "<table").find("encoder-elbo"),
            std::string::npos);
  EXPECT_EQ(cells_of_row(collapse, "label swap reliance"), (std::vector<std::string>{"–", "0.500\u00a0±\u00a00.000"}));
  EXPECT_NE(collapse.find("Of encoder-elbo, which sees no label, the KL divergence is to a prior of no label"),
            std::string::npos)
      << collapse;
  EXPECT_EQ(cells_of_row(between(html, "<section id=\"identifiability\">", "</section>"), "label-free").size(), 2u);
  EXPECT_NE(html.find("with labels, true latent, affine R²: <b>leaks test labels</b></th><td class=\"leak\">–</td>"),
            std::string::npos);

  const StudyResult study = read_study(directory);
  ASSERT_FALSE(study.runs.front().sees_labels);
  const RunView view = make_run_view(read_run_latents(study, study.runs.front()), {});
  EXPECT_TRUE(view.has_encoder && !view.has_posterior);
  for (const LossPanel& panel : loss_panels({&study.runs.front()})) {
    EXPECT_EQ(panel.title.find("label"), std::string::npos) << panel.title;
    for (const auto& part : panel.parts) EXPECT_EQ(part.name.find("label"), std::string::npos) << part.name;
  }
}

TEST_F(Report, AnimalsAreTabledWithLatentsWithLabelsWhereThereAreSuch) {
  fixture.write(directory);
  auto metrics = fixture.metrics;
  for (const auto& [from, to, score] : {std::tuple{"buddy", "achilles", 0.5}, std::tuple{"achilles", "buddy", 0.25}})
    metrics["consistency"]["animals"].push_back(
        {{"from", from},
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
  EXPECT_EQ(row(), (std::vector<std::string>{"0.50", "0.25", "0.38\u00a0±\u00a00.18", "\u22121.50\u00a0±\u00a00.00",
                                             "40.2\u00a0±\u00a00.0"}));
}

TEST_F(Report, WhetherItIsTheSameLatentIsTabledForEveryModel) {
  fixture.write(directory);
  std::string table = between(page(), "<table class=\"same\">", "</table>");
  EXPECT_EQ(cells_of_row(table, "encoder-elbo"),
            (std::vector<std::string>{"0.94\u00a0±\u00a00.01", "0.21\u00a0±\u00a00.01", "0.92\u00a0±\u00a00.01",
                                      "0.95\u00a0±\u00a00.03"}));
  EXPECT_EQ(cells_of_row(table, "ivae"), (std::vector<std::string>{"0.64\u00a0±\u00a00.01", "0.41\u00a0±\u00a00.01",
                                                                   "0.67\u00a0±\u00a00.01", "0.85\u00a0±\u00a00.03"}));
  auto metrics = fixture.metrics;
  metrics.erase("consistency");
  for (auto& run : metrics["runs"]) run["collapse"].erase("test");
  ReportFixture::write_text(directory / "metrics.json", metrics.dump());
  const std::string html = page();
  table = between(html, "<table class=\"same\">", "</table>");
  EXPECT_EQ(cells_of_row(table, "encoder-elbo"),
            (std::vector<std::string>{"0.94\u00a0±\u00a00.01", "0.51\u00a0±\u00a00.01"}));
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

TEST_F(Report, MeasuresMayBeGroupedBySplitOrTarget) {
  fixture.write(directory);
  const std::string by_metric = page();
  auto metrics = fixture.metrics;
  for (auto& baseline : metrics["baselines"]) {
    const Json error = baseline["chance"]["position_error_cm"];
    baseline["chance"] = {{"valid", {{"position_error_cm", error["valid"]}}},
                          {"test", {{"position_error_cm", error["test"]}}}};
  }
  ReportFixture::write_text(directory / "metrics.json", metrics.dump());
  EXPECT_EQ(page(), by_metric);
  metrics["runs"][0]["identifiability"] = {
      {"encoder", {{"true_latent", {{"affine_r2", 0.8125}, {"strong_mcc", 0.75}}}}},
      {"posterior", {{"true_latent", {{"affine_r2", 0.9375}}}}}};
  ReportFixture::write_text(directory / "metrics.json", metrics.dump());
  const std::string section = between(page(), "<section id=\"identifiability\">", "</section>");
  EXPECT_EQ(cells_of_row(section, "label-free, true latent, affine R²").front(), "0.812");
  EXPECT_EQ(cells_of_row(section, "label-free, true latent, strong MCC").front(), "0.750");
  // With-label latents have seen what they are asked for.
  EXPECT_NE(section.find("<tr class=\"leak\"><th class=\"name leak\">with labels, true latent, affine R²: <b>leaks "
                         "test labels</b></th>"
                         "<td class=\"leak\">0.938</td>"),
            std::string::npos)
      << section;
}

}  // namespace
}  // namespace idem
