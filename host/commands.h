// commands.h - what the subcommands of the program do, apart from reading the command line.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "host/recordings/recording.h"
#include "host/study/describe_study.h"
#include "host/study/run_study.h"

namespace idem {

struct StudyArguments {
  std::string config, recording;  // recording: "" or a file that takes the place of the configuration's
  std::vector<std::string> overrides;
};
Study load_study(const StudyArguments& arguments);

// A recording file, or every recording of a configuration (a .json file).
std::vector<Recording> load_recordings(const std::string& path);

std::string describe_recordings(const std::string& path);

struct SimulateArguments {
  std::string name, out, animal;  // animal "": the simulator's default
  std::uint64_t seed = 0;
};
std::string run_simulate(const SimulateArguments& arguments);

// out "": the recording's file name with -latents.npz, in the working directory.
std::string run_transform(const std::string& model, const std::string& recording, const std::string& out,
                          const std::string& device, int n_threads);

std::string run_report(const std::string& folder);

std::string run_parity_case(const std::string& golden, const std::string& out, const std::string& precision,
                            const std::string& convolutions, const std::string& device, int n_threads);

}  // namespace idem
