#include "host/progress.h"

#include <sys/ioctl.h>
#include <unistd.h>

#include <algorithm>
#include <cmath>

#include <fmt/format.h>

namespace idem {
namespace {

constexpr int kLinesPerStage = 20;  // when piped

int terminal_columns(std::FILE* out) {
  winsize size{};
  if (ioctl(fileno(out), TIOCGWINSZ, &size) == 0 && size.ws_col > 0) return size.ws_col;
  return 100;
}

// Mean over the members that still run and have a number.
double mean_of(std::span<const EpochRecord> records, LossParts EpochRecord::*part, double LossParts::*value) {
  double sum = 0;
  int n = 0;
  for (const auto& record : records) {
    const double x = record.*part.*value;
    if (!record.is_running || !std::isfinite(x)) continue;
    sum += x;
    ++n;
  }
  return n > 0 ? sum / n : std::nan("");
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

void Progress::begin_stage(const std::string& stage, std::int32_t n_epochs) {
  stage_ = stage;
  n_epochs_ = n_epochs;
  began_s_ = now_s_();
}

std::string Progress::status(std::span<const EpochRecord> records) const {
  const std::int32_t epoch = records.empty() ? 0 : records.front().epoch;
  const auto running = std::count_if(records.begin(), records.end(), [](const EpochRecord& record) { return record.is_running; });
  std::string text = fmt::format("epoch {}/{}", epoch, n_epochs_);
  const auto show = [&](const char* name, LossParts EpochRecord::*part, double LossParts::*value) {
    const double x = mean_of(records, part, value);
    if (std::isfinite(x)) text += fmt::format("{}{:.4g}", name, x);
  };
  show("  loss ", &EpochRecord::train, &LossParts::loss);
  show("  valid ", &EpochRecord::valid, &LossParts::loss);
  show(" = recon ", &EpochRecord::valid, &LossParts::reconstruction_encoder);
  show(std::isfinite(mean_of(records, &EpochRecord::valid, &LossParts::reconstruction_encoder)) ? "/" : " = recon ", &EpochRecord::valid,
       &LossParts::reconstruction_posterior);
  show(", KL ", &EpochRecord::valid, &LossParts::kl_encoder);
  show(std::isfinite(mean_of(records, &EpochRecord::valid, &LossParts::kl_encoder)) ? "/" : ", KL ", &EpochRecord::valid, &LossParts::kl_posterior);
  text += fmt::format("  {} run{}", running, running == 1 ? "" : "s");
  const auto lost = std::count_if(records.begin(), records.end(), [](const EpochRecord& record) {
    return record.is_running && !(std::isfinite(record.train.loss) && std::isfinite(record.valid.loss));
  });
  if (lost > 0) text += fmt::format(", {} without a finite loss", lost);
  if (epoch > 0 && epoch < n_epochs_) text += "  ETA " + format_duration((now_s_() - began_s_) / epoch * (n_epochs_ - epoch));
  return text;
}

void Progress::epoch(std::span<const EpochRecord> records) {
  if (style_ == Style::quiet || records.empty()) return;
  const std::int32_t epoch = records.front().epoch;
  if (style_ == Style::lines) {
    // Evenly spaced over the stage, the first and the last epoch among them.
    const bool due = epoch == 1 || epoch == n_epochs_ || epoch * kLinesPerStage / n_epochs_ != (epoch - 1) * kLinesPerStage / n_epochs_;
    if (due) fmt::print(out_, "{}  {}\n", stage_, status(records));
    std::fflush(out_);
    return;
  }
  constexpr int width = 24;
  const int filled = static_cast<int>(static_cast<std::int64_t>(width) * epoch / std::max(1, n_epochs_));
  std::string line = fmt::format("{} [{}{}] {}", stage_, std::string(static_cast<std::size_t>(filled), '='),
                                 std::string(static_cast<std::size_t>(width - filled), ' '), status(records));
  // A wrapped line could not be overwritten.
  if (line.size() >= static_cast<std::size_t>(columns_)) line.resize(static_cast<std::size_t>(std::max(1, columns_ - 1)));
  fmt::print(out_, "\r\x1b[2K{}", line);
  std::fflush(out_);
  bar_shown_ = true;
}

void Progress::end_stage() {
  if (bar_shown_) fmt::print(out_, "\n");
  bar_shown_ = false;
  std::fflush(out_);
}

void Progress::clear_bar() {
  if (bar_shown_) fmt::print(out_, "\r\x1b[2K");
  bar_shown_ = false;
}

void Progress::note(const std::string& line) {
  if (style_ == Style::quiet) return;
  clear_bar();
  fmt::print(out_, "{}\n", line);
  std::fflush(out_);
}

void Progress::warning(const std::string& line) {
  clear_bar();
  fmt::print(out_, "idem: warning: {}\n", line);
  std::fflush(out_);
}

}  // namespace idem
