// read_model.h - a model section of a study, complete and checked against the schema, as a ModelConfig.
#pragma once

#include <string>

#include <nlohmann/json.hpp>

#include "host/families/model_config.h"

namespace idem {

// Preset and defaults, the schema's and the family's, under what the user wrote.
nlohmann::json complete_model(const nlohmann::json& written);

// study: with the sections that all models share. Throws ConfigError SOURCE: model NAME: KEY: ..., for what makes no
// sense together.
ModelConfig read_model(const nlohmann::json& model, const nlohmann::json& study, const std::string& source);

// Throws ConfigError for what a model itself says that its objective does not look at. written: its own keys, of which
// those that only repeat a default pass.
void check_effects(const nlohmann::json& written, const ModelConfig& model);

}  // namespace idem
