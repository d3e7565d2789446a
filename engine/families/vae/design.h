// design.h - what defines a model of the CI-iVAE family: plain values, shared by every member of a fleet.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "engine/families/vae/objective.h"
#include "engine/networks/hidden_layers.h"
#include "kernels/latent/latent.h"
#include "kernels/objective/objective.h"

namespace idem {

enum class EncoderKind {
  mlp,                   // of one row of inputs: hidden layers and two linear heads
  separate_mlps,         // of one row of inputs: a network for the mean and one for the log variance (pi-VAE)
  temporal_convolution,  // of a window of rows: two temporal convolution networks (convolution.h), of the activation
                         // and slope of `encoder`
};
template <>
struct EnumNames<EncoderKind> {
  static constexpr const char* what = "encoder";
  static constexpr EnumName<EncoderKind> all[] = {{EncoderKind::mlp, "mlp"},
                                                  {EncoderKind::separate_mlps, "separate-mlps"},
                                                  {EncoderKind::temporal_convolution, "temporal-convolution"}};
};

enum class PriorKind {
  separate_mlps,  // a network for the mean and one for the log variance (CI-iVAE)
  shared_mlp,     // one network, whose outputs are the means and then the log variances (pi-VAE)
  embedding,      // a mean and a log variance for each value of one categorical label (pi-VAE)
  // Of no label (n_labels 0):
  standard_normal,  // N(0, I): a VAE
  global,           // one learned mean and log variance for all rows (the VAE that pi-VAE's authors compare with)
};
template <>
struct EnumNames<PriorKind> {
  static constexpr const char* what = "prior";
  static constexpr EnumName<PriorKind> all[] = {{PriorKind::separate_mlps, "separate-mlps"},
                                                {PriorKind::shared_mlp, "shared-mlp"},
                                                {PriorKind::embedding, "embedding"},
                                                {PriorKind::standard_normal, "standard-normal"},
                                                {PriorKind::global, "global"}};
};

enum class DecoderKind {
  mlp,
  gin,  // a volume-preserving flow (gin_decoder.h)
};
template <>
struct EnumNames<DecoderKind> {
  static constexpr const char* what = "decoder";
  static constexpr EnumName<DecoderKind> all[] = {{DecoderKind::mlp, "mlp"}, {DecoderKind::gin, "gin"}};
};

struct GinFlow {
  std::int32_t width = 0;      // of the hidden layers of the lift and of the couplings' networks
  bool tie_couplings = false;  // both couplings of a block have the same weights (the PyTorch port of pi-VAE)
  // one per block, of the decoder's outputs: block b begins with y[j] = x[permutations[b][j]]
  std::vector<std::vector<std::int32_t>> permutations;
};

struct ModelDesign {
  std::int32_t n_neurons = 0, n_labels = 0, n_latents = 2;
  EncoderKind encoder_kind = EncoderKind::mlp;
  // The encoder is q(z|x,u) itself, one network of [x, u], and no product posterior is taken (iVAE: Khemakhem et al.
  // 2020, arXiv 1907.04809): of objective ivae, a prior of labels and the mlps. Then there is no q(z|x).
  bool encoder_sees_labels = false;
  // Bins of the window that the encoder sees (temporal_convolution: at least 3) or the decoder explains
  // (decodes_window); 1: neither.
  std::int32_t window = 1;
  std::int32_t channels = 32;  // temporal_convolution
  PriorKind prior_kind = PriorKind::separate_mlps;
  DecoderKind decoder_kind = DecoderKind::mlp;
  HiddenLayers encoder, prior, decoder;  // prior: not of an embedding; decoder: not of gin
  GinFlow flow;                          // gin
  LogVarBound log_var_bound = LogVarBound::smooth;
  double log_var_low = -12, log_var_high = 6;
  Observation observation = Observation::poisson;
  OutputMap output = OutputMap::softplus;
  double gaussian_variance = 1;  // gaussian_fixed, in squared counts
  bool decodes_window = false;   // the decoder explains every bin of the window, [bin][neuron], not one row
  bool mean_over_window =
      true;  // decodes_window: reconstruction: mean (no spike counts twice in an epoch) or sum (conv-pi-VAE) over bins
  bool mean_over_neurons = false;  // reconstruction: mean (CI-iVAE package) or sum (pi-VAE) over neurons
  bool mean_over_latents = false;  // KL: mean or sum over latents
  bool keep_constants = true;      // log x!, log 2 pi / 2
  Objective objective = Objective::encoder_elbo;
  std::vector<double> alphas;         // the grid; one value for encoder_elbo (1), ivae (0) and ci_ivae_fixed
  std::int32_t n_samples = 50;        // Monte-Carlo draws of the skew terms
  bool common_random_numbers = true;  // the encoder's and the posterior's sample share their noise

  bool sees_labels() const { return prior_kind != PriorKind::standard_normal && prior_kind != PriorKind::global; }
  std::int32_t encoder_window() const {
    return encoder_kind == EncoderKind::temporal_convolution ? window : 1;
  }  // bins that the encoder sees
  std::int32_t n_encoder_inputs() const { return n_neurons + (encoder_sees_labels ? n_labels : 0); }  // per row
  std::int32_t n_outputs() const { return decodes_window ? n_neurons * window : n_neurons; }          // of the decoder
  // Of the reconstruction, such that means and sums over neurons and bins come out as named.
  double window_weight() const {
    if (!decodes_window) return 1;
    return mean_over_window ? (mean_over_neurons ? 1 : 1.0 / window) : (mean_over_neurons ? window : 1);
  }
  bool decodes_encoder() const { return objective != Objective::ivae; }
  bool decodes_posterior() const { return objective != Objective::encoder_elbo; }
};

}  // namespace idem
