#include "host/report/grid_ends.h"

#include <fmt/format.h>

#include <map>
#include <vector>

#include "host/report/numbers_format.h"

namespace idem {
namespace {

struct Count {
  int n = 0, n_at_end = 0;
};
using Counts = std::map<std::string, Count>;  // by what is decoded from what: in the order it is told

// "largest", "smallest" or nothing.
std::string end_of(const Json& scores, const char* key) {
  return scores.is_object() ? scores.value("grid_end", Json::object()).value(key, std::string()) : std::string();
}

void count_decoder(const Json& scores, const DecodedLabels& labels, const std::string& what,
                   std::map<std::string, Counts>& by_end) {
  const auto count = [&](const Json& of, const char* key, const std::string& label) {
    if (!of.is_object() || !of.contains(key)) return;
    for (const char* end : {"largest", "smallest"}) {
      Count& counted = by_end[end][what + ", " + label];
      ++counted.n;
      counted.n_at_end += end_of(of, key) == end ? 1 : 0;
    }
  };
  count(scores, "neighbours", labels.position);
  count(scores, "direction_neighbours", labels.direction);
  const Json others = scores.value("labels", Json::object());
  for (const auto& [name, of] : others.items()) count(of, "neighbours", name);
}

void count_decoders(const Json& decoders, const DecodedLabels& labels, const std::string& what,
                    std::map<std::string, Counts>& by_end) {
  if (!decoders.is_object()) return;
  for (const auto& [key, title] : {std::pair{"euclidean", "Euclidean"}, {"cosine", "cosine"}})
    if (decoders.contains(key) && decoders.at(key).is_object())
      count_decoder(decoders.at(key), labels, what + ", " + title, by_end);
}

}  // namespace

std::string grid_ends_note(const StudyResult& study) {
  std::map<std::string, Counts> by_end;
  for (const auto& run : study.runs)
    for (const auto& [key, title] : {std::pair{"encoder", "label-free"}, {"posterior", "with labels"}})
      if (run.metrics.is_object() && run.metrics.contains(key))
        count_decoders(run.metrics.at(key), study.labels, fmt::format("{}, {}, {}", run.subject, run.model, title),
                       by_end);
  for (const auto& baseline : study.baselines)
    for (const auto& [key, title] : {std::pair{"window_sums", "window sums"}, {"pca", "PCA of all bins"}})
      if (const auto found = baseline.decoded.find(key); found != baseline.decoded.end())
        count_decoders(found->second, study.labels, baseline.subject + ", " + title, by_end);

  std::string text;
  for (const auto& [end, counts] : by_end) {
    std::string list;
    for (const auto& [what, count] : counts)
      if (count.n_at_end > 0)
        list += fmt::format("{}{} ({} of {})", list.empty() ? "" : "; ", what, count.n_at_end, count.n);
    if (!list.empty())
      text += fmt::format(
          "<p class=\"note\">The {} number of neighbours on offer was the best on validation, so a {} one may decode "
          "better (evaluation.neighbours): {}.</p>\n",
          end, end == "largest" ? "larger" : "smaller", escape_html(list));
  }
  return text;
}

}  // namespace idem
