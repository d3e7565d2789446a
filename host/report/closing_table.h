// closing_table.h - a study's numbers as text, for the end of a run in a terminal.
#pragma once

#include <string>

#include "host/report/results.h"

namespace idem {

// One table for each subject: a row for each model (the best on validation is marked) and each baseline, mean ± sd over
// runs of test-bin scores, by Euclidean nearest neighbours. Lines of at most 80 columns but for names that need more;
// ends with a newline; "" for a study without scores.
std::string closing_table(const StudyResult& study);

}  // namespace idem
