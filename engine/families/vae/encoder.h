// encoder.h - the encoder q(z|x), or q(z|x,u).
#pragma once

#include <memory>

#include "engine/families/vae/design.h"
#include "engine/networks/gaussian_networks.h"

namespace idem {

// x is [window x batch x n_encoder_inputs] (see gather_rows), of an encoder of labels neurons and then labels. Adds its
// tensors to the layout: encoder.trunk.I, encoder.mean and encoder.log_var (mlp), encoder.mean.I and encoder.log_var.I
// (separate_mlps), or encoder.mean.convI and encoder.log_var.convI.
template <class Real>
std::unique_ptr<GaussianNetwork<Real>> make_encoder(ParameterLayout& layout, const ModelDesign& design);

}  // namespace idem
