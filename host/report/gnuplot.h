// gnuplot.h - scripts for gnuplot (its svg and pngcairo terminals), which runs as a child process.
#pragma once

#include <array>
#include <filesystem>
#include <limits>
#include <string>
#include <vector>

#include "host/report/view.h"

namespace idem {

// figures/<name>.svg and figures/<name>.png of a study's folder.
struct Figure {
  enum class Kind { latents, seeds, loss, decoding };
  Kind kind = Kind::latents;
  std::string name;
  std::string caption;        // plain text, one sentence or two
  bool first_split = true;    // or not of one split at all; the others are left out of a page that holds still figures
  int width = 0, height = 0;  // of the SVG, in pixels; the PNG has twice as many
};

}  // namespace idem

namespace idem::gnuplot {

// A gnuplot string: nothing is special between single quotes but the quote itself.
std::string quoted(const std::string& text);

struct Range {
  double low = std::numeric_limits<double>::infinity(), high = -std::numeric_limits<double>::infinity();

  void add(double value);
  std::string text() const;  // with a margin of 4 %, never empty
};

// One gnuplot script for all figures: data blocks first, then each figure once per terminal.
class Script {
 public:
  explicit Script(std::filesystem::path folder);

  std::string data_block();
  // columns: rows of the same length, NaN allowed; an empty row separates lines.
  void add_rows(const std::string& block, const std::vector<std::vector<double>>& rows);
  // Across, up and the colour as a whole number.
  void add_points(const std::string& block, const std::vector<std::array<double, 3>>& points,
                  const std::vector<Rgb>& colours);
  void add_figure(const Figure& figure, const std::string& body);

  const std::string& text() const { return text_; }

 private:
  std::filesystem::path folder_;
  std::string text_;
  int n_blocks_ = 0;
};

// Thin grey axes and ticks that stay out of the way of the data.
extern const char* const look;

std::string screen_box(double left, double right, double bottom, double top);

// Runs the program on the script; empty when it ended well, else what it said.
std::string run_gnuplot(const std::string& program, const std::filesystem::path& script,
                        const std::filesystem::path& said);

}  // namespace idem::gnuplot
