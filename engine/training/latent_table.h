// latent_table.h - the latents of a recording.
#pragma once

#include <vector>

namespace idem {

// Of rows, [n_rows x n_latents] each; empty where a model has none. encoder_*: of the neurons alone (of contrastive
// models the embedding, which has no variance); posterior_*: with labels; prior_*: of the labels alone.
struct LatentTable {
  std::vector<float> encoder_mean, encoder_log_var, posterior_mean, posterior_log_var, prior_mean, prior_log_var;

  bool is_finite() const;  // every value
};

}  // namespace idem
