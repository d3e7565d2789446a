// Reports of folders that others wrote: scripts in any of their texts, values of any kind in the place of others.
#include <fmt/format.h>
#include <gtest/gtest.h>

#include <fstream>
#include <set>
#include <sstream>

#include "host/support/errors.h"
#include "host/recordings/recording_npz.h"
#include "host/report/report.h"
#include "kernels/common/to_size.h"
#include "tests/support/browser.h"
#include "tests/support/json_mutations.h"
#include "tests/support/program.h"
#include "tests/host/report/report_fixture.h"
#include "tests/support/temporary_folder.h"

namespace idem {
namespace {

namespace fs = std::filesystem;
using Json = nlohmann::ordered_json;

// Ends whatever it may stand in: a script, a quoted attribute, a comment.
const std::string marker =
    "--></script></style></p><script>document.title='INJECTED'</script>\"'><img src=x "
    "onerror=document.title='INJECTED'>\xE2\x80\xA8&{{title}}";

// What only an unescaped marker leaves in a page's source.
bool is_injected(const std::string& html) {
  return html.find("<img src=x") != std::string::npos || html.find("<script>document.title") != std::string::npos;
}

class FaultyReport : public testing::Test {
 protected:
  FaultyReport() {
    fixture.n_seeds = fixture.n_splits = 1;
    fixture.models.resize(1);
    fixture.n_times = 80;
    fixture.n_epochs = 3;
    fixture.write(study);
    // In a unit of the labels, which any text may be.
    std::string text = fixture.metrics.dump();
    for (std::size_t at = 0; (at = text.find("position_error_cm", at)) != std::string::npos;)
      text.replace(at, 17, "position_error");
    metrics = Json::parse(text);
    // What a fixture of one run and the usual labels lacks.
    auto& run = metrics["runs"][0];
    for (const char* latents : {"encoder", "posterior"})
      for (const char* decoder : {"euclidean", "cosine", "linear"})
        for (const char* part : {"valid", "test"})
          run["metrics"][latents][decoder]["labels"]["speed"][part] = {{"median_error", 1.5}, {"unit", "cm/s"}};
    run["fit"] = {{"train", {{"info_nce", 3.5}}}, {"temperature", 1}};
    run["identifiability"] = {{"encoder", {{"affine_r2", 0.5}}}};
    metrics["runs"].push_back({{"run", "buddy-x-s1-f0"},
                               {"subject", "buddy"},
                               {"model", "x"},
                               {"seed", 1},
                               {"split", 0},
                               {"failed", true},
                               {"reason", "no"}});
    const Json of_splits = Json::array({{{"encoder", 0.5}, {"posterior", 0.6}}}),
               of_animals = Json::array({{{"encoder", {{"test", 0.5}}}}});
    metrics["consistency"]["runs"] =
        Json::array({{{"subject", "buddy"}, {"model", fixture.models[0].name}, {"splits", of_splits}}});
    metrics["consistency"]["animals"] =
        Json::array({{{"from", "buddy"}, {"to", "cicero"}, {"model", fixture.models[0].name}, {"splits", of_animals}}});
    metrics["labels"]["buddy"]["columns"]["heading"] = {{"kind", "circular"}, {"unit", "deg"}, {"period", 360}};
    config = Json::parse(text_of_file(study / "config.json"));
    config["name"] = "study";
    config["models"] = Json::array({{{"name", "a"}, {"preset", "pi-vae"}}});
    std::istringstream lines(text_of_file(study / "log.jsonl"));
    for (std::string line; std::getline(lines, line);) log.push_back(Json::parse(line));
    log.push_back({{"event", "note"}, {"message", "a note"}});
    assets = built_in_report_assets();
    // Says that it ran, and draws nothing.
    assets.plotly = "document.documentElement.dataset.plotly = 'ran'; var Plotly = {react() {}, relayout() {}};";
  }

