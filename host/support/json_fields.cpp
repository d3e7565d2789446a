#include "host/support/json_fields.h"

#include <algorithm>
#include <cmath>
#include <limits>
#include <stdexcept>

#include <fmt/format.h>

#include "host/support/one_line.h"

namespace idem {

using nlohmann::json;

namespace {

[[noreturn]] void refuse(const json& value, const std::string& name, const std::string& wanted) {
  throw std::invalid_argument(fmt::format("{} is {}; {} is needed", name,
                                          one_line(value.dump(-1, ' ', true, json::error_handler_t::replace)), wanted));
}

}  // namespace

std::int64_t json_integer(const json& value, const std::string& name, std::int64_t low, std::int64_t high) {
  const std::string wanted = fmt::format("a whole number from {} to {}", low, high);
  if (!value.is_number_integer()) refuse(value, name, wanted);
  if (value.is_number_unsigned() &&
      value.get<std::uint64_t>() > static_cast<std::uint64_t>(std::numeric_limits<std::int64_t>::max()))
    refuse(value, name, wanted);
  const auto number = value.get<std::int64_t>();
  if (number < low || number > high) refuse(value, name, wanted);
  return number;
}

std::vector<std::int32_t> json_sizes(const json& value, const std::string& name, std::int64_t low, std::int64_t high) {
  if (!value.is_array()) refuse(value, name, "a list");
  std::vector<std::int32_t> sizes;
  high = std::min<std::int64_t>(high, std::numeric_limits<std::int32_t>::max());
  for (const auto& entry : value)
    sizes.push_back(
        static_cast<std::int32_t>(json_integer(entry, fmt::format("{}[{}]", name, sizes.size()), low, high)));
  return sizes;
}

double json_number(const json& value, const std::string& name, double low, double high) {
  const std::string wanted = std::isfinite(low) || std::isfinite(high)
                                 ? fmt::format("a number from {:g} to {:g}", low, high)
                                 : "a finite number";
  if (!value.is_number()) refuse(value, name, wanted);
  const double number = value.get<double>();
  if (!std::isfinite(number) || number < low || number > high) refuse(value, name, wanted);
  return number;
}

const std::string& json_text(const json& value, const std::string& name) {
  if (!value.is_string()) refuse(value, name, "a text");
  return value.get_ref<const std::string&>();
}

json parse_json_text(std::string_view text) {
  try {
    return json::parse(text);
  } catch (const json::out_of_range&) {
    throw std::invalid_argument("holds a number beyond 1.8e308");
  } catch (const json::exception&) {
    throw std::invalid_argument("is no JSON text");
  }
}

json::json_pointer pointer_to(std::string key) {
  std::ranges::replace(key, '.', '/');
  return json::json_pointer("/" + key);
}

JsonFields::JsonFields(const json& object, std::string name) : object_(object), name_(std::move(name)) {
  if (!object.is_object()) refuse(object, name_, "an object");
}

std::string JsonFields::name_of(const char* key) const { return name_.empty() ? key : name_ + "." + key; }

bool JsonFields::has(const char* key) const {
  const auto found = object_.find(key);
  return found != object_.end() && !found->is_null();
}

const json& JsonFields::at(const char* key) const {
  const auto found = object_.find(key);
  if (found == object_.end()) throw std::invalid_argument(name_of(key) + " is missing");
  return *found;
}

JsonFields JsonFields::fields(const char* key) const { return {at(key), name_of(key)}; }

std::int64_t JsonFields::integer(const char* key, std::int64_t low, std::int64_t high) const {
  return json_integer(at(key), name_of(key), low, high);
}

std::int32_t JsonFields::size(const char* key, std::int64_t low, std::int64_t high) const {
  return static_cast<std::int32_t>(
      integer(key, low, std::min<std::int64_t>(high, std::numeric_limits<std::int32_t>::max())));
}

double JsonFields::number(const char* key, double low, double high) const {
  return json_number(at(key), name_of(key), low, high);
}

bool JsonFields::boolean(const char* key) const {
  if (!at(key).is_boolean()) refuse(at(key), name_of(key), "true or false");
  return at(key).get<bool>();
}

bool JsonFields::boolean_or(const char* key, bool fallback) const {
  return object_.contains(key) ? boolean(key) : fallback;
}

const std::string& JsonFields::text(const char* key) const { return json_text(at(key), name_of(key)); }

std::string JsonFields::text_or(const char* key, const char* fallback) const {
  return object_.contains(key) ? text(key) : fallback;
}

const json& JsonFields::list(const char* key) const {
  if (!at(key).is_array()) refuse(at(key), name_of(key), "a list");
  return at(key);
}

std::vector<std::int32_t> JsonFields::sizes(const char* key, std::int64_t low, std::int64_t high) const {
  return json_sizes(at(key), name_of(key), low, high);
}

std::vector<double> JsonFields::numbers(const char* key, double low, double high) const {
  std::vector<double> values;
  for (const auto& value : list(key))
    values.push_back(json_number(value, fmt::format("{}[{}]", name_of(key), values.size()), low, high));
  return values;
}

std::vector<std::string> JsonFields::texts(const char* key) const {
  std::vector<std::string> values;
  for (const auto& value : list(key))
    values.push_back(json_text(value, fmt::format("{}[{}]", name_of(key), values.size())));
  return values;
}

}  // namespace idem
