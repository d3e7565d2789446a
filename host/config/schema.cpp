#include "host/config/schema.h"

#include <algorithm>
#include <cstdint>
#include <limits>
#include <vector>

#include <fmt/format.h>
#include <nlohmann/json.hpp>

#include "host/config/schema_faults.h"
#include "host/support/errors.h"
#include "kernels/common/to_size.h"

namespace idem {

extern const char* const kConfigSchemaText;  // written by host/CMakeLists.txt

namespace {

using nlohmann::json;
using nlohmann::ordered_json;

const json& schema_root() {
  static const json root = json::parse(kConfigSchemaText);
  return root;
}

// Follows a reference (`#/definitions/NAME`); the schema has no other kind.
template <class Json>
const Json& resolved(const Json& schema, const Json& root) {
  const Json* node = &schema;
  while (node->contains("$ref"))
    node = &root.at(nlohmann::json_pointer<std::string>(node->at("$ref").template get<std::string>().substr(1)));
  return *node;
}

// A key's own words win over those of the definition it refers to.
template <class Json>
std::string description_of(const Json& schema, const Json& root) {
  return schema.contains("description") ? schema.at("description").template get<std::string>()
                                        : resolved(schema, root).value("description", std::string());
}

bool type_matches(const json& schema, const json& value) {
  if (!schema.contains("type")) return true;
  const auto& type = schema.at("type");
  const auto is = [&](const std::string& name) {
    if (name == "object") return value.is_object();
    if (name == "array") return value.is_array();
    if (name == "string") return value.is_string();
    if (name == "boolean") return value.is_boolean();
    if (name == "null") return value.is_null();
    if (name == "integer") return value.is_number_integer();
    return value.is_number();
  };
  if (type.is_string()) return is(type.get<std::string>());
  return std::any_of(type.begin(), type.end(), [&](const json& name) { return is(name.get<std::string>()); });
}

// The schema that a value should meet: of alternatives, for an object or a list the one whose type it has; any other
// value may have meant each.
const json& schema_for(const json& schema, const json& value) {
  const json& node = resolved(schema, schema_root());
  if (!value.is_structured()) return node;
  for (const char* choice : {"oneOf", "anyOf"}) {
    if (!node.contains(choice)) continue;
    for (const auto& alternative : node.at(choice)) {
      const json& candidate = resolved(alternative, schema_root());
      if (type_matches(candidate, value)) return candidate;
    }
  }
  return node;
}

std::size_t edit_distance(const std::string& a, const std::string& b) {
  std::vector<std::size_t> row(b.size() + 1);
  for (std::size_t j = 0; j <= b.size(); ++j) row[j] = j;
  for (std::size_t i = 1; i <= a.size(); ++i) {
    std::size_t diagonal = row[0];
    row[0] = i;
    for (std::size_t j = 1; j <= b.size(); ++j) {
      const std::size_t above = row[j];
      row[j] = std::min({row[j - 1] + 1, above + 1, diagonal + (a[i - 1] != b[j - 1])});
      diagonal = above;
    }
  }
  return row[b.size()];
}

std::string joined(const std::string& path, const std::string& key) { return path.empty() ? key : path + "." + key; }

// The key anywhere in the schema whose name comes nearest, by its whole path; distance: nearer than this, and how near
// it is.
void find_nearest(const json& schema, const std::string& key, const std::string& path, std::size_t& distance,
                  std::string& nearest) {
  const json& node = resolved(schema, schema_root());
  if (!node.contains("properties")) return;
  for (const auto& [name, property] : node.at("properties").items()) {
    if (property.value("laid_over", false)) continue;  // its keys have their usual place elsewhere
    if (const std::size_t own = edit_distance(key, name); own < distance) {
      distance = own;
      nearest = joined(path, name);
    }
    find_nearest(property, key, joined(path, name), distance, nearest);
  }
}

[[noreturn]] void throw_unknown_key(const json& properties, const std::string& path, const std::string& key,
                                    const std::string& source) {
  std::string keys, nearest;
  std::size_t best = std::max<std::size_t>(2, key.size() / 3) + 1;
  for (const auto& [name, property] : properties.items()) {
    keys += (keys.empty() ? "" : ", ") + name;
    const std::size_t distance = edit_distance(key, name);
    if (distance < best) {
      best = distance;
      nearest = name;
    }
  }
  if (nearest.empty()) {
    best = std::min(best, key.size() / 2 + 1);  // or a short key is near to every other
    find_nearest(schema_root(), key, "", best, nearest);
  }
  throw ConfigError(fmt::format("{}: {}: unknown key; {}keys here: {}", source, joined(path, key),
                                nearest.empty() ? "" : "did you mean \"" + nearest + "\"? ", keys));
}

void check_keys(const json& schema, const json& value, const std::string& path, const std::string& source) {
  const json& node = schema_for(schema, value);
  // Seeds have 64 bits; everything else that is counted has 32.
  constexpr std::int64_t largest = std::numeric_limits<std::int32_t>::max();
  const bool is_beyond = value.is_number_unsigned() ? value.get<std::uint64_t>() > largest
                                                    : value.is_number_integer() && value.get<std::int64_t>() < -largest;
  if (is_beyond && !node.contains("maximum") && path.find("seed") == std::string::npos &&
      path.find("values") == std::string::npos && path.find("units") == std::string::npos)
    throw ConfigError(fmt::format("{}: {}: {} is too large; a whole number of at most {} is needed", source, path,
                                  value.dump(), largest));
  if (value.is_array()) {
    if (!node.contains("items")) return;
    for (std::size_t i = 0; i < value.size(); ++i)
      check_keys(node.at("items"), value[i], joined(path, std::to_string(i)), source);
    return;
  }
  if (!value.is_object() || !node.contains("properties")) return;
  const json& properties = node.at("properties");
  for (const auto& [key, child] : value.items()) {
    if (properties.contains(key))
      check_keys(properties.at(key), child, joined(path, key), source);
    else if (node.value("additionalProperties", json(true)) == json(false))
      throw_unknown_key(properties, path, key, source);
  }
  if (!node.contains("required")) return;
  for (const auto& required : node.at("required")) {
    const auto key = required.get<std::string>();
    if (value.contains(key)) continue;
    throw ConfigError(fmt::format("{}: {}: missing; {}", source, joined(path, key),
                                  description_of(properties.at(key), schema_root())));
  }
}

// "a whole number of at least 1", "one of "a", "b"", "a list of ...". A page refers to what has a section of its own.
template <class Json>
std::string expectation(const Json& schema, const Json& root, bool for_page) {
  const Json& node = resolved(schema, root);
  if (for_page && node.contains("title"))
    return fmt::format("[{0}](#{0})", node.at("title").template get<std::string>());
  if (node.contains("enum")) {
    std::string text;
    for (const auto& value : node.at("enum")) text += (text.empty() ? "one of " : ", ") + value.dump();
    return text;
  }
  if (node.contains("oneOf")) {
    std::string text;
    for (const auto& alternative : node.at("oneOf"))
      text += (text.empty() ? "" : " or ") + expectation(alternative, root, for_page);
    return text;
  }
  std::vector<std::string> types;
  if (!node.contains("type")) return "any value";
  if (node.at("type").is_string())
    types.push_back(node.at("type").template get<std::string>());
  else
    for (const auto& type : node.at("type")) types.push_back(type.template get<std::string>());
  std::string text;
  for (const auto& type : types) {
    if (!text.empty()) text += " or ";
    if (type == "object") text += "an object";
    if (type == "boolean") text += "true or false";
    if (type == "null") text += "null";
    if (type == "string") {
      text += "a text";
      if (node.contains("pattern")) text += " that matches " + node.at("pattern").template get<std::string>();
      if (node.contains("minLength")) text += " that is not empty";
    }
    if (type == "integer" || type == "number") {
      text += type == "integer" ? "a whole number" : "a number";
      const char* before = " ";
      const auto bound = [&](const char* key, const char* words) {
        if (!node.contains(key)) return;
        text += before + std::string(words) + " " + node.at(key).dump();
        before = " and ";
      };
      bound("minimum", "of at least");
      bound("exclusiveMinimum", "above");
      bound("maximum", "of at most");
      bound("exclusiveMaximum", "below");
    }
    if (type == "array") {
      text += "a list";
      const auto low = node.value("minItems", 0), high = node.value("maxItems", 0);
      if (low == high && low > 0)
        text += fmt::format(" of {}", low);
      else if (low > 0)
        text += fmt::format(" of at least {}", low);
      if (node.value("uniqueItems", false)) text += low > 0 ? " different" : " of different ones";
      if (node.contains("items")) text += ", each " + expectation(node.at("items"), root, for_page);
    }
  }
  return text;
}

std::string shortened(const json& value) {
  std::string text = value.dump();
  if (text.size() > 60) text = text.substr(0, 57) + "...";
  return text;
}

// Overwrites nothing: only absent keys are filled.
void fill_defaults(const json& schema, json& value) {
  const json& node = schema_for(schema, value);
  if (!node.contains("properties") || !value.is_object()) return;
  for (const auto& [key, property] : node.at("properties").items()) {
    if (property.value("laid_over", false)) continue;  // holds only what differs from a section that has the defaults
    const json& target = resolved(property, schema_root());
    if (!value.contains(key)) {
      if (property.contains("default"))
        value[key] = property.at("default");
      else if (target.contains("default"))
        value[key] = target.at("default");
      else if (target.contains("properties"))
        value[key] = json::object();
      else
        continue;
    }
    fill_defaults(property, value[key]);
  }
}

// The object whose keys a page lists for this key, or null: its own, or those of the items of a list.
const ordered_json* keys_of(const ordered_json& property, const ordered_json& root) {
  const ordered_json* node = &resolved(property, root);
  if (node->contains("title")) return nullptr;  // has a section of its own
  if (node->contains("oneOf")) node = &resolved(node->at("oneOf").front(), root);
  if (node->contains("items")) node = &resolved(node->at("items"), root);
  return node->contains("properties") ? node : nullptr;
}

std::string anchor_of(std::string heading) {
  std::erase(heading, '.');
  return heading;
}

// Tables of keys, one section per object; an object that two keys share is described where it comes first.
void describe(const ordered_json& node, const ordered_json& root, const std::string& path,
              std::vector<std::pair<const ordered_json*, std::string>>& known, std::string& page) {
  std::vector<std::pair<std::string, std::pair<const ordered_json*, std::string>>> sections;
  page += "| key | value | default | meaning |\n|---|---|---|---|\n";
  for (const auto& [key, property] : node.at("properties").items()) {
    const ordered_json& target = resolved(property, root);
    std::string description = description_of(property, root), name = joined(path, key);
    for (auto bar = description.find('|'); bar != std::string::npos; bar = description.find('|', bar + 2))
      description.insert(bar, "\\");  // ends a cell
    const ordered_json* keys = keys_of(property, root);
    std::string value = expectation(property, root, true), fallback;
    if (keys) {
      auto found = std::find_if(known.begin(), known.end(), [&](const auto& entry) { return entry.first == keys; });
      if (found == known.end()) {
        known.emplace_back(keys, name);
        sections.push_back({name, {keys, description}});
        found = known.end() - 1;
      }
      value = fmt::format("{}: [{}](#{})", value, found->second, anchor_of(found->second));
    }
    for (const auto* holder : {&property, &target})
      if (fallback.empty() && holder->contains("default")) fallback = "`" + holder->at("default").dump() + "`";
    page += fmt::format("| `{}` | {} | {} | {} |\n", key, value, fallback, description);
  }
  for (const auto& [name, section] : sections) {
    page += fmt::format("\n## {}\n\n{}\n\n", name, section.second);
    describe(*section.first, root, name, known, page);
  }
}

}  // namespace

void check_against_schema(const json& config, const std::string& source) {
  if (!config.is_object())
    throw ConfigError(
        fmt::format("{}: a configuration is a JSON object, {{ ... }}, not {}", source, shortened(config)));
  check_keys(schema_root(), config, "", source);

  const auto fault = deepest_fault(schema_root(), config);
  if (!fault) return;
  const json* node = &schema_for(schema_root(), config);
  const json* value = &config;
  std::string path;
  for (const std::string& key : *fault) {
    if (value->is_array()) {
      const auto index = to_size(std::stoul(key));
      if (index >= value->size() || !node->contains("items")) break;
      value = &(*value)[index];
      node = &schema_for(node->at("items"), *value);
    } else {
      if (!value->is_object() || !value->contains(key) || !node->contains("properties")) break;
      value = &value->at(key);
      node = &schema_for(node->at("properties").at(key), *value);
    }
    path = joined(path, key);
  }
  throw ConfigError(fmt::format("{}: {}: expected {}, got {}", source, path, expectation(*node, schema_root(), false),
                                shortened(*value)));
}

std::string schema_text() { return kConfigSchemaText; }

json schema_defaults(const std::string& definition) {
  json defaults = json::object();
  fill_defaults(definition.empty() ? schema_root() : schema_root().at("definitions").at(definition), defaults);
  return defaults;
}

void lay_over(json& base, const json& over) {
  if (!base.is_object() || !over.is_object()) {
    base = over;
    return;
  }
  for (const auto& [key, value] : over.items()) lay_over(base[key], value);
}

std::string config_reference() {
  const auto root = ordered_json::parse(kConfigSchemaText);
  std::string page =
      "# Configuration\n\n"
      "Every key of a study, generated from [idem.schema.json](idem.schema.json) by `idem reference`. "
      "`idem check CONFIG` says what a configuration would run, `--set a.b=value` changes one key, "
      "and every run writes what it used, defaults included, to `config.json` of its folder.\n\n";
  std::vector<std::pair<const ordered_json*, std::string>> known;
  describe(root, root, "", known, page);
  for (const auto& [name, definition] : root.at("definitions").items()) {
    if (!definition.contains("title")) continue;
    page +=
        fmt::format("\n## {}\n\n{}\n\n", definition.at("title").get<std::string>(), description_of(definition, root));
    for (const auto& alternative : definition.at("oneOf"))
      if (alternative.contains("properties")) describe(alternative, root, "", known, page);
  }
  return page;
}

}  // namespace idem
