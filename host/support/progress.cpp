#include "host/support/progress.h"

#include <sys/ioctl.h>
#include <unistd.h>

#include <algorithm>
#include <cmath>
#include <utility>

#include <fmt/format.h>

#include "host/support/output.h"
#include "host/support/utf8.h"
#include "kernels/common/to_size.h"

namespace idem {
namespace {

constexpr int kLinesPerStage = 20;   // when piped
constexpr int kNarrowTerminal = 60;  // columns with room for words alone
constexpr std::size_t kPipedColumns = 80, kStageColumns = 34;

int terminal_columns(std::FILE* out) {
  winsize size{};
  if (ioctl(fileno(out), TIOCGWINSZ, &size) == 0 && size.ws_col > 0) return size.ws_col;
  return 80;
}

// Of a part, NaN where there is none of that name.
double value_of(const NamedParts& parts, const std::string& name) {
  const auto found = std::find_if(parts.begin(), parts.end(), [&](const auto& part) { return part.first == name; });
  return found == parts.end() ? std::nan("") : found->second;
}

// Mean of a part over the runs that still train and have a number.
double mean_of(std::span<const TrainingRecord> records, NamedParts TrainingRecord::* parts, const std::string& name) {
  double sum = 0;
  int n = 0;
  for (const auto& record : records) {
    const double x = value_of(record.*parts, name);
    if (!record.is_running || !std::isfinite(x)) continue;
    sum += x;
    ++n;
  }
  return n > 0 ? sum / n : std::nan("");
}

std::string runs_text(std::size_t n_running, std::size_t n_lost) {
  return fmt::format("{} run{}{}", n_running, n_running == 1 ? "" : "s",
                     n_lost > 0 ? fmt::format(", {} without a finite loss", n_lost) : "");
}

// "NAME A" or "NAME A/B", of the numbers there are.
void add_numbers(std::vector<std::string>& parts, const std::string& name, const std::vector<double>& values) {
  std::string text;
  for (const double value : values)
    if (std::isfinite(value)) text += fmt::format("{}{:.4g}", text.empty() ? name + " " : "/", value);
  if (!text.empty()) parts.push_back(text);
}

// What there is to say of some records, the most important first: a short line ends where it must.
std::vector<std::string> status_of(std::span<const TrainingRecord> records, const TrainingStage& stage) {
  std::vector<std::string> parts;
  add_numbers(parts, stage.loss_title, {mean_of(records, &TrainingRecord::train, "loss")});
  add_numbers(parts, "valid", {mean_of(records, &TrainingRecord::valid, "loss")});
  std::size_t n_running = 0, n_lost = 0;
  for (const auto& record : records) {
    n_running += record.is_running;
    const bool is_finite = std::isfinite(value_of(record.train, "loss")) &&
                           (!stage.validates || std::isfinite(value_of(record.valid, "loss")));
    n_lost += record.is_running && !is_finite;
  }
  parts.push_back(runs_text(n_running, n_lost));
  for (const auto& shown : stage.shown) {
    std::vector<double> values;
    for (const auto& part : shown.parts) values.push_back(mean_of(records, &TrainingRecord::valid, part));
    add_numbers(parts, shown.title, values);
  }
  return parts;
}

// Subjects stand at the beginning, a split at the end.
std::string shortened(const std::string& text, std::size_t length) {
  const std::size_t half = (length - 2) / 2;
  if (text.size() <= length) return text;
  const std::size_t tail = beginning_of(text, text.size() - half).size();
  return std::string(beginning_of(text, length - 2 - half)) + ".." + text.substr(tail);
}

// The parts that fit into one line, in order; the rest is in log.jsonl.
std::string line_of(const std::string& head, const std::vector<std::string>& parts, std::size_t columns) {
  std::string line = head;
  for (const auto& part : parts) {
    if (line.size() + 2 + part.size() > columns) break;
    line += "  " + part;
  }
  return std::string(beginning_of(line, columns));
}

}  // namespace

std::string format_duration(double seconds) {
  const auto total = static_cast<long>(std::max(0.0, std::ceil(seconds)));
  if (total >= 3600) return fmt::format("{}:{:02}:{:02}", total / 3600, total / 60 % 60, total % 60);
  return fmt::format("{}:{:02}", total / 60, total % 60);
}

Progress::Style Progress::style_for(std::FILE* out, bool quiet) {
  if (quiet) return Style::quiet;
  return isatty(fileno(out)) ? Style::bar : Style::lines;
}

double Progress::steady_seconds() {
  return std::chrono::duration<double>(std::chrono::steady_clock::now().time_since_epoch()).count();
}

Progress::Progress(std::FILE* out, Style style, std::function<double()> now_s, int columns)
    : out_(out), style_(style), now_s_(std::move(now_s)), columns_(columns > 0 ? columns : terminal_columns(out)) {}

Progress::~Progress() { clear_bar(); }

void Progress::plan(std::vector<PlannedStage> stages) { remaining_ = RemainingTime(std::move(stages)); }

void Progress::begin_stage(TrainingStage stage) {
  stage_ = std::move(stage);
  stage_.name = shortened(stage_.name, kStageColumns);
  done_ = 0;
  remaining_.begin_stage(now_s_());
}

void Progress::show(std::span<const TrainingRecord> records) {
  if (style_ == Style::quiet || records.empty()) return;
  const std::int32_t done = records.front().done, before = std::exchange(done_, done), n = std::max(1, stage_.n);
  const double left_s = remaining_.left_s(now_s_(), static_cast<double>(done) / n);
  const std::string eta = "ETA " + (std::isfinite(left_s) ? format_duration(left_s) : "?");
  std::vector<std::string> parts = status_of(records, stage_);
  parts.insert(parts.begin(), fmt::format("{} {}/{}", name_of(stage_.unit), done, stage_.n));
  if (style_ == Style::lines) {
    // Evenly spaced over the stage, the first and the last report among them.
    const auto line_number = [&](std::int32_t at) { return std::int64_t{at} * kLinesPerStage / n; };
    if (before == 0 || done == stage_.n || line_number(done) != line_number(before))
      say(out_, line_of(eta + "  " + stage_.name, parts, kPipedColumns) + "\n");
    return;
  }
  constexpr int width = 12;
  const int filled = static_cast<int>(static_cast<std::int64_t>(width) * done / n);
  const std::string bar = columns_ < kNarrowTerminal ? ""
                                                     : fmt::format("[{}{}] ", std::string(to_size(filled), '='),
                                                                   std::string(to_size(width - filled), ' '));
  const std::string head = fmt::format("{} {}{}", eta, bar, stage_.name);
  // A wrapped line could not be overwritten.
  say(out_, "\r\x1b[2K" + line_of(head, parts, to_size(std::max(1, columns_ - 1))));
  bar_shown_ = true;
}

void Progress::end_stage() {
  if (bar_shown_) say(out_, "\n");
  bar_shown_ = false;
}

void Progress::clear_bar() {
  if (bar_shown_) say(out_, "\r\x1b[2K");
  bar_shown_ = false;
}

void Progress::note(const std::string& line) {
  if (style_ == Style::quiet) return;
  clear_bar();
  say(out_, line + "\n");
}

void Progress::warning(const std::string& line) {
  clear_bar();
  say(out_, "idem: warning: " + line + "\n");
}

}  // namespace idem
