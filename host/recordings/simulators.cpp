#include "host/recordings/simulators.h"

#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <cmath>
#include <nlohmann/json.hpp>
#include <numbers>

#include "host/support/errors.h"
#include "host/support/numpy_random.h"
#include "host/support/one_line.h"
#include "kernels/common/philox.h"
#include "kernels/common/to_size.h"

namespace idem {
namespace {

constexpr double pi = std::numbers::pi;

// What the draws of a simulation are for; part of every simulated recording, so append only.
enum class Purpose : std::uint32_t {
  behaviour = 0,
  tuning = 1,
  spikes = 2,
  flow = 3,
  labels = 4,
  latents = 5,
  noise = 6
};

// Numbers in sequence from one Philox stream. The whole sequence is a function of (seed, purpose, animal).
class Draws {
 public:
  Draws(std::uint64_t seed, Purpose purpose, std::uint32_t animal = 0)
      : seed_(seed), step_(animal * 16 + static_cast<std::uint32_t>(purpose)) {}

  double uniform() {  // (0, 1), 52 bits
    const std::uint64_t high = word() >> 6, low = word() >> 6;
    return (static_cast<double>((high << 26) | low) + 0.5) / 4503599627370496.0;
  }
  double uniform(double low, double high) { return low + (high - low) * uniform(); }
  bool chance(double probability) { return uniform() < probability; }
  double normal() {
    const double radius = std::sqrt(-2 * std::log(uniform()));
    return radius * std::cos(2 * pi * uniform());
  }
  double log_normal(double median, double sigma, double low, double high) {
    return std::clamp(median * std::exp(sigma * normal()), low, high);
  }
  std::int32_t poisson(double mean) {  // of a small mean
    const double limit = std::exp(-mean);
    std::int32_t count = 0;
    for (double product = uniform(); product > limit; product *= uniform()) ++count;
    return count;
  }

