// score_tables.h - every decoding score, a table for each metric.
#pragma once

#include <string>

#include "host/report/results.h"

namespace idem {

std::string numbers_section(const StudyResult& study);

}  // namespace idem
