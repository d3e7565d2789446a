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

// Writes profile.html beside a bench's profile.json and says so; "" where there is none, as of an interrupted bench.
std::string write_profile_page_of(const std::string& folder);

// ncu: a table that NVIDIA's ncu printed.
std::string run_profile_ncu(const std::string& ncu);
// A profile.json or the folder it lies in. step: the only one to show, or ""; ncu: a table of that step, or "".
std::string run_profile_show(const std::string& path, const std::string& step, const std::string& ncu);
// As many profiles before as after. page: an HTML file to write, or "".
std::string run_profile_compare(const std::vector<std::string>& runs, const std::string& page);

std::string run_parity_case(const std::string& golden, const std::string& out, const std::string& precision,
                            const std::string& convolutions, const std::string& device, int n_threads);

}  // namespace idem
