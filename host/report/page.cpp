#include "host/report/page.h"

#include <fmt/format.h>

#include <map>

#include "host/report/payload.h"
#include "host/support/html.h"
#include "host/support/sha256.h"

namespace idem {
namespace {

// Replaces each {{name}} of the page once; what goes in is not looked at again.
std::string filled(std::string_view page, const std::map<std::string, std::string>& pieces) {
  std::string text;
  for (std::size_t i = 0; i < page.size();) {
    const std::size_t open = page.find("{{", i);
    const std::size_t close = open == std::string_view::npos ? open : page.find("}}", open);
    if (close == std::string_view::npos) {
      text += page.substr(i);
      break;
    }
    text += page.substr(i, open - i);
    text += pieces.at(std::string(page.substr(open + 2, close - open - 2)));
    i = close + 2;
  }
  return text;
}

// The scripts of this program and no other, by their bytes: what gets into the page by any other way does not run.
// Plotly draws with WebGL by code that it writes itself.
std::string script_policy(const std::string& scripts, const ReportAssets& assets) {
  if (scripts.empty()) return "'none'";
  return fmt::format("'sha256-{}' 'sha256-{}' 'unsafe-eval'", base64(sha256(assets.script)),
                     base64(sha256(assets.plotly)));
}

}  // namespace

std::string page_of(const PageContent& content, const ReportAssets& assets) {
  return filled(assets.page, {{"title", escape_html(content.title)},
                              {"facts", escape_html(content.facts)},
                              {"script_policy", script_policy(content.scripts, assets)},
                              {"style", std::string(assets.style)},
                              {"body", content.body},
                              {"sources", content.sources},
                              {"scripts", content.scripts}});
}

std::string page_section(const char* id, const std::string& title, const std::string& content) {
  return content.empty() ? std::string()
                         : fmt::format("<section id=\"{}\">\n<h2>{}</h2>\n{}</section>\n", id, title, content);
}

}  // namespace idem
