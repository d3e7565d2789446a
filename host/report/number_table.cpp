#include "host/report/number_table.h"

#include <fmt/format.h>

#include <algorithm>
#include <cmath>

#include "host/report/groups.h"

namespace idem {
namespace {

void add_number_paths(const Json& object, const KeyPath& above, std::vector<KeyPath>& paths) {
  if (!object.is_object()) return;
  for (const auto& [key, value] : object.items()) {
    KeyPath path = above;
    path.push_back(key);
    if (value.is_object())
      add_number_paths(value, path, paths);
    else if (value.is_number() && std::find(paths.begin(), paths.end(), path) == paths.end())
      paths.push_back(path);
  }
}

// "encoder" -> "label-free"; other keys in words.
std::string latents_title(const std::string& key) {
  for (const auto& kind : latents_kinds)
    if (key == kind.key) return kind.title;
  return words(key);
}

}  // namespace

std::vector<KeyPath> number_paths(const StudyResult& study, const Json RunResult::* member) {
  std::vector<KeyPath> paths;
  for (const auto& run : study.runs) add_number_paths(run.*member, {}, paths);
  return paths;
}

std::string number_table(const StudyResult& study, const Json RunResult::* member, const std::vector<KeyPath>& paths) {
  auto groups = model_groups(study);
  const auto values_of = [&](const ModelGroup& group, const KeyPath& path) {
    std::vector<double> values;
    for (const std::size_t run : group.runs)
      values.push_back(number_at(study.runs[run].*member, path, run_where(study, study.runs[run].name)));
    return values;
  };
  std::erase_if(groups, [&](const ModelGroup& group) {
    return std::all_of(paths.begin(), paths.end(),
                       [&](const KeyPath& path) { return spread_of(values_of(group, path)).n == 0; });
  });
  const bool many_subjects = subjects_of(study).size() > 1;
  std::string text = "<div class=\"scroll\"><table class=\"narrow\"><thead><tr><th class=\"name\"></th>";
  for (const auto& group : groups)
    text += fmt::format("<th>{}{}{}</th>", many_subjects ? escape_html(group.subject) + ", " : "",
                        escape_html(group.model), divergence_tag(study, group));
  text += "</tr></thead><tbody>\n";
  for (const auto& path : paths) {
    std::string name;
    for (const auto& key : path) name += (name.empty() ? "" : ", ") + escape_html(latents_title(key));
    const bool leaks = path.front() == "posterior";
    text += fmt::format("<tr{}><th class=\"name{}\">{}{}</th>", leaks ? " class=\"leak\"" : "", leaks ? " leak" : "",
                        name, leaks ? ": <b>leaks test labels</b>" : "");
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

}  // namespace idem
