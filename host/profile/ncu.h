// ncu.h - what NVIDIA's Nsight Compute counted, as `ncu --csv --page raw` prints it.
#pragma once

#include <string>
#include <string_view>
#include <utility>
#include <vector>

namespace idem {

struct NcuKernel {
  std::string kernel;                                        // by its short name (short_kernel_name)
  std::vector<std::pair<std::string, std::string>> figures;  // "% of DRAM": "43.1 %"; those that say what limits it
};

// Lines of the profiled program before the table are passed over. Throws DataError where there is no table; `where`
// begins its message.
std::vector<NcuKernel> parse_ncu(std::string_view text, const std::string& where);

// [{"kernel": "adam_kernel", "time": "2.5 us", ...}, ...], in the order of their runs.
std::string ncu_json(const std::vector<NcuKernel>& kernels);

}  // namespace idem
