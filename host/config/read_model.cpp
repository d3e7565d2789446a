#include "host/config/read_model.h"

#include <algorithm>

#include <fmt/format.h>

#include "host/config/schema.h"
#include "host/families/epoch_model.h"
#include "host/families/families.h"
#include "host/support/json_fields.h"

namespace idem {
namespace {

using nlohmann::json;

std::string model_name(const json& model) {
  if (!model.at("name").is_null()) return model.at("name");
  std::string name = model.at("preset") == "none" ? model.at("objective").at("name") : model.at("preset");
  std::replace(name.begin(), name.end(), '/', '-');
  return name;
}

const Family& family_of(const json& model) { return family_of_objective(model.at("objective").at("name")); }

Preparation read_preparation(const json& model, const json& study) {
  const Family& family = family_of(model);
  return Preparation::from_json(
      {{"windows", study.at("windows")},
       {"smoothing", study.at("smoothing")},
       {"input", family.encodes_windows(model) ? "window" : "smoothed"},
       {"transform", model.at("input").at("transform")},
       {"target", family.explains_counts() ? model.at("observation").at("target") : json("centre-bin")},
       {"labels", model.at("labels")},
       {"standardise_labels", model.at("standardise_labels")}});
}

json preset_model(const std::string& name) {
  for (const auto* family : families())
    if (auto preset = family->preset(name)) return *preset;
  return json::object();  // "none"
}

// What a section says at "training.batch"; null where it says nothing.
json at_path(const json& section, const std::string& path) {
  const auto at = pointer_to(path);
  return section.contains(at) ? section.at(at) : json();
}

}  // namespace

json complete_model(const json& written) {
  json model = schema_defaults("model"), chosen = preset_model(written.value("preset", "none"));
  lay_over(chosen, written);
  lay_over(model, chosen);
  for (const auto* family : families()) lay_over(model, family->defaults(model));  // of sections that several share
  lay_over(model, chosen);
  return model;
}

ModelConfig read_model(const json& model, const json& study, const std::string& source) {
  ModelConfig config;
  config.source = source;
  config.name = model_name(model);
  json training = study.at("training");
  lay_over(training, model.value("training", json::object()));
  config.learning_rate = training.at("learning_rate");
  config.is_joint = model.at("joint");
  config.preparation = read_preparation(model, study);
  if (const json& seed = model.at("shuffle_labels"); !seed.is_null()) config.shuffle_labels = seed;
  config.own = family_of(model).read({model, training, read_training(training, source), config});
  return config;
}

void check_effects(const json& written, const ModelConfig& model) {
  const json defaults = schema_defaults("model");
  const auto says = [&](const std::string& key) {
    const json said = at_path(written, key);
    return !said.is_null() && (key.starts_with("training.") || said != at_path(defaults, key));
  };
  const auto refuse = [&](const std::string& key, const std::string& why) {
    if (says(key)) model.fail(key, why);
  };
  const Family& family = model.own->family();
  for (const auto* other : families())
    if (other != &family)
      for (const auto& [section, why] : other->own_sections(model)) refuse(section, why);
  for (const auto& [key, why] : family.unread()) refuse(key, why);
}

}  // namespace idem
