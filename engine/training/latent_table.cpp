#include "engine/training/latent_table.h"

#include <algorithm>
#include <cmath>

namespace idem {

bool LatentTable::is_finite() const {
  for (const auto* values :
       {&encoder_mean, &encoder_log_var, &posterior_mean, &posterior_log_var, &prior_mean, &prior_log_var})
    if (!std::ranges::all_of(*values, [](float value) { return std::isfinite(value); })) return false;
  return true;
}

}  // namespace idem
