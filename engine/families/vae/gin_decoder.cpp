#include "engine/families/vae/gin_decoder.h"

#include <algorithm>
#include <cmath>
#include <numeric>
#include <stdexcept>

#include "kernels/common/to_size.h"

namespace idem {

namespace {

// Where each feature goes: the inverses of the permutations, one after the other.
std::vector<std::int32_t> places_of(const std::vector<std::vector<std::int32_t>>& permutations, std::int32_t n) {
  std::vector<std::int32_t> places;
  for (const auto& permutation : permutations) {
    // Its length first: the number of outputs may be any a file says.
    std::vector<std::int32_t> place(std::min(permutation.size(), to_size(n)), -1);
    for (std::size_t j = 0; j < permutation.size(); ++j)
      if (permutation[j] >= 0 && to_size(permutation[j]) < place.size())
        place[to_size(permutation[j])] = static_cast<std::int32_t>(j);
    bool is_permutation = permutation.size() == to_size(n);
    for (const auto to : place) is_permutation = is_permutation && to >= 0;
    if (!is_permutation)
      throw std::invalid_argument("a block of a GIN decoder needs a permutation of its " + std::to_string(n) +
                                  " outputs");
    places.insert(places.end(), place.begin(), place.end());
  }
  return places;
}

std::int32_t checked_outputs(std::int32_t n_outputs, std::int32_t n_latents) {
  if (n_outputs <= n_latents)
    throw std::invalid_argument("a GIN decoder needs more outputs than latents, not " + std::to_string(n_outputs) +
                                " of " + std::to_string(n_latents));
  return n_outputs;
}

// A network of this decoder, on the host: two hidden layers of rectifiers, and a linear one.
std::vector<double> network_value(const NamedTensors& tensors, const std::string& name, std::vector<double> x) {
  constexpr int n_layers = 3;
  for (int layer = 0; layer < n_layers; ++layer) {
    const std::string prefix = name + "." + std::to_string(layer);
    const std::vector<double>& weight = tensors.at(prefix + ".weight").values;
    std::vector<double> y = tensors.at(prefix + ".bias").values;
    for (std::size_t out = 0; out < y.size(); ++out) {
      y[out] =
          std::inner_product(x.begin(), x.end(), weight.begin() + static_cast<std::ptrdiff_t>(out * x.size()), y[out]);
      if (layer + 1 < n_layers) y[out] = std::max(y[out], 0.0);
    }
    x = std::move(y);
  }
  return x;
}

}  // namespace

template <class Real>
GinDecoder<Real>::GinDecoder(ParameterLayout& layout, const std::string& prefix, std::int32_t n_latents,
                             std::int32_t n_outputs, const GinFlow& flow)
    : prefix_(prefix),
      n_latents_(n_latents),
      n_outputs_(checked_outputs(n_outputs, n_latents)),
      is_tied_(flow.tie_couplings),
      n_blocks_(flow.permutations.size()),
      host_places_(places_of(flow.permutations, n_outputs)),
      lift_(layout, prefix + ".first", n_latents, {{flow.width, flow.width}, Activation::relu, 0},
            n_outputs - n_latents) {
  if (flow.width < 1 || n_blocks_ < 1) throw std::invalid_argument("a GIN decoder needs a width and a block");
  const std::int32_t n_passed = n_outputs / 2, n_moved = n_outputs - n_passed;
  for (std::size_t block = 0; block < n_blocks_; ++block) {
    const std::string name = prefix + ".block" + std::to_string(block);
    const HiddenLayers hidden{{flow.width, flow.width}, Activation::relu, 0};
    networks_.emplace_back(layout, name + ".0", n_passed, hidden, 2 * n_moved - 1);
    if (is_tied_)
      networks_.push_back(networks_.back().tied());
    else
      networks_.emplace_back(layout, name + ".1", n_passed, hidden, 2 * n_moved - 1);
  }
}

template <class Real>
void GinDecoder<Real>::plan(Device& device, std::int32_t n_members, std::int64_t n_rows) {
  n_rows_ = n_rows;
  places_ = Array<std::int32_t>(device, host_places_);
  lift_.plan(device, n_members, n_rows, true);
  for (auto& network : networks_) {
    network.plan(device, n_members, n_rows, true);
    log_scales_.emplace_back(device, n_members, n_rows, n_outputs_ - n_outputs_ / 2);
  }
  for (std::size_t step = 0; step <= networks_.size(); ++step) {
    steps_.emplace_back(device, n_members, n_rows, n_outputs_);
    d_steps_.emplace_back(device, n_members, n_rows, n_outputs_);
  }
  if (!device.runs_narrow_layers() || !fits_chain()) return;
  std::vector<WeightGradient<Real>> shapes;
  lift_.add_shapes(shapes, n_rows);
  for (const auto& network : networks_) network.add_shapes(shapes, n_rows);
  narrow_gradients_.plan(device, n_members, shapes);
}

template <class Real>
bool GinDecoder<Real>::fits_chain() const {
  std::int32_t n_steps = lift_.n_layers() + 2;  // the join, and the gradients' weights
  for (const auto& network : networks_) n_steps += network.n_layers() + 1;
  return n_steps <= kMostRowSteps && lift_.fits_chain() &&
         std::all_of(networks_.begin(), networks_.end(), [](const auto& network) { return network.fits_chain(); });
}

template <class Real>
bool GinDecoder<Real>::is_in_chain(const Device& device, const Parameters<Real>& parameters) const {
  return fits_chain() && lift_.is_in_chain(device, parameters) &&
         std::all_of(networks_.begin(), networks_.end(),
                     [&](const auto& network) { return network.is_in_chain(device, parameters); });
}

template <class Real>
JoinFeatures<Real> GinDecoder<Real>::lifted(const FleetExtent& fleet, Rows<const Real> z) const {
  return {.fleet = fleet,
          .n_rows = n_rows_,
          .n_a = n_latents_,
          .n_b = n_outputs_ - n_latents_,
          .place = place_in(0),
          .a = z,
          .b = lift_.value(),
          .out = steps_.front()};
}

template <class Real>
Coupling<Real> GinDecoder<Real>::coupling(const FleetExtent& fleet, std::size_t index) const {
  const bool ends_block = index % 2 == 1, is_last = index + 1 == networks_.size();
  return {.fleet = fleet,
          .n_rows = n_rows_,
          .n_features = n_outputs_,
          .place = ends_block && !is_last ? place_in((index + 1) / 2)
                                          : nullptr,  // the permutation that the next block begins with
          .x = steps_[index],
          .raw = networks_[index].value(),
          .log_scale = log_scales_[index],
          .out = steps_[index + 1]};
}

template <class Real>
JoinFeaturesGradient<Real> GinDecoder<Real>::lifted_gradient(const FleetExtent& fleet, Rows<const Real> z,
                                                             Rows<Real> d_z) const {
  const JoinFeatures<Real> forward = lifted(fleet, z);
  return {.fleet = fleet,
          .n_rows = n_rows_,
          .n_a = forward.n_a,
          .n_b = forward.n_b,
          .place = forward.place,
          .d_out = d_steps_.front(),
          .d_a = d_z,
          .d_b = lift_.d_value()};
}

template <class Real>
CouplingGradient<Real> GinDecoder<Real>::coupling_gradient(const FleetExtent& fleet, std::size_t index) const {
  return {.forward = coupling(fleet, index),
          .d_out = d_steps_[index + 1],
          .d_x = d_steps_[index],
          .d_raw = networks_[index].d_value()};
}

template <class Real>
void GinDecoder<Real>::forward(Device& device, const Parameters<Real>& parameters, const FleetExtent& fleet,
                               Rows<const Real> z) const {
  if (is_in_chain(device, parameters)) {
    auto chain = chain_on<RowChain<Real>>(device, fleet, n_rows_);
    chain.begin_chain();
    lift_.add(chain, parameters, z);
    chain.add(RowOperation::join).join = lifted(fleet, z);
    for (std::size_t index = 0; index < networks_.size(); ++index) {
      networks_[index].add(chain, parameters, steps_[index]);
      chain.add(RowOperation::coupling).coupling = coupling(fleet, index);
    }
    return row_chain_forward(device.execution(), chain);
  }
  lift_.forward(device, parameters, fleet, n_rows_, z);
  join_features_forward(device.execution(), lifted(fleet, z));
  for (std::size_t index = 0; index < networks_.size(); ++index) {
    networks_[index].forward(device, parameters, fleet, n_rows_,
                             steps_[index]);  // reads the features that pass, which come first
    coupling_forward(device.execution(), coupling(fleet, index));
  }
}

template <class Real>
void GinDecoder<Real>::backward(Device& device, const Parameters<Real>& parameters, const FleetExtent& fleet,
                                Rows<const Real> z, Rows<Real> d_z, const ScaleRows<Real>* weigh) const {
  // The second of two tied couplings comes first and leaves its gradients for the first to add to.
  const auto adds = [&](std::size_t index) { return is_tied_ && index % 2 == 0; };
  if (is_in_chain(device, parameters)) {
    auto chain = chain_on<RowChainGradient<Real>>(device, fleet, n_rows_);
    std::vector<WeightGradient<Real>> layers, added;
    chain.begin_chain();
    if (weigh) chain.add(RowOperation::scale).scale = *weigh;
    for (std::size_t index = networks_.size(); index-- > 0;) {
      chain.add(RowOperation::coupling).coupling = coupling_gradient(fleet, index);
      networks_[index].add(chain, parameters, d_steps_[index], true);
      networks_[index].add(adds(index) ? added : layers, parameters, n_rows_, steps_[index], adds(index));
    }
    chain.add(RowOperation::join).join = lifted_gradient(fleet, z, d_z);
    lift_.add(chain, parameters, d_z, true);
    lift_.add(layers, parameters, n_rows_, z, false);
    row_chain_backward(device.execution(), chain);
    narrow_gradients_.sum(device, fleet, layers);
    return narrow_gradients_.sum(device, fleet, added);
  }
  if (weigh) scale_rows(device.execution(), *weigh);
  for (std::size_t index = networks_.size(); index-- > 0;) {
    coupling_backward(device.execution(), coupling_gradient(fleet, index));
    networks_[index].backward(device, parameters, fleet, n_rows_, steps_[index], d_steps_[index],
                              {.d_x = true, .gradients = adds(index), .more_to_come = is_tied_ && !adds(index)});
  }
  join_features_backward(device.execution(), lifted_gradient(fleet, z, d_z));
  lift_.backward(device, parameters, fleet, n_rows_, z, d_z, {.d_x = true});
}

template <class Real>
std::vector<double> GinDecoder<Real>::inverse(const NamedTensors& tensors, std::vector<double> y) const {
  const auto n_outputs = to_size(n_outputs_), n_moved = n_outputs - n_outputs / 2;
  if (y.size() != n_outputs)
    throw std::invalid_argument("this GIN decoder has rows of " + std::to_string(n_outputs) + " outputs, not of " +
                                std::to_string(y.size()));
  for (std::size_t index = networks_.size(); index-- > 0;) {
    std::vector<double> x(y.begin() + static_cast<std::ptrdiff_t>(n_moved), y.end());  // what passed comes out last
    const std::string block = prefix_ + ".block" + std::to_string(index / 2);
    const std::vector<double> raw = network_value(tensors, block + (index % 2 == 0 || is_tied_ ? ".0" : ".1"), x);
    double sum = 0;  // of the log scales, which the last one brings to 0
    for (std::size_t i = 0; i < n_moved; ++i) {
      const double log_scale = i + 1 < n_moved ? 0.1 * std::tanh(raw[i]) : -sum;
      sum += log_scale;
      x.push_back((y[i] - raw[n_moved - 1 + i]) * std::exp(-log_scale));
    }
    y = x;
    if (index % 2 == 0)  // the first coupling of its block, which a permutation comes before
      for (std::size_t j = 0; j < n_outputs; ++j) y[j] = x[to_size(host_places_[index / 2 * n_outputs + j])];
  }
  return y;
}

template class GinDecoder<float>;
template class GinDecoder<double>;

}  // namespace idem
