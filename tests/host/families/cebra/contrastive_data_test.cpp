#include "host/families/cebra/contrastive_data.h"

#include "host/config/study.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <nlohmann/json.hpp>

namespace idem {
namespace {

// Sixteen bins in two segments, of which training has 4 to 8, across the gap before 7, and 12 and 13, beyond bins of
// another part.
ContrastiveData of_edges(const std::string& edges, const std::string& preset) {
  Recording recording;
  recording.subject = "animal";
  recording.n_times = 16;
  recording.n_neurons = 2;
  recording.bin_width_s = 0.025;
  recording.segments = {{0, 7}, {7, 16}};
  recording.counts.assign(32, 1.0f);
  LabelColumn position;
  position.name = "position";
  for (int t = 0; t < 16; ++t) {
    recording.time_s.push_back(t * 0.025);
    position.values.push_back(t * 0.1);
  }
  recording.labels = {position};
  const auto study = resolve_study({{"recording", {{"file", "counts.npz"}}},
                                    {"windows", {{"left", 1}, {"right", 2}, {"edges", edges}}},
                                    {"model", {{"preset", preset}, {"contrastive", {{"time_offset", 1}}}}}},
                                   "study.json");
  ModelConfig model = study.models.front();
  if (model.sees_labels()) model.preparation.labels = {"position"};
  ThreadPool pool(1);
  const Split split{"fold", {4, 5, 6, 7, 8, 12, 13}, {0, 1, 2, 3}, {9, 10, 11, 14, 15}};
  return contrastive_data(model, recording, prepare(recording, model.preparation, {split}, pool));
}

std::int32_t n_leads(const ContrastiveData& of) { return ContrastiveSamples(of.plan.samples, of.data.sets).n_leads(0); }

TEST(ContrastiveData, TimeOffsetsAndLabelChangesCrossWhatTheEdgesSay) {
  for (const char* preset : {"cebra-time", "cebra-behavior"}) {
    EXPECT_EQ(n_leads(of_edges("segment-clamped", preset)), 4) << preset;       // 4-5, 5-6, 7-8, 12-13
    EXPECT_EQ(n_leads(of_edges("whole-session", preset)), 5) << preset;         // and 6-7, over the gap
    EXPECT_EQ(n_leads(of_edges("clamped-concatenated", preset)), 6) << preset;  // and 8-12, over the seam
  }
}

TEST(ContrastiveData, OfShuffledLabelsIsValidatedByTheTrueOnes) {
  for (const char* preset : {"time-delta", "mixed"}) {
    Recording recording;
    recording.subject = "animal";
    recording.n_times = 16;
    recording.n_neurons = 1;
    recording.bin_width_s = 0.025;
    recording.segments = {{0, 16}};
    recording.counts.assign(16, 1.0f);
    LabelColumn position{
        .name = "position", .kind = LabelKind::continuous, .unit = {}, .period = 0, .categories = {}, .values = {}};
    LabelColumn direction{.name = "direction",
                          .kind = LabelKind::categorical,
                          .unit = {},
                          .period = 0,
                          .categories = {"a", "b"},
                          .values = {}};
    for (int t = 0; t < 16; ++t) {
      recording.time_s.push_back(t * 0.025);
      position.values.push_back(t);
      direction.values.push_back(t % 4 < 2);
    }
    recording.labels = {position, direction};
    Recording shuffled = recording;
    for (auto& label : shuffled.labels) std::reverse(label.values.begin(), label.values.end());
    const auto study = resolve_study(
        {{"recording", {{"file", "counts.npz"}}},
         {"windows", {{"left", 0}, {"right", 1}}},
         {"model", {{"preset", "cebra-behavior"}, {"contrastive", {{"time_offset", 1}, {"positives", preset}}}}}},
        "study.json");
    ModelConfig model = study.models.front();
    model.preparation.labels = {"position", "direction"};
    ThreadPool pool(1);
    const Split split{"fold", {0, 1, 2, 3, 4, 5, 6, 7}, {8, 9, 10, 11}, {12, 13, 14, 15}};
    const auto prepared = [&](const Recording& of) { return prepare(of, model.preparation, {split}, pool); };
    const PreparedData truth = prepared(recording), of_shuffled = prepared(shuffled);
    const ContrastiveData control = contrastive_data(model, shuffled, of_shuffled, &truth.data.labels),
                          own = contrastive_data(model, shuffled, of_shuffled),
                          true_to_labels = contrastive_data(model, recording, truth);
    ASSERT_EQ(control.data.sets.size(), 2u);
    EXPECT_EQ(control.data.sets[0].labels, own.data.sets[0].labels) << preset;
    EXPECT_EQ(control.data.sets[0].classes, own.data.sets[0].classes) << preset;
    EXPECT_EQ(control.data.sets[1].labels, true_to_labels.data.sets[1].labels) << preset;
    EXPECT_EQ(control.data.sets[1].classes, true_to_labels.data.sets[1].classes) << preset;
    EXPECT_NE(control.data.sets[1].labels, own.data.sets[1].labels) << preset;
  }
}

TEST(ContrastiveData, CircularLabelsComeLastAsSineAndCosine) {
  Recording recording;
  recording.subject = "animal";
  recording.n_times = 12;
  recording.n_neurons = 1;
  recording.bin_width_s = 0.025;
  recording.segments = {{0, 12}};
  recording.counts.assign(12, 1.0f);
  LabelColumn heading{
      .name = "heading", .kind = LabelKind::circular, .unit = "deg", .period = 360, .categories = {}, .values = {}};
  LabelColumn side{.name = "side",
                   .kind = LabelKind::categorical,
                   .unit = {},
                   .period = 0,
                   .categories = {"left", "right"},
                   .values = {}};
  LabelColumn speed{
      .name = "speed", .kind = LabelKind::continuous, .unit = "m/s", .period = 0, .categories = {}, .values = {}};
  for (int t = 0; t < 12; ++t) {
    recording.time_s.push_back(t * 0.025);
    heading.values.push_back(30 * t);
    side.values.push_back(t % 2);
    speed.values.push_back(0.5 * t);
  }
  recording.labels = {heading, side, speed};
  ModelConfig model = resolve_study({{"recording", {{"file", "counts.npz"}}},
                                     {"model", {{"preset", "cebra-behavior"}, {"contrastive", {{"time_offset", 1}}}}}},
                                    "study.json")
                          .models.front();
  model.preparation.labels = {"heading", "side", "speed"};
  ThreadPool pool(1);
  const Split split{"fold", {0, 1, 2, 3, 4, 5}, {6, 7, 8}, {9, 10, 11}};
  const ContrastiveData data = contrastive_data(model, recording, prepare(recording, model.preparation, {split}, pool));
  EXPECT_EQ(data.plan.samples.n_labels, 5);
  EXPECT_EQ(data.plan.samples.n_circular, 1);
  const std::vector<float>& labels = data.data.sets[0].labels;
  for (int t = 0; t < 6; ++t) {
    const float* row = labels.data() + 5 * t;
    EXPECT_EQ(row[0], 0.5f * static_cast<float>(t));
    EXPECT_EQ(row[1], t % 2 == 0 ? 1.0f : 0.0f);
    EXPECT_EQ(row[2], t % 2 == 0 ? 0.0f : 1.0f);
    EXPECT_NEAR(row[3], std::sin(M_PI * t / 6), 1e-6);
    EXPECT_NEAR(row[4], std::cos(M_PI * t / 6), 1e-6);
  }
}

}  // namespace
}  // namespace idem
