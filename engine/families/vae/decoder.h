// decoder.h - from latents to what the output map (objective.h) turns into means or rates.
#pragma once

#include <memory>

#include "engine/families/vae/design.h"
#include "engine/networks/dense.h"

namespace idem {

// Holds activations, not parameters.
template <class Real>
class Decoder {
 public:
  virtual ~Decoder() = default;
  virtual void plan(Device& device, std::int32_t n_members, std::int64_t n_rows) = 0;
  virtual Rows<Real> value() const = 0;  // [n_rows x n_outputs]
  virtual Rows<Real> d_value() const = 0;

  virtual void forward(Device& device, const Parameters<Real>& parameters, const FleetExtent& fleet,
                       Rows<const Real> z) const = 0;
  // Spends d_value, leaves the parameters' gradients and d_z. weigh: done to d_value first; may be null.
  virtual void backward(Device& device, const Parameters<Real>& parameters, const FleetExtent& fleet,
                        Rows<const Real> z, Rows<Real> d_z, const ScaleRows<Real>* weigh) const = 0;
};

// Adds its tensors to the layout: decoder.I (mlp), or those of GinDecoder.
template <class Real>
std::unique_ptr<Decoder<Real>> make_decoder(ParameterLayout& layout, const ModelDesign& design);

}  // namespace idem
