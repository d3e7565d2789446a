#include "kernels/latent/latent.h"
#include "tests/emulation/twin_check.h"

namespace idem {
namespace {

// Fills the parameters of a forward pass; with_encoder: the encoder is sampled too.
template <class Run, class Real = typename Run::Scalar>
LatentSample<Real> latent_sample(Run& run, std::int64_t batch, std::int32_t n_latents, LogVarBound bound,
                                 bool with_encoder) {
  LatentSample<Real> p;
  p.fleet = run.fleet();
  p.batch = static_cast<std::int32_t>(batch);
  p.n_latents = n_latents;
  p.bound = bound;
  p.encoder_mean = run.input_rows("encoder_mean", batch, n_latents);
  p.encoder_raw = run.input_rows("encoder_raw", batch, n_latents, normal_values(4));
  p.prior_mean = run.input_rows("prior_mean", batch, n_latents);
  p.prior_raw = run.input_rows("prior_raw", batch, n_latents, normal_values(4));
  p.noise_posterior = run.input_rows("noise_posterior", batch, n_latents);
  if (with_encoder) p.noise_encoder = run.input_rows("noise_encoder", batch, n_latents);
  return p;
}

TEST(LatentSampleTwins, AgreeOnEverySize) {
  for (const std::int64_t batch : kHardSizes) {
    for (const std::int32_t n_latents : {2, 33}) {
      SCOPED_TRACE(testing::Message() << batch << " rows of " << n_latents);
      check_twins(TwinFleet::several(), [&](auto& run) {
        auto p = latent_sample(run, batch, n_latents, n_latents == 2 ? LogVarBound::smooth : LogVarBound::none, true);
        p.encoder_log_var = run.output_rows("encoder_log_var", batch, n_latents);
        p.prior_log_var = run.output_rows("prior_log_var", batch, n_latents);
        p.posterior_mean = run.output_rows("posterior_mean", batch, n_latents);
        p.posterior_log_var = run.output_rows("posterior_log_var", batch, n_latents);
        p.z_encoder = run.output_rows("z_encoder", batch, n_latents);
        p.z_posterior = run.output_rows("z_posterior", batch, n_latents);
        latent_sample_forward(run.execution(), p);
      });
    }
  }
}

TEST(LatentSampleGradientTwins, AgreeOnEverySize) {
  for (const std::int64_t batch : kHardSizes) {
    for (const std::int32_t n_latents : {1, 5}) {
      for (const bool with_encoder : {true, false}) {
        SCOPED_TRACE(testing::Message() << batch << " rows of " << n_latents
                                        << (with_encoder ? "" : ", posterior alone"));
        check_twins(TwinFleet::several(), [&](auto& run) {
          using Real = typename std::decay_t<decltype(run)>::Scalar;
          LatentSampleGradient<Real> p;
          p.forward = latent_sample(run, batch, n_latents, with_encoder ? LogVarBound::smooth : LogVarBound::none,
                                    with_encoder);
          p.d_z_posterior = run.input_rows("d_z_posterior", batch, n_latents);
          if (with_encoder) p.d_z_encoder = run.input_rows("d_z_encoder", batch, n_latents);
          p.d_mean = run.in_out_rows("d_mean", batch, n_latents);
          p.d_log_var = run.in_out_rows("d_log_var", batch, n_latents);
          p.d_prior_mean = run.in_out_rows("d_prior_mean", batch, n_latents);
          p.d_prior_log_var = run.in_out_rows("d_prior_log_var", batch, n_latents);
          latent_sample_backward(run.execution(), p);
        });
      }
    }
  }
}

}  // namespace
}  // namespace idem
