// sections.h - the written part of the report: the answer, the tables and the gauges, as HTML that needs no script.
#pragma once

#include <string>
#include <string_view>
#include <vector>

#include "host/report/results.h"

namespace idem {

std::string escape_html(std::string_view text);  // for text and for attribute values in double quotes

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
std::string format_spread(const Spread& spread, const MetricStyle& style);  // "13.7 ± 0.6" with no-break spaces; no sd for a single value

std::string answer_section(const StudyResult& study);
std::string numbers_section(const StudyResult& study);
std::string training_section(const StudyResult& study);
std::string collapse_section(const StudyResult& study);         // this and the next: empty when no run has it
std::string identifiability_section(const StudyResult& study);
std::string configuration_section(const StudyResult& study);
std::string sources_list(const StudyResult& study);  // of the models that the study has, as items of a list

}  // namespace idem
