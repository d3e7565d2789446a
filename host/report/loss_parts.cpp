#include "host/report/loss_parts.h"

#include <algorithm>
#include <cmath>
#include <limits>
#include <set>

namespace idem {
namespace {

// Okabe and Ito's blue and vermilion, told apart with any colour vision; grey for what has no counterpart.
constexpr Rgb encoder_colour = 0x0072b2, posterior_colour = 0xd55e00, single_colour = 0x555555;

Rgb colour_of(LossPanelWords::Role role) {
  if (role == LossPanelWords::Role::single) return single_colour;
  return role == LossPanelWords::Role::label_free ? encoder_colour : posterior_colour;
}

}  // namespace

double loss_part(const std::map<std::string, double>& parts, const std::string& key) {
  const auto found = parts.find(key);
  return found == parts.end() ? std::numeric_limits<double>::quiet_NaN() : found->second;
}

std::vector<LossPanel> loss_panels(const std::vector<const RunResult*>& runs) {
  // A part that never changes (alpha of an objective that fixes it, a skew of 0) is left out.
  std::map<std::string, double> first;
  std::set<std::string> keys{"loss"};
  for (const RunResult* run : runs)
    for (const LoggedEpoch& record : run->epochs)
      for (const auto* parts : {&record.train, &record.valid})
        for (const auto& [key, value] : *parts)
          if (std::isfinite(value) && first.emplace(key, value).first->second != value) keys.insert(key);

  std::vector<LossPanel> panels;
  const auto known =
      runs.empty() ? std::vector<LossPanelWords>() : runs.front()->family->loss_panels(reported(*runs.front()));
  for (const auto& words : known) {
    LossPanel panel{.title = words.title, .parts = {}};
    for (const auto& part : words.parts)
      if (keys.erase(part.key) > 0) panel.parts.push_back({part.key, part.name, colour_of(part.role)});
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
            if (const double value = loss_part(*parts, part.key); std::isfinite(value))
              low = std::min(low, value), high = std::max(high, value);
    }
    if (low <= high) panel.low = low, panel.high = high, panel.logarithmic = low > 0 && high > 1000 * low;
  }
  return panels;
}

}  // namespace idem
