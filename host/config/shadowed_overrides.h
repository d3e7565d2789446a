// shadowed_overrides.h - keys set on the command line that change nothing, because a model has its own.
#pragma once

#include <nlohmann/json.hpp>
#include <string>
#include <vector>

namespace idem {

// Keys of model and training hold for all models, but for what a model of models or its preset says itself. One
// sentence for each model and key that assignment ("model.latents=3") set in vain, with the key that does change it.
// before, after: the study as resolved without and with it; names: of its models.
std::vector<std::string> shadowed_by_models(const std::string& assignment, const nlohmann::json& before,
                                            const nlohmann::json& after, const std::vector<std::string>& names);

}  // namespace idem
