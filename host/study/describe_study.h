// describe_study.h - `idem check`: what a study would run.
#pragma once

#include <string>

#include "host/config/study.h"

namespace idem {

// For people: subjects, models, runs, parameters, memory. Trains and writes nothing. Throws as load_subjects.
std::string describe_study(const Study& study);

}  // namespace idem
