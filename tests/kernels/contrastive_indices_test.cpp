#include "kernels/sampling/contrastive_indices.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <map>
#include <random>
#include <set>
#include <string>
#include <utility>
#include <vector>

#include "kernels/common/philox.h"
#include "kernels/common/to_size.h"
#include "kernels/sampling/contrastive_samples.h"
#include "tests/kernels/contrastive_drawing.h"
#include "tests/support/host_rows.h"

namespace idem {
namespace {

TEST(ContrastiveIndices, FindTheNearestLabelsAndOfSeveralTheFirstListed) {
  for (const std::int32_t n : {1, 2, 31, 33, 257, 1500}) {
    for (const std::int32_t n_labels : {1, 2, 3, 5}) {
      for (const double grid : {0.0, 0.25, 1.0}) {  // 0.25: many exact ties; 1: hardly any distinct label
        for (const bool classes : {false, true}) {
          for (const ContrastivePositive positive_is : {ContrastivePositive::time_delta, ContrastivePositive::delta}) {
            ContrastiveSet set{counting(n, 100), Indices(to_size(n), 0), {}, {}};
            set.labels = random_labels(to_size(n * n_labels), 5, grid);
            std::shuffle(set.rows.begin(), set.rows.end(), std::mt19937_64(1));
            for (std::int32_t i = 0; classes && i < n; ++i) set.classes.push_back(i * i % 7);
            const ContrastiveSamples samples({.n_labels = n_labels, .time_offset = 1, .across_segments = true}, {set});
            Drawing drawing{.batch = 97, .positive_is = positive_is};
            drawing.prior = classes ? ContrastivePrior::classes : ContrastivePrior::samples;
            drawing.delta_sd = 0.5f;
            const Draws draws = drawing.of(samples);
            for (std::size_t i = 0; i < draws.positive.size(); ++i) {
              const float* query = draws.query.data() + i * to_size(n_labels);
              ASSERT_EQ(draws.positive[i], nearest_row(set, to_size(n_labels), query, draws.reference[i], classes))
                  << n << " samples of " << n_labels << " labels, place " << i;
            }
          }
        }
      }
    }
  }
}

TEST(ContrastiveIndices, GiveATieToTheFirstListedOnEitherSideOfTheQuery) {
  // Differences over one bin are +-0.5 and +-1; a query of 0.5 lies as near to 0 as to 1.
  for (const std::vector<float>& labels :
       {std::vector<float>{1, 0, 1, 0, 0.5f}, std::vector<float>{0, 1, 0, 1, 0.5f}}) {
    ContrastiveSet set{counting(5), Indices(5, 0), labels, Indices{0, 0, 0, 0, 1}};
    const ContrastiveSamples samples({.n_labels = 1}, {set});
    Drawing drawing{.batch = 4000, .prior = ContrastivePrior::classes};
    const Draws draws = drawing.of(samples);
    bool tied = false;
    for (std::size_t i = 0; i < draws.positive.size(); ++i) {
      if (draws.query[i] != 0.5f || draws.reference[i] == 4) continue;
      tied = true;
      EXPECT_EQ(draws.positive[i], 0);
    }
    EXPECT_TRUE(tied);
  }
}

TEST(ContrastiveIndices, RepeatedLabelsCollapseToTheFirstSampleThatHasThem) {
  ContrastiveSet set{counting(300), Indices(300, 0), {}, {}};
  for (std::int32_t i = 0; i < 300; ++i) {
    set.labels.push_back(i / 50 % 2 == 0 ? 1.0f : 0.0f);
    set.labels.push_back(i / 50 % 2 == 0 ? 0.0f : 1.0f);
  }
  const Draws draws = Drawing{.batch = 2000}.of(ContrastiveSamples({.n_labels = 2, .time_offset = 10}, {set}));
  EXPECT_EQ(std::set<std::int32_t>(draws.positive.begin(), draws.positive.end()), (std::set<std::int32_t>{0, 50}));
}

TEST(ContrastiveIndices, ByTimeStayInsideASegmentAndReachAllOfIt) {
  const ContrastiveSet set = three_stretches();
  const ContrastiveSamples samples({.n_labels = 1, .time_offset = 7}, {set});
  EXPECT_EQ(samples.n_samples(0), 60);
  EXPECT_EQ(samples.n_leads(0), 3 * 13);
  const Draws draws =
      Drawing{.batch = 4000, .prior = ContrastivePrior::leads, .positive_is = ContrastivePositive::time}.of(samples);
  std::set<std::int32_t> references, negatives;
  for (std::size_t i = 0; i < draws.reference.size(); ++i) {
    ASSERT_EQ(draws.positive[i], draws.reference[i] + 7);
    ASSERT_EQ(set.segments[place_of(set, draws.positive[i])], set.segments[place_of(set, draws.reference[i])]);
    ASSERT_EQ(draws.time_positive[i], draws.positive[i]);
    references.insert(draws.reference[i]);
    negatives.insert(draws.negative[i]);
  }
  EXPECT_EQ(references.size(), 39u);
  EXPECT_EQ(negatives, references);
}

TEST(ContrastiveIndices, ByTimeAsPublishedTakeTheListForOneStretch) {
  const ContrastiveSet set = three_stretches();
  const ContrastiveSamples samples({.n_labels = 1, .time_offset = 7, .across_segments = true}, {set});
  const Draws draws =
      Drawing{.batch = 4000, .prior = ContrastivePrior::leads, .positive_is = ContrastivePositive::time}.of(samples);
  std::set<std::size_t> places;
  for (std::size_t i = 0; i < draws.reference.size(); ++i) {
    const std::size_t place = place_of(set, draws.reference[i]);
    ASSERT_EQ(draws.positive[i], set.rows[place + 7]);
    places.insert(place);
  }
  EXPECT_EQ(places.size(), 53u);  // 0 ... T - offset - 1
  EXPECT_EQ(*places.rbegin(), 52u);
}

TEST(ContrastiveIndices, LabelDifferencesStayInsideASegmentAndAreNeverStill) {
  const ContrastiveSet set = three_stretches();
  std::map<float, int> jumps[2];
  for (const bool published : {false, true}) {
    const ContrastiveSamples samples({.n_labels = 1, .time_offset = 4, .across_segments = published}, {set});
    const Draws draws = Drawing{.batch = 60000}.of(samples);
    for (std::size_t i = 0; i < draws.query.size(); ++i) {
      ++jumps[published ? 1 : 0][draws.query[i] - set.labels[place_of(set, draws.reference[i])]];
    }
  }
  EXPECT_EQ(jumps[0].size(), 1u);
  EXPECT_EQ(jumps[0].begin()->first, 2.0f);
  // 60 samples: the first 4 have no earlier one and count as still, 8 reach over a seam.
  EXPECT_NEAR(jumps[1][0.0f], 4000, 4 * 62);
  EXPECT_NEAR(jumps[1][2.0f], 48000, 4 * 98);
  int over_seams = 0;
  for (const auto& [jump, times] : jumps[1]) over_seams += jump > 50 ? times : 0;
  EXPECT_NEAR(over_seams, 8000, 4 * 84);
}

TEST(ContrastiveIndices, CircularLabelsChangeByTheirAngle) {
  for (const std::int32_t time_offset : {1, 3, 20}) {  // 20: 200 degrees, more than half a turn
    for (const std::size_t n_linear : {0, 2}) {
      const std::size_t n = n_linear + 2;
      const ContrastiveSet set = rotating(180, n_linear);
      const Draws draws = Drawing{.batch = 5000}.of(ContrastiveSamples(
          {.n_labels = static_cast<std::int32_t>(n), .time_offset = time_offset, .n_circular = 1}, {set}));
      for (std::size_t i = 0; i < draws.reference.size(); ++i) {
        const float *from = set.labels.data() + place_of(set, draws.reference[i]) * n,
                    *query = draws.query.data() + i * n;
        const float* to = set.labels.data() + place_of(set, draws.positive[i]) * n;
        ASSERT_EQ(draws.positive[i], nearest_row(set, n, query, draws.reference[i], false));
        ASSERT_NEAR(std::hypot(query[n_linear], query[n_linear + 1]), 1, 1e-6);
        for (const float* found : {query, to})
          ASSERT_NEAR(turn(from + n_linear, found + n_linear), std::remainder(10 * time_offset, 360),
                      found == query ? 1e-4 : 1e-3)
              << "place " << i;
      }
    }
  }
}

TEST(ContrastiveIndices, LinearLabelsAreDrawnAlikeBesideCircularOnes) {
  // Sine and cosine that stand still: the linear label's queries are the same as those without them, bit for bit.
  ContrastiveSet alone = three_stretches(), beside = alone;
  beside.labels.clear();
  for (const float label : alone.labels) beside.labels.insert(beside.labels.end(), {label, 0.6f, 0.8f});
  const Draws without = Drawing{.batch = 500}.of(ContrastiveSamples({.n_labels = 1, .time_offset = 4}, {alone}));
  const Draws with =
      Drawing{.batch = 500}.of(ContrastiveSamples({.n_labels = 3, .time_offset = 4, .n_circular = 1}, {beside}));
  for (std::size_t i = 0; i < without.query.size(); ++i) {
    ASSERT_EQ(with.query[3 * i], without.query[i]);
    ASSERT_EQ(with.query[3 * i + 1], 0.6f);
    ASSERT_EQ(with.query[3 * i + 2], 0.8f);
  }
  EXPECT_EQ(with.positive, without.positive);
}

TEST(ContrastiveIndices, NoiseOfCircularLabelsIsOfTheAngleInRadians) {
  ContrastiveSet set{counting(1), Indices(1, 0), {5, 0.6f, -0.8f, -0.8f, 0.6f}, {}};
  Drawing drawing{.batch = 100000, .positive_is = ContrastivePositive::delta};
  drawing.delta_sd = 0.3f;
  const Draws draws = drawing.of(ContrastiveSamples({.n_labels = 5, .n_circular = 2}, {set}));
  double squares[3] = {}, means[3] = {}, product = 0;
  for (std::size_t i = 0; i < 100000; ++i) {
    const float* query = draws.query.data() + 5 * i;
    ASSERT_NEAR(std::hypot(query[1], query[2]), 1, 1e-6);
    const double moved[3] = {static_cast<double>(query[0]) - 5, turn(set.labels.data() + 1, query + 1) * M_PI / 180,
                             turn(set.labels.data() + 3, query + 3) * M_PI / 180};
    for (int label = 0; label < 3; ++label)
      means[label] += moved[label] / 100000, squares[label] += moved[label] * moved[label] / 100000;
    product += moved[1] * moved[2] / 100000;
  }
  for (int label = 0; label < 3; ++label) {
    EXPECT_NEAR(means[label], 0, 0.004);
    EXPECT_NEAR(std::sqrt(squares[label]), 0.3, 0.003);
  }
  EXPECT_NEAR(product, 0, 0.0012);
}

TEST(ContrastiveIndices, DrawEverySampleAlikeAndNegativesOfTheirOwn) {
  ContrastiveSet set{counting(50), Indices(50, 0), std::vector<float>(50, 0.0f), {}};
  const Draws draws = Drawing{.batch = 100000}.of(ContrastiveSamples({.n_labels = 1}, {set}));
  std::vector<double> references(50), negatives(50);
  double same = 0;
  for (std::size_t i = 0; i < draws.reference.size(); ++i) {
    ++references[to_size(draws.reference[i])];
    ++negatives[to_size(draws.negative[i])];
    same += draws.reference[i] == draws.negative[i] ? 1 : 0;
  }
  for (const auto& counts : {references, negatives}) {
    double chi_square = 0;
    for (double count : counts) chi_square += (count - 2000) * (count - 2000) / 2000;
    EXPECT_LT(chi_square, 85.4);  // 49 degrees of freedom, p = 0.001
    EXPECT_GT(chi_square, 23.0);  // and not too even
  }
  EXPECT_NEAR(same, 2000, 4 * 44);
}

TEST(ContrastiveIndices, EqualClassesGiveEveryClassThatOccursTheSameShare) {
  // Label values 1 to 3 do not occur: they must not pass their share to a neighbour.
  const ContrastiveSet set{counting(5), Indices(5, 0), {}, Indices{0, 0, 4, 0, 0}};
  const ContrastiveSamples samples({}, {set});
  for (const bool equal : {true, false}) {
    Drawing drawing{.batch = 40000, .positive_is = ContrastivePositive::same_class};
    drawing.prior = equal ? ContrastivePrior::classes : ContrastivePrior::samples;
    const Draws draws = drawing.of(samples);
    for (const Indices* drawn : {&draws.reference, &draws.negative}) {
      const auto share = [&](std::int32_t row) {
        return static_cast<double>(std::count(drawn->begin(), drawn->end(), row)) / 40000;
      };
      EXPECT_NEAR(share(2), equal ? 0.5 : 0.2, 0.01);
      for (const std::int32_t row : {0, 1, 3, 4}) EXPECT_NEAR(share(row), equal ? 0.125 : 0.2, 0.01) << row;
    }
    std::map<std::int32_t, int> positives;
    for (std::size_t i = 0; i < draws.reference.size(); ++i) {
      ASSERT_EQ(draws.positive[i] == 2, draws.reference[i] == 2);
      ++positives[draws.positive[i]];
    }
    for (const std::int32_t row : {0, 1, 3, 4}) EXPECT_NEAR(positives[row] / 40000.0, equal ? 0.125 : 0.2, 0.01) << row;
  }
}

TEST(ContrastiveIndices, NoiseIsStandardNormalForEveryLabel) {
  ContrastiveSet set{counting(1), Indices(1, 0), {0, 0, 0}, {}};
  const ContrastiveSamples samples({.n_labels = 3}, {set});
  Drawing drawing{.batch = 100000, .positive_is = ContrastivePositive::delta};
  drawing.delta_sd = 2;
  const Draws draws = drawing.of(samples);
  double moments[4] = {}, beyond = 0, product = 0;
  for (std::size_t i = 0; i < draws.query.size(); ++i) {
    const double z = static_cast<double>(draws.query[i]) / 2;
    for (int power = 0; power < 4; ++power) moments[power] += std::pow(z, power + 1) / 300000;
    beyond += std::abs(z) > 1.959964 ? 1.0 / 300000 : 0.0;
    if (i > 0) product += z * static_cast<double>(draws.query[i - 1]) / 2 / 300000;
  }
  EXPECT_NEAR(moments[0], 0, 0.008);
  EXPECT_NEAR(moments[1], 1, 0.011);
  EXPECT_NEAR(moments[2], 0, 0.03);
  EXPECT_NEAR(moments[3], 3, 0.08);
  EXPECT_NEAR(beyond, 0.05, 0.002);
  EXPECT_NEAR(product, 0, 0.008);
}

TEST(ContrastiveIndices, NoiseEqualsTheLibrarysBoxMuller) {
  ContrastiveSet set{counting(1), Indices(1, 0), {0}, {}};
  Drawing drawing{.batch = 4096, .positive_is = ContrastivePositive::delta};
  drawing.delta_sd = 1;
  const Draws draws = drawing.of(ContrastiveSamples({.n_labels = 1}, {set}));
  for (std::uint32_t element = 0; element < 4096; ++element) {
    const PhiloxWords words =
        random_words(drawing.first_seed, RandomStream::contrastive_noise, drawing.step, element / 4);
    const std::uint32_t* pair = words.w + element % 4 / 2 * 2;
    const double radius = std::sqrt(-2 * std::log(((pair[0] >> 8) + 1) / 16777216.0)),
                 angle = 2 * M_PI * (pair[1] >> 8) / 16777216.0;
    const double expected = radius * (element % 2 == 0 ? std::cos(angle) : std::sin(angle));
    ASSERT_TRUE(std::abs(static_cast<double>(draws.query[element]) - expected) <=
                1e-7 * std::max(1.0, std::abs(expected)))
        << element;
  }
}

TEST(ContrastiveIndices, AFullBatchSeesEverySampleOnceAndNegativesInANewOrderEveryStep) {
  const ContrastiveSamples samples({.n_labels = 1, .time_offset = 3}, {three_stretches()});
  Drawing drawing{.batch = 60};
  drawing.in_order = true;
  const Draws draws = drawing.of(samples);
  EXPECT_EQ(draws.reference, three_stretches().rows);
  EXPECT_NE(draws.negative, draws.reference);
  EXPECT_TRUE(std::is_permutation(draws.negative.begin(), draws.negative.end(), draws.reference.begin()));
  drawing.step = 4;
  EXPECT_NE(drawing.of(samples).negative, draws.negative);
  drawing.batch = 51 + 5;  // the leads, and five again
  drawing.prior = ContrastivePrior::leads;
  drawing.positive_is = ContrastivePositive::time;
  const Draws leads = drawing.of(samples);
  EXPECT_EQ(Indices(leads.reference.begin() + 51, leads.reference.end()),
            Indices(leads.reference.begin(), leads.reference.begin() + 5));
  EXPECT_TRUE(std::is_permutation(leads.negative.begin(), leads.negative.begin() + 51, leads.reference.begin()));
}

TEST(ContrastiveIndices, TheHybridHasAPositiveByLabelAndOneByTime) {
  const ContrastiveSet set = three_stretches();
  const Draws draws = Drawing{.batch = 500, .prior = ContrastivePrior::leads}.of(
      ContrastiveSamples({.n_labels = 1, .time_offset = 5}, {set}));
  for (std::size_t i = 0; i < draws.reference.size(); ++i) {
    ASSERT_EQ(draws.time_positive[i], draws.reference[i] + 5);
    ASSERT_EQ(draws.positive[i], nearest_row(set, 1, &draws.query[i], draws.reference[i], false));
  }
}

TEST(ContrastiveIndices, OfAMemberAreTheSameAloneInAFleetAndForAnyNumberOfThreads) {
  ContrastiveSet long_set{counting(700), Indices(700, 0), random_labels(1400, 2, 0), {}}, short_set = long_set;
  short_set.rows.resize(90);
  short_set.segments.resize(90);
  short_set.labels.resize(180);
  const ContrastiveSamples samples({.n_labels = 2, .time_offset = 2}, {long_set, short_set});
  Drawing drawing{.batch = 130, .n_members = 4, .n_sets = 2};
  const Draws fleet = drawing.of(samples);
  drawing.n_threads = 3;
  EXPECT_EQ(drawing.of(samples).positive, fleet.positive);
  const Drawing alone{.batch = 130, .first_seed = 43};
  const Draws last = alone.of(ContrastiveSamples({.n_labels = 2, .time_offset = 2}, {short_set}));
  for (const auto& [one, all] :
       {std::pair(&last.reference, &fleet.reference), std::pair(&last.negative, &fleet.negative),
        std::pair(&last.positive, &fleet.positive)}) {
    EXPECT_EQ(*one, Indices(all->begin() + 3 * 130, all->end()));
  }
  Drawing later = alone;
  later.step = 5;
  EXPECT_NE(later.of(ContrastiveSamples({.n_labels = 2, .time_offset = 2}, {short_set})).reference, last.reference);
}

TEST(ContrastiveIndices, AheadOfAStepAreThoseOfTheLaterStep) {
  const ContrastiveSamples samples({.n_labels = 2, .time_offset = 2},
                                   {{counting(90), Indices(90, 0), random_labels(180, 2, 0), {}}});
  for (const bool in_order : {false, true}) {
    for (const ContrastivePositive positive_is : {ContrastivePositive::time_delta, ContrastivePositive::delta}) {
      Drawing drawing{.n_members = 2, .positive_is = positive_is, .in_order = in_order, .step = 5};
      const Draws later = drawing.of(samples);
      drawing.step = 3;
      EXPECT_NE(drawing.of(samples).negative, later.negative);
      drawing.ahead = 2;
      const Draws ahead = drawing.of(samples);
      EXPECT_EQ(ahead.reference, later.reference);
      EXPECT_EQ(ahead.negative, later.negative);
      EXPECT_EQ(ahead.positive, later.positive);
    }
  }
}

TEST(ContrastiveSamples, RefuseWhatCannotBeDrawnFrom) {
  const auto refusal = [](const ContrastiveSampleOptions& options, const ContrastiveSet& set) -> std::string {
    try {
      const ContrastiveSamples samples(options, {set});
    } catch (const std::invalid_argument& error) {
      return error.what();
    }
    return "";
  };
  EXPECT_NE(refusal({}, {}).find("no samples"), std::string::npos);
  EXPECT_NE(refusal({.n_labels = 1}, {{1, 2}, {0, 0}, {1}, {}}).find("1 labels"), std::string::npos);
  EXPECT_NE(refusal({.n_labels = 1}, {{1, 2}, {0, 0}, {1, NAN}, {}}).find("at sample 1"), std::string::npos);
  EXPECT_NE(refusal({.time_offset = 0}, {{1}, {0}, {}, {}}).find("time offset"), std::string::npos);
  EXPECT_NE(refusal({.n_labels = 1, .n_circular = 1}, {{1}, {0}, {1}, {}}).find("two label columns"),
            std::string::npos);
  EXPECT_EQ(refusal({.n_labels = 1}, {{1, 2}, {0, 0}, {1, -0.0f}, {3, 3}}), "");
}

}  // namespace
}  // namespace idem
