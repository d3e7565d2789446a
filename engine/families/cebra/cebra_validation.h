// cebra_validation.h - what validation batches say of a CEBRA: means, and how far off the draws may have left them.
#pragma once

#include <vector>

#include "engine/families/cebra/cebra_fleet.h"

namespace idem {

struct CebraValidation {
  CebraValidation();  // of no batch: NaN
  explicit CebraValidation(const std::vector<CebraLoss>& of_batches);

  CebraLoss mean;
  CebraError error;
};

}  // namespace idem
