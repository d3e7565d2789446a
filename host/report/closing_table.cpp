#include "host/report/closing_table.h"

#include <algorithm>

#include <fmt/format.h>

#include "host/report/groups.h"
#include "kernels/common/to_size.h"

namespace idem {
namespace {

using Row = std::vector<std::string>;

// Columns of a terminal that a text takes: one for each character, whatever its bytes.
std::size_t width_of(const std::string& text) {
  return to_size(std::count_if(text.begin(), text.end(),
                               [](char byte) { return (static_cast<unsigned char>(byte) & 0xC0) != 0x80; }));
}

// No-break spaces are for pages; a dash stands for what there is not, and here that is a blank.
std::string plain(std::string text) {
  for (std::size_t at; (at = text.find("\u00a0")) != std::string::npos;) text.replace(at, 2, " ");
  return text == "–" ? "" : text;
}

// The columns that some row fills: names to the left, numbers to the right.
std::string aligned(const std::vector<Row>& rows) {
  std::string text;
  std::vector<std::size_t> widths(rows.front().size(), 0);
  for (std::size_t column = 0; column < widths.size(); ++column)
    if (std::any_of(rows.begin() + 1, rows.end(), [&](const Row& row) { return !row[column].empty(); }))
      for (const auto& row : rows) widths[column] = std::max(widths[column], width_of(row[column]));
  for (const auto& row : rows) {
    std::string line;
    for (std::size_t column = 0; column < row.size(); ++column) {
      if (widths[column] == 0) continue;
      const std::string blanks(widths[column] - width_of(row[column]), ' ');
      line += column == 0 ? row[column] + blanks : "  " + blanks + row[column];
    }
    text += line.substr(0, line.find_last_not_of(' ') + 1) + "\n";
  }
  return text;
}

std::string table_of(const StudyResult& study, const std::vector<ModelGroup>& groups, const std::string& subject,
                     const MetricStyle& style) {
  const MetricStyle accuracy = metric_style("direction_accuracy", study.labels), r2{"", "", "", 1, 2, false};
  const auto shown = [](const std::vector<double>& values, const MetricStyle& as) {
    return plain(format_spread(spread_of(values), as));
  };
  const auto mean = [](const std::vector<double>& values,
                       const MetricStyle& as) {  // a spread of these would not fit into the line
    const Spread spread = spread_of(values);
    return spread.n > 0 ? plain(format_number(as.scale * spread.mean, as.decimals)) + as.unit : std::string();
  };
  std::vector<Row> rows{{"", "runs", "spikes", "+ labels", "likelihood", study.labels.direction, "agree", "seeds"}};
  const std::string best = best_by_validation(study, groups, subject, style.key).model;
  bool marks_best = false;
  for (const auto& group : groups) {
    if (group.subject != subject) continue;
    const auto test = [&](const char* latents, const MetricStyle& as) {
      return shown(group_metric(study, group, latents, "euclidean", "test", as.key), as);
    };
    const SeedConsistency* seeds = consistency_of(study, group);
    const bool is_best = group.model == best && groups.size() > 1;
    marks_best = marks_best || is_best;
    rows.push_back({group.model + (is_best ? " *" : ""), std::to_string(group.runs.size()), test("encoder", style),
                    test("posterior", style), shown(marginal_values(study, group, "test", style.key), style),
                    style.key == accuracy.key
                        ? ""
                        : mean(group_metric(study, group, "encoder", "euclidean", "test", accuracy.key), accuracy),
                    mean(agreements_of(study, group), r2), seeds ? mean(seeds->encoder, r2) : ""});
  }
  for (const char* name : baseline_names) {
    const auto test = [&](const MetricStyle& as) {
      return baseline_values(study, subject, name, "euclidean", "test", as.key);
    };
    const std::string score = shown(test(style), style), title = baseline_title(study, subject, name);
    if (!score.empty())
      rows.push_back({title.substr(0, title.find(" (")), "", score, "", "",
                      style.key == accuracy.key ? "" : mean(test(accuracy), accuracy), "", ""});
  }
  return fmt::format("{}: {}{} of the test bins\n", subject, style.title,
                     style.note.empty() ? "" : " (" + style.note + ")") +
         aligned(rows) + (marks_best ? "* best on the validation bins\n" : "");
}

}  // namespace

std::string closing_table(const StudyResult& study) {
  const auto metrics = metrics_of(study);
  if (metrics.empty()) return {};
  const auto groups = model_groups(study);
  std::string text;
  for (const auto& subject : subjects_of(study))
    text += table_of(study, groups, subject, metric_style(metrics.front(), study.labels));
  return text +
         "Mean ± sd over runs, by Euclidean nearest neighbours, from latents of spikes\nalone or given the test labels "
         "too (which leaks). agree: R² of a map from the\n"
         "one to the other. seeds: R² of a map between seeds, of spikes alone.\n";
}

}  // namespace idem
