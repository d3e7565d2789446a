#include "host/preparation/choose_splits.h"

#include <algorithm>
#include <nlohmann/json.hpp>

#include <fmt/format.h>

#include "host/support/errors.h"
#include "kernels/common/to_size.h"

namespace idem {
namespace {

using nlohmann::json;

std::string origin_of_trials(const std::string& label) {
  return label.empty() ? "declared" : "round trips of " + label;
}

// trial_label as a name; "": the trials that the recording declares.
std::string trial_label(const json& section) {
  const json& label = section.at("trial_label");
  return label.is_null() ? "" : label.get<std::string>();
}

StudySplits by_trials(const json& section, const Recording& recording, const std::string& label,
                      const std::string& source) {
  StudySplits result;
  try {
    result.trials = trials_of(recording, label);
  } catch (const ConfigError& error) {
    throw ConfigError(
        fmt::format("{}: splits.trial_label: {}; name the label of the running direction, or set splits.kind to "
                    "\"time\" or \"ranges\"",
                    source, error.what()));
  }
  try {
    for (const int fold : section.at("folds")) {
      result.splits.push_back(three_fold_split(result.trials, fold));
      result.numbers.push_back(fold);
    }
  } catch (const DataError& error) {
    throw DataError(fmt::format("{}: {}", recording.subject, error.what()));
  }
  result.trials_from = origin_of_trials(label);
  result.note = fmt::format("splits: three-fold trials, {} {}", result.trials.size(), result.trials_from);
  return result;
}

StudySplits by_time(const json& section, const Recording& recording) {
  const json& fractions = section.at("fractions");
  StudySplits result;
  result.splits = {time_split(recording, {.train = fractions[0], .valid = fractions[1], .test = fractions[2]})};
  result.numbers = {0};
  const Split& split = result.splits.back();
  const auto n_unused = to_size(recording.n_times) - split.train.size() - split.valid.size() - split.test.size();
  const std::string unused = n_unused == 1  ? ", the last bin unused"
                             : n_unused > 1 ? fmt::format(", the last {} bins unused", n_unused)
                                            : "";
  result.note = fmt::format("splits: time, {:g} / {:g} / {:g}{}", fractions[0].get<double>(),
                            fractions[1].get<double>(), fractions[2].get<double>(), unused);
  return result;
}

StudySplits by_ranges(const json& section, const Recording& recording) {
  const json& ranges = section.at("ranges");
  const auto part = [&](const char* name) {
    std::vector<SplitRange> list;
    for (const auto& range : ranges.at(name)) list.push_back({range[0], range[1]});
    return list;
  };
  StudySplits result;
  result.splits = {
      range_split(recording, {.unit = ranges.at("unit") == "seconds" ? RangeUnit::seconds : RangeUnit::bins,
                              .train = part("train"),
                              .valid = part("valid"),
                              .test = part("test")})};
  result.numbers = {0};
  result.note = "splits: the ranges listed";
  return result;
}

// Why trials by this label ("": those declared) cannot split this recording, or "".
std::string obstacle_to_trials(const json& section, const Recording& recording, const std::string& name) {
  if (!name.empty()) {
    const auto label = std::find_if(recording.labels.begin(), recording.labels.end(),
                                    [&](const LabelColumn& column) { return column.name == name; });
    if (label == recording.labels.end()) return fmt::format("no label is called \"{}\"", name);
    if (label->kind != LabelKind::categorical || label->categories.size() != 2)
      return fmt::format("label {} is not categorical with two values", label->name);
  }
  try {
    const auto trials = trials_of(recording, name);
    for (const int fold : section.at("folds")) three_fold_split(trials, fold);
  } catch (const DataError& error) {
    return error.what();
  }
  return "";
}

// Trials by the label, else those that the recording declares, else time.
StudySplits by_choice(const json& section, const Recording& recording, const std::string& source) {
  const std::string label = trial_label(section);
  const std::string obstacle = obstacle_to_trials(section, recording, label);
  const bool declares_trials =
      !label.empty() && !recording.trials.empty() && obstacle_to_trials(section, recording, "").empty();
  StudySplits result = obstacle.empty()  ? by_trials(section, recording, label, source)
                       : declares_trials ? by_trials(section, recording, "", source)
                                         : by_time(section, recording);
  result.note += fmt::format(" (chosen by splits.kind \"auto\"{})", obstacle.empty() ? "" : ": " + obstacle);
  return result;
}

}  // namespace

StudySplits split_recording(const json& section, const Recording& recording, const std::string& source) {
  const std::string kind = section.at("kind");
  StudySplits result = kind == "three-fold-trials" ? by_trials(section, recording, trial_label(section), source)
                       : kind == "time"            ? by_time(section, recording)
                       : kind == "ranges"          ? by_ranges(section, recording)
                                                   : by_choice(section, recording, source);
  for (const auto& split : result.splits)
    if (split.valid.empty())
      throw ConfigError(fmt::format(
          "{}: splits: {} has no validation bins, which choose the epoch and the decoders' settings; leave some",
          source, recording.subject));
  if (result.trials.empty() && !recording.trials.empty()) {
    result.trials = recording.trials;
    result.trials_from = origin_of_trials("");
  }
  return result;
}

}  // namespace idem
