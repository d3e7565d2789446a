// report_fixture.h - a small study folder as idem run leaves it: a rat on a 1.6 m track, models whose latents follow
// position and direction.
#pragma once

#include <algorithm>
#include <cmath>
#include <filesystem>
#include <fstream>
#include <limits>
#include <map>
#include <nlohmann/json.hpp>
#include <numbers>
#include <random>
#include <string>
#include <vector>

#include "host/formats/npz.h"
#include "kernels/common/to_size.h"

namespace idem {

struct ReportFixture {
  struct Model {
    std::string name;
    int n_latents = 2;
    double noise = 0.4, label_pull = 0.3;  // of the label-free latents; how far the with-label ones follow the labels
  };
  std::string subject = "buddy";
  std::vector<Model> models{{"encoder-elbo", 2, 0.35, 0.15}, {"ivae", 3, 1.1, 0.9}};
  int n_seeds = 2, n_splits = 2, n_times = 240, n_epochs = 12;
  bool decoded = true;

  using Json = nlohmann::ordered_json;
  Json metrics;  // what was written

  static void write_text(const std::filesystem::path& path, const std::string& text) {
    std::filesystem::create_directories(path.parent_path());
    std::ofstream(path, std::ios::binary) << text;
  }

  // Numbers that differ in every cell, so that a swapped pair of columns shows.
  static Json scores(double error_cm, double shift) {
    const auto cell = [&](double more) {
      return Json{{"position_error_cm", error_cm + more},
                  {"position_r2", 0.8 - (error_cm + more) / 60},
                  {"direction_r2", 0.5 - (error_cm + more) / 40},
                  {"total_r2", 0.61 - (error_cm + more) / 45},
                  {"direction_accuracy", 0.98 - (error_cm + more) / 90}};
    };
    return {{"euclidean", {{"valid", cell(shift)}, {"test", cell(shift + 0.7)}, {"neighbours", 16}}},
            {"cosine", {{"valid", cell(shift + 3.1)}, {"test", cell(shift + 4.2)}, {"neighbours", 25}}},
            {"linear", {{"valid", cell(shift + 8.3)}, {"test", cell(shift + 9.1)}}}};
  }

  void write(const std::filesystem::path& directory) {
    std::string log;
    metrics = Json{
        {"runs", Json::array()}, {"baselines", Json::array()}, {"device", "cpu (2 threads)"}, {"version", "0.1.0"}};
    metrics["labels"][subject] = {{"position", {{"name", "position"}, {"unit", "cm"}}},
                                  {"direction", {{"name", "direction"}}},
                                  {"columns",
                                   {{"position", {{"kind", "continuous"}, {"unit", "m"}}},
                                    {"direction", {{"kind", "categorical"}, {"unit", ""}}}}}};
    log += Json{{"event", "started"}, {"message", "study"}}.dump() + "\n";
    for (std::size_t m = 0; m < models.size(); ++m)
      for (int seed = 0; seed < n_seeds; ++seed)
        for (int split = 0; split < n_splits; ++split) write_run(directory, m, seed, split, log);
    log += Json{{"event", "warning"}, {"message", "2 neurons of " + subject + " never fire"}}.dump() + "\n";
    for (int split = 0; split < n_splits; ++split)
      metrics["baselines"].push_back(
          {{"subject", subject},
           {"split", split},
           {"chance", {{"position_error_cm", {{"valid", 43.1 + split}, {"test", 44.5 + split}}}}},
           {"pca", scores(21.0 + split, 0.5)},
           {"window_sums", scores(11.6 + split, 0.4)}});
    for (std::size_t m = 0; m < models.size() && n_seeds > 1; ++m) {
      Json splits_of_model = Json::array();
      for (int split = 0; split < n_splits; ++split)
        splits_of_model.push_back({{"split", split},
                                   {"encoder", 0.93 - 0.25 * m - 0.02 * split},
                                   {"posterior", 0.97 - 0.1 * m - 0.04 * split}});
      metrics["consistency"]["runs"].push_back(
          {{"subject", subject}, {"model", models[m].name}, {"splits", splits_of_model}});
    }
    write_text(directory / "config.json",
               Json{{"recording",
                     {{"path", subject + ".jl"},
                      {"labels", Json::array({{{"name", "position"}, {"kind", "continuous"}, {"unit", "m"}}})}}},
                    {"training", {{"epochs", n_epochs}}}}
                   .dump(2));
    write_text(directory / "metrics.json", metrics.dump());
    write_text(directory / "log.jsonl", log);
  }

