#include "host/recordings/plausibility.h"

#include <fmt/format.h>
#include <fmt/ranges.h>

#include <algorithm>
#include <array>
#include <cmath>
#include <limits>
#include <nlohmann/json.hpp>
#include <unordered_set>

#include "host/support/errors.h"
#include "host/recordings/read_sources.h"
#include "kernels/common/to_size.h"

namespace idem {
namespace {

using Json = nlohmann::json;

constexpr double lowest_mean_hz = 0.01, longest_median_gap_s = 30, longest_s = 2 * 86400;
constexpr const char* insist = "or, if it is so, set recording.accept to [\"low-rate\"]";

struct Firing {
  std::vector<std::pair<std::int64_t, double>> spikes;  // unit and time, sorted
  std::size_t n_units = 0;
  double duration_s = 0, mean_hz = 0, median_gap_s = 0;
  bool all_whole = true;
};

// Of the spikes that are kept, between the first and the last of them: an offset of the clock does not count.
Firing firing_of(const SpikeTimes& spikes, const Binning& binning) {
  Firing firing;
  const double ticks_per_s = spikes.sampling_rate_hz > 0 ? spikes.sampling_rate_hz : 1;
  const std::unordered_set<std::int64_t> kept(binning.units.begin(), binning.units.end());
  double first = std::numeric_limits<double>::infinity(), last = -first;
  for (std::size_t spike = 0; spike < std::min(spikes.times.size(), spikes.units.size()); ++spike) {
    const double time = spikes.times[spike];
    if (!std::isfinite(time) || (!kept.empty() && !kept.count(spikes.units[spike]))) continue;
    if ((binning.start_s && time < *binning.start_s * ticks_per_s) ||
        (binning.stop_s && time >= *binning.stop_s * ticks_per_s))
      continue;
    firing.spikes.emplace_back(spikes.units[spike], time);
    firing.all_whole = firing.all_whole && time == std::floor(time);
    first = std::min(first, time);
    last = std::max(last, time);
  }
  if (firing.spikes.empty()) return firing;
  std::sort(firing.spikes.begin(), firing.spikes.end());
  std::vector<double> gaps_s;
  firing.n_units = 1;
  for (std::size_t spike = 1; spike < firing.spikes.size(); ++spike) {
    if (firing.spikes[spike].first == firing.spikes[spike - 1].first)
      gaps_s.push_back((firing.spikes[spike].second - firing.spikes[spike - 1].second) / ticks_per_s);
    else
      ++firing.n_units;
  }
  if (!gaps_s.empty()) {
    std::nth_element(gaps_s.begin(), gaps_s.begin() + static_cast<std::ptrdiff_t>(gaps_s.size() / 2), gaps_s.end());
    firing.median_gap_s = gaps_s[gaps_s.size() / 2];
  }
  firing.duration_s = (last - first) / ticks_per_s;
  if (firing.duration_s > 0)
    firing.mean_hz =
        static_cast<double>(firing.spikes.size()) / static_cast<double>(firing.n_units) / firing.duration_s;
  return firing;
}

struct TimeUnit {
  double ticks_per_s;
  const char* name;
  bool is_sample;
};

// The units of time that give a rate neurons fire at, the likeliest first: "milliseconds (then 3.8 Hz)".
std::vector<std::pair<TimeUnit, double>> likely_units(const Firing& firing, double ticks_per_s) {
  constexpr double usual_hz = 3, lowest_hz = 0.05, highest_hz = 100;
  constexpr std::array<TimeUnit, 6> known = {{{1000, "milliseconds", false},
                                              {1e6, "microseconds", false},
                                              {1e9, "nanoseconds", false},
                                              {30000, "samples at 30000 Hz", true},
                                              {20000, "samples at 20000 Hz", true},
                                              {25000, "samples at 25000 Hz", true}}};
  std::vector<std::pair<TimeUnit, double>> likely;
  for (const auto& unit : known) {
    const double hz = firing.mean_hz * unit.ticks_per_s / ticks_per_s;
    if (hz >= lowest_hz && hz <= highest_hz && !(unit.is_sample && !firing.all_whole)) likely.emplace_back(unit, hz);
  }
  const auto distance = [&](double hz) {
    return std::floor(std::abs(std::log(hz / usual_hz)));
  };  // rates a factor e apart are alike
  std::stable_sort(likely.begin(), likely.end(),
                   [&](const auto& a, const auto& b) { return distance(a.second) < distance(b.second); });
  return likely;
}

// Mean over neurons of whole counts, NaN where there are others.
double mean_rate_hz(const Recording& recording) {
  double sum = 0;
  for (const float count : recording.counts) {
    if (count < 0 || count != std::floor(count)) return std::nan("");
    sum += count;
  }
  return sum / recording.n_neurons / (recording.n_times * recording.bin_width_s);
}

}  // namespace

bool is_accepted(const Json& section, const std::string& check) {
  const auto names =
      option<std::vector<std::string>>(section, "accept", "recording").value_or(std::vector<std::string>{});
  for (const auto& name : names)
    if (name != "low-rate")
      throw ConfigError(fmt::format("recording.accept: \"{}\" is no check; there is \"low-rate\"", one_line(name)));
  return std::find(names.begin(), names.end(), check) != names.end();
}

void require_plausible_times(const SpikeTimes& spikes, const Binning& binning) {
  const Firing firing = firing_of(spikes, binning);
  const bool is_plausible =
      firing.mean_hz >= lowest_mean_hz && firing.median_gap_s <= longest_median_gap_s && firing.duration_s <= longest_s;
  if (!(firing.duration_s > 0) || is_plausible) return;
  const double ticks_per_s = spikes.sampling_rate_hz > 0 ? spikes.sampling_rate_hz : 1;
  const auto likely = likely_units(firing, ticks_per_s);
  std::vector<std::string> guesses;
  for (const auto& [unit, hz] : likely) guesses.push_back(fmt::format("{} ({:.2g} Hz)", unit.name, hz));
  const std::string remedy =
      likely.empty() ? "are they in another unit? Set recording.spikes.sampling_rate_hz to the ticks of a second"
                     : fmt::format("are they {}? Then set recording.spikes.sampling_rate_hz to {:g}",
                                   fmt::join(guesses, ", or "), likely.front().first.ticks_per_s);
  const std::string taken =
      spikes.sampling_rate_hz > 0 ? fmt::format("samples at {:g} Hz", spikes.sampling_rate_hz) : "seconds";
  throw DataError(
      fmt::format("{}: {} spikes of {} unit{} in {:.4g} s are {:.2g} Hz each (half of the intervals last over {:.2g} "
                  "s) where the times are {}: {}, {}",
                  spikes.where, firing.spikes.size(), firing.n_units, firing.n_units == 1 ? "" : "s", firing.duration_s,
                  firing.mean_hz, firing.median_gap_s, taken, remedy, insist));
}

void require_plausible_counts(const Recording& recording, const std::string& where) {
  const double hz = mean_rate_hz(recording);
  if (!(hz > 0 && hz < lowest_mean_hz)) return;
  throw DataError(
      fmt::format("{}: {} neurons in {} bins of {:g} ms fire {:.2g} Hz in the mean: is recording.bin_width_ms in ms "
                  "(in µs it would be {:g} "
                  "and they would fire {:.2g} Hz)? Correct it, {}",
                  where, recording.n_neurons, recording.n_times, 1000 * recording.bin_width_s, hz,
                  recording.bin_width_s, 1000 * hz, insist));
}

std::vector<std::string> doubts_of(const Recording& recording) {
  // No neuron and hardly a cluster of neurons fires faster; nor does a population in the mean.
  constexpr double impossible_rate_hz = 2000, impossible_mean_hz = 1000;
  std::vector<std::string> doubts = recording.warnings;
  if (recording.n_neurons > recording.n_times)
    doubts.push_back(
        fmt::format("{} neurons of {} bins: are the counts [neuron x time]? They are read as [time x neuron] "
                    "(recording.counts.transpose)",
                    recording.n_neurons, recording.n_times));
  if (recording.n_true_latents > 0) return doubts;
  const auto largest = std::max_element(recording.counts.begin(), recording.counts.end());
  if (*largest > impossible_rate_hz * recording.bin_width_s) {
    const auto place = largest - recording.counts.begin(), neuron = place % recording.n_neurons;
    doubts.push_back(fmt::format(
        "neuron {} has a count of {:g} in bin {} of {:g} ms, more than any neuron fires: are these spike counts?",
        recording.neuron_ids.empty() ? neuron : recording.neuron_ids[to_size(neuron)], *largest,
        place / recording.n_neurons, 1000 * recording.bin_width_s));
  }
  if (const double hz = mean_rate_hz(recording); hz > impossible_mean_hz)
    doubts.push_back(
        fmt::format("the neurons fire {:.3g} Hz in the mean: are recording.bin_width_ms and the unit of the times "
                    "(spikes.sampling_rate_hz) right?",
                    hz));
  return doubts;
}

}  // namespace idem