 private:
  std::uint32_t word() {
    if (next_ == 4) {
      words_ = random_words(seed_, RandomStream::simulation, step_, block_++);
      next_ = 0;
    }
    return words_.w[next_++];
  }
  std::uint64_t seed_;
  std::uint32_t step_, block_ = 0;
  PhiloxWords words_{};
  int next_ = 4;
};

struct Animal {
  const char* name;
  std::int32_t n_neurons, n_times;
};
constexpr std::array<Animal, 4> animals = {
    {{"achilles", 120, 10178}, {"buddy", 48, 6577}, {"cicero", 55, 47431}, {"gatsby", 66, 17026}}};

LabelColumn continuous_label(const std::string& name, const std::string& unit) {
  LabelColumn label;
  label.name = name;
  label.unit = unit;
  return label;
}
LabelColumn categorical_label(const std::string& name, std::vector<std::string> categories) {
  LabelColumn label;
  label.name = name;
  label.kind = LabelKind::categorical;
  label.categories = std::move(categories);
  return label;
}

// ---- the linear track ----

constexpr double track_m = 1.6;

struct Run {
  std::vector<double> position_m, speed_m_per_s;
  std::vector<char> is_left;
};

// Up and down the track, sampled per bin. The turn (where the direction label changes) is half way through the pause at
// an end.
Run run_on_track(Draws& draws, std::int32_t n_times, double bin_s) {
  Run run;
  const auto n = to_size(n_times);
  double position = draws.uniform(0.2, track_m - 0.2);
  bool is_left = draws.chance(0.5);
  const auto record = [&](double speed) {
    run.position_m.push_back(std::clamp(position, 0.0, track_m));
    run.speed_m_per_s.push_back(speed);
    run.is_left.push_back(is_left);
  };
  const auto stand = [&](int n_bins, bool turns) {
    for (int bin = 0; bin < n_bins && run.is_left.size() < n; ++bin) {
      if (turns && bin == n_bins / 2) is_left = !is_left;
      position = std::clamp(position + 0.002 * draws.normal(), 0.0, track_m);  // the head sways
      record(0.05 * draws.uniform());
    }
  };
  while (run.is_left.size() < n) {
    const double cruise = std::clamp(0.68 + 0.14 * draws.normal(), 0.35, 1.1);
    const double end =
        track_m - std::abs(0.015 * draws.normal());  // distance run before it turns: not always to the very end
    const double pause_at = draws.chance(0.1) ? draws.uniform(0.3, 1.3) : track_m;
    double drift = 0, covered = is_left ? track_m - position : position;
    bool has_paused = covered > pause_at;
    while (covered < end && run.is_left.size() < n) {
      drift += bin_s / 0.4 * (0 - drift) +
               0.25 * std::sqrt(2 * bin_s / 0.4) * draws.normal();  // slow changes of pace, about 25 %
      const double to_wall = std::min(covered, track_m - covered);
      const double speed =
          cruise * std::exp(drift) *
          std::min(1.0, std::sqrt((to_wall + 0.01) / 0.15));  // it takes 15 cm to speed up and to brake
      covered += speed * bin_s;
      position = is_left ? track_m - covered : covered;
      record(speed);
      if (!has_paused && covered > pause_at) {
        has_paused = true;
        stand(static_cast<int>(draws.uniform(0.3, 1.2) / bin_s), false);
        covered = is_left ? track_m - position : position;
      }
    }
    stand(2 + static_cast<int>(draws.log_normal(0.15, 0.7, 0.0, 3.0) / bin_s), true);
  }
  return run;
}

struct PlaceField {
  bool for_left = false;
  double centre_m = 0, width_m = 0, peak_hz = 0;
};
struct Cell {
  double base_hz = 0;
  double standing_gain = 0.35;  // rate while the animal stands, as a fraction of that while it runs
  std::vector<PlaceField> fields;
};

Cell draw_cell(Draws& draws) {
  Cell cell;
  const double kind = draws.uniform();
  if (kind < 0.06) {  // nearly silent
    cell.base_hz = 0.03;
    return cell;
  }
  if (kind < 0.12) {  // fast spiking: high rate, weak tuning
    cell.base_hz = draws.uniform(5, 14);
    cell.standing_gain = 0.8;
    cell.fields.push_back({draws.chance(0.5), draws.uniform(0, track_m), draws.uniform(0.3, 0.6), 4.0});
    return cell;
  }
  cell.base_hz = draws.log_normal(0.12, 0.7, 0.02, 0.8);
  const double preference =
      draws.uniform();  // 40 % fire on the way right only, 40 % left only, 20 % both ways, each at its own place
  for (const bool for_left : {false, true}) {
    if (for_left ? preference < 0.4 : (preference >= 0.4 && preference < 0.8)) continue;
    const double peak = draws.log_normal(4, 0.8, 0.2, 20);
    cell.fields.push_back({for_left, draws.uniform(0, track_m), draws.uniform(0.07, 0.17), peak});
    if (draws.chance(0.2))
      cell.fields.push_back({for_left, draws.uniform(0, track_m), draws.uniform(0.07, 0.17), 0.5 * peak});
  }
  return cell;
}

double rate_hz(const Cell& cell, double pass_gain, double position_m, double speed_m_per_s, bool is_left) {
  double field_hz = 0;
  for (const auto& field : cell.fields) {
    const double away = (position_m - field.centre_m) / field.width_m;
    if (field.for_left == is_left) field_hz += field.peak_hz * std::exp(-0.5 * away * away);
  }
  const double gain = cell.standing_gain + (1 - cell.standing_gain) * std::min(1.0, speed_m_per_s / 0.25);
  return std::min(20.0, cell.base_hz + pass_gain * gain * field_hz);
}

Recording simulate_track(const Simulation& simulation) {
  const auto found = std::find_if(animals.begin(), animals.end(),
                                  [&](const Animal& animal) { return simulation.animal == animal.name; });
  if (found == animals.end())
    throw ConfigError("recording.simulate.animal: \"" + one_line(simulation.animal) +
                      "\" is unknown; animals are achilles, buddy, cicero and gatsby");
  const auto animal = static_cast<std::uint32_t>(found - animals.begin());
  Recording recording;
  recording.subject = std::string("sim-") + found->name;
  recording.bin_width_s = 0.025;
  recording.n_times = simulation.n_times.value_or(found->n_times);
  recording.n_neurons = simulation.n_neurons.value_or(found->n_neurons);
  recording.segments = {{0, recording.n_times}};
  Draws behaviour(simulation.seed, Purpose::behaviour, animal), tuning(simulation.seed, Purpose::tuning, animal),
      spikes(simulation.seed, Purpose::spikes, animal);
  const Run run = run_on_track(behaviour, recording.n_times, recording.bin_width_s);
  std::vector<Cell> cells;
  for (std::int32_t neuron = 0; neuron < recording.n_neurons; ++neuron) cells.push_back(draw_cell(tuning));
  auto position = continuous_label("position", "m");
  auto direction = categorical_label("direction", {"right", "left"});
  recording.n_true_latents = 2;
  std::vector<double> pass_gains(cells.size());
  for (std::size_t time = 0; time < run.is_left.size(); ++time) {
    const bool is_left = run.is_left[time];
    // Place cells fire far more variably from pass to pass than a Poisson process (Fenton & Muller 1998): a gain of
    // mean 1 and variance 1/2 per pass.
    if (time == 0 || run.is_left[time - 1] != run.is_left[time])
      for (double& gain : pass_gains) gain = -0.5 * std::log(spikes.uniform() * spikes.uniform());
    for (std::size_t neuron = 0; neuron < cells.size(); ++neuron) {
      const double rate =
          rate_hz(cells[neuron], pass_gains[neuron], run.position_m[time], run.speed_m_per_s[time], is_left);
      recording.counts.push_back(static_cast<float>(spikes.poisson(rate * recording.bin_width_s)));
    }
    position.values.push_back(run.position_m[time]);
    direction.values.push_back(is_left ? 1 : 0);
    recording.true_latents.insert(recording.true_latents.end(), {run.position_m[time], is_left ? -1.0 : 1.0});
    recording.time_s.push_back(static_cast<double>(time) * 25 / 1000);
  }
  recording.labels = {std::move(position), std::move(direction)};
  return recording;
}

// ---- independent draws around a curve ----

struct LabelledDraws {
  std::vector<double> latents, means;  // [n_times x 2]
  std::vector<LabelColumn> labels;
};

LabelledDraws draw_discrete(std::int32_t n_times, std::uint64_t seed) {
  NumpyRandom random(static_cast<std::uint32_t>(888 + seed));
  std::array<std::array<double, 5>, 2> mean{}, variance{};
  for (auto& axis : mean)
    for (auto& value : axis) value = random.uniform(-5, 5);
  for (auto& axis : variance)
    for (auto& value : axis) value = random.uniform(0.5, 3);
  LabelledDraws draws;
  draws.labels = {categorical_label("u", {"0", "1", "2", "3", "4"})};
  const auto n = to_size(n_times);
  draws.latents.resize(2 * n);
  draws.means.resize(2 * n);
  for (std::size_t axis = 0; axis < 2; ++axis)  // all of the first latent are drawn before the second
    for (std::size_t time = 0; time < n; ++time) {
      draws.means[2 * time + axis] = mean[axis][time % 5];
      draws.latents[2 * time + axis] = mean[axis][time % 5] + std::sqrt(variance[axis][time % 5]) * random.normal();
    }
  for (std::size_t time = 0; time < n; ++time) draws.labels[0].values.push_back(static_cast<double>(time % 5));
  return draws;
}

LabelledDraws draw_continuous(std::int32_t n_times, std::uint64_t seed) {
  NumpyRandom random(static_cast<std::uint32_t>(777 + seed));
  LabelledDraws draws;
  draws.labels = {continuous_label("u", "rad")};
  auto& u = draws.labels[0].values;
  for (std::int32_t time = 0; time < n_times; ++time) u.push_back(random.uniform(0, 2 * pi));
  for (const double value : u) {
    const double sine = std::sin(value), variance0 = 0.6 - 0.3 * std::abs(sine), variance1 = 0.3 * std::abs(sine);
    draws.means.insert(draws.means.end(), {value, 2 * sine});
    const double noise0 = random.normal(), noise1 = random.normal();
    draws.latents.insert(draws.latents.end(),
                         {value + std::sqrt(variance0) * noise0, 2 * sine + std::sqrt(variance1) * noise1});
  }
  return draws;
}

LabelledDraws draw_curve(const std::string& name, std::int32_t n_times, std::uint64_t seed) {
  Draws label_draws(seed, Purpose::labels), latent_draws(seed, Purpose::latents);
  LabelledDraws draws;
  draws.labels = {continuous_label("u", "rad")};
  if (name == "two-circles") draws.labels.push_back(categorical_label("radius", {"1", "2"}));
  for (std::int32_t time = 0; time < n_times; ++time) {
    const double u = label_draws.uniform(-pi / 2, pi / 2);
    double mean0, mean1, variance;
    if (name == "sine") {
      const double t = 2 * u + pi;
      mean0 = t;
      mean1 = 2 * std::sin(t);
      variance = t / (4 * pi);
    } else if (name == "quadratic") {
      mean0 = u;
      mean1 = u * u;
      variance = (2 * u + pi) / (4 * pi);
    } else {
      const double radius = label_draws.chance(0.5) ? 1 : 2;
      mean0 = radius * std::cos(2 * u);
      mean1 = radius * std::sin(2 * u);
      variance = (pi - std::abs(2 * u)) / (10 * pi);
      draws.labels[1].values.push_back(radius - 1);
    }
    draws.labels[0].values.push_back(u);
    draws.means.insert(draws.means.end(), {mean0, mean1});
    const double noise0 = latent_draws.normal(), noise1 = latent_draws.normal();
    draws.latents.insert(draws.latents.end(),
                         {mean0 + std::sqrt(variance) * noise0, mean1 + std::sqrt(variance) * noise1});
  }
  return draws;
}

Recording simulate_draws(const Simulation& simulation) {
  const bool is_discrete = simulation.name == "discrete-label", is_continuous = simulation.name == "continuous-label";
  Recording recording;
  recording.subject = "sim-" + simulation.name;
  recording.bin_width_s = 1;
  recording.n_times = simulation.n_times.value_or(is_discrete ? 10000 : is_continuous ? 15000 : 30000);
  recording.n_neurons = simulation.n_neurons.value_or(100);
  if (recording.n_neurons < 8)
    throw ConfigError(
        "recording.simulate.n_neurons: this simulation needs at least 8, two for the latents and some to mix them "
        "into");
  LabelledDraws draws = is_discrete     ? draw_discrete(recording.n_times, simulation.seed)
                        : is_continuous ? draw_continuous(recording.n_times, simulation.seed)
                                        : draw_curve(simulation.name, recording.n_times, simulation.seed);
  const auto n_times = to_size(recording.n_times), n_neurons = to_size(recording.n_neurons);
  std::vector<double> activity(n_times * n_neurons, 0.0);
  for (std::size_t time = 0; time < n_times; ++time)
    for (std::size_t latent = 0; latent < 2; ++latent)
      activity[time * n_neurons + latent] = draws.latents[2 * time + latent];
  apply_mixing_flow(activity, recording.n_neurons, simulation.seed);
  recording.counts.reserve(activity.size());
  if (is_discrete || is_continuous) {
    NumpyRandom random(static_cast<std::uint32_t>(777 + simulation.seed));
    const double range = is_discrete ? 2.0 : 2.2;
    for (const double value : activity)
      recording.counts.push_back(static_cast<float>(random.poisson(std::exp(range * std::tanh(value)))));
  } else {
    Draws noise(simulation.seed, Purpose::noise);
    for (const double value : activity) recording.counts.push_back(static_cast<float>(value + noise.normal()));
    recording.has_negative_values = true;
  }
  for (std::int32_t time = 0; time < recording.n_times; ++time) {
    recording.time_s.push_back(time);
    recording.segments.push_back({time, time + 1});
  }
  recording.labels = std::move(draws.labels);
  recording.true_latents = std::move(draws.latents);
  recording.true_latent_means = std::move(draws.means);
  recording.n_true_latents = 2;
  return recording;
}

// A dense layer with Glorot-uniform weights and no bias (biases start at zero and the flow is never trained).
std::vector<double> draw_layer(Draws& draws, std::size_t n_in, std::size_t n_out) {
  const double limit = std::sqrt(6.0 / static_cast<double>(n_in + n_out));
  std::vector<double> weight(n_out * n_in);
  for (double& value : weight) value = draws.uniform(-limit, limit);
  return weight;
}

}  // namespace

void apply_mixing_flow(std::vector<double>& x, std::int32_t n, std::uint64_t seed) {
  Draws draws(seed, Purpose::flow);
  const auto width = to_size(n), kept = width / 2, changed = width - kept, hidden = std::max<std::size_t>(1, width / 4);
  const std::size_t n_rows = x.size() / width;
  std::vector<double> row(width), first(hidden), second(hidden), shift(2 * changed);
  const auto dense = [](const std::vector<double>& weight, const double* in, std::size_t n_in, std::vector<double>& out,
                        bool is_hidden) {
    for (std::size_t unit = 0; unit < out.size(); ++unit) {
      double sum = 0;
      for (std::size_t i = 0; i < n_in; ++i) sum += weight[unit * n_in + i] * in[i];
      out[unit] = is_hidden ? std::max(0.0, sum) : sum;
    }
  };
  for (std::uint32_t block = 0; block < 4; ++block) {
    if (block > 0) {
      const auto order = NumpyRandom(block - 1).permutation(n);
      for (std::size_t r = 0; r < n_rows; ++r) {
        double* values = x.data() + r * width;
        for (std::size_t i = 0; i < width; ++i) row[i] = values[order[i]];
        std::copy(row.begin(), row.end(), values);
      }
    }
    for (int layer = 0; layer < 2; ++layer) {
      const auto weight1 = draw_layer(draws, kept, hidden), weight2 = draw_layer(draws, hidden, hidden),
                 weight3 = draw_layer(draws, hidden, 2 * changed);
      for (std::size_t r = 0; r < n_rows; ++r) {
        double* values = x.data() + r * width;
        dense(weight1, values, kept, first, true);
        dense(weight2, first.data(), hidden, second, true);
        dense(weight3, second.data(), hidden, shift, false);
        for (std::size_t i = 0; i < changed; ++i)
          row[i] = values[kept + i] * std::exp(0.1 * std::tanh(shift[i])) + shift[changed + i];
        for (std::size_t i = 0; i < kept; ++i) row[changed + i] = values[i];
        std::copy(row.begin(), row.end(), values);
      }
    }
  }
}

std::vector<std::string> simulation_names() {
  return {"linear-track", "discrete-label", "continuous-label", "sine", "quadratic", "two-circles"};
}

Recording simulate(const Simulation& simulation) {
  const auto names = simulation_names();
  if (std::find(names.begin(), names.end(), simulation.name) == names.end())
    throw ConfigError(fmt::format("recording.simulate.name: \"{}\" is unknown; simulators are {}",
                                  one_line(simulation.name), fmt::join(names, ", ")));
  for (const auto& [key, size] :
       {std::pair{"n_times", simulation.n_times}, std::pair{"n_neurons", simulation.n_neurons}})
    if (size && (*size < 1 || *size > 10'000'000))
      throw ConfigError(fmt::format("recording.simulate.{}: {} is outside 1 to 10000000", key, *size));
  if (simulation.seed > 1'000'000'000)
    throw ConfigError(fmt::format("recording.simulate.seed: {} is outside 0 to 1000000000",
                                  static_cast<std::int64_t>(simulation.seed)));
  Recording recording = simulation.name == "linear-track" ? simulate_track(simulation) : simulate_draws(simulation);
  for (std::int32_t neuron = 0; neuron < recording.n_neurons; ++neuron) recording.neuron_ids.push_back(neuron);
  recording.notes.push_back(fmt::format("simulated: {}, seed {}", simulation.name, simulation.seed));
  check_recording(recording, "recording.simulate");
  return recording;
}

Recording simulate_recording(const nlohmann::json& section) {
  Simulation simulation;
  try {
    simulation.name = section.value("name", simulation.name);
    simulation.seed = section.value("seed", simulation.seed);
    if (section.contains("animal") && simulation.name != "linear-track")
      throw ConfigError("recording.simulate.animal: only linear-track has animals; remove it");
    simulation.animal = section.value("animal", simulation.animal);
    if (section.contains("n_times")) simulation.n_times = section.at("n_times").get<std::int32_t>();
    if (section.contains("n_neurons")) simulation.n_neurons = section.at("n_neurons").get<std::int32_t>();
  } catch (const nlohmann::json::exception&) {
    throw ConfigError(
        "recording.simulate: name and animal are texts, seed, n_times and n_neurons whole numbers from 0 on");
  }
  return simulate(simulation);
}

}  // namespace idem
