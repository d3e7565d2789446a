// loss_parts.h - which parts of the loss share a panel, and how they are called.
#pragma once

#include <map>
#include <string>
#include <vector>

#include "host/report/results.h"
#include "host/report/view.h"

namespace idem {

struct LossPanel {
  struct Part {
    std::string key;   // as in the log
    std::string name;  // short, for a legend
    Rgb colour = 0;
  };
  std::string title;
  std::vector<Part> parts;
  double low = 0, high = 1;  // of all runs' values once the first steps are over
  bool logarithmic = false;  // the values are positive and spread over more than three powers of ten
};

// Panels for the parts that the runs' epochs hold, those that their family knows first, then any other by name.
// Parts that never change are left out, the loss never is.
std::vector<LossPanel> loss_panels(const std::vector<const RunResult*>& runs);

double loss_part(const std::map<std::string, double>& parts, const std::string& key);  // NaN when absent

}  // namespace idem
