// input.h - from counts to what the encoder sees: temporal smoothing, and the rows or windows of a batch.
#pragma once

#include "kernels/common/enum_names.h"
#include "kernels/common/operation.h"

namespace idem {

// What a tap reads outside [segment_begin, segment_end). The last five are scipy.ndimage's modes of the same names.
enum class EdgeMode : std::int32_t {
  shift_window,  // the whole window moves inside its segment (CEBRA's clamped index); segments shorter than the window
                 // repeat their edge
  reflect,       // d c b a | a b c d | d c b a
  mirror,        //   d c b | a b c d | c b a
  nearest,       // a a a a | a b c d | d d d d
  constant,      // zeros
  wrap,          // a b c d | a b c d | a b c d
};
template <>
struct EnumNames<EdgeMode> {
  static constexpr const char* what = "smoothing.edges";
  static constexpr EnumName<EdgeMode> all[] = {{EdgeMode::shift_window, "window"}, {EdgeMode::reflect, "reflect"},
                                               {EdgeMode::mirror, "mirror"},       {EdgeMode::nearest, "nearest"},
                                               {EdgeMode::constant, "constant"},   {EdgeMode::wrap, "wrap"}};
};

// Weighted sum over a window of bins; no tap crosses a segment.
//   counts         [n_times x n_neurons]  row_stride, shared by all members (spikes per bin)
//   segment_begin, segment_end [n_times]  first bin and one past the last bin of the segment of each bin
//   taps           [n_taps]               tap j reads bin t - left + j; ascending time, so no flip
//   rows           [n_rows] or null       centre bins (the per-window form); null: every bin, n_rows = n_times (the
//                                         whole-recording form)
//   smoothed       [n_rows x n_neurons]
// Determinism: gpu_to_gpu in tap order for one output (fmaf on both twins). Window forms agree bit for bit.
template <class Real>
struct TemporalFilter {
  std::int64_t n_times = 0, n_rows = 0;
  std::int32_t n_neurons = 0, n_taps = 0, left = 0;
  EdgeMode edge = EdgeMode::shift_window;
  const Real* counts = nullptr;
  std::int64_t counts_stride = 0;
  const std::int32_t* segment_begin = nullptr;
  const std::int32_t* segment_end = nullptr;
  const Real* taps = nullptr;
  const std::int32_t* rows = nullptr;
  Real* smoothed = nullptr;
  std::int64_t smoothed_stride = 0;
};
IDEM_OPERATION(temporal_filter_forward, TemporalFilter)

// d_counts [n_times x n_neurons] = transpose of the forward map applied to d_smoothed (same shapes, whole-recording
// form only). Determinism: run_to_run; each source bin gathers its readers in ascending order of centre, then tap.
template <class Real>
struct TemporalFilterGradient {
  TemporalFilter<Real> forward;  // rows, counts and smoothed are not read
  const Real* d_smoothed = nullptr;
  Real* d_counts = nullptr;
};
IDEM_OPERATION(temporal_filter_backward, TemporalFilterGradient)

// Copies what each row of a member's batch sees, its source row or a window of them, and adds input noise.
//   source       [n_source_rows x n_features]   shared by all members
//   rows         [n_members x batch]            index into source, member-major
//   window_begin [n_source_rows] or null        source row s sees the source rows window_begin[s] ... window_begin[s] +
//                                               window - 1; null: itself
//   noise        its seed null: none (always where the bins of a window are side_by_side)
//   out          [n_members x window x batch x n_features] = source + noise; the first bin of every window, then the
//                second of every one, ... as convolutions read them
//   side_by_side out is [n_members x batch x (window * n_features)] instead: the bins of a window follow each other in
//   one row, as decoders write
// Normals (RandomStream::input_noise of draw_normals, an element for each of out) times scale, the standard deviation
// in units of source.
template <class Real>
struct InputNoise {
  const std::uint64_t* seed = nullptr;  // [n_members], as step and scale
  const std::uint32_t* step = nullptr;
  const Real* scale = nullptr;
};

template <class Real>
struct GatherRows {
  FleetExtent fleet;
  std::int32_t batch = 0, n_features = 0, window = 1;
  const Real* source = nullptr;
  std::int64_t source_stride = 0;
  const std::int32_t* rows = nullptr;
  const std::int32_t* window_begin = nullptr;
  bool side_by_side = false;
  InputNoise<Real> noise;
  Rows<Real> out;
};
IDEM_OPERATION(gather_rows, GatherRows)
template <class Real>
using SeveralGathers = Several<GatherRows<Real>>;
IDEM_OPERATION(gather_several, SeveralGathers)

}  // namespace idem
