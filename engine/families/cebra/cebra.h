// cebra.h - CEBRA of one recording over preplanned memory: one batch forward, one batch backward, for every member of a
// fleet.
//
// x -> encoder -> embeddings (of unit length) -> InfoNCE between references, positives and negatives. Source:
// Schneider, Lee & Mathis 2023 (Nature 617, 360-368). The encoder sees activity alone: labels act through the choice of
// positives (kernels/sampling).
#pragma once

#include <functional>
#include <optional>

#include "engine/device/array.h"
#include "engine/networks/convolution.h"
#include "kernels/contrastive/contrastive.h"
#include "kernels/sampling/contrastive_indices.h"

namespace idem {

struct CebraDesign {
  std::int32_t n_neurons = 0, n_features = 3;  // of the embedding
  std::int32_t window = 10;                    // bins that the encoder sees: 1, or 3 and more
  std::int32_t width = 32;                     // of the hidden layers (channels of the convolutions)
  bool is_normalised = true;                   // embeddings have unit length; false: the published "-mse" encoders
  Similarity similarity = Similarity::cosine;
  bool learns_temperature = false;
  double smallest_temperature = 0.1;  // learned temperatures; 0: no bound
  // The hybrid of time and behaviour: the first this many features also have InfoNCE with positives of their own (not
  // normalised again), beside that of all features with positives in time. 0: one InfoNCE of all features.
  std::int32_t n_behaviour_features = 0;

  std::int32_t n_lists() const {
    return n_behaviour_features > 0 ? 4 : 3;
  }  // of rows: references, negatives, positives, positives in time
};

// The published encoders by what they see: of a window the temporal convolution with the exact GELU (convolution.h); of
// one bin the layers width, width, width / 2, or where nothing is normalised 30 D, 30 D, 10 D for D features.
template <class Real>
class EmbeddingNetwork {
 public:
  EmbeddingNetwork(ParameterLayout& layout, const CebraDesign& design);  // tensors encoder.I or encoder.convI

  // n_rows: of the embedding. is_stretch: they are those of the windows from each bin of one stretch on.
  void plan(Device& device, std::int32_t n_members, std::int32_t n_rows, bool is_stretch, bool training);
  Rows<Real> value() const { return layers_ ? layers_->value() : convolutions_->value(); }  // [n_rows x n_features]
  Rows<Real> d_value() const { return layers_ ? layers_->d_value() : convolutions_->d_value(); }

  // x is [window x n_rows x n_neurons], of a stretch [(n_rows + window - 1) x n_neurons]. normalises: false where
  // whoever takes the rows does that.
  void forward(Device& device, const Parameters<Real>& parameters, const FleetExtent& fleet, Rows<const Real> x,
               bool normalises) const;
  // Spends d_value and leaves the parameters' gradients. normalised: as forward was asked to.
  void backward(Device& device, const Parameters<Real>& parameters, const FleetExtent& fleet, Rows<const Real> x,
                bool normalised) const;

 private:
  std::int32_t n_rows_ = 0, n_features_;
  bool is_normalised_;
  std::optional<Mlp<Real>> layers_;
  std::optional<TemporalConvolution<Real>> convolutions_;
  Array<Real> inverse_norm_;
};

// Tensors of a CEBRA encoder for recordings of n_neurons: columns of zeros more, or the last ones fewer, in the first
// layer.
NamedTensors with_neurons(const CebraDesign& design, NamedTensors tensors, std::int32_t n_neurons);

// How the rows that are encoded stand for the draws of a step.
//   windows of their own  row list * batch + k is draw k of list `list` (references, negatives, positives, and the
//                         hybrid's positives in time)
//   a stretch of bins     row i is the window of bins i to i + window - 1, each encoded once with what it shares with
//                         its neighbours; draw k of a list is row place[list * batch + k]. The rows of the draws are
//                         compared, or all rows once, weighed by how often they were drawn
//   sessions              windows of their own; members come in groups of n_sessions, each the encoder of one
//                         recording, and the draws of a group's members are compared together: one InfoNCE, one
//                         temperature (that of the group's first member)
struct CebraBatch {
  std::int32_t batch = 0;      // draws of each list
  std::int32_t n_stretch = 0;  // bins, at least the window; 0: windows of their own
  std::int32_t n_sessions = 1;
  bool weighs_rows = false;  // of a stretch: all rows are compared
};

// [n_members / n_sessions] each; the hybrid's `alignment` and `uniformity` are those of all features, with positives in
// time.
template <class Real>
struct CebraTerms {
  Array<Real> loss, alignment, uniformity, behaviour_alignment, behaviour_uniformity, inverse_temperature;
};

template <class Real>
class Cebra {
 public:
  static constexpr std::size_t kFirstLayerTensors = 2;  // weight and bias
  static constexpr const char* kTemperature = "log_inverse_temperature";

