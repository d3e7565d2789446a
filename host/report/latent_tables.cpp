#include "host/report/latent_tables.h"

#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <utility>
#include <vector>

#include "host/report/groups.h"
#include "host/report/number_table.h"
#include "host/report/strip_chart.h"

namespace idem {
namespace {

// A collapse measure of every latent of every run.
std::vector<double> per_latent(const StudyResult& study, const ModelGroup& group, const char* key) {
  std::vector<double> values;
  for (const std::size_t run : group.runs) {
    const RunResult& result = study.runs[run];
    if (!result.collapse.is_object()) continue;
    const auto latents = result.collapse.find("latents");
    for (std::size_t i = 0; latents != result.collapse.end() && i < latents->size(); ++i)
      values.push_back(
          number_at((*latents)[i], {key}, fmt::format("{}.collapse, latent {}", run_where(study, result.name), i)));
  }
  return values;
}

}  // namespace

std::string collapse_section(const StudyResult& study) {
  const auto groups = model_groups(study);
  const bool many_subjects = subjects_of(study).size() > 1;
  const bool of_test =
      std::all_of(study.runs.begin(), study.runs.end(), [](const RunResult& run) { return run.collapse_of_test; });
  std::string text =
      "<p>Does a latent still carry something of the spikes? A <b>label weight</b> near 1 means the posterior has "
      "collapsed onto the label prior, "
      "near 0 that labels are ignored. "
      "A <b>KL divergence</b> near 0 means the latent adds nothing to what the labels say. An <b>active unit</b> is a "
      "latent whose encoder mean "
      "varies over bins. Measured on the ";
  text +=
      of_test ? "test bins; metrics.json also has the validation bins." : "validation bins: no bin was left to test.";
  std::vector<std::string> without_labels;
  for (const auto& group : groups)
    if (const RunResult& run = study.runs[group.runs.front()]; !run.sees_labels && run.collapse.is_object())
      without_labels.push_back((many_subjects ? escape_html(group.subject) + ", " : "") + escape_html(group.model));
  if (!without_labels.empty())
    text += fmt::format(
        " Of {}, which {} no label, the KL divergence is to a prior of no label, and what asks after labels is left "
        "out.",
        join(without_labels), without_labels.size() == 1 ? "sees" : "see");
  text += "</p>\n";
  const auto rows_of = [&](const char* key) {
    std::vector<StripRow> rows;
    for (const auto& group : groups)
      if (auto values = per_latent(study, group, key); spread_of(values).n > 0)
        rows.push_back({(many_subjects ? escape_html(group.subject) + ", " : "") + escape_html(group.model), "model",
                        std::move(values)});
    return rows;
  };
  std::string gauges;
  if (const auto rows = rows_of("label_weight"); !rows.empty())
    gauges += "<h3>Label weight</h3>\n" +
              strip_chart(rows, {0, 1, false}, 2,
                          "0: labels ignored; 1: collapsed onto the labels. Dot: one latent of one run; bar: mean.");
  for (const auto& [key, title, axis] :
       {std::array{"kl_encoder", "KL to the label prior, label-free",
                   "nats per latent, KL(q(z|x) || p(z|u)). Dot: one latent of one run; bar: mean."},
        std::array{"kl_posterior", "KL to the label prior, with labels", "nats per latent, KL(q(z|x,u) || p(z|u))"}})
    if (const auto rows = rows_of(key); !rows.empty())
      gauges += fmt::format("<h3>{}</h3>\n{}", title, strip_chart(rows, axis_from_zero(rows), 2, axis));
  auto paths = number_paths(study, &RunResult::collapse);
  // What a gauge shows latent by latent needs no mean or sum beside it.
  if (!gauges.empty())
    std::erase_if(paths, [](const KeyPath& path) {
      return path[0] == "label_weight" || path[0] == "kl_encoder" || path[0] == "kl_posterior";
    });
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
    text +=
        " <b>With labels</b> the latents were given the labels of the very bins they are scored on; where the true "
        "latents are the labels "
        "(linear-track), finding them there says nothing.";
  return text + "</p>\n" + number_table(study, &RunResult::identifiability, paths);
}

}  // namespace idem
