#include "host/report/gnuplot.h"

#include <fcntl.h>
#include <fmt/format.h>
#include <spawn.h>
#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cmath>
#include <cstring>
#include <fstream>
#include <utility>

extern char** environ;

namespace idem::gnuplot {

std::string quoted(const std::string& text) {
  std::string result = "'";
  for (const char c : text) {
    if (c == '\'') result += '\'';
    result += static_cast<unsigned char>(c) < ' ' ? ' ' : c;
  }
  return result + "'";
}

void Range::add(double value) {
  if (std::isfinite(value)) low = std::min(low, value), high = std::max(high, value);
}

std::string Range::text() const {
  if (!(low <= high)) return "[0:1]";
  const double margin = high > low ? (high - low) * 0.04 : std::max(std::abs(high) * 0.04, 1e-3);
  return fmt::format("[{:.6g}:{:.6g}]", low - margin, high + margin);
}

Script::Script(std::filesystem::path folder) : folder_(std::move(folder)) {
  text_ = "set encoding utf8\nset datafile missing 'NaN'\n";
}

std::string Script::data_block() { return fmt::format("$d{}", n_blocks_++); }

void Script::add_rows(const std::string& block, const std::vector<std::vector<double>>& rows) {
  text_ += block + " << EOD\n";
  for (const auto& row : rows) {
    for (std::size_t i = 0; i < row.size(); ++i)
      text_ += i ? fmt::format(" {:.6g}", row[i]) : fmt::format("{:.6g}", row[i]);
    text_ += '\n';
  }
  text_ += "EOD\n";
}

void Script::add_points(const std::string& block, const std::vector<std::array<double, 3>>& points,
                        const std::vector<Rgb>& colours) {
  text_ += block + " << EOD\n";
  for (std::size_t i = 0; i < points.size(); ++i)
    text_ += fmt::format("{:.5g} {:.5g} {}\n", points[i][0], points[i][1], colours[i]);
  text_ += "EOD\n";
}

void Script::add_figure(const Figure& figure, const std::string& body) {
  const std::string svg = (folder_ / (figure.name + ".svg")).string(),
                    png = (folder_ / (figure.name + ".png")).string();
  text_ += fmt::format(
      "set terminal svg size {},{} dynamic noenhanced background '#ffffff' font 'Helvetica,Arial,sans-serif,12'\n",
      figure.width, figure.height);
  text_ += "set output " + quoted(svg) + "\n" + body + "unset multiplot\nset output\nreset\n";
  // Twice the size and the type: sharp on a dense screen and in print.
  text_ += fmt::format(
      "set terminal pngcairo size {},{} noenhanced background '#ffffff' font 'Sans,12' fontscale 1.9 linewidth 2 "
      "pointscale 2\n",
      2 * figure.width, 2 * figure.height);
  text_ += "set output " + quoted(png) + "\n" + body + "unset multiplot\nset output\nreset\n";
}

const char* const look =
    "set border 3 lw 0.8 lc rgb '#777777'\nset tics nomirror out scale 0.5 textcolor rgb '#444444'\nset key "
    "noautotitle\n"
    "set xtics autofreq\nset ytics autofreq\n";

std::string screen_box(double left, double right, double bottom, double top) {
  return fmt::format(
      "set lmargin at screen {:.4f}\nset rmargin at screen {:.4f}\nset bmargin at screen {:.4f}\nset tmargin at screen "
      "{:.4f}\n",
      left, right, bottom, top);
}

std::string run_gnuplot(const std::string& program, const std::filesystem::path& script,
                        const std::filesystem::path& said) {
  posix_spawn_file_actions_t actions;
  posix_spawn_file_actions_init(&actions);
  posix_spawn_file_actions_addopen(&actions, STDIN_FILENO, "/dev/null", O_RDONLY, 0);
  posix_spawn_file_actions_addopen(&actions, STDOUT_FILENO, "/dev/null", O_WRONLY, 0);
  posix_spawn_file_actions_addopen(&actions, STDERR_FILENO, said.c_str(), O_WRONLY | O_CREAT | O_TRUNC, 0600);
  std::string arguments[] = {program, "-d", script.string()};  // -d: the user's own start-up file does not count
  char* argv[] = {arguments[0].data(), arguments[1].data(), arguments[2].data(), nullptr};
  pid_t child = 0;
  const int spawned = posix_spawnp(&child, program.c_str(), &actions, nullptr, argv, environ);
  posix_spawn_file_actions_destroy(&actions);
  if (spawned != 0) return std::strerror(spawned);
  int status = 0;
  while (waitpid(child, &status, 0) < 0)
    if (errno != EINTR) return std::strerror(errno);
  if (WIFEXITED(status) && WEXITSTATUS(status) == 0) return {};
  if (WIFEXITED(status) && WEXITSTATUS(status) == 127) return "not installed";
  // Of gnuplot's excerpt, caret and message, the last line says what is wrong.
  std::ifstream file(said);
  std::string line, last;
  while (std::getline(file, line))
    if (line.find_first_not_of(" \t^") != std::string::npos) last = line;
  return last.empty() ? "it ended with an error" : last;
}

}  // namespace idem::gnuplot
