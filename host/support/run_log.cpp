#include "host/support/run_log.h"

#include <sys/file.h>
#include <unistd.h>

#include <cerrno>
#include <chrono>
#include <cstring>
#include <ctime>

#include <fmt/format.h>

#include "host/support/errors.h"

namespace idem {

using nlohmann::json;

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
  // Two programs that train into one folder would each undo the other's files. Not every file system has locks: those
  // go without.
  if (flock(fileno(file_), LOCK_EX | LOCK_NB) != 0 && errno == EWOULDBLOCK)
    fail("another idem is writing to this folder; wait until it has ended, or choose another --out");
  if (ftruncate(fileno(file_), append ? end_of_whole_lines(file_) : 0) != 0)
    fail(fmt::format("cannot be cut ({}); choose another --out", std::strerror(errno)));
}

RunLog::~RunLog() { std::fclose(file_); }

void RunLog::message(const std::string& event, const std::string& text) {
  write({{"event", event}, {"message", text}});
}

void RunLog::record(const std::string& run, TrainingUnit unit, const TrainingRecord& record) {
  json event = record.more;
  event["event"] = unit == TrainingUnit::epoch ? "epoch" : "steps";
  event["run"] = run;
  event[name_of(unit)] = record.done;
  for (const auto& [name, parts] : {std::pair{"train", &record.train}, {"valid", &record.valid}})
    for (const auto& [part, value] : *parts) event[name][part] = value;
  write(event);
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
