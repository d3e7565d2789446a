#include "host/report/view.h"

#include <algorithm>
#include <cmath>
#include <limits>
#include <numbers>
#include <optional>

#include "kernels/common/to_size.h"

namespace idem {
namespace {

constexpr float nan_f = std::numeric_limits<float>::quiet_NaN();

// Colour maps of matplotlib (CC0), 17 stops. The report under study draws right-running bins with cool and left-running
// ones with viridis.
const std::vector<Rgb> viridis{0x440154, 0x48186a, 0x472d7b, 0x424086, 0x3b528b, 0x33638d, 0x2c728e, 0x26828e, 0x21918c,
                               0x1fa088, 0x28ae80, 0x3fbc73, 0x5ec962, 0x84d44b, 0xaddc30, 0xd8e219, 0xfde725};
const std::vector<Rgb> cool{0x00ffff, 0xff00ff};
const std::vector<Rgb> twilight{0xe2d9e2, 0xc4ced4, 0x95b5c7, 0x7297c1, 0x6276ba, 0x5e51ad,
                                0x592a8f, 0x45135c, 0x2f1436, 0x4a1342, 0x741e4f, 0x983550,
                                0xb25652, 0xc27c63, 0xcca389, 0xd8c7be, 0xe2d9e2};
// Okabe and Ito's colours for categories: told apart with any colour vision.
const std::vector<Rgb> category_colours{0x0072b2, 0xe69f00, 0x009e73, 0xcc79a7, 0x56b4e9, 0xd55e00, 0xf0e442, 0x7f7f7f};

struct OneHot {
  std::string name;
  std::vector<std::int32_t> features;
  std::vector<std::string> categories;
};

struct LabelRoles {
  std::optional<std::int32_t> continuous;                         // feature to colour by
  std::optional<std::pair<std::int32_t, std::int32_t>> circular;  // sine, cosine
  std::optional<OneHot> categorical;
};

bool ends_with(const std::string& text, const std::string& end) {
  return text.size() > end.size() && text.ends_with(end);
}

// The label that is decoded as position (else the first continuous one) and the one called direction (else the first
// one-hot of two categories, else the first).
LabelRoles label_roles(const std::vector<std::string>& names, const std::string& position) {
  LabelRoles roles;
  std::vector<OneHot> one_hots;
  for (std::int32_t feature = 0; feature < static_cast<std::int32_t>(names.size()); ++feature) {
    const std::string& name = names[to_size(feature)];
    if (const auto equals = name.find('='); equals != std::string::npos) {
      const std::string label = name.substr(0, equals);
      if (one_hots.empty() || one_hots.back().name != label) one_hots.push_back({label, {}, {}});
      one_hots.back().features.push_back(feature);
      one_hots.back().categories.push_back(name.substr(equals + 1));
    } else if (ends_with(name, ".sin")) {
      const auto cosine = std::find(names.begin(), names.end(), name.substr(0, name.size() - 4) + ".cos");
      if (cosine != names.end() && (!roles.circular || name == position + ".sin"))
        roles.circular = {feature, static_cast<std::int32_t>(cosine - names.begin())};
    } else if (!ends_with(name, ".cos")) {
      if (!roles.continuous || name == position) roles.continuous = feature;
    }
  }
  if (roles.circular && names[to_size(roles.circular->first)] == position + ".sin") roles.continuous.reset();
  for (const auto& one_hot : one_hots) {
    const bool better = !roles.categorical || one_hot.name == "direction" ||
                        (roles.categorical->name != "direction" && roles.categorical->categories.size() != 2 &&
                         one_hot.categories.size() == 2);
    if (better) roles.categorical = one_hot;
  }
  return roles;
}

template <class Position>
ViewTrack make_track(const RunLatents& latents, Position position_of) {
  ViewTrack track;
  std::vector<std::size_t> bins;
  for (std::size_t time = 0; time < latents.decoded_position.size(); ++time)
    if (latents.split[time] == 2 && std::isfinite(latents.decoded_position[time])) bins.push_back(time);
  track.n_of = static_cast<std::int32_t>(bins.size());
  if (bins.empty()) return track;
  // Bins that follow each other differ by the bin width, the smallest step there is.
  double bin_width_s = std::numeric_limits<double>::infinity();
  for (std::size_t time = 1; time < latents.time_s.size(); ++time)
    if (latents.segment[time] == latents.segment[time - 1] && latents.time_s[time] > latents.time_s[time - 1])
      bin_width_s = std::min(bin_width_s, latents.time_s[time] - latents.time_s[time - 1]);
  if (!std::isfinite(bin_width_s)) bin_width_s = 1;
  std::vector<double> joined_s(bins.size(), 0);
  std::vector<char> starts(bins.size(), 0);
  for (std::size_t i = 1; i < bins.size(); ++i) {
    starts[i] = latents.segment[bins[i]] != latents.segment[bins[i - 1]] ||
                latents.time_s[bins[i]] - latents.time_s[bins[i - 1]] > 1.5 * bin_width_s;
    joined_s[i] = joined_s[i - 1] + bin_width_s;
  }
  const auto add = [&](double joined, double time, float truth, float decoded) {
    track.joined_s.push_back(static_cast<float>(joined));
    track.time_s.push_back(static_cast<float>(time));
    track.true_position.push_back(truth);
    track.decoded_position.push_back(decoded);
  };
  std::size_t before = 0;
  for (const std::size_t i : evenly_thinned(bins.size(), max_track_points)) {
    bool gap = false;
    for (std::size_t j = before + 1; j <= i; ++j) gap = gap || starts[j];
    if (gap) add(joined_s[i], latents.time_s[bins[i]], nan_f, nan_f);
    add(joined_s[i], latents.time_s[bins[i]], position_of(bins[i]), latents.decoded_position[bins[i]]);
    before = i;
  }
  return track;
}

}  // namespace

Rgb Colouring::colour(std::size_t group, double value) const {
  const auto& stops = groups[std::min(group, groups.size() - 1)].stops;
  if (stops.size() == 1 || !std::isfinite(value) || !(high > low)) return stops.front();
  const double place = std::clamp((value - low) / (high - low), 0.0, 1.0) * static_cast<double>(stops.size() - 1);
  const auto below = std::min(to_size(place), stops.size() - 2);
  const double share = place - static_cast<double>(below);
  Rgb colour = 0;
  for (const int shift : {16, 8, 0}) {
    const double a = (stops[below] >> shift) & 255, b = (stops[below + 1] >> shift) & 255;
    colour |= static_cast<Rgb>(std::lround(a + (b - a) * share)) << shift;
  }
  return colour;
}

std::vector<std::size_t> evenly_thinned(std::size_t n, std::size_t count) {
  std::vector<std::size_t> kept(std::min(n, count));
  for (std::size_t i = 0; i < kept.size(); ++i) kept[i] = i * n / kept.size();
  return kept;
}

RunView make_run_view(const RunLatents& latents, const LabelFactsByName& labels, const std::string& position) {
  RunView view;
  view.n_latents = latents.n_latents;
  view.has_encoder = !latents.encoder_mean.empty();
  view.has_posterior = !latents.posterior_mean.empty();
  const LabelRoles roles = label_roles(latents.label_names, position);
  const auto label = [&](std::size_t time, std::int32_t feature) {
    return latents.labels[time * to_size(latents.n_features) + to_size(feature)];
  };

  Colouring& colouring = view.colouring;
  bool grouped = false;
  if (roles.continuous) {
    colouring.value_name = latents.label_names[to_size(*roles.continuous)];
  } else if (roles.circular) {
    const std::string& sine = latents.label_names[to_size(roles.circular->first)];
    colouring.value_name = sine.substr(0, sine.size() - 4);
    colouring.groups = {{"", twilight}};
  }
  const auto known = labels.find(colouring.value_name);
  const LabelFacts facts = known == labels.end() ? LabelFacts{} : known->second;
  colouring.unit = facts.unit;
  const double period = facts.period > 0 ? facts.period : 2 * std::numbers::pi;
  if (roles.continuous && roles.categorical && roles.categorical->categories.size() == 2) {
    grouped = true;
    // Whichever is called right is cool; with other names the first category is.
    const bool second_is_right = roles.categorical->categories[1] == "right";
    colouring.groups = {{roles.categorical->categories[0], second_is_right ? viridis : cool},
                        {roles.categorical->categories[1], second_is_right ? cool : viridis}};
  } else if (colouring.value_name.empty() && roles.categorical) {
    grouped = true;
    for (std::size_t i = 0; i < roles.categorical->categories.size(); ++i)
      colouring.groups.push_back({roles.categorical->categories[i], {category_colours[i % category_colours.size()]}});
  } else if (colouring.groups.empty()) {
    colouring.groups = {{"", colouring.value_name.empty() ? std::vector<Rgb>{category_colours[0]} : viridis}};
  }
  const auto value_of = [&](std::size_t time) -> float {
    if (roles.continuous) return label(time, *roles.continuous);
    if (!roles.circular) return nan_f;
    const double turns =
        std::atan2(label(time, roles.circular->first), label(time, roles.circular->second)) / (2 * std::numbers::pi);
    return static_cast<float>((turns < 0 ? turns + 1 : turns) * period);
  };
  const auto group_of = [&](std::size_t time) -> std::uint8_t {
    std::size_t best = 0;
    if (!grouped) return 0;
    for (std::size_t i = 1; i < roles.categorical->features.size(); ++i)
      if (label(time, roles.categorical->features[i]) > label(time, roles.categorical->features[best])) best = i;
    return static_cast<std::uint8_t>(std::min<std::size_t>(best, 255));
  };
  if (roles.continuous) {
    double low = std::numeric_limits<double>::infinity(), high = -low;
    for (std::size_t time = 0; time < latents.split.size(); ++time)
      if (const float value = value_of(time); std::isfinite(value))
        low = std::min<double>(low, value), high = std::max<double>(high, value);
    if (low < high) colouring.low = low, colouring.high = high;
  } else if (roles.circular) {
    colouring.high = period;
  }

  for (std::int32_t split = 0; split < 3; ++split) {
    ViewPoints& points = view.splits[to_size(split)];
    std::vector<std::size_t> bins;
    for (std::size_t time = 0; time < latents.split.size(); ++time)
      if (latents.split[time] == split) bins.push_back(time);
    points.n_of = static_cast<std::int32_t>(bins.size());
    for (const std::size_t i : evenly_thinned(bins.size(), max_view_points)) {
      const std::size_t time = bins[i], row = time * to_size(latents.n_latents);
      points.time_s.push_back(static_cast<float>(latents.time_s[time]));
      points.value.push_back(value_of(time));
      points.group.push_back(group_of(time));
      for (std::size_t latent = row; latent < row + to_size(latents.n_latents); ++latent) {
        if (view.has_encoder) points.encoder_mean.push_back(latents.encoder_mean[latent]);
        if (view.has_posterior) points.posterior_mean.push_back(latents.posterior_mean[latent]);
      }
    }
  }
  if (roles.continuous || roles.circular) view.track = make_track(latents, value_of);
  return view;
}

}  // namespace idem
