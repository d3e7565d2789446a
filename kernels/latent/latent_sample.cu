#include "kernels/common/cuda.h"
#include "kernels/common/stable_math.h"
#include "kernels/latent/latent.h"

namespace idem {

// One latent of one row. The posterior is written with the smaller of both variances and with both weights, so that neither a wide prior nor
// a wide encoder cancels digits of the other.
template <class Real>
struct LatentPosterior {
  Real log_var, prior_log_var;             // l, r
  Real prior_weight, data_weight;          // s = sigmoid(d), 1 - s
  Real posterior_mean, posterior_log_var;

  HD LatentPosterior(const LatentSample<Real>& p, Real mean, Real raw, Real prior_mean, Real prior_raw) {
    const bool bounded = p.bound == LogVarBound::smooth;
    log_var = bounded ? stable::bound_log_var(raw, p.log_var_low, p.log_var_high) : raw;
    prior_log_var = bounded ? stable::bound_log_var(prior_raw, p.log_var_low, p.log_var_high) : prior_raw;
    const Real gap = log_var - prior_log_var, e = stable::exp(-stable::magnitude(gap)), larger_weight = Real(1) / (Real(1) + e);
    prior_weight = gap < Real(0) ? e * larger_weight : larger_weight;
    data_weight = gap < Real(0) ? larger_weight : e * larger_weight;
    posterior_mean = data_weight * mean + prior_weight * prior_mean;
    posterior_log_var = stable::smaller(log_var, prior_log_var) - stable::log1p_of_unit(e);
  }
};

template <class Real>
struct LatentValues {
  Real encoder_log_var, prior_log_var, posterior_mean, posterior_log_var, z_encoder, z_posterior;
};
template <class Real>
HD LatentValues<Real> latent_values(const LatentSample<Real>& p, Real mean, Real raw, Real prior_mean, Real prior_raw, Real noise_encoder,
                                    Real noise_posterior) {
  const LatentPosterior<Real> q(p, mean, raw, prior_mean, prior_raw);
  return {q.log_var, q.prior_log_var, q.posterior_mean, q.posterior_log_var, mean + stable::exp(Real(0.5) * q.log_var) * noise_encoder,
          q.posterior_mean + stable::exp(Real(0.5) * q.posterior_log_var) * noise_posterior};
}

template <class Real>
struct LatentGradient {
  Real mean, log_var, prior_mean, prior_log_var;
};
// What `direct` becomes when the samples' gradients are added and the bound is gone through.
template <class Real>
HD LatentGradient<Real> latent_gradient(const LatentSample<Real>& p, const LatentGradient<Real>& direct, Real mean, Real raw, Real prior_mean,
                                        Real prior_raw, Real noise_encoder, Real noise_posterior, Real d_z_encoder, Real d_z_posterior) {
  const LatentPosterior<Real> q(p, mean, raw, prior_mean, prior_raw);
  const Real by_encoder_width = Real(0.5) * d_z_encoder * stable::exp(Real(0.5) * q.log_var) * noise_encoder;
  const Real by_gap = d_z_posterior * (prior_mean - mean) * q.prior_weight * q.data_weight;
  const Real by_posterior_width = Real(0.5) * d_z_posterior * stable::exp(Real(0.5) * q.posterior_log_var) * noise_posterior;
  LatentGradient<Real> d;
  d.mean = direct.mean + d_z_encoder + q.data_weight * d_z_posterior;
  d.prior_mean = direct.prior_mean + q.prior_weight * d_z_posterior;
  d.log_var = direct.log_var + by_encoder_width + by_gap + q.data_weight * by_posterior_width;
  d.prior_log_var = direct.prior_log_var - by_gap + q.prior_weight * by_posterior_width;
  const bool bounded = p.bound == LogVarBound::smooth;
  d.log_var *= bounded ? stable::bound_log_var_derivative(raw, p.log_var_low, p.log_var_high) : Real(1);
  d.prior_log_var *= bounded ? stable::bound_log_var_derivative(prior_raw, p.log_var_low, p.log_var_high) : Real(1);
  return d;
}

template <class Real>
HD Real read_or_zero(const Rows<const Real>& rows, std::int64_t member, std::int64_t row, std::int32_t feature) {
  return rows ? rows.row(member, row)[feature] : Real(0);
}
template <class Real>
HD void write_if(const Rows<Real>& rows, std::int64_t member, std::int64_t row, std::int32_t feature, Real value) {
  if (rows) rows.row(member, row)[feature] = value;
}

#if IDEM_COMPILES_CPU_TWINS
// Rows have few latents: elements of several rows are packed, worked on in wide registers, and unpacked.
constexpr int kLatentTile = 256;

template <class Real>
static void pack(const Rows<const Real>& rows, std::int64_t member, std::int64_t begin, int n_rows, std::int32_t first, int width, Real* tile) {
  for (int row = 0; row < n_rows; ++row) {
    const Real* from = rows ? rows.row(member, begin + row) + first : nullptr;
    for (int feature = 0; feature < width; ++feature) tile[row * width + feature] = from ? from[feature] : Real(0);
  }
}
template <class Real>
static void unpack(const Real* tile, const Rows<Real>& rows, std::int64_t member, std::int64_t begin, int n_rows, std::int32_t first, int width) {
  if (!rows) return;
  for (int row = 0; row < n_rows; ++row) {
    for (int feature = 0; feature < width; ++feature) rows.row(member, begin + row)[first + feature] = tile[row * width + feature];
  }
}

// Calls body(member, first_row, n_rows, first_latent, width) for tiles of at most kLatentTile elements.
template <class Real, class Body>
static void for_each_latent_tile(const LatentSample<Real>& p, ThreadPool& pool, const Body& body) {
  const int width = p.n_latents < kLatentTile ? p.n_latents : kLatentTile;
  if (width == 0) return;
  const int rows_per_tile = kLatentTile / width;
  for_each_row_block(pool, p.fleet, p.batch, rows_per_tile, [&](std::int64_t member, std::int64_t begin, std::int64_t end) {
    for (std::int32_t first = 0; first < p.n_latents; first += width) {
      body(member, begin, static_cast<int>(end - begin), first, p.n_latents - first < width ? p.n_latents - first : width);
    }
  });
}

template <class Real>
struct LatentInputs {
  Real mean[kLatentTile], raw[kLatentTile], prior_mean[kLatentTile], prior_raw[kLatentTile], noise_encoder[kLatentTile],
      noise_posterior[kLatentTile];

