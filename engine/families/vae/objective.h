// objective.h - the bounds that VAEs of this family maximise, and what each asks of the kernels.
#pragma once

#include <vector>

#include "kernels/common/enum_names.h"
#include "kernels/objective/objective.h"

namespace idem {

// The CI-iVAE family by the rule that picks alpha in q_alpha = alpha q(z|x) + (1 - alpha) q(z|x,u) (Kim et al. 2022).
enum class Objective {
  encoder_elbo,       // alpha = 1: the encoder's own bound; labels act through the prior alone
  ivae,               // alpha = 0: product posterior, or an encoder of labels
  ci_ivae_paper,      // alpha of each sample maximises the bound, with the right sign and scale of the skew terms
  ci_ivae_published,  // as the released code: skew terms added, unscaled, absolute
  ci_ivae_fixed,      // one alpha for all samples, the paper's skew terms
};
template <>
struct EnumNames<Objective> {
  static constexpr const char* what = "objective";
  static constexpr EnumName<Objective> all[] = {{Objective::encoder_elbo, "encoder-elbo"},
                                                {Objective::ivae, "ivae"},
                                                {Objective::ci_ivae_paper, "ci-ivae/paper"},
                                                {Objective::ci_ivae_published, "ci-ivae/published"},
                                                {Objective::ci_ivae_fixed, "ci-ivae/fixed"}};
};

SkewTerm skew_term(Objective objective);

// The alphas that the bound is evaluated at for every bin: those of a grid of that step between 0 and 1, the ends
// included unless the published code leaves them out (the last step may be shorter), or the one that the objective
// stands for. fixed: that of ci_ivae_fixed.
std::vector<double> alpha_grid(Objective objective, double step, double fixed);

}  // namespace idem
