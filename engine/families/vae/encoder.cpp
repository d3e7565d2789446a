#include "engine/families/vae/encoder.h"

#include <stdexcept>
#include <type_traits>

#include "kernels/common/stable_math.h"

namespace idem {

namespace {

template <class Real>
class TrunkWithHeads final : public GaussianNetwork<Real> {
 public:
  TrunkWithHeads(ParameterLayout& layout, const std::string& prefix, std::int32_t n_in, const HiddenLayers& hidden, std::int32_t n_out)
      : trunk_(layout, prefix + ".trunk", n_in, hidden, 0),
        mean_(layout, prefix + ".mean", trunk_.n_out(), n_out, Activation::identity, 0),
        log_var_(layout, prefix + ".log_var", trunk_.n_out(), n_out, Activation::identity, 0) {}

  void plan(Device& device, std::int32_t n_members, std::int32_t batch, bool training) override {
    batch_ = batch;
    trunk_.plan(device, n_members, batch, training);
    mean_.plan(device, n_members, batch, training);
    log_var_.plan(device, n_members, batch, training);
    if (!training || !device.runs_narrow_layers() || !fits_chain()) return;
    std::vector<WeightGradient<Real>> shapes = {mean_.weight_gradient_shape(batch), log_var_.weight_gradient_shape(batch)};
    trunk_.add_shapes(shapes, batch);
    narrow_gradients_.plan(device, n_members, shapes);
  }
  Rows<Real> mean() const override { return mean_.value(); }
  Rows<Real> raw_log_var() const override { return log_var_.value(); }
  Rows<Real> d_mean() const override { return mean_.d_value(); }
  Rows<Real> d_raw_log_var() const override { return log_var_.d_value(); }

  void forward(Device& device, const Parameters<Real>& parameters, const FleetExtent& fleet, Rows<const Real> x) const override {
    if (is_in_chain(device, parameters)) {
      auto chain = chain_on<RowChain<Real>>(device, fleet, batch_);
      chain.begin_chain();
      trunk_.add(chain, parameters, x);
      chain.add(RowOperation::layer).layer = mean_.step(parameters, trunk_value(x));
      chain.add(RowOperation::layer).layer = log_var_.step(parameters, trunk_value(x));
      return row_chain_forward(device.execution(), chain);
    }
    if (!trunk_.empty()) trunk_.forward(device, parameters, fleet, batch_, x);
    mean_.forward(device, parameters, fleet, batch_, trunk_value(x));
    log_var_.forward(device, parameters, fleet, batch_, trunk_value(x));
  }
  void backward(Device& device, const Parameters<Real>& parameters, const FleetExtent& fleet, Rows<const Real> x) const override {
    const Rows<Real> d_trunk = trunk_.empty() ? Rows<Real>{} : trunk_.d_value();
    if (is_in_chain(device, parameters)) {
      auto chain = chain_on<RowChainGradient<Real>>(device, fleet, batch_);
      chain.begin_chain();
      chain.add(RowOperation::layer).layer = mean_.gradient_step(parameters, d_trunk, false);
      chain.add(RowOperation::layer).layer = log_var_.gradient_step(parameters, d_trunk, true);
      trunk_.add(chain, parameters, {}, false);
      row_chain_backward(device.execution(), chain);
      std::vector<WeightGradient<Real>> layers;
      trunk_.add(layers, parameters, batch_, x, false);
      layers.push_back(mean_.weight_gradient(parameters, batch_, trunk_value(x), false));
      layers.push_back(log_var_.weight_gradient(parameters, batch_, trunk_value(x), false));
      return narrow_gradients_.sum(device, fleet, layers);
    }
    mean_.backward(device, parameters, fleet, batch_, trunk_value(x), d_trunk);
    log_var_.backward(device, parameters, fleet, batch_, trunk_value(x), d_trunk, {.d_x = true});
    if (!trunk_.empty()) trunk_.backward(device, parameters, fleet, batch_, x, {});
  }

 private:
  Rows<const Real> trunk_value(Rows<const Real> x) const { return trunk_.empty() ? x : Rows<const Real>(trunk_.value()); }
  bool fits_chain() const {
    return trunk_.n_layers() + 2 <= kMostRowSteps && trunk_.fits_chain() && mean_.fits_chain() && log_var_.fits_chain();
  }
  bool is_in_chain(const Device& device, const Parameters<Real>& parameters) const {
    return fits_chain() && trunk_.is_in_chain(device, parameters) && mean_.is_in_chain(device, parameters) &&
           log_var_.is_in_chain(device, parameters);
  }

