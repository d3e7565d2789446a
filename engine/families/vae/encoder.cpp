#include "engine/families/vae/encoder.h"

#include <stdexcept>

#include "engine/networks/convolution.h"

namespace idem {

namespace {

// Two networks that share nothing, as conv-pi-VAE has them.
template <class Real>
class ConvolutionEncoder final : public GaussianNetwork<Real> {
 public:
  ConvolutionEncoder(ParameterLayout& layout, const ModelDesign& design)
      : networks_(layout, {"encoder.mean", "encoder.log_var"}, design.window, design.n_neurons, design.channels,
                  design.n_latents, design.encoder.activation, design.encoder.slope) {}

  void plan(Device& device, std::int32_t n_members, std::int32_t batch, bool training) override {
    networks_.plan(device, n_members, batch, training);
  }
  Rows<Real> mean() const override { return networks_.value(0); }
  Rows<Real> raw_log_var() const override { return networks_.value(1); }
  Rows<Real> d_mean() const override { return networks_.d_value(0); }
  Rows<Real> d_raw_log_var() const override { return networks_.d_value(1); }

  void forward(Device& device, const Parameters<Real>& parameters, const FleetExtent& fleet,
               Rows<const Real> x) const override {
    networks_.forward(device, parameters, fleet, x);
  }
  void backward(Device& device, const Parameters<Real>& parameters, const FleetExtent& fleet,
                Rows<const Real> x) const override {
    networks_.backward(device, parameters, fleet, x, {});
  }

 private:
  TemporalConvolution<Real> networks_;
};

}  // namespace

template <class Real>
std::unique_ptr<GaussianNetwork<Real>> make_encoder(ParameterLayout& layout, const ModelDesign& design) {
  const std::int32_t n_in = design.n_encoder_inputs();
  switch (design.encoder_kind) {
    case EncoderKind::mlp: return mlp_with_heads<Real>(layout, "encoder", n_in, design.encoder, design.n_latents);
    case EncoderKind::separate_mlps:
      return separate_mlps<Real>(layout, "encoder", n_in, design.encoder, design.n_latents);
    case EncoderKind::temporal_convolution: return std::make_unique<ConvolutionEncoder<Real>>(layout, design);
  }
  throw std::invalid_argument("unknown encoder");
}

template std::unique_ptr<GaussianNetwork<float>> make_encoder<float>(ParameterLayout&, const ModelDesign&);
template std::unique_ptr<GaussianNetwork<double>> make_encoder<double>(ParameterLayout&, const ModelDesign&);

}  // namespace idem
