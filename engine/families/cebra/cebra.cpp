#include "engine/families/cebra/cebra.h"

#include <algorithm>
#include <cmath>
#include <limits>
#include <stdexcept>

#include "kernels/common/to_size.h"

namespace idem {

namespace {

const CebraDesign& checked(const CebraDesign& design) {
  if (design.n_neurons < 1 || design.width < 1)
    throw std::invalid_argument("a CEBRA encoder needs at least one neuron and a width");
  if (design.window == 1 && design.is_normalised && design.width < 2)
    throw std::invalid_argument("a CEBRA encoder of one bin needs a width of 2 or more");
  if (design.n_features < 1 || design.n_features > kMostContrastiveFeatures)
    throw std::invalid_argument("an embedding has 1 to " + std::to_string(kMostContrastiveFeatures) +
                                " features, not " + std::to_string(design.n_features));
  if (design.window != 1 && design.window < 3)
    throw std::invalid_argument("a CEBRA encoder sees 1 bin or a window of at least 3, not " +
                                std::to_string(design.window));
  if (design.n_behaviour_features < 0 || design.n_behaviour_features > design.n_features)
    throw std::invalid_argument("the behaviour's part of an embedding is not larger than the embedding");
  return design;
}

const CebraBatch& checked(const CebraBatch& batch, const CebraDesign& design) {
  if (batch.n_stretch > 0 && batch.n_stretch < design.window)
    throw std::invalid_argument("a stretch of bins holds at least one window");
  if (batch.n_sessions > 1 && (batch.n_stretch > 0 || design.n_behaviour_features > 0))
    throw std::invalid_argument("the sessions of a group have windows of their own and one InfoNCE");
  return batch;
}

// Lists of a batch.
constexpr std::int32_t kReferences = 0, kNegatives = 1, kPositives = 2, kTimePositives = 3;

}  // namespace

NamedTensors with_neurons(const CebraDesign& design, NamedTensors tensors, std::int32_t n_neurons) {
  ParameterLayout layout;
  EmbeddingNetwork<float>(layout, design);
  NamedTensor& first = tensors.at(layout.slots().front().name);  // [out, in] or [out, in, tap]
  const std::int64_t n_in = first.shape[1], n_taps = first.shape.size() > 2 ? first.shape[2] : 1,
                     n_out = first.shape[0];
  NamedTensor resized = first;
  resized.shape[1] = n_neurons;
  resized.values.assign(to_size(n_out * n_neurons * n_taps), 0);
  for (std::int64_t out = 0; out < n_out; ++out)
    std::copy_n(first.values.begin() + out * n_in * n_taps, std::min<std::int64_t>(n_in, n_neurons) * n_taps,
                resized.values.begin() + out * n_neurons * n_taps);
  first = std::move(resized);
  return tensors;
}

template <class Real>
EmbeddingNetwork<Real>::EmbeddingNetwork(ParameterLayout& layout, const CebraDesign& design)
    : n_features_(design.n_features), is_normalised_(design.is_normalised) {
  if (design.window > 1) {
    convolutions_.emplace(layout, std::vector<std::string>{"encoder"}, design.window, design.n_neurons, design.width,
                          design.n_features, Activation::gelu_erf, 0);
    return;
  }
  const std::int32_t n = design.n_features, width = design.width;
  const HiddenLayers hidden{design.is_normalised ? std::vector<std::int32_t>{width, width, width / 2}
                                                 : std::vector<std::int32_t>{30 * n, 30 * n, 10 * n},
                            Activation::gelu_erf, 0};
  layers_.emplace(layout, "encoder", design.n_neurons, hidden, n);
}

template <class Real>
void EmbeddingNetwork<Real>::plan(Device& device, std::int32_t n_members, std::int32_t n_rows, bool is_stretch,
                                  bool training) {
  n_rows_ = n_rows;
  if (layers_) {
    layers_->plan(device, n_members, n_rows, training);
  } else {
    convolutions_->plan(device, n_members, is_stretch ? 1 : n_rows, training, is_stretch ? n_rows - 1 : 0);
  }
  if (is_normalised_) inverse_norm_ = Array<Real>(device, to_size(n_members) * to_size(n_rows));
}

template <class Real>
void EmbeddingNetwork<Real>::forward(Device& device, const Parameters<Real>& parameters, const FleetExtent& fleet,
                                     Rows<const Real> x, bool normalises) const {
  if (layers_) {
    layers_->forward(device, parameters, fleet, n_rows_, x);
  } else {
    convolutions_->forward(device, parameters, fleet, x);
  }
  // In place: the last layer is linear, so that nobody needs its value again.
  if (is_normalised_ && normalises)
    normalise_rows_forward(device.execution(), NormaliseRows<Real>{.fleet = fleet,
                                                                   .n_rows = n_rows_,
                                                                   .n_features = n_features_,
                                                                   .x = value(),
                                                                   .value = value(),
                                                                   .inverse_norm = inverse_norm_.data()});
}

template <class Real>
void EmbeddingNetwork<Real>::backward(Device& device, const Parameters<Real>& parameters, const FleetExtent& fleet,
                                      Rows<const Real> x, bool normalised) const {
  if (is_normalised_ && normalised)
    normalise_rows_backward(device.execution(), NormaliseRowsGradient<Real>{.fleet = fleet,
                                                                            .n_rows = n_rows_,
                                                                            .n_features = n_features_,
                                                                            .value = value(),
                                                                            .inverse_norm = inverse_norm_.data(),
                                                                            .d_value = d_value()});
  if (layers_) {
    layers_->backward(device, parameters, fleet, n_rows_, x);
  } else {
    convolutions_->backward(device, parameters, fleet, x, {});
  }
  device.join();
}

template <class Real>
Cebra<Real>::Cebra(Device& device, const CebraDesign& design, std::int32_t n_members, const CebraBatch& batch,
                   bool training, const std::vector<double>& temperatures)
    : device_(device),
      design_(checked(design)),
      n_members_(n_members),
      n_sessions_(batch.n_sessions),
      n_rows_(checked(batch, design).n_stretch > 0 ? batch.n_stretch - design.window + 1
                                                   : design.n_lists() * batch.batch),
      batch_(batch.n_sessions * batch.batch),
      copies_draws_(batch.n_stretch > 0 && !batch.weighs_rows),
      weighs_rows_(batch.n_stretch > 0 && batch.weighs_rows),
      network_(layout_, design),
      temperature_slot_(design.learns_temperature ? layout_.add_scalar(kTemperature) : -1),
      parameters_(device, layout_, n_members, training),
      temperatures_(temperatures),
      x_(device, n_members, batch.n_stretch > 0 ? batch.n_stretch : std::int64_t{n_rows_} * design.window,
         design.n_neurons) {
  network_.plan(device, n_members, n_rows_, batch.n_stretch > 0, training);
  const std::int32_t n_groups = groups().n_members;
  const auto array = [&](std::int64_t per_group) { return Array<Real>(device, to_size(n_groups * per_group)); };
  if (n_sessions_ > 1) source_ = Array<std::int32_t>(device, to_size(n_members) * to_size(batch.batch));
  if (n_sessions_ > 1 || copies_draws_) {
    const std::int64_t n_draws = std::int64_t{design.n_lists()} * batch_;
    drawn_ = Activations<Real>(device, n_groups, n_draws, design.n_features);
    if (training) d_drawn_ = Activations<Real>(device, n_groups, n_draws, design.n_features);
  }
  if (batch.n_stretch > 0) {
    const auto of_lists = [&](std::int64_t per_list) {
      return Array<std::int32_t>(device, to_size(std::int64_t{n_members} * design.n_lists() * per_list));
    };
    places_ = of_lists(batch_);
    place_begins_ = of_lists(std::int64_t{n_rows_} + 1);
    draws_by_place_ = of_lists(batch_);
    if (weighs_rows_) counts_ = of_lists(n_rows_);
    draw_scratch_ = Array<std::byte>(device, drawn_places_scratch(device.execution(), draws()));
  }
  terms_ = {.loss = array(1),
            .alignment = array(1),
            .uniformity = array(1),
            .behaviour_alignment = array(1),
            .behaviour_uniformity = array(1),
            .inverse_temperature = array(1)};
  std::vector<Real> inverse;
  for (const double temperature : temperatures) {
    if (!(temperature > 0)) throw std::invalid_argument("a temperature is above 0, not " + std::to_string(temperature));
    inverse.push_back(static_cast<Real>(1 / temperature));
  }
  terms_.inverse_temperature.upload(inverse);
  temperature_slope_ = array(1);
  const auto add_head = [&](std::int32_t n_features, std::int32_t positive_list, const Array<Real>& alignment,
                            const Array<Real>& uniformity) {
    const std::int64_t n_references = weighs_rows_ ? n_rows_ : batch_;
    heads_.push_back(
        {n_features, positive_list, array(n_references), array(n_references), array(batch_), &alignment, &uniformity});
  };
  const bool is_hybrid = design.n_behaviour_features > 0;
  add_head(design.n_features, is_hybrid ? kTimePositives : kPositives, terms_.alignment, terms_.uniformity);
  if (is_hybrid)
    add_head(design.n_behaviour_features, kPositives, terms_.behaviour_alignment, terms_.behaviour_uniformity);
}

template <class Real>
void Cebra<Real>::initialise(std::int32_t member, std::uint64_t seed, Initialisation kind, std::int32_t n_neurons,
                             const NamedTensors* trunk) {
  CebraDesign own = design_;
  if (n_neurons > 0) own.n_neurons = n_neurons;
  ParameterLayout layout;
  EmbeddingNetwork<Real>(layout, own);
  if (temperature_slot_ >= 0) layout.add_scalar(kTemperature);
  Parameters<Real> first(device_, layout, 1, false);
  first.initialise(0, seed, kind);
  NamedTensors tensors = with_neurons(own, first.get(0), design_.n_neurons);
  if (trunk)
    for (std::size_t slot = kFirstLayerTensors; slot < layout.slots().size(); ++slot) {
      const std::string& name = layout.slots()[slot].name;
      const auto found = trunk->find(name);
      if (found == trunk->end()) throw std::invalid_argument("tensor " + name + " is missing");
      tensors[name] = found->second;
    }
  parameters_.set(member, tensors);
  if (temperature_slot_ < 0) return;
  const Real theta = static_cast<Real>(-std::log(temperatures_.at(to_size(member / n_sessions_))));
  device_.copy_in(parameters_.weights(temperature_slot_).row(member, 0), &theta, sizeof theta);
}

template <class Real>
void Cebra<Real>::join(bool to_joined, Rows<Real> apart, Rows<Real> joined) const {
  join_sessions(device_.execution(), JoinSessions<Real>{.fleet = {n_members_},
                                                        .n_sessions = n_sessions_,
                                                        .batch = batch_ / n_sessions_,
                                                        .n_features = design_.n_features,
                                                        .to_joined = to_joined,
                                                        .source = source_.data(),
                                                        .apart = apart,
                                                        .joined = joined});
}

template <class Real>
DrawnPlaces<Real> Cebra<Real>::draws() const {
  return {.fleet = {n_members_},
          .n_lists = design_.n_lists(),
          .batch = batch_,
          .n_places = n_rows_,
          .place = places_.data(),
          .begin = place_begins_.data(),
          .draw = draws_by_place_.data(),
          .counts = counts_.data(),
          .scratch = draw_scratch_.data(),
          .scratch_bytes = draw_scratch_.size()};
}

template <class Real>
PlacedDraws Cebra<Real>::placed() const {
  return {.n_lists = design_.n_lists(),
          .batch = batch_,
          .n_places = n_rows_,
          .place = places_.data(),
          .begin = place_begins_.data(),
          .draw = draws_by_place_.data()};
}

template <class Real>
void Cebra<Real>::embed(const FleetExtent& fleet) {
  network_.forward(device_, parameters_, fleet, x_, true);
}

template <class Real>
Uniformity<Real> Cebra<Real>::uniformity(const FleetExtent& fleet, const Head& head, bool with_gradient) const {
  const std::int64_t n = weighs_rows_ ? n_rows_ : batch_;
  Uniformity<Real> p{.fleet = fleet,
                     .n_references = n,
                     .n_negatives = n,
                     .n_features = head.n_features,
                     .similarity = design_.similarity,
                     .inverse_temperature = terms_.inverse_temperature.data(),
                     .reference = of_list(compared(), kReferences),
                     .negative = of_list(compared(), kNegatives),
                     .scale = Real(1) / static_cast<Real>(batch_),
                     .log_sum = head.log_sum.data(),
                     .mean_similarity = head.mean_similarity.data()};
  if (weighs_rows_) {
    p.reference_count = counts_.data() + std::int64_t{kReferences} * n_rows_;
    p.negative_count = counts_.data() + std::int64_t{kNegatives} * n_rows_;
    p.count_stride = std::int64_t{design_.n_lists()} * n_rows_;
  }
  if (with_gradient) p.d_reference = of_list(d_compared(), kReferences);
  return p;
}

template <class Real>
InfoNceTerms<Real> Cebra<Real>::terms_of(const FleetExtent& fleet, const Head& head, bool with_gradient) const {
  const auto of_all = uniformity(fleet, head, false);
  InfoNceTerms<Real> terms{.fleet = fleet,
                           .n_pairs = batch_,
                           .n_references = of_all.n_references,
                           .similarity_value = head.similarity.data(),
                           .log_sum = head.log_sum.data(),
                           .mean_similarity = head.mean_similarity.data(),
                           .reference_count = of_all.reference_count,
                           .count_stride = of_all.count_stride,
                           .scale = of_all.scale,
                           .accumulate = &head != &heads_.front(),
                           .alignment = head.alignment->data(),
                           .uniformity = head.uniformity->data(),
                           .loss = terms_.loss.data()};
  if (with_gradient && temperature_slot_ >= 0) {
    terms.temperature_slope = temperature_slope_.data();
    terms.d_log_inverse_temperature = parameters_.gradients(temperature_slot_).data;
    terms.d_log_stride = n_sessions_ * layout_.member_stride();
  }
  return terms;
}

template <class Real>
void Cebra<Real>::forward(const FleetExtent& fleet, bool with_gradient) {
  const FleetExtent compared_fleet = n_sessions_ > 1 ? groups() : fleet;
  if (temperature_slot_ >= 0) {
    const double bound = design_.smallest_temperature;
    const InverseTemperature<Real> temperature{
        .fleet = compared_fleet,
        .log_inverse_temperature = parameters_.weights(temperature_slot_).data,
        .log_stride = n_sessions_ * layout_.member_stride(),
        .largest = bound > 0 ? static_cast<Real>(1 / bound) : std::numeric_limits<Real>::max(),
        .value = terms_.inverse_temperature.data(),
        .slope = temperature_slope_.data()};
    device_.aside([&] { inverse_temperature(device_.execution(), temperature); });
  }
  const Rows<Real> value = compared(), d_value = with_gradient ? d_compared() : Rows<Real>{};
  if (with_gradient)
    device_.aside(
        [&] { device_.clear(d_value.data, to_size(groups().n_members * d_value.member_stride) * sizeof(Real)); });
  network_.forward(device_, parameters_, fleet, x_, !copies_draws_);
  device_.join();
  const auto& on = device_.execution();
  if (n_sessions_ > 1) join(true, network_.value(), drawn_);
  if (copies_draws_)
    drawn_rows_forward(on, DrawnRows<Real>{.fleet = fleet,
                                           .n_draws = std::int64_t{design_.n_lists()} * batch_,
                                           .n_features = design_.n_features,
                                           .normalises = design_.is_normalised,
                                           .place = places_.data(),
                                           .source = network_.value(),
                                           .drawn = drawn_});
  for (std::size_t i = 0; i < heads_.size(); ++i) {
    const Head& head = heads_[i];
    const auto of_all = uniformity(compared_fleet, head, with_gradient);
    uniformity_forward(on, of_all);
    Alignment<Real> pairs{.fleet = compared_fleet,
                          .n_pairs = batch_,
                          .n_features = head.n_features,
                          .similarity = design_.similarity,
                          .inverse_temperature = terms_.inverse_temperature.data(),
                          .reference = of_list(value, kReferences),
                          .positive = of_list(value, head.positive_list),
                          .similarity_value = head.similarity.data()};
    if (weighs_rows_) {
      pairs.draws = placed();
      pairs.positive_list = head.positive_list;
    }
    if (with_gradient) {
      pairs.d_reference = of_list(d_value, kReferences);
      pairs.d_positive = of_list(d_value, head.positive_list);
    }
    // The backward pass goes on with the negatives, and the last pairs write to other rows, unless each row stands for
    // all its draws.
    if (with_gradient && !weighs_rows_ && i + 1 == heads_.size())
      device_.aside([&] { alignment(device_.execution(), pairs); });
    else
      alignment(on, pairs);
    if (!with_gradient) info_nce_terms(on, terms_of(compared_fleet, head, false));
  }
}

template <class Real>
void Cebra<Real>::backward(const FleetExtent& fleet, const std::function<void()>& beside) {
  const FleetExtent compared_fleet = n_sessions_ > 1 ? groups() : fleet;
  for (const Head& head : heads_)
    uniformity_backward(device_.execution(),
                        UniformityGradient<Real>{.forward = uniformity(compared_fleet, head, false),
                                                 .d_negative = of_list(d_compared(), kNegatives)});
  device_.join();
  device_.aside([&] {
    for (const Head& head : heads_) info_nce_terms(device_.execution(), terms_of(compared_fleet, head, true));
  });
  if (n_sessions_ > 1) join(false, network_.d_value(), d_drawn_);
  if (copies_draws_)
    drawn_rows_backward(device_.execution(), DrawnRowsGradient<Real>{.fleet = fleet,
                                                                     .n_features = design_.n_features,
                                                                     .normalises = design_.is_normalised,
                                                                     .draws = placed(),
                                                                     .source = network_.value(),
                                                                     .d_drawn = d_drawn_,
                                                                     .d_source = network_.d_value()});
  if (beside) device_.aside([&] { device_.apart(beside); });  // or the branches of the backward pass would wait for it
  network_.backward(device_, parameters_, fleet, x_, !copies_draws_);
}

template class EmbeddingNetwork<float>;
template class EmbeddingNetwork<double>;
template class Cebra<float>;
template class Cebra<double>;

}  // namespace idem
