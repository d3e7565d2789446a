// bench.h - training steps of the VAE family, for timing.
#pragma once

#include <vector>

#include "host/bench/step_bench.h"

namespace idem {

std::vector<StepBench> vae_step_benches();

}  // namespace idem
