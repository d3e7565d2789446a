// sections.h - the end of the report: how to run the study again, and the sources of what it used.
#pragma once

#include <string>

#include "host/report/results.h"

namespace idem {

std::string configuration_section(const StudyResult& study);
std::string sources_list(const StudyResult& study);  // of the models that the study has, as items of a list

}  // namespace idem
