// compare_profiles.h - profiles of the same steps before and after a change: what is slower or faster beyond noise.
//
// Two runs of one program differ by more than the repeats within each: neighbours of a virtual machine, clocks, where
// memory lies. So runs of both are made in turns, and it is their differences that a change has to exceed.
#pragma once

#include <optional>
#include <string>
#include <vector>

#include "host/profile/profile.h"

namespace idem {

enum class Change { none, slower, faster, added, removed };

// Of one operation, or of the whole step under the name "step".
struct TimeChange {
  std::string step, operation;
  double before_s = 0, after_s = 0;  // medians
  // after / before, and the band of that ratio that the times of both span: all of after's by all of before's.
  double ratio = 0, low = 0, high = 0;
  Work work_before, work_after;
  Change change = Change::none;
  bool is_in_all_runs = true;  // of those sides that have it at all
};

// As many runs before as after. Each side together is one profile: of a step that all its runs hold, every operation
// that any of them does, with a time for each run, the median of its repeats; of one run a time for each repeat. Roofs
// are medians over the runs.
struct ComparedRuns {
  std::vector<Profile> runs;       // those before first
  std::vector<std::string> names;  // of the runs: their files, or "1", "2" and so on
  Profile before, after;

  std::size_t n_each() const { return runs.size() / 2; }
};
// Throws DataError where the runs of a side are not of one program on one device.
ComparedRuns compared_runs(std::vector<Profile> runs, std::vector<std::string> names = {});

struct Comparison {
  // Steps that all runs hold, each before its operations.
  std::vector<TimeChange> changes;
  // How many of them were slower or faster, on average, had runs been exchanged between before and after: in all other
  // ways to part them, or in 200 of these. Without a value of fewer than three runs each.
  std::optional<double> by_chance;
};

// An operation is slower (faster) where every time of `after` is longer (shorter) than every one of `before`, where the
// medians differ by more than 5 % and by more than the times of either side among themselves, where all runs do it, and
// where it takes at least 1 % of either step. Throws DataError where the profiles have no step in common.
Comparison compare_profiles(const ComparedRuns& runs);

// Of a step: "adam SLOWER (x 2.22), step SLOWER (x 1.07)".
std::string verdicts_text(const ComparedRuns& runs, const Comparison& comparison, const std::string& step);

// As text. The devices' roofs are compared too: where they differ, so may all times. Of fewer than three runs of each
// the verdicts have a question mark.
std::string changes_text(const ComparedRuns& runs, const Comparison& comparison);

}  // namespace idem
