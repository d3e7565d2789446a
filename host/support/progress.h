// progress.h - how far a study is: a bar on a terminal, lines in a pipe, nothing when quiet. Warnings are shown in any
// case.
//
// A line begins with the time that the whole study still takes and is at most as wide as the terminal (80 columns in a
// pipe): what does not fit is left out, the least important first.
#pragma once

#include <chrono>
#include <cstdio>
#include <functional>
#include <span>
#include <string>
#include <vector>

#include "host/support/remaining_time.h"
#include "host/support/training_record.h"

namespace idem {

class Progress {
 public:
  enum class Style { bar, lines, quiet };
  static Style style_for(std::FILE* out, bool quiet);

  // now_s: seconds on a clock that only goes forward. columns: of the terminal; 0: asks it.
  Progress(std::FILE* out, Style style, std::function<double()> now_s = steady_seconds, int columns = 0);
  ~Progress();
  Progress(const Progress&) = delete;
  Progress& operator=(const Progress&) = delete;

  // The stages to come, in order; without it the time left is that of a stage.
  void plan(std::vector<PlannedStage> stages);
  void begin_stage(TrainingStage stage);
  void show(std::span<const TrainingRecord> records);  // one of each run, all done as far
  void end_stage();
  void note(const std::string& line);     // not when quiet
  void warning(const std::string& line);  // also when quiet

 private:
  static double steady_seconds();
  void clear_bar();
  std::FILE* out_;
  Style style_;
  std::function<double()> now_s_;
  int columns_;
  TrainingStage stage_;
  std::int32_t done_ = 0;  // as shown last
  RemainingTime remaining_;
  bool bar_shown_ = false;
};

// "0:42", "12:05", "1:02:03"
std::string format_duration(double seconds);

}  // namespace idem
