// streams.h - what a random draw is for. Philox4x32-10: key = the member's 64-bit seed, counter = (element / 4, step,
// 0, stream). The numbers are part of every saved result: append, never renumber.
#pragma once

#include <cstdint>

namespace idem {

enum class RandomStream : std::uint32_t {
  initial_weights = 0,  // step = index of the tensor in the parameter layout
  input_noise = 1,      // element = row of the batch * n_neurons + neuron
  posterior_noise = 2,  // element = row of the batch * n_latents + latent
  encoder_noise = 3,
  monte_carlo_noise = 4,      // element = (row * n_latents + latent) * n_samples + sample
  batch_order = 5,            // step = epoch; keys of the Feistel permutation
  simulation = 6,             // host-side simulators
  contrastive_reference = 7,  // element = 4 * place in the batch: sample; + 1: class
  contrastive_negative = 8,   // the same; keys of the permutation of a full batch
  contrastive_positive = 9,   // element = 4 * place in the batch: label difference or sample of the class
  contrastive_noise = 10,     // element = place in the batch * n_labels + label
  decoding_draws = 11,        // element = (candidate * n_draws + draw) * n_latents + latent
  contrastive_deal = 12,      // keys of the permutation that deals references to sessions
};

}  // namespace idem
