#include "host/config/study.h"

#include <set>

#include <fmt/format.h>

#include "host/config/json_text.h"
#include "host/config/read_model.h"
#include "host/config/schema.h"
#include "host/families/families.h"
#include "host/support/errors.h"
#include "host/support/files.h"
#include "host/config/shadowed_overrides.h"
#include "host/support/utf8.h"

namespace idem {
namespace {

using nlohmann::json;

// The values that `complete` has at the keys of `keys`.
json at_keys_of(const json& keys, const json& complete) {
  if (!keys.is_object()) return complete;
  json result = json::object();
  for (const auto& [key, value] : keys.items()) result[key] = at_keys_of(value, complete.at(key));
  return result;
}

// What `full` says differently from `base`, such that laying it over base gives full, which has all keys of base.
json difference(const json& base, const json& full) {
  json result = json::object();
  for (const auto& [key, value] : full.items()) {
    const bool is_new = !base.contains(key);
    if (!is_new && value == base.at(key)) continue;
    result[key] = value.is_object() && !is_new ? difference(base.at(key), value) : value;
  }
  return result;
}

// A file name, or an object that holds one, as recording.counts does; anything else is left alone.
void make_path_absolute(json& source, const std::filesystem::path& folder) {
  if (source.is_string())
    source =
        text_of_path(std::filesystem::absolute(folder / path_of_text(source.get<std::string>())).lexically_normal());
  else if (source.is_object() && source.contains("file"))
    make_path_absolute(source["file"], folder);
}

// Of files that a model names.
json with_absolute_paths(json written, const std::filesystem::path& folder) {
  for_each_named_file(written, [&](json& file) { make_path_absolute(file, folder); });
  return written;
}

void make_paths_absolute(json& recording, const std::filesystem::path& folder) {
  const auto apply = [&](json& section, std::initializer_list<const char*> keys) {
    for (const char* key : keys)
      if (section.contains(key)) make_path_absolute(section[key], folder);
  };
  apply(recording, {"file", "counts", "times", "gaps", "trials"});
  if (recording.contains("spikes")) apply(recording["spikes"], {"times", "ids"});
  if (recording.contains("labels"))
    for (auto& label : recording["labels"]) apply(label, {"file", "times"});
}

void check_splits(const json& splits, const std::string& source) {
  if (splits.at("kind") == "time" || splits.at("kind") == "auto") {
    double sum = 0;
    for (const auto& fraction : splits.at("fractions")) sum += fraction.get<double>();
    if (!(sum <= 1 + 1e-9))
      throw ConfigError(fmt::format("{}: splits.fractions: add up to {:g}, more than 1", source, sum));
    if (splits.at("fractions")[0] == json(0))
      throw ConfigError(source + ": splits.fractions: nothing is left to train");
  }
  if (splits.at("kind") == "ranges") {
    if (splits.at("ranges").at("train").empty())
      throw ConfigError(source + ": splits.ranges.train: is empty, so there is nothing to train");
  }
}

void check_smoothing(const json& smoothing, const std::string& source) {
  const std::string kind = smoothing.at("kind");
  const bool gaussian = kind == "gaussian" || kind == "causal-half-gaussian";
  const int widths = !smoothing.at("sigma_bins").is_null() + !smoothing.at("sigma_ms").is_null();
  if (gaussian && widths != 1)
    throw ConfigError(fmt::format("{}: smoothing.sigma_bins: a {} needs one width, sigma_bins or sigma_ms; {} given",
                                  source, kind, widths == 0 ? "none" : "both"));
  if (!gaussian && widths != 0)
    throw ConfigError(fmt::format("{}: smoothing.sigma_{}: a {} has no sigma; drop it or use \"gaussian\"", source,
                                  smoothing.at("sigma_bins").is_null() ? "ms" : "bins",
                                  kind == "none" ? "smoothing of none" : kind));
  if (!gaussian && smoothing.at("edges") != "window")
    throw ConfigError(
        fmt::format("{}: smoothing.edges: {} belongs to the Gaussians; a {} follows windows.edges, \"window\"", source,
                    smoothing.at("edges").dump(), kind));
  if (kind == "causal-half-gaussian" && smoothing.at("edges") == "window")
    throw ConfigError(source +
                      ": smoothing.edges: a window that is shifted inside its segment would look ahead of a causal "
                      "filter; use \"nearest\" or \"constant\"");
  if (gaussian && smoothing.at("normalise") == json(false))
    throw ConfigError(source + ": smoothing.normalise: the Gaussians are always normalised; leave it out");
}

DecodingOptions decoding_options(const json& evaluation) {
  const auto label = [&](const char* key) {
    const std::string name = evaluation.at(key);
    return name == "auto" ? std::string() : name;
  };
  DecodingOptions options;
  options.position_label = label("position");
  options.direction_label = label("direction");
  options.neighbours = evaluation.at("neighbours").get<std::vector<int>>();
  options.neighbours_by = evaluation.at("neighbours_by") == "r2" ? NeighboursBy::r2 : NeighboursBy::score;
  if (const auto& draws = evaluation.at("marginal_draws"); draws.is_number()) options.marginal_draws = draws.get<int>();
  options.marginal_candidates = evaluation.at("marginal_candidates");
  return options;
}

// The recording section of a configuration, or one that names the file.
json recording_section(const std::string& path) {
  check_named_file("--recording ", path);
  if (!looks_like_json(path)) return {{"file", text_of_path(std::filesystem::absolute(path))}};
  json config = read_config(path);
  if (!config.is_object() || !config.contains("recording"))
    throw ConfigError(path +
                      ": recording: missing; --recording takes a recording file or a configuration with this section");
  json& section = config["recording"];
  const auto folder = std::filesystem::path(path).parent_path();
  if (section.is_object()) make_paths_absolute(section, folder);
  if (section.is_array())
    for (auto& recording : section)
      if (recording.is_object()) make_paths_absolute(recording, folder);
  return section;
}

}  // namespace

Study resolve_study(json config, const std::string& source, const std::filesystem::path& folder) {
  check_against_schema(config, source);
  Study study;
  study.source = source;

  json complete = schema_defaults();
  lay_over(complete, config);
  const json written_base = config.value("model", json::object());
  const json base = complete_model(with_absolute_paths(written_base, folder));
  complete["model"] = base;
  complete["models"] = json::array();
  std::vector<json> models;
  for (const auto& partial : config.value("models", json::array())) {
    json written = written_base;
    lay_over(written, partial);
    if (!partial.contains("name")) written["name"] = nullptr;  // or all would be called as the base
    models.push_back(complete_model(with_absolute_paths(written, folder)));
    if (base.contains("training")) {  // also where only the base's preset has training of its own
      json training = at_keys_of(base.at("training"), complete.at("training"));
      lay_over(training, models.back().value("training", json::object()));
      models.back()["training"] = std::move(training);
    }
    json changes = difference(base, models.back());
    if (!models.back().at("name").is_null()) changes["name"] = models.back().at("name");
    complete["models"].push_back(std::move(changes));
  }
  if (models.empty()) models.push_back(base);

  json& recordings = complete.at("recording");
  if (!recordings.is_array()) {
    make_paths_absolute(recordings, folder);
    study.recordings = {recordings};
  } else {
    for (auto& recording : recordings) make_paths_absolute(recording, folder);
    study.recordings = recordings.get<std::vector<json>>();
  }

  check_splits(complete.at("splits"), source);
  check_smoothing(complete.at("smoothing"), source);
  if (complete.at("smoothing").at("normalise").is_null())
    complete["smoothing"]["normalise"] =
        complete.at("smoothing").at("kind") != "boxcar" && complete.at("smoothing").at("kind") != "none";
  study.splits = complete.at("splits");
  study.decoding = decoding_options(complete.at("evaluation"));
  study.seeds = complete.at("seeds").get<std::vector<std::uint64_t>>();
  std::set<std::string> names;
  const json written_models = config.value("models", json::array());
  for (std::size_t i = 0; i < models.size(); ++i) {
    study.models.push_back(read_model(models[i], complete, source));
    check_effects(written_models.empty() ? written_base : written_models[i], study.models.back());
    if (!names.insert(study.models.back().name).second)
      throw ConfigError(
          fmt::format("{}: models: two are called \"{}\"; give each its own name", source, study.models.back().name));
  }
  complete["$schema"] = fmt::format("./{}", kSchemaFile);  // lies beside the configuration that a run writes
  study.resolved = std::move(complete);
  return study;
}

Study load_study(const std::string& path, const std::vector<std::string>& overrides, const std::string& recording) {
  json config = read_config(path);
  if (!recording.empty() && config.is_object()) config["recording"] = recording_section(recording);
  const std::filesystem::path folder = std::filesystem::path(path).parent_path();
  json changed = config;
  for (const auto& assignment : overrides) apply_override(changed, assignment, path);
  Study study = resolve_study(changed, path, folder);
  std::vector<std::string> names;
  for (const auto& model : study.models) names.push_back(model.name);
  for (std::size_t i = 0; i < overrides.size(); ++i) {
    json without = config;
    for (std::size_t other = 0; other < overrides.size(); ++other)
      if (other != i) apply_override(without, overrides[other], path);
    try {
      for (auto& sentence :
           shadowed_by_models(overrides[i], resolve_study(without, path, folder).resolved, study.resolved, names))
        study.warnings.push_back(std::move(sentence));
    } catch (const ConfigError&) {
      continue;  // without it there is no study: it changes something
    }
  }
  return study;
}

}  // namespace idem
