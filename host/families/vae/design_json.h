// design_json.h - a model's design as the header of its file says it.
#pragma once

#include <cstdint>

#include <nlohmann/json.hpp>

#include "engine/families/cebra/cebra.h"
#include "engine/families/vae/design.h"
#include "engine/families/gcl/gcl.h"
#include "host/support/json_fields.h"

namespace idem {

nlohmann::json design_to_json(const ModelDesign& design);
nlohmann::json design_to_json(const CebraDesign& design);  // with "family": "cebra"
nlohmann::json design_to_json(const GclDesign& design);    // with "family": "gcl"

// Back, each value of its kind and in the range that a configuration allows. most: values that the file's tensors hold; neurons, bins of a window and
// outputs cannot be more. Throws std::invalid_argument naming the key.
ModelDesign design_from_json(const JsonFields& from, std::int64_t most);
CebraDesign cebra_from_json(const JsonFields& from, std::int64_t most);
GclDesign gcl_from_json(const JsonFields& from, std::int64_t most);

}  // namespace idem
