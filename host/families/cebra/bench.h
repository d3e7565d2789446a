// bench.h - CEBRA's training steps, for timing.
#pragma once

#include <vector>

#include "host/bench/step_bench.h"

namespace idem {

std::vector<StepBench> cebra_step_benches();

}  // namespace idem
