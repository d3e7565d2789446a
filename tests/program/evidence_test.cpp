// What a study says of its own scores: the evidence in metrics.json, against the scores that it is of.
#include <cmath>
#include <map>

#include "tests/program/end_to_end.h"

namespace idem {
namespace {

const json& scores_of(const json& entry, const std::string& reading) {
  return reading == "marginal" ? entry.at("metrics").at("marginal") : entry.at("metrics").at("encoder").at(reading);
}
const json& scores_of_baseline(const json& entry, const std::string& name, const std::string& reading) {
  const auto cut = reading.find('/');
  return cut == std::string::npos ? entry.at(name) : entry.at(name).at(reading.substr(cut + 1));
}

// Mean over splits of the mean over seeds.
double mean_of(const std::map<int, std::vector<double>>& of_splits) {
  double sum = 0;
  for (const auto& [split, values] : of_splits)
    for (const double value : values)
      sum += value / static_cast<double>(values.size()) / static_cast<double>(of_splits.size());
  return sum;
}

// The scores of one candidate in one part, by any reading.
double part_of(const json& metrics, const json& candidate, const std::string& reading, const char* part,
               const std::string& key) {
  std::map<int, std::vector<double>> of_splits;
  const std::string name = candidate.at("name");
  if (candidate.at("kind") == "model") {
    for (const auto& entry : metrics.at("runs"))
      if (entry.at("model") == name) of_splits[entry.at("split")].push_back(scores_of(entry, reading).at(part).at(key));
  } else {
    for (const auto& entry : metrics.at("baselines"))
      of_splits[entry.at("split")].push_back(scores_of_baseline(entry, name, reading).at(part).at(key));
  }
  return mean_of(of_splits);
}

TEST_F(EndToEnd, EvidenceIsOfTheScoresByTheReadingThatValidationBinsPrefer) {
  const json metrics = json::parse(text_of_file(first() / "metrics.json"));
  const json& evidence = metrics.at("evidence").at("decoding").at(0);
  const std::string key = evidence.at("metric");
  std::map<std::string, double> test;
  for (const auto& candidate : evidence.at("candidates")) {
    const std::string name = candidate.at("name"), reading = candidate.at("reading");
    test[name] = part_of(metrics, candidate, reading, "test", key);
    EXPECT_NEAR(candidate.at("test").get<double>() / test[name], 1, 1e-5) << name << " " << reading;
    EXPECT_NEAR(candidate.at("valid").get<double>() / part_of(metrics, candidate, reading, "valid", key), 1, 1e-9);
    EXPECT_LE(candidate.at("low"), candidate.at("test"));
    EXPECT_GE(candidate.at("high"), candidate.at("test"));
    const std::string group = reading.find('/') == std::string::npos ? "" : name + "/";
    if (reading == "chance" || reading == "place_fields") continue;
    for (const char* other : {"euclidean", "cosine", "linear"})
      EXPECT_LE(candidate.at("valid"), part_of(metrics, candidate, group + other, "valid", key)) << name << other;
  }
  EXPECT_TRUE(test.contains("place_fields") && test.contains("window_sums") && test.contains("pca"));
  const std::string best = evidence.at("best");
  EXPECT_EQ(evidence.at("against").size() + 1, evidence.at("candidates").size());
  for (const auto& against : evidence.at("against"))
    EXPECT_NEAR(against.at("gain"), test.at(against.at("name")) - test.at(best), 1e-3) << against;
}

// Interrupted, resumed, and of any number of threads.
TEST_F(EndToEnd, EvidenceOfAResumedStudyIsTheSame) {
  const auto copy = folder().path() / "again";
  fs::copy(first(), copy, fs::copy_options::recursive);
  fs::remove_all(copy / "runs" / kRuns[1]);
  const auto resumed = program().run({"run", study().string(), "--out", copy.string(), "--resume", "--device", "cpu"});
  ASSERT_EQ(resumed.code, 0) << resumed.errors;
  EXPECT_EQ(json::parse(text_of_file(copy / "metrics.json")).at("evidence"),
            json::parse(text_of_file(first() / "metrics.json")).at("evidence"));
}

}  // namespace
}  // namespace idem
