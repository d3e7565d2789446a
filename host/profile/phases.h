// phases.h - which part of a study takes how long, and how much memory.
#pragma once

#include <chrono>
#include <string>
#include <utility>
#include <vector>

#include "host/profile/profile.h"

namespace idem {

// Phases come one after the other and may come again: their times add up.
class StudyPhases {
 public:
  explicit StudyPhases(bool is_taken) : is_taken_(is_taken) {}

  // Ends the phase before.
  void begin(const char* name);
  void end();
  const std::vector<StudyPhase>& all() const { return phases_; }  // in the order of their first beginnings

 private:
  bool is_taken_;  // else nothing is read or kept
  std::vector<StudyPhase> phases_;
  StudyPhase* running_ = nullptr;
  bool tells_peak_ = false;  // of the phase alone
  std::chrono::steady_clock::time_point began_;
};

}  // namespace idem
