#include "host/report/loss_parts.h"

#include <algorithm>
#include <cmath>
#include <limits>
#include <set>

namespace idem {
namespace {

// Okabe and Ito's blue and vermilion, told apart with any colour vision; grey for what has no counterpart.
constexpr Rgb encoder_colour = 0x0072b2, posterior_colour = 0xd55e00, single_colour = 0x555555;

}  // namespace

double loss_part(const std::map<std::string, double>& parts, const std::string& key) {
  const auto found = parts.find(key);
  return found == parts.end() ? std::numeric_limits<double>::quiet_NaN() : found->second;
}

bool is_loss_per_window(const RunResult& run) { return run.target == "window-sum"; }

std::vector<LossPanel> loss_panels(const std::vector<const RunResult*>& runs) {
  // A part that never changes (alpha of an objective that fixes it, a skew of 0) is left out.
  std::map<std::string, double> first;
  std::set<std::string> keys{"loss"};
  for (const RunResult* run : runs)
    for (const LoggedEpoch& record : run->epochs)
      for (const auto* parts : {&record.train, &record.valid})
        for (const auto& [key, value] : *parts)
          if (std::isfinite(value) && first.emplace(key, value).first->second != value) keys.insert(key);

  const std::string unit = !runs.empty() && is_loss_per_window(*runs.front()) ? "window" : "bin";
  // Of a model without labels the second of each pair knows none either.
  const bool labels = runs.empty() || runs.front()->sees_labels;
  const char *encoder = labels ? "label-free" : "encoder", *posterior = labels ? "with labels" : "encoder times prior";
  const bool is_info_nce = !runs.empty() && runs.front()->counts_steps;
  std::vector<LossPanel> panels;
  const std::vector<LossPanel> known{
      {is_info_nce ? "InfoNCE (nats)" : "loss (per " + unit + ")", {{"loss", "loss", single_colour}}},
      {"its parts (nats)", {{"alignment", "alignment", encoder_colour}, {"uniformity", "uniformity", posterior_colour}}},
      {"parts by behaviour (nats)",
       {{"behaviour_alignment", "alignment", encoder_colour}, {"behaviour_uniformity", "uniformity", posterior_colour}}},
      {"reconstruction (per " + unit + ")",
       {{"reconstruction_encoder", encoder, encoder_colour}, {"reconstruction_posterior", posterior, posterior_colour}}},
      {labels ? "KL to the label prior (nats)" : "KL to the prior (nats)",
       {{"kl_encoder", encoder, encoder_colour}, {"kl_posterior", posterior, posterior_colour}}},
      {"skew term, as in the loss", {{"skew", "skew", single_colour}}},
      {"alpha", {{"alpha", "alpha", single_colour}}},
      // alpha = 1 is the label-free bound alone, 0 the with-label one.
      {"share of alpha 1 (blue), 0 (orange)",
       {{"alpha_one_fraction", "alpha = 1", encoder_colour}, {"alpha_zero_fraction", "alpha = 0", posterior_colour}}},
  };
  for (LossPanel panel : known) {
    std::erase_if(panel.parts, [&](const LossPanel::Part& part) { return keys.erase(part.key) == 0; });
    if (!panel.parts.empty()) panels.push_back(std::move(panel));
  }
  for (const auto& key : keys) panels.push_back({key, {{key, key, single_colour}}});

  for (LossPanel& panel : panels) {
    double low = std::numeric_limits<double>::infinity(), high = -low;
    for (const RunResult* run : runs) {
      // The first steps fall from values that would flatten all the rest.
      const std::size_t skipped = run->epochs.size() > 4 ? 1 + run->epochs.size() / 50 : 0;
      for (std::size_t i = skipped; i < run->epochs.size(); ++i)
        for (const auto* parts : {&run->epochs[i].train, &run->epochs[i].valid})
          for (const auto& part : panel.parts)
            if (const double value = loss_part(*parts, part.key); std::isfinite(value)) low = std::min(low, value), high = std::max(high, value);
    }
    if (low <= high) panel.low = low, panel.high = high, panel.logarithmic = low > 0 && high > 1000 * low;
  }
  return panels;
}

}  // namespace idem
