#include "engine/networks/parameters.h"

#include <cmath>
#include <stdexcept>

#include "kernels/common/philox.h"
#include "kernels/common/to_size.h"

namespace idem {

std::vector<std::int64_t> TensorSlot::shape() const {
  if (is_scalar) return {};
  if (is_bias) return {n_cols};
  return n_taps > 1 ? std::vector<std::int64_t>{n_rows / n_taps, n_cols, n_taps}
                    : std::vector<std::int64_t>{n_rows, n_cols};
}

std::int32_t ParameterLayout::add(TensorSlot slot) {
  constexpr std::int64_t most = std::int64_t{1} << 48;
  if (slot.n_rows < 1 || slot.n_cols < 1) throw std::invalid_argument("tensor " + slot.name + " would have no values");
  if (slot.n_rows > most || slot.n_cols > most || slot.n_rows > most / padded(slot.n_cols))
    throw std::invalid_argument("tensor " + slot.name + " would be larger than any memory");
  slot.offset = end_;
  slot.row_stride = padded(slot.n_cols);
  end_ = padded(end_ + slot.n_rows * slot.row_stride, 64);
  if (end_ > most) throw std::invalid_argument("the model would be larger than any memory");
  slots_.push_back(std::move(slot));
  return static_cast<std::int32_t>(slots_.size()) - 1;
}

std::int32_t ParameterLayout::add_weight(const std::string& name, std::int64_t n_out, std::int64_t n_in) {
  return add({.name = name, .n_rows = n_out, .n_cols = n_in, .fan_in = n_in, .fan_out = n_out});
}

std::int32_t ParameterLayout::add_convolution(const std::string& name, std::int64_t n_out, std::int64_t n_in,
                                              std::int64_t n_taps) {
  return add({.name = name,
              .n_rows = n_taps * n_out,
              .n_cols = n_in,
              .n_taps = n_taps,
              .fan_in = n_in * n_taps,
              .fan_out = n_out * n_taps});
}

std::int32_t ParameterLayout::add_embedding(const std::string& name, std::int64_t n_out, std::int64_t n_in) {
  return add({.name = name, .n_rows = n_out, .n_cols = n_in, .fan_in = n_in, .fan_out = n_out, .initial_limit = 0.05});
}

std::int32_t ParameterLayout::add_bias(const std::string& name, std::int64_t n_out, std::int64_t fan_in) {
  return add({.name = name, .n_rows = 1, .n_cols = n_out, .fan_in = fan_in, .fan_out = n_out, .is_bias = true});
}

std::int32_t ParameterLayout::add_scalar(const std::string& name) {
  return add({.name = name, .n_rows = 1, .n_cols = 1, .is_scalar = true});
}

std::int64_t ParameterLayout::n_parameters() const {
  std::int64_t n = 0;
  for (const auto& slot : slots_) n += slot.size();
  return n;
}

template <class Real>
Parameters<Real>::Parameters(Device& device, const ParameterLayout& layout, std::int32_t n_members, bool training)
    : device_(&device), layout_(layout), n_members_(n_members) {
  const auto size = to_size(layout.member_stride() * n_members);
  weights_ = Array<Real>(device, size);
  if (!training) return;
  gradients_ = Array<Real>(device, size);
  moment1_ = Array<Real>(device, size);
  moment2_ = Array<Real>(device, size);
}

template <class Real>
void Parameters<Real>::put(std::int32_t member, const std::vector<Real>& values) {
  device_->copy_in(weights_.data() + member * layout_.member_stride(), values.data(), values.size() * sizeof(Real));
}

template <class Real>
void Parameters<Real>::initialise(std::int32_t member, std::uint64_t seed, Initialisation kind) {
  std::vector<Real> values(to_size(layout_.member_stride()), Real(0));
  for (std::size_t index = 0; index < layout_.slots().size(); ++index) {
    const auto& slot = layout_.slots()[index];
    if (slot.is_scalar) continue;
    double limit = 1 / std::sqrt(static_cast<double>(slot.fan_in));
    if (kind == Initialisation::glorot_uniform) {
      if (slot.is_bias) continue;
      limit = std::sqrt(6.0 / static_cast<double>(slot.fan_in + slot.fan_out));
    }
    if (slot.initial_limit > 0) limit = slot.initial_limit;
    for (std::int64_t element = 0; element < slot.size(); ++element) {
      const auto words = random_words(seed, RandomStream::initial_weights, static_cast<std::uint32_t>(index),
                                      static_cast<std::uint32_t>(element / 4));
      const double unit = (words.w[element % 4] + 0.5) * 0x1p-32;
      values[slot.place(element)] = static_cast<Real>(static_cast<float>((2 * unit - 1) * limit));
    }
  }
  put(member, values);
}

template <class Real>
void Parameters<Real>::set(std::int32_t member, const NamedTensors& tensors) {
  std::vector<Real> values(to_size(layout_.member_stride()), Real(0));
  for (const auto& slot : layout_.slots()) {
    const auto found = tensors.find(slot.name);
    if (found == tensors.end()) throw std::invalid_argument("tensor " + slot.name + " is missing");
    if (found->second.values.size() != to_size(slot.size()))
      throw std::invalid_argument("tensor " + slot.name + " has " + std::to_string(found->second.values.size()) +
                                  " values, the model needs " + std::to_string(slot.n_rows) + " x " +
                                  std::to_string(slot.n_cols));
    for (std::int64_t element = 0; element < slot.size(); ++element)
      values[slot.place(element)] = static_cast<Real>(found->second.values[to_size(element)]);
  }
  put(member, values);
}

template <class Real>
NamedTensors Parameters<Real>::unpack(const std::vector<Real>& member_values) const {
  NamedTensors tensors;
  for (const auto& slot : layout_.slots()) {
    NamedTensor tensor;
    tensor.shape = slot.shape();
    tensor.values.reserve(to_size(slot.size()));
    for (std::int64_t element = 0; element < slot.size(); ++element)
      tensor.values.push_back(static_cast<double>(member_values[slot.place(element)]));
    tensors.emplace(slot.name, std::move(tensor));
  }
  return tensors;
}

template <class Real>
NamedTensors Parameters<Real>::get(std::int32_t member) const {
  std::vector<Real> values(to_size(layout_.member_stride()));
  device_->copy_out(values.data(), weights_.data() + member * layout_.member_stride(), values.size() * sizeof(Real));
  return unpack(values);
}

template <class Real>
NamedTensors Parameters<Real>::get_gradients(std::int32_t member) const {
  std::vector<Real> values(to_size(layout_.member_stride()));
  device_->copy_out(values.data(), gradients_.data() + member * layout_.member_stride(), values.size() * sizeof(Real));
  return unpack(values);
}

template class Parameters<float>;
template class Parameters<double>;

}  // namespace idem
