#include "host/report/sections.h"

#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <cmath>
#include <filesystem>
#include <limits>
#include <set>
#include <span>
#include <utility>

#include "host/report/grid_ends.h"
#include "host/support/utf8.h"

namespace idem {
namespace {

constexpr double not_a_number = std::numeric_limits<double>::quiet_NaN();

// Columns of latents with labels are there where some run has such latents.
std::span<const LatentsKind> shown_kinds(const StudyResult& study) {
  const bool with_labels = std::any_of(study.runs.begin(), study.runs.end(), [](const RunResult& run) { return has_scores_of(run, "posterior"); });
  return std::span(latents_kinds).first(with_labels ? 2 : 1);
}

// The weights that were kept explain the validation bins no better than the untrained ones did, as far as both losses are known.
bool has_diverged(const StudyResult& study, const RunResult& run) {
  const auto loss = [&](const char* key) { return number_at(run.training, {key}, run_where(study, run.name) + ".training"); };
  return loss("kept_valid_loss") > loss("initial_valid_loss");
}

// Runs that diverged stay in the means; the name of their row says so.
std::string divergence_tag(const StudyResult& study, const ModelGroup& group, int only_split = -1) {
  std::size_t n = 0, n_diverged = 0;
  for (const std::size_t run : group.runs) {
    if (only_split >= 0 && study.runs[run].split != only_split) continue;
    ++n;
    n_diverged += has_diverged(study, study.runs[run]);
  }
  if (n_diverged == 0) return {};
  return " <span class=\"tag diverged\">" + (n == 1 ? std::string("diverged") : fmt::format("{} of {} diverged", n_diverged, n)) + "</span>";
}

// Scores of latents with labels and none of latents without: the encoder sees the labels.
bool has_label_free(const StudyResult& study, const ModelGroup& group) {
  return std::any_of(group.runs.begin(), group.runs.end(), [&](std::size_t run) {
    return has_scores_of(study.runs[run], "encoder") || !has_scores_of(study.runs[run], "posterior");
  });
}

std::string join(const std::vector<std::string>& parts) {
  std::string text;
  for (std::size_t i = 0; i < parts.size(); ++i) text += (i == 0 ? "" : i + 1 == parts.size() ? " and " : ", ") + parts[i];
  return text;
}

// Why models lack one kind of latents and have dashes there.
std::string missing_latents(const StudyResult& study, const std::vector<ModelGroup>& groups) {
  std::vector<std::string> without_labels, compared, joined;
  for (const auto& group : groups) {
    const RunResult& run = study.runs[group.runs.front()];
    auto* list = !run.sees_labels                    ? &without_labels
                 : !run.metrics.is_object()          ? nullptr
                 : !has_scores_of(run, "posterior")  ? &compared
                 : !has_scores_of(run, "encoder")    ? &joined
                                                     : nullptr;
    const std::string name = escape_html(group.model);
    if (list && std::find(list->begin(), list->end(), name) == list->end()) list->push_back(name);
  }
  const auto one = [](const std::vector<std::string>& list) { return list.size() == 1; };
  std::string text;
  if (!without_labels.empty())
    text += fmt::format(" {} no label, so {} no latents with labels.", join(without_labels) + (one(without_labels) ? " sees" : " see"),
                        one(without_labels) ? "it has" : "they have");
  if (!compared.empty())
    text += fmt::format(" The labels of {} only choose which bins are compared, so all {} latents are label-free.", join(compared),
                        one(compared) ? "its" : "their");
  if (!joined.empty())
    text += fmt::format(" The encoder of {} sees the labels, so {} no label-free latents.", join(joined), one(joined) ? "it has" : "they have");
  return text;
}

std::string with_unit(const std::string& number, const MetricStyle& style) {
  return style.unit.empty() ? number : number + "\u00a0" + escape_html(style.unit);
}

// How much better a model's label-free latents decode the test bins than a baseline: one difference for each run, on its own split.
Spread gain_over(const StudyResult& study, const ModelGroup& group, const std::string& baseline, const MetricStyle& style) {
  std::vector<double> gains;
  for (const std::size_t run : group.runs) {
    const double ours = run_metric(study, run, "encoder", "euclidean", "test", style.key);
    const Spread theirs = spread_of(baseline_values(study, group.subject, baseline, "euclidean", "test", style.key, study.runs[run].split));
    if (theirs.n > 0) gains.push_back(style.smaller_is_better ? theirs.mean - ours : ours - theirs.mean);
  }
  return spread_of(gains);
}

std::string verdict(const Spread& gain, const std::string& baseline, const MetricStyle& style) {
  const std::string by = with_unit(format_spread({gain.n, std::abs(gain.mean), gain.sd}, style), style);
  // As shown: what reads "1.4 ± 1.4" is within the spread.
  const double unit = style.scale * std::pow(10, style.decimals);
  if (gain.n > 1 && !(std::round(std::abs(gain.mean) * unit) > std::round(gain.sd * unit))) return fmt::format("<b>not told apart</b> from {} ({})", baseline, by);
  return fmt::format("<b>{}</b> than {} by {}", gain.mean > 0 ? "better" : "worse", baseline, by);
}

std::string seed_sentence(const Spread& seeds, const Spread& of_lowest_loss) {
  if (seeds.n == 0) return {};
  const char* verdict = seeds.mean >= 0.9 ? "find <b>the same</b>" : seeds.mean >= 0.5 ? "find <b>only partly the same</b>" : "find <b>different</b>";
  const auto shown = [](const Spread& spread) { return format_spread(spread, {"", "", "", 1, 2, false}); };
  std::string text = fmt::format(" Two seeds of the best {} label-free latents (R² {}).", verdict, shown(seeds));
  constexpr double much = 0.1;
  if (of_lowest_loss.n > 0 && of_lowest_loss.mean > seeds.mean + much)
    text += fmt::format(" The half of the seeds with the lowest loss agree better (R² {}): the others ended in poorer solutions.", shown(of_lowest_loss));
  return text;
}

std::string agreement_sentence(const Spread& agreement) {
  if (agreement.n == 0) return {};
  const char* verdict = agreement.mean >= 0.9 ? "<b>agree</b>" : agreement.mean >= 0.5 ? "<b>agree only in part</b>" : "<b>do not agree</b>";
  const char* meaning = agreement.mean >= 0.9 ? "what the model finds without labels is what it finds with them"
                                              : "the labels, not the spikes, set part of what the with-label latents show";
  return fmt::format("Its label-free and with-label latents {} (R² of the affine map between them on test bins: {}): {}.", verdict,
                     format_spread(agreement, {"", "", "", 1, 2, false}), meaning);
}

std::string subject_answer(const StudyResult& study, const std::vector<ModelGroup>& groups, const std::string& subject, const std::string& metric) {
  const MetricStyle style = metric_style(metric, study.labels);
  std::size_t n_models = 0;
  std::vector<std::string> without_label_free;
  for (const auto& group : groups) {
    if (group.subject != subject) continue;
    if (has_label_free(study, group)) ++n_models;
    else without_label_free.push_back("<b>" + escape_html(group.model) + "</b>");
  }
  std::string left_out;
  if (!without_label_free.empty())
    left_out = fmt::format("{} {} no label-free latents: the encoder is given the labels, so nothing is decoded from its latents by spikes alone{}.",
                           join(without_label_free), without_label_free.size() == 1 ? "has" : "have",
                           n_models > 0 ? ", and this comparison leaves it out" : "");
  ModelGroup best;
  if (!metric.empty()) best = best_by_validation(study, groups, subject, metric);
  if (best.runs.empty())
    return fmt::format("<p>On <b>{}</b> no run has a {}decoding score, so no model can be called best. {}</p>\n", escape_html(subject),
                       left_out.empty() ? "" : "label-free ", left_out);

  std::string text = "<p>";
  const auto n_diverged = static_cast<std::size_t>(
      std::count_if(best.runs.begin(), best.runs.end(), [&](std::size_t run) { return has_diverged(study, study.runs[run]); }));
  if (n_diverged > 0)
    text += fmt::format("<b>Do not trust these numbers:</b> {} of the {} runs of {} diverged (their loss ended above that of untrained weights). ",
                        n_diverged, best.runs.size(), escape_html(best.model));
  text += n_models == 1 ? fmt::format("On <b>{}</b>, <b>{}</b> ({})", escape_html(subject), escape_html(best.model), best.extent())
                        : fmt::format("On <b>{}</b>, of {} models <b>{}</b> ({}) decodes the validation bins best. It", escape_html(subject),
                                      n_models, escape_html(best.model), best.extent());
  const Spread test = spread_of(group_metric(study, best, "encoder", "euclidean", "test", metric));
  const std::string number = "<b>" + with_unit(format_spread(test, style), style) + "</b>";
  if (style.smaller_is_better)
    text += fmt::format(" finds the {} in the test bins, from spikes alone, to within {} (median error)", escape_html(study.labels.position), number);
  else text += fmt::format(" reaches {} on the test bins, from spikes alone: {}", escape_html(style.title), number);

  std::vector<std::string> against, verdicts;
  for (const auto& [name, title, shown] : {std::array{"chance", "guessing gives", "guessing"},
                                           std::array{"pca", "two principal components (fitted on all bins)", "PCA"},
                                           std::array{"window_sums", "the raw window sums", "the window sums"}}) {
    const Spread theirs = spread_of(baseline_values(study, subject, name, "euclidean", "test", metric)), gain = gain_over(study, best, name, style);
    if (theirs.n == 0 || gain.n == 0) continue;
    against.push_back(fmt::format("{} {}", title, with_unit(format_number(theirs.mean * style.scale, style.decimals), style)));
    verdicts.push_back(verdict(gain, shown, style));
  }
  if (!against.empty()) text += "; " + join(against);
  text += ". ";
  if (!verdicts.empty())
    text += fmt::format("By {} on the same test bins {} it is {}. ", escape_html(style.title),
                        best.runs.size() > 1 ? "(mean ± standard deviation over runs)" : "(one run: its spread is unknown)", join(verdicts));

  const Spread leaking = spread_of(group_metric(study, best, "posterior", "euclidean", "test", metric));
  if (leaking.n > 0)
    text += fmt::format("Given the true labels of the test bins as well it would show {}: that number leaks the answer and is no result. ",
                        with_unit(format_spread(leaking, style), style));
  text += agreement_sentence(spread_of(agreements_of(study, best)));
  std::vector<std::string> apart;
  for (const auto& group : groups)
    if (const Spread agreement = spread_of(agreements_of(study, group));
        group.subject == subject && group.model != best.model && agreement.n > 0 && agreement.mean < 0.5)
      apart.push_back(fmt::format("{} ({})", escape_html(group.model), format_number(agreement.mean, 2)));
  if (!apart.empty()) text += (text.ends_with(". ") ? "" : " ") + std::string("Label-free and with-label latents do not agree in ") + join(apart) + ".";
  if (const SeedConsistency* seeds = consistency_of(study, best)) text += seed_sentence(spread_of(seeds->encoder), spread_of(seeds->lowest_loss));
  return text + (left_out.empty() ? "" : " " + left_out) + "</p>\n";
}

// "1,234,567"
std::string grouped(double value) {
  if (!std::isfinite(value)) return "–";
  std::string digits = fmt::format("{:.0f}", value);
  for (int i = static_cast<int>(digits.size()) - 3; i > (digits[0] == '-' ? 1 : 0); i -= 3) digits.insert(static_cast<std::size_t>(i), ",");
  return digits;
}

// A round step for about five ticks.
double tick_step(double span) {
  const double magnitude = std::pow(10, std::floor(std::log10(span / 5)));
  for (const double factor : {1.0, 2.0, 5.0, 10.0})
    if (span / (factor * magnitude) <= 6) return factor * magnitude;
  return 10 * magnitude;
}

struct StripRow {
  std::string label, kind;  // kind: a CSS class: model, best, baseline
  std::vector<double> values;
};

struct StripAxis {
  double low = 0, high = 1;
  bool logarithmic = false;  // low > 0 then; smaller values stand at the left end

