#include "kernels/sampling/contrastive_indices.h"

#include <gtest/gtest.h>

#include <cmath>
#include <map>
#include <set>
#include <utility>
#include <vector>

#include "kernels/sampling/contrastive_samples.h"
#include "tests/kernels/contrastive_drawing.h"
#include "tests/support/host_rows.h"
#include "kernels/common/to_size.h"

namespace idem {
namespace {

// Two runs of three sessions whose labels lie apart, with a third of their draws each.
struct SessionDraws {
  static constexpr std::int32_t n_sessions = 3, n_runs = 2, n_members = n_sessions * n_runs, batch = 200;
  std::vector<ContrastiveSet> sets;
  Indices reference = Indices(n_members * batch), negative = reference, positive = reference, source = reference;
  std::vector<float> query;

  SessionDraws(ContrastivePositive positive_is, std::int32_t n_labels, std::int32_t n_circular = 0,
               std::uint32_t of_step = 3, std::uint32_t ahead = 0)
      : query(to_size(n_members * batch * n_labels)) {
    for (std::int32_t session = 0; session < n_sessions; ++session) {
      const std::int32_t n = 150 + 40 * session;
      ContrastiveSet set{counting(n, 1000 * session), Indices(to_size(n), session), {}, {}};
      set.labels = random_labels(to_size(n * n_labels), 3 + static_cast<std::uint64_t>(session), 0.125);
      for (float& label : set.labels) label += static_cast<float>(session);
      if (n_circular > 0) set.labels = rotating(n, 0).labels;
      if (positive_is == ContrastivePositive::same_class)
        for (std::int32_t i = 0; i < n; ++i) set.classes.push_back(10 * (i % 4));
      sets.push_back(set);
    }
    const ContrastiveSamples samples({.n_labels = n_labels, .time_offset = 2, .n_circular = n_circular}, sets);
    const Indices set{0, 1, 2, 0, 1, 2};
    const std::vector<std::uint64_t> seed{4, 5, 6, 7, 8, 9};
    const std::vector<std::uint32_t> step(n_members, of_step);
    const std::vector<float> sd(n_members, 0.25f);
    ContrastiveIndices<float> p{.fleet = {n_members},
                                .batch = batch,
                                .positive_is = positive_is,
                                .sets = samples.view(samples.bytes().data()),
                                .set = set.data(),
                                .seed = seed.data(),
                                .step = step.data(),
                                .ahead = ahead,
                                .delta_sd = sd.data(),
                                .stride = batch,
                                .reference = reference.data(),
                                .negative = negative.data(),
                                .positive = positive.data(),
                                .query = query.data(),
                                .n_sessions = n_sessions,
                                .source = source.data()};
    ThreadPool pool(2);
    contrastive_indices_cpu(p, pool);
  }
  std::size_t at(std::int32_t member, std::int32_t place) const { return to_size(member * batch + place); }
  // The reference that the positive of a place is for: its row, and its set.
  std::pair<std::int32_t, const ContrastiveSet*> reference_of(std::int32_t member, std::int32_t place) const {
    const std::int32_t first = member / n_sessions * n_sessions, from = source[at(member, place)];
    return {reference[at(first + from / batch, from % batch)], &sets[to_size(from / batch)]};
  }
};

TEST(ContrastiveIndicesOfSessions, DealEveryReferenceOnceAndToEverySession) {
  const SessionDraws draws(ContrastivePositive::time_delta, 1);
  for (std::int32_t run = 0; run < SessionDraws::n_runs; ++run) {
    std::set<std::int32_t> dealt;
    std::map<std::pair<std::int32_t, std::int32_t>, int> moves;
    for (std::int32_t session = 0; session < SessionDraws::n_sessions; ++session)
      for (std::int32_t place = 0; place < SessionDraws::batch; ++place) {
        const std::int32_t from = draws.source[draws.at(run * SessionDraws::n_sessions + session, place)];
        dealt.insert(from);
        ++moves[{from / SessionDraws::batch, session}];
      }
    EXPECT_EQ(dealt.size(), to_size(SessionDraws::n_sessions * SessionDraws::batch));
    EXPECT_EQ(*dealt.rbegin(), SessionDraws::n_sessions * SessionDraws::batch - 1);
    for (const auto& [move, n] : moves)
      EXPECT_TRUE(n > 35 && n < 100) << move.first << " to " << move.second << ": " << n;  // 67 on average
  }
  EXPECT_NE(Indices(draws.source.begin(), draws.source.begin() + 600),
            Indices(draws.source.begin() + 600, draws.source.end()));
}

TEST(ContrastiveIndicesOfSessions, AheadOfAStepAreThoseOfTheLaterStep) {
  const SessionDraws later(ContrastivePositive::delta, 2, 0, 4), ahead(ContrastivePositive::delta, 2, 0, 3, 1);
  EXPECT_EQ(ahead.source, later.source);
  EXPECT_EQ(ahead.positive, later.positive);
}

TEST(ContrastiveIndicesOfSessions, FindPositivesInTheDealtSessionByChangesOfAnySession) {
  for (const std::int32_t n_labels : {1, 3}) {
    const SessionDraws draws(ContrastivePositive::time_delta, n_labels);
    const auto n = to_size(n_labels);
    std::set<std::size_t> changing_sessions;
    for (std::int32_t member = 0; member < SessionDraws::n_members; ++member)
      for (std::int32_t place = 0; place < SessionDraws::batch; ++place) {
        const auto& own = draws.sets[to_size(member % SessionDraws::n_sessions)];
        const auto [reference, of] = draws.reference_of(member, place);
        const float* query = draws.query.data() + draws.at(member, place) * n;
        ASSERT_EQ(draws.positive[draws.at(member, place)], nearest_row(own, n, query, own.rows.front(), false));
        // The change is that of two samples two bins apart in one session.
        const float* from = of->labels.data() + place_of(*of, reference) * n;
        bool found = false;
        for (std::size_t s = 0; s < draws.sets.size(); ++s)
          for (std::size_t i = 0; i + 2 < draws.sets[s].rows.size(); ++i) {
            bool equal = true;
            for (std::size_t label = 0; label < n; ++label) {
              const auto& labels = draws.sets[s].labels;
              equal = equal && from[label] + (labels[(i + 2) * n + label] - labels[i * n + label]) == query[label];
            }
            if (equal) found = true, changing_sessions.insert(s);
          }
        ASSERT_TRUE(found);
      }
    EXPECT_EQ(changing_sessions.size(), draws.sets.size());
  }
}

TEST(ContrastiveIndicesOfSessions, TurnCircularLabelsByTheAngleOfAnySession) {
  const SessionDraws draws(ContrastivePositive::time_delta, 2, 1);
  for (std::int32_t member = 0; member < SessionDraws::n_members; ++member)
    for (std::int32_t place = 0; place < SessionDraws::batch; ++place) {
      const auto& own = draws.sets[to_size(member % SessionDraws::n_sessions)];
      const auto [reference, of] = draws.reference_of(member, place);
      const std::size_t positive = place_of(own, draws.positive[draws.at(member, place)]);
      ASSERT_NEAR(turn(of->labels.data() + place_of(*of, reference) * 2, own.labels.data() + positive * 2), 20, 1e-3);
    }
}

TEST(ContrastiveIndicesOfSessions, KeepTheClassOfTheReferenceOrNoiseOfItsLabels) {
  const SessionDraws classes(ContrastivePositive::same_class, 1), noisy(ContrastivePositive::delta, 1);
  double squares = 0;
  for (std::int32_t member = 0; member < SessionDraws::n_members; ++member)
    for (std::int32_t place = 0; place < SessionDraws::batch; ++place) {
      const auto& own = classes.sets[to_size(member % SessionDraws::n_sessions)];
      const auto [reference, of] = classes.reference_of(member, place);
      ASSERT_EQ(own.classes[place_of(own, classes.positive[classes.at(member, place)])],
                of->classes[place_of(*of, reference)]);
      const auto [of_noise, its] = noisy.reference_of(member, place);
      const double moved = noisy.query[noisy.at(member, place)] - its->labels[place_of(*its, of_noise)];
      squares += moved * moved;
    }
  EXPECT_NEAR(std::sqrt(squares / (SessionDraws::n_members * SessionDraws::batch)), 0.25, 0.02);
}

TEST(JoinSessions, PutsEveryPositiveBesideItsReferenceAndTakesItsGradientBack) {
  constexpr std::int32_t n_sessions = 2, batch = 3, n_members = 4, n_features = 2;
  const Indices source{4, 0, 2, 5, 1, 3, 0, 1, 2, 3, 4, 5};
  HostRows<float> apart(n_members, 3 * batch, n_features),
      joined(n_members / n_sessions, 3 * n_sessions * batch, n_features, -1), again = apart;
  float next = 0;
  apart.fill([&] { return next++; });
  JoinSessions<float> p{.fleet = {n_members},
                        .n_sessions = n_sessions,
                        .batch = batch,
                        .n_features = n_features,
                        .source = source.data(),
                        .apart = apart.rows(),
                        .joined = joined.rows()};
  ThreadPool pool(2);
  join_sessions_cpu(p, pool);
  const auto first_of = [](const HostRows<float>& rows, std::int32_t row) {
    return rows.values[to_size(row * rows.row_stride)];
  };
  for (std::int32_t k = 0; k < batch; ++k) {
    EXPECT_EQ(first_of(joined, k), first_of(apart, k));                      // references of session 0 of run 0
    EXPECT_EQ(first_of(joined, batch + k), first_of(apart, 3 * batch + k));  // of session 1
    EXPECT_EQ(first_of(joined, 2 * batch + k), first_of(apart, batch + k));  // negatives of session 0
    EXPECT_EQ(first_of(joined, 4 * batch + source[to_size(k)]),
              first_of(apart, 2 * batch + k));                                   // positives of session 0
    EXPECT_EQ(first_of(joined, 6 * batch + k), first_of(apart, 6 * batch + k));  // references of run 1
  }
  p.to_joined = false;
  p.apart = again.rows();
  join_sessions_cpu(p, pool);
  EXPECT_EQ(again.values, apart.values);
}

}  // namespace
}  // namespace idem
