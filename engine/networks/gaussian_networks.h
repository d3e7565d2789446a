// gaussian_networks.h - networks that give the mean and the log variance of a conditional Gaussian.
#pragma once

#include <memory>
#include <string>

#include "engine/networks/dense.h"

namespace idem {

// From what the rows of a batch see, x, to the mean and the (not yet bounded) log variance of their latents. Holds
// activations, not parameters.
template <class Real>
class GaussianNetwork {
 public:
  virtual ~GaussianNetwork() = default;
  virtual void plan(Device& device, std::int32_t n_members, std::int32_t batch, bool training) = 0;
  virtual Rows<Real> mean() const = 0;         // [batch x n_latents]
  virtual Rows<Real> raw_log_var() const = 0;  // [batch x n_latents]
  virtual Rows<Real> d_mean() const = 0;
  virtual Rows<Real> d_raw_log_var() const = 0;

  virtual void forward(Device& device, const Parameters<Real>& parameters, const FleetExtent& fleet,
                       Rows<const Real> x) const = 0;
  // Spends d_mean and d_raw_log_var and leaves the parameters' gradients, after a join of the device's branches.
  virtual void backward(Device& device, const Parameters<Real>& parameters, const FleetExtent& fleet,
                        Rows<const Real> x) const = 0;
};

// Each adds its tensors to the layout, from n_in inputs to the n_out latents.
//   mlp_with_heads  PREFIX.trunk.I, PREFIX.mean, PREFIX.log_var   hidden layers and two linear heads
//   separate_mlps   PREFIX.mean.I, PREFIX.log_var.I               two networks that share nothing
//   shared_mlp      PREFIX.I                                      one network: the means, then the log variances
//   embeddings      PREFIX.mean, PREFIX.log_var                   a table each, of which x picks columns
template <class Real>
std::unique_ptr<GaussianNetwork<Real>> mlp_with_heads(ParameterLayout& layout, const std::string& prefix,
                                                      std::int32_t n_in, const HiddenLayers& hidden,
                                                      std::int32_t n_out);
template <class Real>
std::unique_ptr<GaussianNetwork<Real>> separate_mlps(ParameterLayout& layout, const std::string& prefix,
                                                     std::int32_t n_in, const HiddenLayers& hidden, std::int32_t n_out);
template <class Real>
std::unique_ptr<GaussianNetwork<Real>> shared_mlp(ParameterLayout& layout, const std::string& prefix, std::int32_t n_in,
                                                  const HiddenLayers& hidden, std::int32_t n_out);
template <class Real>
std::unique_ptr<GaussianNetwork<Real>> embeddings(ParameterLayout& layout, const std::string& prefix, std::int32_t n_in,
                                                  std::int32_t n_out);

}  // namespace idem
