// study_runs.h - the runs of a study: every recording, model, split and seed, in the order in which they are trained
// and told.
#pragma once

#include <functional>
#include <string>
#include <vector>

#include "host/config/study.h"
#include "host/families/family.h"
#include "host/study/subjects.h"

namespace idem {

// Runs that train together.
using PlannedFleet = std::vector<const PlannedRun*>;

class StudyRuns {
 public:
  // Keeps a reference to the study. Throws ConfigError for a run whose name no folder can have.
  StudyRuns(const Study& study, std::vector<Subject> subjects);

  const Study& study() const { return study_; }
  const std::vector<Subject>& subjects() const { return subjects_; }
  const std::vector<PlannedRun>& all() const { return runs_; }
  std::vector<std::string> names() const;

  const Subject& subject_of(const PlannedRun& run) const { return subjects_[run.subject]; }
  const ModelConfig& model_of(const PlannedRun& run) const { return study_.models[run.model]; }
  const Split& split_of(const PlannedRun& run) const { return subject_of(run).splits[run.split]; }
  int split_number_of(const PlannedRun& run) const { return subject_of(run).split_numbers[run.split]; }

  // One model on one recording, by their places: it has runs for every split and seed.
  struct Cell {
    std::size_t subject = 0, model = 0;
  };
  std::vector<Cell> cells() const;

  // The wanted runs of a model on a recording, those together that train together: all of them, or where splits train
  // apart those of a split. Of a joint model with the first recording those of all recordings, for every split and seed
  // of which one run is wanted.
  using Wanted = std::function<bool(const PlannedRun& run)>;
  std::vector<PlannedFleet> fleets_of(Cell cell, const Wanted& is_wanted) const;
  std::vector<PlannedFleet> fleets(const Wanted& is_wanted) const;  // of the whole study

 private:
  const Study& study_;
  std::vector<Subject> subjects_;
  std::vector<PlannedRun> runs_;
};

}  // namespace idem
