// ci_ivae_bound_warp.h - what a warp of the CUDA twin of the CI-iVAE bound (objective.h) knows and keeps of its row.
#pragma once

#include <cstddef>
#include <cstdint>

#include "kernels/common/cuda.h"
#include "kernels/objective/ci_ivae_bound_row.h"

#if IDEM_COMPILES_CUDA_TWINS

namespace idem {

// What a warp keeps of its row in shared memory: of each draw the log ratios and the two parts of its factors (what
// multiplies a, what multiplies c), and of each alpha the sums of the factors' logarithms over either half of the
// draws.
struct BoundShared {
  float *log_ratio_encoder, *log_ratio_posterior, *encoder_one, *encoder_ratio, *posterior_one, *posterior_ratio,
      *log_sums;
  static constexpr std::int32_t kHalves = 2;

  static HD std::size_t n_floats(std::int32_t n_draws, std::int32_t n_alphas) {
    return n_draws == 0 ? 0 : 6 * static_cast<std::size_t>(n_draws) + 2 * kHalves * static_cast<std::size_t>(n_alphas);
  }
  __device__ __forceinline__ BoundShared(float* shared, int warp, std::int32_t n_draws, std::int32_t n_alphas) {
    log_ratio_encoder = shared + static_cast<std::size_t>(warp) * n_floats(n_draws, n_alphas);
    log_ratio_posterior = log_ratio_encoder + n_draws;
    encoder_one = log_ratio_posterior + n_draws;
    encoder_ratio = encoder_one + n_draws;
    posterior_one = encoder_ratio + n_draws;
    posterior_ratio = posterior_one + n_draws;
    log_sums = posterior_ratio + n_draws;
  }
};

// What the lanes of a warp know of their row.
struct BoundRow {
  std::int64_t member, row, at;  // at: the row's place among scalars
  const float *mean, *log_var, *prior_mean, *prior_log_var, *noise;
  float row_weight, kl_scale, skew_scale;
  int lane, n_draws;

  __device__ __forceinline__ BoundRow(const CiIvaeBound<float>& p, std::int64_t member_, std::int64_t row_,
                                      float kl_scale_, float skew_scale_, int lane_, int n_draws_)
      : member(member_),
        row(row_),
        at(member_ * p.row_scalar_stride + row_),
        mean(p.mean.row(member_, row_)),
        log_var(p.log_var.row(member_, row_)),
        prior_mean(p.prior_mean.row(member_, row_)),
        prior_log_var(p.prior_log_var.row(member_, row_)),
        noise(p.skew_term != SkewTerm::none ? p.noise.row(member_, row_) : nullptr),
        row_weight(p.row_weight[at]),
        kl_scale(kl_scale_),
        skew_scale(skew_scale_),
        lane(lane_),
        n_draws(n_draws_) {}

  __device__ __forceinline__ LatentGap<float> gap(std::int32_t latent) const {
    return LatentGap<float>(mean[latent], log_var[latent], prior_mean[latent], prior_log_var[latent],
                            LatentParts<float>(log_var[latent], prior_log_var[latent]));
  }
};

// A number for each of the two Gaussians that are compared.
struct OfBoth {
  float encoder = 0.0f, posterior = 0.0f;
};

}  // namespace idem

#endif
