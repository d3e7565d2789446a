#include "host/study/evidence.h"

#include <algorithm>
#include <cmath>
#include <deque>
#include <limits>
#include <map>
#include <optional>

#include "host/statistics/holm.h"
#include "host/statistics/score_interval.h"
#include "host/statistics/time_blocks.h"
#include "host/study/decoded_file.h"
#include "kernels/common/to_size.h"

namespace idem {
namespace {

using nlohmann::json;

// The score that models are compared by: the position's median error, else the direction's accuracy.
struct Metric {
  const LabelColumn* label = nullptr;
  std::size_t column = 0;  // of the recording's labels
  std::string key;
  double scale = 1;  // of an error
  bool is_error = true;

  // Of every test bin: its error, or 1 where the category is right.
  std::vector<double> of_bins(const std::vector<double>& decoded, const Split& split, std::size_t n_labels) const {
    std::vector<double> values;
    for (std::size_t i = 0; i < split.test.size(); ++i) {
      const double read = decoded[i * n_labels + column], truth = label->values[to_size(split.test[i])];
      values.push_back(is_error ? scale * distance_on_label(*label, read, truth) : (read == truth ? 1.0 : 0.0));
    }
    return values;
  }
  std::unique_ptr<TrialScore> score(const ScoredTrials& trials, const std::vector<double>& values) const {
    return is_error ? median_score(trials, values) : mean_score(trials, values);
  }
};

std::optional<Metric> metric_of(const Recording& recording, const DecodingOptions& options) {
  Metric metric;
  if (const auto* position = position_label(recording, options.position_label)) {
    const auto [key, scale] = position_error_of(*position);
    metric = {.label = position, .key = key, .scale = scale};
  } else if (const auto* direction = direction_label(recording, options.direction_label)) {
    metric = {.label = direction, .key = "direction_accuracy", .is_error = false};
  } else {
    return {};
  }
  metric.column = to_size(metric.label - recording.labels.data());
  return metric;
}

// One run, or a baseline in one split: what each reading has on the validation and the test bins.
struct Read {
  std::size_t split = 0;
  std::map<std::string, double> valid;  // by reading; NaN without such bins
  const TestReadings* decoded = nullptr;
};
struct Candidate {
  std::string name, reading;
  bool is_model = true;
  std::vector<Read> reads;
  double valid = 0;  // mean over splits of the mean over seeds, by the reading
  ModelRuns runs;
  std::vector<std::size_t> splits;  // of runs
};

double number_in(const json& scores, const char* part, const std::string& key) {
  const auto found = scores.find(part);
  return found == scores.end() || !found->contains(key) ? std::numeric_limits<double>::quiet_NaN()
                                                        : found->at(key).get<double>();
}

// The trials of a split's test bins. A bin between trials belongs to the one before it.
ScoredTrials trials_of_bins(const std::vector<Segment>& trials, const std::vector<std::int32_t>& bins) {
  ScoredTrials of;
  std::map<std::ptrdiff_t, std::int32_t> numbers;
  for (const auto bin : bins) {
    const auto after = std::ranges::upper_bound(trials, bin, {}, &Segment::begin);
    const auto number = numbers.emplace(after - trials.begin(), of.n_trials);
    of.n_trials += number.second;
    of.trials.push_back(number.first->second);
  }
  return of;
}

// Numbers of the unbroken stretches of bins.
std::vector<std::int32_t> stretches_of(const Recording& recording, const std::vector<std::int32_t>& bins) {
  std::vector<std::int32_t> stretches;
  for (std::size_t i = 0; i < bins.size(); ++i) {
    const bool goes_on =
        i > 0 && bins[i] == bins[i - 1] + 1 &&
        std::ranges::none_of(recording.segments, [&](const Segment& of) { return of.begin == bins[i]; });
    stretches.push_back(i == 0 ? 0 : stretches.back() + !goes_on);
  }
  return stretches;
}

class SubjectEvidence {
 public:
  SubjectEvidence(const StudyRuns& runs, std::size_t subject, const Metric& metric)
      : runs_(runs), subject_(runs.subjects()[subject]), number_(subject), metric_(metric) {}

  void add_models(const std::vector<FinishedRun>& finished, const json& entries);
  void add_baselines(const std::vector<TestReadings>& of_splits, const json& entries);
  json report();

 private:
  Candidate& candidate(const std::string& name, bool is_model) {
    const auto found = std::ranges::find_if(
        candidates_, [&](const Candidate& of) { return of.name == name && of.is_model == is_model; });
    return found != candidates_.end() ? *found
                                      : candidates_.emplace_back(Candidate{.name = name, .is_model = is_model});
  }
  double mean_over_splits(const Candidate& of, const std::string& reading) const;
  void choose_reading(Candidate& of) const;
  void make_units();
  void resample(Candidate& of);
  bool is_better(double a, double b) const { return metric_.is_error ? a < b : a > b; }
  json candidate_json(const Candidate& of) const;
  json comparisons(const Candidate& best) const;

