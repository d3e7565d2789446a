#include "engine/families/vae/decoder.h"

#include <stdexcept>

#include "engine/families/vae/gin_decoder.h"

namespace idem {

namespace {

template <class Real>
class MlpDecoder final : public Decoder<Real> {
 public:
  MlpDecoder(ParameterLayout& layout, const ModelDesign& design)
      : network_(layout, "decoder", design.n_latents, design.decoder, design.n_outputs()) {}

  void plan(Device& device, std::int32_t n_members, std::int64_t n_rows) override {
    n_rows_ = n_rows;
    network_.plan(device, n_members, n_rows, true);
  }
  Rows<Real> value() const override { return network_.value(); }
  Rows<Real> d_value() const override { return network_.d_value(); }

  void forward(Device& device, const Parameters<Real>& parameters, const FleetExtent& fleet,
               Rows<const Real> z) const override {
    network_.forward(device, parameters, fleet, n_rows_, z);
  }
  void backward(Device& device, const Parameters<Real>& parameters, const FleetExtent& fleet, Rows<const Real> z,
                Rows<Real> d_z, const ScaleRows<Real>* weigh) const override {
    network_.backward(device, parameters, fleet, n_rows_, z, d_z, {}, weigh);
  }

 private:
  std::int64_t n_rows_ = 0;
  Mlp<Real> network_;
};

}  // namespace

template <class Real>
std::unique_ptr<Decoder<Real>> make_decoder(ParameterLayout& layout, const ModelDesign& design) {
  switch (design.decoder_kind) {
    case DecoderKind::mlp: return std::make_unique<MlpDecoder<Real>>(layout, design);
    case DecoderKind::gin:
      return std::make_unique<GinDecoder<Real>>(layout, "decoder", design.n_latents, design.n_outputs(), design.flow);
  }
  throw std::invalid_argument("unknown decoder");
}

template std::unique_ptr<Decoder<float>> make_decoder<float>(ParameterLayout&, const ModelDesign&);
template std::unique_ptr<Decoder<double>> make_decoder<double>(ParameterLayout&, const ModelDesign&);

}  // namespace idem
