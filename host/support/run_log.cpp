#include "host/support/run_log.h"

#include <sys/file.h>
#include <unistd.h>

#include <cerrno>
#include <chrono>
#include <cmath>
#include <cstring>
#include <ctime>

#include <fmt/format.h>

#include "host/support/errors.h"

namespace idem {

using nlohmann::json;

json to_json(const LossParts& parts) {
  return {{"loss", parts.loss},
          {"reconstruction_encoder", parts.reconstruction_encoder},
          {"reconstruction_posterior", parts.reconstruction_posterior},
          {"kl_encoder", parts.kl_encoder},
          {"kl_posterior", parts.kl_posterior},
          {"skew", parts.skew},
          {"alpha", parts.alpha},
          {"alpha_zero_fraction", parts.alpha_zero_fraction},
          {"alpha_one_fraction", parts.alpha_one_fraction}};
}

// Where the last whole line of a file ends: a killed program leaves half a line after it.
static long end_of_whole_lines(std::FILE* file) {
  std::fseek(file, 0, SEEK_END);
  long end = std::ftell(file);
  for (; end > 0; --end) {
    std::fseek(file, end - 1, SEEK_SET);
    if (std::fgetc(file) == '\n') break;
  }
  return end;
}

RunLog::RunLog(const std::filesystem::path& path, bool append) : path_(path) {
  file_ = std::fopen(path.c_str(), "a+b");
  const auto fail = [&](const std::string& why) {
    if (file_) std::fclose(file_);
    throw DataError(fmt::format("{}: {}", path.string(), why));
  };
  if (!file_) fail(fmt::format("cannot be written ({}); choose another --out", std::strerror(errno)));
  // Two programs that train into one folder would each undo the other's files. Not every file system has locks: those go without.
  if (flock(fileno(file_), LOCK_EX | LOCK_NB) != 0 && errno == EWOULDBLOCK)
    fail("another idem is writing to this folder; wait until it has ended, or choose another --out");
  if (ftruncate(fileno(file_), append ? end_of_whole_lines(file_) : 0) != 0) fail(fmt::format("cannot be cut ({}); choose another --out", std::strerror(errno)));
}

RunLog::~RunLog() { std::fclose(file_); }

void RunLog::message(const std::string& event, const std::string& text) { write({{"event", event}, {"message", text}}); }

void RunLog::epoch(const std::string& run, const EpochRecord& record) {
  write({{"event", "epoch"},
         {"run", run},
         {"epoch", record.epoch},
         {"train", to_json(record.train)},
         {"valid", to_json(record.valid)},
         {"learning_rate", record.learning_rate},
         {"best", record.is_best}});
}

void RunLog::epoch(const std::string& run, const GclRecord& record) {
  const auto of = [](const GclLoss& loss) { return json{{"loss", loss.loss}, {"accuracy", loss.accuracy}}; };
  write({{"event", "epoch"}, {"run", run}, {"epoch", record.epoch}, {"train", of(record.train)}, {"valid", of(record.valid)}, {"best", record.is_best}});
}

void RunLog::steps(const std::string& run, const CebraRecord& record) {
  const auto of = [](const CebraLoss& loss) {
    json parts = {{"loss", loss.loss}, {"alignment", loss.alignment}, {"uniformity", loss.uniformity}};
    if (std::isfinite(loss.behaviour_alignment))
      parts.update({{"behaviour_alignment", loss.behaviour_alignment}, {"behaviour_uniformity", loss.behaviour_uniformity}});
    return parts;
  };
  write({{"event", "steps"},
         {"run", run},
         {"step", record.step},
         {"train", of(record.train)},
         {"valid", of(record.valid)},
         {"valid_loss_error", record.valid_error.loss},
         {"valid_batches", record.valid_batches},
         {"temperature", record.temperature}});
}

// As 2026-01-31T12:00:00.123Z.
static std::string now_in_utc() {
  const auto since_epoch = std::chrono::system_clock::now().time_since_epoch();
  const auto milliseconds = std::chrono::duration_cast<std::chrono::milliseconds>(since_epoch).count();
  const std::time_t seconds = milliseconds / 1000;
  std::tm utc{};
  gmtime_r(&seconds, &utc);
  return fmt::format("{:04}-{:02}-{:02}T{:02}:{:02}:{:02}.{:03}Z", utc.tm_year + 1900, utc.tm_mon + 1, utc.tm_mday,
                     utc.tm_hour, utc.tm_min, utc.tm_sec, milliseconds % 1000);
}

void RunLog::write(json event) {
  event["time"] = now_in_utc();
  // A message may quote a path, which need not be UTF-8.
  const std::string line = event.dump(-1, ' ', false, json::error_handler_t::replace) + "\n";
  if (std::fwrite(line.data(), 1, line.size(), file_) != line.size() || std::fflush(file_) != 0)
    throw DataError(fmt::format("{}: cannot be written ({}); is the disk full?", path_.string(), std::strerror(errno)));
}

}  // namespace idem
