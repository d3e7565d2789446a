// golden_cases.h - the kinds of golden cases of all families, for test programs that link no more of a family.
#pragma once

#include <vector>

#include "host/families/cebra/golden.h"
#include "host/families/vae/golden.h"

namespace idem {

inline std::vector<CaseKind> known_case_kinds() {
  std::vector<CaseKind> kinds = vae_golden_cases();
  for (auto& kind : cebra_golden_cases()) kinds.push_back(std::move(kind));
  return kinds;
}

}  // namespace idem
