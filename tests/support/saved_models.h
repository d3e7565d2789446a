// saved_models.h - small models of every kind as training leaves them, with weights that no training made.
#pragma once

#include <cmath>
#include <cstring>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include <zlib.h>

#include "engine/families/cebra/cebra_fleet.h"
#include "engine/families/cebra/embed_recording.h"
#include "engine/families/vae/vae_fleet.h"
#include "engine/families/gcl/gcl_fleet.h"
#include "host/families/model_file.h"

namespace idem::saved_models {

// With a value of its own for every weight of the design; each is exact as a float.
inline SavedModel with_weights(SavedModel model) {
  const ModelPlan plan = model.cebra ? plan_latents(*model.cebra) : model.gcl ? plan_latents(*model.gcl) : plan_latents(model.design);
  model.parameters.clear();
  int n = 0;
  for (const auto& slot : plan.layout.slots()) {
    NamedTensor& tensor = model.parameters[slot.name];
    tensor.shape = slot.shape();
    for (std::int64_t i = 0; i < slot.size(); ++i) tensor.values.push_back((++n % 61 - 30) / 64.0);
  }
  return model;
}

inline SavedModel of_mlps() {
  SavedModel model;
  model.design.n_neurons = 3;
  model.design.n_labels = 2;
  model.design.encoder = {{7, 5}, Activation::gelu_tanh, 0.2};
  model.design.prior = {{6}, Activation::tanh, 0.2};
  model.design.decoder = {{4}, Activation::leaky_relu, 0.1};
  model.design.observation = Observation::gaussian_learned;
  model.design.output = OutputMap::exponential;
  model.design.objective = Objective::ci_ivae_paper;
  model.design.alphas = {0, 1.0 / 3, 1};
  model.design.keep_constants = false;
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
  model.design.encoder_kind = EncoderKind::separate_mlps;
  model.design.prior_kind = PriorKind::embedding;
  model.design.decoder_kind = DecoderKind::gin;
  model.design.flow = {.width = 7, .tie_couplings = true, .permutations = {{2, 0, 5, 1, 4, 3}, {1, 2, 0, 3, 5, 4}}};
  model.design.objective = Objective::ivae;
  model.design.alphas = {0};
  model.design.window = 2;
  model.design.decodes_window = true;
  model.design.mean_over_window = false;
  model.preparation.target = TargetKind::window;
  model.preparation.left = model.preparation.right = 1;
  return with_weights(model);
}

inline SavedModel of_a_temporal_convolution() {
  SavedModel model = of_mlps();
  model.design.encoder_kind = EncoderKind::temporal_convolution;
  model.design.window = 7;
  model.design.channels = 6;
  model.design.encoder = {{}, Activation::gelu_erf, 0.2};
  model.preparation.windowed_input = true;
  model.preparation.left = 3;
  model.preparation.right = 4;
  return with_weights(model);
}

inline SavedModel of_an_encoder_that_sees_labels() {
  SavedModel model = of_mlps();
  model.design.objective = Objective::ivae;
  model.design.alphas = {0};
  model.design.encoder_sees_labels = true;
  return with_weights(model);
}

inline SavedModel without_labels() {
  SavedModel model = of_mlps();
  model.design.prior_kind = PriorKind::global;
  model.design.n_labels = 0;
  model.preparation.labels = {};
  model.scaling = {};
  return with_weights(model);
}

inline SavedModel of_cebra() {
  SavedModel model = of_mlps();
  model.cebra = {.n_neurons = 3,
                 .n_features = 5,
                 .window = 6,
                 .width = 8,
                 .is_normalised = false,
                 .similarity = Similarity::euclidean,
                 .learns_temperature = true,
                 .smallest_temperature = 0.25,
                 .n_behaviour_features = 3};
  model.scaling = {};
  model.preparation.windowed_input = true;
  model.preparation.left = model.preparation.right = 3;
  return with_weights(model);
}

inline SavedModel of_gcl() {
  SavedModel model = of_mlps();
  model.gcl = {.n_neurons = 3, .n_labels = 2, .n_latents = 2, .features = {{6, 5}, Activation::tanh, 0.1}, .psi = {{4}, Activation::relu, 0.3}};
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