  std::int32_t batch_ = 0;
  Mlp<Real> trunk_;
  Dense<Real> mean_, log_var_;
  NarrowGradients<Real> narrow_gradients_;
};

// Two networks that share nothing. Network: Mlp or EmbeddingTable.
template <class Real, class Network>
class NetworkPair final : public GaussianNetwork<Real> {
 public:
  NetworkPair(Network mean, Network log_var) : mean_(std::move(mean)), log_var_(std::move(log_var)) {}

  void plan(Device& device, std::int32_t n_members, std::int32_t batch, bool training) override {
    batch_ = batch;
    mean_.plan(device, n_members, batch, training);
    log_var_.plan(device, n_members, batch, training);
    if constexpr (kIsMlp) {
      if (!training || !device.runs_narrow_layers() || !fits_chain()) return;
      std::vector<WeightGradient<Real>> shapes;
      for (const auto* network : {&mean_, &log_var_}) network->add_shapes(shapes, batch);
      narrow_gradients_.plan(device, n_members, shapes);
    }
  }
  Rows<Real> mean() const override { return mean_.value(); }
  Rows<Real> raw_log_var() const override { return log_var_.value(); }
  Rows<Real> d_mean() const override { return mean_.d_value(); }
  Rows<Real> d_raw_log_var() const override { return log_var_.d_value(); }

  void forward(Device& device, const Parameters<Real>& parameters, const FleetExtent& fleet, Rows<const Real> x) const override {
    if constexpr (kIsMlp) {
      if (is_in_chain(device, parameters)) {
        auto chain = chain_on<RowChain<Real>>(device, fleet, batch_);
        for (const auto* network : {&mean_, &log_var_}) {
          chain.begin_chain();
          network->add(chain, parameters, x);
        }
        return row_chain_forward(device.execution(), chain);
      }
    }
    device.aside([&] { log_var_.forward(device, parameters, fleet, batch_, x); });
    mean_.forward(device, parameters, fleet, batch_, x);
    device.join();
  }
  void backward(Device& device, const Parameters<Real>& parameters, const FleetExtent& fleet, Rows<const Real> x) const override {
    if constexpr (kIsMlp) {
      if (is_in_chain(device, parameters)) {
        auto chain = chain_on<RowChainGradient<Real>>(device, fleet, batch_);
        std::vector<WeightGradient<Real>> layers;
        for (const auto* network : {&mean_, &log_var_}) {
          chain.begin_chain();
          network->add(chain, parameters, Rows<Real>{}, false);
          network->add(layers, parameters, batch_, x, false);
        }
        row_chain_backward(device.execution(), chain);
        return narrow_gradients_.sum(device, fleet, layers);
      }
    }
    mean_.backward(device, parameters, fleet, batch_, x);
    log_var_.backward(device, parameters, fleet, batch_, x);
  }

 private:
  static constexpr bool kIsMlp = std::is_same_v<Network, Mlp<Real>>;
  bool fits_chain() const
    requires kIsMlp
  {
    return mean_.n_layers() + log_var_.n_layers() <= kMostRowSteps && mean_.fits_chain() && log_var_.fits_chain();
  }
  bool is_in_chain(const Device& device, const Parameters<Real>& parameters) const
    requires kIsMlp
  {
    return fits_chain() && mean_.is_in_chain(device, parameters) && log_var_.is_in_chain(device, parameters);
  }

  std::int32_t batch_ = 0;
  Network mean_, log_var_;
  NarrowGradients<Real> narrow_gradients_;
};

// One network: the means, then the log variances.
template <class Real>
class SharedMlp final : public GaussianNetwork<Real> {
 public:
  SharedMlp(ParameterLayout& layout, const std::string& prefix, std::int32_t n_in, const HiddenLayers& hidden, std::int32_t n_out)
      : n_out_(n_out), network_(layout, prefix, n_in, hidden, 2 * n_out) {}

  void plan(Device& device, std::int32_t n_members, std::int32_t batch, bool training) override {
    batch_ = batch;
    network_.plan(device, n_members, batch, training);
  }
  Rows<Real> mean() const override { return network_.value(); }
  Rows<Real> raw_log_var() const override { return log_var_of(network_.value()); }
  Rows<Real> d_mean() const override { return network_.d_value(); }
  Rows<Real> d_raw_log_var() const override { return network_.d_value() ? log_var_of(network_.d_value()) : Rows<Real>{}; }

