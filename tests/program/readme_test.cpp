// What README.md and the pages of configs/ tell a new user to write works as it stands there.
#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <cstdio>
#include <nlohmann/json.hpp>

#include "host/support/files.h"
#include "host/families/model_file.h"
#include "host/formats/npz.h"
#include "host/support/errors.h"
#include "tests/support/program.h"
#include "tests/support/saved_models.h"

namespace idem {
namespace {

namespace fs = std::filesystem;
using nlohmann::json;

std::string page(const std::string& name) { return text_of_file(IDEM_SOURCE_DIR "/" + name); }

// Fenced blocks of one language; "" for those that name none.
std::vector<std::string> blocks_of(const std::string& name, const std::string& language) {
  std::stringstream lines(page(name));
  std::vector<std::string> blocks;
  std::string opened;
  bool is_inside = false;
  for (std::string line; std::getline(lines, line);) {
    const bool is_fence = line.starts_with("```");
    if (is_fence && !is_inside) opened = line.substr(3);
    if (is_fence && !is_inside && opened == language) blocks.emplace_back();
    if (is_fence)
      is_inside = !is_inside;
    else if (is_inside && opened == language)
      blocks.back() += line + "\n";
  }
  return blocks;
}

std::vector<std::string> words_of(const std::string& command) {
  std::stringstream text(command);
  std::vector<std::string> words;
  for (std::string word; text >> word && word != "#" && word != "&&";) words.push_back(word);
  return words;
}

constexpr int kBins = 400, kNeurons = 5;

double position_cm(double time_s) { return 60 + 50 * std::sin(time_s); }

// Neuron n fires twice in every bin near its place.
bool fires(int bin, int neuron) { return std::abs(position_cm(bin * 0.025) - 25 * neuron) < 20; }

void write_counts_and_labels(const fs::path& path) {
  std::vector<std::int64_t> counts;
  std::vector<double> position, heading_deg;
  for (int bin = 0; bin < kBins; ++bin) {
    for (int neuron = 0; neuron < kNeurons; ++neuron) counts.push_back(fires(bin, neuron) ? 2 : 0);
    position.push_back(position_cm(bin * 0.025));
    heading_deg.push_back(std::fmod(bin * 7.0, 360));
  }
  write_npz(path, {{"counts", NumpyArray::of<std::int64_t>({kBins, kNeurons}, counts)},
                   {"position", NumpyArray::of<double>({kBins}, position)},
                   {"heading", NumpyArray::of<double>({kBins}, heading_deg)}});
}

void write_spikes_and_tracking(const fs::path& folder) {
  std::vector<std::int64_t> samples;
  std::vector<std::int32_t> units;
  for (int bin = 0; bin < kBins; ++bin)
    for (int neuron = 0; neuron < kNeurons; ++neuron)
      for (int spike = 0; spike < 2 && fires(bin, neuron); ++spike) {
        samples.push_back(bin * 750 + 300 + spike);
        units.push_back(10 + neuron);
      }
  const auto n_spikes = static_cast<std::int64_t>(samples.size());
  write_npy(folder / "spike_times.npy", NumpyArray::of<std::int64_t>({n_spikes}, samples));
  write_npy(folder / "spike_clusters.npy", NumpyArray::of<std::int32_t>({n_spikes}, units));
  std::string table = "time_s,x_cm\n";
  for (int frame = 0; frame < kBins; ++frame)
    table += std::to_string(frame * 0.0251) + "," + std::to_string(position_cm(frame * 0.0251)) + "\n";
  write_file_bytes(folder / "tracking.csv", table);
}

// What the README's synopsis says of a command: its line and those indented below it.
std::string synopsis_of(const std::string& command) {
  const std::string text = page("README.md");
  std::stringstream lines(text.substr(text.find("## Commands") + 3));
  std::string found;
  bool is_its = false;
  for (std::string line; std::getline(lines, line) && !line.starts_with("## ");) {
    is_its = line.starts_with(command + " ") || (is_its && line.starts_with(" "));
    if (is_its) found += line + "\n";
  }
  return found;
}

// First words of the lines of one section of a help text; of an option that has a short name too, the long one.
std::vector<std::string> listed(const std::string& help, const std::string& section) {
  std::stringstream lines(help);
  std::vector<std::string> names;
  bool is_inside = false;
  for (std::string line; std::getline(lines, line);) {
    if (!line.starts_with(" ")) is_inside = line == section + ":";
    if (!is_inside || !line.starts_with("  ") || line.starts_with("   ")) continue;
    const std::string name = line.substr(2, line.find(' ', 2) - 2);
    names.push_back(name.substr(name.find(',') + 1));
  }
  return names;
}

// How many names of `command` and the commands below it were looked up.
int expect_synopsis(const Program& program, const std::vector<std::string>& words) {
  std::vector<std::string> arguments = words;
  arguments.push_back("--help");
  std::string command = "idem";
  for (const auto& word : words) command += " " + word;
  const auto help = program.run(arguments);
  EXPECT_EQ(help.code, 0) << command << ": " << help.errors;
  const std::string synopsis = synopsis_of(command);
  int n_names = 0;
  for (const auto& option : listed(help.output, "Options")) {
    if (option == "--help" && !words.empty()) continue;
    EXPECT_NE(synopsis.find(option), std::string::npos) << "README.md does not name " << option << " of " << command;
    ++n_names;
  }
  for (const auto& below : listed(help.output, "Subcommands")) {
    EXPECT_FALSE(synopsis_of(command + " " + below).empty()) << "README.md does not name " << command << " " << below;
    std::vector<std::string> path = words;
    path.push_back(below);
    n_names += 1 + expect_synopsis(program, path);
  }
  return n_names;
}

TEST(Readme, ItsSynopsisNamesEveryCommandAndOption) {
  const TemporaryFolder folder;
  EXPECT_GE(expect_synopsis(Program(folder), {}), 30) << "the help texts were not read";
}

// Of the table of models: what is written in code, as "preset": "vae".
TEST(Readme, EveryModelOfItsTableIsOne) {
  const TemporaryFolder folder;
  const Program program(folder);
  const std::string text = page("README.md"), begin = "## Which model for which question", mark = "`\"";
  const std::size_t from = text.find("|---|", text.find(begin)), to = text.find("\n\n", from);
  ASSERT_LT(from, to);
  json recordings = json::array();
  for (const char* animal : {"buddy", "gatsby"})
    recordings.push_back({{"simulate", {{"name", "linear-track"}, {"animal", animal}, {"n_times", 1500}}}});
  int n_models = 0;
  for (std::size_t at = text.find(mark, from); at < to; at = text.find(mark, at), ++n_models) {
    const std::size_t end = text.find('`', at + 1);
    const std::string model = text.substr(at + 1, end - at - 1);
    at = end + 1;
    const json config = {{"recording", recordings}, {"model", json::parse("{" + model + "}")}};
    write_file_bytes(folder / "model.json", config.dump());
    const auto check = program.run({"check", (folder / "model.json").string()});
    EXPECT_EQ(check.code, 0) << model << ": " << check.errors;
    EXPECT_EQ(check.output.find("warning"), std::string::npos) << model << ": " << check.output;
  }
  EXPECT_GE(n_models, 11);
}

// Every option is known, and a study of the tree may have the keys that a command sets.
TEST(Readme, EveryCommandShownCanBeTyped) {
  const TemporaryFolder folder;
  const Program program(folder);
  int n_commands = 0;
  for (const char* name : {"README.md", "configs/RESULTS.md"})
    for (const auto& block : blocks_of(name, "")) {
      std::stringstream lines(block);
      for (std::string line; std::getline(lines, line);) {
        auto words = words_of(line);
        if (words.empty() || words[0] != "build/cpu/idem") continue;
        ++n_commands;
        std::vector<std::string> asked = {words[1], "--help"};
        if (words[1] == "data") asked.insert(asked.begin() + 1, words[2]);
        const auto help = program.run(asked);
        EXPECT_EQ(help.code, 0) << name << ": " << line;
        std::vector<std::string> check = {"check"};
        for (std::size_t i = 2; i < words.size(); ++i) {
          const bool is_known = !words[i].starts_with("--") || help.output.find(words[i] + " ") != std::string::npos;
          EXPECT_TRUE(is_known) << name << ": " << line << ": " << words[i];
          if (words[i].starts_with("configs/")) check.push_back(IDEM_SOURCE_DIR "/" + words[i]);
          if (words[i] == "--set") check.insert(check.end(), {words[i], words[i + 1]});
        }
        if (line.find("--set") == std::string::npos) continue;  // as it lies there it is checked elsewhere
        const auto checked = program.run(check);
        EXPECT_EQ(checked.code, 0) << name << ": " << line << ": " << checked.errors;
      }
    }
  EXPECT_GE(n_commands, 14);
}

// What a Python script says on stdout; the packages are those that tools/test fetches. code: its exit status.
std::string run_python(const fs::path& folder, const std::string& script, int& code) {
  write_file_bytes(folder / "script.py", script);
  const std::string command =
      "cd '" + folder.string() + "' && PYTHONPATH='" IDEM_SOURCE_DIR "/.deps/python' python3 script.py 2>/dev/null";
  FILE* pipe = popen(command.c_str(), "r");
  std::string output;
  char buffer[4096];
  for (std::size_t n; pipe && (n = fread(buffer, 1, sizeof(buffer), pipe)) > 0;) output.append(buffer, n);
  code = pipe ? pclose(pipe) : -1;
  return output;
}

TEST(Readme, ItsTwoLinesOfPythonReadTheWeightsOfAModel) {
  const TemporaryFolder folder;
  int code = 0;
  run_python(folder.path(), "import safetensors.numpy", code);
  if (code != 0) GTEST_SKIP() << "python3 has no package safetensors; tools/test fetches it into .deps/python";
  const auto blocks = blocks_of("README.md", "python");
  ASSERT_EQ(blocks.size(), 2u) << "one for weights, one for latents and scores";
  EXPECT_EQ(std::count(blocks[0].begin(), blocks[0].end(), '\n'), 2);
  const auto begin = blocks[0].find('"') + 1;
  const fs::path path = folder / blocks[0].substr(begin, blocks[0].find('"', begin) - begin);
  fs::create_directories(path.parent_path());
  const SavedModel model = saved_models::of_a_temporal_convolution();
  write_model(path, model);
  const std::string say = R"(
import json, struct, zlib
from safetensors import safe_open
content = open(")" + path.string() +
                          R"(", "rb").read()
values = content[8 + struct.unpack("<Q", content[:8])[0]:]
with safe_open(")" + path.string() +
                          R"(", "np") as file: texts = file.metadata()
print(json.dumps({"dtypes": sorted({str(of.dtype) for of in weights.values()}), "crc32": texts["crc32"],
                  "computed": "%08x" % zlib.crc32(values + texts["idem"].encode()),
                  "version": json.loads(texts["idem"])["format_version"],
                  "weights": {name: {"shape": of.shape, "values": of.ravel().tolist()}
                              for name, of in weights.items()}}))
)";
  const json said = json::parse(run_python(folder.path(), blocks[0] + say, code), nullptr, false);
  ASSERT_EQ(code, 0);
  EXPECT_EQ(said.at("dtypes"), json({"float32"}));
  EXPECT_EQ(said.at("computed"), said.at("crc32"));
  EXPECT_EQ(said.at("version"), 3);
  ASSERT_EQ(said.at("weights").size(), model.parameters.size());
  for (const auto& [name, tensor] : model.parameters) {
    EXPECT_EQ(said.at("weights").at(name).at("shape"), json(tensor.shape)) << name;
    EXPECT_EQ(said.at("weights").at(name).at("values"), json(tensor.values)) << name;
  }
}

// A file that the package has saved anew is the same model.
TEST(Readme, AModelThatThePackageSavesAnewIsReadAgain) {
  const TemporaryFolder folder;
  int code = 0;
  run_python(folder.path(), "import safetensors.numpy", code);
  if (code != 0) GTEST_SKIP() << "python3 has no package safetensors; tools/test fetches it into .deps/python";
  const SavedModel model = saved_models::of_a_flow();
  write_model(folder / "model.safetensors", model);
  const std::string say = run_python(folder.path(), R"(
from safetensors import safe_open
from safetensors.numpy import load_file, save_file
with safe_open("model.safetensors", "np") as file: texts = file.metadata()
save_file(load_file("model.safetensors"), "anew.safetensors", metadata=texts)
weights = load_file("model.safetensors")
weights["decoder.flow.0.other"] = weights.pop(sorted(weights)[0])
save_file(weights, "other.safetensors", metadata=texts)
)",
                                     code);
  ASSERT_EQ(code, 0);
  const SavedModel anew = read_model(folder / "anew.safetensors");
  EXPECT_EQ(anew.provenance, model.provenance);
  for (const auto& [name, tensor] : model.parameters) EXPECT_EQ(anew.parameters.at(name).values, tensor.values) << name;
  EXPECT_THROW(read_model(folder / "other.safetensors"), DataError);
}

