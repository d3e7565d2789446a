#include "engine/networks/gaussian_networks.h"

#include <type_traits>
#include <utility>

namespace idem {

namespace {

template <class Real>
class TrunkWithHeads final : public GaussianNetwork<Real> {
 public:
  TrunkWithHeads(ParameterLayout& layout, const std::string& prefix, std::int32_t n_in, const HiddenLayers& hidden,
                 std::int32_t n_out)
      : trunk_(layout, prefix + ".trunk", n_in, hidden, 0),
        mean_(layout, prefix + ".mean", trunk_.n_out(), n_out, Activation::identity, 0),
        log_var_(layout, prefix + ".log_var", trunk_.n_out(), n_out, Activation::identity, 0) {}

  void plan(Device& device, std::int32_t n_members, std::int32_t batch, bool training) override {
    batch_ = batch;
    trunk_.plan(device, n_members, batch, training);
    mean_.plan(device, n_members, batch, training);
    log_var_.plan(device, n_members, batch, training);
    if (!training || !device.runs_narrow_layers() || !fits_chain()) return;
    std::vector<WeightGradient<Real>> shapes = {mean_.weight_gradient_shape(batch),
                                                log_var_.weight_gradient_shape(batch)};
    trunk_.add_shapes(shapes, batch);
    narrow_gradients_.plan(device, n_members, shapes);
  }
  Rows<Real> mean() const override { return mean_.value(); }
  Rows<Real> raw_log_var() const override { return log_var_.value(); }
  Rows<Real> d_mean() const override { return mean_.d_value(); }
  Rows<Real> d_raw_log_var() const override { return log_var_.d_value(); }

  void forward(Device& device, const Parameters<Real>& parameters, const FleetExtent& fleet,
               Rows<const Real> x) const override {
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
  void backward(Device& device, const Parameters<Real>& parameters, const FleetExtent& fleet,
                Rows<const Real> x) const override {
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
  Rows<const Real> trunk_value(Rows<const Real> x) const {
    return trunk_.empty() ? x : Rows<const Real>(trunk_.value());
  }
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

  void forward(Device& device, const Parameters<Real>& parameters, const FleetExtent& fleet,
               Rows<const Real> x) const override {
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
  void backward(Device& device, const Parameters<Real>& parameters, const FleetExtent& fleet,
                Rows<const Real> x) const override {
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
  SharedMlp(ParameterLayout& layout, const std::string& prefix, std::int32_t n_in, const HiddenLayers& hidden,
            std::int32_t n_out)
      : n_out_(n_out), network_(layout, prefix, n_in, hidden, 2 * n_out) {}

  void plan(Device& device, std::int32_t n_members, std::int32_t batch, bool training) override {
    batch_ = batch;
    network_.plan(device, n_members, batch, training);
  }
  Rows<Real> mean() const override { return network_.value(); }
  Rows<Real> raw_log_var() const override { return log_var_of(network_.value()); }
  Rows<Real> d_mean() const override { return network_.d_value(); }
  Rows<Real> d_raw_log_var() const override {
    return network_.d_value() ? log_var_of(network_.d_value()) : Rows<Real>{};
  }

  void forward(Device& device, const Parameters<Real>& parameters, const FleetExtent& fleet,
               Rows<const Real> x) const override {
    network_.forward(device, parameters, fleet, batch_, x);
  }
  void backward(Device& device, const Parameters<Real>& parameters, const FleetExtent& fleet,
                Rows<const Real> x) const override {
    network_.backward(device, parameters, fleet, batch_, x, {});
  }

 private:
  Rows<Real> log_var_of(Rows<Real> both) const { return {both.data + n_out_, both.member_stride, both.row_stride}; }

  std::int32_t n_out_, batch_ = 0;
  Mlp<Real> network_;
};

}  // namespace

template <class Real>
std::unique_ptr<GaussianNetwork<Real>> mlp_with_heads(ParameterLayout& layout, const std::string& prefix,
                                                      std::int32_t n_in, const HiddenLayers& hidden,
                                                      std::int32_t n_out) {
  return std::make_unique<TrunkWithHeads<Real>>(layout, prefix, n_in, hidden, n_out);
}

template <class Real>
std::unique_ptr<GaussianNetwork<Real>> separate_mlps(ParameterLayout& layout, const std::string& prefix,
                                                     std::int32_t n_in, const HiddenLayers& hidden,
                                                     std::int32_t n_out) {
  Mlp<Real> mean(layout, prefix + ".mean", n_in, hidden, n_out),
      log_var(layout, prefix + ".log_var", n_in, hidden, n_out);
  return std::make_unique<NetworkPair<Real, Mlp<Real>>>(std::move(mean), std::move(log_var));
}

template <class Real>
std::unique_ptr<GaussianNetwork<Real>> shared_mlp(ParameterLayout& layout, const std::string& prefix, std::int32_t n_in,
                                                  const HiddenLayers& hidden, std::int32_t n_out) {
  return std::make_unique<SharedMlp<Real>>(layout, prefix, n_in, hidden, n_out);
}

template <class Real>
std::unique_ptr<GaussianNetwork<Real>> embeddings(ParameterLayout& layout, const std::string& prefix, std::int32_t n_in,
                                                  std::int32_t n_out) {
  EmbeddingTable<Real> mean(layout, prefix + ".mean", n_in, n_out), log_var(layout, prefix + ".log_var", n_in, n_out);
  return std::make_unique<NetworkPair<Real, EmbeddingTable<Real>>>(std::move(mean), std::move(log_var));
}

template std::unique_ptr<GaussianNetwork<float>> mlp_with_heads<float>(ParameterLayout&, const std::string&,
                                                                       std::int32_t, const HiddenLayers&, std::int32_t);
template std::unique_ptr<GaussianNetwork<float>> separate_mlps<float>(ParameterLayout&, const std::string&,
                                                                      std::int32_t, const HiddenLayers&, std::int32_t);
template std::unique_ptr<GaussianNetwork<float>> shared_mlp<float>(ParameterLayout&, const std::string&, std::int32_t,
                                                                   const HiddenLayers&, std::int32_t);
template std::unique_ptr<GaussianNetwork<float>> embeddings<float>(ParameterLayout&, const std::string&, std::int32_t,
                                                                   std::int32_t);
template std::unique_ptr<GaussianNetwork<double>> mlp_with_heads<double>(ParameterLayout&, const std::string&,
                                                                         std::int32_t, const HiddenLayers&,
                                                                         std::int32_t);
template std::unique_ptr<GaussianNetwork<double>> separate_mlps<double>(ParameterLayout&, const std::string&,
                                                                        std::int32_t, const HiddenLayers&,
                                                                        std::int32_t);
template std::unique_ptr<GaussianNetwork<double>> shared_mlp<double>(ParameterLayout&, const std::string&, std::int32_t,
                                                                     const HiddenLayers&, std::int32_t);
template std::unique_ptr<GaussianNetwork<double>> embeddings<double>(ParameterLayout&, const std::string&, std::int32_t,
                                                                     std::int32_t);

}  // namespace idem