  double per_cent(double value) const {
    const double inside = std::clamp(value, low, high);
    return 100 * (logarithmic ? std::log(inside / low) / std::log(high / low) : (inside - low) / (high - low));
  }
  // Where the axis has a line and what it says there, as HTML.
  std::vector<std::pair<double, std::string>> ticks() const {
    std::vector<std::pair<double, std::string>> list;
    if (logarithmic) {
      const int first = static_cast<int>(std::ceil(std::log10(low) - 1e-9)), last = static_cast<int>(std::floor(std::log10(high) + 1e-9));
      for (int power = first, every = 1 + (last - first) / 6; power <= last; power += every)
        list.emplace_back(std::pow(10.0, power),
                          power >= -2 && power <= 3 ? fmt::format("{:g}", std::pow(10.0, power)) : fmt::format("10<sup>{}</sup>", power));
      return list;
    }
    const double step = tick_step(high - low);
    if (!(step > 0) || low + step == low || high - step == high) return list;  // nearer to each other than numbers are
    const int decimals = std::max(0, -static_cast<int>(std::floor(std::log10(step) + 1e-9)));
    for (double tick = std::ceil(low / step - 1e-9) * step; tick <= high + 1e-9 * step; tick += step)
      list.emplace_back(tick, format_number(tick, decimals));
    return list;
  }
};

// From 0, or in powers of ten where the values spread over more than three of them.
StripAxis axis_from_zero(const std::vector<StripRow>& rows) {
  double high = 0, smallest = std::numeric_limits<double>::infinity();
  for (const auto& row : rows)
    for (const double value : row.values)
      if (std::isfinite(value) && value > 0) high = std::max(high, value), smallest = std::min(smallest, value);
  if (high > 1000 * smallest) return {std::pow(10.0, std::floor(std::log10(std::max(smallest, high * 1e-9)))), high * 1.5, true};
  return {0, high > 0 ? high * 1.04 : 1, false};
}

// Dots on a common axis, one row each, the mean as a bar. Positions in per cent, so that it fits any screen.
std::string strip_chart(const std::vector<StripRow>& rows, const StripAxis& axis, int decimals, const std::string& axis_title) {
  if (!(axis.high > axis.low) || !std::isfinite(axis.high - axis.low)) return {};
  const auto ticks = axis.ticks();
  std::string grid;
  for (const auto& [value, shown] : ticks) grid += fmt::format("<i class=\"tick\" style=\"left:{:.2f}%\"></i>", axis.per_cent(value));
  std::string text = "<div class=\"strip\">\n";
  for (const auto& row : rows) {
    text += fmt::format("<div class=\"strip-row {}\"><span class=\"strip-label\">{}</span><span class=\"strip-track\">{}", row.kind, row.label, grid);
    for (const double value : row.values)
      if (std::isfinite(value))
        text += fmt::format("<i class=\"dot\" style=\"left:{:.2f}%\" title=\"{}\"></i>", axis.per_cent(value), format_number(value, decimals));
    const Spread spread = spread_of(row.values);
    if (spread.n > 0) text += fmt::format("<i class=\"mean\" style=\"left:{:.2f}%\"></i>", axis.per_cent(spread.mean));
    const double size = std::abs(spread.mean);
    const bool large = size >= 1000;
    // Two digits of what a logarithmic axis shows far below 1.
    const int shown = large                                            ? 0
                      : size >= 100                                    ? std::min(decimals, 1)
                      : axis.logarithmic && size > 0 && size < 0.1     ? std::min(1 - static_cast<int>(std::floor(std::log10(size))), 9)
                                                                       : decimals;
    text += fmt::format("</span><span class=\"strip-value\">{}</span></div>\n",
                        large && spread.n > 1 ? grouped(spread.mean) + "\u00a0±\u00a0" + grouped(spread.sd)
                                              : format_spread(spread, {"", "", "", 1, shown, false}));
  }
  text += "<div class=\"strip-row axis\"><span class=\"strip-label\"></span><span class=\"strip-track\">";
  for (const auto& [value, shown] : ticks) text += fmt::format("<i class=\"tick-label\" style=\"left:{:.2f}%\">{}</i>", axis.per_cent(value), shown);
  return text + fmt::format("</span><span class=\"strip-value\"></span></div>\n<p class=\"axis-title\">{}</p>\n</div>\n", axis_title);
}

std::string error_strip(const StudyResult& study, const std::vector<ModelGroup>& groups, const std::string& subject, const std::string& metric) {
  const MetricStyle style = metric_style(metric, study.labels);
  const ModelGroup best = best_by_validation(study, groups, subject, metric);
  std::vector<StripRow> rows;
  for (const auto& group : groups)
    if (group.subject == subject)
      rows.push_back({escape_html(group.model), group.model == best.model ? "best" : "model",
                      group_metric(study, group, "encoder", "euclidean", "test", metric)});
  for (const char* name : baseline_names)
    rows.push_back({baseline_title(study, subject, name), "baseline", baseline_values(study, subject, name, "euclidean", "test", metric)});
  double low = style.smaller_is_better ? 0 : std::numeric_limits<double>::infinity(), high = -std::numeric_limits<double>::infinity();
  for (auto& row : rows)
    for (double& value : row.values) {
      value *= style.scale;
      if (std::isfinite(value)) low = std::min(low, value), high = std::max(high, value);
    }
  std::erase_if(rows, [](const StripRow& row) { return spread_of(row.values).n == 0; });
  if (rows.empty()) return {};
  high += (high - low) * 0.04;
  if (!style.smaller_is_better) low -= (high - low) * 0.04;
  return strip_chart(rows, {low, high, false}, style.decimals,
                     fmt::format("{}: {} on test bins{}, label-free, Euclidean kNN (place fields: Bayes). Dot: one run (baselines: one split); "
                                 "bar: mean.",
                                 escape_html(subject), escape_html(style.title), style.note.empty() ? "" : " (" + escape_html(style.note) + ")"));
}

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
      "<thead><tr><th rowspan=\"3\" class=\"name\">{}</th><th colspan=\"6\" class=\"group\">label-free (encoder mean; CEBRA: embedding)</th>"
      "{}</tr>\n<tr>",
      first,
      kinds.size() > 1 ? "<th colspan=\"6\" class=\"group leak\">with labels (posterior mean): <b>leaks test labels</b></th>" : "");
  for (const auto& kind : kinds)
    for (const auto& decoder : decoders)
      text += fmt::format("<th colspan=\"2\" class=\"pair{}\">{}</th>", std::string_view(kind.key) == "posterior" ? " leak" : "", decoder.title);
  text += "</tr>\n<tr>";
  for (const auto& kind : kinds)
    for (std::size_t i = 0; i < decoders.size(); ++i)
      for (const char* split : scored_splits)
        text += fmt::format("<th class=\"{}{}\">{}</th>", split, std::string_view(kind.key) == "posterior" ? " leak" : "", split);
  return text + "</tr></thead>\n";
}

