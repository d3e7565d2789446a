// json_text.h - JSON as people write it: files, and single values on the command line.
#pragma once

#include <string>

#include <nlohmann/json.hpp>

namespace idem {

// Parses JSON text. Throws ConfigError `SOURCE:LINE:COLUMN: ...`, also for a key given twice.
nlohmann::json parse_json(const std::string& text, const std::string& source);

// Changes one key: "a.b.0=value", the value as JSON where it parses, else as text. Throws ConfigError.
void apply_override(nlohmann::json& config, const std::string& assignment, const std::string& source);

// The configuration in a file. Throws ConfigError where it cannot be read or is none.
nlohmann::json read_config(const std::string& path);

// A configuration and not a recording, by its ending or its first character.
bool looks_like_json(const std::string& path);

}  // namespace idem
