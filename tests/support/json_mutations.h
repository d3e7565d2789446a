// json_mutations.h - what a hostile hand may put in the place of each value of a JSON text.
#pragma once

#include <functional>
#include <string>
#include <vector>

#include <nlohmann/json.hpp>

namespace idem {

// JSON texts, not values: 1e999 is one that no value has.
inline const std::vector<std::string>& hostile_values() {
  static const std::vector<std::string> values{"null",
                                               "-1",
                                               "0",
                                               "1",
                                               "2",
                                               "0.5",
                                               "true",
                                               "-0.0",
                                               "65537",
                                               "2147483647",
                                               "2147483648",
                                               "4611686018427387904",
                                               "18446744073709551615",
                                               "1e-300",
                                               "1e77",
                                               "1e308",
                                               "-1e308",
                                               "1e999",
                                               "\"\"",
                                               "\"text\"",
                                               "[]",
                                               "[-1]",
                                               "[[1e308]]",
                                               "{}",
                                               "{\"a\": {\"b\": []}}"};
  return values;
}

// Calls visit(where, text) with `whole` in which one value, of an object's key, a list's item or anything inside them,
// was removed or replaced. most_items: of a list, beyond which its items are only samples of each other. values: what
// replaces them.
inline void for_each_mutation(const nlohmann::ordered_json& whole,
                              const std::function<void(const std::string&, const std::string&)>& visit,
                              std::size_t most_items = 4, const std::vector<std::string>& values = hostile_values()) {
  using Node = nlohmann::ordered_json;
  static const std::string marker = "?mutated?";
  std::vector<std::string> places;
  const std::function<void(const Node&, const std::string&)> walk = [&](const Node& node, const std::string& path) {
    if (!path.empty()) places.push_back(path);
    if (node.is_object())
      for (const auto& [key, value] : node.items()) {
        std::string escaped;
        for (const char c : key) escaped += c == '~' ? "~0" : c == '/' ? "~1" : std::string(1, c);
        walk(value, path + "/" + escaped);
      }
    if (node.is_array())
      for (std::size_t i = 0; i < node.size(); ++i)
        if (i < most_items || i + 1 == node.size()) walk(node[i], path + "/" + std::to_string(i));
  };
  walk(whole, "");
  for (const auto& place : places) {
    const Node::json_pointer at(place);
    Node changed = whole;
    Node& above = changed.at(at.parent_pointer());
    if (above.is_array())
      above.erase(std::stoul(at.back()));
    else
      above.erase(at.back());
    visit(place + " removed", changed.dump());
    changed = whole;
    changed[at] = marker;
    const std::string text = changed.dump();
    const auto found = text.find('"' + marker + '"');
    for (const auto& value : values)
      visit(place + " = " + value, std::string(text).replace(found, marker.size() + 2, value));
  }
}

}  // namespace idem
