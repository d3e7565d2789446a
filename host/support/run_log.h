// run_log.h - log.jsonl: what happened in a run, one JSON object per line, in order, each on disk before the next thing happens.
//
// Events: "epoch" (run, epoch, train, valid, learning_rate, best) or, of CEBRA, "steps" (run, step, train, valid, temperature,
// valid_batches that valid is the mean of, valid_loss_error: the standard error of its loss over these), and with a "message": "start", "note",
// "warning", "algorithm" (of a matrix product on a GPU), "finished", "interrupted".
// train and valid hold the parts of the family's loss. A number that is not finite is null.
#pragma once

#include <cstdio>
#include <filesystem>
#include <string>

#include <nlohmann/json.hpp>

#include "host/support/training_record.h"

namespace idem {

class RunLog {
 public:
  // append: after a resumed run's earlier lines, of which a half-written last one is cut off. The file is locked while this lives. Throws DataError,
  // also where another program has it locked.
  RunLog(const std::filesystem::path& path, bool append);
  ~RunLog();
  RunLog(const RunLog&) = delete;
  RunLog& operator=(const RunLog&) = delete;

  void message(const std::string& event, const std::string& text);
  void record(const std::string& run, TrainingUnit unit, const TrainingRecord& record);

 private:
  void write(const nlohmann::json& event);
  std::filesystem::path path_;
  std::FILE* file_ = nullptr;
};

}  // namespace idem
