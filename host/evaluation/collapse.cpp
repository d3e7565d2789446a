#include "host/evaluation/collapse.h"

#include <algorithm>
#include <cmath>
#include <numeric>
#include <random>

#include "fmt/format.h"
#include "host/support/cells.h"
#include "host/support/errors.h"
#include "kernels/common/to_size.h"

namespace idem {

namespace {

constexpr double kActiveVariance = 0.01;

double sigmoid(double x) { return x >= 0 ? 1 / (1 + std::exp(-x)) : std::exp(x) / (1 + std::exp(x)); }
double softplus(double x) { return std::max(x, 0.0) + std::log1p(std::exp(-std::abs(x))); }

double variance(const std::vector<double>& values) {
  const double n = static_cast<double>(values.size()), mean = std::accumulate(values.begin(), values.end(), 0.0) / n;
  double sum = 0;
  for (double value : values) sum += (value - mean) * (value - mean);
  return sum / n;
}

// Fisher-Yates with the standard's own generator: std::shuffle may differ between libraries.
std::vector<std::size_t> random_permutation(std::size_t n, std::uint64_t seed) {
  std::vector<std::size_t> order(n);
  std::iota(order.begin(), order.end(), std::size_t{0});
  std::mt19937_64 generator(seed);
  for (std::size_t i = n; i > 1; --i) std::swap(order[i - 1], order[generator() % i]);
  return order;
}

}  // namespace

std::vector<std::int32_t> label_bins(const Recording& recording, const DecodingOptions& options, int n_position_bins) {
  std::vector<std::int32_t> bins(to_size(recording.n_times), 0);
  if (const LabelColumn* position = position_label(recording, options.position_label)) {
    double low = 0, high = position->period;
    if (position->kind == LabelKind::continuous) {
      const auto [least, most] = std::minmax_element(position->values.begin(), position->values.end());
      low = *least;
      high = *most;
    }
    for (std::size_t time = 0; time < bins.size(); ++time)
      if (high > low) bins[time] = cell_of((position->values[time] - low) / (high - low), n_position_bins);
  }
  if (const LabelColumn* direction = direction_label(recording, options.direction_label))
    for (std::size_t time = 0; time < bins.size(); ++time)
      bins[time] += n_position_bins * static_cast<std::int32_t>(direction->values[time]);
  return bins;
}

CollapseScores measure_collapse(const LatentDistributions& distributions, std::span<const std::int32_t> rows,
                                std::span<const std::int32_t> label_bin, std::uint64_t seed) {
  const std::size_t n_latents = to_size(distributions.n_latents), n_values = to_size(distributions.n_rows) * n_latents;
  for (const auto& values : {distributions.encoder_mean, distributions.encoder_log_var, distributions.prior_mean,
                             distributions.prior_log_var})
    if (values.size() != n_values)
      throw DataError(fmt::format("collapse: {} values where {} rows of {} latents are {}", values.size(),
                                  distributions.n_rows, n_latents, n_values));
  if (label_bin.size() != to_size(distributions.n_rows))
    throw DataError(
        fmt::format("collapse: label bins for {} rows, latents for {}", label_bin.size(), distributions.n_rows));
  if (rows.empty()) throw ConfigError("collapse: no rows to measure on");

  const double n = static_cast<double>(rows.size());
  const std::vector<std::size_t> swapped = random_permutation(rows.size(), seed);
  const auto n_bins = to_size(*std::max_element(label_bin.begin(), label_bin.end())) + 1;
  std::vector<double> rows_in_bin(n_bins, 0);
  for (auto row : rows) ++rows_in_bin[to_size(label_bin[to_size(row)])];

  CollapseScores scores;
  scores.is_product = distributions.is_product;
  double swap_distance = 0, posterior_variance = 0;
  for (std::size_t latent = 0; latent < n_latents; ++latent) {
    LatentCollapse result;
    std::vector<double> encoder_mean, posterior_mean, bin_mean(n_bins, 0);
    double prior_variance = 0;
    const auto add_posterior_mean = [&](std::size_t i, double mean) {
      posterior_mean.push_back(mean);
      bin_mean[to_size(label_bin[to_size(rows[i])])] += mean;
    };
    for (std::size_t i = 0; i < rows.size(); ++i) {
      const std::size_t place = to_size(rows[i]) * n_latents + latent;
      const std::size_t other = to_size(rows[swapped[i]]) * n_latents + latent;
      const double m = distributions.encoder_mean[place], l = distributions.encoder_log_var[place];
      const double prior_mean = distributions.prior_mean[place], r = distributions.prior_log_var[place];
      const double d = l - r, gap = (m - prior_mean) * std::exp(-r / 2), s = sigmoid(d), data_weight = sigmoid(-d);
      const double kl_encoder = 0.5 * (std::expm1(d) - d + gap * gap);
      prior_variance += std::exp(r) / n;
      if (!distributions.is_product) {
        result.kl_posterior += kl_encoder / n;
        add_posterior_mean(i, m);
        continue;
      }
      result.label_weight += s / n;
      result.kl_encoder += kl_encoder / n;
      result.kl_posterior += 0.5 * (softplus(-d) - data_weight + data_weight * data_weight * gap * gap) / n;
      // The encoder seen from the posterior and back: delta^2 = s Delta^2, e^{softplus(d)} = 1 + e^d.
      result.kl_encoder_posterior += 0.5 * (std::exp(d) + s * gap * gap - softplus(d)) / n;
      result.kl_posterior_encoder += 0.5 * (data_weight * s * gap * gap - s + softplus(d)) / n;

      const double mu = m + s * (prior_mean - m);
      const double s_swapped = sigmoid(l - distributions.prior_log_var[other]),
                   mu_swapped = m + s_swapped * (distributions.prior_mean[other] - m);
      swap_distance += (mu - mu_swapped) * (mu - mu_swapped) / n;
      encoder_mean.push_back(m);
      add_posterior_mean(i, mu);
    }
    for (std::size_t bin = 0; bin < n_bins; ++bin)
      if (rows_in_bin[bin] > 0) bin_mean[bin] /= rows_in_bin[bin];
    for (std::size_t i = 0; i < rows.size(); ++i) {
      const double deviation = posterior_mean[i] - bin_mean[to_size(label_bin[to_size(rows[i])])];
      result.within_labels += deviation * deviation / n;
    }
    const double total = variance(posterior_mean);
    posterior_variance += total;
    if (distributions.is_product) result.encoder_variance = variance(encoder_mean);
    result.between_labels = std::max(0.0, total - result.within_labels);
    result.conditional_activity = result.within_labels / prior_variance;
    scores.active_units += result.encoder_variance > kActiveVariance;
    scores.conditional_active_units += result.conditional_activity > kActiveVariance;
    scores.latents.push_back(result);
  }
  scores.label_swap_reliance = posterior_variance > 0 ? swap_distance / posterior_variance : 0;
  return scores;
}

nlohmann::json to_json(const CollapseScores& scores) {
  nlohmann::json latents = nlohmann::json::array();
  double label_weight = 0, kl_encoder = 0, kl_posterior = 0;
  for (const auto& latent : scores.latents) {
    kl_posterior += latent.kl_posterior;
    latents.push_back({{"kl_posterior", latent.kl_posterior},
                       {"between_labels", latent.between_labels},
                       {"within_labels", latent.within_labels},
                       {"conditional_activity", latent.conditional_activity}});
    if (!scores.is_product) continue;
    label_weight += latent.label_weight / static_cast<double>(scores.latents.size());
    kl_encoder += latent.kl_encoder;
    latents.back().update({{"label_weight", latent.label_weight},
                           {"kl_encoder", latent.kl_encoder},
                           {"kl_posterior_encoder", latent.kl_posterior_encoder},
                           {"kl_encoder_posterior", latent.kl_encoder_posterior},
                           {"encoder_variance", latent.encoder_variance}});
  }
  nlohmann::json report = {{"conditional_active_units", scores.conditional_active_units},
                           {"kl_posterior", kl_posterior},
                           {"latents", std::move(latents)}};
  if (scores.is_product)
    report.update({{"active_units", scores.active_units},
                   {"label_swap_reliance", scores.label_swap_reliance},
                   {"label_weight", label_weight},
                   {"kl_encoder", kl_encoder}});
  return report;
}

}  // namespace idem
