// training.h - how the runs trained: what was skipped, how long it took, what was kept, what the log warned of.
#pragma once

#include <string>

#include "host/report/results.h"

namespace idem {

std::string training_section(const StudyResult& study);

}  // namespace idem
