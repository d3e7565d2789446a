// design_json.h - a VAE's design as the header of a model file says it.
#pragma once

#include <cstdint>

#include <nlohmann/json.hpp>

#include "engine/families/vae/design.h"
#include "host/support/json_fields.h"

namespace idem {

nlohmann::json to_json(const ModelDesign& design);

// Back, as Family::read_design says.
ModelDesign vae_design_from_json(const JsonFields& from, std::int64_t most);

}  // namespace idem
