// contrastive_drawing.h - sets of samples, and what contrastive_indices draws from them.
#pragma once

#include <algorithm>
#include <cmath>
#include <numeric>
#include <random>
#include <vector>

#include "kernels/sampling/contrastive_indices.h"
#include "kernels/sampling/contrastive_samples.h"
#include "kernels/common/to_size.h"

namespace idem {

using Indices = std::vector<std::int32_t>;

struct Draws {
  Indices reference, negative, positive, time_positive;
  std::vector<float> query;
};

// One step of every member; member m draws from set m % n_sets.
struct Drawing {
  std::int32_t batch = 64, n_members = 1, n_sets = 1, n_threads = 1;
  ContrastivePrior prior = ContrastivePrior::samples;
  ContrastivePositive positive_is = ContrastivePositive::time_delta;
  bool in_order = false;
  std::uint64_t first_seed = 40;
  std::uint32_t step = 3, ahead = 0;
  float delta_sd = 0.1f;

  Draws of(const ContrastiveSamples& samples) const {
    Indices set;
    std::vector<std::uint64_t> seed;
    for (std::int32_t member = 0; member < n_members; ++member) {
      set.push_back(member % n_sets);
      seed.push_back(first_seed + static_cast<std::uint64_t>(member));
    }
    const std::vector<std::uint32_t> steps(seed.size(), step);
    const std::vector<float> sd(seed.size(), delta_sd);
    const std::size_t n = to_size(n_members) * to_size(batch);
    ContrastiveIndices<float> p;
    p.sets = samples.view(samples.bytes().data());
    Draws draws{Indices(n, -1), Indices(n, -1), Indices(n, -1), Indices(n, -1),
                std::vector<float>(n * to_size(p.sets.n_labels))};
    p.fleet.n_members = n_members;
    p.batch = batch;
    p.prior = prior;
    p.positive_is = positive_is;
    p.in_order = in_order;
    p.set = set.data();
    p.seed = seed.data();
    p.step = steps.data();
    p.ahead = ahead;
    p.delta_sd = sd.data();
    p.stride = batch;
    p.reference = draws.reference.data();
    p.negative = draws.negative.data();
    p.positive = draws.positive.data();
    p.time_positive = prior == ContrastivePrior::leads ? draws.time_positive.data() : nullptr;
    p.query = draws.query.data();
    ThreadPool pool(n_threads);
    contrastive_indices_cpu(p, pool);
    return draws;
  }
};

inline Indices counting(std::int32_t n, std::int32_t first = 0) {
  Indices rows(to_size(n));
  std::iota(rows.begin(), rows.end(), first);
  return rows;
}
inline std::vector<float> random_labels(std::size_t n, std::uint64_t seed, double grid) {
  std::mt19937_64 random(seed);
  std::uniform_real_distribution<double> uniform(-1, 1);
  std::vector<float> labels(n);
  for (float& label : labels)
    label = static_cast<float>(grid > 0 ? std::round(uniform(random) / grid) * grid : uniform(random));
  return labels;
}
inline std::size_t place_of(const ContrastiveSet& set, std::int32_t row) {
  return to_size(std::find(set.rows.begin(), set.rows.end(), row) - set.rows.begin());
}

// Every sample in list order, the first of the nearest wins.
inline std::int32_t nearest_row(const ContrastiveSet& set, std::size_t n_labels, const float* query,
                                std::int32_t reference, bool within_class) {
  const std::size_t own = place_of(set, reference);
  double best = INFINITY;
  std::int32_t row = -1;
  for (std::size_t i = 0; i < set.rows.size(); ++i) {
    if (within_class && set.classes[i] != set.classes[own]) continue;
    double distance = 0;
    for (std::size_t label = 0; label < n_labels; ++label) {
      const double gap = static_cast<double>(set.labels[i * n_labels + label]) - static_cast<double>(query[label]);
      distance = std::fma(gap, gap, distance);
    }
    if (distance < best) best = distance, row = set.rows[i];
  }
  return row;
}

// Three stretches: bins 0-19 of segment 0, then 30-49 of it, then 50-69 of segment 1; the label leaps by 100 from one
// to the next.
inline ContrastiveSet three_stretches() {
  ContrastiveSet set;
  for (std::int32_t stretch = 0; stretch < 3; ++stretch) {
    for (std::int32_t i = 0; i < 20; ++i) {
      set.rows.push_back((stretch == 0 ? 0 : 10 + 20 * stretch) + i);
      set.segments.push_back(stretch == 2 ? 1 : 0);
      set.labels.push_back(static_cast<float>(100 * stretch) + 0.5f * static_cast<float>(i));
    }
  }
  return set;
}

// Bins that turn by 10 degrees each, off any axis, with linear labels before the sine and the cosine of the angle.
inline ContrastiveSet rotating(std::int32_t n, std::size_t n_linear) {
  ContrastiveSet set{counting(n), Indices(to_size(n), 0), {}, {}};
  for (std::int32_t i = 0; i < n; ++i) {
    for (std::size_t label = 0; label < n_linear; ++label) set.labels.push_back(0.001f * static_cast<float>(i % 36));
    const double angle = (10 * (i % 36) + 3) * M_PI / 180;
    set.labels.push_back(static_cast<float>(std::sin(angle)));
    set.labels.push_back(static_cast<float>(std::cos(angle)));
  }
  return set;
}
// From one angle to the other, in degrees, within half a turn. labels: sine and cosine.
inline double turn(const float* from, const float* to) {
  const auto angle = [](const float* of) { return std::atan2(static_cast<double>(of[0]), static_cast<double>(of[1])); };
  return std::remainder(angle(to) - angle(from), 2 * M_PI) * 180 / M_PI;
}

}  // namespace idem
