// encoder.h - q(z|x): from what the rows of a batch see to the mean and the (not yet bounded) log variance of their latents.
#pragma once

#include <memory>

#include "engine/convolution.h"

namespace idem {

// Parameters and activations of one of ModelDesign's encoders; x is [window x batch x n_neurons] (see gather_rows).
template <class Real>
class Encoder {
 public:
  virtual ~Encoder() = default;
  virtual void plan(Device& device, std::int32_t n_members, std::int32_t batch, bool training) = 0;
  virtual Rows<Real> mean() const = 0;         // [batch x n_latents]
  virtual Rows<Real> raw_log_var() const = 0;  // [batch x n_latents]
  virtual Rows<Real> d_mean() const = 0;
  virtual Rows<Real> d_raw_log_var() const = 0;

  virtual void forward(Device& device, const Parameters<Real>& parameters, const FleetExtent& fleet, Rows<const Real> x) const = 0;
  // Spends d_mean and d_raw_log_var and leaves the parameters' gradients.
  virtual void backward(Device& device, const Parameters<Real>& parameters, const FleetExtent& fleet, Rows<const Real> x) const = 0;
};

// Adds its tensors to the layout: encoder.trunk.I, encoder.mean and encoder.log_var (mlp), or encoder.mean.convI and encoder.log_var.convI.
template <class Real>
std::unique_ptr<Encoder<Real>> make_encoder(ParameterLayout& layout, const ModelDesign& design);

}  // namespace idem
