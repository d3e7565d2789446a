// gin_decoder.h - the decoder of pi-VAE: latents lifted to as many dimensions as there are outputs, then a flow that
// preserves volume.
//
//   lift      y = [z, network(z)], the network z -> width -> width -> n_outputs - n_latents with rectifiers
//   block b   y[j] = x[permutations[b][j]], then two couplings (layers.h), each with a network of n_outputs / 2 ->
//             width -> width -> 2 m - 1
// z is copied and every later step can be undone, so latents and outputs are one to one. Sources: Sorrenson, Rother &
// Koethe 2020 (arXiv 2001.04872) for GIN, Zhou & Wei 2020 (arXiv 2011.04798) for the decoder.
#pragma once

#include "engine/device/array.h"
#include "engine/families/vae/decoder.h"
#include "engine/families/vae/design.h"
#include "kernels/common/to_size.h"

namespace idem {

// Tensors PREFIX.first.I (the lift) and PREFIX.blockB.C.I, C = 0 and 1 (with tied couplings: 0 alone).
template <class Real>
class GinDecoder final : public Decoder<Real> {
 public:
  // Throws std::invalid_argument unless there are more outputs than latents, a width, a block, and every entry of
  // permutations is one.
  GinDecoder(ParameterLayout& layout, const std::string& prefix, std::int32_t n_latents, std::int32_t n_outputs,
             const GinFlow& flow);

  void plan(Device& device, std::int32_t n_members, std::int64_t n_rows) override;
  Rows<Real> value() const override { return steps_.back(); }
  Rows<Real> d_value() const override { return d_steps_.back(); }

  void forward(Device& device, const Parameters<Real>& parameters, const FleetExtent& fleet,
               Rows<const Real> z) const override;
  void backward(Device& device, const Parameters<Real>& parameters, const FleetExtent& fleet, Rows<const Real> z,
                Rows<Real> d_z, const ScaleRows<Real>* weigh) const override;

  // The y that the flow of a member with these tensors takes to a row of outputs: its latents, then what the lift made
  // of them. On the host. Throws std::invalid_argument where the row is longer or shorter than the decoder's.
  std::vector<double> inverse(const NamedTensors& tensors, std::vector<double> outputs) const;

 private:
  JoinFeatures<Real> lifted(const FleetExtent& fleet, Rows<const Real> z) const;
  JoinFeaturesGradient<Real> lifted_gradient(const FleetExtent& fleet, Rows<const Real> z, Rows<Real> d_z) const;
  Coupling<Real> coupling(const FleetExtent& fleet, std::size_t index) const;
  CouplingGradient<Real> coupling_gradient(const FleetExtent& fleet, std::size_t index) const;
  // Whether rows go through the whole flow in one launch, by its shape and then on this device.
  bool fits_chain() const;
  bool is_in_chain(const Device& device, const Parameters<Real>& parameters) const;
  // Where a block's permutation puts each feature that reaches it.
  const std::int32_t* place_in(std::size_t block) const { return places_.data() + block * to_size(n_outputs_); }

  std::string prefix_;
  std::int32_t n_latents_, n_outputs_;
  bool is_tied_;
  std::size_t n_blocks_;
  std::vector<std::int32_t> host_places_;
  Mlp<Real> lift_;
  std::vector<Mlp<Real>> networks_;  // of the couplings
  std::int64_t n_rows_ = 0;
  Array<std::int32_t> places_;
  std::vector<Activations<Real>> steps_, d_steps_;  // what each coupling gets, and the result
  std::vector<Activations<Real>> log_scales_;
  NarrowGradients<Real> narrow_gradients_;
};

}  // namespace idem
