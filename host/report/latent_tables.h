// latent_tables.h - what is known of the latents themselves: collapse, and how much of simulated ones was found.
#pragma once

#include <string>

#include "host/report/results.h"

namespace idem {

// Both are empty where no run has it.
std::string collapse_section(const StudyResult& study);
std::string identifiability_section(const StudyResult& study);

}  // namespace idem
