// run_log.h - log.jsonl: what happened in a run, one JSON object per line, in order, each on disk before the next thing
// happens. host/FORMATS.md says what the objects hold.
#pragma once

#include <cstdio>
#include <filesystem>
#include <string>

#include <nlohmann/json.hpp>

#include "host/support/training_record.h"

namespace idem {

class RunLog {
 public:
  // append: after a resumed run's earlier lines, of which a half-written last one is cut off. The file is locked while
  // this lives. Throws DataError, also where another program has it locked.
  RunLog(const std::filesystem::path& path, bool append);
  ~RunLog();
  RunLog(const RunLog&) = delete;
  RunLog& operator=(const RunLog&) = delete;

  void message(const std::string& event, const std::string& text);
  void record(const std::string& run, TrainingUnit unit, const TrainingRecord& record);

 private:
  void write(nlohmann::json event);
  std::filesystem::path path_;
  std::FILE* file_ = nullptr;
};

}  // namespace idem
