#include "host/config/json_text.h"

#include <algorithm>
#include <charconv>
#include <filesystem>
#include <fstream>
#include <set>

#include <fmt/format.h>

#include "host/support/errors.h"
#include "host/support/one_line.h"
#include "host/support/utf8.h"

namespace idem {

using nlohmann::json;

json parse_json(const std::string& text, const std::string& source) {
  const auto place = [&](std::size_t byte) {
    const std::size_t end = std::min(byte > 0 ? byte - 1 : 0, text.size());
    const auto line = 1 + std::count(text.begin(), text.begin() + static_cast<std::ptrdiff_t>(end), '\n');
    const std::size_t start = text.rfind('\n', end == 0 ? 0 : end - 1);
    const std::size_t column = end - (start == std::string::npos || end == 0 ? 0 : start + 1) + 1;
    return fmt::format("{}:{}:{}", source, line, column);
  };
  if (text.starts_with("\xFF\xFE") || text.starts_with("\xFE\xFF"))
    throw ConfigError(place(1) + ": is UTF-16 text; save the file as UTF-8");
  if (const std::size_t at = find_invalid_utf8(text); at != std::string::npos)
    throw ConfigError(fmt::format(
        "{}: is not UTF-8 (the byte 0x{:02X}); save the file as UTF-8 (if that byte belongs to a file's name, write "
        "\\\\x{:02X})",
        place(at + 1), static_cast<unsigned char>(text[at]), static_cast<unsigned char>(text[at])));
  struct Level {
    std::string key;  // of an object: the one being read
    std::set<std::string> keys;
  };
  std::vector<Level> levels;
  std::string repeated;
  const auto watch = [&](int, json::parse_event_t event, json& value) {
    if (event == json::parse_event_t::object_start) levels.emplace_back();
    if (event == json::parse_event_t::object_end) levels.pop_back();
    if (event == json::parse_event_t::key) {
      levels.back().key = value.get<std::string>();
      if (!levels.back().keys.insert(levels.back().key).second) repeated = levels.back().key;
    }
    return true;
  };
  json parsed;
  try {
    parsed = json::parse(text, watch);
  } catch (const json::parse_error& error) {
    // "[json.exception.parse_error.101] parse error at line 3, column 5: syntax error ...": the place is said already.
    std::string what = error.what();
    const auto colon = what.find(": ");
    if (colon != std::string::npos) what = what.substr(colon + 2);
    throw ConfigError(place(error.byte) + ": not JSON: " + what);
  } catch (const json::out_of_range&) {
    std::string key;
    for (const auto& level : levels) key += (key.empty() ? "" : ".") + level.key;
    throw ConfigError(fmt::format("{}: {}: holds a number beyond 1.8e308, which no number of this program is; lower it",
                                  source, key.empty() ? "?" : key));
  }
  if (!repeated.empty())
    throw ConfigError(fmt::format("{}: {}: given twice in the same object; keep one", source, repeated));
  return parsed;
}

void apply_override(json& config, const std::string& assignment, const std::string& source) {
  if (const std::size_t at = find_invalid_utf8(assignment); at != std::string::npos)
    throw ConfigError(
        fmt::format("--set {}: is not UTF-8; write it as UTF-8 (if the byte shown as \\x{:02X} belongs to a file's "
                    "name, write it so)",
                    one_line(text_of_path(assignment)), static_cast<unsigned char>(assignment[at])));
  const auto equals = assignment.find('=');
  if (equals == std::string::npos || equals == 0)
    throw ConfigError(fmt::format("--set {}: is not KEY=VALUE, as in --set training.epochs=20", assignment));
  const std::string path = assignment.substr(0, equals), text = assignment.substr(equals + 1);
  json value = json::parse(text, nullptr, false);
  if (value.is_discarded()) value = text;

  json* node = &config;
  std::stringstream keys(path);
  std::string key;
  while (std::getline(keys, key, '.')) {
    if (node->is_array()) {
      std::size_t index = 0;
      const auto parsed = std::from_chars(key.data(), key.data() + key.size(), index);
      if (parsed.ec != std::errc() || parsed.ptr != key.data() + key.size() || index >= node->size())
        throw ConfigError(fmt::format("{}: --set {}: \"{}\" is not an item of a list of {} (they count from 0)", source,
                                      path, key, node->size()));
      node = &(*node)[index];
    } else {
      if (!node->is_object() && !node->is_null())
        throw ConfigError(
            fmt::format("{}: --set {}: what holds \"{}\" is {}, not an object", source, path, key, node->dump()));
      node = &(*node)[key];
    }
  }
  *node = std::move(value);
}

bool looks_like_json(const std::string& path) {
  std::ifstream file(path, std::ios::binary);
  char first = 0;
  return std::filesystem::path(path).extension() == ".json" || (file >> first && first == '{');
}

json read_config(const std::string& path) {
  std::error_code ignored;
  if (std::filesystem::is_directory(path, ignored))
    throw ConfigError(path + ": is a folder; name a configuration file (configs/*.json)");
  std::ifstream file(path, std::ios::binary);
  const std::string text{std::istreambuf_iterator<char>(file), {}};
  if (!file) throw ConfigError(path + ": cannot be read; is it a configuration file (configs/*.json)?");
  if (text.empty()) throw ConfigError(path + ": is empty; a configuration is a JSON object, { ... }");
  if (!looks_like_json(path))
    throw ConfigError(fmt::format(
        "{0}: is no configuration (a JSON object, as configs/*.json); a recording is given beside one: CONFIG.json "
        "--recording {0}",
        path));
  return parse_json(text, path);
}

}  // namespace idem
