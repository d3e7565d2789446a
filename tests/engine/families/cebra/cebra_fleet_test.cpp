#include "engine/families/cebra/cebra_fleet.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>

#include "engine/families/cebra/embed_recording.h"
#include "kernels/common/to_size.h"
#include "tests/support/device_under_test.h"
#include "tests/support/small_cebra.h"

namespace idem {
namespace {

using namespace small_cebra;

TEST(CebraFleet, FindsWhatLabelsSayOfTheActivityAndNothingOnceTheyAreShuffled) {
  const auto device = device_under_test();
  auto steps = plan(150);
  steps.steps_per_record = 50;
  CebraFleet fleet(*device, design(), steps, track(640), {member(1), member(1, 1)});
  EXPECT_FALSE(fleet.encodes_distinct());
  const auto last = trained(fleet);
  EXPECT_EQ(last[0].step, 150);
  const double chance = std::log(32.0);
  EXPECT_TRUE(last[0].valid.loss < chance - 0.4) << last[0].valid.loss;
  EXPECT_TRUE(std::fabs(last[1].valid.loss - chance) < 0.25) << last[1].valid.loss;
  // Nor does an encoder of this size learn shuffled labels by heart.
  EXPECT_TRUE(last[0].train.loss < chance - 0.4) << last[0].train.loss;
  EXPECT_TRUE(std::fabs(last[1].train.loss - chance) < 0.1) << last[1].train.loss;
  EXPECT_NEAR(last[0].train.loss, last[0].train.alignment + last[0].train.uniformity, 1e-4);
  EXPECT_TRUE(std::isnan(last[0].train.behaviour_alignment));
  EXPECT_TRUE(fleet.result(0).finished);
  EXPECT_EQ(fleet.result(0).nonfinite_steps, 0u);
}

TEST(CebraFleet, ValidatesTheWeightsItKeepsOnManyBatchesAndTellsTheErrorOfTheirMean) {
  const auto device = device_under_test();
  const auto data = track(640);
  auto steps = plan(4);
  steps.steps_per_record = 2;
  steps.kept_valid_batches = CebraPlan{}.kept_valid_batches;
  const auto records_of = [&](CebraFleet& fleet) {
    std::vector<CebraRecord> records;
    fleet.train([&](std::span<const CebraRecord> of_members) {
      records.push_back(of_members.front());
      return true;
    });
    return records;
  };
  CebraFleet many(*device, design(), steps, data, {member(1)});
  const auto of_many = records_of(many);
  ASSERT_EQ(of_many.size(), 2u);
  EXPECT_EQ(of_many[0].valid_batches, 4);
  EXPECT_EQ(of_many[1].valid_batches, 500);
  // The first 40 of those batches alone.
  steps.kept_valid_batches = 40;
  CebraFleet few(*device, design(), steps, data, {member(1)});
  const auto of_few = records_of(few);
  EXPECT_EQ(of_few[0].valid.loss, of_many[0].valid.loss);
  EXPECT_EQ(weights(few, 0), weights(many, 0));
  const double error = of_few[1].valid_error.loss;
  EXPECT_TRUE(std::abs(of_few[1].valid.loss - of_many[1].valid.loss) < 4 * error) << error;
  EXPECT_NEAR(error / of_many[1].valid_error.loss, std::sqrt(500.0 / 40), 1);  // the spread of 40 is known to a ninth
  EXPECT_NEAR(of_many[1].valid_error.info_nce, of_many[1].valid_error.loss, 1e-5);
  EXPECT_TRUE(std::isnan(of_many[1].valid_error.behaviour_info_nce));
  steps.kept_valid_batches = 1;
  CebraFleet one(*device, design(), steps, data, {member(1)});
  EXPECT_TRUE(std::isnan(records_of(one)[1].valid_error.loss));
}

TEST(CebraFleet, AMemberIsTheSameAloneAndAmongOthers) {
  const auto device = device_under_test();
  auto data = track();
  // A set of other bins, as many and in as long a stretch as the first: rows 40 to 159.
  data.sets.push_back(data.sets[0]);
  for (auto& row : data.sets[3].rows) row += 40;
  for (std::size_t i = 0; i < data.sets[3].rows.size(); ++i)
    data.sets[3].segments[i] = data.segments[to_size(data.sets[3].rows[i])];
  for (const std::int32_t batch : {8, 32, 300, 0}) {
    SCOPED_TRACE(testing::Message() << "batch " << batch);
    auto steps = plan(4, std::max(batch, 1));
    steps.is_full_batch = batch == 0;
    CebraFleet many(*device, design(5), steps, data, {member(3), member(8, 3), member(9)});
    CebraFleet alone(*device, design(5), steps, data, {member(9)}),
        other(*device, design(5), steps, data, {member(8, 3)});
    const auto of_many = trained(many), of_one = trained(alone);
    trained(other);
    EXPECT_EQ(many.encodes_distinct(), batch != 8);
    EXPECT_EQ(many.weighs_draws(), batch == 300 || batch == 0);
    EXPECT_EQ(weights(many, 2), weights(alone, 0));
    EXPECT_EQ(weights(many, 1), weights(other, 0));
    EXPECT_EQ(of_many[2].valid.loss, of_one[0].valid.loss);
    EXPECT_NE(weights(many, 0), weights(many, 2));
  }
}

TEST(CebraFleet, TrainsEveryModeAlsoWithBatchesLargerThanTheRecording) {
  const auto device = device_under_test();
  auto data = track();
  for (auto& set : data.sets)
    for (const auto row : set.rows) set.classes.push_back(row / 7 % 3);
  using enum ContrastivePositive;
  const std::pair<ContrastivePrior, ContrastivePositive> modes[] = {
      {ContrastivePrior::leads, time},         {ContrastivePrior::samples, time_delta},
      {ContrastivePrior::samples, delta},      {ContrastivePrior::samples, same_class},
      {ContrastivePrior::classes, same_class}, {ContrastivePrior::classes, time_delta}};
  for (const auto& [prior, positive] : modes) {
    for (const bool is_hybrid : {false, true}) {
      for (const std::int32_t batch : {6, 32, 300, 0}) {
        if (is_hybrid && (positive == time || positive == same_class || prior == ContrastivePrior::classes)) continue;
        if (batch == 0 && prior == ContrastivePrior::classes) continue;
        SCOPED_TRACE(testing::Message() << "prior " << static_cast<int>(prior) << ", positive "
                                        << static_cast<int>(positive) << ", hybrid " << is_hybrid << ", batch "
                                        << batch);
        auto model = design(5);
        auto steps = plan(2, std::max(batch, 1));
        steps.is_full_batch = batch == 0;
        steps.prior = is_hybrid ? ContrastivePrior::leads : prior;
        steps.positive = positive;
        if (is_hybrid) {
          model.n_features = 5;
          model.n_behaviour_features = 3;
        }
        model.learns_temperature = true;
        auto of = member(5);
        of.delta_sd = 0.1;
        of.temperature = 0.5;
        CebraFleet fleet(*device, model, steps, data, {of});
        EXPECT_EQ(fleet.encodes_distinct(), batch != 6);
        EXPECT_EQ(fleet.weighs_draws(), batch == 300 || batch == 0);
        EXPECT_EQ(fleet.batch(), batch > 0 ? batch : steps.prior == ContrastivePrior::leads ? 116 : 120);
        const auto last = trained(fleet);
        EXPECT_TRUE(std::isfinite(last[0].train.loss) && std::isfinite(last[0].valid.loss));
        EXPECT_EQ(std::isfinite(last[0].train.behaviour_uniformity), is_hybrid);
        EXPECT_NE(last[0].temperature, 0.5);
      }
    }
  }
}

// Each step draws for the next one; a record's validation draws in between, to the same places.
TEST(CebraFleet, StepsAreTheSameHoweverOftenTheyAreRecorded) {
  const auto device = device_under_test();
  const auto data = track(), of_sessions = two_recordings();
  const auto after = [&](const CebraData& from, std::int32_t n_sessions, std::int32_t batch,
                         std::int32_t steps_per_record) {
    auto steps = plan(4, batch);
    steps.steps_per_record = steps_per_record;
    steps.kept_valid_batches = 3;
    steps.n_sessions = n_sessions;
    CebraFleet fleet(*device, design(5), steps, from,
                     n_sessions > 1 ? sessions_of_run(3) : std::vector{member(1), member(2)});
    trained(fleet);
    return weights(fleet, 1);
  };
  for (const std::int32_t batch : {6, 32, 300}) {
    SCOPED_TRACE(testing::Message() << "batch " << batch);
    const auto want = after(data, 1, batch, 4);
    for (const std::int32_t steps_per_record : {1, 3}) EXPECT_EQ(after(data, 1, batch, steps_per_record), want);
  }
  EXPECT_EQ(after(of_sessions, 2, 8, 1), after(of_sessions, 2, 8, 4));
}

// Of one step, which sees nothing but what is drawn.
double first_loss(Device& device, const CebraData& data, std::int32_t batch) {
  auto steps = plan(1, batch);
  steps.positive = ContrastivePositive::same_class;
  CebraFleet fleet(device, design(5), steps, data, {member(6), member(6, 1)});
  EXPECT_EQ(fleet.encodes_distinct(), batch != 12);
  EXPECT_EQ(fleet.weighs_draws(), batch == 400);
  return trained(fleet)[0].train.loss;
}

TEST(CebraFleet, TrainingWindowsMoveInsideTheirSegment) {
  const auto device = device_under_test();
  const auto data = track();
  for (const std::int32_t batch : {12, 20, 400}) {
    SCOPED_TRACE(testing::Message() << "batch " << batch);
    // The last sample of its segment has the window of bins 75 to 79, not 77 to 81; the other one, inside, that of 38
    // to 42. A second member draws from all bins, so that batches of several sizes are encoded in every way.
    auto last_bin = data;
    for (auto* set : {&last_bin.sets[0], &last_bin.sets[2]}) {
      set->rows = {79, 79, 79, 40};
      set->segments.assign(4, 0);
      set->labels.assign(12, 0.5f);
    }
    for (auto& set : last_bin.sets) set.classes.assign(set.rows.size(), 0);
    const double want = first_loss(*device, last_bin, batch);
    const auto changes = [&](std::int32_t bin) {
      auto changed = last_bin;
      changed.inputs[to_size(bin) * kNeurons] += 1;
      return first_loss(*device, changed, batch) != want;
    };
    for (const std::int32_t bin : {37, 43, 73, 74, 80, 81}) EXPECT_FALSE(changes(bin)) << bin;
    for (const std::int32_t bin : {75, 76, 77, 78, 79, 38, 42}) EXPECT_TRUE(changes(bin)) << bin;
  }
}

TEST(CebraFleet, TrainingWindowsAreThePublishedClampedOnes) {
  const auto device = device_under_test();
  CebraData data = track(300);
  std::fill(data.segments.begin(), data.segments.end(), 0);
  data.sets = {{}};
  auto& set = data.sets[0];
  set.labels.assign(12, 0.5f);
  set.segments.assign(4, 0);
  set.classes.assign(4, 0);
  auto steps = plan(1, 20);
  steps.positive = ContrastivePositive::same_class;
  auto alone = member(6);
  alone.valid_set = -1;
  const auto loss = [&](const CebraData& of) {
    CebraFleet fleet(*device, design(10), steps, of, {alone});
    return trained(fleet)[0].train.loss;
  };
  for (const auto& [row, first] :
       {std::pair(0, 0), {3, 0}, {5, 0}, {6, 1}, {294, 289}, {295, 290}, {296, 290}, {299, 290}}) {
    SCOPED_TRACE(testing::Message() << "row " << row);
    set.rows = {row, row, 150,
                150};  // two windows, or all embeddings would be alike and the loss ln 20 whatever they see
    const double want = loss(data);
    for (const std::int32_t bin : {first - 1, first, first + 4, first + 9, first + 10}) {
      if (bin < 0 || bin >= 300) continue;
      auto changed = data;
      changed.inputs[to_size(bin) * kNeurons] += 1;
      EXPECT_EQ(loss(changed) != want, bin >= first && bin < first + 10) << bin;
    }
  }
}

// A set is a list of bins, not a stretch of time: what is encoded once lies elsewhere for every set.
TEST(CebraFleet, WeighingEachSampleIsComparingEveryDraw) {
  const auto device = device_under_test();
  auto data = track();
  auto& set = data.sets[0];
  ContrastiveSet some;
  for (std::size_t i = 0; i < set.rows.size(); ++i) {
    if (i % 40 < 12) continue;  // gaps longer and shorter than a window
    if (i % 40 == 20) continue;
    some.rows.push_back(set.rows[i]);
    some.segments.push_back(set.segments[i]);
    some.labels.insert(some.labels.end(), set.labels.begin() + static_cast<std::ptrdiff_t>(3 * i),
                       set.labels.begin() + static_cast<std::ptrdiff_t>(3 * i + 3));
  }
  set = some;
  auto steps = plan(1, 70);
  steps.valid_batches = 1;
  auto of = member(4);
  of.valid_set = 0;
  CebraFleet once(*device, design(5), steps, data, {of});
  // The same set beside one that has too many samples for it.
  auto many = data;
  many.sets[1].rows.resize(240, 3);
  many.sets[1].segments.resize(240, 0);
  many.sets[1].labels.resize(720, 0.5f);
  CebraFleet each(*device, design(5), steps, many, {of, member(5, 1)});
  EXPECT_TRUE(once.weighs_draws());
  EXPECT_FALSE(each.weighs_draws());
  const auto of_once = trained(once), of_each = trained(each);
  EXPECT_NEAR(of_once[0].train.loss, of_each[0].train.loss, 1e-5);
  EXPECT_NEAR(of_once[0].valid.loss, of_each[0].valid.loss, 1e-5);
  const auto a = weights(once, 0), b = weights(each, 0);
  for (std::size_t i = 0; i < a.size(); ++i) EXPECT_NEAR(a[i], b[i], 2e-3) << i;
}

TEST(CebraFleet, TwoRecordingsLearnOneSpace) {
  const auto device = device_under_test();
  const auto data = two_recordings();
  auto steps = plan(200);
  steps.n_sessions = 2;
  CebraFleet fleet(*device, design(), steps, data, sessions_of_run(1));
  EXPECT_EQ(fleet.batch(), 64);
  const auto last = trained(fleet);
  ASSERT_EQ(last.size(), 1u);
  EXPECT_TRUE(last[0].valid.loss < std::log(64.0) - 0.3) << last[0].valid.loss;
  // Bins of like label lie alike in both: the mean cosine of a bin with itself in the other recording, which learned by
  // itself they would not.
  auto own = design();
  own.n_neurons = kNeurons / 2;
  CebraData second{.n_rows = 320, .inputs = {}, .segments = std::vector<std::int32_t>(320, 0), .sets = {}};
  for (std::size_t row = 640; row < 960; ++row)
    for (std::size_t neuron = 0; neuron < kNeurons / 2; ++neuron)
      second.inputs.push_back(data.inputs[row * kNeurons + neuron]);
  const auto a = embed_recording(*device, design(), fleet.parameters(0), track(640)),
             b = embed_recording(*device, own, fleet.parameters(1), second);
  double cosine = 0;
  for (std::size_t i = 0; i < b.size(); ++i) cosine += double{a[i]} * b[i] / 320;
  EXPECT_TRUE(cosine > 0.5) << cosine;
}

TEST(CebraFleet, ARunOfTwoRecordingsIsTheSameAloneAndAmongOthers) {
  const auto device = device_under_test();
  const auto data = two_recordings();
  auto steps = plan(3);
  steps.n_sessions = 2;
  auto warm = design(5);
  warm.learns_temperature = true;
  auto members = sessions_of_run(4);
  CebraFleet alone(*device, warm, steps, data, members);
  members = sessions_of_run(9);
  for (const auto& of : sessions_of_run(4)) members.push_back(of);
  CebraFleet many(*device, warm, steps, data, members);
  const auto of_one = trained(alone), of_many = trained(many);
  EXPECT_EQ(of_one[0].valid.loss, of_many[1].valid.loss);
  EXPECT_NE(of_one[0].temperature, 1);
  const auto temperature = [&](std::int32_t session) {
    return alone.parameters(session).at(Cebra<float>::kTemperature).values[0];
  };
  EXPECT_NE(temperature(0), 0);
  EXPECT_EQ(temperature(1), temperature(0));
  for (const std::int32_t session : {0, 1}) EXPECT_EQ(weights(alone, session), weights(many, 2 + session));
  EXPECT_NE(weights(many, 0), weights(many, 2));
}

TEST(CebraFleet, AdaptingMovesTheFirstLayerAlone) {
  const auto device = device_under_test();
  const auto data = track();
  CebraFleet before(*device, design(5), plan(3), data, {member(1)});
  trained(before);
  auto steps = plan(4);
  steps.trunk = before.parameters(0);
  steps.adam.coupled_decay = steps.adam.decoupled_decay = 0.1;
  CebraFleet fleet(*device, design(5), steps, data, {member(2)});
  trained(fleet);
  const auto from = before.parameters(0), to = fleet.parameters(0);
  std::size_t n_same = 0;
  for (const auto& [name, tensor] : from) {
    n_same += tensor.values == to.at(name).values;
    EXPECT_EQ(tensor.values == to.at(name).values, name.find("conv0") == std::string::npos) << name;
  }
  EXPECT_EQ(n_same, from.size() - 2);
  CebraFleet untrained(*device, design(5), plan(1), data, {member(2)});
  const auto first = from.begin()->first;
  trained(untrained);
  EXPECT_NE(untrained.parameters(0).at(first).values, to.at(first).values);
}

TEST(CebraFleet, GoodnessOfFitIsInBitsAboveAnEmbeddingThatTellsNothing) {
  EXPECT_NEAR(goodness_of_fit_bits(std::log(512.0), 512), 0, 1e-12);
  EXPECT_NEAR(goodness_of_fit_bits(std::log(512.0) - std::log(4.0), 512), 2, 1e-12);
}

TEST(CebraFleet, DoesNotDependOnSetsThatNoMemberUses) {
  const auto device = device_under_test();
  auto data = track();
  const auto steps = plan(3, 50);
  const auto run = [&] {
    CebraFleet fleet(*device, design(5), steps, data, {member(4)});
    trained(fleet);
    return weights(fleet, 0);
  };
  const auto before = run();
  ContrastiveSet all = data.sets[0];  // as many samples as would not be encoded one by one
  all.rows.insert(all.rows.end(), data.sets[2].rows.begin(), data.sets[2].rows.end());
  all.segments.insert(all.segments.end(), data.sets[2].segments.begin(), data.sets[2].segments.end());
  all.labels.insert(all.labels.end(), data.sets[2].labels.begin(), data.sets[2].labels.end());
  data.sets.push_back(all);
  EXPECT_EQ(run(), before);
}

TEST(CebraFleet, EmbeddingARecordingInBatchesIsEmbeddingItWhole) {
  const auto device = device_under_test();
  const auto data = track(100);
  const auto model = design(10);
  Cebra<float> first(*device, model, 1, {.batch = 1}, false, {1});
  first.initialise(0, 3, Initialisation::torch_linear);
  const auto tensors = first.parameters().get(0);
  const auto whole = embed_recording(*device, model, tensors, data, 102),
             in_batches = embed_recording(*device, model, tensors, data, 33);
  ASSERT_EQ(whole.size(), 300u);
  for (std::size_t i = 0; i < whole.size(); ++i) EXPECT_TRUE(std::fabs(whole[i] - in_batches[i]) <= 1e-6f) << i;
  for (std::size_t row = 0; row < 100; ++row)
    EXPECT_NEAR(std::hypot(whole[3 * row], whole[3 * row + 1], whole[3 * row + 2]), 1, 1e-5);

  // Nothing crosses the segments' border at row 50, and inside, row t sees rows t - 5 to t + 4.
  auto changed = data;
  for (std::size_t i = 0; i < 50 * kNeurons; ++i) changed.inputs[i] += 1;
  const auto other = embed_recording(*device, model, tensors, changed, 102);
  for (std::size_t i = 0; i < 300; ++i) EXPECT_EQ(whole[i] == other[i], i >= 150) << i;
  changed = data;
  changed.inputs[70 * kNeurons] += 1;
  const auto near = embed_recording(*device, model, tensors, changed, 102);
  for (std::size_t row = 0; row < 100; ++row) EXPECT_EQ(whole[3 * row] != near[3 * row], row >= 66 && row <= 75) << row;
}

TEST(CebraFleet, ARowIsEmbeddedFromItsWindowAndAtTheEndsFromRepeatedBins) {
  const auto device = device_under_test();
  constexpr std::int32_t kRows = 40, kWindow = 10, kLeft = 5;
  CebraData data = track(kRows);
  std::fill(data.segments.begin(), data.segments.end(), 0);
  // The encoder on windows that are cut here: of three rows, one in the place of each list.
  constexpr std::int32_t rows[] = {0, kRows / 2, kRows - 1};
  Cebra<float> encoder(*device, design(kWindow), 1, {.batch = 1}, false, {1});
  ASSERT_EQ(encoder.n_rows(), 3);
  encoder.initialise(0, 3, Initialisation::torch_linear);
  auto x = encoder.x().memory().download();
  for (std::int32_t i = 0; i < 3; ++i)
    for (std::int32_t bin = 0; bin < kWindow; ++bin) {
      const std::int32_t from = std::clamp(rows[i] - kLeft + bin, 0, kRows - 1);
      std::copy_n(data.inputs.begin() + from * kNeurons, kNeurons,
                  x.begin() + (bin * 3 + i) * encoder.x().rows().row_stride);
    }
  encoder.x().memory().upload(x);
  encoder.embed({});
  const auto embedding = embed_recording(*device, design(kWindow), encoder.parameters().get(0), data);
  const Rows<const float> want = encoder.embedding();
  std::vector<float> values(to_size(3 * want.row_stride));
  device->copy_out(values.data(), want.data, values.size() * sizeof(float));
  for (std::int32_t i = 0; i < 3; ++i)
    for (std::int32_t feature = 0; feature < 3; ++feature)
      EXPECT_NEAR(embedding[to_size(rows[i] * 3 + feature)], values[to_size(i * want.row_stride + feature)], 1e-6)
          << "row " << rows[i];
}

TEST(CebraFleet, RefusesImpossiblePlans) {
  const auto device = device_under_test();
  const auto data = track();
  const auto refused = [&](const CebraDesign& model, const CebraPlan& steps, const CebraMemberPlan& of) {
    EXPECT_THROW(CebraFleet(*device, model, steps, data, {of}), std::invalid_argument);
  };
  refused(design(100), plan(1), member(1));
  refused(design(), plan(0), member(1));
  refused(design(), plan(1), member(1, 3));
  auto steps = plan(1);
  steps.samples.time_offset = 200;
  refused(design(), steps, member(1));
  steps = plan(1);
  steps.positive = ContrastivePositive::time;
  refused(design(), steps, member(1));
  steps = plan(1);
  steps.samples.n_labels = 0;
  refused(design(), steps, member(1));  // positives by labels, of which there are none
  steps = plan(1);
  steps.positive = ContrastivePositive::delta;
  refused(design(), steps, member(1));  // without a delta_sd
  steps = plan(1);
  steps.positive = ContrastivePositive::same_class;
  refused(design(), steps, member(1));  // without classes
  auto hybrid = design();
  hybrid.n_behaviour_features = 3;
  refused(hybrid, plan(1), member(1));
  steps = plan(1);
  steps.n_sessions = 2;
  refused(design(), steps, member(1));  // one of two sessions
  steps.n_sessions = 1;
  EXPECT_THROW(CebraFleet(*device, design(), plan(1), data, {}), std::invalid_argument);
}

}  // namespace
}  // namespace idem