TEST(Readme, EveryConfigurationPrintedThereIsWholeAndTrains) {
  const TemporaryFolder folder;
  const Program program(folder);
  write_counts_and_labels(folder / "session.npz");
  write_spikes_and_tracking(folder.path());
  auto blocks = blocks_of("README.md", "json");
  for (const auto& block : blocks_of("configs/README.md", "json")) blocks.push_back(block);
  ASSERT_EQ(blocks.size(), 3u) << "two for binned counts, one for spikes";
  for (std::size_t i = 0; i < blocks.size(); ++i) {
    const std::string config = (folder / ("mouse" + std::to_string(i) + ".json")).string();
    write_file_bytes(config, blocks[i]);
    const auto info = program.run({"data", "info", config});
    EXPECT_EQ(info.code, 0) << info.errors;
    EXPECT_NE(info.output.find("5 neurons"), std::string::npos) << info.output;
    const auto check = program.run({"check", config});
    EXPECT_EQ(check.code, 0) << check.errors;
    EXPECT_NE(check.output.find("splits: time, 0.6 / 0.2 / 0.2"), std::string::npos) << check.output;
    EXPECT_EQ(check.output.find("warning"), std::string::npos) << check.output;
    const auto run =
        program.run({"run", config, "--set", "training.epochs=2", "--device", "cpu", "--threads", "1", "--quiet"});
    EXPECT_EQ(run.code, 0) << run.errors;
    const std::string name = json::parse(blocks[i]).at("name");
    EXPECT_TRUE(fs::exists(folder / ("out/" + name + "/report.html"))) << name;
    const auto runs = json::parse(text_of_file(folder / ("out/" + name + "/metrics.json"))).at("runs");
    EXPECT_TRUE(runs.at(0).at("metrics").at("encoder").at("euclidean").at("test").at("position_error_cm").is_number());
  }
}

}  // namespace
}  // namespace idem
