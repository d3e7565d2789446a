// study.h - a study as configured: which models, on which windows, trained how. Keys and defaults:
// configs/reference.md.
#pragma once

#include <cstdint>
#include <filesystem>
#include <string>
#include <vector>

#include <nlohmann/json.hpp>

#include "host/evaluation/targets.h"
#include "host/families/model_config.h"

namespace idem {

struct Study {
  std::string source;       // the file, for messages
  nlohmann::json resolved;  // every default filled in; loading it again gives the same study
  std::vector<nlohmann::json> recordings;
  nlohmann::json splits;
  DecodingOptions decoding;
  std::vector<ModelConfig> models;
  std::vector<std::uint64_t> seeds;
  std::vector<std::string> warnings;  // what was set on the command line to no effect, one sentence each
};

// Checks against the schema, fills in defaults and presets, and reads. Relative paths of the recording are taken from
// `folder`, and absolute in the result, so that it can be moved. Throws ConfigError for anything that makes no sense.
Study resolve_study(nlohmann::json config, const std::string& source, const std::filesystem::path& folder = {});

// Reads the file, puts `recording` (a recording file or a configuration's recording section, seen from the working
// directory; "": none) in place of its recording section, and lays `overrides` over it (see apply_override).
Study load_study(const std::string& path, const std::vector<std::string>& overrides = {},
                 const std::string& recording = "");

}  // namespace idem