  void forward(Device& device, const Parameters<Real>& parameters, const FleetExtent& fleet, Rows<const Real> x) const override {
    network_.forward(device, parameters, fleet, batch_, x);
  }
  void backward(Device& device, const Parameters<Real>& parameters, const FleetExtent& fleet, Rows<const Real> x) const override {
    network_.backward(device, parameters, fleet, batch_, x, {});
  }

 private:
  Rows<Real> log_var_of(Rows<Real> both) const { return {both.data + n_out_, both.member_stride, both.row_stride}; }

  std::int32_t n_out_, batch_ = 0;
  Mlp<Real> network_;
};

// Two networks that share nothing, as conv-pi-VAE has them.
template <class Real>
class ConvolutionEncoder final : public GaussianNetwork<Real> {
 public:
  ConvolutionEncoder(ParameterLayout& layout, const ModelDesign& design)
      : networks_(layout, {"encoder.mean", "encoder.log_var"}, design.window, design.n_neurons, design.channels, design.n_latents,
                  design.encoder.activation, design.encoder.slope) {}

  void plan(Device& device, std::int32_t n_members, std::int32_t batch, bool training) override {
    networks_.plan(device, n_members, batch, training);
  }
  Rows<Real> mean() const override { return networks_.value(0); }
  Rows<Real> raw_log_var() const override { return networks_.value(1); }
  Rows<Real> d_mean() const override { return networks_.d_value(0); }
  Rows<Real> d_raw_log_var() const override { return networks_.d_value(1); }

  void forward(Device& device, const Parameters<Real>& parameters, const FleetExtent& fleet, Rows<const Real> x) const override {
    networks_.forward(device, parameters, fleet, x);
  }
  void backward(Device& device, const Parameters<Real>& parameters, const FleetExtent& fleet, Rows<const Real> x) const override {
    networks_.backward(device, parameters, fleet, x, {});
  }

 private:
  TemporalConvolution<Real> networks_;
};

// One mean and log variance for all rows: a table with a single column, picked by every row.
template <class Real>
class GlobalPrior final : public GaussianNetwork<Real> {
 public:
  GlobalPrior(ParameterLayout& layout, const ModelDesign& design)
      : table_(EmbeddingTable<Real>(layout, "prior.mean", 1, design.n_latents), EmbeddingTable<Real>(layout, "prior.log_var", 1, design.n_latents)) {}

  void plan(Device& device, std::int32_t n_members, std::int32_t batch, bool training) override {
    table_.plan(device, n_members, batch, training);
    picked_ = Activations<Real>(device, n_members, batch, 1);
    picked_.memory().upload(std::vector<Real>(picked_.memory().size(), Real(1)));  // also the padding, which no product reads
  }
  Rows<Real> mean() const override { return table_.mean(); }
  Rows<Real> raw_log_var() const override { return table_.raw_log_var(); }
  Rows<Real> d_mean() const override { return table_.d_mean(); }
  Rows<Real> d_raw_log_var() const override { return table_.d_raw_log_var(); }

  void forward(Device& device, const Parameters<Real>& parameters, const FleetExtent& fleet, Rows<const Real>) const override {
    table_.forward(device, parameters, fleet, picked_);
  }
  void backward(Device& device, const Parameters<Real>& parameters, const FleetExtent& fleet, Rows<const Real>) const override {
    table_.backward(device, parameters, fleet, picked_);
  }

 private:
  NetworkPair<Real, EmbeddingTable<Real>> table_;
  Activations<Real> picked_;
};

// N(0, I). What it is given as gradients goes nowhere.
template <class Real>
class StandardNormalPrior final : public GaussianNetwork<Real> {
 public:
  explicit StandardNormalPrior(const ModelDesign& design) : n_latents_(design.n_latents), raw_(raw_of_variance_one(design)) {}

