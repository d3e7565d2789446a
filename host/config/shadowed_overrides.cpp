#include "host/config/shadowed_overrides.h"

#include <algorithm>

#include <fmt/format.h>

#include "host/config/schema.h"

namespace idem {
namespace {

using nlohmann::json;
using Pointer = json::json_pointer;

Pointer pointer_of(std::string path) {
  if (path.empty()) return Pointer();
  std::replace(path.begin(), path.end(), '.', '/');
  return Pointer("/" + path);
}

std::string dotted(const Pointer& pointer) {
  std::string path = pointer.to_string().substr(1);
  std::replace(path.begin(), path.end(), '/', '.');
  return path;
}

// The complete section of model i of a resolved study, with the training it trains by.
json effective_model(const json& study, std::size_t i) {
  json model = study.at("model");
  if (!study.at("models").empty()) lay_over(model, study.at("models")[i]);
  json training = study.at("training");
  lay_over(training, model.value("training", json::object()));
  model["training"] = std::move(training);
  return model;
}

// Calls visit(pointer, value) for every value that is no object.
template <class Visit>
void for_each_leaf(const json& value, const Pointer& at, const Visit& visit) {
  if (!value.is_object()) return visit(at, value);
  for (const auto& [key, child] : value.items()) for_each_leaf(child, at / key, visit);
}

}  // namespace

std::vector<std::string> shadowed_by_models(const std::string& assignment, const json& before, const json& after,
                                            const std::vector<std::string>& names) {
  std::vector<std::string> sentences;
  const std::string path = assignment.substr(0, assignment.find('='));
  const bool of_model = path == "model" || path.starts_with("model."),
             of_training = path == "training" || path.starts_with("training.");
  if (!of_model && !of_training) return sentences;
  const Pointer key = pointer_of(!of_model ? path : path == "model" ? "" : path.substr(6));
  json value = json::parse(assignment.substr(assignment.find('=') + 1), nullptr, false);
  if (value.is_discarded()) value = assignment.substr(assignment.find('=') + 1);
  for (std::size_t i = 0; i < names.size(); ++i) {
    const json with = effective_model(after, i), without = effective_model(before, i);
    for_each_leaf(value, key, [&](const Pointer& leaf, const json& wanted) {
      if (!with.contains(leaf) || with.at(leaf) == wanted || !without.contains(leaf) ||
          with.at(leaf) != without.at(leaf))
        return;
      const std::string set = of_model ? "model." + dotted(leaf) : dotted(leaf),
                        own = (after.at("models").empty() ? "model." : fmt::format("models.{}.", i)) + dotted(leaf);
      sentences.push_back(
          fmt::format("--set {}: changes nothing of model {}, which has its own value, {}; use --set {}={}", set,
                      names[i], with.at(leaf).dump(), own, wanted.dump()));
    });
  }
  return sentences;
}

}  // namespace idem
