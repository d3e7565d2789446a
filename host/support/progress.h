// progress.h - how far a study is: a bar on a terminal, lines in a pipe, nothing when quiet. Warnings are shown in any case.
//
// A line begins with the time that the whole study still takes and is at most as wide as the terminal (80 columns in a pipe): what does not fit is left
// out, the least important first.
#pragma once

#include <chrono>
#include <cstdio>
#include <functional>
#include <span>
#include <string>
#include <vector>

#include "engine/families/cebra/cebra_fleet.h"
#include "engine/families/vae/vae_fleet.h"
#include "engine/families/gcl/gcl_fleet.h"
#include "host/support/remaining_time.h"

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
  // n: epochs or steps that are to be done.
  void begin_stage(const std::string& stage, std::int32_t n);
  void epoch(std::span<const EpochRecord> records);
  void epoch(std::span<const GclRecord> records);
  void steps(std::span<const CebraRecord> records);
  void end_stage();
  void note(const std::string& line);     // not when quiet
  void warning(const std::string& line);  // also when quiet

 private:
  static double steady_seconds();
  void clear_bar();
  // done of n_ epochs or steps, before which the last report said `before`; what there is to say of it.
  void show(const char* unit, std::int32_t done, std::int32_t before, std::vector<std::string> parts);

  std::FILE* out_;
  Style style_;
  std::function<double()> now_s_;
  int columns_;
  std::string stage_;
  std::int32_t n_ = 0, steps_done_ = 0;
  RemainingTime remaining_;
  bool bar_shown_ = false;
};

// "0:42", "12:05", "1:02:03"
std::string format_duration(double seconds);

}  // namespace idem
