#include "host/families/model_file.h"

#include <gtest/gtest.h>

#include "host/support/errors.h"
#include "host/support/files.h"
#include "tests/support/error_message.h"
#include "tests/support/saved_models.h"
#include "tests/support/temporary_folder.h"

namespace idem {
namespace {

using saved_models::put_checksum;

SavedModel example() { return saved_models::of_mlps(); }

std::string message_for(const std::string& bytes) {
  TemporaryFolder folder;
  const auto path = folder / "model.idem";
  write_file_bytes(path, bytes);
  try {
    read_model(path);
  } catch (const DataError& error) {
    return std::string(error.what()).substr(path.string().size());
  }
  return "read";
}

std::string example_bytes() {
  TemporaryFolder folder;
  write_model(folder / "model.idem", example());
  return read_file_bytes(folder / "model.idem");
}

TEST(ModelFile, WhatIsWrittenIsReadBackExactly) {
  TemporaryFolder folder;
  const SavedModel written = example();
  write_model(folder / "model.idem", written);
  const SavedModel read = read_model(folder / "model.idem");
  EXPECT_EQ(read.design->to_json(), written.design->to_json());
  EXPECT_EQ(saved_models::vae_design(read).alphas, saved_models::vae_design(written).alphas);
  EXPECT_EQ(saved_models::vae_design(read).objective, Objective::ci_ivae_paper);
  EXPECT_EQ(read.preparation.to_json(), written.preparation.to_json());
  EXPECT_EQ(read.scaling.scale, written.scaling.scale);
  EXPECT_EQ(read.provenance, written.provenance);
  ASSERT_EQ(read.parameters.size(), written.parameters.size());
  EXPECT_EQ(read.parameters.at("encoder.trunk.0.weight").shape, (std::vector<std::int64_t>{7, 3}));
  for (const auto& [name, tensor] : written.parameters) {
    EXPECT_EQ(read.parameters.at(name).shape, tensor.shape) << name;
    EXPECT_EQ(read.parameters.at(name).values, tensor.values) << name;
  }
}

TEST(ModelFile, AFlowAndItsPriorAreReadBackAsTheyWereWritten) {
  TemporaryFolder folder;
  const SavedModel written = saved_models::of_a_flow();
  write_model(folder / "model.idem", written);
  const SavedModel read = read_model(folder / "model.idem");
  EXPECT_EQ(saved_models::vae_design(read).encoder_kind, EncoderKind::separate_mlps);
  EXPECT_EQ(saved_models::vae_design(read).encoder.widths, (std::vector<std::int32_t>{7, 5}));
  EXPECT_EQ(saved_models::vae_design(read).prior_kind, PriorKind::embedding);
  EXPECT_EQ(saved_models::vae_design(read).decoder_kind, DecoderKind::gin);
  EXPECT_EQ(saved_models::vae_design(read).flow.width, 7);
  EXPECT_TRUE(saved_models::vae_design(read).flow.tie_couplings);
  EXPECT_EQ(saved_models::vae_design(read).flow.permutations, saved_models::vae_design(written).flow.permutations);
  EXPECT_TRUE(saved_models::vae_design(read).decodes_window);
  EXPECT_FALSE(saved_models::vae_design(read).mean_over_window);
  EXPECT_EQ(read.preparation.target, TargetKind::window);
}

TEST(ModelFile, AnMlpWhoseDecoderExplainsAWindowIsReadBackAsItWasWritten) {
  TemporaryFolder folder;
  const SavedModel written = saved_models::changed(example(), [](ModelDesign& design) {
    design.decodes_window = true;
    design.window = 10;
  });
  write_model(folder / "model.idem", written);
  const SavedModel read = read_model(folder / "model.idem");
  EXPECT_EQ(saved_models::vae_design(read).window, 10);
  EXPECT_EQ(saved_models::vae_design(read).encoder_window(), 1);
  EXPECT_EQ(read.design->to_json(), written.design->to_json());
}

TEST(ModelFile, ATemporalConvolutionIsReadBackAsItWasWritten) {
  TemporaryFolder folder;
  const SavedModel written = saved_models::of_a_temporal_convolution();
  write_model(folder / "model.idem", written);
  const SavedModel read = read_model(folder / "model.idem");
  EXPECT_EQ(saved_models::vae_design(read).encoder_kind, EncoderKind::temporal_convolution);
  EXPECT_EQ(saved_models::vae_design(read).window, 7);
  EXPECT_EQ(saved_models::vae_design(read).channels, 6);
  EXPECT_EQ(read.design->to_json(), written.design->to_json());
  EXPECT_TRUE(read.preparation.windowed_input);
  EXPECT_EQ(read.parameters.at("encoder.mean.conv0.weight").shape, (std::vector<std::int64_t>{6, 3, 2}));
}

TEST(ModelFile, ATemporalConvolutionWithoutItsWindowIsRefused) {
  TemporaryFolder folder;
  write_model(folder / "model.idem", saved_models::of_a_temporal_convolution());
  std::string bytes = read_file_bytes(folder / "model.idem");
  const auto at = bytes.find(R"(,"window":7)");
  ASSERT_NE(at, std::string::npos);
  bytes.replace(at, 11, std::string(11, ' '));
  put_checksum(bytes);
  const std::string message = message_for(bytes);
  EXPECT_NE(message.find("cannot be understood"), std::string::npos) << message;
  EXPECT_NE(message.find("design.encoder.window is missing"), std::string::npos) << message;
}

// Files written before there was a choice of encoder name neither its kind nor what it sees.
TEST(ModelFile, AnOlderFileIsThatOfAnMlp) {
  std::string bytes = example_bytes();
  for (const std::string newer : {R"("kind":"mlp",)", R"("input":"smoothed",)"}) {
    const auto at = bytes.find(newer);
    ASSERT_NE(at, std::string::npos) << newer;
    bytes.replace(at, newer.size(), std::string(newer.size(), ' '));
  }
  put_checksum(bytes);
  TemporaryFolder folder;
  write_file_bytes(folder / "model.idem", bytes);
  const SavedModel read = read_model(folder / "model.idem");
  EXPECT_EQ(read.design->to_json(), example().design->to_json());
  EXPECT_EQ(read.preparation.to_json(), example().preparation.to_json());
}

TEST(ModelFile, UnitIdsAndLabelsOfTheRecordingAreOptional) {
  TemporaryFolder folder;
  SavedModel written = example();
  EXPECT_TRUE(written.neuron_ids.empty());
  write_model(folder / "model.idem", written);
  EXPECT_TRUE(read_model(folder / "model.idem").neuron_ids.empty());
  EXPECT_FALSE(read_model(folder / "model.idem").labels);
  for (std::int32_t neuron = 0; neuron < written.design->n_neurons(); ++neuron) written.neuron_ids.push_back(100 - neuron);
  written.labels = {{{.name = "heading", .kind = LabelKind::circular, .unit = "deg", .period = 360}}};
  write_model(folder / "model.idem", written);
  const SavedModel read = read_model(folder / "model.idem");
  EXPECT_EQ(read.neuron_ids, written.neuron_ids);
  ASSERT_TRUE(read.labels && read.labels->size() == 1);
  EXPECT_EQ(read.labels->front().kind, LabelKind::circular);
  EXPECT_EQ(read.labels->front().unit, "deg");
  EXPECT_EQ(read.labels->front().period, 360);
  EXPECT_EQ(read_file_bytes(folder / "model.idem")[8], 1);  // programs of version 1 read it
  written.neuron_ids.pop_back();
  write_model(folder / "model.idem", written);
  EXPECT_MESSAGE(DataError, read_model(folder / "model.idem"), "neuron_ids has not one id for every neuron");
}

TEST(ModelFile, TheSameModelGivesTheSameBytes) { EXPECT_EQ(example_bytes(), example_bytes()); }

TEST(ModelFile, AFileCutShortAnywhereIsRefused) {
  const std::string bytes = example_bytes();
  for (std::size_t size = 0; size < bytes.size(); size += size < 24 ? 1 : 37) {
    const std::string message = message_for(bytes.substr(0, size));
    EXPECT_NE(message.find(size == 0 ? "is not a model" : "cut short"), std::string::npos) << size << message;
  }
}

TEST(ModelFile, AFlippedBitAnywhereIsNoticed) {
  const std::string bytes = example_bytes();
  for (std::size_t i = 0; i < bytes.size(); i += 11) {
    std::string damaged = bytes;
    damaged[i] = static_cast<char>(damaged[i] ^ 4);
    EXPECT_NE(message_for(damaged), "read") << i;
  }
}

TEST(ModelFile, AnotherKindOfFileAndANewerVersionAreNamed) {
  EXPECT_EQ(message_for(std::string(100, 'x')), ": is not a model of idem (model.idem of a run's folder)");
  std::string newer = example_bytes();
  newer[8] = 3;
  EXPECT_EQ(message_for(newer), ": has format version 3, this program reads up to 2; use a newer idem");
}

TEST(ModelFile, ACebraModelComesBackAsItWasInAVersionThatOlderProgramsRefuse) {
  TemporaryFolder folder;
  const SavedModel written = saved_models::of_cebra();
  const auto path = folder / "model.idem";
  write_model(path, written);
  EXPECT_EQ(read_file_bytes(path)[8], 2);
  const SavedModel read = read_model(path);
  ASSERT_EQ(read.design->family().name(), "cebra");
  const auto as_tuple = [](const CebraDesign& d) {
    return std::tuple(d.n_neurons, d.n_features, d.window, d.width, d.is_normalised, d.similarity, d.learns_temperature, d.smallest_temperature,
                      d.n_behaviour_features);
  };
  EXPECT_EQ(as_tuple(saved_models::cebra_design(read)), as_tuple(saved_models::cebra_design(written)));
  EXPECT_EQ(read.design->n_neurons(), 3);
  write_model(path, example());
  EXPECT_EQ(read_file_bytes(path)[8], 2);
  EXPECT_EQ(read_model(path).design->family().name(), "vae");
}

TEST(ModelFile, AnEncoderThatSeesLabelsComesBackAsOneInAVersionThatOlderProgramsRefuse) {
  TemporaryFolder folder;
  const SavedModel written = saved_models::of_an_encoder_that_sees_labels();
  const auto path = folder / "model.idem";
  write_model(path, written);
  EXPECT_EQ(read_file_bytes(path)[8], 2);
  const SavedModel read = read_model(path);
  EXPECT_TRUE(saved_models::vae_design(read).encoder_sees_labels);
  EXPECT_EQ(read.design->to_json(), written.design->to_json());
  write_model(path, example());
  EXPECT_FALSE(saved_models::vae_design(read_model(path)).encoder_sees_labels);
}

TEST(ModelFile, AModelOfContrastiveLearningComesBackAsItWas) {
  TemporaryFolder folder;
  const SavedModel written = saved_models::of_gcl();
  const auto path = folder / "model.idem";
  write_model(path, written);
  EXPECT_EQ(read_file_bytes(path)[8], 2);
  const SavedModel read = read_model(path);
  ASSERT_EQ(read.design->family().name(), "gcl");
  const auto as_tuple = [](const GclDesign& d) {
    return std::tuple(d.n_neurons, d.n_labels, d.n_latents, d.features.widths, d.features.activation, d.features.slope, d.psi.widths, d.psi.activation,
                      d.psi.slope);
  };
  EXPECT_EQ(as_tuple(saved_models::gcl_design(read)), as_tuple(saved_models::gcl_design(written)));
  EXPECT_EQ(read.design->n_neurons(), 3);
}

TEST(ModelFile, AMissingFileIsADataError) { EXPECT_THROW(read_model("/nonexistent/model.idem"), DataError); }

}  // namespace
}  // namespace idem