 private:
  void write_run(const std::filesystem::path& directory, std::size_t m, int seed, int split, std::string& log) {
    const Model& model = models[m];
    const std::string run = subject + "-" + model.name + "-s" + std::to_string(seed) + "-f" + std::to_string(split);
    std::mt19937 generator(static_cast<unsigned>(1000 * m + 10 * to_size(seed) + to_size(split)));
    std::normal_distribution<double> normal;
    const int n_latents = model.n_latents;
    std::vector<double> time_s;
    std::vector<std::int32_t> segment, splits;
    std::vector<float> encoder, log_variance, posterior, labels, decoded_position;
    const double turn = seed % 2 ? -1 : 1;
    // Runs of 160 bins to and fro; fifths of the time are dealt to test and valid.
    for (int t = 0; t < n_times; ++t) {
      const double phase = (t % 320) / 160.0;
      const bool right = phase < 1;
      const double position = 0.8 - 0.8 * std::cos(std::numbers::pi * phase);
      const int block = 5 * t / n_times;
      const std::int32_t of = block == (split + 1) % 5 ? 2 : block == (split + 3) % 5 ? 1 : 0;
      time_s.push_back(0.025 * (t + (t >= n_times / 2 ? 4000 : 0)));
      segment.push_back(t >= n_times / 2 ? 1 : 0);
      splits.push_back(of);
      const double angle = (right ? 1 : -1) * (0.35 + 1.6 * position);
      const double radius = right ? 3.0 : 2.2;
      for (int k = 0; k < n_latents; ++k) {
        const double truth = k == 0   ? turn * radius * std::cos(angle)
                             : k == 1 ? radius * std::sin(angle)
                                      : 1.5 * std::cos(2 * angle);
        const double prior = k == 0 ? turn * 2 * position : k == 1 ? (right ? 1.5 : -1.5) : position;
        const double found = truth + model.noise * normal(generator) * (normal(generator) > 1.6 ? 2.2 : 1);
        encoder.push_back(static_cast<float>(found));
        posterior.push_back(static_cast<float>((1 - model.label_pull) * found + model.label_pull * prior));
        log_variance.push_back(-1);
      }
      labels.insert(labels.end(), {static_cast<float>(position), right ? 1.0f : 0.0f, right ? 0.0f : 1.0f});
      const double jump = normal(generator) > 2 ? 0.5 * normal(generator) : 0;
      decoded_position.push_back(
          of == 2 ? static_cast<float>(std::clamp(position + 0.12 * normal(generator) + jump, 0.0, 1.6))
                  : std::numeric_limits<float>::quiet_NaN());
    }
    const std::int64_t n = n_times;
    std::map<std::string, NumpyArray> arrays{
        {"time_s", NumpyArray::of<double>({n}, time_s)},
        {"segment", NumpyArray::of<std::int32_t>({n}, segment)},
        {"split", NumpyArray::of<std::int32_t>({n}, splits)},
        {"encoder_mean", NumpyArray::of<float>({n, n_latents}, encoder)},
        {"encoder_log_var", NumpyArray::of<float>({n, n_latents}, log_variance)},
        {"posterior_mean", NumpyArray::of<float>({n, n_latents}, posterior)},
        {"labels", NumpyArray::of<float>({n, 3}, labels)},
        {"label_names", NumpyArray::of_texts({"position", "direction=right", "direction=left"})}};
    if (decoded) arrays["decoded_position"] = NumpyArray::of<float>({n}, decoded_position);
    std::filesystem::create_directories(directory / "runs" / run);
    write_npz(directory / "runs" / run / "latents.npz", arrays);

    for (int epoch = 1; epoch <= n_epochs; ++epoch) {
      const auto parts = [&](double gap) {
        const double fall = 8 * std::exp(-epoch / 1.5) + std::exp(-epoch / 15.0);
        return Json{{"loss", 6.2 + fall + gap + 0.02 * normal(generator)},
                    {"reconstruction_encoder", 6.1 + fall + gap},
                    {"reconstruction_posterior", 6.0 + 0.9 * fall + gap},
                    {"kl_encoder", 1.4 - std::exp(-epoch / 8.0) + 0.05 * gap},
                    {"kl_posterior", 1.1 - 0.9 * std::exp(-epoch / 8.0)},
                    {"skew", nullptr},
                    {"alpha", m == 0 ? Json(1) : Json(0.5 + 0.3 * std::exp(-epoch / 10.0))},
                    {"alpha_zero_fraction", m == 0 ? 0 : 0.3 - 0.2 * std::exp(-epoch / 10.0)},
                    {"alpha_one_fraction", m == 0 ? 1 : 0.1 + 0.4 * std::exp(-epoch / 10.0)}};
      };
      log += Json{{"event", "epoch"},
                  {"run", run},
                  {"epoch", epoch},
                  {"train", parts(0)},
                  {"valid", parts(0.3 + 0.05 * seed + 0.1 * split)},
                  {"learning_rate", 1e-3}}
                 .dump() +
             "\n";
    }
    add_metrics(run, m, seed, split);
  }

