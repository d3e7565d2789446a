#include "host/support/peak_memory.h"

#include <fstream>
#include <string>

namespace idem {

bool forget_peak_memory() { return static_cast<bool>(std::ofstream("/proc/self/clear_refs") << '5' << std::flush); }

double peak_memory_mib() {
  std::ifstream status("/proc/self/status");
  std::string line;
  while (std::getline(status, line))
    if (line.starts_with("VmHWM:")) return std::stod(line.substr(6)) / 1024;
  return 0;
}

}  // namespace idem
