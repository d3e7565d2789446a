// number_table.h - whatever numbers the runs hold in one place of metrics.json, a row each.
#pragma once

#include <string>
#include <vector>

#include "host/report/results.h"

namespace idem {

using KeyPath = std::vector<std::string>;

// Paths to the numbers that some run's object holds, groups within groups.
std::vector<KeyPath> number_paths(const StudyResult& study, const Json RunResult::* member);

// One row per number, one column per model that has any. Rows of with-label latents are marked as they are in every
// table: the labels of the very bins they are measured on went into them.
std::string number_table(const StudyResult& study, const Json RunResult::* member, const std::vector<KeyPath>& paths);

}  // namespace idem
