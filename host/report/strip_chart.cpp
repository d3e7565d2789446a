#include "host/report/strip_chart.h"

#include <fmt/format.h>

#include <algorithm>
#include <cmath>
#include <limits>

#include "host/report/numbers_format.h"

namespace idem {
namespace {

// A round step for about five ticks.
double tick_step(double span) {
  const double magnitude = std::pow(10, std::floor(std::log10(span / 5)));
  for (const double factor : {1.0, 2.0, 5.0, 10.0})
    if (span / (factor * magnitude) <= 6) return factor * magnitude;
  return 10 * magnitude;
}

}  // namespace

double StripAxis::per_cent(double value) const {
  const double inside = std::clamp(value, low, high);
  return 100 * (logarithmic ? std::log(inside / low) / std::log(high / low) : (inside - low) / (high - low));
}

std::vector<std::pair<double, std::string>> StripAxis::ticks() const {
  std::vector<std::pair<double, std::string>> list;
  if (logarithmic) {
    const int first = static_cast<int>(std::ceil(std::log10(low) - 1e-9)),
              last = static_cast<int>(std::floor(std::log10(high) + 1e-9));
    for (int power = first, every = 1 + (last - first) / 6; power <= last; power += every)
      list.emplace_back(std::pow(10.0, power), power >= -2 && power <= 3 ? fmt::format("{:g}", std::pow(10.0, power))
                                                                         : fmt::format("10<sup>{}</sup>", power));
    return list;
  }
  const double step = tick_step(high - low);
  if (!(step > 0) || low + step == low || high - step == high) return list;  // nearer to each other than numbers are
  const int decimals = std::max(0, -static_cast<int>(std::floor(std::log10(step) + 1e-9)));
  for (double tick = std::ceil(low / step - 1e-9) * step; tick <= high + 1e-9 * step; tick += step)
    list.emplace_back(tick, format_number(tick, decimals));
  return list;
}

StripAxis axis_from_zero(const std::vector<StripRow>& rows) {
  double high = 0, smallest = std::numeric_limits<double>::infinity();
  for (const auto& row : rows)
    for (const double value : row.values)
      if (std::isfinite(value) && value > 0) high = std::max(high, value), smallest = std::min(smallest, value);
  if (high > 1000 * smallest)
    return {std::pow(10.0, std::floor(std::log10(std::max(smallest, high * 1e-9)))), high * 1.5, true};
  return {0, high > 0 ? high * 1.04 : 1, false};
}

std::string strip_chart(const std::vector<StripRow>& rows, const StripAxis& axis, int decimals,
                        const std::string& axis_title) {
  if (!(axis.high > axis.low) || !std::isfinite(axis.high - axis.low)) return {};
  const auto ticks = axis.ticks();
  std::string grid;
  for (const auto& [value, shown] : ticks)
    grid += fmt::format("<i class=\"tick\" style=\"left:{:.2f}%\"></i>", axis.per_cent(value));
  std::string text = "<div class=\"strip\">\n";
  for (const auto& row : rows) {
    text +=
        fmt::format("<div class=\"strip-row {}\"><span class=\"strip-label\">{}</span><span class=\"strip-track\">{}",
                    row.kind, row.label, grid);
    if (row.interval) {
      const double low = axis.per_cent(row.interval->first), high = axis.per_cent(row.interval->second);
      text += fmt::format("<i class=\"interval\" style=\"left:{:.2f}%;width:{:.2f}%\"></i>", low, high - low);
    }
    for (const double value : row.values)
      if (std::isfinite(value))
        text += fmt::format("<i class=\"dot\" style=\"left:{:.2f}%\" title=\"{}\"></i>", axis.per_cent(value),
                            format_number(value, decimals));
    const Spread spread = spread_of(row.values);
    if (spread.n > 0) text += fmt::format("<i class=\"mean\" style=\"left:{:.2f}%\"></i>", axis.per_cent(spread.mean));
    const double size = std::abs(spread.mean);
    const bool large = size >= 1000;
    // Two digits of what a logarithmic axis shows far below 1.
    const int shown = large         ? 0
                      : size >= 100 ? std::min(decimals, 1)
                      : axis.logarithmic && size > 0 && size < 0.1
                          ? std::min(1 - static_cast<int>(std::floor(std::log10(size))), 9)
                          : decimals;
    if (row.interval) {
      text += fmt::format("</span><span class=\"strip-value\">{} <small>{} to {}</small></span></div>\n",
                          format_number(spread.mean, shown), format_number(row.interval->first, shown),
                          format_number(row.interval->second, shown));
      continue;
    }
    text += fmt::format("</span><span class=\"strip-value\">{}</span></div>\n",
                        large && spread.n > 1 ? grouped(spread.mean) + "\u00a0±\u00a0" + grouped(spread.sd)
                                              : format_spread(spread, {"", "", "", 1, shown, false}));
  }
  text += "<div class=\"strip-row axis\"><span class=\"strip-label\"></span><span class=\"strip-track\">";
  for (const auto& [value, shown] : ticks)
    text += fmt::format("<i class=\"tick-label\" style=\"left:{:.2f}%\">{}</i>", axis.per_cent(value), shown);
  return text +
         fmt::format("</span><span class=\"strip-value\"></span></div>\n<p class=\"axis-title\">{}</p>\n</div>\n",
                     axis_title);
}

}  // namespace idem
