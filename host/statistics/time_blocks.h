// time_blocks.h - what stands for trials where a recording has none: blocks of time that hardly depend on each other.
#pragma once

#include <cstdint>
#include <span>

#include "host/statistics/trial_score.h"

namespace idem {

inline constexpr std::int32_t kLeastBlocks = 10;  // for a verdict

// Integrated autocorrelation time in bins, 1 for independent ones: 1 + 2 (sum of autocorrelations up to the first lag
// that is 5 such times; Sokal 1997, doi 10.1007/978-1-4899-0319-8_6). stretches [bin]: bins of different stretches have
// no lag. A series that does not vary has 1.
double autocorrelation_time(std::span<const double> series, std::span<const std::int32_t> stretches);

// Blocks of `length` neighbouring bins, from each stretch's first; a stretch's last is longer by what is left over, and
// a stretch shorter than that is one block.
ScoredTrials time_blocks(std::span<const std::int32_t> stretches, std::int32_t length);

}  // namespace idem
