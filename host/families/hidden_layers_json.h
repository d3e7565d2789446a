// hidden_layers_json.h - hidden layers in a configuration and in a model file, and the sizes that a file may ask for.
#pragma once

#include <cstdint>

#include <nlohmann/json.hpp>

#include "engine/networks/hidden_layers.h"
#include "host/support/json_fields.h"

namespace idem {

// The largest sizes that a configuration may ask for (configs/idem.schema.json).
inline constexpr std::int64_t kMostWidth = 65536, kMostWindow = 200000, kMostLatents = 64;

// Of a section of a configuration, complete.
HiddenLayers hidden_from_section(const nlohmann::json& section);

nlohmann::json hidden_to_json(const HiddenLayers& hidden);
// Throws std::invalid_argument naming the key.
HiddenLayers hidden_from_json(const JsonFields& from);

}  // namespace idem
