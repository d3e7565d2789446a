// Properties of the exact bound, by draws at the quantiles of the normal and by quadrature.
#include "kernels/objective/objective.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <random>
#include <utility>
#include <vector>

#include "tests/kernels/bound_case.h"
#include "kernels/common/to_size.h"

namespace idem {
namespace {

double normal_quantile(double probability) {
  double low = -10, high = 10;
  for (int i = 0; i < 80; ++i) {
    const double middle = 0.5 * (low + high);
    (0.5 * std::erfc(-middle / std::sqrt(2.0)) < probability ? low : high) = middle;
  }
  return 0.5 * (low + high);
}

struct Gaussians {
  double m, l, lambda, r;
  double gap() const { return l - r; }
  double rho() const { return -std::log(std::exp(-l) + std::exp(-r)); }
  double mu() const { return std::exp(rho()) * (m * std::exp(-l) + lambda * std::exp(-r)); }
  static double density(double z, double mean, double log_var) {
    return std::exp(-0.5 * (z - mean) * (z - mean) / std::exp(log_var)) /
           std::sqrt(2 * 3.14159265358979323846 * std::exp(log_var));
  }
  // Skewed Jensen-Shannon divergence of encoder and posterior, by the trapezoidal rule.
  double divergence(double alpha) const {
    const double encoder_reach = 12 * std::exp(l / 2), posterior_reach = 12 * std::exp(rho() / 2);
    const double low = std::min(m - encoder_reach, mu() - posterior_reach),
                 high = std::max(m + encoder_reach, mu() + posterior_reach);
    const int n = 4000;
    double sum = 0;
    for (int i = 0; i <= n; ++i) {
      const double z = low + (high - low) * i / n, e = density(z, m, l), q = density(z, mu(), rho()),
                   mixture = alpha * e + (1 - alpha) * q;
      if (e > 0) sum += alpha * e * std::log(e / mixture);
      if (q > 0) sum += (1 - alpha) * q * std::log(q / mixture);
    }
    return sum * (high - low) / n;
  }
  double kl(double mean_a, double log_var_a, double mean_b, double log_var_b) const {
    return 0.5 * (log_var_b - log_var_a +
                  (std::exp(log_var_a) + (mean_a - mean_b) * (mean_a - mean_b)) / std::exp(log_var_b) - 1);
  }
  double kl_encoder_posterior() const { return kl(m, l, mu(), rho()); }
  double kl_posterior_encoder() const { return kl(mu(), rho(), m, l); }
};

const Gaussians kPairs[] = {{.7, -1.2, -.4, .3}, {-2, 1.5, 1, -.5}, {0, 0, 0, 0}, {1, -2, -1, 0.5}, {0.3, 1, 0, -1}};

BoundCase<double> quantile_case(const Gaussians& g, std::vector<double> alphas) {
  static const std::vector<double> quantiles = [] {
    std::vector<double> values;
    for (int i = 0; i < 4000; ++i) values.push_back(normal_quantile((i + 0.5) / 4000));
    return values;
  }();
  BoundCase<double> c(1, 1, 1, 4000, std::move(alphas));
  c.set(g.m, g.l, g.lambda, g.r);
  std::size_t next = 0;
  c.noise.fill([&] { return quantiles[next++]; });
  return c;
}

TEST(CiIvaeBound, TheBoundIsConcaveInAlphaAndItsSkewIsTheQuadraturesDivergence) {
  for (const Gaussians& g : kPairs) {
    BoundCase<double> c = quantile_case(g, even_grid<double>(20, true));
    c.run();
    std::vector<double> bound, exact;
    const double end_0 = -c.loss_grid.at(0, 0, 0), end_1 = -c.loss_grid.at(0, 0, 20);
    for (std::int64_t i = 0; i <= 20; ++i) {
      const double alpha = c.alphas[to_size(i)];
      bound.push_back(-c.loss_grid.at(0, 0, i));
      exact.push_back((1 - alpha) * end_0 + alpha * end_1 + (i > 0 && i < 20 ? g.divergence(alpha) : 0));
      EXPECT_NEAR(bound.back(), exact.back(), 2e-3) << "alpha " << alpha;
      EXPECT_TRUE(exact.back() - ((1 - alpha) * end_0 + alpha * end_1) <= std::log(2.0) + 1e-9);
    }
    for (std::size_t i = 1; i < 20; ++i) {
      EXPECT_TRUE(exact[i] - 0.5 * (exact[i - 1] + exact[i + 1]) >= -1e-9) << "at " << i;
      EXPECT_TRUE(bound[i] - 0.5 * (bound[i - 1] + bound[i + 1]) >= -1e-6) << "at " << i;
    }
  }
}

TEST(CiIvaeBound, AlphaSitsAtAnEndExactlyWhenTheClosedFormSaysSo) {
  for (const Gaussians& g : kPairs) {
    if (g.gap() == 0) continue;
    const std::vector<double> alphas = {0, 1e-8, 0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 0.9, 1 - 1e-8, 1};
    BoundCase<double> c = quantile_case(g, alphas);
    c.run();
    const double gap =
        c.kl_posterior.at(0, 0, 0) - c.kl_encoder.at(0, 0, 0);  // ELBO(1) - ELBO(0) before the reconstructions
    const auto index_for = [&](double elbo_1_minus_elbo_0) {
      c.loss_posterior.at(0, 0, 0) = elbo_1_minus_elbo_0 - gap;
      c.run();
      return c.alpha_index.at(0, 0, 0);
    };
    // Inside by 0.7 rather than 1: the grid's first step is 1e-8, where the slope has already fallen a little.
    const double to_zero = g.kl_encoder_posterior(), to_one = g.kl_posterior_encoder();
    EXPECT_EQ(index_for(-1.05 * to_zero), 0);
    EXPECT_GT(index_for(-0.7 * to_zero), 0);
    EXPECT_EQ(index_for(1.05 * to_one), 12);
    EXPECT_LT(index_for(0.7 * to_one), 12);
  }
}

TEST(CiIvaeBound, PublishedNeverPrefersTheInterior) {
  std::mt19937_64 random(27);
  BoundCase<float> c(1, 300, 2, 50, even_grid<float>(40, true));
  c.fill(random);
  c.skew_term = SkewTerm::published;
  c.run();
  for (std::int64_t row = 0; row < 300; ++row)
    EXPECT_TRUE(c.alpha_index.at(0, 0, row) == 0 || c.alpha_index.at(0, 0, row) == 40);
}

}  // namespace
}  // namespace idem
