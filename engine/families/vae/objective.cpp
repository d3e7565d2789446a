#include "engine/families/vae/objective.h"

#include <stdexcept>

namespace idem {

SkewTerm skew_term(Objective objective) {
  switch (objective) {
    case Objective::encoder_elbo:
    case Objective::ivae: return SkewTerm::none;
    case Objective::ci_ivae_paper:
    case Objective::ci_ivae_fixed: return SkewTerm::paper;
    case Objective::ci_ivae_published: return SkewTerm::published;
  }
  throw std::invalid_argument("unknown objective");
}

std::vector<double> alpha_grid(Objective objective, double step, double fixed) {
  if (objective == Objective::encoder_elbo) return {1};
  if (objective == Objective::ivae) return {0};
  if (objective == Objective::ci_ivae_fixed) return {fixed};
  const bool ends = objective == Objective::ci_ivae_paper;
  std::vector<double> alphas;
  if (ends) alphas.push_back(0);
  for (int i = 1; i * step < 1 - step * 1e-6; ++i) alphas.push_back(i * step);
  if (ends) alphas.push_back(1);
  return alphas;
}

}  // namespace idem
