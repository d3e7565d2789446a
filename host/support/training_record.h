// training_record.h - what the training of a run tells of itself, whatever its family: for the log and for the progress
// line.
#pragma once

#include <cstdint>
#include <string>
#include <utility>
#include <vector>

#include <nlohmann/json.hpp>

namespace idem {

// What training counts.
enum class TrainingUnit { epoch, step };
inline const char* name_of(TrainingUnit unit) { return unit == TrainingUnit::epoch ? "epoch" : "step"; }

// Parts of a loss by name, "loss" among them. Not finite: the objective does not have it, or it came to nothing.
using NamedParts = std::vector<std::pair<std::string, double>>;

struct TrainingRecord {
  std::int32_t done = 0;    // epochs or steps, from 1
  bool is_running = true;   // false after early stopping has ended the run
  NamedParts train, valid;  // means over rows; train while weights move, valid after the epoch or step
  nlohmann::json more = nlohmann::json::object();  // what else the log keeps of it
};

// What a progress line shows of records beside the loss itself: parts of the validation loss under one title, as
// {"KL", {"kl_encoder", "kl_posterior"}} for "KL 1.2/3.4".
struct ShownParts {
  std::string title;
  std::vector<std::string> parts;
};

struct TrainingStage {
  std::string name;
  TrainingUnit unit = TrainingUnit::epoch;
  std::int32_t n = 0;               // that are to be done
  std::string loss_title = "loss";  // of the training loss
  bool validates = false;           // a validation loss that is not finite came to nothing
  std::vector<ShownParts> shown;    // the most important first
};

}  // namespace idem
