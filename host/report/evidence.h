// evidence.h - how sure the scores of a study's models and baselines are, and the Answer's words about it.
#pragma once

#include <string>
#include <vector>

#include <nlohmann/json.hpp>

namespace idem {

struct MetricStyle;

// Of one model or baseline, the mean over splits of the mean over seeds, by the reading that the validation bins prefer.
struct EvidencedScore {
  std::string name, reading;
  bool is_model = true;
  double test = 0, low = 0, high = 0;  // 95 %
};
// What the best model is better by.
struct EvidencedGain {
  std::string name, grounds, verdict;  // "better", "worse", "not told apart", or "none"
  double gain = 0, low = 0, high = 0;
};
// "evidence.decoding" of metrics.json, of one recording.
struct DecodingEvidence {
  std::string subject, metric, units, best;  // best: "" where no model reads spikes alone
  std::vector<int> units_of_splits;
  std::vector<EvidencedScore> candidates;
  std::vector<EvidencedGain> against;

  const EvidencedScore* score_of(const std::string& name, bool is_model) const;  // null: not there
};

// Throws DataError that begins with `where`.
std::vector<DecodingEvidence> parse_evidence(const nlohmann::ordered_json& metrics, const std::string& where);

// "6.6 cm (95 % 5.6 to 7.6)".
std::string score_text(const EvidencedScore& score, const MetricStyle& style);

// "By position error on the same test bins it is better than ... by ..., not told apart from ...", and what intervals
// and verdicts speak of.
std::string gains_sentence(const DecodingEvidence& evidence, const MetricStyle& style);

// "by the model's own likelihood", "by cosine nearest neighbours": how labels were read from a model or a baseline.
std::string reading_words(const std::string& reading);

}  // namespace idem
