#include "host/report/sections.h"

#include <fmt/format.h>

#include <algorithm>
#include <filesystem>

#include "host/report/numbers_format.h"
#include "host/support/utf8.h"

namespace idem {
namespace {

// A page is passed on without the paths of the machine it was made on.
Json without_folders(Json config) {
  if (config.is_structured())
    for (auto& value : config) value = without_folders(value);
  else if (config.is_string() && config.get<std::string>().starts_with('/'))
    config = std::filesystem::path(config.get<std::string>()).filename().string();
  return config;
}

}  // namespace

std::string configuration_section(const StudyResult& study) {
  const auto path = study.directory.lexically_normal();
  const std::string folder = text_of_path(path.has_filename() ? path.filename() : path.parent_path().filename());
  return fmt::format(
      "<p>Run the same again, from inside <code>{}</code>; the same seed and device give the same models and latents, "
      "byte for byte:</p>\n"
      "<pre class=\"command\">idem run config.json --out ../again</pre>\n<p>Change one thing with <code>--set "
      "key=value</code>; finish an "
      "interrupted study with "
      "<code>--resume</code>; write this page anew with <code>idem report</code>.</p>\n"
      "<details><summary>config.json, as used (of files the names alone)</summary><pre>{}</pre></details>\n",
      escape_html(folder),
      escape_html(without_folders(study.config).dump(2, ' ', false, Json::error_handler_t::replace)));
}

std::string sources_list(const StudyResult& study) {
  std::string text;
  const auto add = [&](const std::string& source) { text += "<li>" + source + "</li>\n"; };
  for (const auto& [family, runs] : families_of(study))
    for (const auto& source : family->sources(runs, study.config)) add(source);
  add("Scores, splits and kNN protocol: Schneider, Lee, Mathis. Learnable latent embeddings for joint behavioural and "
      "neural "
      "analysis. Nature 617, 360–368 (2023). doi 10.1038/s41586-023-06031-6");
  add("Rat hippocampus recordings of that protocol: Grosmark, Buzsáki. Diversity in neural firing dynamics supports "
      "both rigid and learned "
      "hippocampal sequences. Science 351, 1440–1443 (2016). doi 10.1126/science.aad1935");
  if (std::ranges::any_of(study.runs, [](const RunResult& run) { return run.collapse.is_object(); }))
    add("Active units: Burda, Grosse, Salakhutdinov. Importance weighted autoencoders. ICLR 2016. arXiv 1509.00519");
  add("Colour maps cool, viridis and twilight: matplotlib. Plots: Plotly (MIT licence), gnuplot.");
  return text;
}

}  // namespace idem
