// made_up_profile.h - a profile with everything in it.
#pragma once

#include "host/profile/profile.h"

namespace idem {

inline Profile made_up_profile() {
  return {.version = "1",
          .device = "cuda:0 a card",
          .method = "nobody",
          .roofs = {.copy_bytes_per_s = 1e11,
                    .cache_bytes_per_s = 4e11,
                    .multiply_add_flops_per_s = 1e12,
                    .product_flops_per_s = 2e12,
                    .tf32_flops_per_s = 8e12,
                    .bf16_flops_per_s = 1.6e13},
          .steps = {{.name = "step/a/1",
                     .n_steps = 30,
                     .seconds = {9e-6, 1e-5, 1.1e-5},
                     .profiled_seconds = {1e-5, 1.1e-5, 1.2e-5},
                     .operations = {{.name = "row_chain_forward",
                                     .part = "layers",
                                     .seconds = {5e-6, 6e-6, 7e-6},
                                     .calls = 2,
                                     .work = {2e5, 4e6},
                                     .kernels = {}},
                                    {.name = "adam",
                                     .part = "optimizer",
                                     .seconds = {4e-6, 4e-6, 4e-6},
                                     .calls = 1,
                                     .work = {4e4, 0},
                                     .kernels = {{.kernel = "adam_kernel",
                                                  .seconds = 4e-6,
                                                  .calls = 1,
                                                  .launch = {.blocks = 132,
                                                             .threads = 256,
                                                             .registers = 40,
                                                             .shared_bytes = 1024,
                                                             .waves = 0.5,
                                                             .occupancy = 0.75}}}}}}},
          .phases = {{.name = "training", .seconds = 3, .peak_mib = 300}},
          .device_peak_mib = 20};
}

}  // namespace idem
