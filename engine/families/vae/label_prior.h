// label_prior.h - the prior p(z|u) of the latents given the labels.
#pragma once

#include <memory>

#include "engine/families/vae/design.h"
#include "engine/networks/gaussian_networks.h"

namespace idem {

// x is [batch x n_labels]; the priors of no label read nothing. Tensors prior.mean.I and prior.log_var.I
// (separate_mlps), prior.I (shared_mlp), prior.mean and prior.log_var (embedding, global), or none (standard_normal).
template <class Real>
std::unique_ptr<GaussianNetwork<Real>> make_label_prior(ParameterLayout& layout, const ModelDesign& design);

}  // namespace idem
