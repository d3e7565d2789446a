// numbers_format.h - numbers and texts as the report shows them.
#pragma once

#include <cstddef>
#include <string>
#include <string_view>
#include <vector>

#include "host/report/results.h"
#include "host/support/html.h"

namespace idem {

// mean +- sample standard deviation of the finite values.
struct Spread {
  std::size_t n = 0;
  double mean = 0, sd = 0;
};
Spread spread_of(const std::vector<double>& values);

// How a metric is shown: "13.7 ± 0.6". Unknown metrics are shown under their own name.
struct MetricStyle {
  std::string key, title, note;
  double scale = 1;  // shown = scale * stored
  int decimals = 3;
  bool smaller_is_better = false;
  std::string unit = {};
};
MetricStyle metric_style(const std::string& key, const DecodedLabels& labels = {});
std::string format_number(double value, int decimals);                      // "–" for NaN, never "-0.0"
std::string format_spread(const Spread& spread, const MetricStyle& style);  // "13.7 ± 0.6"; no sd for a single value
std::string with_unit(const std::string& number, const MetricStyle& style);
std::string with_error(double value, double error, int decimals);  // "5.700 ± 0.002"; a NaN error is not known
std::string grouped(double value);                                 // "1,234,567"
std::string low_to_high(const std::vector<double>& values);        // of the finite ones: "90–100"
std::string duration(double seconds);                              // "2.0 min"

std::string words(std::string key);                       // "kept_epoch" as words for people
std::string join(const std::vector<std::string>& parts);  // "a, b and c"

}  // namespace idem
