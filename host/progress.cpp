#include "host/progress.h"

#include <sys/ioctl.h>
#include <unistd.h>

#include <algorithm>
#include <cmath>

#include <fmt/format.h>

#include "host/output.h"

namespace idem {
namespace {

constexpr int kLinesPerStage = 20;  // when piped

int terminal_columns(std::FILE* out) {
  winsize size{};
  if (ioctl(fileno(out), TIOCGWINSZ, &size) == 0 && size.ws_col > 0) return size.ws_col;
  return 100;
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
  return fmt::format("  {} run{}{}", n_running, n_running == 1 ? "" : "s", n_lost > 0 ? fmt::format(", {} without a finite loss", n_lost) : "");
}

std::string status_of(std::span<const EpochRecord> records) {
  const auto mean = [&](LossParts EpochRecord::*part, double LossParts::*value) {
    return mean_of(records, [&](const EpochRecord& record) { return record.*part.*value; });
  };
  std::string text;
  const auto show = [&](const char* name, LossParts EpochRecord::*part, double LossParts::*value) {
    const double x = mean(part, value);
    if (std::isfinite(x)) text += fmt::format("{}{:.4g}", name, x);
  };
  show("  loss ", &EpochRecord::train, &LossParts::loss);
  show("  valid ", &EpochRecord::valid, &LossParts::loss);
  show(" = recon ", &EpochRecord::valid, &LossParts::reconstruction_encoder);
  show(std::isfinite(mean(&EpochRecord::valid, &LossParts::reconstruction_encoder)) ? "/" : " = recon ", &EpochRecord::valid,
       &LossParts::reconstruction_posterior);
  show(", KL ", &EpochRecord::valid, &LossParts::kl_encoder);
  show(std::isfinite(mean(&EpochRecord::valid, &LossParts::kl_encoder)) ? "/" : ", KL ", &EpochRecord::valid, &LossParts::kl_posterior);
  const auto count = [&](auto is) { return static_cast<std::size_t>(std::count_if(records.begin(), records.end(), is)); };
  return text + runs_text(count([](const EpochRecord& record) { return record.is_running; }), count([](const EpochRecord& record) {
                            return record.is_running && !(std::isfinite(record.train.loss) && std::isfinite(record.valid.loss));
                          }));
}

std::string status_of(std::span<const GclRecord> records) {
  const auto n_running = std::count_if(records.begin(), records.end(), [](const GclRecord& record) { return record.is_running; });
  const auto n_lost = std::count_if(records.begin(), records.end(),
                                    [](const GclRecord& record) { return record.is_running && !std::isfinite(record.train.loss); });
  return fmt::format("  loss {:.4g}  valid {:.4g}, {:.3g} % told right", mean_of(records, [](const GclRecord& record) { return record.train.loss; }),
                     mean_of(records, [](const GclRecord& record) { return record.valid.loss; }),
                     100 * mean_of(records, [](const GclRecord& record) { return record.valid.accuracy; })) +
         runs_text(static_cast<std::size_t>(n_running), static_cast<std::size_t>(n_lost));
}

std::string status_of(std::span<const CebraRecord> records) {
  std::string text;
  const auto show = [&](const char* name, auto value) {
    const double x = mean_of(records, value);
    if (std::isfinite(x)) text += fmt::format("{}{:.4g}", name, x);
  };
  show("  InfoNCE ", [](const CebraRecord& record) { return record.train.loss; });
  show("  valid ", [](const CebraRecord& record) { return record.valid.loss; });
  show(" = alignment ", [](const CebraRecord& record) { return record.valid.alignment; });
  show(", uniformity ", [](const CebraRecord& record) { return record.valid.uniformity; });
  show("; by behaviour: alignment ", [](const CebraRecord& record) { return record.valid.behaviour_alignment; });
  show(", uniformity ", [](const CebraRecord& record) { return record.valid.behaviour_uniformity; });
  const auto n_lost = std::count_if(records.begin(), records.end(), [](const CebraRecord& record) { return !std::isfinite(record.train.loss); });
  return text + runs_text(records.size(), static_cast<std::size_t>(n_lost));
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

void Progress::begin_stage(const std::string& stage, std::int32_t n) {
  stage_ = stage;
  n_ = n;
  steps_done_ = 0;
  began_s_ = now_s_();
}

void Progress::epoch(std::span<const EpochRecord> records) {
  if (style_ == Style::quiet || records.empty()) return;
  const std::int32_t epoch = records.front().epoch;
  show(epoch, epoch - 1, fmt::format("epoch {}/{}", epoch, n_) + status_of(records));
}

void Progress::epoch(std::span<const GclRecord> records) {
  if (style_ == Style::quiet || records.empty()) return;
  const std::int32_t epoch = records.front().epoch;
  show(epoch, epoch - 1, fmt::format("epoch {}/{}", epoch, n_) + status_of(records));
}

void Progress::steps(std::span<const CebraRecord> records) {
  if (style_ == Style::quiet || records.empty()) return;
  const std::int32_t step = records.front().step;
  show(step, steps_done_, fmt::format("step {}/{}", step, n_) + status_of(records));
  steps_done_ = step;
}

void Progress::show(std::int32_t done, std::int32_t before, std::string status) {
  if (done > 0 && done < n_) status += "  ETA " + format_duration((now_s_() - began_s_) / done * (n_ - done));
  if (style_ == Style::lines) {
    // Evenly spaced over the stage, the first and the last report among them.
    const auto line_of = [&](std::int32_t at) { return std::int64_t{at} * kLinesPerStage / n_; };
    if (before == 0 || done == n_ || line_of(done) != line_of(before)) say(out_, fmt::format("{}  {}\n", stage_, status));
    return;
  }
  constexpr int width = 24;
  const int filled = static_cast<int>(static_cast<std::int64_t>(width) * done / std::max(1, n_));
  std::string line = fmt::format("{} [{}{}] {}", stage_, std::string(static_cast<std::size_t>(filled), '='),
                                 std::string(static_cast<std::size_t>(width - filled), ' '), status);
  // A wrapped line could not be overwritten.
  if (line.size() >= static_cast<std::size_t>(columns_)) line.resize(static_cast<std::size_t>(std::max(1, columns_ - 1)));
  say(out_, "\r\x1b[2K" + line);
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
