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

// A preset of pi-VAE or its flow in some model; `models` say what differs from `model`.
bool some_model_is_pi_vae(const Json& config) {
  static const Json nothing;
  const auto section_of = [&](const char* key) -> const Json& { return config.contains(key) ? config[key] : nothing; };
  const Json &base = section_of("model"), &models = section_of("models");
  const auto is_pi_vae = [&](const Json& model) {
    const auto text_at = [&](const char* path) {
      const Json::json_pointer at(path);
      const Json& from = model.contains(at) ? model : base;
      return from.contains(at) && from.at(at).is_string() ? from.at(at).get<std::string>() : std::string();
    };
    return text_at("/preset").find("pi-vae") != std::string::npos || text_at("/decoder/kind") == "gin";
  };
  return models.empty() ? is_pi_vae(base) : std::any_of(models.begin(), models.end(), is_pi_vae);
}

}  // namespace

std::string configuration_section(const StudyResult& study) {
  const auto path = study.directory.lexically_normal();
  const std::string folder = text_of_path(path.has_filename() ? path.filename() : path.parent_path().filename());
  return fmt::format(
      "<p>Run the same again, from inside <code>{}</code>; the same seed and device give the same models and latents, byte for byte:</p>\n"
      "<pre class=\"command\">idem run config.json --out ../again</pre>\n<p>Change one thing with <code>--set key=value</code>; finish an "
      "interrupted study with "
      "<code>--resume</code>; write this page anew with <code>idem report</code>.</p>\n"
      "<details><summary>config.json, as used (of files the names alone)</summary><pre>{}</pre></details>\n",
      escape_html(folder), escape_html(without_folders(study.config).dump(2, ' ', false, Json::error_handler_t::replace)));
}

std::string sources_list(const StudyResult& study) {
  const auto some = [&](auto is) { return std::any_of(study.runs.begin(), study.runs.end(), is); };
  const auto is_cebra = [](const RunResult& run) { return run.counts_steps; };
  const auto is_vae = [&](const RunResult& run) { return !is_cebra(run) && !is_gcl(run); };
  std::string text;
  const auto add = [&](const std::string& source) { text += "<li>" + source + "</li>\n"; };
  if (some([&](const RunResult& run) { return is_vae(run) && !run.sees_labels; }))
    add("VAE: Kingma, Welling. Auto-encoding variational Bayes. ICLR 2014. arXiv 1312.6114");
  if (some([&](const RunResult& run) { return is_vae(run) && run.sees_labels; }))
    add("iVAE: Khemakhem, Kingma, Monti, Hyvärinen. Variational autoencoders and nonlinear ICA: a unifying framework. AISTATS 2020. "
        "arXiv 1907.04809");
  if (some([&](const RunResult& run) { return is_vae(run) && run.sees_labels && run.objective != "ivae"; }))
    add("CI-iVAE: Kim, Liu, Wei. Covariate-informed representation learning to prevent posterior collapse of iVAE. AISTATS 2023. arXiv 2202.04206");
  if (some(is_vae) && some_model_is_pi_vae(study.config))
    add("pi-VAE: Zhou, Wei. Learning identifiable and interpretable latent models of high-dimensional neural activity using pi-VAE. NeurIPS 2020. "
        "arXiv 2011.04798");
  if (some(is_gcl))
    add("Generalized contrastive learning: Hyvärinen, Sasaki, Turner. Nonlinear ICA using auxiliary variables and generalized contrastive learning. "
        "AISTATS 2019. arXiv 1805.08651");
  if (some(is_cebra))
    add("InfoNCE: van den Oord, Li, Vinyals. Representation learning with contrastive predictive coding. 2018. arXiv 1807.03748");
  add(fmt::format("{}cores, splits and kNN protocol: Schneider, Lee, Mathis. Learnable latent embeddings for joint behavioural and neural analysis. "
                  "Nature 617, 360–368 (2023). doi 10.1038/s41586-023-06031-6{}",
                  some(is_cebra) ? "CEBRA, s" : "S",
                  some(is_cebra) ? ". CEBRA's authors have filed a patent application, WO2023143843A1: judge for yourself whether that concerns you"
                                 : ""));
  add("Rat hippocampus recordings of that protocol: Grosmark, Buzsáki. Diversity in neural firing dynamics supports both rigid and learned "
      "hippocampal sequences. Science 351, 1440–1443 (2016). doi 10.1126/science.aad1935");
  if (some([](const RunResult& run) { return run.collapse.is_object(); }))
    add("Active units: Burda, Grosse, Salakhutdinov. Importance weighted autoencoders. ICLR 2016. arXiv 1509.00519");
  add("Colour maps cool, viridis and twilight: matplotlib. Plots: Plotly (MIT licence), gnuplot.");
  return text;
}

}  // namespace idem
