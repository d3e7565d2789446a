#include "host/report/groups.h"

#include <fmt/format.h>

#include <algorithm>
#include <limits>
#include <utility>

namespace idem {
namespace {

double baseline_metric(const StudyResult& study, const BaselineResult& baseline, const std::string& name,
                       const char* decoder, const char* split, const std::string& metric) {
  const std::string where = (study.directory / "metrics.json").string() + ": baselines." + name;
  if (name == "chance") {
    const bool by_split = baseline.chance.is_object() && baseline.chance.contains(split);
    return number_at(baseline.chance,
                     by_split ? std::vector<std::string>{split, metric} : std::vector<std::string>{metric, split},
                     where);
  }
  if (name == "place_fields") return number_at(baseline.place_fields, {split, metric}, where);
  const auto found = baseline.decoded.find(name);
  constexpr double kNone = std::numeric_limits<double>::quiet_NaN();
  return found == baseline.decoded.end() ? kNone : number_at(found->second, {decoder, split, metric}, where);
}

}  // namespace

std::string ModelGroup::extent() const {
  if (runs.size() == 1) return "1 run";
  const auto plural = [](std::size_t n, const char* noun) {
    return fmt::format("{} {}{}", n, noun, n == 1 ? "" : "s");
  };
  if (runs.size() != seeds.size() * splits.size()) return plural(runs.size(), "run");
  return plural(seeds.size(), "seed") + " × " + plural(splits.size(), "split");
}

std::vector<ModelGroup> model_groups(const StudyResult& study) {
  std::vector<ModelGroup> groups;
  for (std::size_t i = 0; i < study.runs.size(); ++i) {
    const RunResult& run = study.runs[i];
    auto group = std::find_if(groups.begin(), groups.end(),
                              [&](const ModelGroup& g) { return g.subject == run.subject && g.model == run.model; });
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
  for (const char* known :
       {"position_error_cm", "position_error", "position_r2", "direction_r2", "total_r2", "direction_accuracy"})
    if (std::find(found.begin(), found.end(), known) != found.end()) ordered.push_back(known);
  for (const auto& key : found)
    if (std::find(ordered.begin(), ordered.end(), key) == ordered.end()) ordered.push_back(key);
  return ordered;
}

bool has_scores_of(const RunResult& run, const char* latents) {
  return run.metrics.is_object() && run.metrics.contains(latents);
}

std::string run_where(const StudyResult& study, const std::string& run) {
  return (study.directory / "metrics.json").string() + ": run " + run;
}

double run_metric(const StudyResult& study, std::size_t run, const char* latents, const char* decoder,
                  const char* split, const std::string& metric) {
  return number_at(study.runs[run].metrics, {latents, decoder, split, metric},
                   run_where(study, study.runs[run].name) + ".metrics");
}

std::vector<double> group_metric(const StudyResult& study, const ModelGroup& group, const char* latents,
                                 const char* decoder, const char* split, const std::string& metric, int only_split) {
  std::vector<double> values;
  for (const std::size_t run : group.runs)
    if (only_split < 0 || study.runs[run].split == only_split)
      values.push_back(run_metric(study, run, latents, decoder, split, metric));
  return values;
}

std::vector<double> marginal_values(const StudyResult& study, const ModelGroup& group, const char* split,
                                    const std::string& metric, int only_split) {
  std::vector<double> values;
  for (const std::size_t run : group.runs)
    if (only_split < 0 || study.runs[run].split == only_split)
      values.push_back(number_at(study.runs[run].metrics, {"marginal", split, metric},
                                 run_where(study, study.runs[run].name) + ".metrics"));
  return values;
}

std::vector<double> baseline_values(const StudyResult& study, const std::string& subject, const std::string& name,
                                    const char* decoder, const char* split, const std::string& metric, int only_split) {
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

// Place fields say which distribution the activity's values made them assume; results written before they kept it do
// not.
std::string baseline_title(const StudyResult& study, const std::string& subject, std::string_view name) {
  if (name != "place_fields")
    return name == "pca" ? "PCA of all bins" : name == "window_sums" ? "window sums" : "chance";
  for (const auto& baseline : study.baselines) {
    if (baseline.subject != subject || !baseline.place_fields.is_object()) continue;
    const Json activity = baseline.place_fields.value("activity", Json());
    if (activity == "poisson") return "place fields (Bayes, Poisson)";
    if (activity == "gaussian") return "place fields (Bayes, Gaussian)";
  }
  return "place fields (Bayes)";
}

bool needs_no_decoder(std::string_view name) { return name == "chance" || name == "place_fields"; }

const DecodingEvidence* evidence_of(const StudyResult& study, const std::string& subject, const std::string& metric) {
  const auto found = std::ranges::find_if(study.evidence, [&](const DecodingEvidence& of) {
    return of.subject == subject && of.metric == metric && !of.best.empty();
  });
  return found == study.evidence.end() ? nullptr : &*found;
}

ModelGroup best_by_validation(const StudyResult& study, const std::vector<ModelGroup>& groups,
                              const std::string& subject, const std::string& metric) {
  if (const DecodingEvidence* evidence = evidence_of(study, subject, metric))
    for (const auto& group : groups)
      if (group.subject == subject && group.model == evidence->best) return group;
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

std::span<const LatentsKind> shown_kinds(const StudyResult& study) {
  const bool with_labels = std::any_of(study.runs.begin(), study.runs.end(),
                                       [](const RunResult& run) { return has_scores_of(run, "posterior"); });
  return std::span(latents_kinds).first(with_labels ? 2 : 1);
}

bool has_label_free(const StudyResult& study, const ModelGroup& group) {
  return std::any_of(group.runs.begin(), group.runs.end(), [&](std::size_t run) {
    return has_scores_of(study.runs[run], "encoder") || !has_scores_of(study.runs[run], "posterior");
  });
}

std::string missing_latents(const StudyResult& study, const std::vector<ModelGroup>& groups) {
  std::vector<std::string> without_labels, compared, joined;
  for (const auto& group : groups) {
    const RunResult& run = study.runs[group.runs.front()];
    auto* list = !run.sees_labels                   ? &without_labels
                 : !run.metrics.is_object()         ? nullptr
                 : !has_scores_of(run, "posterior") ? &compared
                 : !has_scores_of(run, "encoder")   ? &joined
                                                    : nullptr;
    const std::string name = escape_html(group.model);
    if (list && std::find(list->begin(), list->end(), name) == list->end()) list->push_back(name);
  }
  const auto one = [](const std::vector<std::string>& list) { return list.size() == 1; };
  std::string text;
  if (!without_labels.empty())
    text += fmt::format(" {} no label, so {} no latents with labels.",
                        join(without_labels) + (one(without_labels) ? " sees" : " see"),
                        one(without_labels) ? "it has" : "they have");
  if (!compared.empty())
    text += fmt::format(" The labels of {} only choose which bins are compared, so all {} latents are label-free.",
                        join(compared), one(compared) ? "its" : "their");
  if (!joined.empty())
    text += fmt::format(" The encoder of {} sees the labels, so {} no label-free latents.", join(joined),
                        one(joined) ? "it has" : "they have");
  return text;
}

bool has_diverged(const StudyResult& study, const RunResult& run) {
  const auto loss = [&](const char* key) {
    return number_at(run.training, {key}, run_where(study, run.name) + ".training");
  };
  return loss("kept_valid_loss") > loss("initial_valid_loss");
}

std::string divergence_tag(const StudyResult& study, const ModelGroup& group, int only_split) {
  std::size_t n = 0, n_diverged = 0;
  for (const std::size_t run : group.runs) {
    if (only_split >= 0 && study.runs[run].split != only_split) continue;
    ++n;
    n_diverged += has_diverged(study, study.runs[run]);
  }
  if (n_diverged == 0) return {};
  return " <span class=\"tag diverged\">" +
         (n == 1 ? std::string("diverged") : fmt::format("{} of {} diverged", n_diverged, n)) + "</span>";
}

}  // namespace idem
