// profile.h - where the time goes: of a training step by operation, of a study by phase; and the device's roofs.
//
// profile.json holds one (host/FORMATS.md). Everything that draws or compares profiles works on this alone.
#pragma once

#include <filesystem>
#include <optional>
#include <string>
#include <vector>

#include <nlohmann/json_fwd.hpp>

#include "engine/device/activity.h"
#include "kernels/common/operation.h"

namespace idem {

// What this device reaches with this project's own kernels and with its library's products; 0: not measured.
struct Roofs {
  double copy_bytes_per_s = 0;                          // of arrays that no cache holds
  double cache_bytes_per_s = 0;                         // of arrays that the last cache of a core or of the GPU holds
  double multiply_add_flops_per_s = 0;                  // fp32, without matrix units
  double product_flops_per_s = 0;                       // a large fp32 product
  double tf32_flops_per_s = 0, bf16_flops_per_s = 0;    // a large product; GPUs
  ProductPrecision precision = ProductPrecision::fp32;  // of the products that are held against them

  double fp32_flops_per_s() const;  // the larger of the two
  double flops_per_s() const;       // the larger of multiply-adds and of products at that precision
  // What work would take at least: the longer of its bytes' time at the copy's rate and its FLOPs'. What caches hold
  // may take less.
  double seconds(const Work& work) const;
};

// Of an operation that starts several kernels, or a library's, one of them.
struct KernelProfile {
  std::string kernel;
  double seconds = 0, calls = 0;  // of a step
  LaunchShape launch;             // of the longest call
};

struct OperationProfile {
  std::string name;                    // "row_chain_forward"
  std::string part;                    // of the step: the folder of kernels, or "products"
  std::vector<double> seconds;         // all its calls of a step, one value for each repeat
  double calls = 0;                    // of a step
  Work work;                           // of a step
  std::vector<KernelProfile> kernels;  // GPUs

  double median_s() const;
};

struct StepProfile {
  std::string name;             // "step/pi-vae-60/16"; of a study "MODEL of SUBJECT: training step"
  std::int64_t n_steps = 0;     // that were looked at
  std::int64_t n_run = 0;       // that ran, those included
  std::vector<double> seconds;  // of a step, one value for each repeat: as it runs without a profile where that was
                                // measured, else as it ran with it
  std::vector<double> profiled_seconds;      // of a step while it was looked at
  std::vector<OperationProfile> operations;  // the longest first

  double median_s() const;
  double profiled_median_s() const;
  double operations_s() const;  // medians of all operations together
  double all_s() const;         // about: of all steps that ran
};

struct StudyPhase {
  std::string name;  // "reading", "baselines", "training", ...
  double seconds = 0;
  double peak_mib = 0;  // the most memory that the process held in it; 0: the system does not say
};

double seconds_of(const std::vector<StudyPhase>& phases);  // all together

struct Profile {
  std::string version, device;
  std::string method;  // how operations were timed, in words
  Roofs roofs;
  std::vector<StepProfile> steps;
  std::vector<StudyPhase> phases;  // of a study
  double device_peak_mib = 0;      // the most that the models' arrays took at once; without libraries' own memory
};

// Adds what an earlier call took to finish a part of the same study: phases by their names, and steps that the later one
// did not run.
void add_earlier(Profile& profile, const Profile& earlier);

nlohmann::json to_json(const Profile& profile);
nlohmann::json to_json(const StepProfile& step, const Roofs& roofs);
std::string names_of(const std::vector<StepProfile>& steps);  // "a, b", or "none"

// The file that a path means: itself, or of a folder the profile.json in it.
std::filesystem::path profile_file(const std::filesystem::path& path);
// Of that file. Throws DataError.
Profile read_profile(const std::filesystem::path& path);
void write_profile(const std::filesystem::path& file, const Profile& profile);

}  // namespace idem
