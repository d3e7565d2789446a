// collapse.h - does the latent carry what the data say, or only what the labels say?
//
// q(z|x) = N(m, e^l) is the encoder, p(z|u) = N(lambda, e^r) the label prior, q(z|x,u) = N(mu, e^rho) their product,
// the posterior. A model of this family collapses when the posterior becomes the label prior: the label weight s =
// sigmoid(l - r) goes to 1 and KL(posterior || prior) to 0 while the latents still look structured, because the labels
// structure them (Khemakhem et al. 2020; Kim et al. 2022, definition 2; active units after Burda et al. 2016). All of
// it is closed form in the log-variance gap d = l - r and the mean gap Delta = (m - lambda) e^{-r/2}.
#pragma once

#include <cstdint>
#include <nlohmann/json.hpp>
#include <span>
#include <vector>

#include "host/evaluation/targets.h"
#include "host/recordings/recording.h"

namespace idem {

// What the networks say about every bin, each [n_rows x n_latents], row-major, not owned.
struct LatentDistributions {
  std::int64_t n_rows = 0;
  int n_latents = 0;
  std::span<const float> encoder_mean, encoder_log_var, prior_mean, prior_log_var;
  bool is_product =
      true;  // of the posterior; else encoder_* is the posterior itself, the answer of an encoder that sees labels
};

// The label bin of every bin of the recording: the position cut in n_position_bins equal parts of its range (a circular
// one of its period), each direction on its own. Without either label that part is one bin.
std::vector<std::int32_t> label_bins(const Recording& recording, const DecodingOptions& options,
                                     int n_position_bins = 32);

// One latent, averaged over the rows measured. Variances are over those rows (divisor n). Of a posterior that is no
// product the label weight, all that tells encoder from posterior and the encoder's variance mean nothing and stay 0.
struct LatentCollapse {
  double label_weight = 0;          // E[s]: 1 = only the label speaks, 0 = the label is ignored
  double kl_encoder = 0;            // E[KL(q(z|x) || p(z|u))], nats
  double kl_posterior = 0;          // E[KL(q(z|x,u) || p(z|u))], nats
  double kl_posterior_encoder = 0;  // E[KL(q(z|x,u) || q(z|x))], nats: how far the label moves the encoder's answer
  double kl_encoder_posterior = 0;  // E[KL(q(z|x) || q(z|x,u))], nats
  double encoder_variance = 0;      // Var(m); above 0.01 the unit is active
  double between_labels = 0;  // Var over label bins of E[mu | bin]: what the labels alone explain of the posterior mean
  double within_labels = 0;   // E over label bins of Var(mu | bin); the two sum to Var(mu)
  double conditional_activity = 0;  // within_labels / E[e^r]; above 0.01 the unit says something the label does not
};

struct CollapseScores {
  std::vector<LatentCollapse> latents;
  bool is_product = true;
  int active_units = 0, conditional_active_units = 0;
  // E|mu(x, u) - mu(x, u')|^2 / Var(mu), summed over latents, where u' is the label of another row drawn at random: 0
  // where labels do not matter, 2 where nothing else does. 0 where mu does not vary.
  double label_swap_reliance = 0;
};

// Measures on `rows` (a split's valid or test bins). label_bin [n_rows] as made by label_bins. The permutation of
// labels is drawn from `seed` alone. Throws ConfigError for no rows, DataError for spans of the wrong size.
CollapseScores measure_collapse(const LatentDistributions& distributions, std::span<const std::int32_t> rows,
                                std::span<const std::int32_t> label_bin, std::uint64_t seed);

// {"active_units", "conditional_active_units", "label_swap_reliance", "label_weight": mean over latents, "kl_encoder",
// "kl_posterior": sums over latents in nats, "latents": [{one key per field of LatentCollapse}, ...]}; of a posterior
// that is no product what means nothing is left out
nlohmann::json to_json(const CollapseScores& scores);

}  // namespace idem