  void add_metrics(const std::string& run, std::size_t m, int seed, int split) {
    const Model& model = models[m];
    const int n_latents = model.n_latents;
    const double error = 12.5 + 9 * static_cast<double>(m) + 1.1 * seed + 1.7 * split;
    const auto collapse = [&](double shift) {
      Json per_latent = Json::array();
      for (int k = 0; k < n_latents; ++k)
        per_latent.push_back({{"label_weight", 0.15 + 0.2 * static_cast<double>(m) + 0.08 * k + 0.02 * seed + shift},
                              {"kl_encoder", 2.1 - 0.5 * static_cast<double>(m) - 0.3 * k},
                              {"kl_posterior", 1.6 - 0.35 * static_cast<double>(m) - 0.3 * k}});
      return Json{{"label_weight", 0.2 + 0.2 * static_cast<double>(m) + 0.02 * seed + shift},
                  {"active_units", n_latents},
                  {"latents", per_latent}};
    };
    metrics["runs"].push_back({{"run", run},
                               {"subject", subject},
                               {"model", model.name},
                               {"objective", model.name},
                               {"seed", seed},
                               {"split", split},
                               {"target", "window-sum"},
                               {"metrics", {{"encoder", scores(error, 0)}, {"posterior", scores(error / 3, 0)}}},
                               {"agreement", 0.95 - 0.3 * static_cast<double>(m) - 0.01 * seed},
                               {"collapse", {{"valid", collapse(0.3)}, {"test", collapse(0)}}},
                               {"training",
                                {{"best_epoch", n_epochs - 4 + seed},
                                 {"kept_epoch", n_epochs - 3 + seed},
                                 {"epochs", n_epochs},
                                 {"initial_valid_loss", 9.5},
                                 {"best_valid_loss", 5.5},
                                 {"kept_valid_loss", 6.5 + 0.01 * seed},
                                 {"nonfinite_steps", 0},
                                 {"fleet_seconds", 41.5 + 60 * static_cast<double>(m)},
                                 {"fleet_size", n_seeds * n_splits},
                                 {"parameters", 91234}}}});
  }
};

}  // namespace idem
