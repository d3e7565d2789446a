// subjects.h - the recordings of a study, split and checked: everything that is decided before anything is trained or
// written.
#pragma once

#include <string>
#include <vector>

#include "host/config/study.h"
#include "host/preparation/subject.h"

namespace idem {

// Reads every recording and checks all that the study says about it, so that nothing which `idem check` accepts fails
// in a run before its training: labels, windows, splits, decoders, whole counts for Poisson. Throws ConfigError naming
// the key, DataError naming the file.
std::vector<Subject> load_subjects(const Study& study);

}  // namespace idem
