// bench.h - how fast every operation and every training step is, on one device, against what the device can do.
//
// Limits are measured in the same run: the bandwidth of a large copy and the rate of a large matrix product. Timing:
// medians of repetitions of times the device takes itself (wall clock on the CPU, events around replayed recordings on
// a GPU).
#pragma once

#include <functional>
#include <map>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "engine/device/device.h"
#include "host/bench/step_bench.h"
#include "host/profile/observed_device.h"

namespace idem {

// What is timed: the sequence, again and again. `reset` (may be empty) runs before every timing of `n_replays` replays.
struct PreparedBench {
  std::shared_ptr<void> memory;  // whatever the sequence works on
  std::unique_ptr<Device::Sequence> sequence;
  std::function<void()> reset;
  std::int64_t n_replays = 1;
};

// The limits of this device, for floors.
struct MeasuredLimits {
  double copy_bytes_per_s = 0, product_flops_per_s = 0;
};

// One thing to time. Names are stable: results of different commits and devices are compared by them. On a CPU the
// result says peak_mib too: the most memory that the process held at once from the preparation on.
struct BenchCase {
  std::string name;  // "operation/adam/large", "step/ci-ivae-60/1"
  // Of an operation what it says of itself; of a step what its products multiply, and its weights' and the optimizer's
  // traffic. Known once it is prepared.
  Work work;
  double floor_s =
      0;  // steps: what products, the optimizer's traffic and CEBRA's pairs take at this device's limits; 0: not stated
  std::optional<ProductCount> count;  // steps: of one member; counted when it is prepared, unless it is there before
  // Allocates: called when the case is run, so that cases do not need memory at the same time.
  std::function<PreparedBench(Device& device, const MeasuredLimits& limits, BenchCase& self)> prepare;
};

std::vector<BenchCase> operation_cases(bool on_gpu);
std::vector<BenchCase> step_cases(const std::vector<StepBench>& steps, bool on_gpu);
// Of any number of members: "step/pi-vae-60/7", or "step/pi-vae-60", which is of one. Nothing for names that are no
// step's.
std::optional<BenchCase> step_case_named(const std::vector<StepBench>& steps, const std::string& name);

// What a step of that name, as step_case_named, is estimated to allocate on a device: found by fleets of few members. 0
// for names that are no step's.
double bytes_of_step(const std::vector<StepBench>& steps, const std::string& name);

// Of one training step of that name, as step_case_named: `repetitions` times some steps as they run and some that are
// looked at, in turns. Nothing for names that are no step's. method: where it is given, gets how operations were timed.
std::optional<StepProfile> profile_step(Device& device, const std::vector<StepBench>& steps, const std::string& name,
                                        int repetitions, std::string* method = nullptr);

struct BenchArguments {
  std::vector<StepBench> steps;  // what there is to time beside the operations
  std::string device = "auto";
  std::string filter;   // regular expression over names, "": all; an alternative may name a step of any size
  std::string out;      // JSON file, or ""
  std::string profile;  // folder for profile.json and what profilers need, or ""
  std::string floors;  // what an earlier bench wrote to its `out`, whose counts of the steps' products are taken, or ""
  std::string once;    // a case to run once and not to time, or ""
  int repetitions = 5;
  int n_threads = 0;
  ProductPrecision precision = ProductPrecision::fp32;
  ConvolutionMethod convolutions = ConvolutionMethod::gemm;
};

// Runs the cases and prints a table, each row when its case has been timed; with `profile` also the operations of every
// step by time, which it writes to DIR/profile.json, and on a GPU NVIDIA's profilers' calls to DIR/nsight.sh. False
// where is_interrupted() was so after a case: the rest was left out. Throws ConfigError for a filter that is no regular
// expression or matches nothing, for a profile's that chooses no step, and for a folder that holds a profile.
bool run_bench(const BenchArguments& arguments, const std::function<void(std::string_view)>& print,
               const std::function<bool()>& is_interrupted = {});

// nsight.sh, which runs that case where it is given no other, on the device and with the precision of the arguments.
std::string profilers_script(const BenchArguments& arguments, const std::string& default_case);

// Prepares the case `once`, runs it to warm up and then once more, for profilers that wait for the program
// (Device::profiled), and says so. Throws ConfigError with the names that are near where there is no such case, and
// DeviceError for more members than the device has memory for.
std::string run_once(const BenchArguments& arguments);

// Before anything is made for each member, as a system may end a program that takes all memory without a word: throws
// DeviceError, which `option` begins, where the step of that name needs more than is free.
void check_memory(const Device& device, const std::vector<StepBench>& steps, const std::string& name,
                  const std::string& option);

// Names of cases, those first of which a part is most like the text.
std::vector<std::string> cases_near(const std::string& text, const std::vector<StepBench>& steps, bool on_gpu);

}  // namespace idem
