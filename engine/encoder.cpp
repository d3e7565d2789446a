#include "engine/encoder.h"

#include <stdexcept>

namespace idem {

namespace {

template <class Real>
class MlpEncoder final : public Encoder<Real> {
 public:
  MlpEncoder(ParameterLayout& layout, const ModelDesign& design)
      : trunk_(layout, "encoder.trunk", design.n_neurons, design.encoder, 0),
        mean_(layout, "encoder.mean", trunk_.n_out(), design.n_latents, Activation::identity, 0),
        log_var_(layout, "encoder.log_var", trunk_.n_out(), design.n_latents, Activation::identity, 0) {}

  void plan(Device& device, std::int32_t n_members, std::int32_t batch, bool training) override {
    batch_ = batch;
    trunk_.plan(device, n_members, batch, training);
    mean_.plan(device, n_members, batch, training);
    log_var_.plan(device, n_members, batch, training);
  }
  Rows<Real> mean() const override { return mean_.value(); }
  Rows<Real> raw_log_var() const override { return log_var_.value(); }
  Rows<Real> d_mean() const override { return mean_.d_value(); }
  Rows<Real> d_raw_log_var() const override { return log_var_.d_value(); }

  void forward(Device& device, const Parameters<Real>& parameters, const FleetExtent& fleet, Rows<const Real> x) const override {
    if (!trunk_.empty()) trunk_.forward(device, parameters, fleet, batch_, x);
    mean_.forward(device, parameters, fleet, batch_, trunk_value(x));
    log_var_.forward(device, parameters, fleet, batch_, trunk_value(x));
  }
  void backward(Device& device, const Parameters<Real>& parameters, const FleetExtent& fleet, Rows<const Real> x) const override {
    const Rows<Real> d_trunk = trunk_.empty() ? Rows<Real>{} : trunk_.d_value();
    mean_.backward(device, parameters, fleet, batch_, trunk_value(x), d_trunk, false);
    log_var_.backward(device, parameters, fleet, batch_, trunk_value(x), d_trunk, true);
    if (!trunk_.empty()) trunk_.backward(device, parameters, fleet, batch_, x, {});
  }

 private:
  Rows<const Real> trunk_value(Rows<const Real> x) const { return trunk_.empty() ? x : Rows<const Real>(trunk_.value()); }

  std::int32_t batch_ = 0;
  Mlp<Real> trunk_;
  Dense<Real> mean_, log_var_;
};

// Two networks that share nothing, as conv-pi-VAE has them.
template <class Real>
class ConvolutionEncoder final : public Encoder<Real> {
 public:
  ConvolutionEncoder(ParameterLayout& layout, const ModelDesign& design)
      : mean_(layout, "encoder.mean", design.window, design.n_neurons, design.channels, design.n_latents, design.encoder.activation,
              design.encoder.slope),
        log_var_(layout, "encoder.log_var", design.window, design.n_neurons, design.channels, design.n_latents, design.encoder.activation,
                 design.encoder.slope) {}

  void plan(Device& device, std::int32_t n_members, std::int32_t batch, bool training) override {
    mean_.plan(device, n_members, batch, training);
    log_var_.plan(device, n_members, batch, training);
  }
  Rows<Real> mean() const override { return mean_.value(); }
  Rows<Real> raw_log_var() const override { return log_var_.value(); }
  Rows<Real> d_mean() const override { return mean_.d_value(); }
  Rows<Real> d_raw_log_var() const override { return log_var_.d_value(); }

  void forward(Device& device, const Parameters<Real>& parameters, const FleetExtent& fleet, Rows<const Real> x) const override {
    mean_.forward(device, parameters, fleet, x);
    log_var_.forward(device, parameters, fleet, x);
  }
  void backward(Device& device, const Parameters<Real>& parameters, const FleetExtent& fleet, Rows<const Real> x) const override {
    mean_.backward(device, parameters, fleet, x, {});
    log_var_.backward(device, parameters, fleet, x, {});
  }

 private:
  TemporalConvolution<Real> mean_, log_var_;
};

}  // namespace

template <class Real>
std::unique_ptr<Encoder<Real>> make_encoder(ParameterLayout& layout, const ModelDesign& design) {
  switch (design.encoder_kind) {
    case EncoderKind::mlp: return std::make_unique<MlpEncoder<Real>>(layout, design);
    case EncoderKind::temporal_convolution: return std::make_unique<ConvolutionEncoder<Real>>(layout, design);
  }
  throw std::invalid_argument("unknown encoder");
}

template std::unique_ptr<Encoder<float>> make_encoder<float>(ParameterLayout&, const ModelDesign&);
template std::unique_ptr<Encoder<double>> make_encoder<double>(ParameterLayout&, const ModelDesign&);

}  // namespace idem