  void plan(Device& device, std::int32_t n_members, std::int32_t batch, bool training) override {
    mean_ = Activations<Real>(device, n_members, batch, n_latents_);
    raw_log_var_ = Activations<Real>(device, n_members, batch, n_latents_);
    raw_log_var_.memory().upload(std::vector<Real>(raw_log_var_.memory().size(), static_cast<Real>(raw_)));
    if (!training) return;
    d_mean_ = Activations<Real>(device, n_members, batch, n_latents_);
    d_raw_log_var_ = Activations<Real>(device, n_members, batch, n_latents_);
  }
  Rows<Real> mean() const override { return mean_; }
  Rows<Real> raw_log_var() const override { return raw_log_var_; }
  Rows<Real> d_mean() const override { return d_mean_; }
  Rows<Real> d_raw_log_var() const override { return d_raw_log_var_; }
  void forward(Device&, const Parameters<Real>&, const FleetExtent&, Rows<const Real>) const override {}
  void backward(Device&, const Parameters<Real>&, const FleetExtent&, Rows<const Real>) const override {}

 private:
  // What the bound of the log variances makes 0 of. It grows with raw, so halving finds it.
  static double raw_of_variance_one(const ModelDesign& design) {
    if (design.log_var_bound == LogVarBound::none) return 0;
    const auto bounded = [&](double raw) { return stable::bound_log_var(raw, design.log_var_low, design.log_var_high); };
    double low = -1e3, high = 1e3;
    if (!(bounded(low) < 0 && bounded(high) > 0)) throw std::invalid_argument("a standard normal prior needs log variances bounded about 0");
    for (int i = 0; i < 200; ++i) (bounded((low + high) / 2) < 0 ? low : high) = (low + high) / 2;
    return (low + high) / 2;
  }

  std::int32_t n_latents_;
  double raw_;
  Activations<Real> mean_, raw_log_var_, d_mean_, d_raw_log_var_;
};

template <class Real>
std::unique_ptr<GaussianNetwork<Real>> separate_mlps(ParameterLayout& layout, const std::string& prefix, std::int32_t n_in,
                                                     const HiddenLayers& hidden, std::int32_t n_out) {
  Mlp<Real> mean(layout, prefix + ".mean", n_in, hidden, n_out), log_var(layout, prefix + ".log_var", n_in, hidden, n_out);
  return std::make_unique<NetworkPair<Real, Mlp<Real>>>(std::move(mean), std::move(log_var));
}

}  // namespace

template <class Real>
std::unique_ptr<GaussianNetwork<Real>> make_encoder(ParameterLayout& layout, const ModelDesign& design) {
  const std::int32_t n_in = design.n_encoder_inputs();
  switch (design.encoder_kind) {
    case EncoderKind::mlp: return std::make_unique<TrunkWithHeads<Real>>(layout, "encoder", n_in, design.encoder, design.n_latents);
    case EncoderKind::separate_mlps: return separate_mlps<Real>(layout, "encoder", n_in, design.encoder, design.n_latents);
    case EncoderKind::temporal_convolution: return std::make_unique<ConvolutionEncoder<Real>>(layout, design);
  }
  throw std::invalid_argument("unknown encoder");
}

template <class Real>
std::unique_ptr<GaussianNetwork<Real>> make_label_prior(ParameterLayout& layout, const ModelDesign& design) {
  switch (design.prior_kind) {
    case PriorKind::separate_mlps: return separate_mlps<Real>(layout, "prior", design.n_labels, design.prior, design.n_latents);
    case PriorKind::shared_mlp: return std::make_unique<SharedMlp<Real>>(layout, "prior", design.n_labels, design.prior, design.n_latents);
    case PriorKind::embedding: {
      EmbeddingTable<Real> mean(layout, "prior.mean", design.n_labels, design.n_latents), log_var(layout, "prior.log_var", design.n_labels, design.n_latents);
      return std::make_unique<NetworkPair<Real, EmbeddingTable<Real>>>(std::move(mean), std::move(log_var));
    }
    case PriorKind::standard_normal: return std::make_unique<StandardNormalPrior<Real>>(design);
    case PriorKind::global: return std::make_unique<GlobalPrior<Real>>(layout, design);
  }
  throw std::invalid_argument("unknown prior");
}

template std::unique_ptr<GaussianNetwork<float>> make_encoder<float>(ParameterLayout&, const ModelDesign&);
template std::unique_ptr<GaussianNetwork<double>> make_encoder<double>(ParameterLayout&, const ModelDesign&);
template std::unique_ptr<GaussianNetwork<float>> make_label_prior<float>(ParameterLayout&, const ModelDesign&);
template std::unique_ptr<GaussianNetwork<double>> make_label_prior<double>(ParameterLayout&, const ModelDesign&);

}  // namespace idem
