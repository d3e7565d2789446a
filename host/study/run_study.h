// run_study.h - `idem run`: trains what a study names and writes its folder.
//
// host/FORMATS.md says what is in the folder's files. Every file but the log appears whole or not at all.
#pragma once

#include <filesystem>
#include <functional>
#include <string>
#include <vector>

#include "engine/device/device.h"
#include "host/config/study.h"
#include "host/support/errors.h"

namespace idem {

struct RunOptions {
  std::filesystem::path out;  // empty: out/NAME of the study
  std::string device = "auto";
  ProductPrecision precision = ProductPrecision::fp32;
  ConvolutionMethod convolutions = ConvolutionMethod::gemm;
  int n_threads = 0;
  bool resume = false, quiet = false;
  bool profile = false;  // writes profile.json too: which phase and which operation takes how long (host/profile)
  std::function<bool()> is_interrupted =
      {};  // asked before every baseline and fleet, and after every epoch or record of steps
};

// ok; interrupted: then the runs that were finished are kept and resume does the rest; or failure where every run
// failed (the report is written and says so). Throws ConfigError when `out` holds something (unless resume) or belongs
// to another study, DataError and DeviceError.
ExitCode run_study(const Study& study, const RunOptions& options);

}  // namespace idem
