// kernel_name.h - the names of kernels as people read them.
#pragma once

#include <string>

namespace idem {

// Without result, namespaces and arguments; mangled or not: "void idem::adam_kernel<4>(idem::Adam<float>)" is
// "adam_kernel<4>".
std::string short_kernel_name(const std::string& symbol);

}  // namespace idem
