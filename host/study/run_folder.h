// run_folder.h - the folder of a run (host/FORMATS.md): whose it is, and what killed runs left there.
#pragma once

#include <filesystem>
#include <string>
#include <vector>

#include "host/config/study.h"

namespace idem {

// Makes the folder ready to be written to, with the study in its config.json and the schema beside it. A folder that
// holds something is taken only with `resume`, and if it was made by the same study; one that a run left which was
// killed before it had a configuration is empty. runs: the names of the folders to come. Loses nothing: throws
// ConfigError where something is in the way, DataError where the folder cannot be made.
void claim_folder(const std::filesystem::path& out, const Study& study, const std::vector<std::string>& runs,
                  bool resume);

// Removes the half-written files of a killed run, by their names and from its own folders alone: NAME.partial, and the
// latents.npz.XXXXXX of older idem.
void remove_strays(const std::filesystem::path& out, const std::vector<std::string>& runs);

}  // namespace idem
