// cards.h - the GPUs of this machine.
#pragma once

#include <string>
#include <vector>

namespace idem {

// Why no GPU can be used ("" when one can): no driver, a driver too old for this program, no device, an architecture
// this program has no code for.
std::string why_cuda_is_unusable(int index);

// A line for each, or one that says why none can be used.
std::vector<std::string> list_cuda_devices();

}  // namespace idem
