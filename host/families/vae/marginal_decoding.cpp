#include "host/families/vae/marginal_decoding.h"

#include <algorithm>
#include <cmath>
#include <iterator>
#include <numeric>
#include <span>
#include <string>
#include <tuple>

#include "engine/families/vae/marginal_likelihood.h"
#include "host/evaluation/decoding_scores.h"
#include "kernels/common/to_size.h"

namespace idem {
namespace {

constexpr std::size_t kMostLikelihoods = std::size_t{1} << 27;  // half a GB of floats

// Values of each label of the grid.
std::vector<std::vector<double>> values_of_labels(const Recording& recording, const std::vector<std::int32_t>& bins,
                                                  int n_values) {
  const auto n_shared = std::count_if(recording.labels.begin(), recording.labels.end(),
                                      [](const LabelColumn& label) { return label.kind != LabelKind::categorical; });
  // A root that is whole comes out a rounding below itself.
  const int n_each = std::max(
      2, static_cast<int>(std::pow(n_values, 1.0 / static_cast<double>(std::max<std::ptrdiff_t>(1, n_shared))) + 1e-9));
  std::vector<std::vector<double>> values;
  for (const auto& label : recording.labels) {
    auto& list = values.emplace_back();
    if (label.kind == LabelKind::categorical) {
      for (std::size_t category = 0; category < label.categories.size(); ++category)
        list.push_back(static_cast<double>(category));
    } else if (label.kind == LabelKind::circular) {
      for (int i = 0; i < n_each; ++i) list.push_back(label.period * i / n_each);
    } else {
      const auto value = [&](std::int32_t bin) { return label.values[to_size(bin)]; };
      const auto [low, high] =
          std::minmax_element(bins.begin(), bins.end(), [&](auto a, auto b) { return value(a) < value(b); });
      for (int i = 0; i < n_each; ++i) list.push_back(value(*low) + (value(*high) - value(*low)) * i / (n_each - 1));
    }
  }
  return values;
}

// log of the mean of e to those values.
double log_mean(std::span<const double> values) {
  const double largest = *std::max_element(values.begin(), values.end());
  if (!std::isfinite(largest)) return largest;
  double sum = 0;
  for (const double value : values) sum += std::exp(value - largest);
  return largest + std::log(sum / static_cast<double>(values.size()));
}

// The blocks of nodes that an estimate is made of: all first, then every half of them.
std::vector<std::vector<std::size_t>> halves_of(std::size_t n_blocks) {
  std::vector<std::vector<std::size_t>> sets(1);
  for (std::size_t block = 0; block < n_blocks; ++block) sets.front().push_back(block);
  for (unsigned chosen = 0; n_blocks > 1 && chosen < 1u << n_blocks; ++chosen) {
    std::vector<std::size_t> half;
    for (std::size_t block = 0; block < n_blocks; ++block)
      if (chosen >> block & 1u) half.push_back(block);
    if (2 * half.size() == n_blocks) sets.push_back(std::move(half));
  }
  return sets;
}

// The decoded labels of a part's bins [bins x labels] by each of those estimates; empty where a likelihood is NaN.
using Decoded = std::vector<std::vector<double>>;
Decoded decode(Device& device, const DecodingModel& model, const FleetData& data, const std::vector<std::int32_t>& rows,
               const Recording& grid, const LabelCandidates& candidates) {
  const auto n_blocks = to_size(candidates.nodes.values.empty() ? 1 : candidates.nodes.n_blocks);
  const auto n_candidates = to_size(grid.n_times), n_groups = n_candidates * n_blocks;
  const auto sets = halves_of(n_blocks);
  Decoded decoded(sets.size());
  std::vector<double> of_blocks;
  // Not all bins at once: of each there is a value for every candidate.
  for (std::size_t begin = 0, n; begin < rows.size(); begin += n) {
    n = std::min(rows.size() - begin, std::max<std::size_t>(1024, kMostLikelihoods / n_groups));
    const std::vector<std::int32_t> some(rows.begin() + static_cast<std::ptrdiff_t>(begin),
                                         rows.begin() + static_cast<std::ptrdiff_t>(begin + n));
    const std::vector<float> likelihood =
        marginal_log_likelihoods(device, model.design, model.parameters, data, some, candidates);
    if (std::any_of(likelihood.begin(), likelihood.end(), [](float value) { return std::isnan(value); })) return {};
    for (std::size_t row = 0; row < n; ++row)
      for (std::size_t set = 0; set < sets.size(); ++set) {
        std::size_t best = 0;
        double best_value = 0;
        for (std::size_t candidate = 0; candidate < n_candidates; ++candidate) {
          of_blocks.clear();
          for (const std::size_t block : sets[set])
            of_blocks.push_back(likelihood[row * n_groups + candidate * n_blocks + block]);
          const double value = of_blocks.size() == 1 ? of_blocks.front() : log_mean(of_blocks);
          if (candidate == 0 || value > best_value) best = candidate, best_value = value;
        }
        for (const auto& label : grid.labels) decoded[set].push_back(label.values[best]);
      }
  }
  return decoded;
}

// What the precision of a decoding is judged by, and whether it is small enough.
struct Change {
  std::string of;
  double value = 0, largest = 0;
};

// Of the position's errors in its unit the middle fifth's mean: the median where errors lie close. Of labels and
// candidates on a coarse grid a median stands still or jumps, whatever most bins do.
double middle_error(const LabelColumn& position, std::size_t label, const std::vector<double>& decoded,
                    const std::vector<std::int32_t>& bins) {
  std::vector<double> errors;
  const std::size_t n_labels = decoded.size() / bins.size();
  for (std::size_t i = 0; i < bins.size(); ++i) {
    const double a = decoded[i * n_labels + label], b = position.values[to_size(bins[i])];
    errors.push_back(distance_on_label(position, a, b));
  }
  std::sort(errors.begin(), errors.end());
  const std::size_t margin = 2 * errors.size() / 5;
  const auto first = errors.begin() + static_cast<std::ptrdiff_t>(margin),
             last = errors.end() - static_cast<std::ptrdiff_t>(margin);
  return std::accumulate(first, last, 0.0) / static_cast<double>(last - first);
}

// How far decoding by halves is from decoding by all.
Change change_by_halves(const Decoded& decoded, const std::vector<std::int32_t>& bins, const Recording& recording,
                        const DecodingOptions& options) {
  const auto n_halves = static_cast<double>(decoded.size() - 1);
  if (const LabelColumn* position = position_label(recording, options.position_label)) {
    const PositionError of_position = position_error_of(*position);
    const auto error = [&, scale = of_position.scale](const std::vector<double>& values) {
      return scale * middle_error(*position, to_size(position - recording.labels.data()), values, bins);
    };
    const double of_all = error(decoded.front());
    double squares = 0;
    for (std::size_t half = 1; half < decoded.size(); ++half) squares += std::pow(error(decoded[half]) - of_all, 2);
    return {of_position.key, std::sqrt(squares / n_halves), kLargestChange * of_all};
  }
  const auto n_labels = static_cast<std::ptrdiff_t>(recording.labels.size());
  double n_others = 0;
  for (std::size_t half = 1; half < decoded.size(); ++half)
    for (std::ptrdiff_t first = 0; first < std::ssize(decoded.front()); first += n_labels) {
      const auto all = decoded.front().begin() + first;
      n_others += !std::equal(all, all + n_labels, decoded[half].begin() + first);
    }
  return {"direction_accuracy", n_others / n_halves / static_cast<double>(bins.size()), kLargestChange};
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
      column.push_back(values[label][to_size(point / repeats) % values[label].size()]);
  }
  return grid;
}

nlohmann::json decode_by_marginal_likelihood(Device& device, const DecodingModel& model, const FleetData& data,
                                             const Split& rows, const Recording& recording, const Split& split,
                                             const DecodingOptions& options, std::vector<double>* of_test) {
  const auto& seen = model.preparation.labels;
  const bool sees_all = std::all_of(recording.labels.begin(), recording.labels.end(), [&](const LabelColumn& label) {
    return std::find(seen.begin(), seen.end(), label.name) != seen.end();
  });
  const bool sees_others = seen.size() > recording.labels.size();  // time, where it was not measured
  const bool asks_for_none = options.marginal_draws && *options.marginal_draws < 1;
  if (asks_for_none || recording.labels.empty() || !sees_all || sees_others || split.train.empty())
    return nlohmann::json::object();
  const Recording grid = label_grid(recording, split.train, options.marginal_candidates);
  if (grid.n_times > kMostCandidates) return nlohmann::json::object();

  LabelFeatures features = encode_labels(grid, seen);
  const auto n_features = to_size(features.n_features);
  for (std::size_t i = 0; i < features.values.size(); ++i)
    features.values[i] =
        static_cast<float>((static_cast<double>(features.values[i]) - model.scaling.mean[i % n_features]) /
                           model.scaling.scale[i % n_features]);
  LabelCandidates candidates{.n_candidates = grid.n_times,
                             .labels = std::move(features.values),
                             .n_draws = options.marginal_draws.value_or(0),
                             .seed = model.seed};
  const std::tuple<const char*, const std::vector<std::int32_t>*, const std::vector<std::int32_t>*> parts[] = {
      {"valid", &split.valid, &rows.valid}, {"test", &split.test, &rows.test}};
  for (std::int32_t n_nodes = kFewestNodes;; n_nodes *= 2) {
    const bool is_open = !options.marginal_draws;
    if (is_open)
      candidates.nodes = model.design.n_latents <= 3 ? lattice_nodes(model.design.n_latents, n_nodes)
                                                     : drawn_nodes(model.design.n_latents, n_nodes, model.seed);
    const std::int64_t n_draws =
        is_open ? std::count_if(candidates.nodes.log_weights.begin(), candidates.nodes.log_weights.end(),
                                [](float weight) { return std::isfinite(weight); })
                : candidates.n_draws;
    nlohmann::json result = {{"candidates", grid.n_times}, {"draws", n_draws}}, error;
    bool is_converged = true;
    const bool is_last = !is_open || 2 * n_nodes > kMostNodes;
    for (const auto& [part, bins, part_rows] : parts) {
      if (bins->empty() || (!is_converged && !is_last)) continue;
      const Decoded decoded = decode(device, model, data, *part_rows, grid, candidates);
      if (decoded.empty()) return nlohmann::json::object();
      score_decoded(result, part, decoded.front(), *bins, recording, options);
      if (of_test && bins == &split.test) *of_test = decoded.front();
      if (!is_open) continue;
      const Change change = change_by_halves(decoded, *bins, recording, options);
      error["of"] = change.of;
      error[part] = change.value;
      is_converged = is_converged && change.value <= change.largest;
    }
    if (!is_converged && !is_last) continue;
    if (!is_open) return result;
    error["is_converged"] = is_converged;
    result["numerical_error"] = std::move(error);
    return result;
  }
}

}  // namespace idem
