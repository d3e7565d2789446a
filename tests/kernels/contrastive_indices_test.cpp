#include "kernels/sampling/contrastive_indices.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <map>
#include <numeric>
#include <random>
#include <set>
#include <string>
#include <vector>

#include "kernels/common/philox.h"
#include "kernels/sampling/contrastive_samples.h"
#include "tests/support/host_draws.h"
#include "tests/support/host_rows.h"

namespace idem {
namespace {

using Indices = std::vector<std::int32_t>;

struct Draws {
  Indices reference, negative, positive, time_positive;
  std::vector<float> query;
};

// One step of every member; member m draws from set m % n_sets.
struct Drawing {
  std::int32_t batch = 64, n_members = 1, n_sets = 1, n_threads = 1;
  ContrastivePrior prior = ContrastivePrior::samples;
  ContrastivePositive positive_is = ContrastivePositive::time_delta;
  bool in_order = false;
  std::uint64_t first_seed = 40;
  std::uint32_t step = 3, ahead = 0;
  float delta_sd = 0.1f;

  Draws of(const ContrastiveSamples& samples) const {
    Indices set;
    std::vector<std::uint64_t> seed;
    for (std::int32_t member = 0; member < n_members; ++member) {
      set.push_back(member % n_sets);
      seed.push_back(first_seed + static_cast<std::uint64_t>(member));
    }
    const std::vector<std::uint32_t> steps(seed.size(), step);
    const std::vector<float> sd(seed.size(), delta_sd);
    const std::size_t n = static_cast<std::size_t>(n_members) * static_cast<std::size_t>(batch);
    ContrastiveIndices<float> p;
    p.sets = samples.view(samples.bytes().data());
    Draws draws{Indices(n, -1), Indices(n, -1), Indices(n, -1), Indices(n, -1), std::vector<float>(n * static_cast<std::size_t>(p.sets.n_labels))};
    p.fleet.n_members = n_members;
    p.batch = batch;
    p.prior = prior;
    p.positive_is = positive_is;
    p.in_order = in_order;
    p.set = set.data();
    p.seed = seed.data();
    p.step = steps.data();
    p.ahead = ahead;
    p.delta_sd = sd.data();
    p.stride = batch;
    p.reference = draws.reference.data();
    p.negative = draws.negative.data();
    p.positive = draws.positive.data();
    p.time_positive = prior == ContrastivePrior::leads ? draws.time_positive.data() : nullptr;
    p.query = draws.query.data();
    ThreadPool pool(n_threads);
    contrastive_indices_cpu(p, pool);
    return draws;
  }
};

Indices counting(std::int32_t n, std::int32_t first = 0) {
  Indices rows(static_cast<std::size_t>(n));
  std::iota(rows.begin(), rows.end(), first);
  return rows;
}
std::vector<float> random_labels(std::size_t n, std::uint64_t seed, double grid) {
  std::mt19937_64 random(seed);
  std::uniform_real_distribution<double> uniform(-1, 1);
  std::vector<float> labels(n);
  for (float& label : labels) label = static_cast<float>(grid > 0 ? std::round(uniform(random) / grid) * grid : uniform(random));
  return labels;
}
std::size_t place_of(const ContrastiveSet& set, std::int32_t row) {
  return static_cast<std::size_t>(std::find(set.rows.begin(), set.rows.end(), row) - set.rows.begin());
}

// Every sample in list order, the first of the nearest wins.
std::int32_t nearest_row(const ContrastiveSet& set, std::size_t n_labels, const float* query, std::int32_t reference, bool within_class) {
  const std::size_t own = place_of(set, reference);
  double best = INFINITY;
  std::int32_t row = -1;
  for (std::size_t i = 0; i < set.rows.size(); ++i) {
    if (within_class && set.classes[i] != set.classes[own]) continue;
    double distance = 0;
    for (std::size_t label = 0; label < n_labels; ++label) {
      const double gap = static_cast<double>(set.labels[i * n_labels + label]) - static_cast<double>(query[label]);
      distance = std::fma(gap, gap, distance);
    }
    if (distance < best) best = distance, row = set.rows[i];
  }
  return row;
}

TEST(ContrastiveIndices, FindTheNearestLabelsAndOfSeveralTheFirstListed) {
  for (const std::int32_t n : {1, 2, 31, 33, 257, 1500}) {
    for (const std::int32_t n_labels : {1, 2, 3, 5}) {
      for (const double grid : {0.0, 0.25, 1.0}) {  // 0.25: many exact ties; 1: hardly any distinct label
        for (const bool classes : {false, true}) {
          for (const ContrastivePositive positive_is : {ContrastivePositive::time_delta, ContrastivePositive::delta}) {
            ContrastiveSet set{counting(n, 100), Indices(static_cast<std::size_t>(n), 0), {}, {}};
            set.labels = random_labels(static_cast<std::size_t>(n * n_labels), 5, grid);
            std::shuffle(set.rows.begin(), set.rows.end(), std::mt19937_64(1));
            for (std::int32_t i = 0; classes && i < n; ++i) set.classes.push_back(i * i % 7);
            const ContrastiveSamples samples({.n_labels = n_labels, .time_offset = 1, .across_segments = true}, {set});
            Drawing drawing{.batch = 97, .positive_is = positive_is};
            drawing.prior = classes ? ContrastivePrior::classes : ContrastivePrior::samples;
            drawing.delta_sd = 0.5f;
            const Draws draws = drawing.of(samples);
            for (std::size_t i = 0; i < draws.positive.size(); ++i) {
              const float* query = draws.query.data() + i * static_cast<std::size_t>(n_labels);
              ASSERT_EQ(draws.positive[i], nearest_row(set, static_cast<std::size_t>(n_labels), query, draws.reference[i], classes))
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
  for (const std::vector<float>& labels : {std::vector<float>{1, 0, 1, 0, 0.5f}, std::vector<float>{0, 1, 0, 1, 0.5f}}) {
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

// Three stretches: bins 0-19 of segment 0, then 30-49 of it, then 50-69 of segment 1; the label leaps by 100 from one to the next.
ContrastiveSet three_stretches() {
  ContrastiveSet set;
  for (std::int32_t stretch = 0; stretch < 3; ++stretch) {
    for (std::int32_t i = 0; i < 20; ++i) {
      set.rows.push_back((stretch == 0 ? 0 : 10 + 20 * stretch) + i);
      set.segments.push_back(stretch == 2 ? 1 : 0);
      set.labels.push_back(static_cast<float>(100 * stretch) + 0.5f * static_cast<float>(i));
    }
  }
  return set;
}

TEST(ContrastiveIndices, ByTimeStayInsideASegmentAndReachAllOfIt) {
  const ContrastiveSet set = three_stretches();
  const ContrastiveSamples samples({.n_labels = 1, .time_offset = 7}, {set});
  EXPECT_EQ(samples.n_samples(0), 60);
  EXPECT_EQ(samples.n_leads(0), 3 * 13);
  const Draws draws = Drawing{.batch = 4000, .prior = ContrastivePrior::leads, .positive_is = ContrastivePositive::time}.of(samples);
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
  const Draws draws = Drawing{.batch = 4000, .prior = ContrastivePrior::leads, .positive_is = ContrastivePositive::time}.of(samples);
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

// Bins that turn by 10 degrees each, off any axis, with linear labels before the sine and the cosine of the angle.
ContrastiveSet rotating(std::int32_t n, std::size_t n_linear) {
  ContrastiveSet set{counting(n), Indices(static_cast<std::size_t>(n), 0), {}, {}};
  for (std::int32_t i = 0; i < n; ++i) {
    for (std::size_t label = 0; label < n_linear; ++label) set.labels.push_back(0.001f * static_cast<float>(i % 36));
    const double angle = (10 * (i % 36) + 3) * M_PI / 180;
    set.labels.push_back(static_cast<float>(std::sin(angle)));
    set.labels.push_back(static_cast<float>(std::cos(angle)));
  }
  return set;
}
// From one angle to the other, in degrees, within half a turn. labels: sine and cosine.
double turn(const float* from, const float* to) {
  const auto angle = [](const float* of) { return std::atan2(static_cast<double>(of[0]), static_cast<double>(of[1])); };
  return std::remainder(angle(to) - angle(from), 2 * M_PI) * 180 / M_PI;
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
    ++references[static_cast<std::size_t>(draws.reference[i])];
    ++negatives[static_cast<std::size_t>(draws.negative[i])];
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
      const auto share = [&](std::int32_t row) { return static_cast<double>(std::count(drawn->begin(), drawn->end(), row)) / 40000; };
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
    const PhiloxWords words = random_words(drawing.first_seed, RandomStream::contrastive_noise, drawing.step, element / 4);
    const std::uint32_t* pair = words.w + element % 4 / 2 * 2;
    const double radius = std::sqrt(-2 * std::log(((pair[0] >> 8) + 1) / 16777216.0)), angle = 2 * M_PI * (pair[1] >> 8) / 16777216.0;
    const double expected = radius * (element % 2 == 0 ? std::cos(angle) : std::sin(angle));
    ASSERT_TRUE(std::abs(static_cast<double>(draws.query[element]) - expected) <= 1e-7 * std::max(1.0, std::abs(expected))) << element;
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
  EXPECT_EQ(Indices(leads.reference.begin() + 51, leads.reference.end()), Indices(leads.reference.begin(), leads.reference.begin() + 5));
  EXPECT_TRUE(std::is_permutation(leads.negative.begin(), leads.negative.begin() + 51, leads.reference.begin()));
}

TEST(ContrastiveIndices, TheHybridHasAPositiveByLabelAndOneByTime) {
  const ContrastiveSet set = three_stretches();
  const Draws draws = Drawing{.batch = 500, .prior = ContrastivePrior::leads}.of(ContrastiveSamples({.n_labels = 1, .time_offset = 5}, {set}));
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
  for (const auto& [one, all] : {std::pair(&last.reference, &fleet.reference), std::pair(&last.negative, &fleet.negative),
                                 std::pair(&last.positive, &fleet.positive)}) {
    EXPECT_EQ(*one, Indices(all->begin() + 3 * 130, all->end()));
  }
  Drawing later = alone;
  later.step = 5;
  EXPECT_NE(later.of(ContrastiveSamples({.n_labels = 2, .time_offset = 2}, {short_set})).reference, last.reference);
}

TEST(ContrastiveIndices, AheadOfAStepAreThoseOfTheLaterStep) {
  const ContrastiveSamples samples({.n_labels = 2, .time_offset = 2}, {{counting(90), Indices(90, 0), random_labels(180, 2, 0), {}}});
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

TEST(DrawnPlaces, AreWhereTheTableSaysAndListTheirDraws) {
  constexpr std::int32_t n_members = 2, n_lists = 3, batch = 400, n_rows = 90, n_places = 80;
  std::mt19937_64 random(3);
  Indices indices(n_members * n_lists * batch), place_of(n_members * n_rows), counts(n_members * n_lists * n_places, -1), place(indices.size(), -1),
      begin(n_members * n_lists * (n_places + 1), -1), draw(indices.size(), -1), wanted_place;
  for (auto& index : indices) index = static_cast<std::int32_t>(random() % n_rows);
  for (auto& of : place_of) of = static_cast<std::int32_t>(random() % n_places);  // two rows may have one place: windows at a border
  ThreadPool pool(2);
  drawn_places_cpu(DrawnPlaces<float>{.fleet = {n_members},
                                      .n_lists = n_lists,
                                      .batch = batch,
                                      .n_rows = n_rows,
                                      .n_places = n_places,
                                      .indices = indices.data(),
                                      .place_of = place_of.data(),
                                      .place = place.data(),
                                      .begin = begin.data(),
                                      .draw = draw.data(),
                                      .counts = counts.data()},
                   pool);
  for (std::size_t i = 0; i < indices.size(); ++i)
    wanted_place.push_back(place_of[i / batch / n_lists * n_rows + static_cast<std::size_t>(indices[i])]);
  EXPECT_EQ(place, wanted_place);
  const HostDraws wanted(n_lists, batch, n_places, wanted_place, n_members);
  EXPECT_EQ(begin, wanted.begin);
  EXPECT_EQ(draw, wanted.draw);
  for (std::size_t list = 0; list < n_members * n_lists; ++list)
    for (std::size_t of = 0; of < n_places; ++of)
      ASSERT_EQ(counts[list * n_places + of], begin[list * (n_places + 1) + of + 1] - begin[list * (n_places + 1) + of]);
}

// Two runs of three sessions whose labels lie apart, with a third of their draws each.
struct SessionDraws {
  static constexpr std::int32_t n_sessions = 3, n_runs = 2, n_members = n_sessions * n_runs, batch = 200;
  std::vector<ContrastiveSet> sets;
  Indices reference = Indices(n_members * batch), negative = reference, positive = reference, source = reference;
  std::vector<float> query;

  SessionDraws(ContrastivePositive positive_is, std::int32_t n_labels, std::int32_t n_circular = 0, std::uint32_t of_step = 3, std::uint32_t ahead = 0)
      : query(static_cast<std::size_t>(n_members * batch * n_labels)) {
    for (std::int32_t session = 0; session < n_sessions; ++session) {
      const std::int32_t n = 150 + 40 * session;
      ContrastiveSet set{counting(n, 1000 * session), Indices(static_cast<std::size_t>(n), session), {}, {}};
      set.labels = random_labels(static_cast<std::size_t>(n * n_labels), 3 + static_cast<std::uint64_t>(session), 0.125);
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
  std::size_t at(std::int32_t member, std::int32_t place) const { return static_cast<std::size_t>(member * batch + place); }
  // The reference that the positive of a place is for: its row, and its set.
  std::pair<std::int32_t, const ContrastiveSet*> reference_of(std::int32_t member, std::int32_t place) const {
    const std::int32_t first = member / n_sessions * n_sessions, from = source[at(member, place)];
    return {reference[at(first + from / batch, from % batch)], &sets[static_cast<std::size_t>(from / batch)]};
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
    EXPECT_EQ(dealt.size(), static_cast<std::size_t>(SessionDraws::n_sessions * SessionDraws::batch));
    EXPECT_EQ(*dealt.rbegin(), SessionDraws::n_sessions * SessionDraws::batch - 1);
    for (const auto& [move, n] : moves) EXPECT_TRUE(n > 35 && n < 100) << move.first << " to " << move.second << ": " << n;  // 67 on average
  }
  EXPECT_NE(Indices(draws.source.begin(), draws.source.begin() + 600), Indices(draws.source.begin() + 600, draws.source.end()));
}

TEST(ContrastiveIndicesOfSessions, AheadOfAStepAreThoseOfTheLaterStep) {
  const SessionDraws later(ContrastivePositive::delta, 2, 0, 4), ahead(ContrastivePositive::delta, 2, 0, 3, 1);
  EXPECT_EQ(ahead.source, later.source);
  EXPECT_EQ(ahead.positive, later.positive);
}

TEST(ContrastiveIndicesOfSessions, FindPositivesInTheDealtSessionByChangesOfAnySession) {
  for (const std::int32_t n_labels : {1, 3}) {
    const SessionDraws draws(ContrastivePositive::time_delta, n_labels);
    const auto n = static_cast<std::size_t>(n_labels);
    std::set<std::size_t> changing_sessions;
    for (std::int32_t member = 0; member < SessionDraws::n_members; ++member)
      for (std::int32_t place = 0; place < SessionDraws::batch; ++place) {
        const auto& own = draws.sets[static_cast<std::size_t>(member % SessionDraws::n_sessions)];
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
      const auto& own = draws.sets[static_cast<std::size_t>(member % SessionDraws::n_sessions)];
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
      const auto& own = classes.sets[static_cast<std::size_t>(member % SessionDraws::n_sessions)];
      const auto [reference, of] = classes.reference_of(member, place);
      ASSERT_EQ(own.classes[place_of(own, classes.positive[classes.at(member, place)])], of->classes[place_of(*of, reference)]);
      const auto [of_noise, its] = noisy.reference_of(member, place);
      const double moved = noisy.query[noisy.at(member, place)] - its->labels[place_of(*its, of_noise)];
      squares += moved * moved;
    }
  EXPECT_NEAR(std::sqrt(squares / (SessionDraws::n_members * SessionDraws::batch)), 0.25, 0.02);
}

TEST(JoinSessions, PutsEveryPositiveBesideItsReferenceAndTakesItsGradientBack) {
  constexpr std::int32_t n_sessions = 2, batch = 3, n_members = 4, n_features = 2;
  const Indices source{4, 0, 2, 5, 1, 3, 0, 1, 2, 3, 4, 5};
  HostRows<float> apart(n_members, 3 * batch, n_features), joined(n_members / n_sessions, 3 * n_sessions * batch, n_features, -1), again = apart;
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
  const auto first_of = [](const HostRows<float>& rows, std::int32_t row) { return rows.values[static_cast<std::size_t>(row * rows.row_stride)]; };
  for (std::int32_t k = 0; k < batch; ++k) {
    EXPECT_EQ(first_of(joined, k), first_of(apart, k));                                          // references of session 0 of run 0
    EXPECT_EQ(first_of(joined, batch + k), first_of(apart, 3 * batch + k));                      // of session 1
    EXPECT_EQ(first_of(joined, 2 * batch + k), first_of(apart, batch + k));                      // negatives of session 0
    EXPECT_EQ(first_of(joined, 4 * batch + source[static_cast<std::size_t>(k)]), first_of(apart, 2 * batch + k));  // positives of session 0
    EXPECT_EQ(first_of(joined, 6 * batch + k), first_of(apart, 6 * batch + k));                  // references of run 1
  }
  p.to_joined = false;
  p.apart = again.rows();
  join_sessions_cpu(p, pool);
  EXPECT_EQ(again.values, apart.values);
}

}  // namespace
}  // namespace idem
