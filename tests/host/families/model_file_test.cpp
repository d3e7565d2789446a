#include "host/families/model_file.h"

#include <gtest/gtest.h>

#include <fstream>

#include "host/support/errors.h"
#include "host/support/files.h"
#include "tests/support/error_message.h"
#include "tests/support/saved_models.h"
#include "tests/support/temporary_folder.h"

namespace idem {
namespace {

SavedModel example() { return saved_models::of_mlps(); }

std::string message_for(const std::string& bytes, const TemporaryFolder& folder) {
  const auto path = folder / "model.safetensors";
  std::ofstream(path, std::ios::binary) << bytes;  // without the wait for the disk
  try {
    read_model(path);
  } catch (const DataError& error) {
    return std::string(error.what()).substr(path.string().size());
  }
  return "read";
}

std::string message_for(const std::string& bytes) { return message_for(bytes, TemporaryFolder()); }

std::string example_bytes() {
  TemporaryFolder folder;
  write_model(folder / "model.safetensors", example());
  return read_file_bytes(folder / "model.safetensors");
}

TEST(ModelFile, WhatIsWrittenIsReadBackExactly) {
  TemporaryFolder folder;
  const SavedModel written = example();
  write_model(folder / "model.safetensors", written);
  const SavedModel read = read_model(folder / "model.safetensors");
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
  write_model(folder / "model.safetensors", written);
  const SavedModel read = read_model(folder / "model.safetensors");
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
  write_model(folder / "model.safetensors", written);
  const SavedModel read = read_model(folder / "model.safetensors");
  EXPECT_EQ(saved_models::vae_design(read).window, 10);
  EXPECT_EQ(saved_models::vae_design(read).encoder_window(), 1);
  EXPECT_EQ(read.design->to_json(), written.design->to_json());
}

TEST(ModelFile, ATemporalConvolutionIsReadBackAsItWasWritten) {
  TemporaryFolder folder;
  const SavedModel written = saved_models::of_a_temporal_convolution();
  write_model(folder / "model.safetensors", written);
  const SavedModel read = read_model(folder / "model.safetensors");
  EXPECT_EQ(saved_models::vae_design(read).encoder_kind, EncoderKind::temporal_convolution);
  EXPECT_EQ(saved_models::vae_design(read).window, 7);
  EXPECT_EQ(saved_models::vae_design(read).channels, 6);
  EXPECT_EQ(read.design->to_json(), written.design->to_json());
  EXPECT_TRUE(read.preparation.windowed_input);
  EXPECT_EQ(read.parameters.at("encoder.mean.conv0.weight").shape, (std::vector<std::int64_t>{6, 3, 2}));
}

TEST(ModelFile, ATemporalConvolutionWithoutItsWindowIsRefused) {
  TemporaryFolder folder;
  write_model(folder / "model.safetensors", saved_models::of_a_temporal_convolution());
  const std::string bytes = read_file_bytes(folder / "model.safetensors");
  std::string header = saved_models::header_of(bytes);
  const auto at = header.find(R"(,"window":7)");
  ASSERT_NE(at, std::string::npos);
  header.erase(at, 11);
  const std::string message = message_for(saved_models::with_header(bytes, header));
  EXPECT_NE(message.find("cannot be understood"), std::string::npos) << message;
  EXPECT_NE(message.find("design.encoder.window is missing"), std::string::npos) << message;
}

// Files written before there was a choice of encoder name neither its kind nor what it sees.
TEST(ModelFile, AnOlderFileIsThatOfAnMlp) {
  std::string header = saved_models::header_of(example_bytes());
  for (const std::string newer : {R"("kind":"mlp",)", R"("input":"smoothed",)"}) {
    const auto at = header.find(newer);
    ASSERT_NE(at, std::string::npos) << newer;
    header.erase(at, newer.size());
  }
  TemporaryFolder folder;
  write_file_bytes(folder / "model.safetensors",
                   saved_models::in_old_container(saved_models::with_header(example_bytes(), header), 1));
  const SavedModel read = read_model(folder / "model.safetensors");
  EXPECT_EQ(read.design->to_json(), example().design->to_json());
  EXPECT_EQ(read.preparation.to_json(), example().preparation.to_json());
}

TEST(ModelFile, UnitIdsAndLabelsOfTheRecordingAreOptional) {
  TemporaryFolder folder;
  SavedModel written = example();
  EXPECT_TRUE(written.neuron_ids.empty());
  write_model(folder / "model.safetensors", written);
  EXPECT_TRUE(read_model(folder / "model.safetensors").neuron_ids.empty());
  EXPECT_FALSE(read_model(folder / "model.safetensors").labels);
  for (std::int32_t neuron = 0; neuron < written.design->n_neurons(); ++neuron)
    written.neuron_ids.push_back(100 - neuron);
  written.labels = {{{.name = "heading", .kind = LabelKind::circular, .unit = "deg", .period = 360}}};
  write_model(folder / "model.safetensors", written);
  const SavedModel read = read_model(folder / "model.safetensors");
  EXPECT_EQ(read.neuron_ids, written.neuron_ids);
  ASSERT_TRUE(read.labels && read.labels->size() == 1);
  EXPECT_EQ(read.labels->front().kind, LabelKind::circular);
  EXPECT_EQ(read.labels->front().unit, "deg");
  EXPECT_EQ(read.labels->front().period, 360);
  written.neuron_ids.pop_back();
  write_model(folder / "model.safetensors", written);
  EXPECT_MESSAGE(DataError, read_model(folder / "model.safetensors"), "neuron_ids has not one id for every neuron");
}

TEST(ModelFile, TheSameModelGivesTheSameBytes) { EXPECT_EQ(example_bytes(), example_bytes()); }

TEST(ModelFile, AFileCutShortAnywhereIsRefused) {
  const TemporaryFolder folder;
  for (const std::string& bytes : {example_bytes(), saved_models::in_old_container(example_bytes())})
    for (std::size_t size = 0; size < bytes.size(); size += size < 24 ? 1 : 37) {
      const std::string message = message_for(bytes.substr(0, size), folder);
      EXPECT_NE(message.find("cut short"), std::string::npos) << size << message;
    }
}

TEST(ModelFile, AFlippedBitAnywhereIsNoticed) {
  const TemporaryFolder folder;
  for (const std::string& bytes : {example_bytes(), saved_models::in_old_container(example_bytes())})
    for (std::size_t i = 0; i < bytes.size(); ++i) {
      std::string damaged = bytes;
      damaged[i] = static_cast<char>(damaged[i] ^ 1 << (i + i / 8) % 8);
      EXPECT_NE(message_for(damaged, folder), "read") << i;
    }
}

// Every bit of what tells where tensors lie.
TEST(ModelFile, AFlippedBitOfTheContainersOwnHeaderIsNoticed) {
  const TemporaryFolder folder;
  const std::string bytes = example_bytes(), text = nlohmann::json(saved_models::header_of(bytes)).dump();
  const std::size_t begin = bytes.find(text), end = begin + text.size(),
                    values = bytes.size() - parse_safetensors(bytes).values.size();
  ASSERT_NE(begin, std::string::npos);
  ASSERT_EQ(bytes[values - 1], ' ');  // there is padding
  for (std::size_t i = 0; i < values; i = i + 1 == begin ? end : i + 1)
    for (int bit = 0; bit < 8; ++bit) {
      std::string damaged = bytes;
      damaged[i] = static_cast<char>(damaged[i] ^ 1 << bit);
      const std::string message = message_for(damaged, folder);
      EXPECT_NE(message, "read") << i << " " << bit;
      EXPECT_EQ(message.find_first_of("\r\n"), std::string::npos) << message;
    }
}

TEST(ModelFile, AnotherKindOfFileAndANewerVersionAreNamed) {
  EXPECT_EQ(message_for(std::string(100, 'x')), ": is not a model of idem (model.safetensors of a run's folder)");
  EXPECT_EQ(message_for(safetensors_bytes({.metadata = {{"format", "pt"}}, .tensors = {}, .values = ""})),
            ": is a safetensors file, but no model of idem (model.safetensors of a run's folder)");
  auto header = nlohmann::json::parse(saved_models::header_of(example_bytes()));
  EXPECT_EQ(header.at("format_version"), 3);
  header["format_version"] = 4;
  EXPECT_EQ(message_for(saved_models::with_header(example_bytes(), header.dump())),
            ": has format version 4, this program reads up to 3; use a newer idem");
  header["format_version"] = 2;  // versions before 3 are of another container
  EXPECT_NE(message_for(saved_models::with_header(example_bytes(), header.dump()))
                .find("cannot be understood (format_version is 2"),
            std::string::npos);
  EXPECT_EQ(message_for(saved_models::in_old_container(example_bytes(), 3)),
            ": has format version 3, of which no model.idem is (up to 2); copy it again");
}

// Programs that save a safetensors file anew may write its header in another order and with metadata of their own.
TEST(ModelFile, TheSameTensorsInAnotherOrderOfTheHeaderAreRead) {
  const std::string bytes = example_bytes();
  const Safetensors file = parse_safetensors(bytes);
  nlohmann::ordered_json header;
  std::uint64_t end = file.values.size();
  for (auto entry = file.tensors.rbegin(); entry != file.tensors.rend(); ++entry) {
    std::uint64_t n_bytes = 4;
    for (const auto length : entry->shape) n_bytes *= static_cast<std::uint64_t>(length);
    header[entry->name] = {{"shape", entry->shape}, {"data_offsets", {end - n_bytes, end}}, {"dtype", "F32"}};
    end -= n_bytes;
  }
  header["__metadata__"] = file.metadata;
  header["__metadata__"]["format"] = "np";
  const std::string text = header.dump(1);
  const std::uint64_t length = text.size();
  EXPECT_EQ(message_for(std::string(reinterpret_cast<const char*>(&length), sizeof(length)) + text +
                        std::string(file.values)),
            "read");
}

TEST(ModelFile, ACebraModelComesBackAsItWas) {
  TemporaryFolder folder;
  const SavedModel written = saved_models::of_cebra();
  const auto path = folder / "model.safetensors";
  write_model(path, written);
  const SavedModel read = read_model(path);
  ASSERT_EQ(read.design->family().name(), "cebra");
  const auto as_tuple = [](const CebraDesign& d) {
    return std::tuple(d.n_neurons, d.n_features, d.window, d.width, d.is_normalised, d.similarity, d.learns_temperature,
                      d.smallest_temperature, d.n_behaviour_features);
  };
  EXPECT_EQ(as_tuple(saved_models::cebra_design(read)), as_tuple(saved_models::cebra_design(written)));
  EXPECT_EQ(read.design->n_neurons(), 3);
  write_model(path, example());
  EXPECT_EQ(read_model(path).design->family().name(), "vae");
}

TEST(ModelFile, AnEncoderThatSeesLabelsComesBackAsOne) {
  TemporaryFolder folder;
  const SavedModel written = saved_models::of_an_encoder_that_sees_labels();
  const auto path = folder / "model.safetensors";
  write_model(path, written);
  const SavedModel read = read_model(path);
  EXPECT_TRUE(saved_models::vae_design(read).encoder_sees_labels);
  EXPECT_EQ(read.design->to_json(), written.design->to_json());
  write_model(path, example());
  EXPECT_FALSE(saved_models::vae_design(read_model(path)).encoder_sees_labels);
}

TEST(ModelFile, AModelOfContrastiveLearningComesBackAsItWas) {
  TemporaryFolder folder;
  const SavedModel written = saved_models::of_gcl();
  const auto path = folder / "model.safetensors";
  write_model(path, written);
  const SavedModel read = read_model(path);
  ASSERT_EQ(read.design->family().name(), "gcl");
  const auto as_tuple = [](const GclDesign& d) {
    return std::tuple(d.n_neurons, d.n_labels, d.n_latents, d.features.widths, d.features.activation, d.features.slope,
                      d.psi.widths, d.psi.activation, d.psi.slope);
  };
  EXPECT_EQ(as_tuple(saved_models::gcl_design(read)), as_tuple(saved_models::gcl_design(written)));
  EXPECT_EQ(read.design->n_neurons(), 3);
}

TEST(ModelFile, AMissingFileIsADataError) { EXPECT_THROW(read_model("/nonexistent/model.safetensors"), DataError); }

}  // namespace
}  // namespace idem
