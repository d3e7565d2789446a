// schema_faults.h - the validator of JSON Schema behind one function: its templates take longer to compile than the
// rest of the room.
#pragma once

#include <optional>
#include <string>
#include <vector>

#include <nlohmann/json_fwd.hpp>

namespace idem {

// The keys and places that lead to the deepest value that does not meet the schema (draft 7); nothing where all do. Of
// faults in one another the deepest is the cause, those above it its consequences.
std::optional<std::vector<std::string>> deepest_fault(const nlohmann::json& schema, const nlohmann::json& value);

}  // namespace idem
