#include "host/report/numbers_format.h"

#include <fmt/format.h>

#include <algorithm>
#include <cmath>
#include <limits>
#include <utility>

#include "kernels/common/to_size.h"

namespace idem {

Spread spread_of(const std::vector<double>& values) {
  Spread spread;
  for (const double value : values)
    if (std::isfinite(value)) spread.mean += value, ++spread.n;
  if (spread.n == 0) return spread;
  spread.mean /= static_cast<double>(spread.n);
  double squares = 0;
  for (const double value : values)
    if (std::isfinite(value)) squares += (value - spread.mean) * (value - spread.mean);
  if (spread.n > 1) spread.sd = std::sqrt(squares / static_cast<double>(spread.n - 1));
  return spread;
}

MetricStyle metric_style(const std::string& key, const DecodedLabels& labels) {
  const auto noted = [](const std::string& unit) { return unit.empty() ? "median" : "median, " + unit; };
  const auto decimals = [](const std::string& unit) { return unit == "deg" ? 1 : 3; };
  if (key == "position_error_cm") return {key, labels.position + " error", noted("cm"), 1, 1, true, "cm"};
  if (key == "position_error")
    return {key,  labels.position + " error", noted(labels.position_unit), 1, decimals(labels.position_unit),
            true, labels.position_unit};
  if (key == "position_r2") return {key, labels.position + " R²", "", 1, 2, false};
  if (key == "direction_r2") return {key, labels.direction + " R²", "", 1, 2, false};
  if (key == "total_r2") return {key, "total R²", "mean over the columns of all labels", 1, 2, false};
  if (key == "direction_accuracy") return {key, labels.direction + " accuracy", "%", 100, 1, false, "%"};
  const std::string label = key.substr(0, key.rfind(':'));
  if (key.ends_with(":accuracy")) return {key, label + " accuracy", "%", 100, 1, false, "%"};
  if (key.ends_with(":median_error")) {
    const auto unit = labels.other_units.find(label);
    const std::string shown = unit == labels.other_units.end() ? "" : unit->second;
    return {key, label + " error", noted(shown), 1, decimals(shown), true, shown};
  }
  const bool error = key.find("error") != std::string::npos || key.find("loss") != std::string::npos;
  return {key, words(key), "", 1, 3, error};
}

std::string format_number(double value, int decimals) {
  if (!std::isfinite(value)) return "–";
  std::string text = std::abs(value) < 1e7 ? fmt::format("{:.{}f}", value, decimals) : fmt::format("{:.2e}", value);
  if (text.find_first_not_of("-0.") == std::string::npos && text[0] == '-') text.erase(0, 1);
  if (text[0] == '-') text.replace(0, 1, "−");
  return text;
}

std::string format_spread(const Spread& spread, const MetricStyle& style) {
  if (spread.n == 0) return "–";
  const std::string mean = format_number(spread.mean * style.scale, style.decimals);
  return spread.n == 1 ? mean : mean + "\u00a0±\u00a0" + format_number(spread.sd * style.scale, style.decimals);
}

std::string with_unit(const std::string& number, const MetricStyle& style) {
  return style.unit.empty() ? number : number + "\u00a0" + escape_html(style.unit);
}

std::string with_error(double value, double error, int decimals) {
  return format_number(value, decimals) +
         (std::isfinite(error) ? "\u00a0±\u00a0" + format_number(error, decimals) : "");
}

std::string grouped(double value) {
  if (!std::isfinite(value)) return "–";
  std::string digits = fmt::format("{:.0f}", value);
  for (int i = static_cast<int>(digits.size()) - 3; i > (digits[0] == '-' ? 1 : 0); i -= 3)
    digits.insert(to_size(i), ",");
  return digits;
}

std::string low_to_high(const std::vector<double>& values) {
  double low = std::numeric_limits<double>::infinity(), high = -low;
  for (const double value : values)
    if (std::isfinite(value)) low = std::min(low, value), high = std::max(high, value);
  if (!(low <= high)) return "–";
  return low == high ? grouped(low) : grouped(low) + "–" + grouped(high);
}

std::string duration(double seconds) {
  if (!std::isfinite(seconds)) return "–";
  if (seconds < 60) return fmt::format("{:.1f} s", seconds);
  if (seconds < 3600) return fmt::format("{:.1f} min", seconds / 60);
  return fmt::format("{:.1f} h", seconds / 3600);
}

std::string words(std::string key) {
  std::replace(key.begin(), key.end(), '_', ' ');
  for (const auto& [plain, shown] :
       {std::pair<std::string, std::string>{" r2", " R²"}, {" mcc", " MCC"}, {"kl ", "KL "}, {"info nce", "InfoNCE"}})
    if (const auto at = key.find(plain); at != std::string::npos) key.replace(at, plain.size(), shown);
  return key;
}

std::string join(const std::vector<std::string>& parts) {
  std::string text;
  for (std::size_t i = 0; i < parts.size(); ++i)
    text += (i == 0 ? "" : i + 1 == parts.size() ? " and " : ", ") + parts[i];
  return text;
}

}  // namespace idem
