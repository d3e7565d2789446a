#include "kernels/common/four_floats.h"
#include "kernels/common/stable_math.h"
#include "kernels/latent/latent.h"

namespace idem {

// One latent of one row. The posterior is written with the smaller of both variances and with both weights, so that
// neither a wide prior nor a wide encoder cancels digits of the other.
template <class Real>
struct LatentPosterior {
  Real log_var, prior_log_var;     // l, r
  Real prior_weight, data_weight;  // s = sigmoid(d), 1 - s
  Real posterior_mean, posterior_log_var;

  HD LatentPosterior(const LatentSample<Real>& p, Real mean, Real raw, Real prior_mean, Real prior_raw) {
    const bool bounded = p.bound == LogVarBound::smooth;
    log_var = bounded ? stable::bound_log_var(raw, p.log_var_low, p.log_var_high) : raw;
    prior_log_var = bounded ? stable::bound_log_var(prior_raw, p.log_var_low, p.log_var_high) : prior_raw;
    const Real gap = log_var - prior_log_var, e = stable::exp(-stable::magnitude(gap)),
               larger_weight = Real(1) / (Real(1) + e);
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
HD LatentValues<Real> latent_values(const LatentSample<Real>& p, Real mean, Real raw, Real prior_mean, Real prior_raw,
                                    Real noise_encoder, Real noise_posterior) {
  const LatentPosterior<Real> q(p, mean, raw, prior_mean, prior_raw);
  return {q.log_var,
          q.prior_log_var,
          q.posterior_mean,
          q.posterior_log_var,
          mean + stable::exp(Real(0.5) * q.log_var) * noise_encoder,
          q.posterior_mean + stable::exp(Real(0.5) * q.posterior_log_var) * noise_posterior};
}

template <class Real>
struct LatentGradient {
  Real mean, log_var, prior_mean, prior_log_var;
};
// What `direct` becomes when the samples' gradients are added and the bound is gone through.
template <class Real>
HD LatentGradient<Real> latent_gradient(const LatentSample<Real>& p, const LatentGradient<Real>& direct, Real mean,
                                        Real raw, Real prior_mean, Real prior_raw, Real noise_encoder,
                                        Real noise_posterior, Real d_z_encoder, Real d_z_posterior) {
  const LatentPosterior<Real> q(p, mean, raw, prior_mean, prior_raw);
  const Real by_encoder_width = Real(0.5) * d_z_encoder * stable::exp(Real(0.5) * q.log_var) * noise_encoder;
  const Real by_gap = d_z_posterior * (prior_mean - mean) * q.prior_weight * q.data_weight;
  const Real by_posterior_width =
      Real(0.5) * d_z_posterior * stable::exp(Real(0.5) * q.posterior_log_var) * noise_posterior;
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

#if IDEM_COMPILES_CPU_TWINS
// Rows have few latents: elements of several rows are packed, worked on in wide registers, and unpacked.
constexpr int kLatentTile = 256;

template <class Real>
static void pack(const Rows<const Real>& rows, std::int64_t member, std::int64_t begin, int n_rows, std::int32_t first,
                 int width, Real* tile) {
  for (int row = 0; row < n_rows; ++row) {
    const Real* from = rows ? rows.row(member, begin + row) + first : nullptr;
    for (int feature = 0; feature < width; ++feature) tile[row * width + feature] = from ? from[feature] : Real(0);
  }
}
template <class Real>
static void unpack(const Real* tile, const Rows<Real>& rows, std::int64_t member, std::int64_t begin, int n_rows,
                   std::int32_t first, int width) {
  if (!rows) return;
  for (int row = 0; row < n_rows; ++row) {
    for (int feature = 0; feature < width; ++feature)
      rows.row(member, begin + row)[first + feature] = tile[row * width + feature];
  }
}

// Calls body(member, first_row, n_rows, first_latent, width) for tiles of at most kLatentTile elements.
template <class Real, class Body>
static void for_each_latent_tile(const LatentSample<Real>& p, ThreadPool& pool, const Body& body) {
  const int width = p.n_latents < kLatentTile ? p.n_latents : kLatentTile;
  if (width == 0) return;
  const int rows_per_tile = kLatentTile / width;
  for_each_row_block(pool, p.fleet, p.batch, rows_per_tile,
                     [&](std::int64_t member, std::int64_t begin, std::int64_t end) {
                       for (std::int32_t first = 0; first < p.n_latents; first += width) {
                         body(member, begin, static_cast<int>(end - begin), first,
                              p.n_latents - first < width ? p.n_latents - first : width);
                       }
                     });
}

template <class Real>
struct LatentInputs {
  Real mean[kLatentTile], raw[kLatentTile], prior_mean[kLatentTile], prior_raw[kLatentTile], noise_encoder[kLatentTile],
      noise_posterior[kLatentTile];

  void pack_from(const LatentSample<Real>& p, std::int64_t member, std::int64_t begin, int n_rows, std::int32_t first,
                 int width) {
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
  Real encoder_log_var[kLatentTile], prior_log_var[kLatentTile], posterior_mean[kLatentTile],
      posterior_log_var[kLatentTile], z_encoder[kLatentTile], z_posterior[kLatentTile];
};

template <class Real>
IDEM_SIMD_CLONES static void latent_sample_tile(const LatentSample<Real>& p, const LatentInputs<Real>& in,
                                                LatentOutputs<Real>& out, int n) {
  const LatentSample<Real> bound = p;  // a copy, so that no store can change it
  for (int i = 0; i < n; ++i) {
    const LatentValues<Real> v = latent_values(bound, in.mean[i], in.raw[i], in.prior_mean[i], in.prior_raw[i],
                                               in.noise_encoder[i], in.noise_posterior[i]);
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
  for_each_latent_tile(p, pool,
                       [&](std::int64_t member, std::int64_t begin, int n_rows, std::int32_t first, int width) {
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
  Real d_z_encoder[kLatentTile], d_z_posterior[kLatentTile], d_mean[kLatentTile], d_log_var[kLatentTile],
      d_prior_mean[kLatentTile], d_prior_log_var[kLatentTile];
};

template <class Real>
IDEM_SIMD_CLONES static void latent_gradient_tile(const LatentSample<Real>& p, const LatentInputs<Real>& in,
                                                  LatentGradients<Real>& d, int n) {
  const LatentSample<Real> bound = p;
  for (int i = 0; i < n; ++i) {
    const LatentGradient<Real> direct = {d.d_mean[i], d.d_log_var[i], d.d_prior_mean[i], d.d_prior_log_var[i]};
    const LatentGradient<Real> whole =
        latent_gradient(bound, direct, in.mean[i], in.raw[i], in.prior_mean[i], in.prior_raw[i], in.noise_encoder[i],
                        in.noise_posterior[i], d.d_z_encoder[i], d.d_z_posterior[i]);
    d.d_mean[i] = whole.mean;
    d.d_log_var[i] = whole.log_var;
    d.d_prior_mean[i] = whole.prior_mean;
    d.d_prior_log_var[i] = whole.prior_log_var;
  }
}

template <class Real>
void latent_sample_backward_cpu(const LatentSampleGradient<Real>& p, ThreadPool& pool) {
  for_each_latent_tile(p.forward, pool,
                       [&](std::int64_t member, std::int64_t begin, int n_rows, std::int32_t first, int width) {
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
template <class Features>
static __device__ typename Features::Values load_or_zeros(const Rows<const float>& rows, std::int64_t member,
                                                          std::int64_t row, std::int32_t latent, std::int32_t n) {
  typename Features::Values values{};
  if (rows) values = Features::load(rows.row(member, row) + latent, n);
  return values;
}
template <class Features>
static __device__ void store_if(const Rows<float>& rows, std::int64_t member, std::int64_t row, std::int32_t latent,
                                std::int32_t n, const typename Features::Values& values) {
  if (rows) Features::store(rows.row(member, row) + latent, n, values);
}

template <class... All>
static bool all_take_four(const All&... rows) {
  return (takes_four(rows) && ...);
}

// Value number `place` of those that are taken at once.
static __device__ __forceinline__ float& value_of(float& value, std::int32_t) { return value; }
static __device__ __forceinline__ float& value_of(float4& values, std::int32_t place) {
  return place == 0 ? values.x : place == 1 ? values.y : place == 2 ? values.z : values.w;
}

struct LatentSampleRow {
  LatentSample<float> p;
  bool takes_four() const {
    return all_take_four(p.encoder_mean, p.encoder_raw, p.prior_mean, p.prior_raw, p.noise_encoder, p.noise_posterior,
                         p.encoder_log_var, p.prior_log_var, p.posterior_mean, p.posterior_log_var, p.z_encoder,
                         p.z_posterior);
  }
  template <class Features>
  __device__ void at(std::int64_t member, std::int64_t row, std::int32_t latent, std::int32_t n) const {
    using Values = typename Features::Values;
    const auto load = [&](const Rows<const float>& rows) {
      return load_or_zeros<Features>(rows, member, row, latent, n);
    };
    Values mean = load(p.encoder_mean), raw = load(p.encoder_raw), prior_mean = load(p.prior_mean),
           prior_raw = load(p.prior_raw);
    Values noise_encoder = load(p.noise_encoder), noise_posterior = load(p.noise_posterior);
    Values encoder_log_var{}, prior_log_var{}, posterior_mean{}, posterior_log_var{}, z_encoder{}, z_posterior{};
    UNROLLED for (std::int32_t i = 0; i < static_cast<std::int32_t>(sizeof(Values) / sizeof(float)); ++i) {
      if (i >= n) continue;
      const LatentValues<float> v =
          latent_values(p, value_of(mean, i), value_of(raw, i), value_of(prior_mean, i), value_of(prior_raw, i),
                        value_of(noise_encoder, i), value_of(noise_posterior, i));
      value_of(encoder_log_var, i) = v.encoder_log_var;
      value_of(prior_log_var, i) = v.prior_log_var;
      value_of(posterior_mean, i) = v.posterior_mean;
      value_of(posterior_log_var, i) = v.posterior_log_var;
      value_of(z_encoder, i) = v.z_encoder;
      value_of(z_posterior, i) = v.z_posterior;
    }
    const auto store = [&](const Rows<float>& rows, const Values& values) {
      store_if<Features>(rows, member, row, latent, n, values);
    };
    store(p.encoder_log_var, encoder_log_var);
    store(p.prior_log_var, prior_log_var);
    store(p.posterior_mean, posterior_mean);
    store(p.posterior_log_var, posterior_log_var);
    store(p.z_encoder, z_encoder);
    store(p.z_posterior, z_posterior);
  }
};
void latent_sample_forward_cuda(const LatentSample<float>& p, Stream stream) {
  cu::launch_features("latent_sample_forward", p.fleet, p.batch, p.n_latents, LatentSampleRow{p}, stream);
}

struct LatentSampleGradientRow {
  LatentSampleGradient<float> p;
  bool takes_four() const {
    const LatentSample<float>& f = p.forward;
    return all_take_four(f.encoder_mean, f.encoder_raw, f.prior_mean, f.prior_raw, f.noise_encoder, f.noise_posterior,
                         p.d_z_encoder, p.d_z_posterior, p.d_mean, p.d_log_var, p.d_prior_mean, p.d_prior_log_var);
  }
  template <class Features>
  __device__ void at(std::int64_t member, std::int64_t row, std::int32_t latent, std::int32_t n) const {
    using Values = typename Features::Values;
    const LatentSample<float>& f = p.forward;
    const auto load = [&](const Rows<const float>& rows) {
      return load_or_zeros<Features>(rows, member, row, latent, n);
    };
    Values mean = load(f.encoder_mean), raw = load(f.encoder_raw), prior_mean = load(f.prior_mean),
           prior_raw = load(f.prior_raw);
    Values noise_encoder = load(f.noise_encoder), noise_posterior = load(f.noise_posterior);
    Values d_z_encoder = load(p.d_z_encoder), d_z_posterior = load(p.d_z_posterior);
    Values d_mean = load(p.d_mean), d_log_var = load(p.d_log_var), d_prior_mean = load(p.d_prior_mean),
           d_prior_log_var = load(p.d_prior_log_var);
    UNROLLED for (std::int32_t i = 0; i < static_cast<std::int32_t>(sizeof(Values) / sizeof(float)); ++i) {
      if (i >= n) continue;
      const LatentGradient<float> d = latent_gradient<float>(
          f, {value_of(d_mean, i), value_of(d_log_var, i), value_of(d_prior_mean, i), value_of(d_prior_log_var, i)},
          value_of(mean, i), value_of(raw, i), value_of(prior_mean, i), value_of(prior_raw, i),
          value_of(noise_encoder, i), value_of(noise_posterior, i), value_of(d_z_encoder, i),
          value_of(d_z_posterior, i));
      value_of(d_mean, i) = d.mean;
      value_of(d_log_var, i) = d.log_var;
      value_of(d_prior_mean, i) = d.prior_mean;
      value_of(d_prior_log_var, i) = d.prior_log_var;
    }
    const auto store = [&](const Rows<float>& rows, const Values& values) {
      Features::store(rows.row(member, row) + latent, n, values);
    };
    store(p.d_mean, d_mean);
    store(p.d_log_var, d_log_var);
    store(p.d_prior_mean, d_prior_mean);
    store(p.d_prior_log_var, d_prior_log_var);
  }
};
void latent_sample_backward_cuda(const LatentSampleGradient<float>& p, Stream stream) {
  cu::launch_features("latent_sample_backward", p.forward.fleet, p.forward.batch, p.forward.n_latents,
                      LatentSampleGradientRow{p}, stream);
}
#endif

}  // namespace idem
