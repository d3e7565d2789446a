#include "host/support/progress.h"

#include <sys/ioctl.h>
#include <unistd.h>

#include <algorithm>
#include <cmath>

#include <fmt/format.h>

#include "host/support/output.h"
#include "host/support/utf8.h"

namespace idem {
namespace {

constexpr int kLinesPerStage = 20;  // when piped
constexpr int kNarrowTerminal = 60;  // columns with room for words alone
constexpr std::size_t kPipedColumns = 80, kStageColumns = 34;

int terminal_columns(std::FILE* out) {
  winsize size{};
  if (ioctl(fileno(out), TIOCGWINSZ, &size) == 0 && size.ws_col > 0) return size.ws_col;
  return 80;
}

bool is_running(const EpochRecord& record) { return record.is_running; }
bool is_running(const GclRecord& record) { return record.is_running; }
bool is_running(const CebraRecord&) { return true; }

// Mean over the members that still run and have a number.
template <class Record, class Value>
double mean_of(std::span<const Record> records, Value value) {
  double sum = 0;
  int n = 0;
  for (const auto& record : records) {
    const double x = value(record);
    if (!is_running(record) || !std::isfinite(x)) continue;
    sum += x;
    ++n;
  }
  return n > 0 ? sum / n : std::nan("");
}

std::string runs_text(std::size_t n_running, std::size_t n_lost) {
  return fmt::format("{} run{}{}", n_running, n_running == 1 ? "" : "s", n_lost > 0 ? fmt::format(", {} without a finite loss", n_lost) : "");
}

// "NAME A" or "NAME A/B", of the numbers there are.
void add_numbers(std::vector<std::string>& parts, const std::string& name, std::initializer_list<double> values) {
  std::string text;
  for (const double value : values)
    if (std::isfinite(value)) text += fmt::format("{}{:.4g}", text.empty() ? name + " " : "/", value);
  if (!text.empty()) parts.push_back(text);
}

// What there is to say of some records, the most important first: a short line ends where it must.
std::vector<std::string> status_of(std::span<const EpochRecord> records) {
  const auto mean = [&](LossParts EpochRecord::*part, double LossParts::*value) {
    return mean_of(records, [&](const EpochRecord& record) { return record.*part.*value; });
  };
  std::vector<std::string> parts;
  add_numbers(parts, "loss", {mean(&EpochRecord::train, &LossParts::loss)});
  add_numbers(parts, "valid", {mean(&EpochRecord::valid, &LossParts::loss)});
  const auto count = [&](auto is) { return static_cast<std::size_t>(std::count_if(records.begin(), records.end(), is)); };
  parts.push_back(runs_text(count([](const EpochRecord& record) { return record.is_running; }), count([](const EpochRecord& record) {
                              return record.is_running && !(std::isfinite(record.train.loss) && std::isfinite(record.valid.loss));
                            })));
  add_numbers(parts, "recon", {mean(&EpochRecord::valid, &LossParts::reconstruction_encoder), mean(&EpochRecord::valid, &LossParts::reconstruction_posterior)});
  add_numbers(parts, "KL", {mean(&EpochRecord::valid, &LossParts::kl_encoder), mean(&EpochRecord::valid, &LossParts::kl_posterior)});
  return parts;
}

std::vector<std::string> status_of(std::span<const GclRecord> records) {
  const auto n_running = std::count_if(records.begin(), records.end(), [](const GclRecord& record) { return record.is_running; });
  const auto n_lost = std::count_if(records.begin(), records.end(),
                                    [](const GclRecord& record) { return record.is_running && !std::isfinite(record.train.loss); });
  std::vector<std::string> parts;
  add_numbers(parts, "loss", {mean_of(records, [](const GclRecord& record) { return record.train.loss; })});
  add_numbers(parts, "valid", {mean_of(records, [](const GclRecord& record) { return record.valid.loss; })});
  parts.push_back(fmt::format("{:.3g} % told right", 100 * mean_of(records, [](const GclRecord& record) { return record.valid.accuracy; })));
  parts.push_back(runs_text(static_cast<std::size_t>(n_running), static_cast<std::size_t>(n_lost)));
  return parts;
}

std::vector<std::string> status_of(std::span<const CebraRecord> records) {
  const auto mean = [&](double CebraLoss::*value) { return mean_of(records, [&](const CebraRecord& record) { return record.valid.*value; }); };
  const auto n_lost = std::count_if(records.begin(), records.end(), [](const CebraRecord& record) { return !std::isfinite(record.train.loss); });
  std::vector<std::string> parts;
  add_numbers(parts, "InfoNCE", {mean_of(records, [](const CebraRecord& record) { return record.train.loss; })});
  add_numbers(parts, "valid", {mean(&CebraLoss::loss)});
  parts.push_back(runs_text(records.size(), static_cast<std::size_t>(n_lost)));
  add_numbers(parts, "alignment", {mean(&CebraLoss::alignment), mean(&CebraLoss::behaviour_alignment)});
  add_numbers(parts, "uniformity", {mean(&CebraLoss::uniformity), mean(&CebraLoss::behaviour_uniformity)});
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

double Progress::steady_seconds() { return std::chrono::duration<double>(std::chrono::steady_clock::now().time_since_epoch()).count(); }

Progress::Progress(std::FILE* out, Style style, std::function<double()> now_s, int columns)
    : out_(out), style_(style), now_s_(std::move(now_s)), columns_(columns > 0 ? columns : terminal_columns(out)) {}

Progress::~Progress() { clear_bar(); }

void Progress::plan(std::vector<PlannedStage> stages) { remaining_ = RemainingTime(std::move(stages)); }

void Progress::begin_stage(const std::string& stage, std::int32_t n) {
  stage_ = shortened(stage, kStageColumns);
  n_ = n;
  steps_done_ = 0;
  remaining_.begin_stage(now_s_());
}

void Progress::epoch(std::span<const EpochRecord> records) {
  if (style_ == Style::quiet || records.empty()) return;
  show("epoch", records.front().epoch, records.front().epoch - 1, status_of(records));
}

void Progress::epoch(std::span<const GclRecord> records) {
  if (style_ == Style::quiet || records.empty()) return;
  show("epoch", records.front().epoch, records.front().epoch - 1, status_of(records));
}

void Progress::steps(std::span<const CebraRecord> records) {
  if (style_ == Style::quiet || records.empty()) return;
  const std::int32_t step = records.front().step;
  show("step", step, steps_done_, status_of(records));
  steps_done_ = step;
}

void Progress::show(const char* unit, std::int32_t done, std::int32_t before, std::vector<std::string> parts) {
  const double left_s = remaining_.left_s(now_s_(), static_cast<double>(done) / std::max(1, n_));
  const std::string eta = "ETA " + (std::isfinite(left_s) ? format_duration(left_s) : "?");
  parts.insert(parts.begin(), fmt::format("{} {}/{}", unit, done, n_));
  if (style_ == Style::lines) {
    // Evenly spaced over the stage, the first and the last report among them.
    const auto line_number = [&](std::int32_t at) { return std::int64_t{at} * kLinesPerStage / n_; };
    if (before == 0 || done == n_ || line_number(done) != line_number(before))
      say(out_, line_of(eta + "  " + stage_, parts, kPipedColumns) + "\n");
    return;
  }
  constexpr int width = 12;
  const int filled = static_cast<int>(static_cast<std::int64_t>(width) * done / std::max(1, n_));
  const std::string bar = columns_ < kNarrowTerminal ? "" : fmt::format("[{}{}] ", std::string(static_cast<std::size_t>(filled), '='),
                                                                       std::string(static_cast<std::size_t>(width - filled), ' '));
  const std::string head = fmt::format("{} {}{}", eta, bar, stage_);
  // A wrapped line could not be overwritten.
  say(out_, "\r\x1b[2K" + line_of(head, parts, static_cast<std::size_t>(std::max(1, columns_ - 1))));
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
