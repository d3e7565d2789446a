#include "kernels/objective/objective.h"

#include <gtest/gtest.h>

#include <cmath>
#include <filesystem>
#include <map>
#include <string>
#include <utility>
#include <vector>

#include "host/formats/npz.h"
#include "kernels/latent/latent.h"
#include "tests/kernels/bound_case.h"

namespace idem {
namespace {

template <class Real>
void expect_golden_vectors(double tolerance, double skew_tolerance) {
  struct Golden {
    double m, l, lambda, r, kl_encoder, kl_posterior;
  };
  for (const Golden& g :
       {Golden{.7, -1.2, -.4, .3, .809760104, .741505515}, Golden{-2, 1.5, 1, -.5, 9.61377377, .109285104},
        Golden{5, -14, 4, 1, 7.18393987, 7.18393991}}) {
    BoundCase<Real> c(1, 1, 1, 1, {Real(0)});
    c.skew_term = SkewTerm::none;
    c.set(static_cast<Real>(g.m), static_cast<Real>(g.l), static_cast<Real>(g.lambda), static_cast<Real>(g.r));
    c.run();
    EXPECT_NEAR(c.kl_encoder.at(0, 0, 0), g.kl_encoder, tolerance * (1 + g.kl_encoder));
    EXPECT_NEAR(c.kl_posterior.at(0, 0, 0), g.kl_posterior, tolerance * (1 + g.kl_posterior));
  }
  BoundCase<Real> c(1, 1, 1, 4, {Real(.3)});
  c.skew_term = SkewTerm::published;
  c.set(Real(.7), Real(-1.2), Real(-.4), Real(.3));
  for (int draw = 0; draw < 4; ++draw) c.noise.at(0, 0, draw) = static_cast<Real>(draw - 1.5);
  c.run();
  EXPECT_NEAR(c.skew.at(0, 0, 0), .3 * .053533171 + .7 * .000531507, skew_tolerance);
}
TEST(CiIvaeBound, GoldenVectorsAreReproduced) {
  expect_golden_vectors<double>(1e-9, 1e-9);
  expect_golden_vectors<float>(1e-6, 1e-6);
}

// Golden cases computed by an independent implementation (tests/golden).
template <class Real>
struct GoldenBound {
  std::map<std::string, NumpyArray> arrays;
  BoundCase<Real> c;

