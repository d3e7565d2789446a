// report_page.h - the page that a study folder of the fixture gives, and parts of it as text.
#pragma once

#include <fmt/format.h>
#include <gtest/gtest.h>
#include <unistd.h>

#include <filesystem>
#include <fstream>
#include <set>
#include <sstream>
#include <string>
#include <vector>

#include "host/report/assets.h"
#include "host/report/report.h"
#include "tests/host/report/report_fixture.h"

namespace idem {

namespace fs = std::filesystem;

inline constexpr const char* no_gnuplot = "no-such-gnuplot";

class Report : public testing::Test {
 protected:
  void SetUp() override {
    const auto* test = testing::UnitTest::GetInstance()->current_test_info();
    const auto name = fmt::format("idem_report_{}_{}", test->name(), static_cast<long>(getpid()));
    directory = fs::temp_directory_path() / name / "study";
    fs::remove_all(directory.parent_path());
    // The real script would make every page of these tests 2 MB larger.
    assets = built_in_report_assets();
    assets.plotly = "/* stands for Plotly */";
  }
  void TearDown() override { fs::remove_all(directory.parent_path()); }

  static std::string text_of(const fs::path& path) {
    std::ifstream file(path, std::ios::binary);
    std::ostringstream text;
    text << file.rdbuf();
    return text.str();
  }
  std::string page() {
    write_report(directory, assets, no_gnuplot);
    return text_of(directory / "report.html");
  }

  fs::path directory;
  ReportAssets assets;
  ReportFixture fixture;
};

inline std::string between(const std::string& text, const std::string& begin, const std::string& end) {
  const auto from = text.find(begin);
  if (from == std::string::npos) return {};
  const auto to = text.find(end, from + begin.size());
  return to == std::string::npos ? std::string() : text.substr(from + begin.size(), to - from - begin.size());
}

inline std::string without_tags(const std::string& html) {
  std::string text;
  bool inside = false;
  for (const char c : html) {
    if (c == '<') inside = true;
    if (!inside) text += c;
    if (c == '>') inside = false;
  }
  return text;
}

// Walks the page as a parser would: quoted attributes, raw script and style, void elements. Empty when every element is
// closed in order.
inline std::string markup_fault(const std::string& html) {
  static const std::set<std::string> void_elements{"meta", "input", "img", "br", "link", "hr"};
  std::vector<std::string> open;
  for (std::size_t i = 0; i < html.size(); ++i) {
    if (html[i] == '>') return "a bare > near: " + html.substr(i < 40 ? 0 : i - 40, 60);
    if (html[i] != '<') continue;
    std::size_t j = i + 1;
    if (html.compare(i, 2, "<!") == 0) {
      i = html.find('>', i);
      continue;
    }
    const bool closing = j < html.size() && html[j] == '/';
    if (closing) ++j;
    std::string name;
    while (j < html.size() && std::isalnum(static_cast<unsigned char>(html[j]))) name += html[j++];
    if (name.empty()) return "a bare < near: " + html.substr(i, 60);
    for (char quote = 0; j < html.size() && (quote || html[j] != '>'); ++j) {
      if (quote ? html[j] == quote : html[j] == '"') quote = quote ? 0 : html[j];
      if (!quote && html[j] == '<') return "a < inside a tag near: " + html.substr(i, 60);
    }
    if (j >= html.size()) return "a tag without end: " + html.substr(i, 60);
    i = j;
    if (closing) {
      if (open.empty() || open.back() != name)
        return "</" + name + "> closes " + (open.empty() ? "nothing" : open.back());
      open.pop_back();
    } else if (!void_elements.count(name)) {
      open.push_back(name);
      if (name == "script" || name == "style") {
        const auto end = html.find("</" + name + ">", i);
        if (end == std::string::npos) return "no end of " + name;
        i = end - 1;
      }
    }
  }
  return open.empty() ? "" : "never closed: " + open.back();
}

// The cells of the table row that begins with a name, in order.
inline std::vector<std::string> cells_of_row(const std::string& table, const std::string& name) {
  std::vector<std::string> cells;
  const auto start = table.find("<th class=\"name\">" + name);
  if (start == std::string::npos) return cells;
  const std::string row = table.substr(start, table.find("</tr>", start) - start);
  for (std::size_t at = row.find("<td"); at != std::string::npos; at = row.find("<td", at + 1))
    cells.push_back(between(row.substr(at), ">", "</td>"));
  return cells;
}

}  // namespace idem
