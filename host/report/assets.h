// assets.h - the pieces of the report page that are built into the program.
#pragma once

#include <string_view>

namespace idem {

struct ReportAssets {
  std::string_view page, style, script;  // host/report/page.html, page.css, page.js followed by plots.js
  std::string_view plotly;               // Plotly's minified script; empty when the build found none
};

ReportAssets built_in_report_assets();

}  // namespace idem
