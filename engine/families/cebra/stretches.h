// stretches.h - which bins the windows of CEBRA's samples read, and how a batch of them is encoded.
#pragma once

#include <vector>

#include "engine/device/array.h"
#include "engine/families/cebra/plan.h"

namespace idem {

// First row and one past the last of the segment of each row: neighbours of one number.
struct SegmentEnds {
  explicit SegmentEnds(const std::vector<std::int32_t>& segments) : begin(segments.size()), end(segments.size()) {
    for (std::size_t row = 0; row < segments.size(); ++row)
      begin[row] = row > 0 && segments[row] == segments[row - 1] ? begin[row - 1] : static_cast<std::int64_t>(row);
    for (std::size_t row = segments.size(); row-- > 0;)
      end[row] = row + 1 < segments.size() && segments[row] == segments[row + 1] ? end[row + 1]
                                                                                 : static_cast<std::int64_t>(row) + 1;
  }
  std::vector<std::int64_t> begin, end;
};

// First bin of the window of each row, moved inside its segment. Throws std::invalid_argument for a segment shorter
// than the window.
std::vector<std::int32_t> training_windows(const CebraData& data, std::int32_t window);

// The stretch of each member's set: bins [n_members x n_stretch], the last one repeated where others are longer;
// place_of [n_members x n_rows].
struct MemberStretches {
  MemberStretches() = default;
  MemberStretches(Device& device, const CebraData& data, const std::vector<std::int32_t>& sets,
                  const std::vector<std::int32_t>& window_begin, std::int32_t window, std::int32_t n_stretch);
  Array<std::int32_t> bins, place_of;
};

// How a step's draws are encoded: windows of their own, or the stretch of all of them.
// Sets that no member uses count for nothing: a run must not depend on them.
CebraBatch batch_of(const CebraPlan& plan, const CebraDesign& design, const CebraData& data,
                    const std::vector<CebraMemberPlan>& members);

}  // namespace idem
