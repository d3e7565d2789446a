#include <algorithm>
#include <cmath>
#include <cstring>
#include <functional>
#include <numeric>

#include "kernels/sampling/contrastive_indices.h"
#include "kernels/sampling/contrastive_samples.h"
#include "tests/emulation/twin_check.h"
#include "kernels/common/to_size.h"

namespace idem {
namespace {

// Two sets, the second short; labels on a grid, so that many are equally near; segments of 40 bins. Linear labels are
// `scale` times 0 to 63 / 16.
ContrastiveSamples two_sets(std::int32_t n_samples, std::int32_t n_labels, std::int32_t n_classes,
                            std::int32_t n_circular = 0, float scale = 1) {
  std::vector<ContrastiveSet> sets(2);
  std::mt19937_64 random(7);
  for (std::size_t which = 0; which < 2; ++which) {
    const std::int32_t n = which == 0 ? n_samples : n_samples / 5 + 2;
    for (std::int32_t i = 0; i < n; ++i) {
      sets[which].rows.push_back(1000 + 3 * (i / 40) + i);
      sets[which].segments.push_back(i / 40);
      for (std::int32_t label = 0; label < n_labels - 2 * n_circular; ++label)
        sets[which].labels.push_back(scale * (static_cast<float>(random() % 64) / 16));
      for (std::int32_t label = 0; label < n_circular; ++label) {
        const double angle = 2 * M_PI * static_cast<double>(random() % 64) / 64;
        sets[which].labels.push_back(static_cast<float>(std::sin(angle)));
        sets[which].labels.push_back(static_cast<float>(std::cos(angle)));
      }
      if (n_classes > 0)
        sets[which].classes.push_back(static_cast<std::int32_t>(random() % static_cast<unsigned>(n_classes)));
    }
  }
  return ContrastiveSamples({.n_labels = n_labels, .time_offset = 1, .n_circular = n_circular}, sets);
}

void check_draws(const ContrastiveSamples& samples, std::int32_t batch, ContrastivePrior prior,
                 ContrastivePositive positive_is, bool in_order, std::int32_t n_sessions = 1, float sd = 0.4f,
                 const std::function<void(std::vector<std::uint32_t>&)>& change = {}) {
  // Whole numbers to the twins: labels and spreads are floats for the oracle too.
  std::vector<std::uint32_t> words(samples.bytes().size() / 4);
  std::memcpy(words.data(), samples.bytes().data(), samples.bytes().size());
  if (change) change(words);
  std::uint32_t sd_bits;
  std::memcpy(&sd_bits, &sd, 4);
  check_twins(n_sessions > 1 ? TwinFleet{{1, 1, 1}} : TwinFleet::several(), [&](auto& run) {
    using Real = typename std::decay_t<decltype(run)>::Scalar;
    const std::size_t n_members = to_size(run.n_members());
    ContrastiveIndices<Real> p;
    p.fleet = run.fleet();
    p.batch = batch;
    p.prior = prior;
    p.positive_is = positive_is;
    p.in_order = in_order;
    p.sets = samples.view(reinterpret_cast<const std::byte*>(run.shared_array("samples", words)));
    p.set = run.template input_array<std::int32_t>("set", 1, {0, 0, 1});
    p.seed = run.template input_array<std::uint64_t>("seed", 1, {1, 2, 0xfedcba9876543210ull});
    p.step = run.template input_array<std::uint32_t>(
        "step", 1,
        n_sessions > 1 ? std::vector<std::uint32_t>{7, 7, 7} : std::vector<std::uint32_t>{0, 7, 4000000000u});
    p.ahead = 1;
    p.delta_sd =
        reinterpret_cast<const float*>(run.input_array("delta_sd", 1, std::vector<std::uint32_t>(n_members, sd_bits)));
    p.stride = 3 * batch;
    p.reference = run.in_out_array("indices", p.stride, std::vector<std::int32_t>(n_members * to_size(p.stride), -7));
    p.negative = p.reference + batch;
    p.positive = p.negative + batch;
    const std::int64_t n_queries = std::int64_t{batch} * p.sets.n_labels;
    p.query = reinterpret_cast<float*>(
        run.in_out_array("query", n_queries, std::vector<std::uint32_t>(n_members * to_size(n_queries), ~0u)));
    p.n_sessions = n_sessions;
    if (n_sessions > 1)
      p.source = run.in_out_array("source", batch, std::vector<std::int32_t>(n_members * to_size(batch), -7));
    contrastive_indices(run.execution(), p);
  });
}

TEST(ContrastiveIndicesTwins, AgreeOnEveryNearestLabel) {
  for (const std::int32_t n_samples :
       {3, 1200}) {  // 1200: 13 boxes for each of three classes, 38 without: more than a warp has lanes
    for (const std::int32_t n_labels : {1, 2, 3}) {
      for (const std::int32_t n_classes : {0, 3}) {
        SCOPED_TRACE(testing::Message() << n_samples << " samples of " << n_labels << " labels and " << n_classes
                                        << " classes");
        const ContrastiveSamples samples = two_sets(n_samples, n_labels, n_classes);
        const ContrastivePrior prior = n_classes > 0 ? ContrastivePrior::classes : ContrastivePrior::samples;
        check_draws(samples, 9, prior, ContrastivePositive::time_delta, false);
        check_draws(samples, 5, prior, ContrastivePositive::delta, false);
      }
    }
  }
}

TEST(ContrastiveIndicesTwins, AgreeOnTheNearestOfMoreBoxesThanAreBoundedAtOnce) {
  for (const std::int32_t n_labels : {3, 5})
    check_draws(two_sets(9500, n_labels, 0), 4, ContrastivePrior::samples, ContrastivePositive::delta, false);
}

TEST(ContrastiveIndicesTwins, AgreeOnTheNearestOfCircularLabels) {
  for (const auto& [n_labels, n_circular] : {std::pair{2, 1}, {3, 1}, {4, 2}, {5, 2}}) {
    SCOPED_TRACE(testing::Message() << n_circular << " circular labels of " << n_labels << " columns");
    const ContrastiveSamples samples = two_sets(1200, n_labels, 0, n_circular);
    check_draws(samples, 9, ContrastivePrior::samples, ContrastivePositive::time_delta, false);
    check_draws(samples, 9, ContrastivePrior::samples, ContrastivePositive::delta, false);
    check_draws(samples, 9, ContrastivePrior::samples, ContrastivePositive::time_delta, false, 3);
  }
}

// Queries that are infinite, of labels whose differences are too large for a float, or no numbers at all, and labels
// that are none, which the check of samples lets nobody pass: distances tell little then, but the lanes of a warp still
// have to go the same way.
TEST(ContrastiveIndicesTwins, AgreeWhereDistancesAreNoNumbers) {
  for (const std::int32_t n_labels : {1, 2, 3, 5}) {
    for (const std::int32_t n_samples : {7, 1200}) {
      SCOPED_TRACE(testing::Message() << n_samples << " samples of " << n_labels << " labels");
      const ContrastiveSamples large = two_sets(n_samples, n_labels, 0, 0, 8e37f),
                               ordinary = two_sets(n_samples, n_labels, 0);
      check_draws(large, 9, ContrastivePrior::samples, ContrastivePositive::time_delta, false);
      check_draws(large, 9, ContrastivePrior::samples, ContrastivePositive::delta, false, 1, 3e38f);
      for (const float bad : {NAN, INFINITY}) {
        check_draws(ordinary, 9, ContrastivePrior::samples, ContrastivePositive::delta, false, 1, bad);
        const auto replace_threes = [&](std::vector<std::uint32_t>& words) {
          const float three = 3;
          std::uint32_t old_bits, new_bits;
          std::memcpy(&old_bits, &three, 4);
          std::memcpy(&new_bits, &bad, 4);
          std::replace(words.begin(), words.end(), old_bits, new_bits);
        };
        check_draws(ordinary, 9, ContrastivePrior::samples, ContrastivePositive::delta, false, 1, 0.4f, replace_threes);
        check_draws(ordinary, 9, ContrastivePrior::samples, ContrastivePositive::time_delta, false, 1, 0.4f,
                    replace_threes);
      }
    }
  }
}

TEST(ContrastiveIndicesTwins, AgreeOnEverySizeWithoutASearch) {
  const ContrastiveSamples samples = two_sets(300, 1, 4);
  for (const std::int64_t batch : kHardSizes) {
    SCOPED_TRACE(testing::Message() << "batch " << batch);
    const std::int32_t n = static_cast<std::int32_t>(batch);
    check_draws(samples, n, ContrastivePrior::leads, ContrastivePositive::time, false);
    check_draws(samples, n, ContrastivePrior::leads, ContrastivePositive::time, true);
    check_draws(samples, n, ContrastivePrior::samples, ContrastivePositive::same_class, true);
    check_draws(samples, n, ContrastivePrior::classes, ContrastivePositive::same_class, false);
  }
}

TEST(ContrastiveIndicesOfSessionsTwins, Agree) {
  for (const std::int32_t n_labels : {1, 3}) {
    for (const bool by_class : {false, true}) {
      for (const std::int32_t batch : {1, 33, 61}) {
        SCOPED_TRACE(testing::Message() << "batch " << batch << ", " << n_labels << " labels"
                                        << (by_class ? ", by class" : ""));
        check_draws(two_sets(300, n_labels, by_class ? 1 : 0), batch, ContrastivePrior::samples,
                    by_class ? ContrastivePositive::same_class : ContrastivePositive::time_delta, false, 3);
      }
    }
  }
}

TEST(JoinSessionsTwins, AgreeOnEverySize) {
  for (const std::int64_t batch : kHardSizes) {
    for (const bool to_joined : {true, false}) {
      SCOPED_TRACE(testing::Message() << "batch " << batch);
      constexpr std::int32_t n_sessions = 3, n_features = 5;
      std::vector<std::int32_t> source(to_size(n_sessions * batch));
      std::iota(source.rbegin(), source.rend(), 0);
      check_twins(TwinFleet{{1, 1, 1}}, [&](auto& run) {
        JoinSessions<typename std::decay_t<decltype(run)>::Scalar> p;
        p.fleet = run.fleet();
        p.n_sessions = n_sessions;
        p.batch = static_cast<std::int32_t>(batch);
        p.n_features = n_features;
        p.to_joined = to_joined;
        p.source = run.input_array("source", batch, source);
        p.apart = to_joined ? run.in_out_rows("apart", 3 * batch, n_features)
                            : run.output_rows("apart", 3 * batch, n_features);
        p.joined = to_joined ? run.shared_output_rows("joined", 3 * n_sessions * batch, n_features)
                             : run.shared_in_out_rows("joined", 3 * n_sessions * batch, n_features);
        join_sessions(run.execution(), p);
      });
    }
  }
}

// Rows of few places fall on them many times; of many places most are empty.
void check_drawn_places(const TwinFleet& fleet, std::int32_t n_lists, std::int32_t batch, std::int32_t n_places) {
  SCOPED_TRACE(testing::Message() << n_lists << " lists of " << batch << " draws of " << n_places << " places");
  constexpr std::int32_t n_rows = 120;
  const auto n_members = fleet.active.size(), n_draws = to_size(n_lists) * to_size(batch);
  std::mt19937_64 random(11);
  std::vector<std::int32_t> indices(n_members * n_draws), place_of(n_members * n_rows);
  for (std::int32_t& index : indices) index = static_cast<std::int32_t>(random() % n_rows);
  for (std::int32_t& place : place_of) place = static_cast<std::int32_t>(random() % static_cast<unsigned>(n_places));
  check_twins(fleet, [&](auto& run) {
    DrawnPlaces<typename std::decay_t<decltype(run)>::Scalar> p;
    p.fleet = run.fleet();
    p.n_lists = n_lists;
    p.batch = batch;
    p.n_rows = n_rows;
    p.n_places = n_places;
    p.indices = run.input_array("indices", static_cast<std::int64_t>(n_draws), indices);
    p.place_of = run.input_array("place_of", n_rows, place_of);
    const auto unwritten = [&](const char* name, std::int64_t per_list) {
      return run.in_out_array(name, n_lists * per_list,
                              std::vector<std::int32_t>(n_members * to_size(n_lists * per_list), -7));
    };
    p.place = unwritten("place", batch);
    p.begin = unwritten("begin", n_places + 1);
    p.draw = unwritten("draw", batch);
    if (n_places > 1) p.counts = unwritten("counts", n_places);
    p.scratch_bytes = drawn_places_scratch(run.execution(), p);
    p.scratch = run.shared_scratch(p.scratch_bytes);
    drawn_places(run.execution(), p);
  });
}

TEST(DrawnPlacesTwins, AgreeOnEverySize) {
  for (const std::int64_t batch : kHardSizes)
    for (const std::int32_t n_places : {1, 100})
      check_drawn_places(TwinFleet::several(), 2, static_cast<std::int32_t>(batch), n_places);
  check_drawn_places(TwinFleet::several(), 3, 1500, 7);
  check_drawn_places(TwinFleet::several(), 4, 20, 5000);
}

TEST(DrawnPlacesTwins, AgreeForEveryFleet) {
  for (const TwinFleet& fleet : {TwinFleet{{1}}, TwinFleet{{1, 1}}, TwinFleet{{0, 1}}, TwinFleet{{0, 0, 1}}})
    check_drawn_places(fleet, 3, 130, 50);
}

}  // namespace
}  // namespace idem
