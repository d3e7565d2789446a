#include "host/marginal_decoding.h"

#include <algorithm>
#include <cmath>

#include "engine/marginal_likelihood.h"

namespace idem {
namespace {

constexpr std::size_t kMostLikelihoods = std::size_t{1} << 27;  // half a GB of floats

// Values of each label of the grid.
std::vector<std::vector<double>> values_of_labels(const Recording& recording, const std::vector<std::int32_t>& bins, int n_values) {
  const auto n_shared = std::count_if(recording.labels.begin(), recording.labels.end(),
                                      [](const LabelColumn& label) { return label.kind != LabelKind::categorical; });
  // A root that is whole comes out a rounding below itself.
  const int n_each =
      std::max(2, static_cast<int>(std::pow(n_values, 1.0 / static_cast<double>(std::max<std::ptrdiff_t>(1, n_shared))) + 1e-9));
  std::vector<std::vector<double>> values;
  for (const auto& label : recording.labels) {
    auto& list = values.emplace_back();
    if (label.kind == LabelKind::categorical) {
      for (std::size_t category = 0; category < label.categories.size(); ++category) list.push_back(static_cast<double>(category));
    } else if (label.kind == LabelKind::circular) {
      for (int i = 0; i < n_each; ++i) list.push_back(label.period * i / n_each);
    } else {
      const auto value = [&](std::int32_t bin) { return label.values[static_cast<std::size_t>(bin)]; };
      const auto [low, high] = std::minmax_element(bins.begin(), bins.end(), [&](auto a, auto b) { return value(a) < value(b); });
      for (int i = 0; i < n_each; ++i) list.push_back(value(*low) + (value(*high) - value(*low)) * i / (n_each - 1));
    }
  }
  return values;
}

}  // namespace

Recording label_grid(const Recording& recording, const std::vector<std::int32_t>& bins, int n_values) {
  const auto values = values_of_labels(recording, bins, n_values);
  Recording grid;
  grid.subject = recording.subject;
  grid.labels = recording.labels;
  double n_points = 1;
  for (const auto& list : values) n_points *= static_cast<double>(list.size());
  grid.n_times = static_cast<std::int32_t>(std::min(n_points, 2e9));
  if (grid.n_times > kMostCandidates) return grid;
  std::int32_t repeats = grid.n_times;
  for (std::size_t label = 0; label < values.size(); ++label) {
    repeats /= static_cast<std::int32_t>(values[label].size());
    auto& column = grid.labels[label].values;
    column.clear();
    for (std::int32_t point = 0; point < grid.n_times; ++point)
      column.push_back(values[label][static_cast<std::size_t>(point / repeats) % values[label].size()]);
  }
  return grid;
}

nlohmann::json decode_by_marginal_likelihood(Device& device, const DecodingModel& model, const FleetData& data, const Split& rows,
                                             const Recording& recording, const Split& split, const DecodingOptions& options) {
  const auto& seen = model.preparation.labels;
  const bool sees_all = std::all_of(recording.labels.begin(), recording.labels.end(), [&](const LabelColumn& label) {
    return std::find(seen.begin(), seen.end(), label.name) != seen.end();
  });
  const bool sees_others = seen.size() > recording.labels.size();  // time, where it was not measured
  if (options.marginal_draws < 1 || recording.labels.empty() || !sees_all || sees_others || split.train.empty()) return nlohmann::json::object();
  const Recording grid = label_grid(recording, split.train, options.marginal_candidates);
  if (grid.n_times > kMostCandidates) return nlohmann::json::object();

  LabelFeatures features = encode_labels(grid, seen);
  const auto n_features = static_cast<std::size_t>(features.n_features);
  for (std::size_t i = 0; i < features.values.size(); ++i)
    features.values[i] = static_cast<float>((static_cast<double>(features.values[i]) - model.scaling.mean[i % n_features]) /
                                            model.scaling.scale[i % n_features]);
  const LabelCandidates candidates{
      .n_candidates = grid.n_times, .labels = std::move(features.values), .n_draws = options.marginal_draws, .seed = model.seed};
  nlohmann::json result = {{"candidates", grid.n_times}, {"draws", options.marginal_draws}};
  for (const auto& [part, bins, part_rows] : {std::tuple("valid", &split.valid, &rows.valid), std::tuple("test", &split.test, &rows.test)}) {
    std::vector<double> decoded;
    for (std::size_t begin = 0, n; begin < part_rows->size(); begin += n) {  // not all bins at once: of each there is a value for every candidate
      n = std::min(part_rows->size() - begin, std::max<std::size_t>(1024, kMostLikelihoods / static_cast<std::size_t>(grid.n_times)));
      const std::vector<std::int32_t> some(part_rows->begin() + static_cast<std::ptrdiff_t>(begin), part_rows->begin() + static_cast<std::ptrdiff_t>(begin + n));
      const std::vector<float> likelihood = marginal_log_likelihoods(device, model.design, model.parameters, data, some, candidates);
      if (std::any_of(likelihood.begin(), likelihood.end(), [](float value) { return std::isnan(value); })) return nlohmann::json::object();
      for (std::size_t row = 0; row < n; ++row) {
        const auto own = likelihood.begin() + static_cast<std::ptrdiff_t>(row) * grid.n_times;
        const auto best = static_cast<std::size_t>(std::max_element(own, own + grid.n_times) - own);
        for (const auto& label : grid.labels) decoded.push_back(label.values[best]);
      }
    }
    score_decoded(result, part, decoded, *bins, recording, options);
  }
  return result;
}

}  // namespace idem
