#include "host/report/results.h"

#include <fmt/format.h>
#include <fmt/ranges.h>

#include <algorithm>
#include <cmath>
#include <limits>
#include <set>

#include "host/config/json_text.h"
#include "host/families/families.h"
#include "host/support/one_line.h"
#include "host/support/errors.h"
#include "host/support/files.h"
#include "host/formats/metrics_file.h"
#include "host/formats/npz.h"

namespace idem {
namespace {

constexpr double not_a_number = std::numeric_limits<double>::quiet_NaN();

// The parser's message without its library prefix and line breaks.
std::string parse_fault(const nlohmann::json::exception& error) {
  std::string message = error.what();
  if (const auto bracket = message.find("] "); bracket != std::string::npos) message.erase(0, bracket + 2);
  std::replace_if(message.begin(), message.end(), [](unsigned char c) { return c < ' '; }, ' ');
  return message;
}

Json parse_json(const std::string& text, const std::string& where, const char* remedy) {
  try {
    return Json::parse(text);
  } catch (const nlohmann::json::exception& error) {
    throw DataError(fmt::format("{}: not JSON ({}); {}", where, parse_fault(error), remedy));
  }
}

const Json& member(const Json& object, const std::string& key) {
  static const Json absent;
  if (!object.is_object()) return absent;
  const auto found = object.find(key);
  return found == object.end() ? absent : *found;
}

const Json& object_member(const Json& object, const std::string& key, const std::string& where) {
  const Json& value = member(object, key);
  if (!value.is_null() && !value.is_object())
    throw DataError(fmt::format("{}.{}: expected an object; write the file anew with idem run", where, key));
  return value;
}

// Items, or none where there is no such member. where: of a whole file it ends with ": ".
const Json& array_member(const Json& object, const std::string& key, const std::string& where) {
  static const Json none = Json::array();
  const Json& value = member(object, key);
  if (!value.is_null() && !value.is_array())
    throw DataError(fmt::format("{}{}{}: expected an array; write the file anew with idem run", where,
                                where.ends_with(": ") ? "" : ".", key));
  return value.is_null() ? none : value;
}

std::string string_member(const Json& object, const std::string& key, const std::string& where) {
  const Json& value = member(object, key);
  if (!value.is_string())
    throw DataError(fmt::format("{}.{}: expected a string; write the file anew with idem run", where, key));
  return value.get<std::string>();
}

int int_member(const Json& object, const std::string& key, const std::string& where) {
  const Json& value = member(object, key);
  const bool fits =
      value.is_number_integer() && value.get<double>() >= 0 && value.get<double>() <= std::numeric_limits<int>::max();
  if (!fits)
    throw DataError(fmt::format("{}.{}: expected a whole number; write the file anew with idem run", where, key));
  return value.get<int>();
}

std::string optional_string(const Json& object, const std::string& key) {
  const Json& value = member(object, key);
  return value.is_string() ? value.get<std::string>() : std::string();
}

// A run's name becomes a folder and file names: it must not leave the study's folder nor break a line.
void require_path_component(const std::string& name, const std::string& where) {
  const bool plain =
      std::none_of(name.begin(), name.end(), [](unsigned char c) { return c < ' ' || c == 127 || c == '/'; });
  if (!plain || name.empty() || name == "." || name == "..")
    throw DataError(fmt::format("{}: \"{}\" cannot name a folder; run names hold no slash and no control character",
                                where, Json(name).dump(-1, ' ', true)));
}

// Moves a decoder's scores of other labels to where those of position and direction stand.
void flatten_labels(Json& decoder, const std::string& where, DecodedLabels& labels) {
  const Json others = object_member(decoder, "labels", where);
  if (others.is_null()) return;
  for (const auto& [label, scores] : others.items())
    for (const char* part : {"valid", "test"})
      for (const char* metric : {"median_error", "accuracy"}) {
        const double value = number_at(scores, {part, metric}, where + ".labels." + label);
        if (std::isnan(value)) continue;
        if (!object_member(decoder, part, where).is_object()) decoder[part] = Json::object();
        decoder[part][label + ":" + metric] = value;
        labels.other_units[label] = optional_string(member(scores, part), "unit");
      }
}

void flatten_decoders(Json& decoders, const std::string& where, DecodedLabels& labels) {
  for (const char* decoder : {"euclidean", "cosine", "linear"})
    if (decoders.is_object() && decoders.contains(decoder))
      flatten_labels(decoders[decoder], where + "." + decoder, labels);
}

// What the files keep of a model without labels under the names of latents with labels.
void leave_out_labels(RunResult& run) {
  run.agreement = not_a_number;
  for (Json* scores : {&run.metrics, &run.identifiability})
    if (scores->is_object()) scores->erase("posterior");
  const auto keep_encoder = [](Json& collapse) {
    if (!collapse.is_object()) return;
    for (const char* key : {"label_weight", "kl_posterior", "conditional_active_units", "label_swap_reliance"})
      collapse.erase(key);
  };
  keep_encoder(run.collapse);
  if (run.collapse.is_object() && run.collapse.contains("latents"))
    for (Json& latent : run.collapse["latents"]) keep_encoder(latent);
}

// Folders older than the key do not name it.
const Family* family_of(const Json& json, const RunResult& run, const std::string& where) {
  std::string name = optional_string(json, "family");
  if (name.empty())
    name = !member(run.training, "steps").is_null()              ? "cebra"
           : run.objective == "generalized contrastive learning" ? "gcl"
                                                                 : "vae";
  const Family* family = find_family(name);
  if (!family)
    throw DataError(
        fmt::format("{}.family: \"{}\" is none that this program knows; read the folder with the idem that "
                    "made it",
                    where, one_line(name)));
  return family;
}

RunResult parse_run(const Json& json, const std::string& where, DecodedLabels& labels) {
  RunResult run;
  run.name = string_member(json, "run", where);
  require_path_component(run.name, where + ".run");
  run.subject = string_member(json, "subject", where);
  run.model = string_member(json, "model", where);
  require_path_component(run.subject, where + ".subject");
  require_path_component(run.model, where + ".model");
  run.objective = optional_string(json, "objective");
  const Json& seed = member(json, "seed");
  if (!seed.is_number_unsigned())
    throw DataError(where + ".seed: expected a whole number; write the file anew with idem run");
  run.seed = seed.get<std::uint64_t>();
  run.split = int_member(json, "split", where);
  run.metrics = object_member(json, "metrics", where);
  for (const char* latents : {"encoder", "posterior"})
    if (run.metrics.is_object() && run.metrics.contains(latents))
      flatten_decoders(run.metrics[latents], where + ".metrics." + latents, labels);
  if (run.metrics.is_object() && run.metrics.contains("marginal"))
    flatten_labels(run.metrics["marginal"], where + ".metrics.marginal", labels);
  run.agreement = number_at(json, {"agreement"}, where);
  const Json& collapse = object_member(json, "collapse", where);
  run.collapse_of_test = collapse.is_null() || !object_member(collapse, "test", where + ".collapse").is_null();
  run.collapse = object_member(collapse, run.collapse_of_test ? "test" : "valid", where + ".collapse");
  array_member(run.collapse, "latents", where + ".collapse");
  run.fit = object_member(json, "fit", where);
  run.identifiability = object_member(json, "identifiability", where);
  run.training = object_member(json, "training", where);
  run.family = family_of(json, run, where);
  run.target = optional_string(json, "target");
  run.sees_labels = member(json, "sees_labels") != Json(false);
  if (!run.sees_labels) leave_out_labels(run);
  return run;
}

BaselineResult parse_baseline(const Json& json, const std::string& where, DecodedLabels& labels) {
  BaselineResult baseline;
  baseline.subject = string_member(json, "subject", where);
  baseline.split = int_member(json, "split", where);
  baseline.chance = object_member(json, "chance", where);
  flatten_labels(baseline.chance, where + ".chance", labels);
  baseline.place_fields = object_member(json, "place_fields", where);
  flatten_labels(baseline.place_fields, where + ".place_fields", labels);
  for (const char* name : {"pca", "window_sums"})
    if (const Json& decoded = object_member(json, name, where); !decoded.is_null()) {
      baseline.decoded[name] = decoded;
      flatten_decoders(baseline.decoded[name], where + "." + name, labels);
    }
  return baseline;
}

SeedConsistency parse_consistency(const Json& json, const std::string& where) {
  SeedConsistency consistency{string_member(json, "subject", where), string_member(json, "model", where), {}, {}, {}};
  const Json& splits = array_member(json, "splits", where);
  for (std::size_t i = 0; i < splits.size(); ++i) {
    const std::string place = fmt::format("{}.splits[{}]", where, i);
    consistency.encoder.push_back(number_at(splits[i], {"encoder"}, place));
    consistency.posterior.push_back(number_at(splits[i], {"posterior"}, place));
    consistency.lowest_loss.push_back(number_at(splits[i], {"encoder_lowest_loss"}, place));
  }
  return consistency;
}

AnimalConsistencyResult parse_animals(const Json& json, const std::string& where) {
  AnimalConsistencyResult result;
  result.from = string_member(json, "from", where);
  result.to = string_member(json, "to", where);
  result.model = string_member(json, "model", where);
  const Json& splits = array_member(json, "splits", where);
  for (std::size_t i = 0; i < splits.size(); ++i) {
    const std::string place = fmt::format("{}.splits[{}]", where, i);
    result.encoder.push_back(number_at(splits[i], {"encoder", "test"}, place));
    result.posterior.push_back(number_at(splits[i], {"posterior", "test"}, place));
    result.unmapped.push_back(number_at(splits[i], {"encoder", "test_unmapped"}, place));
    const double in_cm = number_at(splits[i], {"encoder", "across_position_error_cm"}, place);
    result.error_across.push_back(
        std::isfinite(in_cm) ? in_cm : number_at(splits[i], {"encoder", "across_position_error"}, place));
  }
  return result;
}

std::map<std::string, double> parse_loss_parts(const Json& json, const std::string& where) {
  std::map<std::string, double> parts;
  if (json.is_null()) return parts;
  if (!json.is_object()) throw DataError(where + ": expected an object of loss parts; delete the line or run again");
  for (const auto& [key, value] : json.items()) parts[key] = number_at(json, {key}, where);
  return parts;
}

// What one line of the log adds to the study. Throws DataError for a damaged one, and then adds nothing.
void read_event(const std::string& line, const std::string& where, const std::map<std::string, RunResult*>& runs,
                StudyResult& study) {
  const Json event = parse_json(line, where, "delete the line or run again");
  if (!event.is_object()) throw DataError(where + ": expected an object; delete the line or run again");
  const std::string kind = optional_string(event, "event");
  if (kind == "warning" || kind == "note") {
    const std::string message = optional_string(event, "message");
    auto& known = kind == "note" ? study.notes : study.warnings;
    if (!message.empty() && std::find(known.begin(), known.end(), message) == known.end()) known.push_back(message);
  }
  if (kind != "epoch" && kind != "steps") return;
  const auto run = runs.find(string_member(event, "run", where));
  if (run == runs.end()) return;  // interrupted before it had metrics
  LoggedEpoch record;
  record.epoch = int_member(event, kind == "epoch" ? "epoch" : "step", where);
  record.train = parse_loss_parts(member(event, "train"), where + ", train");
  record.valid = parse_loss_parts(member(event, "valid"), where + ", valid");
  // An interrupted run that started again repeats its epochs: the later ones count.
  auto& epochs = run->second->epochs;
  while (!epochs.empty() && epochs.back().epoch >= record.epoch) epochs.pop_back();
  epochs.push_back(std::move(record));
}

void read_log(const std::filesystem::path& path, StudyResult& study) {
  const std::string text = read_file_bytes(path);
  std::map<std::string, RunResult*> runs;
  for (RunResult& run : study.runs) runs[run.name] = &run;
  std::vector<std::size_t> damaged;
  std::size_t line_number = 0;
  for (std::size_t begin = 0; begin < text.size();) {
    const std::size_t end = text.find('\n', begin);
    const bool complete = end != std::string::npos;
    const std::string line = text.substr(begin, complete ? end - begin : std::string::npos);
    begin = complete ? end + 1 : text.size();
    ++line_number;
    if (line.find_first_not_of(" \t\r") == std::string::npos) continue;
    // A killed run leaves half a line at the end: what came before it still counts.
    if (!complete && !Json::accept(line)) break;
    try {
      read_event(line, fmt::format("{}: line {}", path.string(), line_number), runs, study);
    } catch (const DataError&) {
      damaged.push_back(line_number);  // one line is no reason to show nothing of the rest
    }
  }
  if (damaged.empty()) return;
  constexpr std::size_t kShown = 8;
  const std::vector<std::size_t> shown(damaged.begin(),
                                       damaged.begin() + static_cast<std::ptrdiff_t>(std::min(kShown, damaged.size())));
  study.log_fault = fmt::format(
      "{}: line{} {}{} {} damaged and left out: the curves of the losses or a warning may lack something, the scores "
      "do not",
      path.filename().string(), damaged.size() == 1 ? "" : "s", fmt::join(shown, ", "),
      damaged.size() > kShown ? fmt::format(" and {} more", damaged.size() - kShown) : "",
      damaged.size() == 1 ? "is" : "are");
  study.warnings.push_back(study.log_fault);
}

}  // namespace

ReportedRun reported(const RunResult& run) {
  return {.objective = run.objective, .target = run.target, .sees_labels = run.sees_labels};
}

std::vector<FamilyRuns> families_of(const StudyResult& study) {
  std::vector<FamilyRuns> list;
  for (const Family* family : families()) {
    FamilyRuns of{.family = family, .runs = {}};
    for (const auto& run : study.runs)
      if (run.family == family) of.runs.push_back(reported(run));
    if (!of.runs.empty()) list.push_back(std::move(of));
  }
  return list;
}

double number_at(const Json& object, const std::vector<std::string>& keys, const std::string& where) {
  const Json* value = &object;
  for (const auto& key : keys) value = &member(*value, key);
  if (value->is_null()) return not_a_number;
  if (!value->is_number()) {
    std::string path = where;
    for (const auto& key : keys) path += "." + key;
    throw DataError(path + ": expected a number; write the file anew with idem run");
  }
  return value->get<double>();
}

StudyResult read_study(const std::filesystem::path& directory) {
  StudyResult study;
  study.directory = directory;
  if (!std::filesystem::is_directory(directory))
    throw DataError(fmt::format("{}: not a folder; give the folder that idem run wrote", directory.string()));
  const auto config_path = directory / "config.json", metrics_path = directory / "metrics.json";
  study.config = parse_json(read_file_bytes(config_path), config_path.string(), "restore it or run again");
  const Json metrics = read_metrics_file(metrics_path);
  if (!study.config.is_object())
    throw DataError(config_path.string() + ": expected an object; restore it or run again");
  if (std::filesystem::exists(directory / "profile.json")) study.profile = read_profile(directory);
  const std::string where = metrics_path.string() + ": ";
  study.device = optional_string(metrics, "device");
  study.version = optional_string(metrics, "version");
  const Json& labels = member(metrics, "labels");  // of every subject; one study decodes labels of the same names
  if (labels.is_object() && !labels.empty()) {
    const Json &position = member(labels.front(), "position"), &direction = member(labels.front(), "direction");
    if (position.is_object()) study.labels.position = optional_string(position, "name");
    study.labels.position_unit = optional_string(position, "unit");
    if (direction.is_object()) study.labels.direction = optional_string(direction, "name");
    for (const auto& [subject, described] : labels.items()) {
      const Json& columns = member(described, "columns");
      if (!columns.is_object()) continue;
      for (const auto& [name, column] : columns.items()) {
        const double period = number_at(column, {"period"}, where + "labels." + subject + ".columns." + name);
        study.label_facts[subject][name] = {optional_string(column, "unit"), std::isfinite(period) ? period : 0};
      }
    }
  }
  const Json& runs = member(metrics, "runs");
  if (!runs.is_array()) throw DataError(where + "runs: expected an array; write the file anew with idem run");
  std::set<std::string> names;
  for (std::size_t i = 0; i < runs.size(); ++i) {
    RunResult run = parse_run(runs[i], fmt::format("{}runs[{}]", where, i), study.labels);
    if (!names.insert(run.name).second)
      throw DataError(
          fmt::format("{}runs[{}].run: \"{}\" is there twice; write the file anew with idem run", where, i, run.name));
    if (member(runs[i], "failed") == Json(true))
      study.failed.push_back({run.name, run.subject, run.model, optional_string(runs[i], "reason")});
    else
      study.runs.push_back(std::move(run));
  }
  const Json& planned = member(metrics, "planned_runs");
  study.planned_runs = planned.is_number_unsigned() ? planned.get<std::size_t>() : runs.size();
  const Json& baselines = array_member(metrics, "baselines", where);
  for (std::size_t i = 0; i < baselines.size(); ++i)
    study.baselines.push_back(parse_baseline(baselines[i], fmt::format("{}baselines[{}]", where, i), study.labels));
  study.evidence = parse_evidence(metrics, where);
  const Json& consistency = array_member(member(metrics, "consistency"), "runs", where + "consistency");
  for (std::size_t i = 0; i < consistency.size(); ++i)
    study.consistency.push_back(parse_consistency(consistency[i], fmt::format("{}consistency.runs[{}]", where, i)));
  const Json& animals = array_member(member(metrics, "consistency"), "animals", where + "consistency");
  for (std::size_t i = 0; i < animals.size(); ++i)
    study.animals.push_back(parse_animals(animals[i], fmt::format("{}consistency.animals[{}]", where, i)));
  for (const RunResult& run : study.runs) {
    if (run.sees_labels) continue;
    for (auto& entry : study.consistency)
      if (entry.model == run.model) entry.posterior.clear();
    for (auto& entry : study.animals)
      if (entry.model == run.model) entry.posterior.clear();
  }
  read_log(directory / "log.jsonl", study);
  return study;
}

RunLatents read_run_latents(const StudyResult& study, const RunResult& run) {
  const auto path = study.directory / "runs" / run.name / "latents.npz";
  const auto arrays = read_npz(path);
  const std::string where = path.string();
  const auto array = [&](const char* name) -> const NumpyArray& {
    const auto found = arrays.find(name);
    if (found == arrays.end())
      throw DataError(fmt::format("{}: no array \"{}\"; write the file anew with idem run", where, name));
    return found->second;
  };
  RunLatents latents;
  // A run has the latents that it has scores of, and where nothing is scored those that are there.
  const auto has = [&](const char* name, const char* scores) {
    if (!run.sees_labels && std::string_view(name) == "posterior_mean") return false;
    return arrays.count(name) || (run.metrics.is_object() && run.metrics.contains(scores));
  };
  const char* first =
      has("encoder_mean", "encoder") || !has("posterior_mean", "posterior") ? "encoder_mean" : "posterior_mean";
  const NumpyArray& means = array(first);
  if (means.shape.size() != 2 || means.shape[1] < 1 || means.size() > std::numeric_limits<std::int32_t>::max())
    throw DataError(
        fmt::format("{}: {}: expected the shape [time x latent]; write the file anew with idem run", where, first));
  latents.n_times = static_cast<std::int32_t>(means.shape[0]);
  latents.n_latents = static_cast<std::int32_t>(means.shape[1]);
  latents.label_names = array("label_names").texts();
  latents.n_features = static_cast<std::int32_t>(latents.label_names.size());
  const auto shaped = [&](const char* name, std::vector<std::int64_t> shape) -> const NumpyArray& {
    const NumpyArray& values = array(name);
    // No labels at all: NumPy may have kept the empty matrix as [T x 0] or as [0].
    if (values.shape != shape && !(values.size() == 0 && shape.back() == 0))
      throw DataError(fmt::format("{}: {}: expected the shape [{}]; write the file anew with idem run", where, name,
                                  fmt::join(shape, " x ")));
    return values;
  };
  const std::int64_t n_times = latents.n_times;
  latents.time_s = shaped("time_s", {n_times}).as<double>();
  latents.segment = shaped("segment", {n_times}).as<std::int32_t>();
  latents.split = shaped("split", {n_times}).as<std::int32_t>();
  for (const auto& [name, scores, values] : {std::tuple{"encoder_mean", "encoder", &latents.encoder_mean},
                                             std::tuple{"posterior_mean", "posterior", &latents.posterior_mean}})
    if (has(name, scores)) *values = shaped(name, {n_times, latents.n_latents}).as<float>();
  latents.labels = shaped("labels", {n_times, latents.n_features}).as<float>();
  if (arrays.count("decoded_position")) latents.decoded_position = shaped("decoded_position", {n_times}).as<float>();
  for (std::size_t time = 0; time < latents.split.size(); ++time)
    if (latents.split[time] < -1 || latents.split[time] > 2)
      throw DataError(fmt::format("{}: split[{}] is {}; expected -1, 0, 1 or 2; write the file anew with idem run",
                                  where, time, latents.split[time]));
  return latents;
}

}  // namespace idem