  explicit GoldenBound(const std::string& path) : GoldenBound(read_npz(path)) {}
  explicit GoldenBound(std::map<std::string, NumpyArray> read_arrays)
      : arrays(std::move(read_arrays)),
        c(1, arrays.at("eps").shape[0], arrays.at("eps").shape[1], arrays.at("eps").shape[2],
          arrays.at("alphas").as<Real>()) {
    fill("z_mean", c.mean), fill("z_log_var", c.log_var), fill("lam_mean", c.prior_mean),
        fill("lam_log_var", c.prior_log_var);
    fill("eps", c.noise);
    fill("loglik_post", c.loss_posterior, -1), fill("loglik_encoded", c.loss_encoder, -1);
    c.row_weight.fill([&] { return Real(1) / static_cast<Real>(c.batch); });
  }
  void fill(const std::string& name, HostRows<Real>& rows, Real sign = 1) const {
    std::size_t next = 0;
    const std::vector<Real> values = arrays.at(name).as<Real>();
    rows.fill([&] { return sign * values.at(next++); });
  }
  // Norm of the difference over the norm.
  double relative_error(const std::string& name, const HostRows<Real>& rows, double sign = 1) const {
    const std::vector<double> want = arrays.at(name).template as<double>();
    double difference = 0, norm = 0;
    std::size_t next = 0;
    for (std::int64_t row = 0; row < rows.n_rows; ++row) {
      for (std::int64_t feature = 0; feature < rows.n_features; ++feature, ++next) {
        difference += std::pow(sign * static_cast<double>(rows.at(0, row, feature)) - want.at(next), 2);
        norm += want[next] * want[next];
      }
    }
    EXPECT_EQ(next, want.size());
    return std::sqrt(difference / norm);
  }
};

template <class Real>
void expect_golden(const GoldenBound<Real>& g, const std::string& prefix, double tolerance) {
  const BoundCase<Real>& c = g.c;
  const std::vector<std::pair<std::string, double>> errors = {
      {"loss_grid", g.relative_error(prefix + "loss_grid", c.loss_grid)},
      {"grad_z_mean", g.relative_error(prefix + "grad_z_mean", c.d_mean)},
      {"grad_z_log_var", g.relative_error(prefix + "grad_z_log_var", c.d_log_var)},
      {"grad_lam_mean", g.relative_error(prefix + "grad_lam_mean", c.d_prior_mean)},
      {"grad_lam_log_var", g.relative_error(prefix + "grad_lam_log_var", c.d_prior_log_var)},
      {"grad_loglik_post", g.relative_error(prefix + "grad_loglik_post", c.weight_posterior, -1)},
      {"grad_loglik_encoded", g.relative_error(prefix + "grad_loglik_encoded", c.weight_encoder, -1)}};
  for (const auto& [name, error] : errors)
    EXPECT_TRUE(error <= tolerance) << prefix << name << ": relative error " << error;
  double loss = 0;
  for (std::int64_t row = 0; row < c.batch; ++row)
    loss += static_cast<double>(c.loss.at(0, 0, row)) / static_cast<double>(c.batch);
  const double want = g.arrays.at(prefix + "loss").template scalar<double>();
  EXPECT_TRUE(std::fabs(loss - want) <= tolerance * std::fabs(want)) << loss << " for " << want;
  EXPECT_EQ(c.alpha_index.values, [&] {
    HostRows<std::int32_t> want_index = c.alpha_index;
    std::size_t next = 0;
    const auto values = g.arrays.at(prefix + "argmin").template as<std::int32_t>();
    want_index.fill([&] { return values.at(next++); });
    return want_index.values;
  }());
}

std::vector<std::string> golden_paths(const std::string& name) {
  std::vector<std::string> paths = {std::string(IDEM_SOURCE_DIR) + "/tests/golden/" + name};
  const std::string shared = std::string(IDEM_SHARED_DIR) + "/golden/" + name;
  if (std::filesystem::exists(shared)) paths.push_back(shared);
  return paths;
}

template <class Real>
void expect_published_golden(double tolerance) {
  for (const std::string& path : golden_paths("civae_objective.npz")) {
    SCOPED_TRACE(path);
    GoldenBound<Real> g(path);
    g.c.skew_term = SkewTerm::published;
    g.c.kl_scale = {static_cast<Real>(0.01) / static_cast<Real>(g.c.n_latents)};
    g.c.run();
    expect_golden(g, "", tolerance);
  }
}
TEST(CiIvaeBound, KlsAndPosteriorReproduceTheGoldenCase) {
  for (const std::string& path : golden_paths("civae_objective.npz")) {
    SCOPED_TRACE(path);
    GoldenBound<double> g(path);
    BoundCase<double>& c = g.c;
    c.skew_term = SkewTerm::none;
    c.run();
    // There as means over latents.
    const double n_latents = static_cast<double>(c.n_latents);
    EXPECT_LE(g.relative_error("kl_enc", c.kl_encoder, 1 / n_latents), 1e-9);
    EXPECT_LE(g.relative_error("kl_post", c.kl_posterior, 1 / n_latents), 1e-9);
    HostRows<double> posterior_mean = c.mean, posterior_log_var = c.mean;
    LatentSample<double> p;
    p.batch = static_cast<std::int32_t>(c.batch), p.n_latents = static_cast<std::int32_t>(c.n_latents);
    p.bound = LogVarBound::none;
    p.encoder_mean = c.mean.rows(), p.encoder_raw = c.log_var.rows(), p.prior_mean = c.prior_mean.rows(),
    p.prior_raw = c.prior_log_var.rows();
    p.posterior_mean = posterior_mean.rows(), p.posterior_log_var = posterior_log_var.rows();
    latent_sample_forward_cpu(p, one_thread());
    EXPECT_LE(g.relative_error("post_mean", posterior_mean), 1e-9);
    EXPECT_LE(g.relative_error("post_log_var", posterior_log_var), 1e-9);
  }
}

TEST(CiIvaeBound, PublishedObjectiveReproducesTheGoldenCase) {
  expect_published_golden<double>(1e-9);
  expect_published_golden<float>(1e-4);
}

template <class Real>
void expect_paper_golden(double tolerance) {
  for (const std::string& path : golden_paths("civae_objective_paper.npz")) {
    for (const std::string unit : {"sum", "mean"}) {
      SCOPED_TRACE(path + " " + unit);
      GoldenBound<Real> g(path);
      g.c.skew_term = SkewTerm::paper;
      const Real beta = g.arrays.at("paper_" + unit + "_beta").template scalar<Real>();
      g.c.kl_scale = g.c.skew_scale = {unit == "sum" ? beta : beta / static_cast<Real>(g.c.n_latents)};
      g.c.run();
      expect_golden(g, "paper_" + unit + "_", tolerance);
    }
  }
}
TEST(CiIvaeBound, PaperObjectiveReproducesTheGoldenCase) {
  expect_paper_golden<double>(1e-9);
  expect_paper_golden<float>(1e-4);
}

}  // namespace
}  // namespace idem
