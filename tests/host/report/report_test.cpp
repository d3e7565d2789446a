#include "host/report/report.h"

#include <fmt/format.h>
#include <gtest/gtest.h>
#include <zlib.h>

#include <cmath>
#include <cstdlib>
#include <cstring>
#include <fstream>
#include <sstream>
#include <string>
#include <utility>
#include <vector>

#include "host/report/figures.h"
#include "host/report/payload.h"
#include "host/report/results.h"
#include "host/report/view.h"
#include "kernels/common/to_size.h"
#include "tests/host/report/report_page.h"
#include "tests/support/error_message.h"

namespace idem {
namespace {

TEST_F(Report, TheConfigurationInThePageNamesNoFolder) {
  fixture.write(directory);
  auto config = Json::parse(text_of(directory / "config.json"));
  config["recording"]["path"] = "/home/somebody/secret/buddy.jl";
  config["also"] = Json::array({"/home/somebody/secret/other.npy"});
  ReportFixture::write_text(directory / "config.json", config.dump());
  const std::string html = page();
  EXPECT_EQ(html.find("somebody"), std::string::npos);
  EXPECT_NE(html.find("&quot;buddy.jl&quot;"), std::string::npos);
}

TEST_F(Report, SourcesAreThoseOfTheModelsInTheStudy) {
  fixture.write(directory);
  const auto sources = [&](const std::vector<std::string>& there, const std::vector<std::string>& absent) {
    const std::string list = between(page(), "<section id=\"sources\">", "</section>");
    for (const auto& source : there)
      EXPECT_NE(list.find("<li>" + source + ": "), std::string::npos) << source << " in " << list;
    for (const auto& source : absent) EXPECT_EQ(list.find(source), std::string::npos) << source << " in " << list;
  };
  sources({"iVAE", "CI-iVAE", "Scores, splits and kNN protocol", "Active units"},
          {"<li>VAE", "pi-VAE:", "InfoNCE", "CEBRA", "patent", "contrastive learning"});
  auto metrics = fixture.metrics;
  for (auto& run : metrics["runs"])
    if (run["model"] == "encoder-elbo")
      run["objective"] = "InfoNCE (cosine), positives by time-delta", run["training"]["steps"] = 40;
  auto config = Json::parse(text_of(directory / "config.json"));
  config["model"] = {{"preset", "none"}, {"decoder", {{"kind", "mlp"}}}};
  config["models"] = {{{"preset", "cebra-behavior"}}, {{"preset", "conv-pi-vae"}}};
  ReportFixture::write_text(directory / "config.json", config.dump());
  ReportFixture::write_text(directory / "metrics.json", metrics.dump());
  sources({"iVAE", "pi-VAE", "InfoNCE", "CEBRA", "Scores, splits and kNN protocol"},
          {"<li>VAE", "CI-iVAE", "contrastive learning"});
  EXPECT_NE(page().find("WO2023143843A1"), std::string::npos);
  for (auto& run : metrics["runs"]) {
    if (run["model"] == "encoder-elbo")
      run["objective"] = "generalized contrastive learning", run["training"].erase("steps");
    else
      run["sees_labels"] = false;
  }
  config["models"][1] = {{"decoder", {{"kind", "gin"}}}};
  ReportFixture::write_text(directory / "config.json", config.dump());
  ReportFixture::write_text(directory / "metrics.json", metrics.dump());
  sources({"VAE", "pi-VAE", "Generalized contrastive learning"}, {"iVAE:", "InfoNCE", "CEBRA"});
  // What a run says of its family counts more than what older programs are known by.
  for (auto& run : metrics["runs"]) run["family"] = "cebra";
  ReportFixture::write_text(directory / "metrics.json", metrics.dump());
  sources({"InfoNCE", "CEBRA"}, {"VAE:", "Generalized contrastive learning"});
  metrics["runs"][0]["family"] = "unheard-of";
  ReportFixture::write_text(directory / "metrics.json", metrics.dump());
  EXPECT_MESSAGE(DataError, page(), "family: \"unheard-of\" is none that this program knows");
}

TEST_F(Report, ThePageIsBalancedAndReachesForNothingOutside) {
  fixture.write(directory);
  for (const bool interactive : {true, false}) {
    if (!interactive) assets.plotly = {};
    const std::string html = page();
    EXPECT_EQ(markup_fault(html), "");
    EXPECT_EQ(html.find("http:"), std::string::npos);
    EXPECT_EQ(html.find("https:"), std::string::npos);
    EXPECT_EQ(html.find("href="), std::string::npos);
    EXPECT_NE(html.find("default-src 'none'"), std::string::npos);
    EXPECT_EQ(html.find("{{"), std::string::npos);
    EXPECT_NE(html.find("<meta name=\"viewport\""), std::string::npos);
  }
}

TEST_F(Report, SectionsComeInTheOrderOfTheirWeight) {
  fixture.write(directory);
  const std::string html = page();
  std::size_t before = 0;
  for (const char* id :
       {"answer", "numbers", "training", "latents", "loss", "decoding", "collapse", "configuration", "sources"}) {
    const auto at = html.find(fmt::format("<section id=\"{}\">", id));
    ASSERT_NE(at, std::string::npos) << id;
    EXPECT_GT(at, before) << id;
    before = at;
  }
}

TEST_F(Report, NamesCannotBreakThePageOrTheFigures) {
  fixture.subject = "<b>&\"";
  fixture.models = {{"it's<i", 2, 0.3, 0.2}};
  fixture.n_times = 200, fixture.n_splits = 1;
  fixture.write(directory);
  write_report(directory, assets, "gnuplot");
  const std::string html = text_of(directory / "report.html");
  EXPECT_EQ(markup_fault(html), "");
  EXPECT_EQ(html.find("<b>&\""), std::string::npos);
  EXPECT_EQ(html.find("<i<"), std::string::npos);
  EXPECT_NE(html.find("&lt;b&gt;&amp;&quot;"), std::string::npos);
  EXPECT_NE(html.find("it&#39;s&lt;i"), std::string::npos);
  if (fs::exists(directory / "figures")) {
    EXPECT_TRUE(fs::exists(directory / "figures" / "latents-<b>&\"-it's<i-s0-f0.svg"));
  }
}

TEST_F(Report, TheSameFolderGivesTheSameBytes) {
  fixture.write(directory);
  const std::string once = page();
  EXPECT_EQ(page(), once);
}

TEST_F(Report, ThinnedNumbersInThePageAreTheRunsNumbers) {
  fixture.write(directory);
  const std::string html = page();
  std::string packed;
  {
    const std::string letters = between(html, "id=\"payload\">", "</script>");
    ASSERT_FALSE(letters.empty());
    unsigned group = 0;
    int bits = 0;
    for (const char c : letters) {
      const std::string alphabet = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
      const auto code = alphabet.find(c);
      if (code == std::string::npos) break;
      group = group << 6 | static_cast<unsigned>(code), bits += 6;
      if (bits >= 8) packed += static_cast<char>(group >> (bits -= 8) & 255);
    }
  }
  std::string bytes(1 << 22, '\0');
  z_stream stream{};
  ASSERT_EQ(inflateInit2(&stream, 15 + 16), Z_OK);
  stream.next_in = reinterpret_cast<Bytef*>(packed.data()), stream.avail_in = static_cast<uInt>(packed.size());
  stream.next_out = reinterpret_cast<Bytef*>(bytes.data()), stream.avail_out = static_cast<uInt>(bytes.size());
  ASSERT_EQ(inflate(&stream, Z_FINISH), Z_STREAM_END);
  bytes.resize(stream.total_out);
  inflateEnd(&stream);

  std::uint32_t n_text = 0;
  std::memcpy(&n_text, bytes.data(), sizeof n_text);
  const Json data = Json::parse(bytes.substr(4, n_text));
  ASSERT_EQ(data["runs"].size(), 8u);
  const auto decode = [&](const Json& reference) {
    std::vector<double> values;
    for (std::size_t i = 0; i < reference["n"]; ++i) {
      std::int16_t code = 0;
      std::memcpy(&code, bytes.data() + 4 + n_text + reference["o"].get<std::size_t>() + 2 * i, sizeof code);
      values.push_back(reference["a"].get<double>() + reference["b"].get<double>() * code);
    }
    return values;
  };
  for (const Json& run : data["runs"]) {
    const auto arrays = read_npz(directory / "runs" / run["name"].get<std::string>() / "latents.npz");
    const auto split = arrays.at("split").as<std::int32_t>();
    for (const auto& [name, array] : {std::pair{"encoder", "encoder_mean"}, std::pair{"posterior", "posterior_mean"}}) {
      const auto stored = arrays.at(array).as<double>();
      const auto n_latents = to_size(arrays.at(array).shape[1]);
      ASSERT_EQ(run[name].size(), n_latents);
      for (std::size_t latent = 0; latent < n_latents; ++latent) {
        const auto values = decode(run[name][latent]);
        std::vector<double> expected;  // nothing is thinned at this size: train, then valid, then test
        for (const int of : {0, 1, 2})
          for (std::size_t time = 0; time < split.size(); ++time)
            if (split[time] == of) expected.push_back(stored[time * n_latents + latent]);
        ASSERT_EQ(values.size(), expected.size());
        const double tolerance = run[name][latent]["b"].get<double>();
        for (std::size_t i = 0; i < values.size(); ++i)
          ASSERT_TRUE(std::abs(values[i] - expected[i]) <= tolerance)
              << i << ": " << values[i] << ", want " << expected[i];
      }
    }
  }
  // Bins' labels are stored once per split, not once per run.
  EXPECT_EQ(data["sets"].size(), 2u);
}

TEST_F(Report, SeedsOfSixtyFourBitsAreKeptApart) {
  fixture.write(directory);
  auto metrics = fixture.metrics;
  for (auto& run : metrics["runs"]) run["seed"] = 18446744073709551614u + run["seed"].get<std::uint64_t>();
  ReportFixture::write_text(directory / "metrics.json", metrics.dump());
  EXPECT_NE(page().find("(2 seeds × 2 splits)"), std::string::npos);
  EXPECT_EQ(read_study(directory).runs[2].seed, 18446744073709551615u);
}

// So that a fault of the figures is not taken for a machine without gnuplot.
bool has_gnuplot() { return std::system("gnuplot --version > /dev/null 2>&1") == 0; }

TEST_F(Report, FiguresAreDrawnWhereGnuplotIs) {
  if (!has_gnuplot()) GTEST_SKIP() << "gnuplot is not installed";
  fixture.n_times = 200;
  fixture.write(directory);
  EXPECT_EQ(write_report(directory, assets, "gnuplot"), "");
  for (const char* name :
       {"latents-buddy-encoder-elbo-s0-f0", "latents-buddy-encoder-elbo-s0-f1", "latents-buddy-ivae-s0-f0",
        "seeds-buddy-encoder-elbo", "seeds-buddy-ivae", "loss-buddy-encoder-elbo", "loss-buddy-ivae",
        "decoding-buddy-encoder-elbo-s0-f0", "decoding-buddy-ivae-s0-f1"}) {
    const std::string svg = text_of(directory / "figures" / (std::string(name) + ".svg")),
                      png = text_of(directory / "figures" / (std::string(name) + ".png"));
    EXPECT_NE(svg.find("</svg>"), std::string::npos) << name;
    ASSERT_GT(png.size(), 24u) << name;
    EXPECT_EQ(png.substr(0, 8), "\x89PNG\r\n\x1a\n") << name;
  }
  std::size_t n_files = 0;
  for ([[maybe_unused]] const auto& entry : fs::directory_iterator(directory / "figures")) ++n_files;
  EXPECT_EQ(n_files, 2u * (4 + 2 + 2 + 4));
}

TEST_F(Report, WithoutGnuplotOneLineWarnsAndThePageIsStillWritten) {
  fixture.write(directory);
  const std::string warning = write_report(directory, assets, no_gnuplot);
  EXPECT_NE(warning.find("no static figures: no-such-gnuplot"), std::string::npos) << warning;
  EXPECT_NE(warning.find("install gnuplot-nox"), std::string::npos) << warning;
  EXPECT_EQ(warning.find('\n'), std::string::npos);
  EXPECT_TRUE(fs::exists(directory / "report.html"));
  EXPECT_FALSE(fs::exists(directory / "figures"));
}

TEST_F(Report, WithoutPlotlyThePageHoldsStillFigures) {
  fixture.n_times = 200;
  fixture.write(directory);
  assets.plotly = {};
  const std::string warning = write_report(directory, assets, has_gnuplot() ? "gnuplot" : no_gnuplot);
  const std::string html = text_of(directory / "report.html");
  EXPECT_EQ(html.find("<script"), std::string::npos);
  EXPECT_NE(html.find("built without Plotly"), std::string::npos);
  EXPECT_EQ(markup_fault(html), "");
  if (!has_gnuplot()) GTEST_SKIP() << "gnuplot is not installed";
  EXPECT_EQ(warning, "");
  std::size_t n_figures = 0;
  for (auto at = html.find("src=\"data:image/"); at != std::string::npos; at = html.find("src=\"data:image/", at + 1))
    ++n_figures;
  EXPECT_EQ(n_figures, 2u + 2 + 2 + 2);  // of each model: latents and decoding of the first split, all seeds, loss
}

TEST_F(Report, AStudyWithoutAFinishedRunSaysSo) {
  fixture.models.clear();
  fixture.n_splits = 0;
  fixture.write(directory);
  const std::string html = page();
  EXPECT_NE(html.find("No run has finished yet"), std::string::npos);
  EXPECT_EQ(markup_fault(html), "");
}

TEST_F(Report, RunsWithoutScoresLabelsOrDecodingStillGetAPage) {
  fixture.decoded = false;
  fixture.write(directory);
  auto metrics = fixture.metrics;
  for (auto& run : metrics["runs"]) {
    run.erase("metrics"), run.erase("collapse"), run.erase("training");
    const auto path = directory / "runs" / run["run"].get<std::string>() / "latents.npz";
    auto arrays = read_npz(path);
    arrays["labels"] = NumpyArray::of<float>({fixture.n_times, 0}, {});
    arrays["label_names"] = NumpyArray::of_texts({});
    write_npz(path, arrays);
  }
  metrics.erase("baselines");
  ReportFixture::write_text(directory / "metrics.json", metrics.dump());
  ReportFixture::write_text(directory / "log.jsonl", "");
  const std::string html = page();
  EXPECT_EQ(markup_fault(html), "");
  EXPECT_NE(html.find("no run has a decoding score"), std::string::npos);
  EXPECT_NE(html.find("No position was decoded"), std::string::npos);
}

TEST(ReportAssetsBuiltIn, AreTheFilesOfTheSourceTree) {
  const ReportAssets assets = built_in_report_assets();
  const auto text = [](const char* name) {
    std::ifstream file(fs::path(IDEM_SOURCE_DIR) / "host" / "report" / name, std::ios::binary);
    std::ostringstream bytes;
    bytes << file.rdbuf();
    return bytes.str();
  };
  EXPECT_EQ(assets.page, text("page.html"));
  EXPECT_EQ(assets.style, text("page.css"));
  EXPECT_EQ(assets.script, text("page.js") + text("plots.js"));
  // The script stands in the page as it is.
  EXPECT_EQ(assets.script.find("</script"), std::string_view::npos);
  EXPECT_EQ(assets.script.find("<!--"), std::string_view::npos);
}

}  // namespace
}  // namespace idem
