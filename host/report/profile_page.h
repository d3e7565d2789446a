// profile_page.h - where the time went, as a section of a report and as pages of its own.
#pragma once

#include <filesystem>
#include <string>

#include "host/profile/compare_profiles.h"
#include "host/profile/profile.h"

namespace idem {

std::string profile_section(const Profile& profile);

void write_profile_page(const std::filesystem::path& file, const Profile& profile);
// Two profiles side by side: each step that both hold, before and after.
void write_comparison_page(const std::filesystem::path& file, const ComparedRuns& runs, const Comparison& comparison);

}  // namespace idem
