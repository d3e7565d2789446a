#include "host/study/study_runs.h"

#include <algorithm>
#include <iterator>
#include <map>

#include <fmt/format.h>

#include "host/support/errors.h"
#include "host/support/one_line.h"

namespace idem {

StudyRuns::StudyRuns(const Study& study, std::vector<Subject> subjects)
    : study_(study), subjects_(std::move(subjects)) {
  for (const auto& [subject, model] : cells())
    for (std::size_t split = 0; split < subjects_[subject].splits.size(); ++split)
      for (const auto seed : study.seeds)
        runs_.push_back({fmt::format("{}-{}-s{}-f{}", subjects_[subject].recording.subject, study.models[model].name,
                                     seed, subjects_[subject].split_numbers[split]),
                         subject, model, split, seed});
  constexpr std::size_t kLongestName = 240;  // file systems take 255 bytes, and a figure is called "decoding-RUN.svg"
  for (const auto& run : runs_)
    if (run.name.size() > kLongestName)
      throw ConfigError(
          fmt::format("{}: run {} needs a folder of that name, {} letters, at most {} can be; shorten the "
                      "model's name or recording.subject",
                      study.source, one_line(run.name), run.name.size(), kLongestName));
}

std::vector<std::string> StudyRuns::names() const {
  std::vector<std::string> names;
  for (const auto& run : runs_) names.push_back(run.name);
  return names;
}

std::vector<StudyRuns::Cell> StudyRuns::cells() const {
  std::vector<Cell> cells;
  for (std::size_t subject = 0; subject < subjects_.size(); ++subject)
    for (std::size_t model = 0; model < study_.models.size(); ++model) cells.push_back({subject, model});
  return cells;
}

std::vector<PlannedFleet> StudyRuns::fleets_of(Cell cell, const Wanted& is_wanted) const {
  const ModelConfig& model = study_.models[cell.model];
  if (model.is_joint && cell.subject > 0) return {};  // trained with the first recording
  const auto trained_with = [&](const PlannedRun& run) {
    if (!model.is_joint) return PlannedFleet{&run};
    PlannedFleet sessions;
    for (const auto& other : runs_)
      if (other.model == run.model && other.split == run.split && other.seed == run.seed) sessions.push_back(&other);
    return sessions;
  };
  std::map<std::size_t, PlannedFleet> fleets;
  for (const auto& run : runs_) {
    if (run.subject != cell.subject || run.model != cell.model) continue;
    const PlannedFleet sessions = trained_with(run);
    if (std::none_of(sessions.begin(), sessions.end(), [&](const PlannedRun* of) { return is_wanted(*of); })) continue;
    auto& fleet = fleets[model.own->trains_splits_apart() ? run.split : 0];
    fleet.insert(fleet.end(), sessions.begin(), sessions.end());
  }
  std::vector<PlannedFleet> list;
  for (auto& [split, fleet] : fleets) list.push_back(std::move(fleet));
  return list;
}

std::vector<PlannedFleet> StudyRuns::fleets(const Wanted& is_wanted) const {
  std::vector<PlannedFleet> list;
  for (const auto cell : cells()) std::ranges::move(fleets_of(cell, is_wanted), std::back_inserter(list));
  return list;
}

}  // namespace idem
