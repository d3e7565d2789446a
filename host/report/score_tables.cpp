#include "host/report/score_tables.h"

#include <fmt/format.h>

#include <algorithm>
#include <cmath>
#include <set>
#include <span>
#include <string_view>
#include <vector>

#include "host/report/grid_ends.h"
#include "host/report/groups.h"

namespace idem {
namespace {

// One row of scores: label-free and with-label, each decoder, valid and test.
template <class Score>
std::string score_cells(std::span<const LatentsKind> kinds, const MetricStyle& style, bool baseline, Score score) {
  std::string text;
  for (const auto& kind : kinds)
    for (const auto& decoder : decoders)
      for (const char* split : scored_splits) {
        const bool leaks = std::string_view(kind.key) == "posterior";
        const Spread spread = leaks && baseline ? Spread{} : score(kind.key, decoder.key, split);
        const std::string cell = baseline && spread.n == 0 ? "" : format_spread(spread, style);
        text += fmt::format("<td class=\"{}{}\">{}</td>", split, leaks ? " leak" : "", cell);
      }
  return text;
}

std::string score_head(std::span<const LatentsKind> kinds, const std::string& first) {
  std::string text = fmt::format(
      "<thead><tr><th rowspan=\"3\" class=\"name\">{}</th><th colspan=\"6\" class=\"group\">label-free (encoder mean; "
      "CEBRA: embedding)</th>"
      "{}</tr>\n<tr>",
      first,
      kinds.size() > 1
          ? "<th colspan=\"6\" class=\"group leak\">with labels (posterior mean): <b>leaks test labels</b></th>"
          : "");
  for (const auto& kind : kinds)
    for (const auto& decoder : decoders)
      text += fmt::format("<th colspan=\"2\" class=\"pair{}\">{}</th>",
                          std::string_view(kind.key) == "posterior" ? " leak" : "", decoder.title);
  text += "</tr>\n<tr>";
  for (const auto& kind : kinds)
    for (std::size_t i = 0; i < decoders.size(); ++i)
      for (const char* split : scored_splits)
        text += fmt::format("<th class=\"{}{}\">{}</th>", split,
                            std::string_view(kind.key) == "posterior" ? " leak" : "", split);
  return text + "</tr></thead>\n";
}

// How far the integral behind a decoding by likelihood may be off, as far as that is known: the largest of some runs'
// errors.
std::string numerical_error(const StudyResult& study, const ModelGroup& group, const MetricStyle& style, int split) {
  double largest = -1;
  bool is_converged = true;
  for (const std::size_t run : group.runs) {
    if (split >= 0 && study.runs[run].split != split) continue;
    const Json& metrics = study.runs[run].metrics;
    if (!metrics.is_object() || !metrics.contains("marginal") || !metrics.at("marginal").contains("numerical_error"))
      continue;
    const Json& error = metrics.at("marginal").at("numerical_error");
    if (!error.is_object() || error.value("of", Json()) != Json(style.key)) continue;
    is_converged = is_converged && error.value("is_converged", Json(true)) != Json(false);
    for (const char* scored : scored_splits) {
      const double value =
          number_at(error, {scored}, run_where(study, study.runs[run].name) + ".metrics.marginal.numerical_error");
      if (std::isfinite(value)) largest = std::max(largest, value);
    }
  }
  if (largest < 0) return {};
  // As many digits as the first one that tells something takes.
  const double shown = style.scale * largest;
  int decimals = style.decimals;
  while (shown > 0 && decimals < style.decimals + 3 && shown < std::pow(10, -decimals)) ++decimals;
  return fmt::format(" <small>(its integral to ±\u00a0{}{})</small>", with_unit(format_number(shown, decimals), style),
                     is_converged ? "" : ", more than 1 %: the most nodes that are tried were too few");
}

// What the model's own likelihood decodes, in the first pair of columns; nothing where no run has it.
std::string marginal_row(const StudyResult& study, const ModelGroup& group, const MetricStyle& style, int split) {
  std::size_t n = 0;
  const std::string cells =
      score_cells(shown_kinds(study), style, true, [&](const char*, const char* decoder, const char* scored) {
        if (std::string_view(decoder) != "euclidean") return Spread{};
        const Spread spread = spread_of(marginal_values(study, group, scored, style.key, split));
        n += spread.n;
        return spread;
      });
  if (n == 0) return {};
  return fmt::format("<tr class=\"model\"><th class=\"name\">{}{}, by its likelihood{}</th>{}</tr>\n",
                     escape_html(group.model), split < 0 ? "" : fmt::format(", {}", split),
                     numerical_error(study, group, style, split), cells);
}

std::string score_table(const StudyResult& study, const std::vector<ModelGroup>& groups,
                        const std::vector<std::string>& subjects, const MetricStyle& style, bool by_split) {
  const auto kinds = shown_kinds(study);
  std::string text = "<div class=\"scroll\"><table class=\"scores\">" +
                     score_head(kinds, by_split ? "model, split" : "model") + "<tbody>\n";
  for (const auto& subject : subjects) {
    if (subjects.size() > 1)
      text += fmt::format("<tr class=\"subject\"><th colspan=\"{}\">{}</th></tr>\n", 1 + 6 * kinds.size(),
                          escape_html(subject));
    const ModelGroup best = best_by_validation(study, groups, subject, style.key);
    for (const auto& group : groups) {
      if (group.subject != subject) continue;
      const bool is_best = group.model == best.model;
      for (const int split :
           by_split ? std::vector<int>(group.splits.begin(), group.splits.end()) : std::vector<int>{-1}) {
        text += fmt::format("<tr class=\"{}\"><th class=\"name\">{}{}{}</th>", is_best ? "best" : "model",
                            escape_html(group.model),
                            by_split  ? fmt::format(", {}", split)
                            : is_best ? " <span class=\"tag\">best on validation</span>"
                                      : "",
                            divergence_tag(study, group, split));
        text += score_cells(kinds, style, false, [&](const char* latents, const char* decoder, const char* scored) {
          return spread_of(group_metric(study, group, latents, decoder, scored, style.key, split));
        });
        text += "</tr>\n";
        text += marginal_row(study, group, style, split);
      }
    }
    std::set<int> splits;
    for (const auto& baseline : study.baselines)
      if (baseline.subject == subject) splits.insert(baseline.split);
    for (const char* name : baseline_names)
      for (const int split : by_split ? std::vector<int>(splits.begin(), splits.end()) : std::vector<int>{-1}) {
        std::size_t n = 0;
        const std::string cells =
            score_cells(kinds, style, true, [&](const char*, const char* decoder, const char* scored) {
              if (needs_no_decoder(name) && std::string_view(decoder) != "euclidean") return Spread{};
              const Spread spread = spread_of(baseline_values(study, subject, name, decoder, scored, style.key, split));
              n += spread.n;
              return spread;
            });
        if (n > 0)
          text += fmt::format("<tr class=\"baseline\"><th class=\"name\">{}{}</th>{}</tr>\n",
                              baseline_title(study, subject, name), by_split ? fmt::format(", {}", split) : "", cells);
      }
  }
  return text + "</tbody></table></div>\n";
}

}  // namespace

std::string numbers_section(const StudyResult& study) {
  const auto metrics = metrics_of(study);
  if (metrics.empty()) return "<p>No run has decoding scores.</p>\n";
  const auto groups = model_groups(study);
  const auto subjects = subjects_of(study);
  std::string text =
      "<p>Mean ± standard deviation over runs (seeds and splits). Validation bins chose the model, its epoch (CEBRA "
      "keeps its last step) and the decoders' settings; "
      "test bins chose nothing of a model or a decoder. The PCA baseline alone is fitted on all bins, as published. "
      "<b>Label-free</b> latents come from spikes alone and are the result.";
  if (shown_kinds(study).size() > 1)
    text +=
        " <b>With-label</b> latents were given the labels of the very bins they are scored on: as decoding they leak.";
  text += "</p>\n";
  if (const std::string missing = missing_latents(study, groups); !missing.empty())
    text += "<p class=\"note\">" + missing.substr(1) + "</p>\n";
  for (const auto& note : study.notes) text += "<p class=\"note\">" + escape_html(note) + ".</p>\n";
  std::string style_rules, inputs, labels, panels;
  for (std::size_t i = 0; i < metrics.size(); ++i) {
    const MetricStyle style = metric_style(metrics[i], study.labels);
    style_rules += fmt::format(
        "#metric-{0}:checked~.panel-{0}{{display:block}}#metric-{0}:checked~.tab-bar "
        ".tab-{0}{{color:var(--ink);border-color:var(--accent)}}"
        "#metric-{0}:focus-visible~.tab-bar .tab-{0}{{outline:2px solid var(--accent)}}",
        i);
    inputs += fmt::format("<input type=\"radio\" name=\"metric\" id=\"metric-{}\"{}>", i, i == 0 ? " checked" : "");
    labels += fmt::format("<label class=\"tab-{0}\" for=\"metric-{0}\">{1}</label>", i, escape_html(style.title));
    std::string notes = style.note;
    notes += fmt::format("{}{}", notes.empty() ? "" : "; ",
                         style.smaller_is_better ? "smaller is better" : "larger is better");
    panels += fmt::format("<div class=\"panel panel-{}\"><h3>{} <small>({})</small></h3>\n", i,
                          escape_html(style.title), escape_html(notes));
    panels += score_table(study, groups, subjects, style, false);
    panels += "<details><summary>By split: splits often differ more than seeds</summary>\n" +
              score_table(study, groups, subjects, style, true) + "</details></div>\n";
  }
  return text +
         fmt::format("<style>{}</style>\n<div class=\"tabs\">{}<div class=\"tab-bar\">{}</div>\n{}</div>\n",
                     style_rules, inputs, labels, panels) +
         grid_ends_note(study);
}

}  // namespace idem
