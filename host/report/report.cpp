#include "host/report/report.h"

#include <fmt/format.h>

#include <algorithm>
#include <cstdio>
#include <map>
#include <vector>

#include "host/report/answer.h"
#include "host/report/figures.h"
#include "host/report/latent_tables.h"
#include "host/support/files.h"
#include "host/support/output.h"
#include "host/report/loss_parts.h"
#include "host/report/numbers_format.h"
#include "host/report/page.h"
#include "host/report/payload.h"
#include "host/report/profile_page.h"
#include "host/report/results.h"
#include "host/report/score_tables.h"
#include "host/report/sections.h"
#include "host/report/training.h"
#include "host/report/view.h"

namespace idem {
namespace {

std::string loss_units(const StudyResult& study) {
  std::string text;
  for (const auto& [family, runs] : families_of(study))
    text += fmt::format("<p class=\"note\">{}</p>\n", family->loss_note(runs));
  return text;
}

// A figure within the page: SVG or PNG, whichever is smaller.
std::string inline_figure(const std::filesystem::path& folder, const Figure& figure) {
  const std::string svg = read_file_bytes(folder / (figure.name + ".svg")),
                    png = read_file_bytes(folder / (figure.name + ".png"));
  const bool use_svg = !svg.empty() && (png.empty() || svg.size() <= png.size());
  return fmt::format(
      "<figure><img alt=\"{0}\" width=\"{3}\" height=\"{4}\" "
      "src=\"data:image/{1};base64,{2}\"><figcaption>{0}</figcaption></figure>\n",
      escape_html(figure.caption), use_svg ? "svg+xml" : "png", base64(use_svg ? svg : png), figure.width,
      figure.height);
}

std::string inline_figures(const std::filesystem::path& folder, const std::vector<Figure>& figures,
                           std::initializer_list<Figure::Kind> kinds) {
  std::string text;
  for (const Figure& figure : figures)
    for (const Figure::Kind kind : kinds)
      if (figure.kind == kind && figure.first_split) text += inline_figure(folder, figure);
  return text.empty()
             ? "<p class=\"note\">No figure: this program was built without Plotly's script and found no gnuplot.</p>\n"
             : text;
}

std::string plural(std::size_t n, const char* noun) { return fmt::format("{} {}{}", n, noun, n == 1 ? "" : "s"); }

std::string page_text(const StudyResult& study, const std::vector<RunView>& views, const std::vector<Figure>& figures,
                      const ReportAssets& assets) {
  std::vector<std::string> subjects, models;
  const auto add_new = [](std::vector<std::string>& list, const std::string& item) {
    for (const auto& known : list)
      if (known == item) return;
    list.push_back(item);
  };
  bool tracks = false, epochs = false;
  for (std::size_t i = 0; i < study.runs.size(); ++i) {
    add_new(subjects, study.runs[i].subject);
    add_new(models, study.runs[i].model);
    tracks = tracks || !views[i].track.time_s.empty();
    epochs = epochs || !study.runs[i].epochs.empty();
  }
  const std::string title = !study.runs.empty()
                                ? (subjects.size() == 1 ? subjects[0] : plural(subjects.size(), "subject"))
                            : study.failed.empty() ? "No finished run"
                                                   : "Every run failed";
  const std::string name = study.config.contains("name") && study.config["name"].is_string()
                               ? study.config["name"].get<std::string>()
                               : std::string();
  const std::string extent =
      study.runs.empty() ? "" : fmt::format("{}, {}", plural(models.size(), "model"), plural(study.runs.size(), "run"));

  const bool interactive = !assets.plotly.empty() && !study.runs.empty();
  const auto folder = study.directory / "figures";
  std::string chooser, latents, loss, decoding, scripts;
  if (study.runs.empty()) {
    // Nothing to draw.
  } else if (interactive) {
    const auto per_split = interactive_points_per_split(study.runs.size());
    chooser =
        "<div id=\"chooser\" class=\"chooser\" hidden></div>\n<noscript><p class=\"warn\">The plots need JavaScript; "
        "still ones are in the folder "
        "figures/.</p></noscript>\n"
        "<p id=\"script-fault\" class=\"warn\" hidden></p>\n";
    latents = fmt::format(
        "<p>Every dot is one time bin, its place the latent mean, its colour the label. Of long splits {} evenly "
        "spaced bins are drawn.</p>\n"
        "<div id=\"latents-key\" class=\"key\"></div>\n<div id=\"latents-plot\" class=\"plot\"></div>\n"
        "<h3>Every seed and split <small>(test bins, latents 1 and 2; choose one to see it above)</small></h3>\n<div "
        "id=\"seeds\" "
        "class=\"seeds\"></div>\n",
        per_split);
    loss = epochs ? "<div class=\"key\" id=\"loss-key\"></div>\n<div id=\"loss-plot\" class=\"plot\"></div>\n" +
                        loss_units(study)
                  : "<p>The log holds no epochs.</p>\n";
    decoding = tracks ? "<div id=\"decoding-plot\" class=\"plot\"></div>\n<p class=\"note\">Decoded from label-free "
                        "latents. Test stretches are "
                        "joined, gaps cut out.</p>\n"
                      : "<p>No position was decoded; what was is under Honest numbers.</p>\n";
    scripts = fmt::format(
        "<script type=\"text/plain\" id=\"payload\">{}</script>\n<script type=\"text/plain\" "
        "id=\"plotly\">{}</script>\n<script>{}</script>\n",
        base64(gzip(make_report_payload(study, views))), base64(gzip(assets.plotly)), assets.script);
  } else {
    chooser =
        "<p class=\"note\">This program was built without Plotly's script, so the figures stand still: of each model "
        "the first seed of the first "
        "split; "
        "the others are in the folder figures/.</p>\n";
    latents = inline_figures(folder, figures, {Figure::Kind::latents, Figure::Kind::seeds});
    loss = epochs ? inline_figures(folder, figures, {Figure::Kind::loss}) + loss_units(study)
                  : "<p>The log holds no epochs.</p>\n";
    decoding = tracks ? inline_figures(folder, figures, {Figure::Kind::decoding})
                      : "<p>No position was decoded; what was is under Honest numbers.</p>\n";
  }

  std::string body = page_section("answer", "Answer", answer_section(study));
  if (!study.runs.empty()) {
    body += page_section("numbers", "Honest numbers", numbers_section(study));
    body += page_section("training", "Training", training_section(study));
    // One element around what the chooser steers, so that it stays in sight there and nowhere else.
    body += "<div class=\"explorer\">\n" + chooser;
    body += page_section("latents", "Latents", latents);
    body += page_section("loss", "Loss parts while training", loss);
    body +=
        page_section("decoding", fmt::format("Decoded and measured {}", escape_html(study.labels.position)), decoding);
    body += "</div>\n";
    body += page_section("collapse", "Collapse", collapse_section(study));
    body += page_section("identifiability", "Identifiability", identifiability_section(study));
  }
  if (study.profile) body += page_section("profile", "Where the time went", profile_section(*study.profile));
  body += page_section("configuration", "Configuration", configuration_section(study));
  std::string facts;
  for (const std::string& fact :
       {extent, study.device, study.version.empty() ? std::string() : "idem " + study.version})
    if (!fact.empty()) facts += (facts.empty() ? "" : " · ") + fact;
  return page_of({.title = name.empty() ? title : name + ": " + title,
                  .facts = facts,
                  .body = body,
                  .sources = sources_list(study),
                  .scripts = scripts},
                 assets);
}

}  // namespace

std::string write_report(const std::filesystem::path& run_directory, const ReportAssets& assets,
                         const std::string& gnuplot_program) {
  const StudyResult study = read_study(run_directory);
  std::vector<RunView> views;
  // One recording's latents at a time: a study may hold many.
  for (const RunResult& run : study.runs) {
    const auto facts = study.label_facts.find(run.subject);
    views.push_back(make_run_view(read_run_latents(study, run),
                                  facts == study.label_facts.end() ? LabelFactsByName{} : facts->second,
                                  study.labels.position));
  }
  std::string warning;
  const auto figures = write_figures(study, views, gnuplot_program, warning);
  write_file_bytes(run_directory / "report.html", page_text(study, views, figures, assets));
  return study.log_fault + (study.log_fault.empty() || warning.empty() ? "" : "; ") + warning;
}

void write_report(const std::filesystem::path& run_directory) {
  const std::string warning = write_report(run_directory, built_in_report_assets(), "gnuplot");
  if (!warning.empty()) say(stderr, "warning: " + warning + "\n");
}

}  // namespace idem
