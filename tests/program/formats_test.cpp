// host/FORMATS.md against the files that the program writes: each names every key that the other has.
#include <gtest/gtest.h>

#include <cmath>
#include <map>
#include <regex>
#include <set>
#include <string>
#include <vector>

#include "host/formats/npz.h"
#include "host/formats/safetensors.h"
#include "kernels/common/to_size.h"
#include "tests/host/profile/made_up_profile.h"
#include "tests/program/end_to_end.h"

namespace idem {
namespace {

using nlohmann::json;

// One key of a table: "a.b[]" as {"a", "b[]"}; a word in capitals is any key.
struct Row {
  std::string key;
  std::vector<std::string> path;
  std::string shape, inside;                      // inside: the section of the keys in it
  bool is_conditional = false, is_whole = false;  // whole: what it holds is described elsewhere
  mutable bool was_found = false;
};

std::vector<std::string> split_by(const std::string& text, const std::string& separator) {
  std::vector<std::string> parts;
  std::size_t begin = 0;
  for (std::size_t end; (end = text.find(separator, begin)) != std::string::npos; begin = end + separator.size())
    parts.push_back(text.substr(begin, end - begin));
  parts.push_back(text.substr(begin));
  return parts;
}

class Page {
 public:
  Page() {
    std::stringstream lines(text_of_file(IDEM_SOURCE_DIR "/host/FORMATS.md"));
    std::string section;
    bool is_of_keys = false;
    for (std::string line; std::getline(lines, line);) {
      if (line.starts_with("#")) {
        section.clear();
        for (const char letter : line.substr(line.find(' ') + 1))
          if (std::isalnum(static_cast<unsigned char>(letter)))
            section += static_cast<char>(std::tolower(letter));
          else if (letter == ' ')
            section += '-';
      }
      if (!line.starts_with("|"))
        is_of_keys = false;
      else if (line == "| key | meaning | unit | shape | absent |")
        is_of_keys = true;
      else if (is_of_keys && !line.starts_with("|---"))
        add(section, line);
    }
  }

  const std::vector<Row>& rows(const std::string& section) const {
    static const std::vector<Row> none;
    const auto found = sections_.find(section);
    if (found == sections_.end()) ADD_FAILURE() << "FORMATS.md has no table of keys under " << section;
    return found == sections_.end() ? none : found->second;
  }

  // Every key of an object stands in the section, and every key of the section that no word makes conditional is there.
  void expect(const std::string& section, const json& object, const std::string& where) const {
    std::set<const Row*> found;
    walk(section, object, {}, where, found);
    for (const Row& row : rows(section)) {
      const bool is_direct = row.path.size() == 1 && row.path.front() != "LABEL";
      const bool may_be_empty = row.key.ends_with("[]") && object.contains(row.key.substr(0, row.key.size() - 2));
      EXPECT_TRUE(row.is_conditional || !is_direct || may_be_empty || found.count(&row))
          << where << " lacks " << row.key << " of " << section << ", which FORMATS.md says is always there";
    }
  }

  void expect_arrays(const std::string& section, const std::map<std::string, NumpyArray>& arrays,
                     const std::string& where) const {
    json names = json::object();
    for (const auto& [name, array] : arrays) {
      names[name] = 0;
      for (const Row& row : rows(section)) {
        if (row.key != name) continue;
        const std::string type =
            array.is_text() ? "text"
                            : (array.type.kind == 'f' ? "float" : "int") + std::to_string(8 * array.type.item_bytes);
        EXPECT_EQ(row.shape.substr(0, row.shape.find(' ')), type) << where << " " << name;
        EXPECT_EQ(to_size(std::count(row.shape.begin(), row.shape.end(), ',') + 1), array.shape.size())
            << where << " " << name;
      }
    }
    expect(section, names, where);
  }

  std::vector<std::string> never_found(const std::set<std::string>& but) const {
    std::vector<std::string> keys;
    for (const auto& [section, rows] : sections_)
      for (const Row& row : rows)
        if (!row.was_found && !but.count(section + ": " + row.key)) keys.push_back(section + ": " + row.key);
    return keys;
  }

