// bench.h - how fast every operation and every training step is, on one device, against what the device can do.
//
// Limits are measured in the same run: the bandwidth of a large copy and the rate of a large matrix product. Timing: Google Benchmark's repetitions
// and statistics over times the device takes itself (wall clock on the CPU, events around replayed recordings on a GPU).
#pragma once

#include <functional>
#include <map>
#include <memory>
#include <string>
#include <vector>

#include "engine/device.h"

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

// One thing to time. Names are stable: results of different commits and devices are compared by them. On a CPU the result says peak_mib too: the most
// memory that the process held at once from the preparation on.
struct BenchCase {
  std::string name;  // "operation/adam/large", "step/ci-ivae-60/1"
  // What has to be read and written (each array once, padding not counted), and multiplications plus additions of matrix products. A step learns its
  // flops when it is prepared.
  double bytes = 0, flops = 0;
  double floor_s = 0;  // steps: what products, the optimizer's traffic and CEBRA's pairs take at this device's limits; 0: not stated
  // Allocates: called when the case is run, so that cases do not need memory at the same time.
  std::function<PreparedBench(Device& device, const MeasuredLimits& limits, BenchCase& self)> prepare;
};

std::vector<BenchCase> operation_cases(bool on_gpu);
std::vector<BenchCase> step_cases(bool on_gpu);

// Time of one kind of operation in a step, over all its calls.
struct OperationTime {
  double seconds = 0;
  std::int64_t calls = 0;
};
// Of one training step of the case of that name, member count 1; every operation is waited for, so that they add up to more than the step takes.
// Empty for other names.
std::map<std::string, OperationTime> profile_step(Device& device, const std::string& name);

struct BenchArguments {
  std::string device = "auto", filter, out;  // filter: regular expression over names, "": all; out: JSON file or ""
  std::string profile;                       // folder for what profilers need, or ""
  int n_threads = 0;
  ProductPrecision precision = ProductPrecision::fp32;
  ConvolutionMethod convolutions = ConvolutionMethod::gemm;
};

// Runs the cases and returns a table; with `profile` also the operations of every step by time, and NVIDIA's profilers' calls in DIR/nsight.sh (kernel
// launches and products have NVTX ranges of their names). Throws ConfigError for a filter that is no regular expression or matches nothing.
std::string run_bench(const BenchArguments& arguments);

}  // namespace idem
