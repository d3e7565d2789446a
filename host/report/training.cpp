#include "host/report/training.h"

#include <fmt/format.h>

#include <algorithm>
#include <cmath>
#include <set>
#include <utility>
#include <vector>

#include "host/report/groups.h"
#include "host/report/number_table.h"

namespace idem {
namespace {

// Training times of the fleets that a model's runs were members of, each fleet once: "2.0 min of all 4 runs together".
std::string fleet_times(const std::vector<double>& seconds, const std::vector<double>& sizes) {
  std::set<std::pair<double, double>> fleets;
  for (std::size_t run = 0; run < seconds.size(); ++run)
    if (std::isfinite(seconds[run]) && std::isfinite(sizes[run])) fleets.emplace(sizes[run], seconds[run]);
  std::string text;
  for (const auto& [size, time] : fleets)
    text += fmt::format("{}{}{}", text.empty() ? "" : ", ", duration(time),
                        size > 1 ? fmt::format(" of all {:.0f} runs together", size) : "");
  return text.empty() ? "–" : text;
}

// "epochs" or "steps": also the key of their number.
std::string units_of(const RunResult& run) { return name_of(run.family->unit()) + std::string("s"); }

double sum_of(const std::vector<double>& values) {
  double sum = 0;
  for (const double value : values)
    if (std::isfinite(value)) sum += value;
  return sum;
}

}  // namespace

std::string training_section(const StudyResult& study) {
  const auto groups = model_groups(study);
  const bool many_subjects = subjects_of(study).size() > 1;
  const auto values_of = [&](const ModelGroup& group, const char* key) {
    std::vector<double> values;
    for (const std::size_t run : group.runs)
      values.push_back(
          number_at(study.runs[run].training, {key}, run_where(study, study.runs[run].name) + ".training"));
    return values;
  };
  const auto trained_for = [&](const ModelGroup& group) {
    const std::string units = units_of(study.runs[group.runs.front()]);
    return low_to_high(values_of(group, units.c_str())) + " " + units;
  };
  double n_nonfinite = 0;
  std::size_t n_touched = 0;
  for (const auto& group : groups)
    for (const double value : values_of(group, "nonfinite_steps"))
      if (value > 0) n_nonfinite += value, ++n_touched;
  std::string text =
      n_nonfinite == 0
          ? fmt::format("<p class=\"good\">No step of {} run{} had a non-finite loss or gradient.</p>\n",
                        study.runs.size(), study.runs.size() == 1 ? "" : "s")
          : fmt::format("<p class=\"warn\">{} non-finite step{} skipped, in {} of {} runs.</p>\n", grouped(n_nonfinite),
                        n_nonfinite == 1 ? " was" : "s were", n_touched, study.runs.size());
  // CEBRA has none to keep.
  const bool keeps_epochs = std::any_of(groups.begin(), groups.end(), [&](const ModelGroup& group) {
    return spread_of(values_of(group, "kept_epoch")).n > 0;
  });
  text += fmt::format(
      "<div class=\"scroll\"><table><thead><tr><th class=\"name\">model</th><th "
      "class=\"word\">objective</th><th>runs</th><th>non-finite "
      "steps</th><th>trained for</th>{}<th>validation loss</th><th>parameters</th><th>training "
      "time</th></tr></thead><tbody>\n",
      keeps_epochs ? "<th>epoch kept</th>" : "");
  for (const auto& group : groups) {
    const auto nonfinite = values_of(group, "nonfinite_steps");
    text += fmt::format(
        "<tr><th class=\"name\">{}{}{}</th><td "
        "class=\"word\">{}</td><td>{}</td><td>{}</td><td>{}</td>{}<td>{}</td><td>{}</td><td "
        "class=\"times\">{}</td></tr>\n",
        many_subjects ? escape_html(group.subject) + ", " : "", escape_html(group.model), divergence_tag(study, group),
        escape_html(group.objective), group.runs.size(), spread_of(nonfinite).n ? grouped(sum_of(nonfinite)) : "–",
        trained_for(group), keeps_epochs ? "<td>" + low_to_high(values_of(group, "kept_epoch")) + "</td>" : "",
        format_spread(spread_of(values_of(group, "kept_valid_loss")), {"", "", "", 1, 3, true}),
        low_to_high(values_of(group, "parameters")),
        fleet_times(values_of(group, "fleet_seconds"), values_of(group, "fleet_size")));
  }
  text +=
      "</tbody></table></div>\n<p class=\"note\">Validation loss: of the epoch that was kept, of CEBRA its InfoNCE "
      "after the last step. Losses of different objectives are not "
      "comparable. "
      "The runs of a model train together (of CEBRA those of a split, of a joint model those of all animals), so the "
      "time is that of all of them.";
  if (std::any_of(study.runs.begin(), study.runs.end(), [&](const RunResult& run) { return has_diverged(study, run); }))
    text += " Diverged: the validation loss ended above that of the untrained model; such runs are part of every mean.";
  text += "</p>\n";
  if (const auto paths = number_paths(study, &RunResult::fit); !paths.empty())
    text += "<h3>Fit of InfoNCE</h3>\n" + number_table(study, &RunResult::fit, paths) +
            "<p class=\"note\">Goodness of fit: (ln of the number of negatives - InfoNCE) in bits, 0 for an embedding "
            "that tells nothing. Of validation bins it "
            "is what the embedding knows of bins it was not trained on; of a control that learned from shuffled labels "
            "it is of the true ones. Error: the "
            "standard error over the validation batches.</p>\n";
  text += fmt::format(
      "<details><summary>Every run ({})</summary><div class=\"scroll\"><table><thead><tr><th "
      "class=\"name\">run</th><th>non-finite "
      "steps</th><th>epochs or steps</th>"
      "{}<th>validation loss</th></tr></thead><tbody>\n",
      study.runs.size(), keeps_epochs ? "<th>epoch kept</th>" : "");
  for (const auto& run : study.runs) {
    const auto value = [&](const char* key) {
      return number_at(run.training, {key}, run_where(study, run.name) + ".training");
    };
    text +=
        fmt::format("<tr><th class=\"name\">{}{}</th><td>{}</td><td>{}</td>{}<td>{}</td></tr>\n", escape_html(run.name),
                    has_diverged(study, run) ? " <span class=\"tag diverged\">diverged</span>" : "",
                    grouped(value("nonfinite_steps")), grouped(value(units_of(run).c_str())),
                    keeps_epochs ? "<td>" + grouped(value("kept_epoch")) + "</td>" : "",
                    with_error(value("kept_valid_loss"), value("kept_valid_loss_error"), 4));
  }
  text += "</tbody></table></div></details>\n";
  if (!study.warnings.empty()) {
    text += fmt::format("<details open><summary>Warnings of the log ({})</summary><ul>\n", study.warnings.size());
    constexpr std::size_t max_warnings = 20;
    for (std::size_t i = 0; i < std::min(study.warnings.size(), max_warnings); ++i)
      text += "<li>" + escape_html(study.warnings[i]) + "</li>\n";
    if (study.warnings.size() > max_warnings)
      text += fmt::format("<li>and {} more in log.jsonl</li>\n", study.warnings.size() - max_warnings);
    text += "</ul></details>\n";
  }
  return text;
}

}  // namespace idem