  void put(const std::string& config_text, const std::string& metrics_text, const std::string& log_text) {
    ReportFixture::write_text(study / "config.json", config_text);
    ReportFixture::write_text(study / "metrics.json", metrics_text);
    ReportFixture::write_text(study / "log.jsonl", log_text);
  }
  std::string log_text() const {
    std::string text;
    for (const auto& line : log) text += line.dump() + "\n";
    return text;
  }
  // The page; nothing where the folder is refused.
  std::optional<std::string> page() {
    try {
      write_report(study, assets, "no-such-gnuplot");
    } catch (const DataError& error) {
      EXPECT_EQ(std::string(error.what()).find_first_of("\n\r"), std::string::npos) << error.what();
      EXPECT_EQ(std::string(error.what()).find("json.exception"), std::string::npos) << error.what();
      return std::nullopt;
    }
    return text_of_file(study / "report.html");
  }

  TemporaryFolder folder;
  fs::path study = folder / "study";
  ReportFixture fixture;
  Json config, metrics;
  std::vector<Json> log;
  ReportAssets assets;
};

// Places of all texts of a document, and of the keys of its objects.
void walk(const Json& node, const Json::json_pointer& at, std::vector<Json::json_pointer>& texts,
          std::vector<Json::json_pointer>& keys) {
  if (node.is_string()) texts.push_back(at);
  if (node.is_array())
    for (std::size_t i = 0; i < node.size(); ++i) walk(node[i], at / i, texts, keys);
  if (node.is_object())
    for (const auto& [key, value] : node.items()) {
      keys.push_back(at / key);
      walk(value, at / key, texts, keys);
    }
}

TEST_F(FaultyReport, NoTextOfTheFolderGetsIntoThePageAsMarkup) {
  std::vector<Json*> documents{&config, &metrics};
  for (auto& line : log) documents.push_back(&line);
  int n = 0;
  for (Json* document : documents) {
    std::vector<Json::json_pointer> texts, keys;
    walk(*document, Json::json_pointer(), texts, keys);
    const Json whole = *document;
    for (const auto& at : texts) {
      const Json before = *document;
      (*document)[at] = whole[at].get<std::string>() + marker;
      put(config.dump(), metrics.dump(), log_text());
      const auto shown = page();
      EXPECT_FALSE(shown && is_injected(*shown)) << at;
      if (!shown) *document = before;  // a text that the program looks things up by: the others stay for what follows
      ++n;
    }
    const Json injected = *document;
    for (const auto& at : keys) {
      Json& above = document->at(at.parent_pointer());
      above[at.back() + marker] = above.at(at.back());
      if (at.back() != "run" && at.back() != "event") above.erase(at.back());
      put(config.dump(), metrics.dump(), log_text());
      const auto shown = page();
      EXPECT_FALSE(shown && is_injected(*shown)) << "key " << at;
      *document = injected;
      ++n;
    }
  }
  EXPECT_GT(n, 150);
  // Names that only people give.
  metrics["runs"][0]["metrics"]["encoder"]["euclidean"]["labels"]["speed" + marker] =
      metrics["runs"][0]["metrics"]["encoder"]["euclidean"]["labels"]["speed"];
  for (auto& line : log)
    if (line["event"] == "epoch")
      for (const char* part : {"train", "valid"}) line[part]["part" + marker] = line["epoch"];
  const std::string run = metrics["runs"][0]["run"];
  auto latents = read_npz(study / "runs" / run / "latents.npz");
  latents["label_names"] =
      NumpyArray::of_texts({"position" + marker, "direction=right" + marker, "direction=left" + marker});
  write_npz(study / "runs" / run / "latents.npz", latents);
  metrics["labels"]["buddy"]["columns"]["position" + marker] = {{"kind", "continuous"}, {"unit", "m" + marker}};
  put(config.dump(), metrics.dump(), log_text());
  const auto shown = page();
  ASSERT_TRUE(shown);
  EXPECT_FALSE(is_injected(*shown));
  EXPECT_GT(shown->size(), 10000u);

  // And as a browser has it, scripts and all.
  const auto browser = find_browser();
  if (!browser) GTEST_SKIP() << "no Chromium here";
  const std::string dom = dom_of(*browser, study / "report.html", folder);
  EXPECT_NE(dom.find("data-plotly=\"ran\""), std::string::npos) << "the page's scripts did not run";
  EXPECT_EQ(dom.find("<title>INJECTED"), std::string::npos);
  EXPECT_EQ(dom.find("<img src=\"x\""), std::string::npos);
  EXPECT_NE(dom.find("<select"), std::string::npos) << "the chooser was not made";
}

TEST_F(FaultyReport, ThePageRunsNoScriptsButItsOwn) {
  const std::string html = page().value();
  const auto policy = html.substr(html.find("Content-Security-Policy"), 500);
  EXPECT_EQ(policy.substr(policy.find("script-src")).substr(0, 60).find("unsafe-inline"), std::string::npos) << policy;
  for (const char* limit : {"default-src 'none'", "base-uri 'none'", "form-action 'none'"})
    EXPECT_NE(policy.find(limit), std::string::npos) << limit;
  const auto browser = find_browser();
  if (!browser) GTEST_SKIP() << "no Chromium here";
  // As if a text had got in unescaped after all.
  std::string injected = html;
  injected.insert(injected.find("<main>"),
                  "<script>document.title='INJECTED'</script><img src=x onerror=\"document.title='INJECTED'\">");
  ReportFixture::write_text(study / "report.html", injected);
  const std::string dom = dom_of(*browser, study / "report.html", folder);
  EXPECT_EQ(dom.find("<title>INJECTED"), std::string::npos);
  EXPECT_NE(dom.find("data-plotly=\"ran\""), std::string::npos) << "the page's own scripts did not run";
}

TEST_F(FaultyReport, StillPicturesHoldNoMarkupOfTheFolder) {
  const std::string run = metrics["runs"][0]["run"];
  auto latents = read_npz(study / "runs" / run / "latents.npz");
  latents["label_names"] =
      NumpyArray::of_texts({"position" + marker, "direction=right" + marker, "direction=left" + marker});
  write_npz(study / "runs" / run / "latents.npz", latents);
  metrics["labels"]["buddy"]["columns"]["position" + marker] = {{"kind", "continuous"}, {"unit", "m" + marker}};
  for (auto& line : log)
    if (line["event"] == "epoch") line["valid"]["part" + marker] = line["epoch"];
  put(config.dump(), metrics.dump(), log_text());
  assets.plotly = {};
  if (!write_report(study, assets, "gnuplot").empty()) GTEST_SKIP() << "no gnuplot here";
  int n = 0;
  for (const auto& entry : fs::directory_iterator(study / "figures")) {
    if (entry.path().extension() != ".svg") continue;
    EXPECT_FALSE(is_injected(text_of_file(entry.path()))) << entry.path();
    ++n;
  }
  EXPECT_GT(n, 1);
  EXPECT_FALSE(is_injected(text_of_file(study / "report.html")));
}

TEST_F(FaultyReport, IsWrittenOrRefusedInOneLineWhateverTheFilesHold) {
  assets.plotly = {};
  for (const char* latents : {"encoder", "posterior"})  // what is there again and again
    for (const char* decoder : {"cosine", "linear"}) metrics["runs"][0]["metrics"][latents].erase(decoder);
  int n = 0;
  const auto check = [&](const std::string& where, const std::string& config_text, const std::string& metrics_text,
                         const std::string& text_of_log) {
    SCOPED_TRACE(where);
    put(config_text, metrics_text, text_of_log);
    ASSERT_NO_THROW(page());
    ++n;
  };
  const std::string whole_config = config.dump(), whole_metrics = metrics.dump(), whole_log = log_text();
  for (const auto& value : hostile_values()) {
    check("config.json = " + value, value, whole_metrics, whole_log);
    check("metrics.json = " + value, whole_config, value, whole_log);
    check("log.jsonl = " + value, whole_config, whole_metrics, value + "\n" + whole_log);
  }
  // A page takes a while: of every kind one value.
  const std::vector<std::string> values{"null",     "-1",     "4611686018427387904", "1e308", "1e999", "true",
                                        "\"text\"", "[[-1]]", "{\"a\": 1}"};
  for_each_mutation(
      config,
      [&](const auto& where, const auto& text) { check("config.json " + where, text, whole_metrics, whole_log); }, 1,
      values);
  for_each_mutation(
      metrics,
      [&](const auto& where, const auto& text) { check("metrics.json " + where, whole_config, text, whole_log); }, 1,
      values);
  const auto of_line = [&](const auto& where, const auto& text) {
    check("log.jsonl " + where, whole_config, whole_metrics, text + "\n" + whole_log);
  };
  for_each_mutation(log[1], of_line, 1, values);
  EXPECT_GT(n, 1000);
}

// From a data file to the page.
TEST(ReportOfARecording, RunsNoScriptOfItsLabels) {
  TemporaryFolder folder;
  Recording recording{.subject = "evil", .n_times = 300, .n_neurons = 6, .bin_width_s = 0.025};
  LabelColumn position, side;
  position.name = "position" + marker;
  position.unit = "cm" + marker;
  side.name = "side";
  side.kind = LabelKind::categorical;
  side.categories = {"a" + marker, "b"};
  for (int time = 0; time < recording.n_times; ++time) {
    for (int neuron = 0; neuron < recording.n_neurons; ++neuron)
      recording.counts.push_back(static_cast<float>((time / 7 + neuron * neuron) % 4));
    recording.time_s.push_back(0.025 * time);
    position.values.push_back(time % 50);
    side.values.push_back(time / 25 % 2);
    recording.neuron_ids.resize(to_size(recording.n_neurons), time);
  }
  for (std::size_t neuron = 0; neuron < recording.neuron_ids.size(); ++neuron)
    recording.neuron_ids[neuron] = static_cast<std::int64_t>(neuron);
  recording.segments = {{0, recording.n_times}};
  recording.labels = {position, side};
  recording.notes = {"a note" + marker};
  write_recording_npz(recording, folder / "evil.npz");
  ReportFixture::write_text(folder / "e.json", Json{{"recording", {{"file", "evil.npz"}}},
                                                    {"splits", {{"kind", "time"}}},
                                                    {"evaluation", {{"position", position.name}}},
                                                    {"model", {{"objective", {{"name", "encoder-elbo"}}}}},
                                                    {"training", {{"epochs", 1}, {"batch", 64}}},
                                                    {"seeds", {1}}}
                                                   .dump());
  const auto run = Program(folder).run({"run", "e.json", "--out", "out", "--device", "cpu", "--quiet"});
  ASSERT_EQ(run.code, 0) << run.errors;
  EXPECT_FALSE(is_injected(text_of_file(folder / "out/report.html")));
  const auto browser = find_browser();
  if (!browser) GTEST_SKIP() << "no Chromium here";
  const std::string dom = dom_of(*browser, folder / "out/report.html", folder);
  EXPECT_NE(dom.find("<title>"), std::string::npos);
  EXPECT_EQ(dom.find("<title>INJECTED"), std::string::npos);
  EXPECT_EQ(dom.find("<img src=\"x\""), std::string::npos);
}

TEST(ReportOfARecording, OfOthersRunsNoScriptOfItsLabels) {
  const fs::path shared = fs::path(IDEM_SHARED_DIR) / "cases" / "hostile";
  if (!fs::exists(shared / "evil.npz")) GTEST_SKIP() << shared / "evil.npz" << " is not on this machine";
  TemporaryFolder folder;
  fs::copy(shared / "evil.npz", folder.path());
  fs::copy(shared / "e.json", folder.path());
  const auto run = Program(folder).run(
      {"run", "e.json", "--out", "out", "--device", "cpu", "--quiet", "--set", "training.epochs=1"});
  ASSERT_EQ(run.code, 0) << run.errors;
  const std::string html = text_of_file(folder / "out/report.html");
  EXPECT_EQ(html.find("<script>alert"), std::string::npos);
  EXPECT_EQ(html.find("<script>document.title"), std::string::npos);
}

}  // namespace
}  // namespace idem
