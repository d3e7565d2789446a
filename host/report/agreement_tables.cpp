#include "host/report/agreement_tables.h"

#include <fmt/format.h>

#include <algorithm>

namespace idem {

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
      weights.push_back(
          number_at(study.runs[run].collapse, {"label_weight"}, run_where(study, study.runs[run].name) + ".collapse"));
    agreement.cells.push_back(spread_of(agreements_of(study, group)));
    label_weight.cells.push_back(spread_of(weights));
    const SeedConsistency* found = consistency_of(study, group);
    label_free.cells.push_back(found ? spread_of(found->encoder) : Spread{});
    with_labels.cells.push_back(found ? spread_of(found->posterior) : Spread{});
  }
  std::vector<Column> columns;
  for (const Column& column : {agreement, label_weight, label_free, with_labels})
    if (std::any_of(column.cells.begin(), column.cells.end(), [](const Spread& cell) { return cell.n > 0; }))
      columns.push_back(column);

  std::string text = "<h3>Is it the same latent?</h3>\n";
  if (!columns.empty()) {
    std::string above, below;
    for (const Column& column : columns)
      if (column.is_of_seeds)
        below += fmt::format("<th>{}</th>", column.title);
      else
        above += fmt::format("<th rowspan=\"2\">{}</th>", column.title);
    const auto n_of_seeds =
        std::count_if(columns.begin(), columns.end(), [](const Column& column) { return column.is_of_seeds; });
    if (n_of_seeds > 0)
      above += fmt::format("<th colspan=\"{}\" class=\"group\">one seed or another, R²</th>", n_of_seeds);
    text += fmt::format(
        "<div class=\"scroll\"><table class=\"same\"><thead><tr><th rowspan=\"2\" "
        "class=\"name\">model</th>{}</tr>\n<tr>{}</tr></thead>"
        "<tbody>\n",
        above, below);
    for (std::size_t i = 0; i < groups.size(); ++i) {
      text +=
          fmt::format("<tr><th class=\"name\">{}{}{}</th>", many_subjects ? escape_html(groups[i].subject) + ", " : "",
                      escape_html(groups[i].model), divergence_tag(study, groups[i]));
      for (const Column& column : columns)
        text += fmt::format("<td>{}</td>", format_spread(column.cells[i], {"", "", "", 1, 2, false}));
      text += "</tr>\n";
    }
    text += "</tbody></table></div>\n";
  }
  text += "<p class=\"note\">";
  if (!columns.empty()) {
    text +=
        "R² of the affine map between two sets of latents, fitted on the train bins, scored on the test bins: 1 means "
        "the same latents, 0 (or "
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
  std::string text =
      "<h3>One animal or another</h3>\n<div class=\"scroll\"><table class=\"same\"><thead><tr><th "
      "class=\"name\">model</th>";
  for (const auto& pair : pairs) text += fmt::format("<th>{}</th>", escape_html(pair));
  const std::string unit =
      study.labels.position_unit.empty() ? "" : " (" + escape_html(study.labels.position_unit) + ")";
  struct Mean {
    std::string title;
    const char* css;
    int digits;
    std::vector<double> AnimalConsistencyResult::* values;
  };
  std::vector<Mean> means{{"mean", "", 2, &AnimalConsistencyResult::encoder},
                          {"without a map, mean", "", 2, &AnimalConsistencyResult::unmapped},
                          {escape_html(study.labels.position) + " read across" + unit + ", mean", "", 1,
                           &AnimalConsistencyResult::error_across},
                          {"with labels, mean", " class=\"leak\"", 2, &AnimalConsistencyResult::posterior}};
  // Over the pairs of one model, or of all.
  const auto spread = [&](const Mean& mean, const std::string* model) {
    std::vector<double> all;
    for (const auto& entry : study.animals)
      if (!model || entry.model == *model)
        all.insert(all.end(), (entry.*mean.values).begin(), (entry.*mean.values).end());
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
    for (const auto& mean : means)
      text += fmt::format("<td{}>{}</td>", mean.css,
                          format_spread(spread(mean, &model), {"", "", "", 1, mean.digits, false}));
    text += "</tr>\n";
  }
  return text + fmt::format(
                    "</tbody></table></div>\n<p class=\"note\">R² of the affine map from the one animal's label-free "
                    "latents to the other's, both averaged "
                    "over test bins of like {}{}: how far one could be told from the other. Without a map the one's "
                    "are taken for the "
                    "other's, which only models of one space for all animals can stand. Read across: the median error "
                    "of the one animal's {} "
                    "on its test bins, taken from the training bins of the other with the nearest label-free latents. "
                    "Mean ± standard "
                    "deviation over splits of the mean over seeds.</p>\n",
                    escape_html(study.labels.position),
                    has_direction ? " (each " + escape_html(study.labels.direction) + " by itself)" : "",
                    escape_html(study.labels.position));
}

}  // namespace idem
