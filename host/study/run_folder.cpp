#include "host/study/run_folder.h"

#include <algorithm>
#include <cctype>
#include <initializer_list>
#include <regex>

#include <fmt/format.h>

#include "host/config/schema.h"
#include "host/families/model_file.h"
#include "host/support/errors.h"
#include "host/support/files.h"
#include "host/formats/npz.h"

namespace idem {
namespace {

using nlohmann::json;
namespace fs = std::filesystem;

// The configuration that a folder was made with.
json read_config_of_run(const fs::path& path) {
  const json parsed = json::parse(read_file_bytes(path), nullptr, false);
  if (parsed.is_discarded())
    throw DataError(path.string() + ": is damaged; put a whole copy back, or choose another --out");
  return parsed;
}

// The first key in which two resolved studies differ.
std::string first_difference(const json& a, const json& b, const std::string& path) {
  if (a.is_object() && b.is_object()) {
    for (const auto& [key, value] : a.items()) {
      const std::string inner = path.empty() ? key : path + "." + key;
      if (!b.contains(key)) return inner;
      if (value != b.at(key)) return first_difference(value, b.at(key), inner);
    }
    for (const auto& [key, value] : b.items())
      if (!a.contains(key)) return path.empty() ? key : path + "." + key;
  }
  return path;
}

// What a run leaves that was killed before it had a configuration: as good as nothing.
bool holds_nothing(const fs::path& out) {
  return std::all_of(fs::directory_iterator(out), fs::directory_iterator(), [](const fs::directory_entry& entry) {
    return entry.path().filename() == std::string("config.json") + kPartialEnding ||
           (entry.path().filename() == "runs" && fs::is_empty(entry.path()));
  });
}

bool is_whole_npz(const fs::path& path) {
  try {
    read_npz(path);
    return true;
  } catch (const DataError&) {
    return false;
  }
}

// Whether a file is a half-written one that a killed run left: NAME.partial, or latents.npz.XXXXXX of an older idem.
// One that is whole may be a person's copy.
bool is_stray(const fs::path& path, std::initializer_list<const char*> names) {
  const std::string name = path.filename().string();
  for (const std::string whole : names) {
    if (name == whole + kPartialEnding) return true;
    const bool is_random =
        whole == "latents.npz" && name.size() == whole.size() + 7 && name.starts_with(whole + ".") &&
        std::all_of(name.end() - 6, name.end(), [](unsigned char letter) { return std::isalnum(letter); }) &&
        !is_whole_npz(path);
    if (is_random) return true;
  }
  return false;
}

void remove_strays_in(const fs::path& folder, std::initializer_list<const char*> names) {
  std::error_code ignored;
  std::vector<fs::path> strays;
  for (const auto& entry : fs::directory_iterator(folder, ignored))
    if (is_stray(entry.path(), names) && fs::is_regular_file(entry.symlink_status(ignored)))
      strays.push_back(entry.path());
  for (const auto& path : strays) fs::remove(path, ignored);
}

}  // namespace

void claim_folder(const fs::path& out, const Study& study, const std::vector<std::string>& runs, bool resume) {
  std::error_code failed;
  const auto cannot_be = [&] {
    return fmt::format("--out {}: cannot be used ({}); choose another folder", out.string(), failed.message());
  };
  const fs::file_status status = fs::status(out, failed);
  if (!fs::status_known(status)) throw ConfigError(cannot_be());
  if (fs::exists(status) && !fs::is_directory(status))
    throw ConfigError(fmt::format("--out {}: is a file; choose a folder", out.string()));
  for (const auto& run : runs) {
    const fs::file_status longest =
        fs::symlink_status(out / "runs" / run / (std::string(kModelFile) + kPartialEnding), failed);
    if (!fs::status_known(longest) && failed == std::errc::filename_too_long) throw ConfigError(cannot_be());
  }
  const fs::path config = out / "config.json";
  if (fs::exists(status) && !holds_nothing(out)) {
    if (!resume)
      throw ConfigError(
          fmt::format("--out {}: is not empty, nothing was changed; choose another folder, or --resume to train what "
                      "is missing there",
                      out.string()));
    if (!fs::exists(config))
      throw ConfigError(
          fmt::format("--resume: {} has no config.json, so it is no run of idem; choose another --out", out.string()));
    json before = read_config_of_run(config);
    if (before.is_object()) before["$schema"] = study.resolved.at("$schema");  // older runs kept where theirs lay
    if (before != study.resolved) {
      const std::string key = first_difference(before, study.resolved, "");
      const auto place = nlohmann::json::json_pointer("/" + std::regex_replace(key, std::regex("\\."), "/"));
      if (!before.contains(place))
        throw ConfigError(
            fmt::format("--resume: {} was made by an older idem, which did not know {} and whose numbers are others; "
                        "choose another --out",
                        out.string(), key));
      throw ConfigError(
          fmt::format("--resume: {} was made with another configuration ({} differs); use `idem run {} --out {} "
                      "--resume`, or another --out",
                      out.string(), key, config.string(), out.string()));
    }
  }
  fs::create_directories(out / "runs", failed);
  if (failed)
    throw DataError(
        fmt::format("--out {}: cannot be made ({}); choose another folder", out.string(), failed.message()));
  write_file_bytes(config, study.resolved.dump(2) + "\n");
  write_file_bytes(out / kSchemaFile, schema_text());
}

void remove_strays(const fs::path& out, const std::vector<std::string>& runs) {
  remove_strays_in(out, {"config.json", kSchemaFile, "metrics.json", "profile.json", "report.html"});
  for (const auto& run : runs) remove_strays_in(out / "runs" / run, {"latents.npz", kModelFile, kOldModelFile});
}

}  // namespace idem
