// end_to_end.h - a small study, and one run of it that serves every test which only reads it.
#pragma once

#include <gtest/gtest.h>
#include <unistd.h>

#include <algorithm>
#include <filesystem>
#include <nlohmann/json.hpp>
#include <string>
#include <vector>

#include "host/support/files.h"
#include "kernels/common/to_size.h"
#include "tests/support/program.h"

namespace idem {

namespace fs = std::filesystem;

// A quarter of an hour of one animal, two models, two seeds, one split.
inline nlohmann::json small_study() {
  return nlohmann::json::parse(R"({
    "name": "small",
    "recording": {"simulate": {"name": "linear-track", "animal": "buddy", "n_times": 1500, "n_neurons": 12}},
    "splits": {"kind": "time", "fractions": [0.6, 0.2, 0.2]},
    "model": {"encoder": {"widths": [8]}, "prior": {"widths": [4]}, "decoder": {"widths": [6]}, "objective": {"samples": 4, "alpha_step": 0.25}},
    "models": [{"objective": {"name": "encoder-elbo"}}, {"objective": {"name": "ci-ivae/paper"}}],
    "training": {"batch": 100, "epochs": 2, "input_noise": 0.1},
    "seeds": [1, 7],
    "evaluation": {"neighbours": [1, 9], "marginal_draws": 4, "marginal_candidates": 10}
  })");
}

inline void write_study(const fs::path& path, const nlohmann::json& study) { write_file_bytes(path, study.dump(2)); }

inline std::size_t n_lines(const std::string& text) { return to_size(std::count(text.begin(), text.end(), '\n')); }

inline const std::vector<std::string> kRuns{"sim-buddy-encoder-elbo-s1-f0", "sim-buddy-encoder-elbo-s7-f0",
                                            "sim-buddy-ci-ivae-paper-s1-f0", "sim-buddy-ci-ivae-paper-s7-f0"};

// One run of the small study serves every test that only reads it.
class EndToEnd : public testing::Test {
 protected:
  static void SetUpTestSuite() {
    // TemporaryFolder is named after a test, and here is none yet.
    root_ = fs::temp_directory_path() / ("idem-end-to-end-" + std::to_string(getpid()));
    fs::remove_all(root_);
    fs::create_directories(root_);
    write_study(root_ / "small.json", small_study());
  }
  static void TearDownTestSuite() { fs::remove_all(root_); }

  void SetUp() override {
    if (fs::exists(root_ / "first" / "report.html")) return;
    const auto result = program().run({"run", (root_ / "small.json").string(), "--out", (root_ / "first").string(),
                                       "--device", "cpu", "--threads", "2"});
    ASSERT_EQ(result.code, 0) << result.errors;
    first_errors_ = result.errors;
  }

  const Program& program() const { return program_; }
  const TemporaryFolder& folder() const { return folder_; }
  static fs::path first() { return root_ / "first"; }
  static fs::path study() { return root_ / "small.json"; }

  static inline fs::path root_;
  static inline std::string first_errors_;

 private:
  TemporaryFolder folder_;
  Program program_{folder_};
};

}  // namespace idem
