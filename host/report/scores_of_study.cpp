#include "host/report/scores_of_study.h"

#include <fmt/format.h>

#include <algorithm>
#include <cmath>
#include <limits>

namespace idem {
namespace {

constexpr double not_a_number = std::numeric_limits<double>::quiet_NaN();

double baseline_metric(const StudyResult& study, const BaselineResult& baseline, const std::string& name, const char* decoder, const char* split,
                       const std::string& metric) {
  const std::string where = (study.directory / "metrics.json").string() + ": baselines." + name;
  if (name == "chance") {
    const bool by_split = baseline.chance.is_object() && baseline.chance.contains(split);
    return number_at(baseline.chance, by_split ? std::vector<std::string>{split, metric} : std::vector<std::string>{metric, split}, where);
  }
  if (name == "place_fields") return number_at(baseline.place_fields, {split, metric}, where);
  const auto found = baseline.decoded.find(name);
  return found == baseline.decoded.end() ? not_a_number : number_at(found->second, {decoder, split, metric}, where);
}

}  // namespace

Spread spread_of(const std::vector<double>& values) {
  Spread spread;
  for (const double value : values)
    if (std::isfinite(value)) spread.mean += value, ++spread.n;
  if (spread.n == 0) return spread;
  spread.mean /= static_cast<double>(spread.n);
  double squares = 0;
  for (const double value : values)
    if (std::isfinite(value)) squares += (value - spread.mean) * (value - spread.mean);
  if (spread.n > 1) spread.sd = std::sqrt(squares / static_cast<double>(spread.n - 1));
  return spread;
}

MetricStyle metric_style(const std::string& key, const DecodedLabels& labels) {
  const auto noted = [](const std::string& unit) { return unit.empty() ? "median" : "median, " + unit; };
  const auto decimals = [](const std::string& unit) { return unit == "deg" ? 1 : 3; };
  if (key == "position_error_cm") return {key, labels.position + " error", noted("cm"), 1, 1, true, "cm"};
  if (key == "position_error") return {key, labels.position + " error", noted(labels.position_unit), 1, decimals(labels.position_unit), true, labels.position_unit};
  if (key == "position_r2") return {key, labels.position + " R²", "", 1, 2, false};
  if (key == "direction_r2") return {key, labels.direction + " R²", "", 1, 2, false};
  if (key == "total_r2") return {key, "total R²", "mean over the columns of all labels", 1, 2, false};
  if (key == "direction_accuracy") return {key, labels.direction + " accuracy", "%", 100, 1, false, "%"};
  const std::string label = key.substr(0, key.rfind(':'));
  if (key.ends_with(":accuracy")) return {key, label + " accuracy", "%", 100, 1, false, "%"};
  if (key.ends_with(":median_error")) {
    const auto unit = labels.other_units.find(label);
    const std::string shown = unit == labels.other_units.end() ? "" : unit->second;
    return {key, label + " error", noted(shown), 1, decimals(shown), true, shown};
  }
  const bool error = key.find("error") != std::string::npos || key.find("loss") != std::string::npos;
  return {key, words(key), "", 1, 3, error};
}

std::string format_number(double value, int decimals) {
  if (!std::isfinite(value)) return "–";
  std::string text = std::abs(value) < 1e7 ? fmt::format("{:.{}f}", value, decimals) : fmt::format("{:.2e}", value);
  if (text.find_first_not_of("-0.") == std::string::npos && text[0] == '-') text.erase(0, 1);
  if (text[0] == '-') text.replace(0, 1, "−");
  return text;
}

std::string format_spread(const Spread& spread, const MetricStyle& style) {
  if (spread.n == 0) return "–";
  const std::string mean = format_number(spread.mean * style.scale, style.decimals);
  return spread.n == 1 ? mean : mean + "\u00a0±\u00a0" + format_number(spread.sd * style.scale, style.decimals);
}

std::string words(std::string key) {
  std::replace(key.begin(), key.end(), '_', ' ');
  for (const auto& [plain, shown] : {std::pair<std::string, std::string>{" r2", " R²"}, {" mcc", " MCC"}, {"kl ", "KL "}, {"info nce", "InfoNCE"}})
    if (const auto at = key.find(plain); at != std::string::npos) key.replace(at, plain.size(), shown);
  return key;
}

std::string ModelGroup::extent() const {
  if (runs.size() == 1) return "1 run";
  const auto plural = [](std::size_t n, const char* noun) { return fmt::format("{} {}{}", n, noun, n == 1 ? "" : "s"); };
  if (runs.size() != seeds.size() * splits.size()) return plural(runs.size(), "run");
  return plural(seeds.size(), "seed") + " × " + plural(splits.size(), "split");
}

std::vector<ModelGroup> model_groups(const StudyResult& study) {
  std::vector<ModelGroup> groups;
  for (std::size_t i = 0; i < study.runs.size(); ++i) {
    const RunResult& run = study.runs[i];
    auto group = std::find_if(groups.begin(), groups.end(), [&](const ModelGroup& g) { return g.subject == run.subject && g.model == run.model; });
    if (group == groups.end()) {
      groups.push_back({run.subject, run.model, run.objective, {}, {}, {}});
      group = groups.end() - 1;
    }
    group->runs.push_back(i);
    group->seeds.insert(run.seed);
    group->splits.insert(run.split);
  }
  return groups;
}

std::vector<std::string> subjects_of(const StudyResult& study) {
  std::vector<std::string> subjects;
  for (const auto& run : study.runs)
    if (std::find(subjects.begin(), subjects.end(), run.subject) == subjects.end()) subjects.push_back(run.subject);
  return subjects;
}

// Every metric that some run has, the known ones first.
std::vector<std::string> metrics_of(const StudyResult& study) {
  std::vector<std::string> found;
  for (const auto& run : study.runs)
    for (const auto& kind : latents_kinds)
      for (const auto& decoder : decoders)
        for (const char* split : scored_splits) {
          const Json* scores = &run.metrics;
          for (const char* key : {kind.key, decoder.key, split}) {
            static const Json absent;
            scores = scores->is_object() && scores->contains(key) ? &(*scores)[key] : &absent;
          }
          if (!scores->is_object()) continue;
          for (const auto& [key, value] : scores->items())
            if (value.is_number() && std::find(found.begin(), found.end(), key) == found.end()) found.push_back(key);
        }
  std::vector<std::string> ordered;
  for (const char* known : {"position_error_cm", "position_error", "position_r2", "direction_r2", "total_r2", "direction_accuracy"})
    if (std::find(found.begin(), found.end(), known) != found.end()) ordered.push_back(known);
  for (const auto& key : found)
    if (std::find(ordered.begin(), ordered.end(), key) == ordered.end()) ordered.push_back(key);
  return ordered;
}

bool has_scores_of(const RunResult& run, const char* latents) { return run.metrics.is_object() && run.metrics.contains(latents); }

std::string run_where(const StudyResult& study, const std::string& run) { return (study.directory / "metrics.json").string() + ": run " + run; }

double run_metric(const StudyResult& study, std::size_t run, const char* latents, const char* decoder, const char* split, const std::string& metric) {
  return number_at(study.runs[run].metrics, {latents, decoder, split, metric}, run_where(study, study.runs[run].name) + ".metrics");
}

std::vector<double> group_metric(const StudyResult& study, const ModelGroup& group, const char* latents, const char* decoder, const char* split,
                                 const std::string& metric, int only_split) {
  std::vector<double> values;
  for (const std::size_t run : group.runs)
    if (only_split < 0 || study.runs[run].split == only_split) values.push_back(run_metric(study, run, latents, decoder, split, metric));
  return values;
}

std::vector<double> marginal_values(const StudyResult& study, const ModelGroup& group, const char* split, const std::string& metric, int only_split) {
  std::vector<double> values;
  for (const std::size_t run : group.runs)
    if (only_split < 0 || study.runs[run].split == only_split)
      values.push_back(number_at(study.runs[run].metrics, {"marginal", split, metric}, run_where(study, study.runs[run].name) + ".metrics"));
  return values;
}

std::vector<double> baseline_values(const StudyResult& study, const std::string& subject, const std::string& name, const char* decoder,
                                    const char* split, const std::string& metric, int only_split) {
  std::vector<double> values;
  for (const auto& baseline : study.baselines)
    if (baseline.subject == subject && (only_split < 0 || baseline.split == only_split))
      values.push_back(baseline_metric(study, baseline, name, decoder, split, metric));
  return values;
}

std::vector<double> agreements_of(const StudyResult& study, const ModelGroup& group) {
  std::vector<double> values;
  for (const std::size_t run : group.runs) values.push_back(study.runs[run].agreement);
  return values;
}

const SeedConsistency* consistency_of(const StudyResult& study, const ModelGroup& group) {
  for (const auto& entry : study.consistency)
    if (entry.subject == group.subject && entry.model == group.model) return &entry;
  return nullptr;
}

// Place fields say which distribution the activity's values made them assume; results written before they kept it do not.
std::string baseline_title(const StudyResult& study, const std::string& subject, std::string_view name) {
  if (name != "place_fields") return name == "pca" ? "PCA of all bins" : name == "window_sums" ? "window sums" : "chance";
  for (const auto& baseline : study.baselines) {
    if (baseline.subject != subject || !baseline.place_fields.is_object()) continue;
    const Json activity = baseline.place_fields.value("activity", Json());
    if (activity == "poisson") return "place fields (Bayes, Poisson)";
    if (activity == "gaussian") return "place fields (Bayes, Gaussian)";
  }
  return "place fields (Bayes)";
}

bool needs_no_decoder(std::string_view name) { return name == "chance" || name == "place_fields"; }

ModelGroup best_by_validation(const StudyResult& study, const std::vector<ModelGroup>& groups, const std::string& subject,
                              const std::string& metric) {
  const MetricStyle style = metric_style(metric, study.labels);
  ModelGroup best;
  double best_score = std::numeric_limits<double>::infinity();
  for (const auto& group : groups) {
    if (group.subject != subject) continue;
    const Spread valid = spread_of(group_metric(study, group, "encoder", "euclidean", "valid", metric));
    const double score = style.smaller_is_better ? valid.mean : -valid.mean;
    if (valid.n > 0 && score < best_score) best = group, best_score = score;
  }
  return best;
}

}  // namespace idem