  // temperatures [n_members / n_sessions]: the first ones where they are learned. training: plans the backward pass
  // too.
  Cebra(Device& device, const CebraDesign& design, std::int32_t n_members, const CebraBatch& batch, bool training,
        const std::vector<double>& temperatures);

  Parameters<Real>& parameters() { return parameters_; }
  const Parameters<Real>& parameters() const { return parameters_; }
  // The first weights of a member whose recording has n_neurons (0: the design's; the inputs of the others are zeros),
  // those that a model of that many neurons would begin with, and its first temperature. trunk (may be null): all but
  // the first layer's tensors are taken from there.
  void initialise(std::int32_t member, std::uint64_t seed, Initialisation kind, std::int32_t n_neurons = 0,
                  const NamedTensors* trunk = nullptr);
  // How many of a member's parameters, the first ones of its stretch, are the first layer's.
  std::int64_t n_first_layer() const { return layout_.slots()[kFirstLayerTensors].offset; }

  // Filled by whoever drives the model: x [n_members x window x n_rows x n_neurons]; or of a stretch x [n_members x
  // n_stretch x n_neurons] and, by drawn_places, where its draws fell: draws() says all but the indices and which rows
  // they are of.
  std::int32_t n_rows() const { return n_rows_; }
  const Activations<Real>& x() const { return x_; }
  DrawnPlaces<Real> draws() const;
  const Array<std::int32_t>& source() const {
    return source_;
  }  // of sessions: [n_members x batch], as contrastive_indices gives it

  Rows<const Real> embedding() const { return network_.value(); }  // after `embed`, or of windows of their own
  const CebraTerms<Real>& terms() const { return terms_; }

  void embed(const FleetExtent& fleet);  // of x
  // The loss of the batch. What the device does aside until then is waited for when the rows are encoded.
  // with_gradient: as a backward pass needs it, which must follow: nothing on the way to the gradients waits for the
  // terms, so that it is left to work them out.
  void forward(const FleetExtent& fleet, bool with_gradient);
  // beside: asked for aside while the gradients go back through the encoder, when nothing reads the draws of the step
  // any more (may be null).
  void backward(const FleetExtent& fleet, const std::function<void()>& beside = {});

 private:
  // One InfoNCE: which features, which list of positives, and what it keeps for the backward pass.
  struct Head {
    std::int32_t n_features = 0, positive_list = 0;
    Array<Real> log_sum, mean_similarity, similarity;
    const Array<Real>*alignment = nullptr, *uniformity = nullptr;
  };
  Uniformity<Real> uniformity(const FleetExtent& fleet, const Head& head, bool with_gradient) const;
  InfoNceTerms<Real> terms_of(const FleetExtent& fleet, const Head& head, bool with_gradient) const;
  // Of a list, or all rows where they are weighed.
  Rows<Real> of_list(Rows<Real> rows, std::int32_t list) const {
    return weighs_rows_ ? rows : rows.from_row(std::int64_t{list} * batch_);
  }

  FleetExtent groups() const { return {n_members_ / n_sessions_}; }
  // What InfoNCE compares: the embeddings, or those that were drawn of a stretch, or those of a group's sessions side
  // by side.
  Rows<Real> compared() const { return n_sessions_ > 1 || copies_draws_ ? drawn_.rows() : network_.value(); }
  Rows<Real> d_compared() const { return n_sessions_ > 1 || copies_draws_ ? d_drawn_.rows() : network_.d_value(); }
  void join(bool to_joined, Rows<Real> apart, Rows<Real> joined) const;
  PlacedDraws placed() const;

  Device& device_;
  CebraDesign design_;
  std::int32_t n_members_, n_sessions_, n_rows_,
      batch_;  // n_rows_: that a member encodes; batch_: draws of each list in one InfoNCE
  bool copies_draws_, weighs_rows_;
  ParameterLayout layout_;
  EmbeddingNetwork<Real> network_;
  std::int32_t temperature_slot_ = -1;
  Parameters<Real> parameters_;
  std::vector<double> temperatures_;
  Activations<Real> x_, drawn_, d_drawn_;
  Array<Real> temperature_slope_;
  Array<std::int32_t> source_, places_, place_begins_, draws_by_place_, counts_;
  Array<std::byte> draw_scratch_;
  CebraTerms<Real> terms_;
  std::vector<Head> heads_;
};

}  // namespace idem