  void pack_from(const LatentSample<Real>& p, std::int64_t member, std::int64_t begin, int n_rows, std::int32_t first, int width) {
    pack(p.encoder_mean, member, begin, n_rows, first, width, mean);
    pack(p.encoder_raw, member, begin, n_rows, first, width, raw);
    pack(p.prior_mean, member, begin, n_rows, first, width, prior_mean);
    pack(p.prior_raw, member, begin, n_rows, first, width, prior_raw);
    pack(p.noise_encoder, member, begin, n_rows, first, width, noise_encoder);
    pack(p.noise_posterior, member, begin, n_rows, first, width, noise_posterior);
  }
};

template <class Real>
struct LatentOutputs {
  Real encoder_log_var[kLatentTile], prior_log_var[kLatentTile], posterior_mean[kLatentTile], posterior_log_var[kLatentTile],
      z_encoder[kLatentTile], z_posterior[kLatentTile];
};

template <class Real>
IDEM_SIMD_CLONES static void latent_sample_tile(const LatentSample<Real>& p, const LatentInputs<Real>& in, LatentOutputs<Real>& out, int n) {
  const LatentSample<Real> bound = p;  // a copy, so that no store can change it
  for (int i = 0; i < n; ++i) {
    const LatentValues<Real> v =
        latent_values(bound, in.mean[i], in.raw[i], in.prior_mean[i], in.prior_raw[i], in.noise_encoder[i], in.noise_posterior[i]);
    out.encoder_log_var[i] = v.encoder_log_var;
    out.prior_log_var[i] = v.prior_log_var;
    out.posterior_mean[i] = v.posterior_mean;
    out.posterior_log_var[i] = v.posterior_log_var;
    out.z_encoder[i] = v.z_encoder;
    out.z_posterior[i] = v.z_posterior;
  }
}

template <class Real>
void latent_sample_forward_cpu(const LatentSample<Real>& p, ThreadPool& pool) {
  for_each_latent_tile(p, pool, [&](std::int64_t member, std::int64_t begin, int n_rows, std::int32_t first, int width) {
    LatentInputs<Real> in = {};
    LatentOutputs<Real> out;
    in.pack_from(p, member, begin, n_rows, first, width);
    latent_sample_tile(p, in, out, n_rows * width);
    unpack(out.encoder_log_var, p.encoder_log_var, member, begin, n_rows, first, width);
    unpack(out.prior_log_var, p.prior_log_var, member, begin, n_rows, first, width);
    unpack(out.posterior_mean, p.posterior_mean, member, begin, n_rows, first, width);
    unpack(out.posterior_log_var, p.posterior_log_var, member, begin, n_rows, first, width);
    unpack(out.z_encoder, p.z_encoder, member, begin, n_rows, first, width);
    unpack(out.z_posterior, p.z_posterior, member, begin, n_rows, first, width);
  });
}
IDEM_INSTANTIATE_CPU(latent_sample_forward, LatentSample)

template <class Real>
struct LatentGradients {
  Real d_z_encoder[kLatentTile], d_z_posterior[kLatentTile], d_mean[kLatentTile], d_log_var[kLatentTile], d_prior_mean[kLatentTile],
      d_prior_log_var[kLatentTile];
};

template <class Real>
IDEM_SIMD_CLONES static void latent_gradient_tile(const LatentSample<Real>& p, const LatentInputs<Real>& in, LatentGradients<Real>& d, int n) {
  const LatentSample<Real> bound = p;
  for (int i = 0; i < n; ++i) {
    const LatentGradient<Real> direct = {d.d_mean[i], d.d_log_var[i], d.d_prior_mean[i], d.d_prior_log_var[i]};
    const LatentGradient<Real> whole = latent_gradient(bound, direct, in.mean[i], in.raw[i], in.prior_mean[i], in.prior_raw[i], in.noise_encoder[i],
                                                       in.noise_posterior[i], d.d_z_encoder[i], d.d_z_posterior[i]);
    d.d_mean[i] = whole.mean;
    d.d_log_var[i] = whole.log_var;
    d.d_prior_mean[i] = whole.prior_mean;
    d.d_prior_log_var[i] = whole.prior_log_var;
  }
}

template <class Real>
void latent_sample_backward_cpu(const LatentSampleGradient<Real>& p, ThreadPool& pool) {
  for_each_latent_tile(p.forward, pool, [&](std::int64_t member, std::int64_t begin, int n_rows, std::int32_t first, int width) {
    LatentInputs<Real> in = {};
    LatentGradients<Real> d;
    in.pack_from(p.forward, member, begin, n_rows, first, width);
    pack(p.d_z_encoder, member, begin, n_rows, first, width, d.d_z_encoder);
    pack(p.d_z_posterior, member, begin, n_rows, first, width, d.d_z_posterior);
    pack<Real>(p.d_mean, member, begin, n_rows, first, width, d.d_mean);
    pack<Real>(p.d_log_var, member, begin, n_rows, first, width, d.d_log_var);
    pack<Real>(p.d_prior_mean, member, begin, n_rows, first, width, d.d_prior_mean);
    pack<Real>(p.d_prior_log_var, member, begin, n_rows, first, width, d.d_prior_log_var);
    latent_gradient_tile(p.forward, in, d, n_rows * width);
    unpack(d.d_mean, p.d_mean, member, begin, n_rows, first, width);
    unpack(d.d_log_var, p.d_log_var, member, begin, n_rows, first, width);
    unpack(d.d_prior_mean, p.d_prior_mean, member, begin, n_rows, first, width);
    unpack(d.d_prior_log_var, p.d_prior_log_var, member, begin, n_rows, first, width);
  });
}
IDEM_INSTANTIATE_CPU(latent_sample_backward, LatentSampleGradient)
#endif

#if IDEM_COMPILES_CUDA_TWINS
struct LatentSampleRow {
  LatentSample<float> p;
  HD void operator()(std::int64_t member, std::int64_t row, std::int32_t latent) const {
    const LatentValues<float> v =
        latent_values(p, p.encoder_mean.row(member, row)[latent], p.encoder_raw.row(member, row)[latent], p.prior_mean.row(member, row)[latent],
                      p.prior_raw.row(member, row)[latent], read_or_zero(p.noise_encoder, member, row, latent),
                      read_or_zero(p.noise_posterior, member, row, latent));
    write_if(p.encoder_log_var, member, row, latent, v.encoder_log_var);
    write_if(p.prior_log_var, member, row, latent, v.prior_log_var);
    write_if(p.posterior_mean, member, row, latent, v.posterior_mean);
    write_if(p.posterior_log_var, member, row, latent, v.posterior_log_var);
    write_if(p.z_encoder, member, row, latent, v.z_encoder);
    write_if(p.z_posterior, member, row, latent, v.z_posterior);
  }
};
void latent_sample_forward_cuda(const LatentSample<float>& p, Stream stream) {
  cu::launch_rows("latent_sample_forward", p.fleet, p.batch, p.n_latents, LatentSampleRow{p}, stream);
}

struct LatentSampleGradientRow {
  LatentSampleGradient<float> p;
  HD void operator()(std::int64_t member, std::int64_t row, std::int32_t latent) const {
    const LatentSample<float>& f = p.forward;
    float &d_mean = p.d_mean.row(member, row)[latent], &d_log_var = p.d_log_var.row(member, row)[latent];
    float &d_prior_mean = p.d_prior_mean.row(member, row)[latent], &d_prior_log_var = p.d_prior_log_var.row(member, row)[latent];
    const LatentGradient<float> d = latent_gradient<float>(
        f, {d_mean, d_log_var, d_prior_mean, d_prior_log_var}, f.encoder_mean.row(member, row)[latent], f.encoder_raw.row(member, row)[latent],
        f.prior_mean.row(member, row)[latent], f.prior_raw.row(member, row)[latent], read_or_zero(f.noise_encoder, member, row, latent),
        read_or_zero(f.noise_posterior, member, row, latent), read_or_zero(p.d_z_encoder, member, row, latent),
        read_or_zero(p.d_z_posterior, member, row, latent));
    d_mean = d.mean;
    d_log_var = d.log_var;
    d_prior_mean = d.prior_mean;
    d_prior_log_var = d.prior_log_var;
  }
};
void latent_sample_backward_cuda(const LatentSampleGradient<float>& p, Stream stream) {
  cu::launch_rows("latent_sample_backward", p.forward.fleet, p.forward.batch, p.forward.n_latents, LatentSampleGradientRow{p}, stream);
}
#endif

}  // namespace idem
