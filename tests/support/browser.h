// browser.h - a page as headless Chromium has it once its scripts ran.
#pragma once

#include <cstdio>
#include <filesystem>
#include <optional>
#include <string>

#include "tests/support/temporary_folder.h"

namespace idem {

// Where Chromium is installed; tests that need it are skipped without.
inline std::optional<std::string> find_browser() {
  for (const char* path : {"/usr/bin/chromium", "/usr/bin/chromium-browser", "/usr/bin/google-chrome"})
    if (std::filesystem::exists(path)) return path;
  return std::nullopt;
}

// The elements of the page after its scripts, as HTML. The folder is for the browser's own files; no name here needs
// quoting.
inline std::string dom_of(const std::string& browser, const std::filesystem::path& page,
                          const TemporaryFolder& folder) {
  const std::string command =
      browser +
      " --headless --no-sandbox --disable-gpu --disable-dev-shm-usage --virtual-time-budget=10000 --user-data-dir=" +
      (folder / "browser").string() + " --dump-dom file://" + page.string() + " 2>/dev/null";
  FILE* pipe = popen(command.c_str(), "r");
  std::string dom;
  if (!pipe) return dom;
  char buffer[4096];
  for (std::size_t n; (n = fread(buffer, 1, sizeof(buffer), pipe)) > 0;) dom.append(buffer, n);
  pclose(pipe);
  return dom;
}

}  // namespace idem
