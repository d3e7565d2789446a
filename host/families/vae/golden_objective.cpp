#include "host/families/vae/golden_objective.h"

#include <functional>
#include <limits>
#include <numeric>
#include <tuple>

#include "engine/device/array.h"
#include "engine/families/vae/ci_ivae.h"
#include "host/parity/transfer.h"
#include "kernels/common/to_size.h"

namespace idem::parity {

namespace {

using Arrays = std::map<std::string, NumpyArray>;

template <class Real>
class ObjectiveCase {
 public:
  ObjectiveCase(Device& device, const ParityCase& golden)
      : device_(device),
        golden_(golden),
        transfer_(device),
        batch_(golden.extent("z_mean", 2, 0)),
        n_latents_(golden.extent("z_mean", 2, 1)),
        n_samples_(golden.extent("eps", 3, 2)),
        alphas_(golden.alphas("alphas")) {
    golden.require_memory(to_size(batch_) * alphas_.size() * sizeof(Real));
  }

  Arrays published(double beta) {
    Arrays out = posterior();
    run(out, "", SkewTerm::published, beta, 1.0 / static_cast<double>(n_latents_), 0);
    return out;
  }

  Arrays paper() {
    Arrays out;
    for (const std::string unit : {"sum", "mean"}) {
      const double beta = golden_.scalar("paper_" + unit + "_beta");
      const double per_unit = unit == "sum" ? 1.0 : 1.0 / static_cast<double>(n_latents_);
      run(out, "paper_" + unit + "_", SkewTerm::paper, beta, per_unit, beta * per_unit);
    }
    return out;
  }

 private:
  Activations<Real> rows(std::int64_t n_features) { return Activations<Real>(device_, 1, batch_, n_features); }
  Array<Real> scalars() { return Array<Real>(device_, to_size(batch_)); }
  Activations<Real> input(const std::string& name, const std::vector<std::int64_t>& shape_of_row) {
    std::vector<std::int64_t> shape{batch_};
    shape.insert(shape.end(), shape_of_row.begin(), shape_of_row.end());
    auto activations =
        rows(std::accumulate(shape_of_row.begin(), shape_of_row.end(), std::int64_t{1}, std::multiplies<>()));
    transfer_.in(golden_.array(name, shape), activations);
    return activations;
  }
  Array<Real> input_scalars(const std::string& name, double factor) {
    std::vector<Real> values;
    for (const double value : golden_.values(name, {batch_})) values.push_back(static_cast<Real>(value * factor));
    return Array<Real>(device_, values);
  }

  Arrays posterior() {
    const auto mean_rows = input("z_mean", {n_latents_}), log_var = input("z_log_var", {n_latents_}),
               prior_mean = input("lam_mean", {n_latents_}), prior_log_var = input("lam_log_var", {n_latents_}),
               no_noise = rows(n_latents_), post_mean = rows(n_latents_), post_log_var = rows(n_latents_),
               l = rows(n_latents_), r = rows(n_latents_);
    latent_sample_forward(device_.execution(), LatentSample<Real>{.batch = static_cast<std::int32_t>(batch_),
                                                                  .n_latents = static_cast<std::int32_t>(n_latents_),
                                                                  .bound = LogVarBound::none,
                                                                  .encoder_mean = mean_rows,
                                                                  .encoder_raw = log_var,
                                                                  .prior_mean = prior_mean,
                                                                  .prior_raw = prior_log_var,
                                                                  .noise_encoder = no_noise,
                                                                  .noise_posterior = no_noise,
                                                                  .encoder_log_var = l,
                                                                  .prior_log_var = r,
                                                                  .posterior_mean = post_mean,
                                                                  .posterior_log_var = post_log_var});
    return {{"post_mean", transfer_.out(post_mean, batch_, n_latents_)},
            {"post_log_var", transfer_.out(post_log_var, batch_, n_latents_)}};
  }

