#include "host/study/model_match.h"

#include "host/families/vae/saved_design.h"

#include <gtest/gtest.h>

#include <nlohmann/json.hpp>
#include <numbers>

#include "host/support/errors.h"
#include "host/support/files.h"
#include "host/formats/npz.h"
#include "tests/support/error_message.h"
#include "tests/support/program.h"

namespace idem {
namespace {

namespace fs = std::filesystem;
using nlohmann::json;

Recording recording_of(const std::vector<std::int64_t>& ids, bool has_unit_ids = true) {
  Recording recording;
  recording.subject = "rat";
  recording.n_times = 2;
  recording.n_neurons = static_cast<std::int32_t>(ids.size());
  recording.bin_width_s = 0.025;
  for (int time = 0; time < 2; ++time)
    for (const auto id : ids) recording.counts.push_back(static_cast<float>(10 * time + id));
  recording.time_s = {0, 0.025};
  recording.segments = {{0, 2}};
  recording.neuron_ids = ids;
  recording.has_unit_ids = has_unit_ids;
  recording.labels = {
      {.name = "x", .kind = LabelKind::continuous, .unit = "cm", .period = 0, .categories = {}, .values = {100, 250}},
      {.name = "heading",
       .kind = LabelKind::circular,
       .unit = "deg",
       .period = 360,
       .categories = {},
       .values = {0, 90}}};
  return recording;
}

SavedModel model_of(const Recording& recording) {
  SavedModel model;
  ModelDesign design;
  design.n_neurons = recording.n_neurons;
  design.prior_kind = PriorKind::separate_mlps;
  model.design = std::make_shared<VaeDesign>(design);
  model.preparation.labels = {"x", "heading"};
  remember_recording(model, recording);
  return model;
}

TEST(ModelMatch, TheSameUnitsAreBroughtIntoOrderAndOthersRefused) {
  const SavedModel model = model_of(recording_of({7, 3, 5}));
  std::vector<std::string> said;
  EXPECT_EQ(matched_to_model(model, "m", recording_of({7, 3, 5}), said).counts, recording_of({7, 3, 5}).counts);
  EXPECT_TRUE(said.empty());
  const Recording ordered = matched_to_model(model, "m", recording_of({3, 5, 7}), said);
  EXPECT_EQ(ordered.counts, (std::vector<float>{7, 3, 5, 17, 13, 15}));
  EXPECT_EQ(ordered.neuron_ids, (std::vector<std::int64_t>{7, 3, 5}));
  EXPECT_EQ(said, (std::vector<std::string>{"the neurons of rat brought into the order of the model's"}));
  EXPECT_MESSAGE(DataError, matched_to_model(model, "m", recording_of({3, 5, 8}), said),
                 "rat: its units are not those that m was trained on (missing: 7; extra: 8)");
  EXPECT_MESSAGE(DataError, matched_to_model(model, "m", recording_of({3, 5}), said), "(missing: 7; extra: none)");
  EXPECT_MESSAGE(DataError, matched_to_model(model, "m", recording_of({3, 5, 7, 9}), said),
                 "(missing: none; extra: 9)");
  // Places in an array say nothing.
  said.clear();
  EXPECT_EQ(matched_to_model(model, "m", recording_of({0, 1, 2}, false), said).counts, recording_of({0, 1, 2}).counts);
  EXPECT_EQ(said,
            (std::vector<std::string>{
                "the counts of rat have no unit ids: their neurons are taken to be the model's, in the same order"}));
  EXPECT_MESSAGE(DataError, matched_to_model(model, "m", recording_of({0, 1}, false), said),
                 "rat: has 2 neurons, m was trained on 3");
}

TEST(ModelMatch, NamesOfATablesColumnsAreUnitIds) {
  const auto named = [](std::vector<std::string> names, const std::vector<std::int64_t>& places) {
    Recording recording = recording_of(places, false);
    recording.unit_names = std::move(names);
    return recording;
  };
  const SavedModel model = model_of(named({"u1", "u2", "u3"}, {1, 2, 3}));
  std::vector<std::string> said;
  // The columns lie elsewhere in this file, and were chosen by name in the model's order.
  const Recording same = named({"u1", "u2", "u3"}, {3, 2, 1});
  EXPECT_EQ(matched_to_model(model, "m", same, said).counts, same.counts);
  EXPECT_TRUE(said.empty());
  EXPECT_EQ(matched_to_model(model, "m", named({"u3", "u1", "u2"}, {3, 1, 2}), said).counts,
            recording_of({1, 2, 3}).counts);
  EXPECT_EQ(said, (std::vector<std::string>{"the neurons of rat brought into the order of the model's"}));
  EXPECT_MESSAGE(DataError, matched_to_model(model, "m", named({"u1", "u2", "u4"}, {1, 2, 3}), said),
                 "(missing: u3; extra: u4)");
}

TEST(ModelMatch, LabelsOfAnotherUnitAreConvertedOrRefused) {
  const SavedModel model = model_of(recording_of({1}));
  std::vector<std::string> said;
  Recording recording = recording_of({1});
  recording.labels[0].unit = "m";
  recording.labels[0].values = {1, 2.5};
  recording.labels[1].unit = "rad";
  recording.labels[1].period = 2 * std::numbers::pi;
  recording.labels[1].values = {0, std::numbers::pi / 2};
  const Recording matched = matched_to_model(model, "m", recording, said);
  EXPECT_EQ(matched.label("x").values, (std::vector<double>{100, 250}));
  EXPECT_EQ(matched.label("x").unit, "cm");
  EXPECT_NEAR(matched.label("heading").values[1], 90, 1e-9);
  EXPECT_EQ(said, (std::vector<std::string>{"label x converted from m to the model's cm",
                                            "label heading converted from rad to the model's deg"}));
  recording.labels[1].period = 4;
  EXPECT_MESSAGE(DataError, matched_to_model(model, "m", recording, said),
                 "label heading is of period 4 rad, m was trained on of period 360 deg");
  recording.labels[0].unit = "pixels";
  EXPECT_MESSAGE(DataError, matched_to_model(model, "m", recording, said),
                 "label x is in pixels, m was trained on in cm");
  recording.labels[0].kind = LabelKind::circular;
  EXPECT_MESSAGE(DataError, matched_to_model(model, "m", recording, said),
                 "label x is circular, m was trained on continuous");
  said.clear();
  recording = recording_of({1});
  recording.labels[0].unit = "";
  EXPECT_EQ(matched_to_model(model, "m", recording, said).label("x").values, recording.label("x").values);
  EXPECT_EQ(said, (std::vector<std::string>{
                      "warning: label x is without a unit, the model's in cm: they are taken to be the same"}));
  // An older file knows neither.
  SavedModel old = model;
  old.neuron_ids.clear();
  old.labels.reset();
  said.clear();
  recording.labels[0].unit = "m";
  EXPECT_EQ(matched_to_model(old, "m", recording, said).label("x").values, recording.label("x").values);
  ASSERT_EQ(said.size(), 1u);
  EXPECT_EQ(said[0].find("warning: m holds no unit ids and no units of labels"), 0u);
}

// Sixty bins of four units, on a clock in seconds.
void write_spikes(const fs::path& path) {
  std::string text = "time_s,unit\n";
  for (int spike = 0; spike < 240; ++spike)
    text +=
        std::to_string(0.00625 * spike) + "," + std::to_string(spike * 7 % 11 % 4 + (spike % 3 == 0 ? 10 : 0)) + "\n";
  write_file_bytes(path, text);
}

TEST(ModelMatch, EveryFamilyKeepsTheUnitsOfItsRecording) {
  const TemporaryFolder folder;
  const Program program(folder);
  write_spikes(folder / "spikes.csv");
  std::vector<double> position;
  for (int bin = 0; bin < 60; ++bin) position.push_back(bin * 37 % 100);
  write_npy(folder / "x.npy", NumpyArray::of<double>({60}, position));
  const auto recording = [](const std::string& subject, const std::vector<int>& units) {
    return json{{"file", "spikes.csv"},
                {"spikes", {{"units", units}}},
                {"bin_width_ms", 25},
                {"subject", subject},
                {"labels", {{{"name", "x"}, {"file", "x.npy"}, {"unit", "cm"}}}}};
  };
  const json study = {{"recording", {recording("one", {0, 1, 2}), recording("two", {10, 11, 12})}},
                      {"windows", {{"left", 0}, {"right", 1}}},
                      {"models",
                       {{{"name", "vae"}},
                        {{"name", "joint"}, {"joint", true}},
                        {{"name", "cebra"}, {"preset", "cebra-behavior"}, {"contrastive", {{"steps", 2}}}},
                        {{"name", "gcl"}, {"objective", {{"name", "gcl"}}}}}},
                      {"training", {{"epochs", 1}}}};
  write_file_bytes(folder / "study.json", study.dump());
  const auto run = program.run({"run", "study.json", "--out", "out", "--device", "cpu", "--threads", "1", "--quiet"});
  ASSERT_EQ(run.code, 0) << run.errors;
  const auto transform = [&](const std::string& model, const std::vector<int>& units, const std::string& unit = "cm") {
    json section = recording("new", units);
    section["labels"][0]["unit"] = unit;
    write_file_bytes(folder / "new.json", json{{"recording", section}}.dump());
    return program.run({"transform", "out/runs/" + model + "-s1-f0/model.safetensors", "new.json", "--out", "z.npz",
                        "--device", "cpu"});
  };
  for (const std::string family : {"vae", "joint", "cebra", "gcl"}) {
    EXPECT_EQ(transform("one-" + family, {0, 1, 2}).code, 0) << family;
    const auto latents = read_npz(folder / "z.npz").at("encoder_mean").as<float>();
    const auto ordered = transform("one-" + family, {2, 0, 1});
    EXPECT_NE(ordered.output.find("brought into the order of the model's"), std::string::npos)
        << family << ordered.errors;
    EXPECT_EQ(read_npz(folder / "z.npz").at("encoder_mean").as<float>(), latents) << family;
    const auto others = transform("one-" + family, {10, 11, 12});
    EXPECT_EQ(others.code, 3) << family;
    EXPECT_NE(others.errors.find("(missing: 0, 1, 2; extra: 10, 11, 12)"), std::string::npos)
        << family << others.errors;
    EXPECT_EQ(transform("two-" + family, {12, 11, 10}).code, 0) << family;  // each animal has its own
  }
  EXPECT_NE(transform("one-vae", {0, 1, 2}, "m").output.find("label x converted from m to the model's cm"),
            std::string::npos);
  EXPECT_EQ(transform("one-vae", {0, 1, 2}, "pixels").code, 3);
  EXPECT_EQ(transform("one-cebra", {0, 1, 2}, "pixels").code, 0);  // sees no label here
}

}  // namespace
}  // namespace idem
