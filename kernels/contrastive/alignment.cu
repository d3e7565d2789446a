#include "kernels/common/cuda.h"
#include "kernels/common/quads.h"
#include "kernels/contrastive/contrastive.h"

namespace idem {

constexpr std::int32_t kReferenceList = 0;

template <class Real>
HD const Real* reference_of(const Alignment<Real>& p, std::int64_t member, std::int64_t pair) {
  return p.reference.row(member, p.draws ? p.draws.places_of(member, kReferenceList)[pair] : pair);
}
template <class Real>
HD const Real* positive_of(const Alignment<Real>& p, std::int64_t member, std::int64_t pair) {
  return p.positive.row(member, p.draws ? p.draws.places_of(member, p.positive_list)[pair] : pair);
}

// The gradient at one row of a pair, the same for either: this times the other row (cosine) or times own - other
// (euclidean).
template <class Real>
HD Real alignment_slope(const Alignment<Real>& p, std::int64_t member) {
  const Real slope = p.inverse_temperature[member] / static_cast<Real>(p.n_pairs);
  return p.similarity == Similarity::cosine ? -slope : Real(2) * slope;
}
template <class Real>
HD Real direction(const Alignment<Real>& p, Real own, Real other) {
  return p.similarity == Similarity::cosine ? other : own - other;
}

template <class Real>
struct PairSimilarityRow {
  Alignment<Real> p;
  HD void operator()(std::int64_t member, std::int64_t pair, std::int32_t) const {
    const Real *reference = reference_of(p, member, pair), *positive = positive_of(p, member, pair);
    Real s = 0;
    for (std::int32_t quad = 0; quad < n_quads(p.n_features); ++quad) {
      const Quad<Real> x = quad_of(reference, quad), y = quad_of(positive, quad);
      for (std::int32_t i = 0; i < 4; ++i) {
        const Real gap = x.of[i] - y.of[i];
        if (4 * quad + i < p.n_features) s += p.similarity == Similarity::cosine ? x.of[i] * y.of[i] : -gap * gap;
      }
    }
    p.similarity_value[member * p.n_pairs + pair] = p.inverse_temperature[member] * s;
  }
};

// Pairs of rows of their own.
template <class Real>
struct PairGradientRow {
  Alignment<Real> p;
  HD void operator()(std::int64_t member, std::int64_t pair, std::int32_t quad) const {
    const Quad<Real> reference = quad_of(reference_of(p, member, pair), quad),
                     positive = quad_of(positive_of(p, member, pair), quad);
    const Real slope = alignment_slope(p, member);
    change_quad(p.d_reference.row(member, pair), quad, p.n_features,
                [&](Real& d, std::int32_t i) { d += slope * direction(p, reference.of[i], positive.of[i]); });
    change_quad(p.d_positive.row(member, pair), quad, p.n_features,
                [&](Real& d, std::int32_t i) { d += slope * direction(p, positive.of[i], reference.of[i]); });
  }
};

// Both of a pair of few features, in one go.
constexpr std::int32_t kFewFeatures = 16;
template <class Real>
struct ShortPairRow {
  Alignment<Real> p;
  HD void operator()(std::int64_t member, std::int64_t pair, std::int32_t) const {
    PairSimilarityRow<Real>{p}(member, pair, 0);
    for (std::int32_t quad = 0; quad < n_quads(p.n_features); ++quad) PairGradientRow<Real>{p}(member, pair, quad);
  }
};

// Pairs that share rows: calls visit(the other row) for every pair of a row.
template <class Real, class Visit>
HD void for_each_pair_of_row(const Alignment<Real>& p, std::int64_t member, std::int64_t row, const Visit& visit) {
  const std::int32_t *as_reference = p.draws.begins_of(member, kReferenceList) + row,
                     *as_positive = p.draws.begins_of(member, p.positive_list) + row;
  const std::int32_t *references = p.draws.draws_of(member, kReferenceList),
                     *positives = p.draws.draws_of(member, p.positive_list);
  std::int32_t at_reference = as_reference[0], at_positive = as_positive[0];
  while (at_reference < as_reference[1] || at_positive < as_positive[1]) {
    const bool is_reference = at_positive == as_positive[1] ||
                              (at_reference < as_reference[1] && references[at_reference] <= positives[at_positive]);
    visit(is_reference ? positive_of(p, member, references[at_reference++])
                       : reference_of(p, member, positives[at_positive++]));
  }
}

#if IDEM_COMPILES_CPU_TWINS
template <class Real>
static void add_pairs_of_row(const Alignment<Real>& p, std::int64_t member, std::int64_t row) {
  const Real slope = alignment_slope(p, member);
  const Real* own = p.reference.row(member, row);
  Real* d_own = p.d_reference.row(member, row);
  for_each_pair_of_row(p, member, row, [&](const Real* other) {
    for (std::int32_t feature = 0; feature < p.n_features; ++feature)
      d_own[feature] += slope * direction(p, own[feature], other[feature]);
  });
}

template <class Real>
void alignment_cpu(const Alignment<Real>& p, ThreadPool& pool) {
  const bool has_gradient = static_cast<bool>(p.d_reference);
  const PairSimilarityRow<Real> similarity{p};
  const PairGradientRow<Real> gradient{p};
  for_each_row_block(pool, p.fleet, p.n_pairs, 256, [&](std::int64_t member, std::int64_t begin, std::int64_t end) {
    for (std::int64_t pair = begin; pair < end; ++pair) {
      similarity(member, pair, 0);
      for (std::int32_t quad = 0; has_gradient && !p.draws && quad < n_quads(p.n_features); ++quad)
        gradient(member, pair, quad);
    }
  });
  if (has_gradient && p.draws)
    for_each_row_block(pool, p.fleet, p.draws.n_places, 256,
                       [&](std::int64_t member, std::int64_t begin, std::int64_t end) {
                         for (std::int64_t row = begin; row < end; ++row) add_pairs_of_row(p, member, row);
                       });
}
IDEM_INSTANTIATE_CPU(alignment, Alignment)
#endif

#if IDEM_COMPILES_CUDA_TWINS
// A thread for four features of a row that pairs share: nothing is written by two.
struct GatherPairsRow {
  Alignment<float> p;
  HD void operator()(std::int64_t member, std::int64_t row, std::int32_t quad) const {
    const Quad<float> own = quad_of(p.reference.row(member, row), quad);
    Quad<float> total{};
    for_each_pair_of_row(p, member, row, [&](const float* other_row) {
      const Quad<float> other = quad_of(other_row, quad);
      for (std::int32_t i = 0; i < 4; ++i) total.of[i] += direction(p, own.of[i], other.of[i]);
    });
    const float slope = alignment_slope(p, member);
    change_quad(p.d_reference.row(member, row), quad, p.n_features,
                [&](float& d, std::int32_t i) { d += slope * total.of[i]; });
  }
};

void alignment_cuda(const Alignment<float>& p, Stream stream) {
  if (p.d_reference && !p.draws && p.n_features <= kFewFeatures)
    return cu::launch_rows("alignment", p.fleet, p.n_pairs, 1, ShortPairRow<float>{p}, stream);
  cu::launch_rows("alignment", p.fleet, p.n_pairs, 1, PairSimilarityRow<float>{p}, stream);
  if (!p.d_reference) return;
  const std::int32_t of_row = n_quads(p.n_features);
  if (!p.draws)
    return cu::launch_rows("alignment_gradient", p.fleet, p.n_pairs, of_row, PairGradientRow<float>{p}, stream);
  cu::launch_rows("alignment_gather", p.fleet, p.draws.n_places, of_row, GatherPairsRow{p}, stream);
}
#endif

}  // namespace idem
