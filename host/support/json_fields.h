// json_fields.h - values out of a JSON object that others may have written: each of the kind and range that its reader
// needs.
//
// The library's own conversions turn 1e308 into any whole number, 2^62 into 0 and true into 1. Here every value that
// does not fit is a std::invalid_argument that names its place, as "design.encoder.widths[0] is -1; a whole number from
// 1 to 65536 is needed".
#pragma once

#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

#include <nlohmann/json.hpp>

namespace idem {

// Of a key as people write it: "contrastive.adapt_from".
nlohmann::json::json_pointer pointer_to(std::string key);

class JsonFields {
 public:
  // name: of the object in messages. Throws unless it is an object. Keeps a reference.
  JsonFields(const nlohmann::json& object, std::string name);

  const nlohmann::json& object() const { return object_; }
  bool has(const char* key) const;  // and it is not null
  JsonFields fields(const char* key) const;

  std::int64_t integer(const char* key, std::int64_t low, std::int64_t high) const;
  std::int32_t size(const char* key, std::int64_t low,
                    std::int64_t high) const;                     // the same of 32 bits, to which high is lowered
  double number(const char* key, double low, double high) const;  // finite, whatever the bounds
  bool boolean(const char* key) const;
  bool boolean_or(const char* key, bool fallback) const;
  const std::string& text(const char* key) const;
  std::string text_or(const char* key, const char* fallback) const;

  std::vector<std::int32_t> sizes(const char* key, std::int64_t low, std::int64_t high) const;
  std::vector<double> numbers(const char* key, double low, double high) const;
  std::vector<std::string> texts(const char* key) const;

  const nlohmann::json& at(const char* key) const;    // throws where it is missing
  const nlohmann::json& list(const char* key) const;  // an array
  std::string name_of(const char* key) const;

 private:
  const nlohmann::json& object_;
  std::string name_;
};

// The same of single values; name: what messages call them.
std::int64_t json_integer(const nlohmann::json& value, const std::string& name, std::int64_t low, std::int64_t high);
double json_number(const nlohmann::json& value, const std::string& name, double low, double high);
std::vector<std::int32_t> json_sizes(const nlohmann::json& value, const std::string& name, std::int64_t low,
                                     std::int64_t high);  // a list
const std::string& json_text(const nlohmann::json& value, const std::string& name);

// A JSON text; throws std::invalid_argument in one line for what is none, also for numbers that no double holds.
nlohmann::json parse_json_text(std::string_view text);

}  // namespace idem
