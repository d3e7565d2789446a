#include "engine/families/gcl/gcl.h"

#include <stdexcept>

#include "kernels/contrastive/logistic_pairs.h"
#include "kernels/common/to_size.h"

namespace idem {

namespace {

const GclDesign& checked(const GclDesign& design, std::int32_t batch) {
  if (design.n_neurons < 1 || design.n_labels < 1 || design.n_latents < 1)
    throw std::invalid_argument(
        "generalized contrastive learning needs at least one neuron, one label feature and one latent");
  if (batch < 2) throw std::invalid_argument("a batch of one row has no other labels to be told from");
  return design;
}

}  // namespace

template <class Real>
std::vector<typename Gcl<Real>::Psi> Gcl<Real>::make_psi(ParameterLayout& layout, const GclDesign& design) {
  std::vector<Psi> psi;
  for (std::int32_t latent = 0; latent < design.n_latents; ++latent)
    psi.push_back({Mlp<Real>(layout, "psi." + std::to_string(latent), 1 + design.n_labels, design.psi, 1), {}, {}});
  return psi;
}

template <class Real>
Gcl<Real>::Gcl(Device& device, const GclDesign& design, std::int32_t n_members, std::int32_t batch, bool training)
    : device_(device),
      design_(checked(design, batch)),
      batch_(batch),
      features_(layout_, "features", design.n_neurons, design.features, design.n_latents),
      psi_(make_psi(layout_, design)),
      parameters_(device, layout_, n_members, training) {
  const auto activations = [&](std::int64_t n_rows, std::int64_t n_features) {
    return Activations<Real>(device, n_members, n_rows, n_features);
  };
  const auto scalars = [&] { return Array<Real>(device, to_size(n_members * std::int64_t{batch})); };
  features_.plan(device, n_members, batch, training);
  for (auto& psi : psi_) {
    psi.network.plan(device, n_members, 2 * std::int64_t{batch}, training);
    psi.pairs = activations(2 * std::int64_t{batch}, 1 + design.n_labels);
    if (training) psi.d_pairs = activations(2 * std::int64_t{batch}, 1 + design.n_labels);
  }
  x_ = activations(batch, design.n_neurons);
  label_ = activations(batch, design.n_labels);
  score_ = activations(2 * std::int64_t{batch}, 1);
  d_score_ = activations(2 * std::int64_t{batch}, 1);
  row_weight_ = scalars();
  loss_ = scalars();
  accuracy_ = scalars();
}

template <class Real>
void Gcl<Real>::embed(const FleetExtent& fleet) {
  features_.forward(device_, parameters_, fleet, batch_, x_);
}

template <class Real>
void Gcl<Real>::forward(const FleetExtent& fleet) {
  const auto& on = device_.execution();
  embed(fleet);
  for (std::size_t latent = 0; latent < psi_.size(); ++latent) {
    const Psi& psi = psi_[latent];
    Rows<const Real> h = features_.value();
    h.data += latent;
    // Rows from `row` on get the labels of as many rows from `labels_of` on.
    const auto join = [&](std::int64_t row, std::int64_t labels_of, std::int64_t n_rows, std::int64_t to) {
      join_features_forward(on, JoinFeatures<Real>{.fleet = fleet,
                                                   .n_rows = n_rows,
                                                   .n_a = 1,
                                                   .n_b = design_.n_labels,
                                                   .a = h.from_row(row),
                                                   .b = label_.rows().from_row(labels_of),
                                                   .out = psi.pairs.rows().from_row(to)});
    };
    join(0, 0, batch_, 0);
    join(0, 1, batch_ - 1, batch_);
    join(batch_ - 1, 0, 1, 2 * std::int64_t{batch_} - 1);
    psi.network.forward(device_, parameters_, fleet, 2 * std::int64_t{batch_}, psi.pairs);
    if (latent > 0)
      add_rows(on, AddRows<Real>{.fleet = fleet,
                                 .n_rows = 2 * std::int64_t{batch_},
                                 .n_features = 1,
                                 .a = latent == 1 ? psi_[0].network.value() : score_.rows(),
                                 .b = psi.network.value(),
                                 .sum = score_});
  }
  logistic_pairs(on, LogisticPairs<Real>{.fleet = fleet,
                                         .batch = batch_,
                                         .score = psi_.size() == 1 ? psi_[0].network.value() : score_.rows(),
                                         .row_weight = row_weight_.data(),
                                         .row_scalar_stride = batch_,
                                         .loss = loss_.data(),
                                         .accuracy = accuracy_.data(),
                                         .d_score = d_score_});
}

template <class Real>
void Gcl<Real>::backward(const FleetExtent& fleet) {
  const auto& on = device_.execution();
  for (std::size_t latent = 0; latent < psi_.size(); ++latent) {
    const Psi& psi = psi_[latent];
    // Each psi spends a gradient of its own.
    pad_rows(on, PadRows<Real>{.fleet = fleet,
                               .n_rows = 2 * std::int64_t{batch_},
                               .n_source_rows = 2 * std::int64_t{batch_},
                               .n_features = 1,
                               .source = d_score_,
                               .out = psi.network.d_value()});
    psi.network.backward(device_, parameters_, fleet, 2 * std::int64_t{batch_}, psi.pairs, psi.d_pairs);
    Rows<Real> d_h = features_.d_value();
    d_h.data += latent;
    add_rows(on, AddRows<Real>{.fleet = fleet,
                               .n_rows = batch_,
                               .n_features = 1,
                               .a = psi.d_pairs,
                               .b = psi.d_pairs.rows().from_row(batch_),
                               .sum = d_h});
  }
  features_.backward(device_, parameters_, fleet, batch_, x_);
  device_.join();
}

template class Gcl<float>;
template class Gcl<double>;

}  // namespace idem
