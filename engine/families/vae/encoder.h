// encoder.h - the networks of conditional Gaussians: the encoder q(z|x) and the label prior p(z|u).
#pragma once

#include <memory>

#include "engine/networks/convolution.h"

namespace idem {

// From what the rows of a batch see, x, to the mean and the (not yet bounded) log variance of their latents. Holds activations, not parameters.
template <class Real>
class GaussianNetwork {
 public:
  virtual ~GaussianNetwork() = default;
  virtual void plan(Device& device, std::int32_t n_members, std::int32_t batch, bool training) = 0;
  virtual Rows<Real> mean() const = 0;         // [batch x n_latents]
  virtual Rows<Real> raw_log_var() const = 0;  // [batch x n_latents]
  virtual Rows<Real> d_mean() const = 0;
  virtual Rows<Real> d_raw_log_var() const = 0;

  virtual void forward(Device& device, const Parameters<Real>& parameters, const FleetExtent& fleet, Rows<const Real> x) const = 0;
  // Spends d_mean and d_raw_log_var and leaves the parameters' gradients, after a join of the device's branches.
  virtual void backward(Device& device, const Parameters<Real>& parameters, const FleetExtent& fleet, Rows<const Real> x) const = 0;
};

// x is [window x batch x n_encoder_inputs] (see gather_rows), of an encoder of labels neurons and then labels. Adds its tensors to the layout:
// encoder.trunk.I, encoder.mean and encoder.log_var (mlp), encoder.mean.I and encoder.log_var.I (separate_mlps), or encoder.mean.convI and
// encoder.log_var.convI.
template <class Real>
std::unique_ptr<GaussianNetwork<Real>> make_encoder(ParameterLayout& layout, const ModelDesign& design);

// x is [batch x n_labels]; the priors of no label read nothing. Tensors prior.mean.I and prior.log_var.I (separate_mlps), prior.I (shared_mlp),
// prior.mean and prior.log_var (embedding, global), or none (standard_normal).
template <class Real>
std::unique_ptr<GaussianNetwork<Real>> make_label_prior(ParameterLayout& layout, const ModelDesign& design);

}  // namespace idem
