#include "host/preparation/preparation.h"

#include <cmath>
#include <limits>
#include <numeric>

#include <fmt/format.h>

#include "host/support/errors.h"
#include "host/support/json_fields.h"
#include "host/support/named.h"
#include "kernels/common/to_size.h"

namespace idem {
namespace {

using nlohmann::json;

}  // namespace

json Preparation::to_json() const {
  return {{"windows", {{"left", left}, {"right", right}, {"edges", to_string(edges)}}},
          {"smoothing",
           {{"kind", to_string(smoothing)},
            {"sigma_bins", sigma_bins > 0 ? json(sigma_bins) : json()},
            {"sigma_ms", sigma_ms > 0 ? json(sigma_ms) : json()},
            {"edges", smoothing_edges},
            {"normalise", normalise}}},
          {"input", windowed_input ? "window" : "smoothed"},
          {"transform", square_root ? "square-root" : "none"},
          {"target", to_string(target)},
          {"labels", labels},
          {"standardise_labels", standardise_labels}};
}

Preparation Preparation::from_json(const json& json_object) {
  constexpr std::int64_t most_bins = 100000;  // as configs/idem.schema.json allows
  constexpr double smallest = std::numeric_limits<double>::denorm_min(), largest = std::numeric_limits<double>::max();
  const JsonFields from(json_object, "preparation"), windows = from.fields("windows"),
                                                     smoothing = from.fields("smoothing");
  Preparation preparation;
  preparation.left = windows.size("left", 0, most_bins);
  preparation.right = windows.size("right", 1, most_bins);
  preparation.edges = named<EdgePolicy>(windows.text("edges"));
  preparation.smoothing = named<SmoothingKind>(smoothing.text("kind"));
  if (!smoothing.at("sigma_bins").is_null()) preparation.sigma_bins = smoothing.number("sigma_bins", smallest, largest);
  if (!smoothing.at("sigma_ms").is_null()) preparation.sigma_ms = smoothing.number("sigma_ms", smallest, largest);
  preparation.smoothing_edges = smoothing.text("edges");
  named<EdgeMode>(preparation.smoothing_edges);
  preparation.normalise = smoothing.boolean("normalise");
  preparation.windowed_input =
      from.text_or("input", "smoothed") == "window";  // models saved before there were windows say nothing
  preparation.square_root = from.text("transform") == "square-root";
  preparation.target = named<TargetKind>(from.text("target"));
  if (!from.at("labels").is_null()) preparation.labels = from.texts("labels");
  preparation.standardise_labels = from.boolean("standardise_labels");
  return preparation;
}

Taps smoothing_taps(const Preparation& preparation, double bin_width_s) {
  if (preparation.smoothing == SmoothingKind::none) return {0, {1.0f}};
  std::vector<double> weights;
  std::int32_t left = preparation.left;
  if (preparation.smoothing == SmoothingKind::boxcar) {
    weights.assign(to_size(preparation.left + preparation.right), 1.0);
    if (!preparation.normalise) return {left, std::vector<float>(weights.size(), 1.0f)};
  } else {
    const double sigma =
        preparation.sigma_bins > 0 ? preparation.sigma_bins : preparation.sigma_ms / 1000 / bin_width_s;
    if (!(sigma > 0) || !std::isfinite(sigma))
      throw ConfigError("smoothing.sigma_bins: a Gaussian needs a width above 0, in bins or (sigma_ms) milliseconds");
    const double reach = 4 * sigma + 0.5;
    if (!(reach < 1e6))
      throw ConfigError(
          fmt::format("smoothing: sigma is {:g} bins, longer than any recording; is it in the right unit?", sigma));
    const auto radius = static_cast<std::int32_t>(reach);
    const auto weight = [&](double distance) { return std::exp(-0.5 * distance * distance / (sigma * sigma)); };
    if (preparation.smoothing == SmoothingKind::causal_half_gaussian) {
      left = radius;
      for (std::int32_t lag = radius; lag >= 0; --lag) weights.push_back(weight(lag));
    } else if (preparation.smoothing_edges == "window") {
      const std::int32_t length = preparation.left + preparation.right;
      for (std::int32_t j = 0; j < length; ++j) weights.push_back(weight(j - (length - 1) / 2.0));
    } else {
      left = radius;
      for (std::int32_t j = -radius; j <= radius; ++j) weights.push_back(weight(j));
    }
  }
  const double sum = std::accumulate(weights.begin(), weights.end(), 0.0);
  if (!(sum > 0))
    throw ConfigError("smoothing.sigma_bins: is so narrow that no bin of the window has any weight; raise it");
  Taps taps{left, {}};
  for (const double weight : weights) taps.weights.push_back(static_cast<float>(weight / sum));
  return taps;
}

double noise_on_input(const Preparation& preparation, double bin_width_s, double per_bin) {
  if (preparation.windowed_input) return per_bin;
  double squares = 0;
  for (const float weight : smoothing_taps(preparation, bin_width_s).weights)
    squares += static_cast<double>(weight) * weight;
  return per_bin * std::sqrt(squares);
}

bool Preparation::uses_window() const {
  const bool smooths_window = smoothing != SmoothingKind::none && edge_mode(*this) == EdgeMode::shift_window;
  return smooths_window || gathers_windows() || target == TargetKind::window_sum;
}

EdgeMode edge_mode(const Preparation& preparation) { return named<EdgeMode>(preparation.smoothing_edges); }

}  // namespace idem
