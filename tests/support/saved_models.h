// saved_models.h - small models of every kind as training leaves them, with weights that no training made.
#pragma once

#include <cmath>
#include <cstring>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include <zlib.h>

#include "host/families/cebra/cebra_family.h"
#include "host/families/gcl/gcl_family.h"
#include "host/families/model_file.h"
#include "host/families/vae/saved_design.h"

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

// A file that was changed on purpose, and not by an accident that its checksum would show.
inline void put_checksum(std::string& bytes) {
  const std::string_view body(bytes.data(), bytes.size() - 4);
  const auto checksum = static_cast<std::uint32_t>(crc32_z(0, reinterpret_cast<const Bytef*>(body.data()), body.size()));
  std::memcpy(bytes.data() + body.size(), &checksum, sizeof(checksum));
}

inline std::string header_of(const std::string& bytes) {
  std::uint32_t size;
  std::memcpy(&size, bytes.data() + 12, sizeof(size));
  return bytes.substr(16, size);
}
inline std::string with_header(const std::string& bytes, const std::string& header) {
  const auto size = static_cast<std::uint32_t>(header.size());
  std::string changed = bytes.substr(0, 12) + std::string(reinterpret_cast<const char*>(&size), sizeof(size)) + header +
                        bytes.substr(16 + header_of(bytes).size());
  put_checksum(changed);
  return changed;
}

}  // namespace idem::saved_models
