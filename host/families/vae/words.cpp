#include "host/families/vae/words.h"

#include <algorithm>

#include <fmt/format.h>

namespace idem {
namespace {

using nlohmann::ordered_json;

bool is_loss_per_window(const ReportedRun& run) { return run.target == "window-sum"; }

// A preset of pi-VAE or its flow in some model; `models` say what differs from `model`.
bool some_model_is_pi_vae(const ordered_json& config) {
  static const ordered_json nothing;
  const auto section_of = [&](const char* key) -> const ordered_json& {
    return config.contains(key) ? config[key] : nothing;
  };
  const ordered_json &base = section_of("model"), &models = section_of("models");
  const auto is_pi_vae = [&](const ordered_json& model) {
    const auto text_at = [&](const char* path) {
      const ordered_json::json_pointer at(path);
      const ordered_json& from = model.contains(at) ? model : base;
      return from.contains(at) && from.at(at).is_string() ? from.at(at).get<std::string>() : std::string();
    };
    return text_at("/preset").find("pi-vae") != std::string::npos || text_at("/decoder/kind") == "gin";
  };
  return models.empty() ? is_pi_vae(base) : std::any_of(models.begin(), models.end(), is_pi_vae);
}

}  // namespace

NamedParts named_parts(const LossParts& parts) {
  return {{"loss", parts.loss},
          {"reconstruction_encoder", parts.reconstruction_encoder},
          {"reconstruction_posterior", parts.reconstruction_posterior},
          {"kl_encoder", parts.kl_encoder},
          {"kl_posterior", parts.kl_posterior},
          {"skew", parts.skew},
          {"alpha", parts.alpha},
          {"alpha_zero_fraction", parts.alpha_zero_fraction},
          {"alpha_one_fraction", parts.alpha_one_fraction}};
}

std::vector<ShownParts> vae_shown_parts() {
  return {{"recon", {"reconstruction_encoder", "reconstruction_posterior"}}, {"KL", {"kl_encoder", "kl_posterior"}}};
}

std::vector<LossPanelWords> vae_loss_panels(const ReportedRun& run) {
  using enum LossPanelWords::Role;
  const std::string unit = is_loss_per_window(run) ? "window" : "bin";
  // Of a model without labels the second of each pair knows none either.
  const char* encoder = run.sees_labels ? "label-free" : "encoder";
  const char* posterior = run.sees_labels ? "with labels" : "encoder times prior";
  return {{"loss (per " + unit + ")", {{"loss", "loss", single}}},
          {"reconstruction (per " + unit + ")",
           {{"reconstruction_encoder", encoder, label_free}, {"reconstruction_posterior", posterior, with_labels}}},
          {run.sees_labels ? "KL to the label prior (nats)" : "KL to the prior (nats)",
           {{"kl_encoder", encoder, label_free}, {"kl_posterior", posterior, with_labels}}},
          {"skew term, as in the loss", {{"skew", "skew", single}}},
          {"alpha", {{"alpha", "alpha", single}}},
          // alpha = 1 is the label-free bound alone, 0 the with-label one.
          {"share of alpha 1 (blue), 0 (orange)",
           {{"alpha_one_fraction", "alpha = 1", label_free}, {"alpha_zero_fraction", "alpha = 0", with_labels}}}};
}

std::string vae_loss_note(const std::vector<ReportedRun>& runs) {
  const bool of_windows = std::ranges::any_of(runs, is_loss_per_window);
  return fmt::format(
      "Means over bins{}. Reconstruction: nats, summed over neurons (of a model with a mean over neurons: per neuron; "
      "of "
      "a squared error: squared units of its target). KL: nats, summed over latents. Loss: reconstruction, weighted KL "
      "and skew together.{}",
      of_windows ? ", each with its window" : "",
      of_windows
          ? " Where the target is the sum over the window these are nats per window, not per bin: the windows of "
            "neighbouring bins overlap: a spike is scored once for every window that holds it, against one KL "
            "each."
          : "");
}

std::vector<std::string> vae_sources(const std::vector<ReportedRun>& runs, const ordered_json& config) {
  std::vector<std::string> list;
  const auto some = [&](auto is) { return std::ranges::any_of(runs, is); };
  if (some([](const ReportedRun& run) { return !run.sees_labels; }))
    list.push_back("VAE: Kingma, Welling. Auto-encoding variational Bayes. ICLR 2014. arXiv 1312.6114");
  if (some([](const ReportedRun& run) { return run.sees_labels; }))
    list.push_back(
        "iVAE: Khemakhem, Kingma, Monti, Hyvärinen. Variational autoencoders and nonlinear ICA: a unifying "
        "framework. AISTATS 2020. arXiv 1907.04809");
  if (some([](const ReportedRun& run) { return run.sees_labels && run.objective != "ivae"; }))
    list.push_back(
        "CI-iVAE: Kim, Liu, Wei. Covariate-informed representation learning to prevent posterior collapse of "
        "iVAE. AISTATS 2023. arXiv 2202.04206");
  if (some_model_is_pi_vae(config))
    list.push_back(
        "pi-VAE: Zhou, Wei. Learning identifiable and interpretable latent models of high-dimensional neural "
        "activity using pi-VAE. NeurIPS 2020. arXiv 2011.04798");
  return list;
}

}  // namespace idem
