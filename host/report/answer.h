// answer.h - what the study says, in sentences and one chart: which model decodes best, and whether it is the same
// latent.
#pragma once

#include <string>

#include "host/report/results.h"

namespace idem {

std::string answer_section(const StudyResult& study);

}  // namespace idem
