// view.h - what the figures of one run draw: thinned points per split, their colours, the decoded track.
#pragma once

#include <array>
#include <cstdint>
#include <string>
#include <vector>

#include "host/report/results.h"

namespace idem {

using Rgb = std::uint32_t;  // 0xRRGGBB

// How a bin gets its colour: its value runs along the colour map of its group. A map of one stop is a plain colour.
struct Colouring {
  struct Group {
    std::string name;        // "right"; empty when there is only one group
    std::vector<Rgb> stops;  // evenly spaced from low to high
  };
  std::string value_name;  // "position"; empty: groups of plain colours only
  std::string unit;        // "m"; may be empty
  double low = 0, high = 1;
  std::vector<Group> groups;  // at least one

  Rgb colour(std::size_t group, double value) const;  // NaN: the first stop
};

// [n_points] bins of one split in time order, evenly thinned.
struct ViewPoints {
  std::int32_t n_of = 0;  // bins of the split before thinning
  std::vector<float> time_s, value;
  std::vector<std::uint8_t> group;
  std::vector<float> encoder_mean, posterior_mean;  // [n_points x n_latents]; empty where the run has none
  std::size_t size() const { return time_s.size(); }
};

// Decoded and true position over the test bins, gaps in time cut out: a NaN row separates stretches.
struct ViewTrack {
  std::vector<float> joined_s;  // seconds of test data so far
  std::vector<float> time_s, true_position, decoded_position;
  std::int32_t n_of = 0;
};

struct RunView {
  std::int32_t n_latents = 0;
  bool has_encoder = true, has_posterior = true;  // label-free latents, latents with labels
  Colouring colouring;
  std::array<ViewPoints, 3> splits;  // train, valid, test
  ViewTrack track;                   // empty when nothing was decoded
};

// At most this many bins are drawn of a split, and of a track (a point costs 100 bytes of SVG).
constexpr std::int32_t max_view_points = 1500, max_track_points = 4000;

// labels: those of the run's subject; the turn of a circular label that is not among them is 2 pi. position: the label
// whose decoded track the latents hold; where there is none of that name the first continuous one gives the colours.
RunView make_run_view(const RunLatents& latents, const LabelFactsByName& labels,
                      const std::string& position = "position");

// count of n indices, evenly spaced, always the same ones; all of them when count >= n.
std::vector<std::size_t> evenly_thinned(std::size_t n, std::size_t count);

}  // namespace idem