 private:
  void add(const std::string& section, const std::string& line) {
    const auto cells = split_by(line, "|");  // one before the first bar, one after the last
    ASSERT_EQ(cells.size(), 7u) << line;
    const std::regex quoted("`([^`]+)`"), link(R"(\]\(#([a-z0-9-]+)\))");
    std::smatch found;
    Row row;
    row.shape = cells[4].substr(1);
    row.is_conditional = cells[5].find_first_not_of(' ') != std::string::npos;
    row.is_whole = row.shape.find("reference.md") != std::string::npos;
    if (std::regex_search(row.shape, found, link)) row.inside = found[1];
    for (auto key = std::sregex_iterator(cells[1].begin(), cells[1].end(), quoted); key != std::sregex_iterator();
         ++key) {
      row.key = (*key)[1];
      row.path = split_by(row.key, ".");
      sections_[section].push_back(row);
    }
  }

  static bool is_any(const std::string& word) {
    return std::all_of(word.begin(), word.end(), [](unsigned char letter) { return std::isupper(letter); });
  }
  static bool fits(const std::string& word, const std::string& key) {
    return word == key || (is_any(word) && !key.ends_with("[]"));
  }

  void walk(const std::string& section, const json& value, const std::vector<std::string>& path,
            const std::string& where, std::set<const Row*>& found) const {
    bool leads_on = path.empty();
    for (const Row& row : rows(section)) {
      if (row.path.size() < path.size() ||
          !std::equal(path.begin(), path.end(), row.path.begin(),
                      [](const auto& key, const auto& word) { return fits(word, key); }))
        continue;
      leads_on = true;
      if (row.path.size() > path.size()) continue;
      row.was_found = true;
      found.insert(&row);
      if (row.is_whole) return;
      if (!row.inside.empty()) return expect(row.inside, value, where + "." + row.key);
    }
    if (!leads_on) {
      ADD_FAILURE() << where << ": FORMATS.md has no key " << json(path).dump() << " under " << section;
    } else if (value.is_object()) {
      for (const auto& [key, inner] : value.items()) {
        auto below = path;
        below.push_back(key);
        if (inner.is_array() && is_list_of_items(section, below)) below.back() += "[]";
        if (!below.back().ends_with("[]"))
          walk(section, inner, below, where, found);
        else
          for (const json& item : inner) walk(section, item, below, where, found);
      }
    } else {
      EXPECT_TRUE(std::any_of(rows(section).begin(), rows(section).end(),
                              [&](const Row& row) { return found.count(&row) && row.path.size() == path.size(); }))
          << where << ": " << json(path).dump() << " of " << section << " has nothing in it";
    }
  }

  // Whether the page describes the items of the list at `path`.
  bool is_list_of_items(const std::string& section, std::vector<std::string> path) const {
    path.back() += "[]";
    return std::any_of(rows(section).begin(), rows(section).end(), [&](const Row& row) {
      return row.path.size() >= path.size() &&
             std::equal(path.begin(), path.end(), row.path.begin(),
                        [](const auto& key, const auto& word) { return fits(word, key); });
    });
  }

  std::map<std::string, std::vector<Row>> sections_;
};

// A session whose position is in a unit of its own, with an angle and a category beside it, as a table with named
// columns.
void write_table(const fs::path& path, int phase) {
  std::string text = "a,b,c,d,x,side,heading,task\n";
  for (int bin = 0; bin < 400; ++bin) {
    const double x = 50 + 40 * std::sin(0.11 * bin + phase);
    for (int neuron = 0; neuron < 4; ++neuron)
      text += std::to_string(std::abs(x - 25 * neuron) < 20 ? 1 + bin % 3 : bin % 17 == 0) + ",";
    text += std::to_string(x) + "," + std::to_string(bin / 9 % 3) + "," + std::to_string(bin * 7 % 360) + "," +
            std::to_string(bin / 40 % 2) + "\n";
  }
  write_file_bytes(path, text);
}

json study_of_tables(const fs::path& folder) {
  json study = small_study();
  study["recording"] = json::array();
  for (const std::string subject : {"left", "right"}) {
    write_table(folder / (subject + ".csv"), subject == "left" ? 0 : 1);
    json recording = json::parse(R"({"bin_width_ms": 25, "labels": [
      {"name": "x", "unit": "px", "column": "x"}, {"name": "side", "kind": "categorical", "column": "side"},
      {"name": "heading", "kind": "circular", "unit": "deg", "period": 360, "column": "heading"},
      {"name": "task", "kind": "categorical", "column": "task"}]})");
    recording["subject"] = subject;
    recording["counts"] = recording["file"] = subject + ".csv";
    study["recording"].push_back(recording);
  }
  study["seeds"] = {1, 2, 3, 4};
  study["training"]["learning_rate"] = 300;  // at which the second model overflows
  study["models"] = json::parse(
      R"([{"name": "sane"},
          {"name": "wild", "decoder": {"output": "exponential"}, "log_variance": {"bound": "none"}}])");
  return study;
}

