// strip_chart.h - dots on a common axis, one row for each model or baseline, as HTML.
#pragma once

#include <optional>
#include <string>
#include <utility>
#include <vector>

namespace idem {

struct StripRow {
  std::string label, kind;  // kind: a CSS class: model, best, baseline
  std::vector<double> values;
  std::optional<std::pair<double, double>> interval = {};  // of the bar: a line, and the numbers beside it
};

struct StripAxis {
  double low = 0, high = 1;
  bool logarithmic = false;  // low > 0 then; smaller values stand at the left end

  double per_cent(double value) const;
  // Where the axis has a line and what it says there, as HTML.
  std::vector<std::pair<double, std::string>> ticks() const;
};

// From 0, or in powers of ten where the values spread over more than three of them.
StripAxis axis_from_zero(const std::vector<StripRow>& rows);

// Dots on a common axis, one row each, the mean as a bar. Positions in per cent, so that it fits any screen.
std::string strip_chart(const std::vector<StripRow>& rows, const StripAxis& axis, int decimals,
                        const std::string& axis_title);

}  // namespace idem
