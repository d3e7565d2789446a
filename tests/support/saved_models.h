// saved_models.h - small models of every kind as training leaves them, with weights that no training made.
#pragma once

#include <cmath>
#include <cstdio>
#include <initializer_list>
#include <set>
#include <stdexcept>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include <zlib.h>

#include "host/families/cebra/cebra_family.h"
#include "host/families/gcl/gcl_family.h"
#include "host/families/model_file.h"
#include "host/families/vae/saved_design.h"
#include "host/formats/safetensors.h"

namespace idem::saved_models {

// With a value of its own for every weight of the design; each is exact as a float.
inline SavedModel with_weights(SavedModel model) {
  const ModelPlan plan = model.design->plan();
  model.parameters.clear();
  int n = 0;
  for (const auto& slot : plan.layout.slots()) {
    NamedTensor& tensor = model.parameters[slot.name];
    tensor.shape = slot.shape();
    for (std::int64_t i = 0; i < slot.size(); ++i) tensor.values.push_back((++n % 61 - 30) / 64.0);
  }
  return model;
}

// The designs by family.
inline const ModelDesign& vae_design(const SavedModel& model) {
  return dynamic_cast<const VaeDesign&>(*model.design).design;
}
inline const CebraDesign& cebra_design(const SavedModel& model) {
  return dynamic_cast<const CebraSavedDesign&>(*model.design).design;
}
inline const GclDesign& gcl_design(const SavedModel& model) {
  return dynamic_cast<const GclSavedDesign&>(*model.design).design;
}
// The model with that change of its design, and weights for it.
template <class Change>
SavedModel changed(SavedModel model, const Change& change) {
  ModelDesign design = vae_design(model);
  change(design);
  model.design = std::make_shared<VaeDesign>(design);
  return with_weights(std::move(model));
}

inline SavedModel of_mlps() {
  SavedModel model;
  ModelDesign design;
  design.n_neurons = 3;
  design.n_labels = 2;
  design.encoder = {{7, 5}, Activation::gelu_tanh, 0.2};
  design.prior = {{6}, Activation::tanh, 0.2};
  design.decoder = {{4}, Activation::leaky_relu, 0.1};
  design.observation = Observation::gaussian_learned;
  design.output = OutputMap::exponential;
  design.objective = Objective::ci_ivae_paper;
  design.alphas = {0, 1.0 / 3, 1};
  design.keep_constants = false;
  model.design = std::make_shared<VaeDesign>(design);
  model.preparation.smoothing = SmoothingKind::gaussian;
  model.preparation.sigma_ms = 30;
  model.preparation.smoothing_edges = "reflect";
  model.preparation.labels = {"position", "speed"};
  model.scaling = {{"position", "speed"}, {0.75, 2}, {1.0 / 7, 1}};
  model.bin_width_s = 0.025;
  model.provenance = {{"seed", 18446744073709551615u}, {"subject", "buddy"}, {"shuffled_labels", false}};
  return with_weights(model);
}

inline SavedModel of_a_flow() {
  SavedModel model = of_mlps();
  model.preparation.target = TargetKind::window;
  model.preparation.left = model.preparation.right = 1;
  return changed(model, [](ModelDesign& design) {
    design.encoder_kind = EncoderKind::separate_mlps;
    design.prior_kind = PriorKind::embedding;
    design.decoder_kind = DecoderKind::gin;
    design.flow = {.width = 7, .tie_couplings = true, .permutations = {{2, 0, 5, 1, 4, 3}, {1, 2, 0, 3, 5, 4}}};
    design.objective = Objective::ivae;
    design.alphas = {0};
    design.window = 2;
    design.decodes_window = true;
    design.mean_over_window = false;
  });
}

inline SavedModel of_a_temporal_convolution() {
  SavedModel model = of_mlps();
  model.preparation.windowed_input = true;
  model.preparation.left = 3;
  model.preparation.right = 4;
  return changed(model, [](ModelDesign& design) {
    design.encoder_kind = EncoderKind::temporal_convolution;
    design.window = 7;
    design.channels = 6;
    design.encoder = {{}, Activation::gelu_erf, 0.2};
  });
}

inline SavedModel of_an_encoder_that_sees_labels() {
  SavedModel model = of_mlps();
  return changed(model, [](ModelDesign& design) {
    design.objective = Objective::ivae;
    design.alphas = {0};
    design.encoder_sees_labels = true;
  });
}

inline SavedModel without_labels() {
  SavedModel model = of_mlps();
  model.preparation.labels = {};
  model.scaling = {};
  return changed(model, [](ModelDesign& design) {
    design.prior_kind = PriorKind::global;
    design.n_labels = 0;
  });
}

inline SavedModel of_cebra() {
  SavedModel model = of_mlps();
  model.design = std::make_shared<CebraSavedDesign>(CebraDesign{.n_neurons = 3,
                                                                .n_features = 5,
                                                                .window = 6,
                                                                .width = 8,
                                                                .is_normalised = false,
                                                                .similarity = Similarity::euclidean,
                                                                .learns_temperature = true,
                                                                .smallest_temperature = 0.25,
                                                                .n_behaviour_features = 3});
  model.scaling = {};
  model.preparation.windowed_input = true;
  model.preparation.left = model.preparation.right = 3;
  return with_weights(model);
}

inline SavedModel of_gcl() {
  SavedModel model = of_mlps();
  model.design = std::make_shared<GclSavedDesign>(GclDesign{.n_neurons = 3,
                                                            .n_labels = 2,
                                                            .n_latents = 2,
                                                            .features = {{6, 5}, Activation::tanh, 0.1},
                                                            .psi = {{4}, Activation::relu, 0.3}});
  return with_weights(model);
}

// What read_model compares, of a file that was changed on purpose and not by an accident.
inline std::uint32_t crc32_of(std::initializer_list<std::string_view> parts) {
  uLong checksum = crc32_z(0, nullptr, 0);
  for (const auto part : parts) checksum = crc32_z(checksum, reinterpret_cast<const Bytef*>(part.data()), part.size());
  return static_cast<std::uint32_t>(checksum);
}

// A model file of this header; the container holds the tensors that the header lists, or where it cannot, those given.
inline std::string file_of(const std::string& header, std::string_view values,
                           const std::vector<SafetensorsEntry>& tensors) {
  char checksum[9];
  std::snprintf(checksum, sizeof(checksum), "%08x", crc32_of({values, header}));
  Safetensors file{.metadata = {{"crc32", checksum}, {"idem", header}}, .tensors = {}, .values = values};
  try {
    std::set<std::string> names;
    const auto parsed = nlohmann::json::parse(header);
    for (const auto& entry : parsed.at("tensors")) {
      file.tensors.push_back({entry.at("name"), {}});
      for (const auto& length : entry.at("shape")) {
        if (!length.is_number_unsigned()) throw std::invalid_argument("no length");
        file.tensors.back().shape.push_back(length);
      }
      if (!names.insert(file.tensors.back().name).second) throw std::invalid_argument("twice");
    }
    return safetensors_bytes(file);
  } catch (const std::exception&) {
    file.tensors = tensors;
    return safetensors_bytes(file);
  }
}

inline std::string header_of(const std::string& bytes) { return parse_safetensors(bytes).metadata.at("idem"); }
inline std::string with_header(const std::string& bytes, const std::string& header) {
  const Safetensors file = parse_safetensors(bytes);
  return file_of(header, file.values, file.tensors);
}

// The same model in the container of format version 1 or 2, as programs up to 0.1.0 wrote it.
inline std::string in_old_container(const std::string& bytes, std::uint32_t version = 2) {
  const std::string header = header_of(bytes);
  const auto append = [](std::string& to, std::uint32_t number) {
    to.append(reinterpret_cast<const char*>(&number), sizeof(number));
  };
  std::string old("idem\r\n\x1a\n", 8);
  append(old, version);
  append(old, static_cast<std::uint32_t>(header.size()));
  old.append(header).append(parse_safetensors(bytes).values);
  append(old, crc32_of({old}));
  return old;
}

}  // namespace idem::saved_models