json study_of_every_family() {
  json study = small_study();
  study["recording"]["simulate"]["n_times"] = 500;
  const json session = {{"file", IDEM_SOURCE_DIR "/tests/golden/models/recording.npz"}};
  study["recording"] = json::array({study["recording"], session});
  study["models"] = json::parse(R"([
    {"name": "vae"}, {"name": "ivae", "preset": "ivae"}, {"name": "gcl", "preset": "gcl"},
    {"name": "convolution", "encoder": {"kind": "temporal-convolution", "channels": 4}},
    {"name": "flow", "preset": "pi-vae", "decoder": {"flow_width": 6}},
    {"name": "hybrid", "preset": "cebra-hybrid", "latents": 4}])");
  study["model"]["contrastive"] = {{"steps", 4}, {"steps_per_record", 2}, {"width", 8}, {"batch", 64}};
  study["training"].erase("input_noise");
  study["evaluation"]["marginal_draws"] = "auto";
  study["seeds"] = {1};
  return study;
}

void expect_folder(const Page& page, const fs::path& out) {
  page.expect("metricsjson", json::parse(text_of_file(out / "metrics.json")), "metrics.json");
  page.expect("profilejson", json::parse(text_of_file(out / "profile.json")), "profile.json");
  std::stringstream log(text_of_file(out / "log.jsonl"));
  const std::regex utc(R"(\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z)");
  for (std::string line; std::getline(log, line);) {
    const json record = json::parse(line);
    page.expect("logjsonl", record, "log.jsonl");
    EXPECT_TRUE(std::regex_match(record.value("time", ""), utc)) << line;
  }
  for (const auto& run : fs::directory_iterator(out / "runs")) {
    const std::string bytes = text_of_file(run.path() / "model.safetensors");
    page.expect("modelsafetensors", json::parse(parse_safetensors(bytes).metadata.at("idem")), run.path().filename());
    page.expect_arrays("latentsnpz", read_npz(run.path() / "latents.npz"), run.path().filename());
    page.expect_arrays("decodednpz", read_npz(run.path() / "decoded.npz"), run.path().filename());
  }
}

TEST(Formats, ThePageNamesEveryKeyThatIsWrittenAndNoOther) {
  const TemporaryFolder folder;
  const Program program(folder);
  const Page page;
  write_study(folder / "tables.json", study_of_tables(folder.path()));
  write_study(folder / "families.json", study_of_every_family());
  for (const std::string study : {"tables", "families"}) {
    const auto result =
        program.run({"run", study + ".json", "--out", study, "--device", "cpu", "--quiet", "--profile"});
    ASSERT_EQ(result.code, 0) << result.errors;
    expect_folder(page, folder / study);
  }
  page.expect("profilejson", to_json(made_up_profile()), "a GPU's profile.json");
  write_study(folder / "one.json", {{"recording", study_of_every_family().at("recording")[0]}});
  const auto transformed =
      program.run({"transform", "families/runs/sim-buddy-vae-s1-f0/model.safetensors", "one.json", "--out", "z.npz"});
  ASSERT_EQ(transformed.code, 0) << transformed.errors;
  page.expect_arrays("latentsnpz", read_npz(folder / "z.npz"), "z.npz");
  // Which end of a grid is best, if one is, is the data's own.
  const std::set<std::string> rare{"decoder: grid_end.neighbours", "decoder: grid_end.direction_neighbours",
                                   "other-label: grid_end.neighbours"};
  EXPECT_EQ(page.never_found(rare), std::vector<std::string>{}) << "FORMATS.md has keys that no run wrote";
}

}  // namespace
}  // namespace idem
