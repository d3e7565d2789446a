// payload.h - the numbers that the report page's script draws, packed small.
#pragma once

#include <string>
#include <string_view>
#include <vector>

#include "host/report/results.h"
#include "host/report/view.h"

namespace idem {

// Layout, little endian: u32 bytes of the JSON text that follows; the text, padded with blanks so that what follows is
// 4-byte aligned; arrays. The text names each array as {"o": offset after the text, "n": elements, "t": "f4" | "u1"} or
// {"o", "n", "t": "i2", "a": origin, "b": step}: value = a + b * code, code -32768 = NaN (a sixty-five-thousandth of
// the range: far below what a screen shows). views[i] belongs to study.runs[i].
std::string make_report_payload(const StudyResult& study, const std::vector<RunView>& views);

// At most this many points are drawn per split of a run, so that the page stays small whatever the study's size.
std::int32_t interactive_points_per_split(std::size_t n_runs);

std::string gzip(std::string_view bytes);    // the same bytes give the same result: no name, no time
std::string base64(std::string_view bytes);  // RFC 4648, padded, one line

}  // namespace idem
