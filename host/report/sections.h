// sections.h - the written part of the report: the answer, the tables and the gauges, as HTML that needs no script.
#pragma once

#include <string>
#include <string_view>

#include "host/report/scores_of_study.h"

namespace idem {

std::string escape_html(std::string_view text);  // for text and for attribute values in double quotes

std::string answer_section(const StudyResult& study);
std::string numbers_section(const StudyResult& study);
std::string training_section(const StudyResult& study);
std::string collapse_section(const StudyResult& study);         // this and the next: empty when no run has it
std::string identifiability_section(const StudyResult& study);
std::string configuration_section(const StudyResult& study);
std::string sources_list(const StudyResult& study);  // of the models that the study has, as items of a list

}  // namespace idem
