// preparation.h - how counts and labels become a model's input: what is chosen in a configuration and saved with a
// model.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include <nlohmann/json.hpp>

#include "host/preparation/splits.h"
#include "kernels/input/input.h"

namespace idem {

enum class SmoothingKind { boxcar, gaussian, causal_half_gaussian, none };
template <>
struct EnumNames<SmoothingKind> {
  static constexpr const char* what = "smoothing.kind";
  static constexpr EnumName<SmoothingKind> all[] = {{SmoothingKind::boxcar, "boxcar"},
                                                    {SmoothingKind::gaussian, "gaussian"},
                                                    {SmoothingKind::causal_half_gaussian, "causal-half-gaussian"},
                                                    {SmoothingKind::none, "none"}};
};
enum class TargetKind { window_sum, centre_bin, window, smoothed };  // window: every bin of it; the engine gathers them
template <>
struct EnumNames<TargetKind> {
  static constexpr const char* what = "observation.target";
  static constexpr EnumName<TargetKind> all[] = {{TargetKind::window_sum, "window-sum"},
                                                 {TargetKind::centre_bin, "centre-bin"},
                                                 {TargetKind::window, "window"},
                                                 {TargetKind::smoothed, "smoothed"}};
};

// How counts and labels become a model's input. Saved with the model, so that new recordings are prepared alike.
struct Preparation {
  std::int32_t left = 5, right = 5;  // the window of bin t: bins t - left ... t + right - 1
  EdgePolicy edges = EdgePolicy::segment_clamped;

  SmoothingKind smoothing = SmoothingKind::boxcar;
  double sigma_bins = 0, sigma_ms = 0;     // Gaussians: one of them is positive
  std::string smoothing_edges = "window";  // or one of scipy.ndimage's modes
  bool normalise = false;

  bool windowed_input =
      false;  // the encoder sees the bins of the window one by one (temporal convolution), not their smoothed counts
  bool square_root = false;
  TargetKind target = TargetKind::window_sum;

  bool uses_window() const;  // the input or target of a bin reads the bins of its window
  bool gathers_windows() const { return windowed_input || target == TargetKind::window; }

  std::vector<std::string> labels;  // empty only until the recording is known: all it has (model_for)
  bool standardise_labels = true;

  nlohmann::json to_json() const;
  static Preparation from_json(
      const nlohmann::json& json);  // throws std::invalid_argument naming the key, ConfigError for unknown names
};

// The weights of the smoothing, in ascending time; tap j reads bin t - left + j.
struct Taps {
  std::int32_t left = 0;
  std::vector<float> weights;
};
// Gaussian in the window: exp(-(j - centre)^2 / 2 sigma^2) about the window's middle. With scipy's edges the taps are
// those of scipy.ndimage.gaussian_filter1d (truncate = 4). Throws ConfigError when sigma is missing.
Taps smoothing_taps(const Preparation& preparation, double bin_width_s);

// Standard deviation of the noise on the encoder's input that equals independent noise of per_bin on every bin before
// the taps (if it has any).
double noise_on_input(const Preparation& preparation, double bin_width_s, double per_bin);

EdgeMode edge_mode(const Preparation& preparation);

}  // namespace idem
