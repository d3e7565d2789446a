// schema.h - the JSON Schema of a study (configs/idem.schema.json, built into the program): checks, defaults, reference
// page.
#pragma once

#include <string>

#include <nlohmann/json_fwd.hpp>

namespace idem {

// Throws ConfigError `SOURCE: a.b.c: ...` for the first key that is unknown, missing, of the wrong type or out of
// range.
void check_against_schema(const nlohmann::json& config, const std::string& source);

// The schema itself, and the file it is written to beside a run's config.json, whose "$schema" names it for editors.
std::string schema_text();
inline constexpr const char* kSchemaFile = "idem.schema.json";

// The schema's defaults for one of its parts: "" the whole study (without the recording, whose keys have none), or a
// definition's name, as "model".
nlohmann::json schema_defaults(const std::string& definition = "");

// configs/reference.md: every key with its meaning, type and default, in the schema's order.
std::string config_reference();

// Lays `over` over `base`: objects key by key, anything else as a whole. (Unlike a JSON merge patch, null is a value.)
void lay_over(nlohmann::json& base, const nlohmann::json& over);

}  // namespace idem
