#include "host/config/schema_faults.h"

#include <algorithm>
#include <cstdint>
#include <map>
#include <utility>

#include <nlohmann/json.hpp>
#include <valijson/adapters/nlohmann_json_adapter.hpp>
#include <valijson/schema.hpp>
#include <valijson/schema_parser.hpp>
#include <valijson/validation_results.hpp>
#include <valijson/validator.hpp>

namespace idem {
namespace {

using nlohmann::json;

// The validator reads whole numbers as int64 and compares them as double, so large seeds would be negative or alike:
// other numbers stand in for them, one for each.
json with_signed_numbers(json value, std::map<std::uint64_t, std::int64_t>& stand_ins) {
  constexpr std::int64_t largest = std::int64_t{1} << 53;
  if (value.is_structured())
    for (auto& child : value) child = with_signed_numbers(std::move(child), stand_ins);
  else if (value.is_number_unsigned() && value.get<std::uint64_t>() > static_cast<std::uint64_t>(largest))
    value = stand_ins.emplace(value.get<std::uint64_t>(), largest - static_cast<std::int64_t>(stand_ins.size()))
                .first->second;
  return value;
}

}  // namespace

std::optional<std::vector<std::string>> deepest_fault(const json& schema, const json& value) {
  valijson::Schema parsed;
  valijson::SchemaParser(valijson::SchemaParser::kDraft7)
      .populateSchema(valijson::adapters::NlohmannJsonAdapter(schema), parsed);
  valijson::ValidationResults results;
  std::map<std::uint64_t, std::int64_t> stand_ins;
  const json signed_value = with_signed_numbers(value, stand_ins);
  if (valijson::Validator().validate(parsed, valijson::adapters::NlohmannJsonAdapter(signed_value), &results))
    return std::nullopt;
  const auto deepest = std::max_element(
      results.begin(), results.end(), [](const auto& a, const auto& b) { return a.context.size() < b.context.size(); });
  std::vector<std::string> keys;
  for (std::size_t i = 1; i < deepest->context.size(); ++i) {
    const std::string& key = deepest->context[i];
    const bool is_bracketed = key.size() >= 2 && key.front() == '[' && key.back() == ']';
    keys.push_back(is_bracketed ? key.substr(1, key.size() - 2) : key);
  }
  return keys;
}

}  // namespace idem
