// profile_table.h - profiles as text.
#pragma once

#include <string>
#include <vector>

#include "host/profile/ncu.h"
#include "host/profile/profile.h"

namespace idem {

// Operations by time, of a GPU also their kernels and how they are started. of_ncu: of one run of this step; beside
// each kernel stand the figures of its first launch there.
std::string step_table(const StepProfile& step, const Roofs& roofs, const std::vector<NcuKernel>& of_ncu = {});
std::string phases_table(const std::vector<StudyPhase>& phases);
// of_ncu: of the one step that the profile holds.
std::string profile_text(const Profile& profile, const std::vector<NcuKernel>& of_ncu = {});

std::string giga_text(double per_s);       // "12.3" of 12.3e9; "" of none
std::string seconds_text(double seconds);  // "12.30 us", "4.56 ms", "7.89 s"; "" of none

}  // namespace idem
