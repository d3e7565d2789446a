#include "host/study/data_info.h"

#include <fmt/format.h>

#include <algorithm>
#include <cmath>
#include <nlohmann/json.hpp>
#include <numeric>

#include "host/support/cells.h"
#include "host/support/errors.h"
#include "host/support/one_line.h"
#include "host/recordings/plausibility.h"
#include "kernels/common/to_size.h"

namespace idem {
namespace {

using nlohmann::json;

// Faster than a principal cell fires over a whole session: an interneuron, several cells in one cluster, or noise.
// Worth a look, not an error.
constexpr double hot_rate_hz = 30;
constexpr std::size_t raster_columns = 80, raster_rows = 24;

std::string bar(double fraction) {
  static const char* const levels[] = {" ",      "\u2581", "\u2582", "\u2583", "\u2584",
                                       "\u2585", "\u2586", "\u2587", "\u2588"};
  return levels[fraction > 0 ? std::lround(std::min(fraction, 1.0) * 8) : 0];
}

std::string shade(double fraction) {
  static const char* const levels[] = {" ", "\u2591", "\u2592", "\u2593", "\u2588"};
  return levels[fraction <= 0 ? 0 : std::clamp(1 + static_cast<int>(fraction * 4), 1, 4)];
}

std::string histogram(const std::vector<double>& values, double low, double high) {
  constexpr std::int32_t n_columns = 24;
  std::vector<double> heights(n_columns, 0.0);
  for (const double value : values) {
    const double place = high > low ? (value - low) / (high - low) : 0.5;
    ++heights[to_size(cell_of(place, n_columns))];
  }
  const double tallest = *std::max_element(heights.begin(), heights.end());
  std::string text;
  for (const double height : heights) text += bar(height > 0 ? std::max(0.125, height / tallest) : 0);
  return text;
}

double quantile(std::vector<double> values, double fraction) {
  std::sort(values.begin(), values.end());
  const double place = fraction * static_cast<double>(values.size() - 1);
  const auto below = to_size(place);
  const auto above = std::min(below + 1, values.size() - 1);
  return values[below] + (place - static_cast<double>(below)) * (values[above] - values[below]);
}

std::string id_list(const json& ids) {
  if (ids.empty()) return "none";
  std::string text = std::to_string(ids.size()) + " (";
  for (std::size_t i = 0; i < std::min<std::size_t>(8, ids.size()); ++i) text += (i ? ", " : "") + ids[i].dump();
  return text + (ids.size() > 8 ? ", ...)" : ")");
}

// Rows are the most active neurons, columns equal stretches from the beginning of the recording; darker is more spikes.
std::string raster(const Recording& recording, const std::vector<double>& rates_hz) {
  // Compared as they are: bins may be so narrow that a quarter of a second has more of them than any whole number says.
  const double bins_per_quarter_s = std::ceil(0.25 / recording.bin_width_s);
  const std::size_t most_per_column = to_size(recording.n_times) / raster_columns;
  const std::size_t bins_per_column = std::max<std::size_t>(
      1, bins_per_quarter_s < static_cast<double>(most_per_column) ? to_size(bins_per_quarter_s) : most_per_column);
  const std::size_t n_columns = std::min(raster_columns, to_size(recording.n_times) / bins_per_column);
  std::vector<std::size_t> order(rates_hz.size());
  std::iota(order.begin(), order.end(), 0);
  std::stable_sort(order.begin(), order.end(),
                   [&](std::size_t a, std::size_t b) { return std::abs(rates_hz[a]) > std::abs(rates_hz[b]); });
  order.resize(std::min(raster_rows, order.size()));
  const double shown_s = static_cast<double>(n_columns * bins_per_column) * recording.bin_width_s;
  std::string text =
      fmt::format("\nThe {} most active neurons, first {:.1f} s ({:.0f} ms per character):\n", order.size(), shown_s,
                  static_cast<double>(bins_per_column) * recording.bin_width_s * 1000);
  const auto n_neurons = to_size(recording.n_neurons);
  for (const auto neuron : order) {
    std::vector<double> sums(n_columns, 0.0);
    for (std::size_t column = 0; column < n_columns; ++column)
      for (std::size_t bin = 0; bin < bins_per_column; ++bin)
        sums[column] += std::abs(recording.counts[(column * bins_per_column + bin) * n_neurons + neuron]);
    const double largest = std::max(1e-30, *std::max_element(sums.begin(), sums.end()));
    text += fmt::format(
        "{:>9} ", recording.neuron_ids.empty() ? static_cast<std::int64_t>(neuron) : recording.neuron_ids[neuron]);
    for (const double sum : sums) text += shade(sum / largest);
    text += "\n";
  }
  for (const auto& label : recording.labels) {
    const auto [low, high] = std::minmax_element(label.values.begin(), label.values.end());
    text += fmt::format("{:>9} ", one_line(label.name).substr(0, 9));
    for (std::size_t column = 0; column < n_columns; ++column) {
      const double value = label.values[column * bins_per_column + bins_per_column / 2];
      text += bar(*high > *low ? 0.125 + 0.875 * (value - *low) / (*high - *low) : 0.5);
    }
    text += "\n";
  }
  return text;
}

}  // namespace

json recording_info(const Recording& recording, const StudySplits& splits) {
  const auto n_times = to_size(recording.n_times), n_neurons = to_size(recording.n_neurons);
  const double duration_s = static_cast<double>(n_times) * recording.bin_width_s;
  std::vector<double> sums(n_neurons, 0.0);
  double largest = 0;
  std::size_t n_zero = 0;
  bool are_whole = !recording.has_negative_values;
  for (std::size_t i = 0; i < recording.counts.size(); ++i) {
    const double count = recording.counts[i];
    sums[i % n_neurons] += count;
    largest = std::max(largest, count);
    n_zero += count == 0;
    are_whole = are_whole && count == std::floor(count);
  }
  json info = {{"subject", recording.subject},
               {"n_times", n_times},
               {"n_neurons", n_neurons},
               {"bin_width_s", recording.bin_width_s},
               {"duration_s", duration_s}};
  info["n_spikes"] = std::accumulate(sums.begin(), sums.end(), 0.0);
  info["counts"] = {{"whole", are_whole},
                    {"max", largest},
                    {"zero_fraction", static_cast<double>(n_zero) / static_cast<double>(recording.counts.size())}};
  info["silent"] = info["hot"] = info["rates_hz"] = info["neuron_ids"] = json::array();
  for (std::size_t neuron = 0; neuron < n_neurons; ++neuron) {
    const auto id = recording.neuron_ids.empty() ? static_cast<std::int64_t>(neuron) : recording.neuron_ids[neuron];
    const double rate_hz = sums[neuron] / duration_s;
    info["rates_hz"].push_back(rate_hz);
    info["neuron_ids"].push_back(id);
    if (sums[neuron] == 0) info["silent"].push_back(id);
    if (rate_hz > hot_rate_hz && !recording.has_negative_values) info["hot"].push_back(id);
  }
  info["segments"] = json::array();
  for (const auto& segment : recording.segments) info["segments"].push_back({segment.begin, segment.end});
  info["labels"] = json::array();
  for (const auto& label : recording.labels) {
    json entry = {{"name", label.name}, {"kind", to_string(label.kind)}, {"unit", label.unit}};
    if (label.kind == LabelKind::categorical) {
      std::vector<double> fractions(label.categories.size(), 0.0);
      std::int64_t n_changes = 0;
      for (std::size_t time = 0; time < n_times; ++time) {
        fractions[to_size(label.values[time])] += 1.0 / static_cast<double>(n_times);
        n_changes += time > 0 && label.values[time] != label.values[time - 1];
      }
      entry["categories"] = label.categories;
      entry["fractions"] = fractions;
      entry["changes"] = n_changes;
    } else {
      const auto [low, high] = std::minmax_element(label.values.begin(), label.values.end());
      entry["min"] = *low;
      entry["max"] = *high;
      if (label.kind == LabelKind::circular) entry["period"] = label.period;
    }
    info["labels"].push_back(std::move(entry));
  }
  info["trials"] = info["splits"] = json::array();
  info["trials_from"] = splits.trials_from;
  for (const auto& trial : splits.trials) info["trials"].push_back({trial.begin, trial.end});
  for (std::size_t i = 0; i < splits.splits.size(); ++i) {
    const Split& split = splits.splits[i];
    info["splits"].push_back({{"number", splits.numbers[i]},
                              {"train", split.train.size()},
                              {"valid", split.valid.size()},
                              {"test", split.test.size()}});
  }
  info["notes"] = recording.notes;
  info["notes"].push_back(splits.note);
  info["warnings"] = doubts_of(recording);
  return info;
}

std::string describe_recording(const Recording& recording, const StudySplits& splits) {
  const json info = recording_info(recording, splits);
  const auto rates_hz = info["rates_hz"].get<std::vector<double>>();
  const double duration_s = info["duration_s"];
  std::string text = fmt::format("{}: {} neurons, {} bins of {:g} ms = {:.4g} s\n", recording.subject,
                                 recording.n_neurons, recording.n_times, recording.bin_width_s * 1000, duration_s);
  if (recording.has_negative_values) {
    text += "counts    none: real-valued observations (Gaussian models only)\n";
  } else {
    text += fmt::format("counts    {:.0f} spikes, {}, at most {:g} in a bin, {:.1f} % of all cells are 0\n",
                        info["n_spikes"].get<double>(),
                        info["counts"]["whole"].get<bool>() ? "whole" : "not whole (no Poisson model)",
                        info["counts"]["max"].get<double>(), 100 * info["counts"]["zero_fraction"].get<double>());
    text += fmt::format("rates     mean {:.2f} Hz, median {:.2f}, 5 % below {:.2f}, 5 % above {:.2f}\n",
                        std::accumulate(rates_hz.begin(), rates_hz.end(), 0.0) / static_cast<double>(rates_hz.size()),
                        quantile(rates_hz, 0.5), quantile(rates_hz, 0.05), quantile(rates_hz, 0.95));
    text += fmt::format("          silent: {}; above {:g} Hz: {}\n", id_list(info["silent"]), hot_rate_hz,
                        id_list(info["hot"]));
  }

  const auto& segments = recording.segments;
  text += fmt::format("segments  {}", segments.size());
  if (segments.size() == 1) {
    text += " (no gaps)\n";
  } else {
    auto shortest = segments[0].end - segments[0].begin, longest = shortest;
    for (const auto& segment : segments) {
      shortest = std::min(shortest, segment.end - segment.begin);
      longest = std::max(longest, segment.end - segment.begin);
    }
    text += longest == 1 ? " of one bin: independent draws"
                         : fmt::format(" of {} to {} bins, beginning at", shortest, longest);
    for (std::size_t segment = 0; longest > 1 && segment < std::min<std::size_t>(8, segments.size()); ++segment)
      text += fmt::format("{} {}", segment ? "," : " bins", segments[segment].begin);
    text += longest > 1 && segments.size() > 8 ? ", ...\n" : "\n";
  }

  for (std::size_t index = 0; index < recording.labels.size(); ++index) {
    const auto& label = recording.labels[index];
    const json& entry = info["labels"][index];
    text +=
        fmt::format("{:<10}{:<12} {:<11} ", index == 0 ? "labels" : "", one_line(label.name), to_string(label.kind));
    if (label.kind == LabelKind::categorical) {
      for (std::size_t category = 0; category < std::min<std::size_t>(4, label.categories.size()); ++category)
        text += fmt::format("{} {:.0f} %, ", one_line(label.categories[category]),
                            100 * entry["fractions"][category].get<double>());
      if (label.categories.size() > 4) text += fmt::format("{} in all, ", label.categories.size());
      text += fmt::format("{} changes\n", entry["changes"].get<std::int64_t>());
    } else {
      const double low = entry["min"], high = entry["max"];
      text += fmt::format("{:.4g} to {:.4g}{}{}", low, high, label.unit.empty() ? "" : " ", one_line(label.unit));
      if (label.kind == LabelKind::circular) text += fmt::format(" of a turn of {:.4g}", label.period);
      text += fmt::format("  |{}|\n", histogram(label.values, low, high));
    }
  }
  if (recording.labels.empty()) text += "labels    none\n";

  const auto& trials = info["trials"];
  if (!trials.empty()) {
    double shortest_s = duration_s, longest_s = 0;
    for (const auto& trial : trials) {
      const double length_s = (trial[1].get<double>() - trial[0].get<double>()) * recording.bin_width_s;
      shortest_s = std::min(shortest_s, length_s);
      longest_s = std::max(longest_s, length_s);
    }
    text += fmt::format("trials    {} ({}), {:.1f} to {:.1f} s\n", trials.size(),
                        one_line(info["trials_from"].get<std::string>()), shortest_s, longest_s);
  }
  for (const auto& split : info["splits"])
    text += fmt::format("split {}   {} train, {} valid, {} test bins\n", split["number"].get<int>(),
                        split["train"].get<int>(), split["valid"].get<int>(), split["test"].get<int>());
  for (const auto& note : info["notes"]) text += "note      " + note.get<std::string>() + "\n";
  for (const auto& warning : info["warnings"]) text += "warning   " + warning.get<std::string>() + "\n";
  return text + raster(recording, rates_hz);
}

}  // namespace idem
