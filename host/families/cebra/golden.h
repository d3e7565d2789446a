// golden.h - golden cases of CEBRA: training steps.
#pragma once

#include <vector>

#include "host/parity/parity.h"

namespace idem {

std::vector<CaseKind> cebra_golden_cases();

}  // namespace idem
