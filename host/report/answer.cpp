#include "host/report/answer.h"

#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <cmath>
#include <limits>
#include <vector>

#include "host/report/agreement_tables.h"
#include "host/report/groups.h"
#include "host/report/strip_chart.h"
#include "kernels/common/to_size.h"

namespace idem {
namespace {

std::string seed_sentence(const Spread& seeds, const Spread& of_lowest_loss) {
  if (seeds.n == 0) return {};
  const char* verdict = seeds.mean >= 0.9   ? "find <b>the same</b>"
                        : seeds.mean >= 0.5 ? "find <b>only partly the same</b>"
                                            : "find <b>different</b>";
  const auto shown = [](const Spread& spread) { return format_spread(spread, {"", "", "", 1, 2, false}); };
  std::string text = fmt::format(" Two seeds of the best {} label-free latents (R² {}).", verdict, shown(seeds));
  constexpr double much = 0.1;
  if (of_lowest_loss.n > 0 && of_lowest_loss.mean > seeds.mean + much)
    text += fmt::format(
        " The half of the seeds with the lowest loss agree better (R² {}): the others ended in poorer solutions.",
        shown(of_lowest_loss));
  return text;
}

std::string agreement_sentence(const Spread& agreement) {
  if (agreement.n == 0) return {};
  const char* verdict = agreement.mean >= 0.9   ? "<b>agree</b>"
                        : agreement.mean >= 0.5 ? "<b>agree only in part</b>"
                                                : "<b>do not agree</b>";
  const char* meaning = agreement.mean >= 0.9
                            ? "what the model finds without labels is what it finds with them"
                            : "the labels, not the spikes, set part of what the with-label latents show";
  return fmt::format(
      "Its label-free and with-label latents {} (R² of the affine map between them on test bins: {}): {}.", verdict,
      format_spread(agreement, {"", "", "", 1, 2, false}), meaning);
}

std::string finding(const StudyResult& study, const MetricStyle& style, const std::string& number) {
  return style.smaller_is_better
             ? fmt::format(" finds the {} in the test bins, from spikes alone, to within <b>{}</b> (median error)",
                           escape_html(study.labels.position), number)
             : fmt::format(" reaches <b>{}</b> on the test bins, from spikes alone: {}", number,
                           escape_html(style.title));
}

// The best model's score, the baselines', and what it is better by.
std::string decoding_sentences(const StudyResult& study, const DecodingEvidence& evidence, const MetricStyle& style) {
  const EvidencedScore& best = *evidence.score_of(evidence.best, true);
  std::string text = finding(study, style, score_text(best, style));
  text += fmt::format(", read {}", reading_words(best.reading));
  std::vector<std::string> against;
  for (const auto& [name, title] : {std::pair{"chance", "guessing gives"},
                                    {"place_fields", "place fields of the same bins"},
                                    {"window_sums", "the raw window sums"},
                                    {"pca", "two principal components (fitted on all bins)"}})
    if (const EvidencedScore* theirs = evidence.score_of(name, false)) {
      const std::string how = reading_words(theirs->reading);
      against.push_back(fmt::format("{}{} {}", title, theirs->name == "chance" ? "" : " " + how,
                                    with_unit(format_number(theirs->test * style.scale, style.decimals), style)));
    }
  if (!against.empty()) text += "; " + join(against);
  return text + ". " + gains_sentence(evidence, style);
}

// Of a study that has not ended, or that an older idem made: numbers, and no word about which is better.
std::string without_evidence(const StudyResult& study, const ModelGroup& best, const MetricStyle& style) {
  const Spread test = spread_of(group_metric(study, best, "encoder", "euclidean", "test", style.key));
  std::string text = finding(study, style, with_unit(format_number(test.mean * style.scale, style.decimals), style));
  std::vector<std::string> against;
  for (const auto& [name, title] : {std::pair{"chance", "guessing gives"},
                                    {"pca", "two principal components (fitted on all bins)"},
                                    {"window_sums", "the raw window sums"}}) {
    const Spread theirs = spread_of(baseline_values(study, best.subject, name, "euclidean", "test", style.key));
    if (theirs.n > 0)
      against.push_back(
          fmt::format("{} {}", title, with_unit(format_number(theirs.mean * style.scale, style.decimals), style)));
  }
  if (!against.empty()) text += "; " + join(against);
  return text + ". How sure these are is computed when all runs are done. ";
}

std::string subject_answer(const StudyResult& study, const std::vector<ModelGroup>& groups, const std::string& subject,
                           const std::string& metric) {
  const MetricStyle style = metric_style(metric, study.labels);
  std::size_t n_models = 0;
  std::vector<std::string> without_label_free;
  for (const auto& group : groups) {
    if (group.subject != subject) continue;
    if (has_label_free(study, group))
      ++n_models;
    else
      without_label_free.push_back("<b>" + escape_html(group.model) + "</b>");
  }
  std::string left_out;
  if (!without_label_free.empty())
    left_out = fmt::format(
        "{} {} no label-free latents: the encoder is given the labels, so nothing is decoded from its latents by "
        "spikes alone{}.",
        join(without_label_free), without_label_free.size() == 1 ? "has" : "have",
        n_models > 0 ? ", and this comparison leaves it out" : "");
  ModelGroup best;
  if (!metric.empty()) best = best_by_validation(study, groups, subject, metric);
  if (best.runs.empty())
    return fmt::format("<p>On <b>{}</b> no run has a {}decoding score, so no model can be called best. {}</p>\n",
                       escape_html(subject), left_out.empty() ? "" : "label-free ", left_out);

  std::string text = "<p>";
  const auto n_diverged = to_size(std::count_if(best.runs.begin(), best.runs.end(),
                                                [&](std::size_t run) { return has_diverged(study, study.runs[run]); }));
  if (n_diverged > 0)
    text += fmt::format(
        "<b>Do not trust these numbers:</b> {} of the {} runs of {} diverged (their loss ended above that of untrained "
        "weights). ",
        n_diverged, best.runs.size(), escape_html(best.model));
  text += n_models == 1 ? fmt::format("On <b>{}</b>, <b>{}</b> ({})", escape_html(subject), escape_html(best.model),
                                      best.extent())
                        : fmt::format("On <b>{}</b>, of {} models <b>{}</b> ({}) decodes the validation bins best. It",
                                      escape_html(subject), n_models, escape_html(best.model), best.extent());
  const DecodingEvidence* evidence = evidence_of(study, subject, metric);
  text += evidence ? decoding_sentences(study, *evidence, style) : without_evidence(study, best, style);

  const Spread leaking = spread_of(group_metric(study, best, "posterior", "euclidean", "test", metric));
  if (leaking.n > 0)
    text += fmt::format(
        "Given the true labels of the test bins as well it would show {}: that number leaks the answer and is no "
        "result. ",
        with_unit(format_spread(leaking, style), style));
  text += agreement_sentence(spread_of(agreements_of(study, best)));
  std::vector<std::string> apart;
  for (const auto& group : groups)
    if (const Spread agreement = spread_of(agreements_of(study, group));
        group.subject == subject && group.model != best.model && agreement.n > 0 && agreement.mean < 0.5)
      apart.push_back(fmt::format("{} ({})", escape_html(group.model), format_number(agreement.mean, 2)));
  if (!apart.empty())
    text += (text.ends_with(". ") ? "" : " ") + std::string("Label-free and with-label latents do not agree in ") +
            join(apart) + ".";
  if (const SeedConsistency* seeds = consistency_of(study, best))
    text += seed_sentence(spread_of(seeds->encoder), spread_of(seeds->lowest_loss));
  return text + (left_out.empty() ? "" : " " + left_out) + "</p>\n";
}

// The runs' scores by the reading that the evidence is of.
std::vector<double> values_of(const StudyResult& study, const std::vector<ModelGroup>& groups,
                              const DecodingEvidence& evidence, const EvidencedScore& score) {
  const std::string decoder = score.reading.substr(score.reading.find('/') + 1);
  if (!score.is_model)
    return baseline_values(study, evidence.subject, score.name, decoder.c_str(), "test", evidence.metric);
  const auto group = std::ranges::find_if(
      groups, [&](const ModelGroup& of) { return of.subject == evidence.subject && of.model == score.name; });
  if (group == groups.end()) return {};
  return decoder == "marginal" ? marginal_values(study, *group, "test", evidence.metric)
                               : group_metric(study, *group, "encoder", decoder.c_str(), "test", evidence.metric);
}

std::vector<StripRow> evidence_rows(const StudyResult& study, const std::vector<ModelGroup>& groups,
                                    const DecodingEvidence& evidence, double scale) {
  std::vector<StripRow> rows;
  for (const auto& score : evidence.candidates)
    rows.push_back(
        {.label = score.is_model ? escape_html(score.name) : baseline_title(study, evidence.subject, score.name),
         .kind = !score.is_model               ? "baseline"
                 : score.name == evidence.best ? "best"
                                               : "model",
         .values = values_of(study, groups, evidence, score),
         .interval = std::pair(scale * score.low, scale * score.high)});
  return rows;
}

std::vector<StripRow> plain_rows(const StudyResult& study, const std::vector<ModelGroup>& groups,
                                 const std::string& subject, const std::string& metric) {
  const ModelGroup best = best_by_validation(study, groups, subject, metric);
  std::vector<StripRow> rows;
  for (const auto& group : groups)
    if (group.subject == subject)
      rows.push_back({escape_html(group.model), group.model == best.model ? "best" : "model",
                      group_metric(study, group, "encoder", "euclidean", "test", metric)});
  for (const char* name : baseline_names)
    rows.push_back({baseline_title(study, subject, name), "baseline",
                    baseline_values(study, subject, name, "euclidean", "test", metric)});
  return rows;
}

std::string error_strip(const StudyResult& study, const std::vector<ModelGroup>& groups, const std::string& subject,
                        const std::string& metric) {
  const MetricStyle style = metric_style(metric, study.labels);
  const DecodingEvidence* evidence = evidence_of(study, subject, metric);
  auto rows =
      evidence ? evidence_rows(study, groups, *evidence, style.scale) : plain_rows(study, groups, subject, metric);
  double low = style.smaller_is_better ? 0 : std::numeric_limits<double>::infinity(),
         high = -std::numeric_limits<double>::infinity();
  for (auto& row : rows)
    for (double& value : row.values) {
      value *= style.scale;
      if (std::isfinite(value)) low = std::min(low, value), high = std::max(high, value);
    }
  std::erase_if(rows, [](const StripRow& row) { return spread_of(row.values).n == 0; });
  if (rows.empty()) return {};
  high += (high - low) * 0.04;
  if (!style.smaller_is_better) low -= (high - low) * 0.04;
  const char* how = evidence ? "by the reading that validation bins prefer. Dot: one run (baselines: one split); bar: "
                               "mean; line: its 95 % interval."
                             : "Euclidean kNN (place fields: Bayes). Dot: one run (baselines: one split); bar: mean.";
  return strip_chart(
      rows, {low, high, false}, style.decimals,
      fmt::format("{}: {} on test bins{}, label-free, {}", escape_html(subject), escape_html(style.title),
                  style.note.empty() ? "" : " (" + escape_html(style.note) + ")", how));
}

}  // namespace

std::string answer_section(const StudyResult& study) {
  std::string text;
  if (!study.failed.empty()) {
    text +=
        fmt::format("<p class=\"warn\"><b>{} of {} runs failed</b> and {} part in nothing below:", study.failed.size(),
                    study.failed.size() + study.runs.size(), study.failed.size() == 1 ? "has" : "have");
    constexpr std::size_t max_named = 12;
    for (std::size_t i = 0; i < std::min(study.failed.size(), max_named); ++i)
      text += fmt::format("{} {} ({})", i == 0 ? "" : ",", escape_html(study.failed[i].name),
                          escape_html(study.failed[i].reason));
    if (study.failed.size() > max_named) text += fmt::format(" and {} more", study.failed.size() - max_named);
    text += ". Lower <code>training.learning_rate</code> or bound <code>model.log_variance</code>.</p>\n";
  }
  if (const std::size_t n_done = study.runs.size() + study.failed.size(); n_done < study.planned_runs)
    text += fmt::format(
        "<p class=\"warn\"><b>{} of {} runs are finished</b>; the others have no part in anything below. Go on, from "
        "inside the folder, with "
        "<code>idem run config.json --out . --resume</code>.</p>\n",
        n_done, study.planned_runs);
  if (study.runs.empty())
    return text +
           fmt::format("<p>{} there is nothing to compare.</p>\n", text.empty() ? "No run has finished yet, so" : "So");
  const auto groups = model_groups(study);
  const auto metrics = metrics_of(study);
  const std::string metric = metrics.empty() ? "" : metrics.front();
  for (const auto& subject : subjects_of(study)) text += subject_answer(study, groups, subject, metric);
  text += same_latent_table(study, groups) + animals_table(study);
  if (!metric.empty())
    for (const auto& subject : subjects_of(study)) text += error_strip(study, groups, subject, metric);
  return text;
}

}  // namespace idem
