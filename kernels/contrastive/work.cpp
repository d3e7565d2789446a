#include "kernels/common/elements.h"
#include "kernels/contrastive/contrastive.h"
#include "kernels/contrastive/logistic_pairs.h"

namespace idem {

template <class Real>
Work work(const NormaliseRows<Real>& p) {
  const double n = n_elements(p.fleet, p.n_rows, p.n_features), rows = n_elements(p.fleet, p.n_rows, 1);
  return {(2 * n + rows) * sizeof(Real), 4 * n + 2 * rows * kFunctionFlops};
}
IDEM_INSTANTIATE_WORK(NormaliseRows)

template <class Real>
Work work(const NormaliseRowsGradient<Real>& p) {
  const double n = n_elements(p.fleet, p.n_rows, p.n_features);
  return {(3 * n + n_elements(p.fleet, p.n_rows, 1)) * sizeof(Real), 5 * n};
}
IDEM_INSTANTIATE_WORK(NormaliseRowsGradient)

// A source row is counted for each draw of it: how many are different is not known here.
template <class Real>
Work work(const DrawnRows<Real>& p) {
  const double draws = n_elements(p.fleet, p.n_draws, 1), n = draws * p.n_features;
  return {2 * n * sizeof(Real) + draws * sizeof(std::int32_t), p.normalises ? 4 * n + 2 * draws * kFunctionFlops : 0};
}
IDEM_INSTANTIATE_WORK(DrawnRows)

namespace {

// Of lists that are gone through place by place: where each place begins, and the draws.
double bytes_of_lists(const FleetExtent& fleet, const PlacedDraws& draws, std::int32_t n_lists) {
  return n_elements(fleet, n_lists, draws.n_places + 1 + draws.batch) * sizeof(std::int32_t);
}

}  // namespace

template <class Real>
Work work(const DrawnRowsGradient<Real>& p) {
  const double draws = n_elements(p.fleet, p.draws.n_draws(), 1), rows = n_elements(p.fleet, p.draws.n_places, 1);
  const double through_norms = p.normalises ? 1 : 0;
  return {(draws + rows * (1 + through_norms)) * p.n_features * sizeof(Real) +
              bytes_of_lists(p.fleet, p.draws, p.draws.n_lists),
          draws * p.n_features + through_norms * rows * (9.0 * p.n_features + 2 * kFunctionFlops)};
}
IDEM_INSTANTIATE_WORK(DrawnRowsGradient)

template <class Real>
Work work(const InverseTemperature<Real>& p) {
  return {3.0 * p.fleet.n_members * sizeof(Real), p.fleet.n_members * kFunctionFlops};
}
IDEM_INSTANTIATE_WORK(InverseTemperature)

namespace {

// One of the two passes over all pairs: a similarity, its exponential and, where there is a gradient to add to, its
// share of that.
template <class Real>
Work pass_work(const Uniformity<Real>& p, bool has_gradient, std::int64_t n_own) {
  const double references = n_elements(p.fleet, p.n_references, 1), negatives = n_elements(p.fleet, p.n_negatives, 1);
  const double counts = given(p.reference_count) * references + given(p.negative_count) * negatives;
  const double gradient = has_gradient ? 2 * n_elements(p.fleet, n_own, p.n_features) : 0;
  return {
      ((references + negatives) * p.n_features + references + gradient) * sizeof(Real) + counts * sizeof(std::int32_t),
      references * static_cast<double>(p.n_negatives) * ((has_gradient ? 4 : 2) * p.n_features + kFunctionFlops)};
}

}  // namespace

template <class Real>
Work work(const Uniformity<Real>& p) {
  Work of_pass = pass_work(p, static_cast<bool>(p.d_reference), p.n_references);
  of_pass.bytes += n_elements(p.fleet, p.n_references, 1) * given(p.mean_similarity) * sizeof(Real);
  return of_pass;
}
IDEM_INSTANTIATE_WORK(Uniformity)

template <class Real>
Work work(const UniformityGradient<Real>& p) {
  return pass_work(p.forward, true, p.forward.n_negatives);
}
IDEM_INSTANTIATE_WORK(UniformityGradient)

// Where pairs share rows, these and their gradients are one array, and two lists are gone through.
template <class Real>
Work work(const Alignment<Real>& p) {
  const double pairs = n_elements(p.fleet, p.n_pairs, 1), n = pairs * p.n_features;
  const double values = p.draws ? n_elements(p.fleet, p.draws.n_places, p.n_features) : 2 * n;
  const double gradients = p.d_reference ? 2 * values : 0, places = p.draws ? 2 * pairs * sizeof(std::int32_t) : 0;
  const double lists = p.draws && p.d_reference ? bytes_of_lists(p.fleet, p.draws, 2) : 0;
  return {(values + gradients + pairs) * sizeof(Real) + places + lists, n * (p.d_reference ? 6 : 2)};
}
IDEM_INSTANTIATE_WORK(Alignment)

template <class Real>
Work work(const InfoNceTerms<Real>& p) {
  const double pairs = n_elements(p.fleet, p.n_pairs, 1), references = n_elements(p.fleet, p.n_references, 1);
  const double slopes = given(p.temperature_slope), sums = p.fleet.n_members * (2 + given(p.loss) + 2 * slopes);
  return {(pairs + references * (1 + slopes) + sums) * sizeof(Real) +
              given(p.reference_count) * references * sizeof(std::int32_t),
          pairs + references * (1 + slopes)};
}
IDEM_INSTANTIATE_WORK(InfoNceTerms)

// A softplus and a sigmoid of each score.
template <class Real>
Work work(const LogisticPairs<Real>& p) {
  const double rows = n_elements(p.fleet, 1, p.batch);
  return {rows * (4 + 1 + given(p.loss) + given(p.accuracy)) * sizeof(Real), 2 * rows * (3 * kFunctionFlops + 4)};
}
IDEM_INSTANTIATE_WORK(LogisticPairs)

}  // namespace idem
