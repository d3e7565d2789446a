// peak_memory.h - the most memory that this process has held at once.
#pragma once

namespace idem {

// Has Linux forget it; false where the system does not.
bool forget_peak_memory();
// MiB since it was forgotten, or since the program started; 0 where the system does not say.
double peak_memory_mib();

}  // namespace idem
