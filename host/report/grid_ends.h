// grid_ends.h - which numbers of neighbours validation chose at an end of the numbers it was given, where another one
// may decode better.
#pragma once

#include <string>

#include "host/report/results.h"

namespace idem {

// A paragraph of HTML that names the latents or baseline, the distance and the label, with how many of the decodings
// did; empty where none did or the study was written before this was kept. host/evaluation/decoding.h says what counts
// as an end.
std::string grid_ends_note(const StudyResult& study);

}  // namespace idem
