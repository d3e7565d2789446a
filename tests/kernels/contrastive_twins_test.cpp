#include "kernels/contrastive/contrastive.h"
#include "tests/support/host_draws.h"
#include "tests/emulation/twin_check.h"

namespace idem {
namespace {

// n draws for each member; every seventh place holds none, unless there is one only.
std::vector<std::int32_t> places(std::int64_t n_members, std::int64_t n, std::int64_t n_places) {
  std::vector<std::int32_t> all;
  std::mt19937_64 random(5);
  while (static_cast<std::int64_t>(all.size()) < n_members * n) {
    const auto place = static_cast<std::int32_t>(random() % static_cast<std::uint64_t>(n_places));
    if (place % 7 != 3) all.push_back(place);
  }
  return all;
}
// Counts, one in three of them 0.
std::vector<std::int32_t> counts(std::int64_t n_members, std::int64_t n_rows) {
  std::vector<std::int32_t> all;
  for (std::int64_t i = 0; i < n_members * n_rows; ++i) all.push_back(static_cast<std::int32_t>((i * 5 + 1) % 3));
  return all;
}

template <class Run>
void run_uniformity(Run& run, Similarity similarity, std::int64_t n_references, std::int64_t n_negatives,
                    std::int32_t n_features, bool is_counted, bool is_forward) {
  using Real = typename Run::Scalar;
  Uniformity<Real> p;
  p.fleet = run.fleet();
  p.n_references = n_references;
  p.n_negatives = n_negatives;
  p.n_features = n_features;
  p.similarity = similarity;
  p.inverse_temperature = run.input("inverse_temperature", 1, uniform_values(0.5f, 4));
  p.scale = Real(0.125);
  const auto spread = normal_values(1 / std::sqrt(static_cast<float>(n_features)));
  p.reference = run.input_rows("reference", n_references, n_features, spread);
  p.negative = run.input_rows("negative", n_negatives, n_features, spread);
  if (is_counted) {
    p.count_stride = std::max(n_references, n_negatives);
    p.reference_count = run.input_array("reference_count", p.count_stride, counts(run.n_members(), p.count_stride));
    p.negative_count = run.input_array("negative_count", p.count_stride, counts(run.n_members(), p.count_stride));
  }
  if (is_forward) {
    p.log_sum = run.output("log_sum", n_references);
    p.mean_similarity = run.output("mean_similarity", n_references);
    p.d_reference = run.in_out_rows("d_reference", n_references, n_features);
    uniformity_forward(run.execution(), p);
  } else {
    p.log_sum = run.in_out("log_sum", n_references, uniform_values(3, 5));
    UniformityGradient<Real> gradient;
    gradient.forward = p;
    gradient.d_negative = run.in_out_rows("d_negative", n_negatives, n_features);
    uniformity_backward(run.execution(), gradient);
  }
}

TEST(UniformityTwins, AgreeForEveryNumberOfFeatures) {
  for (const Similarity similarity : {Similarity::cosine, Similarity::euclidean}) {
    for (const std::int32_t n_features : {1, 3, 4, 5, 8, 16, 31, 64, 128}) {
      for (const bool is_forward : {true, false}) {
        SCOPED_TRACE(testing::Message() << n_features << " features, similarity " << static_cast<int>(similarity)
                                        << ", forward " << is_forward);
        check_twins(TwinFleet::several(),
                    [&](auto& run) { run_uniformity(run, similarity, 11, 37, n_features, true, is_forward); });
      }
    }
  }
}

TEST(UniformityTwins, AgreeOnMoreNegativesThanAreLoadedInOneGo) {
  for (const bool is_forward : {true, false})
    check_twins(TwinFleet::several(),
                [&](auto& run) { run_uniformity(run, Similarity::cosine, 9, 1100, 3, false, is_forward); });
}

TEST(UniformityTwins, AgreeOnEverySize) {
  for (const std::int64_t n_references : kHardSizes) {
    for (const std::int64_t n_negatives : {1, 33, 257}) {
      for (const bool is_forward : {true, false}) {
        SCOPED_TRACE(testing::Message() << n_references << " references, " << n_negatives << " negatives, forward "
                                        << is_forward);
        check_twins(TwinFleet::several(), [&](auto& run) {
          run_uniformity(run, Similarity::cosine, n_references, n_negatives, 3, false, is_forward);
        });
      }
    }
  }
}

// n_places: of three lists, whose second one is of no pair; 0: pairs have rows of their own.
template <class Run>
void run_alignment(Run& run, Similarity similarity, std::int64_t n_pairs, std::int32_t n_places,
                   std::int32_t n_features, std::int32_t n_in_row) {
  using Real = typename Run::Scalar;
  Alignment<Real> p;
  p.fleet = run.fleet();
  p.n_pairs = n_pairs;
  p.n_features = n_features;
  p.similarity = similarity;
  p.inverse_temperature = run.input("inverse_temperature", 1, uniform_values(0.5f, 4));
  const std::int64_t n_rows = n_places > 0 ? n_places : n_pairs;
  p.reference = p.positive = run.input_rows("reference", n_rows, n_in_row);
  p.d_reference = p.d_positive = run.in_out_rows("d_reference", n_rows, n_in_row);
  if (n_places > 0) {
    const auto batch = static_cast<std::int32_t>(n_pairs);
    p.draws = HostDraws(3, batch, n_places, places(run.n_members(), 3 * n_pairs, n_places), run.n_members()).draws(run);
    p.positive_list = 2;
  } else {
    p.positive = run.input_rows("positive", n_rows, n_in_row);
    p.d_positive = run.in_out_rows("d_positive", n_rows, n_in_row);
  }
  p.similarity_value = run.output("similarity_value", n_pairs);
  alignment(run.execution(), p);
}

TEST(AlignmentTwins, AgreeOnPairsOfTheirOwnRows) {
  for (const Similarity similarity : {Similarity::cosine, Similarity::euclidean})
    for (const std::int64_t n_pairs : kHardSizes)
      for (const std::int32_t n_features : {5, 33})
        check_twins(TwinFleet::several(),
                    [&](auto& run) { run_alignment(run, similarity, n_pairs, 0, n_features, n_features); });
}

TEST(AlignmentTwins, AgreeOnPairsThatShareRows) {
  for (const Similarity similarity : {Similarity::cosine, Similarity::euclidean})
    for (const std::int32_t n_features : {3, 33, 128})
      for (const std::int32_t n_places : {1, 33, 61, 300})
        check_twins(TwinFleet::several(),
                    [&](auto& run) { run_alignment(run, similarity, 100, n_places, n_features, n_features); });
}

TEST(AlignmentTwins, LeaveFeaturesAloneThatAreNotCompared) {
  for (const std::int32_t n_places : {0, 33})
    for (const std::int32_t n_features : {3, 17})
      check_twins(TwinFleet::several(),
                  [&](auto& run) { run_alignment(run, Similarity::cosine, 50, n_places, n_features, n_features + 6); });
}

void check_drawn_rows(std::int32_t batch, std::int32_t n_places, std::int32_t n_features, bool normalises) {
  SCOPED_TRACE(testing::Message() << batch << " draws of " << n_places << " rows of " << n_features
                                  << (normalises ? ", normalised" : ""));
  check_twins(TwinFleet::several(), [&](auto& run) {
    using Real = typename std::decay_t<decltype(run)>::Scalar;
    DrawnRows<Real> p;
    p.fleet = run.fleet();
    p.n_draws = batch;
    p.n_features = n_features;
    p.normalises = normalises;
    p.place = run.input_array("place", batch, places(run.n_members(), batch, n_places));
    p.source = run.input_rows("source", n_places, n_features);
    p.drawn = run.output_rows("drawn", batch, n_features);
    drawn_rows_forward(run.execution(), p);
  });
  check_twins(TwinFleet::several(), [&](auto& run) {
    using Real = typename std::decay_t<decltype(run)>::Scalar;
    DrawnRowsGradient<Real> p;
    p.fleet = run.fleet();
    p.n_features = n_features;
    p.normalises = normalises;
    p.draws = HostDraws(2, batch, n_places, places(run.n_members(), 2 * batch, n_places), run.n_members()).draws(run);
    if (normalises) p.source = run.input_rows("source", n_places, n_features);
    p.d_drawn = run.input_rows("d_drawn", 2 * batch, n_features);
    p.d_source = run.output_rows("d_source", n_places, n_features);
    drawn_rows_backward(run.execution(), p);
  });
}
TEST(DrawnRowsTwins, AgreeOnEverySize) {
  for (const std::int64_t batch : kHardSizes)
    for (const std::int32_t n_features : {3, 33, 128})
      for (const bool normalises : {false, true})
        check_drawn_rows(static_cast<std::int32_t>(batch), 37, n_features, normalises);
  check_drawn_rows(1100, 65, 3, true);
  check_drawn_rows(20, 300, 3, true);  // most rows are not drawn
  check_drawn_rows(1025, 1, 2, false);
}

// What is not finite stays in its own row, and what comes after the features stays zero.
TEST(DrawnRowsTwins, PassOnWhatIsNotFinite) {
  for (const bool normalises : {false, true})
    check_twins(TwinFleet::several(), [&](auto& run) {
      using Real = typename std::decay_t<decltype(run)>::Scalar;
      DrawnRows<Real> p;
      p.fleet = run.fleet();
      p.n_draws = 40;
      p.n_features = 3;
      p.normalises = normalises;
      p.place = run.input_array("place", 40, places(run.n_members(), 40, 9));
      p.source = run.input_rows("source", 9, 3, [](std::mt19937_64& random) { return random() % 4 == 0 ? NAN : 1.0f; });
      p.drawn = run.output_rows("drawn", 40, 3);
      drawn_rows_forward(run.execution(), p);
    });
}

TEST(NormaliseRowsTwins, AgreeOnEverySize) {
  for (const std::int64_t n_rows : kHardSizes) {
    check_twins(TwinFleet::several(), [&](auto& run) {
      using Real = typename std::decay_t<decltype(run)>::Scalar;
      NormaliseRows<Real> p;
      p.fleet = run.fleet();
      p.n_rows = n_rows;
      p.n_features = 5;
      p.x = run.input_rows("x", n_rows, 5);
      p.value = run.output_rows("value", n_rows, 5);
      p.inverse_norm = run.output("inverse_norm", n_rows);
      normalise_rows_forward(run.execution(), p);
    });
    check_twins(TwinFleet::several(), [&](auto& run) {
      using Real = typename std::decay_t<decltype(run)>::Scalar;
      NormaliseRowsGradient<Real> p;
      p.fleet = run.fleet();
      p.n_rows = n_rows;
      p.n_features = 5;
      p.value = run.input_rows("value", n_rows, 5);
      p.inverse_norm = run.input("inverse_norm", n_rows, uniform_values(0.5f, 2));
      p.d_value = run.in_out_rows("d_value", n_rows, 5);
      normalise_rows_backward(run.execution(), p);
    });
  }
}

TEST(InverseTemperatureTwins, Agree) {
  check_twins({{1, 0, 1, 1, 1}}, [&](auto& run) {
    using Real = typename std::decay_t<decltype(run)>::Scalar;
    InverseTemperature<Real> p;
    p.fleet = run.fleet();
    p.log_inverse_temperature = run.input("log_inverse_temperature", 3);
    p.log_stride = 3;
    p.largest = Real(1.5f);
    p.value = run.output("value", 1);
    p.slope = run.output("slope", 1);
    inverse_temperature(run.execution(), p);
  });
}

TEST(InfoNceTermsTwins, AgreeOnEverySize) {
  for (const std::int64_t n : {1, 31, 33, 257, 61}) {
    for (const bool is_counted : {false, true}) {
      check_twins(TwinFleet::several(), [&](auto& run) {
        using Real = typename std::decay_t<decltype(run)>::Scalar;
        InfoNceTerms<Real> p;
        p.fleet = run.fleet();
        p.n_pairs = n;
        p.n_references = 2 * n;
        p.similarity_value = run.input("similarity_value", n);
        p.log_sum = run.input("log_sum", 2 * n);
        p.mean_similarity = run.input("mean_similarity", 2 * n);
        if (is_counted) p.reference_count = run.input_array("reference_count", 2 * n, counts(run.n_members(), 2 * n));
        p.count_stride = 2 * n;
        p.scale = Real(0.125);
        p.accumulate = is_counted;
        p.alignment = run.output("alignment", 1);
        p.uniformity = run.output("uniformity", 1);
        p.loss = run.in_out("loss", 1);
        p.temperature_slope = run.input("temperature_slope", 1);
        p.d_log_inverse_temperature = run.in_out("d_log_inverse_temperature", 1);
        p.d_log_stride = 1;
        info_nce_terms(run.execution(), p);
      });
    }
  }
}

}  // namespace
}  // namespace idem