  const StudyRuns& runs_;
  const Subject& subject_;
  std::size_t number_;
  Metric metric_;
  std::deque<TestReadings> of_runs_;
  std::vector<Candidate> candidates_;
  std::vector<ScoredTrials> units_;  // of each split
  std::vector<TrialDraws> draws_;
  std::int32_t block_bins_ = 0;  // 0: the units are trials
  std::deque<ResampledScore> scores_;
};

void SubjectEvidence::add_models(const std::vector<FinishedRun>& finished, const json& entries) {
  for (const auto& done : finished) {
    if (done.run->subject != number_) continue;
    const auto entry = std::ranges::find_if(entries, [&](const json& of) { return of.at("run") == done.run->name; });
    if (entry == entries.end() || !entry->contains("metrics")) continue;
    const Split& split = runs_.split_of(*done.run);
    of_runs_.push_back(read_decoded(done.latents.parent_path() / kDecodedFile, subject_.recording, split));
    Read read{.split = done.run->split, .valid = {}, .decoded = &of_runs_.back()};
    for (const auto& [reading, labels] : of_runs_.back()) {
      const json& metrics = entry->at("metrics");
      const json none = json::object();
      const json& scores =
          reading == "marginal" ? metrics.value("marginal", none) : metrics.value("encoder", none).value(reading, none);
      read.valid[reading] = number_in(scores, "valid", metric_.key);
    }
    if (!read.valid.empty()) candidate(runs_.model_of(*done.run).name, true).reads.push_back(std::move(read));
  }
}

void SubjectEvidence::add_baselines(const std::vector<TestReadings>& of_splits, const json& entries) {
  for (std::size_t split = 0; split < of_splits.size(); ++split) {
    const auto entry = std::ranges::find_if(entries, [&](const json& of) {
      return of.at("subject") == subject_.recording.subject && of.at("split") == subject_.split_numbers[split];
    });
    if (entry == entries.end()) continue;
    std::map<std::string, Read> reads;
    for (const auto& [name, labels] : of_splits[split]) {
      const auto cut = name.find('/');
      const std::string baseline = name.substr(0, cut);
      const json& scores =
          cut == std::string::npos ? entry->at(baseline) : entry->at(baseline).at(name.substr(cut + 1));
      Read& read = reads[baseline];
      read.split = split;
      read.decoded = &of_splits[split];
      read.valid[name] = number_in(scores, "valid", metric_.key);
    }
    for (auto& [baseline, read] : reads) candidate(baseline, false).reads.push_back(std::move(read));
  }
}

double SubjectEvidence::mean_over_splits(const Candidate& of, const std::string& reading) const {
  std::map<std::size_t, std::pair<double, double>> sums;
  for (const auto& read : of.reads) {
    auto& [sum, n] = sums[read.split];
    const auto found = read.valid.find(reading);
    sum += found == read.valid.end() ? std::numeric_limits<double>::quiet_NaN() : found->second;
    ++n;
  }
  double mean = 0;
  for (const auto& [split, of_split] : sums) mean += of_split.first / of_split.second;
  return mean / static_cast<double>(sums.size());
}

// The first among equals; "euclidean" where there is nothing to choose by.
void SubjectEvidence::choose_reading(Candidate& of) const {
  of.valid = std::numeric_limits<double>::quiet_NaN();
  for (const auto& [reading, value] : of.reads.front().valid) {
    const double valid = mean_over_splits(of, reading);
    if (of.reading.empty() || (std::isnan(of.valid) && reading.ends_with("euclidean"))) of.reading = reading;
    if (!std::isnan(valid) && (std::isnan(of.valid) || is_better(valid, of.valid)))
      of.reading = reading, of.valid = valid;
  }
}

// Trials, or where there are none blocks of time: as long as the longest window, and ten times as long as errors of any
// candidate depend on each other.
void SubjectEvidence::make_units() {
  std::vector<std::vector<std::int32_t>> stretches;
  for (const auto& split : subject_.splits) stretches.push_back(stretches_of(subject_.recording, split.test));
  if (subject_.trials.empty()) {
    double length = 1;
    for (const auto& model : runs_.study().models)
      length = std::max(length, static_cast<double>(model.preparation.left + model.preparation.right));
    for (const auto& of : candidates_) {
      const Read& read = of.reads.front();
      const auto values =
          metric_.of_bins(read.decoded->at(of.reading), subject_.splits[read.split], subject_.recording.labels.size());
      length = std::max(length, 10 * autocorrelation_time(values, stretches[read.split]));
    }
    block_bins_ = static_cast<std::int32_t>(std::ceil(std::min(length, 1e9)));
  }
  for (std::size_t split = 0; split < subject_.splits.size(); ++split) {
    units_.push_back(block_bins_ > 0 ? time_blocks(stretches[split], block_bins_)
                                     : trials_of_bins(subject_.trials, subject_.splits[split].test));
    draws_.emplace_back(units_.back().n_trials, kTrialDraws, static_cast<std::uint32_t>(split));
  }
}

void SubjectEvidence::resample(Candidate& of) {
  of.runs.has_seeds = of.is_model;
  of.runs.least_trials = block_bins_ > 0 ? kLeastBlocks : kLeastTrials;
  for (std::size_t split = 0; split < subject_.splits.size(); ++split) {
    SplitRuns runs{.n_trials = units_[split].n_trials, .seeds = {}};
    for (const auto& read : of.reads) {
      if (read.split != split || !read.decoded->contains(of.reading)) continue;
      const auto values =
          metric_.of_bins(read.decoded->at(of.reading), subject_.splits[split], subject_.recording.labels.size());
      scores_.push_back(resampled(*metric_.score(units_[split], values), draws_[split]));
      runs.seeds.push_back(&scores_.back());
    }
    if (runs.seeds.empty()) continue;
    of.runs.splits.push_back(std::move(runs));
    of.splits.push_back(split);
  }
}

const char* name_of(Grounds grounds) {
  switch (grounds) {
    case Grounds::trials_and_seeds: return "trials and seeds";
    case Grounds::one_seed: return "one seed";
    case Grounds::few_trials: return "few trials";
  }
  return "";
}

json SubjectEvidence::candidate_json(const Candidate& of) const {
  const auto [interval, grounds] = interval_of_score(of.runs);
  json result = {{"name", of.name},
                 {"kind", of.is_model ? "model" : "baseline"},
                 {"reading", of.reading},
                 {"test", interval.estimate},
                 {"low", interval.low},
                 {"high", interval.high},
                 {"grounds", name_of(grounds)}};
  if (!std::isnan(of.valid)) result["valid"] = of.valid;
  return result;
}

// Only the splits that both have.
ModelRuns in_splits(const Candidate& of, const std::vector<std::size_t>& splits) {
  ModelRuns runs{.has_seeds = of.runs.has_seeds, .least_trials = of.runs.least_trials, .splits = {}};
  for (std::size_t i = 0; i < of.splits.size(); ++i)
    if (std::ranges::find(splits, of.splits[i]) != splits.end()) runs.splits.push_back(of.runs.splits[i]);
  return runs;
}

json SubjectEvidence::comparisons(const Candidate& best) const {
  json all = json::array();
  std::vector<double> p;
  for (const auto& other : candidates_) {
    const auto ours = in_splits(best, other.splits), theirs = in_splits(other, best.splits);
    if (&other == &best || ours.splits.empty()) continue;
    const auto [gain, grounds] =
        metric_.is_error ? interval_of_difference(theirs, ours) : interval_of_difference(ours, theirs);
    all.push_back({{"name", other.name},
                   {"gain", gain.estimate},
                   {"low", gain.low},
                   {"high", gain.high},
                   {"p", gain.p},
                   {"grounds", name_of(grounds)}});
    p.push_back(gain.p);
  }
  const auto adjusted = holm_adjusted(p);
  for (std::size_t i = 0; i < all.size(); ++i) {
    all[i]["p_holm"] = adjusted[i];
    all[i]["verdict"] = all[i].at("grounds") != name_of(Grounds::trials_and_seeds) ? "none"
                        : adjusted[i] >= 0.05                                      ? "not told apart"
                        : all[i].at("gain").get<double>() > 0                      ? "better"
                                                                                   : "worse";
  }
  return all;
}

json SubjectEvidence::report() {
  if (candidates_.empty()) return json();
  for (auto& of : candidates_) choose_reading(of);
  make_units();
  for (auto& of : candidates_) resample(of);
  std::erase_if(candidates_, [](const Candidate& of) { return of.runs.splits.empty(); });
  json result = {{"subject", subject_.recording.subject},
                 {"metric", metric_.key},
                 {"units", block_bins_ > 0 ? "blocks of time" : "trials"},
                 {"candidates", json::array()}};
  if (block_bins_ > 0) result["block_bins"] = block_bins_;
  for (const auto& units : units_) result["units_of_splits"].push_back(units.n_trials);
  const Candidate* best = nullptr;
  for (const auto& of : candidates_) {
    result["candidates"].push_back(candidate_json(of));
    if (of.is_model && (!best || is_better(of.valid, best->valid))) best = &of;
  }
  if (best) {
    result["best"] = best->name;
    result["against"] = comparisons(*best);
  }
  return result;
}

}  // namespace

json decoding_evidence(const StudyRuns& runs, const std::vector<FinishedRun>& finished,
                       const BaselineReadings& baselines, const json& metrics) {
  json all = json::array();
  for (std::size_t subject = 0; subject < runs.subjects().size(); ++subject) {
    const auto metric = metric_of(runs.subjects()[subject].recording, runs.study().decoding);
    const auto& splits = runs.subjects()[subject].splits;
    if (!metric || std::ranges::any_of(splits, [](const Split& of) { return of.test.empty(); })) continue;
    SubjectEvidence evidence(runs, subject, *metric);
    evidence.add_models(finished, metrics.at("runs"));
    if (subject < baselines.size()) evidence.add_baselines(baselines[subject], metrics.at("baselines"));
    if (json found = evidence.report(); !found.is_null()) all.push_back(std::move(found));
  }
  return all;
}

}  // namespace idem