  void run(Arrays& out, const std::string& prefix, SkewTerm skew_term, double beta, double per_unit,
           double skew_factor) {
    const auto n_alphas = static_cast<std::int64_t>(alphas_.size());
    const auto mean_rows = input("z_mean", {n_latents_}), log_var = input("z_log_var", {n_latents_}),
               prior_mean = input("lam_mean", {n_latents_}), prior_log_var = input("lam_log_var", {n_latents_}),
               noise = input("eps", {n_latents_, n_samples_}), d_mean = rows(n_latents_), d_log_var = rows(n_latents_),
               d_prior_mean = rows(n_latents_), d_prior_log_var = rows(n_latents_), grid = rows(n_alphas);
    const auto loss_posterior = input_scalars("loglik_post", -1), loss_encoder = input_scalars("loglik_encoded", -1);
    const Array<Real> alphas(device_, std::vector<Real>(alphas_.begin(), alphas_.end()));
    const Array<Real> weight(device_, std::vector<Real>(to_size(batch_), Real(1) / static_cast<Real>(batch_)));
    const Array<Real> kl_scale(device_, std::vector<Real>{static_cast<Real>(beta * per_unit)});
    const Array<Real> skew_scale(device_, std::vector<Real>{static_cast<Real>(skew_factor)});
    const auto loss = scalars(), kl_encoder = scalars(), kl_posterior = scalars(), skew = scalars(), alpha = scalars(),
               weight_posterior = scalars(), weight_encoder = scalars();
    const Array<std::int32_t> alpha_index(device_, to_size(batch_));
    ci_ivae_bound(device_.execution(), CiIvaeBound<Real>{.batch = static_cast<std::int32_t>(batch_),
                                                         .n_latents = static_cast<std::int32_t>(n_latents_),
                                                         .n_samples = static_cast<std::int32_t>(n_samples_),
                                                         .n_alphas = static_cast<std::int32_t>(n_alphas),
                                                         .skew_term = skew_term,
                                                         .mean = mean_rows,
                                                         .log_var = log_var,
                                                         .prior_mean = prior_mean,
                                                         .prior_log_var = prior_log_var,
                                                         .noise = noise,
                                                         .alphas = alphas.data(),
                                                         .loss_posterior = loss_posterior.data(),
                                                         .loss_encoder = loss_encoder.data(),
                                                         .row_weight = weight.data(),
                                                         .row_scalar_stride = batch_,
                                                         .kl_scale = kl_scale.data(),
                                                         .skew_scale = skew_scale.data(),
                                                         .loss = loss.data(),
                                                         .kl_encoder = kl_encoder.data(),
                                                         .kl_posterior = kl_posterior.data(),
                                                         .skew = skew.data(),
                                                         .alpha = alpha.data(),
                                                         .alpha_index = alpha_index.data(),
                                                         .weight_posterior = weight_posterior.data(),
                                                         .weight_encoder = weight_encoder.data(),
                                                         .d_mean = d_mean,
                                                         .d_log_var = d_log_var,
                                                         .d_prior_mean = d_prior_mean,
                                                         .d_prior_log_var = d_prior_log_var,
                                                         .loss_grid = grid});
    const auto per_row = transfer_.scalars(loss.data(), batch_);
    out[prefix + "loss_grid"] = transfer_.out(grid, batch_, n_alphas);
    out[prefix + "argmin"] = transfer_.indices(alpha_index.data(), batch_);
    out[prefix + "loss"] = NumpyArray::of_scalar(mean(per_row));
    out[prefix + "grad_z_mean"] = transfer_.out(d_mean, batch_, n_latents_);
    out[prefix + "grad_z_log_var"] = transfer_.out(d_log_var, batch_, n_latents_);
    out[prefix + "grad_lam_mean"] = transfer_.out(d_prior_mean, batch_, n_latents_);
    out[prefix + "grad_lam_log_var"] = transfer_.out(d_prior_log_var, batch_, n_latents_);
    out[prefix + "grad_loglik_post"] = vector_array(scaled(transfer_.scalars(weight_posterior.data(), batch_), -1));
    out[prefix + "grad_loglik_encoded"] = vector_array(scaled(transfer_.scalars(weight_encoder.data(), batch_), -1));
    if (skew_term != SkewTerm::published) return;
    out["loss_per_sample"] = vector_array(per_row);
    for (const auto& [kl, loglik, name] :
         {std::tuple{&kl_posterior, &loss_posterior, "post"}, std::tuple{&kl_encoder, &loss_encoder, "enc"}}) {
      const auto kl_values = scaled(transfer_.scalars(kl->data(), batch_), per_unit);
      auto elbo = scaled(transfer_.scalars(loglik->data(), batch_), -1);
      for (std::size_t row = 0; row < elbo.size(); ++row) elbo[row] -= beta * kl_values[row];
      out[std::string("kl_") + name] = vector_array(kl_values);
      out[std::string("elbo_") + name] = vector_array(elbo);
    }
  }

  Device& device_;
  const ParityCase& golden_;
  Transfer<Real> transfer_;
  std::int64_t batch_, n_latents_, n_samples_;
  std::vector<double> alphas_;
};

}  // namespace

template <class Real>
Arrays published_objective(Device& device, const ParityCase& golden) {
  constexpr double unbounded = std::numeric_limits<double>::infinity();
  return ObjectiveCase<Real>(device, golden).published(golden.meta().number("beta", -unbounded, unbounded));
}

template <class Real>
Arrays paper_objective(Device& device, const ParityCase& golden) {
  return ObjectiveCase<Real>(device, golden).paper();
}

template Arrays published_objective<float>(Device&, const ParityCase&);
template Arrays published_objective<double>(Device&, const ParityCase&);
template Arrays paper_objective<float>(Device&, const ParityCase&);
template Arrays paper_objective<double>(Device&, const ParityCase&);

}  // namespace idem::parity
