// words.h - what a report says of the VAE family: loss parts, their units, sources.
#pragma once

#include <string>
#include <vector>

#include "engine/families/vae/vae_fleet.h"
#include "host/families/family.h"

namespace idem {

// Parts of a loss by name, as in the log.
NamedParts named_parts(const LossParts& parts);
// Those that a progress line shows.
std::vector<ShownParts> vae_shown_parts();

std::vector<LossPanelWords> vae_loss_panels(const ReportedRun& run);
std::string vae_loss_note(const std::vector<ReportedRun>& runs);
std::vector<std::string> vae_sources(const std::vector<ReportedRun>& runs, const nlohmann::ordered_json& config);

}  // namespace idem
