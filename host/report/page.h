// page.h - the report's page around whatever stands in it.
#pragma once

#include <string>

#include "host/report/assets.h"

namespace idem {

struct PageContent {
  std::string title, facts;   // as text
  std::string body, sources;  // as HTML; sources: items of a list
  std::string scripts = {};   // elements at the end; "": a page without scripts, which then may not run any
};
std::string page_of(const PageContent& content, const ReportAssets& assets);

// "" where there is no content.
std::string page_section(const char* id, const std::string& title, const std::string& content);

}  // namespace idem
