// gcl.h - nonlinear independent components by generalized contrastive learning, over preplanned memory: one batch
// forward, one batch backward, for every member of a fleet.
//
// Which data x and labels u were measured together is told from x and the labels of another row by logistic regression
// on
//   r(x, u) = sum_i psi_i(h_i(x), u),
// where h and every psi_i are networks. Where the sources are independent given u and vary enough with it, the h_i(x)
// that do this best are the sources, each up to a function of its own (Hyvarinen, Sasaki & Turner 2019, arXiv
// 1805.08651, theorem 1; time-contrastive learning, Hyvarinen & Morioka 2016, has the segment of time for u). Nothing
// explains the counts: there is no decoder, and the latents h(x) are label-free.
#pragma once

#include "engine/device/array.h"
#include "engine/networks/dense.h"

namespace idem {

struct GclDesign {
  std::int32_t n_neurons = 0, n_labels = 0, n_latents = 2;
  HiddenLayers features;  // of h
  HiddenLayers psi;       // of each psi_i, which sees [h_i, u]
};

template <class Real>
class Gcl {
 public:
  // training: plans the backward pass too. Throws std::invalid_argument for impossible designs and for a batch of 1,
  // which has no other labels.
  Gcl(Device& device, const GclDesign& design, std::int32_t n_members, std::int32_t batch, bool training);

  Parameters<Real>& parameters() { return parameters_; }

  // What a batch brings, [n_members x batch x ...], and what comes of it. The labels of row i + 1 are the other labels
  // of row i, the first row's those of the last: who fills the batch fills it in random order.
  Rows<Real> x() const { return x_; }
  Rows<Real> label() const { return label_; }
  const Array<Real>& row_weight() const { return row_weight_; }  // 1 / (rows of the batch), 0 where there is none
  const Array<Real>& loss() const { return loss_; }              // see LogisticPairs
  const Array<Real>& accuracy() const { return accuracy_; }
  Rows<const Real> latents() const { return features_.value(); }  // h(x)

  void embed(const FleetExtent& fleet);    // latents alone
  void forward(const FleetExtent& fleet);  // the loss of the batch
  void backward(const FleetExtent& fleet);

 private:
  struct Psi {
    Mlp<Real> network;
    Activations<Real> pairs, d_pairs;  // [h_i, u] of the true pairs, then of the shuffled ones
  };

  static std::vector<Psi> make_psi(ParameterLayout& layout, const GclDesign& design);

  Device& device_;
  GclDesign design_;
  std::int32_t batch_;
  ParameterLayout layout_;
  Mlp<Real> features_;
  std::vector<Psi> psi_;
  Parameters<Real> parameters_;
  Activations<Real> x_, label_, score_, d_score_;
  Array<Real> row_weight_, loss_, accuracy_;
};

}  // namespace idem
