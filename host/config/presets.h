// presets.h - what published programs and models chose.
#pragma once

#include <string>

#include <nlohmann/json.hpp>

namespace idem {

// Of model.convention: whether the reconstruction and the KL terms are sums or means over neurons and latents, whether terms without parameters are
// kept, and the usual weight of the KL terms; as a model section.
nlohmann::json convention_defaults(const std::string& name);

// Of model.preset, as a model section.
nlohmann::json preset_model(const std::string& name);

}  // namespace idem
