#include "host/report/evidence.h"

#include <algorithm>
#include <cmath>
#include <numeric>

#include <fmt/format.h>

#include "host/report/numbers_format.h"
#include "host/support/errors.h"

namespace idem {
namespace {

using Json = nlohmann::ordered_json;

EvidencedScore score_from(const Json& of) {
  return {.name = of.at("name"),
          .reading = of.at("reading"),
          .is_model = of.at("kind") == "model",
          .test = of.at("test"),
          .low = of.at("low"),
          .high = of.at("high")};
}
EvidencedGain gain_from(const Json& of) {
  return {.name = of.at("name"),
          .grounds = of.at("grounds"),
          .verdict = of.at("verdict"),
          .gain = of.at("gain"),
          .low = of.at("low"),
          .high = of.at("high")};
}
DecodingEvidence evidence_from(const Json& of) {
  DecodingEvidence evidence{.subject = of.at("subject"),
                            .metric = of.at("metric"),
                            .units = of.at("units"),
                            .best = of.value("best", ""),
                            .units_of_splits = of.at("units_of_splits"),
                            .candidates = {},
                            .against = {}};
  for (const auto& candidate : of.at("candidates")) evidence.candidates.push_back(score_from(candidate));
  for (const auto& gain : of.value("against", Json::array())) evidence.against.push_back(gain_from(gain));
  return evidence;
}

std::string shown(double value, const MetricStyle& style) { return format_number(style.scale * value, style.decimals); }
std::string range_text(double low, double high, const MetricStyle& style) {
  return fmt::format("{} to {}", shown(low, style), shown(high, style));
}

std::string gain_text(const EvidencedGain& gain, const MetricStyle& style) {
  return fmt::format("{} ({})", with_unit(shown(gain.gain, style), style), range_text(gain.low, gain.high, style));
}

const char* title_of(const std::string& name) {
  return name == "chance"         ? "guessing"
         : name == "pca"          ? "PCA of all bins"
         : name == "window_sums"  ? "the window sums"
         : name == "place_fields" ? "place fields"
                                  : nullptr;
}

// Why there is no verdict.
std::string doubt_of(const DecodingEvidence& evidence, const std::string& grounds) {
  const int n = std::accumulate(evidence.units_of_splits.begin(), evidence.units_of_splits.end(), 0);
  if (grounds == "one seed")
    return "With one seed of a model nothing is said of others: intervals are of these runs alone, for other " +
           evidence.units + ". ";
  if (grounds == "few trials") return fmt::format("With {} {} of test bins there is no verdict. ", n, evidence.units);
  return {};
}

}  // namespace

const EvidencedScore* DecodingEvidence::score_of(const std::string& name, bool is_model) const {
  const auto found = std::ranges::find_if(
      candidates, [&](const EvidencedScore& of) { return of.name == name && of.is_model == is_model; });
  return found == candidates.end() ? nullptr : &*found;
}

std::vector<DecodingEvidence> parse_evidence(const Json& metrics, const std::string& where) {
  std::vector<DecodingEvidence> all;
  if (!metrics.contains("evidence")) return all;
  try {
    for (const auto& of : metrics.at("evidence").at("decoding")) all.push_back(evidence_from(of));
  } catch (const nlohmann::json::exception&) {
    throw DataError(where + "evidence: is not what idem run writes; write the file anew with idem run");
  }
  return all;
}

std::string score_text(const EvidencedScore& score, const MetricStyle& style) {
  return fmt::format("{} (95\u00a0% {})", with_unit(shown(score.test, style), style),
                     range_text(score.low, score.high, style));
}

std::string gains_sentence(const DecodingEvidence& evidence, const MetricStyle& style) {
  std::vector<std::string> better, worse, equal, unjudged;
  std::string grounds;
  for (const auto& gain : evidence.against) {
    const char* baseline = title_of(gain.name);
    const std::string name = baseline ? baseline : escape_html(gain.name);
    if (gain.verdict == "better") better.push_back(fmt::format("{} by {}", name, gain_text(gain, style)));
    if (gain.verdict == "worse") {
      EvidencedGain loss = gain;
      loss.gain = -gain.gain, loss.low = -gain.high, loss.high = -gain.low;
      worse.push_back(fmt::format("{} by {}", name, gain_text(loss, style)));
    }
    if (gain.verdict == "not told apart") equal.push_back(fmt::format("{} ({})", name, gain_text(gain, style)));
    if (gain.verdict == "none")
      unjudged.push_back(fmt::format("{} by {}", name, gain_text(gain, style))), grounds = gain.grounds;
  }
  std::vector<std::string> parts;
  if (!better.empty()) parts.push_back("<b>better</b> than " + join(better));
  if (!worse.empty()) parts.push_back("<b>worse</b> than " + join(worse));
  if (!equal.empty()) parts.push_back("<b>not told apart</b> from " + join(equal));
  std::string text;
  if (!parts.empty())
    text += fmt::format("By {} on the same test bins it is {}. ", escape_html(style.title), join(parts));
  if (!unjudged.empty())
    text += fmt::format("By {} on the same test bins it differs from {}. ", escape_html(style.title), join(unjudged)) +
            doubt_of(evidence, grounds);
  if (!parts.empty())
    text += fmt::format(
        "Intervals are 95\u00a0%, of other {} and seeds, not of other training sets or animals; the words hold "
        "together "
        "at 5\u00a0% (Holm, {} comparisons). ",
        evidence.units, evidence.against.size());
  return text;
}

std::string reading_words(const std::string& reading) {
  const std::string decoder = reading.substr(reading.find('/') + 1);
  return decoder == "euclidean"      ? "by Euclidean nearest neighbours"
         : decoder == "cosine"       ? "by cosine nearest neighbours"
         : decoder == "linear"       ? "by a linear map"
         : decoder == "marginal"     ? "by the model's own likelihood"
         : decoder == "place_fields" ? "by Bayes' rule"
                                     : "";
}

}  // namespace idem