// "5.700 ± 0.002"; a NaN error is not known.
std::string with_error(double value, double error, int decimals) {
  return format_number(value, decimals) + (std::isfinite(error) ? "\u00a0±\u00a0" + format_number(error, decimals) : "");
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
  const std::string cells = score_cells(shown_kinds(study), style, true, [&](const char*, const char* decoder, const char* scored) {
    if (std::string_view(decoder) != "euclidean") return Spread{};
    const Spread spread = spread_of(marginal_values(study, group, scored, style.key, split));
    n += spread.n;
    return spread;
  });
  if (n == 0) return {};
  return fmt::format("<tr class=\"model\"><th class=\"name\">{}{}, by its likelihood{}</th>{}</tr>\n", escape_html(group.model),
                     split < 0 ? "" : fmt::format(", {}", split), numerical_error(study, group, style, split), cells);
}

std::string score_table(const StudyResult& study, const std::vector<ModelGroup>& groups, const std::vector<std::string>& subjects,
                        const MetricStyle& style, bool by_split) {
  const auto kinds = shown_kinds(study);
  std::string text = "<div class=\"scroll\"><table class=\"scores\">" + score_head(kinds, by_split ? "model, split" : "model") + "<tbody>\n";
  for (const auto& subject : subjects) {
    if (subjects.size() > 1)
      text += fmt::format("<tr class=\"subject\"><th colspan=\"{}\">{}</th></tr>\n", 1 + 6 * kinds.size(), escape_html(subject));
    const ModelGroup best = best_by_validation(study, groups, subject, style.key);
    for (const auto& group : groups) {
      if (group.subject != subject) continue;
      const bool is_best = group.model == best.model;
      for (const int split : by_split ? std::vector<int>(group.splits.begin(), group.splits.end()) : std::vector<int>{-1}) {
        text += fmt::format("<tr class=\"{}\"><th class=\"name\">{}{}{}</th>", is_best ? "best" : "model", escape_html(group.model),
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
        const std::string cells = score_cells(kinds, style, true, [&](const char*, const char* decoder, const char* scored) {
          if (needs_no_decoder(name) && std::string_view(decoder) != "euclidean") return Spread{};
          const Spread spread = spread_of(baseline_values(study, subject, name, decoder, scored, style.key, split));
          n += spread.n;
          return spread;
        });
        if (n > 0)
          text += fmt::format("<tr class=\"baseline\"><th class=\"name\">{}{}</th>{}</tr>\n", baseline_title(study, subject, name),
                              by_split ? fmt::format(", {}", split) : "", cells);
      }
  }
  return text + "</tbody></table></div>\n";
}

std::string duration(double seconds) {
  if (!std::isfinite(seconds)) return "–";
  if (seconds < 60) return fmt::format("{:.1f} s", seconds);
  if (seconds < 3600) return fmt::format("{:.1f} min", seconds / 60);
  return fmt::format("{:.1f} h", seconds / 3600);
}

// Training times of the fleets that a model's runs were members of, each fleet once: "2.0 min of all 4 runs together".
std::string fleet_times(const std::vector<double>& seconds, const std::vector<double>& sizes) {
  std::set<std::pair<double, double>> fleets;
  for (std::size_t run = 0; run < seconds.size(); ++run)
    if (std::isfinite(seconds[run]) && std::isfinite(sizes[run])) fleets.emplace(sizes[run], seconds[run]);
  std::string text;
  for (const auto& [size, time] : fleets)
    text += fmt::format("{}{}{}", text.empty() ? "" : ", ", duration(time), size > 1 ? fmt::format(" of all {:.0f} runs together", size) : "");
  return text.empty() ? "–" : text;
}

std::string low_to_high(const std::vector<double>& values) {
  double low = std::numeric_limits<double>::infinity(), high = -low;
  for (const double value : values)
    if (std::isfinite(value)) low = std::min(low, value), high = std::max(high, value);
  if (!(low <= high)) return "–";
  return low == high ? grouped(low) : grouped(low) + "–" + grouped(high);
}

double sum_of(const std::vector<double>& values) {
  double sum = 0;
  for (const double value : values)
    if (std::isfinite(value)) sum += value;
  return sum;
}

// A collapse measure of every latent of every run.
std::vector<double> per_latent(const StudyResult& study, const ModelGroup& group, const char* key) {
  std::vector<double> values;
  for (const std::size_t run : group.runs) {
    const RunResult& result = study.runs[run];
    if (!result.collapse.is_object()) continue;
    const auto latents = result.collapse.find("latents");
    for (std::size_t i = 0; latents != result.collapse.end() && i < latents->size(); ++i)
      values.push_back(number_at((*latents)[i], {key}, fmt::format("{}.collapse, latent {}", run_where(study, result.name), i)));
  }
  return values;
}

using KeyPath = std::vector<std::string>;

// Paths to the numbers that some run's object holds, groups within groups.
void add_number_paths(const Json& object, const KeyPath& above, std::vector<KeyPath>& paths) {
  if (!object.is_object()) return;
  for (const auto& [key, value] : object.items()) {
    KeyPath path = above;
    path.push_back(key);
    if (value.is_object()) add_number_paths(value, path, paths);
    else if (value.is_number() && std::find(paths.begin(), paths.end(), path) == paths.end()) paths.push_back(path);
  }
}

std::vector<KeyPath> number_paths(const StudyResult& study, const Json RunResult::*member) {
  std::vector<KeyPath> paths;
  for (const auto& run : study.runs) add_number_paths(run.*member, {}, paths);
  return paths;
}

// "affine_r2" -> "affine R²"

// "encoder" -> "label-free"; other keys in words.
std::string latents_title(const std::string& key) {
  for (const auto& kind : latents_kinds)
    if (key == kind.key) return kind.title;
  return words(key);
}

// A page is passed on without the paths of the machine it was made on.
Json without_folders(Json config) {
  if (config.is_structured())
    for (auto& value : config) value = without_folders(value);
  else if (config.is_string() && config.get<std::string>().starts_with('/'))
    config = std::filesystem::path(config.get<std::string>()).filename().string();
  return config;
}

// A preset of pi-VAE or its flow in some model; `models` say what differs from `model`.
bool some_model_is_pi_vae(const Json& config) {
  static const Json nothing;
  const auto section_of = [&](const char* key) -> const Json& { return config.contains(key) ? config[key] : nothing; };
  const Json &base = section_of("model"), &models = section_of("models");
  const auto is_pi_vae = [&](const Json& model) {
    const auto text_at = [&](const char* path) {
      const Json::json_pointer at(path);
      const Json& from = model.contains(at) ? model : base;
      return from.contains(at) && from.at(at).is_string() ? from.at(at).get<std::string>() : std::string();
    };
    return text_at("/preset").find("pi-vae") != std::string::npos || text_at("/decoder/kind") == "gin";
  };
  return models.empty() ? is_pi_vae(base) : std::any_of(models.begin(), models.end(), is_pi_vae);
}

// The question of the whole program, one row per model.
std::string same_latent_table(const StudyResult& study, const std::vector<ModelGroup>& groups) {
  const bool many_subjects = subjects_of(study).size() > 1, seeds = !study.consistency.empty();
  struct Column {
    std::string title;
    bool is_of_seeds = false;
    std::vector<Spread> cells;  // one per group
  };
  Column agreement{"label-free or<br>with labels, R²", false, {}}, label_weight{"label<br>weight", false, {}};
  Column label_free{"label-free", true, {}}, with_labels{"with labels", true, {}};
  for (const auto& group : groups) {
    std::vector<double> weights;
    for (const std::size_t run : group.runs)
      weights.push_back(number_at(study.runs[run].collapse, {"label_weight"}, run_where(study, study.runs[run].name) + ".collapse"));
    agreement.cells.push_back(spread_of(agreements_of(study, group)));
    label_weight.cells.push_back(spread_of(weights));
    const SeedConsistency* found = consistency_of(study, group);
    label_free.cells.push_back(found ? spread_of(found->encoder) : Spread{});
    with_labels.cells.push_back(found ? spread_of(found->posterior) : Spread{});
  }
  std::vector<Column> columns;
  for (const Column& column : {agreement, label_weight, label_free, with_labels})
    if (std::any_of(column.cells.begin(), column.cells.end(), [](const Spread& cell) { return cell.n > 0; })) columns.push_back(column);

  std::string text = "<h3>Is it the same latent?</h3>\n";
  if (!columns.empty()) {
    std::string above, below;
    for (const Column& column : columns)
      if (column.is_of_seeds) below += fmt::format("<th>{}</th>", column.title);
      else above += fmt::format("<th rowspan=\"2\">{}</th>", column.title);
    const auto n_of_seeds = std::count_if(columns.begin(), columns.end(), [](const Column& column) { return column.is_of_seeds; });
    if (n_of_seeds > 0) above += fmt::format("<th colspan=\"{}\" class=\"group\">one seed or another, R²</th>", n_of_seeds);
    text += fmt::format("<div class=\"scroll\"><table class=\"same\"><thead><tr><th rowspan=\"2\" class=\"name\">model</th>{}</tr>\n<tr>{}</tr></thead>"
                        "<tbody>\n",
                        above, below);
    for (std::size_t i = 0; i < groups.size(); ++i) {
      text += fmt::format("<tr><th class=\"name\">{}{}{}</th>", many_subjects ? escape_html(groups[i].subject) + ", " : "",
                          escape_html(groups[i].model), divergence_tag(study, groups[i]));
      for (const Column& column : columns) text += fmt::format("<td>{}</td>", format_spread(column.cells[i], {"", "", "", 1, 2, false}));
      text += "</tr>\n";
    }
    text += "</tbody></table></div>\n";
  }
  text += "<p class=\"note\">";
  if (!columns.empty()) {
    text += "R² of the affine map between two sets of latents, fitted on the train bins, scored on the test bins: 1 means the same latents, 0 (or "
            "below) unrelated ones.";
    const auto weighs = [](const Spread& cell) { return cell.n > 0; };
    if (std::any_of(label_weight.cells.begin(), label_weight.cells.end(), weighs))
      text += " Label weight: 0 means the labels are ignored, 1 that only they speak.";
    text += " Mean ± standard deviation over runs";
    text += seeds ? "; between seeds, over splits, of the mean over all ordered pairs." : ".";
  }
  if (!seeds) text += " With one seed there is no telling whether another would find the same.";
  return text + missing_latents(study, groups) + "</p>\n";
}

// Do animals share a latent? One row per model: every ordered pair of animals.
std::string animals_table(const StudyResult& study) {
  if (study.animals.empty()) return {};
  const auto metrics = metrics_of(study);
  const bool has_direction = std::find(metrics.begin(), metrics.end(), "direction_r2") != metrics.end();
  std::vector<std::string> models, pairs;
  const auto add_new = [](std::vector<std::string>& list, const std::string& item) {
    if (std::find(list.begin(), list.end(), item) == list.end()) list.push_back(item);
  };
  const auto pair_of = [](const AnimalConsistencyResult& entry) { return entry.from + " → " + entry.to; };
  for (const auto& entry : study.animals) add_new(models, entry.model), add_new(pairs, pair_of(entry));
  std::string text = "<h3>One animal or another</h3>\n<div class=\"scroll\"><table class=\"same\"><thead><tr><th class=\"name\">model</th>";
  for (const auto& pair : pairs) text += fmt::format("<th>{}</th>", escape_html(pair));
  const std::string unit = study.labels.position_unit.empty() ? "" : " (" + escape_html(study.labels.position_unit) + ")";
  struct Mean {
    std::string title;
    const char* css;
    int digits;
    std::vector<double> AnimalConsistencyResult::*values;
  };
  std::vector<Mean> means{{"mean", "", 2, &AnimalConsistencyResult::encoder},
                          {"without a map, mean", "", 2, &AnimalConsistencyResult::unmapped},
                          {escape_html(study.labels.position) + " read across" + unit + ", mean", "", 1, &AnimalConsistencyResult::error_across},
                          {"with labels, mean", " class=\"leak\"", 2, &AnimalConsistencyResult::posterior}};
  // Over the pairs of one model, or of all.
  const auto spread = [&](const Mean& mean, const std::string* model) {
    std::vector<double> all;
    for (const auto& entry : study.animals)
      if (!model || entry.model == *model) all.insert(all.end(), (entry.*mean.values).begin(), (entry.*mean.values).end());
    return spread_of(all);
  };
  std::erase_if(means, [&](const Mean& mean) { return spread(mean, nullptr).n == 0; });
  for (const auto& mean : means) text += fmt::format("<th{}>{}</th>", mean.css, mean.title);
  text += "</tr></thead><tbody>\n";
  for (const auto& model : models) {
    text += fmt::format("<tr><th class=\"name\">{}</th>", escape_html(model));
    for (const auto& pair : pairs) {
      std::vector<double> values;
      for (const auto& entry : study.animals)
        if (entry.model == model && pair_of(entry) == pair) values = entry.encoder;
      text += fmt::format("<td>{}</td>", format_spread(spread_of(values), {"", "", "", 1, 2, false}));
    }
    for (const auto& mean : means) text += fmt::format("<td{}>{}</td>", mean.css, format_spread(spread(mean, &model), {"", "", "", 1, mean.digits, false}));
    text += "</tr>\n";
  }
  return text + fmt::format("</tbody></table></div>\n<p class=\"note\">R² of the affine map from the one animal's label-free latents to the other's, both averaged "
                            "over test bins of like {}{}: how far one could be told from the other. Without a map the one's are taken for the "
                            "other's, which only models of one space for all animals can stand. Read across: the median error of the one animal's {} "
                            "on its test bins, taken from the training bins of the other with the nearest label-free latents. Mean ± standard "
                            "deviation over splits of the mean over seeds.</p>\n",
                            escape_html(study.labels.position), has_direction ? " (each " + escape_html(study.labels.direction) + " by itself)" : "",
                            escape_html(study.labels.position));
}

// One row per number, one column per model that has any. Rows of with-label latents are marked as they are in every table: the labels of the very
// bins they are measured on went into them.
std::string number_table(const StudyResult& study, const Json RunResult::*member, const std::vector<KeyPath>& paths) {
  auto groups = model_groups(study);
  const auto values_of = [&](const ModelGroup& group, const KeyPath& path) {
    std::vector<double> values;
    for (const std::size_t run : group.runs) values.push_back(number_at(study.runs[run].*member, path, run_where(study, study.runs[run].name)));
    return values;
  };
  std::erase_if(groups, [&](const ModelGroup& group) {
    return std::all_of(paths.begin(), paths.end(), [&](const KeyPath& path) { return spread_of(values_of(group, path)).n == 0; });
  });
  const bool many_subjects = subjects_of(study).size() > 1;
  std::string text = "<div class=\"scroll\"><table class=\"narrow\"><thead><tr><th class=\"name\"></th>";
  for (const auto& group : groups)
    text += fmt::format("<th>{}{}{}</th>", many_subjects ? escape_html(group.subject) + ", " : "", escape_html(group.model),
                        divergence_tag(study, group));
  text += "</tr></thead><tbody>\n";
  for (const auto& path : paths) {
    std::string name;
    for (const auto& key : path) name += (name.empty() ? "" : ", ") + escape_html(latents_title(key));
    const bool leaks = path.front() == "posterior";
    text += fmt::format("<tr{}><th class=\"name{}\">{}{}</th>", leaks ? " class=\"leak\"" : "", leaks ? " leak" : "", name,
                        leaks ? ": <b>leaks test labels</b>" : "");
    for (const auto& group : groups) {
      const Spread spread = spread_of(values_of(group, path));
      const bool same_count = spread.n > 0 && spread.sd == 0 && spread.mean == std::floor(spread.mean);
      text += fmt::format("<td{}>{}</td>", leaks ? " class=\"leak\"" : "",
                          same_count ? grouped(spread.mean) : format_spread(spread, {"", "", "", 1, 3, false}));
    }
    text += "</tr>\n";
  }
  return text + "</tbody></table></div>\n";
}

}  // namespace

std::string escape_html(std::string_view text) {
  std::string result;
  for (const char c : text) switch (c) {
      case '&': result += "&amp;"; break;
      case '<': result += "&lt;"; break;
      case '>': result += "&gt;"; break;
      case '"': result += "&quot;"; break;
      case '\'': result += "&#39;"; break;
      default: result += c;
    }
  return result;
}

std::string answer_section(const StudyResult& study) {
  std::string text;
  if (!study.failed.empty()) {
    text += fmt::format("<p class=\"warn\"><b>{} of {} runs failed</b> and {} part in nothing below:",
                        study.failed.size(), study.failed.size() + study.runs.size(), study.failed.size() == 1 ? "has" : "have");
    constexpr std::size_t max_named = 12;
    for (std::size_t i = 0; i < std::min(study.failed.size(), max_named); ++i)
      text += fmt::format("{} {} ({})", i == 0 ? "" : ",", escape_html(study.failed[i].name), escape_html(study.failed[i].reason));
    if (study.failed.size() > max_named) text += fmt::format(" and {} more", study.failed.size() - max_named);
    text += ". Lower <code>training.learning_rate</code> or bound <code>model.log_variance</code>.</p>\n";
  }
  if (const std::size_t n_done = study.runs.size() + study.failed.size(); n_done < study.planned_runs)
    text += fmt::format("<p class=\"warn\"><b>{} of {} runs are finished</b>; the others have no part in anything below. Go on, from inside the folder, with "
                        "<code>idem run config.json --out . --resume</code>.</p>\n",
                        n_done, study.planned_runs);
  if (study.runs.empty())
    return text + fmt::format("<p>{} there is nothing to compare.</p>\n", text.empty() ? "No run has finished yet, so" : "So");
  const auto groups = model_groups(study);
  const auto metrics = metrics_of(study);
  const std::string metric = metrics.empty() ? "" : metrics.front();
  for (const auto& subject : subjects_of(study)) text += subject_answer(study, groups, subject, metric);
  text += same_latent_table(study, groups) + animals_table(study);
  if (!metric.empty())
    for (const auto& subject : subjects_of(study)) text += error_strip(study, groups, subject, metric);
  return text;
}

std::string numbers_section(const StudyResult& study) {
  const auto metrics = metrics_of(study);
  if (metrics.empty()) return "<p>No run has decoding scores.</p>\n";
  const auto groups = model_groups(study);
  const auto subjects = subjects_of(study);
  std::string text =
      "<p>Mean ± standard deviation over runs (seeds and splits). Validation bins chose the model, its epoch (CEBRA keeps its last step) and the decoders' settings; "
      "test bins chose nothing of a model or a decoder. The PCA baseline alone is fitted on all bins, as published. "
      "<b>Label-free</b> latents come from spikes alone and are the result.";
  if (shown_kinds(study).size() > 1)
    text += " <b>With-label</b> latents were given the labels of the very bins they are scored on: as decoding they leak.";
  text += "</p>\n";
  if (const std::string missing = missing_latents(study, groups); !missing.empty()) text += "<p class=\"note\">" + missing.substr(1) + "</p>\n";
  for (const auto& note : study.notes) text += "<p class=\"note\">" + escape_html(note) + ".</p>\n";
  std::string style_rules, inputs, labels, panels;
  for (std::size_t i = 0; i < metrics.size(); ++i) {
    const MetricStyle style = metric_style(metrics[i], study.labels);
    style_rules += fmt::format(
        "#metric-{0}:checked~.panel-{0}{{display:block}}#metric-{0}:checked~.tab-bar .tab-{0}{{color:var(--ink);border-color:var(--accent)}}"
        "#metric-{0}:focus-visible~.tab-bar .tab-{0}{{outline:2px solid var(--accent)}}",
        i);
    inputs += fmt::format("<input type=\"radio\" name=\"metric\" id=\"metric-{}\"{}>", i, i == 0 ? " checked" : "");
    labels += fmt::format("<label class=\"tab-{0}\" for=\"metric-{0}\">{1}</label>", i, escape_html(style.title));
    std::string notes = style.note;
    notes += fmt::format("{}{}", notes.empty() ? "" : "; ", style.smaller_is_better ? "smaller is better" : "larger is better");
    panels += fmt::format("<div class=\"panel panel-{}\"><h3>{} <small>({})</small></h3>\n", i, escape_html(style.title), escape_html(notes));
    panels += score_table(study, groups, subjects, style, false);
    panels += "<details><summary>By split: splits often differ more than seeds</summary>\n" + score_table(study, groups, subjects, style, true) +
              "</details></div>\n";
  }
  return text +
         fmt::format("<style>{}</style>\n<div class=\"tabs\">{}<div class=\"tab-bar\">{}</div>\n{}</div>\n",
                     style_rules, inputs, labels, panels) +
         grid_ends_note(study);
}

std::string training_section(const StudyResult& study) {
  const auto groups = model_groups(study);
  const bool many_subjects = subjects_of(study).size() > 1;
  const auto values_of = [&](const ModelGroup& group, const char* key) {
    std::vector<double> values;
    for (const std::size_t run : group.runs)
      values.push_back(number_at(study.runs[run].training, {key}, run_where(study, study.runs[run].name) + ".training"));
    return values;
  };
  const auto trained_for = [&](const ModelGroup& group) {
    const bool steps = study.runs[group.runs.front()].counts_steps;
    return low_to_high(values_of(group, steps ? "steps" : "epochs")) + (steps ? " steps" : " epochs");
  };
  double n_nonfinite = 0;
  std::size_t n_touched = 0;
  for (const auto& group : groups)
    for (const double value : values_of(group, "nonfinite_steps"))
      if (value > 0) n_nonfinite += value, ++n_touched;
  std::string text = n_nonfinite == 0 ? fmt::format("<p class=\"good\">No step of {} run{} had a non-finite loss or gradient.</p>\n",
                                                    study.runs.size(), study.runs.size() == 1 ? "" : "s")
                                      : fmt::format("<p class=\"warn\">{} non-finite step{} skipped, in {} of {} runs.</p>\n", grouped(n_nonfinite),
                                                    n_nonfinite == 1 ? " was" : "s were", n_touched, study.runs.size());
  // CEBRA has none to keep.
  const bool keeps_epochs =
      std::any_of(groups.begin(), groups.end(), [&](const ModelGroup& group) { return spread_of(values_of(group, "kept_epoch")).n > 0; });
  text +=
      fmt::format("<div class=\"scroll\"><table><thead><tr><th class=\"name\">model</th><th class=\"word\">objective</th><th>runs</th><th>non-finite "
                  "steps</th><th>trained for</th>{}<th>validation loss</th><th>parameters</th><th>training time</th></tr></thead><tbody>\n",
                  keeps_epochs ? "<th>epoch kept</th>" : "");
  for (const auto& group : groups) {
    const auto nonfinite = values_of(group, "nonfinite_steps");
    text += fmt::format(
        "<tr><th class=\"name\">{}{}{}</th><td "
        "class=\"word\">{}</td><td>{}</td><td>{}</td><td>{}</td>{}<td>{}</td><td>{}</td><td class=\"times\">{}</td></tr>\n",
        many_subjects ? escape_html(group.subject) + ", " : "", escape_html(group.model), divergence_tag(study, group), escape_html(group.objective),
        group.runs.size(), spread_of(nonfinite).n ? grouped(sum_of(nonfinite)) : "–", trained_for(group),
        keeps_epochs ? "<td>" + low_to_high(values_of(group, "kept_epoch")) + "</td>" : "",
        format_spread(spread_of(values_of(group, "kept_valid_loss")), {"", "", "", 1, 3, true}),
        low_to_high(values_of(group, "parameters")), fleet_times(values_of(group, "fleet_seconds"), values_of(group, "fleet_size")));
  }
  text +=
      "</tbody></table></div>\n<p class=\"note\">Validation loss: of the epoch that was kept, of CEBRA its InfoNCE after the last step. Losses of different objectives are not "
      "comparable. "
      "The runs of a model train together (of CEBRA those of a split, of a joint model those of all animals), so the time is that of all of them.";
  if (std::any_of(study.runs.begin(), study.runs.end(), [&](const RunResult& run) { return has_diverged(study, run); }))
    text += " Diverged: the validation loss ended above that of the untrained model; such runs are part of every mean.";
  text += "</p>\n";
  if (const auto paths = number_paths(study, &RunResult::fit); !paths.empty())
    text += "<h3>Fit of InfoNCE</h3>\n" + number_table(study, &RunResult::fit, paths) +
            "<p class=\"note\">Goodness of fit: (ln of the number of negatives - InfoNCE) in bits, 0 for an embedding that tells nothing. Of validation bins it "
            "is what the embedding knows of bins it was not trained on; of a control that learned from shuffled labels it is of the true ones. Error: the "
            "standard error over the validation batches.</p>\n";
  text += fmt::format(
      "<details><summary>Every run ({})</summary><div class=\"scroll\"><table><thead><tr><th class=\"name\">run</th><th>non-finite "
      "steps</th><th>epochs or steps</th>"
      "{}<th>validation loss</th></tr></thead><tbody>\n",
      study.runs.size(), keeps_epochs ? "<th>epoch kept</th>" : "");
  for (const auto& run : study.runs) {
    const auto value = [&](const char* key) { return number_at(run.training, {key}, run_where(study, run.name) + ".training"); };
    text += fmt::format("<tr><th class=\"name\">{}{}</th><td>{}</td><td>{}</td>{}<td>{}</td></tr>\n", escape_html(run.name),
                        has_diverged(study, run) ? " <span class=\"tag diverged\">diverged</span>" : "", grouped(value("nonfinite_steps")),
                        grouped(value(run.counts_steps ? "steps" : "epochs")), keeps_epochs ? "<td>" + grouped(value("kept_epoch")) + "</td>" : "",
                        with_error(value("kept_valid_loss"), value("kept_valid_loss_error"), 4));
  }
  text += "</tbody></table></div></details>\n";
  if (!study.warnings.empty()) {
    text += fmt::format("<details open><summary>Warnings of the log ({})</summary><ul>\n", study.warnings.size());
    constexpr std::size_t max_warnings = 20;
    for (std::size_t i = 0; i < std::min(study.warnings.size(), max_warnings); ++i) text += "<li>" + escape_html(study.warnings[i]) + "</li>\n";
    if (study.warnings.size() > max_warnings) text += fmt::format("<li>and {} more in log.jsonl</li>\n", study.warnings.size() - max_warnings);
    text += "</ul></details>\n";
  }
  return text;
}

std::string collapse_section(const StudyResult& study) {
  const auto groups = model_groups(study);
  const bool many_subjects = subjects_of(study).size() > 1;
  const bool of_test = std::all_of(study.runs.begin(), study.runs.end(), [](const RunResult& run) { return run.collapse_of_test; });
  std::string text =
      "<p>Does a latent still carry something of the spikes? A <b>label weight</b> near 1 means the posterior has collapsed onto the label prior, "
      "near 0 that labels are ignored. "
      "A <b>KL divergence</b> near 0 means the latent adds nothing to what the labels say. An <b>active unit</b> is a latent whose encoder mean "
      "varies over bins. Measured on the ";
  text += of_test ? "test bins; metrics.json also has the validation bins." : "validation bins: no bin was left to test.";
  std::vector<std::string> without_labels;
  for (const auto& group : groups)
    if (const RunResult& run = study.runs[group.runs.front()]; !run.sees_labels && run.collapse.is_object())
      without_labels.push_back((many_subjects ? escape_html(group.subject) + ", " : "") + escape_html(group.model));
  if (!without_labels.empty())
    text += fmt::format(" Of {}, which {} no label, the KL divergence is to a prior of no label, and what asks after labels is left out.",
                        join(without_labels), without_labels.size() == 1 ? "sees" : "see");
  text += "</p>\n";
  const auto rows_of = [&](const char* key) {
    std::vector<StripRow> rows;
    for (const auto& group : groups)
      if (auto values = per_latent(study, group, key); spread_of(values).n > 0)
        rows.push_back({(many_subjects ? escape_html(group.subject) + ", " : "") + escape_html(group.model), "model", std::move(values)});
    return rows;
  };
  std::string gauges;
  if (const auto rows = rows_of("label_weight"); !rows.empty())
    gauges += "<h3>Label weight</h3>\n" +
              strip_chart(rows, {0, 1, false}, 2, "0: labels ignored; 1: collapsed onto the labels. Dot: one latent of one run; bar: mean.");
  for (const auto& [key, title, axis] : {std::array{"kl_encoder", "KL to the label prior, label-free",
                                                    "nats per latent, KL(q(z|x) || p(z|u)). Dot: one latent of one run; bar: mean."},
                                         std::array{"kl_posterior", "KL to the label prior, with labels", "nats per latent, KL(q(z|x,u) || p(z|u))"}})
    if (const auto rows = rows_of(key); !rows.empty())
      gauges += fmt::format("<h3>{}</h3>\n{}", title, strip_chart(rows, axis_from_zero(rows), 2, axis));
  auto paths = number_paths(study, &RunResult::collapse);
  // What a gauge shows latent by latent needs no mean or sum beside it.
  if (!gauges.empty())
    std::erase_if(paths, [](const KeyPath& path) { return path[0] == "label_weight" || path[0] == "kl_encoder" || path[0] == "kl_posterior"; });
  if (gauges.empty() && paths.empty()) return {};
  text += gauges;
  if (!paths.empty()) text += number_table(study, &RunResult::collapse, paths);
  return text;
}

std::string identifiability_section(const StudyResult& study) {
  const auto paths = number_paths(study, &RunResult::identifiability);
  if (paths.empty()) return {};
  std::string text = "<p>The recording is simulated, so its true latents are known: how much of them was found.";
  if (shown_kinds(study).size() > 1)
    text += " <b>With labels</b> the latents were given the labels of the very bins they are scored on; where the true latents are the labels "
            "(linear-track), finding them there says nothing.";
  return text + "</p>\n" + number_table(study, &RunResult::identifiability, paths);
}

std::string configuration_section(const StudyResult& study) {
  const auto path = study.directory.lexically_normal();
  const std::string folder = text_of_path(path.has_filename() ? path.filename() : path.parent_path().filename());
  return fmt::format(
      "<p>Run the same again, from inside <code>{}</code>; the same seed and device give the same models and latents, byte for byte:</p>\n"
      "<pre class=\"command\">idem run config.json --out ../again</pre>\n<p>Change one thing with <code>--set key=value</code>; finish an "
      "interrupted study with "
      "<code>--resume</code>; write this page anew with <code>idem report</code>.</p>\n"
      "<details><summary>config.json, as used (of files the names alone)</summary><pre>{}</pre></details>\n",
      escape_html(folder), escape_html(without_folders(study.config).dump(2, ' ', false, Json::error_handler_t::replace)));
}

std::string sources_list(const StudyResult& study) {
  const auto some = [&](auto is) { return std::any_of(study.runs.begin(), study.runs.end(), is); };
  const auto is_cebra = [](const RunResult& run) { return run.counts_steps; };
  const auto is_vae = [&](const RunResult& run) { return !is_cebra(run) && !is_gcl(run); };
  std::string text;
  const auto add = [&](const std::string& source) { text += "<li>" + source + "</li>\n"; };
  if (some([&](const RunResult& run) { return is_vae(run) && !run.sees_labels; }))
    add("VAE: Kingma, Welling. Auto-encoding variational Bayes. ICLR 2014. arXiv 1312.6114");
  if (some([&](const RunResult& run) { return is_vae(run) && run.sees_labels; }))
    add("iVAE: Khemakhem, Kingma, Monti, Hyvärinen. Variational autoencoders and nonlinear ICA: a unifying framework. AISTATS 2020. "
        "arXiv 1907.04809");
  if (some([&](const RunResult& run) { return is_vae(run) && run.sees_labels && run.objective != "ivae"; }))
    add("CI-iVAE: Kim, Liu, Wei. Covariate-informed representation learning to prevent posterior collapse of iVAE. AISTATS 2023. arXiv 2202.04206");
  if (some(is_vae) && some_model_is_pi_vae(study.config))
    add("pi-VAE: Zhou, Wei. Learning identifiable and interpretable latent models of high-dimensional neural activity using pi-VAE. NeurIPS 2020. "
        "arXiv 2011.04798");
  if (some(is_gcl))
    add("Generalized contrastive learning: Hyvärinen, Sasaki, Turner. Nonlinear ICA using auxiliary variables and generalized contrastive learning. "
        "AISTATS 2019. arXiv 1805.08651");
  if (some(is_cebra))
    add("InfoNCE: van den Oord, Li, Vinyals. Representation learning with contrastive predictive coding. 2018. arXiv 1807.03748");
  add(fmt::format("{}cores, splits and kNN protocol: Schneider, Lee, Mathis. Learnable latent embeddings for joint behavioural and neural analysis. "
                  "Nature 617, 360–368 (2023). doi 10.1038/s41586-023-06031-6{}",
                  some(is_cebra) ? "CEBRA, s" : "S",
                  some(is_cebra) ? ". CEBRA's authors have filed a patent application, WO2023143843A1: judge for yourself whether that concerns you"
                                 : ""));
  add("Rat hippocampus recordings of that protocol: Grosmark, Buzsáki. Diversity in neural firing dynamics supports both rigid and learned "
      "hippocampal sequences. Science 351, 1440–1443 (2016). doi 10.1126/science.aad1935");
  if (some([](const RunResult& run) { return run.collapse.is_object(); }))
    add("Active units: Burda, Grosse, Salakhutdinov. Importance weighted autoencoders. ICLR 2016. arXiv 1509.00519");
  add("Colour maps cool, viridis and twilight: matplotlib. Plots: Plotly (MIT licence), gnuplot.");
  return text;
}

}  // namespace idem
