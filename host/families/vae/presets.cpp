// What published programs and models chose.
#include "host/families/vae/model.h"

namespace idem {

using nlohmann::json;

json convention_defaults(const std::string& name) {
  const auto objective = [](double beta, const char* over_neurons, const char* over_latents, bool constants) {
    return json{
        {"objective",
         {{"beta", beta}, {"over_neurons", over_neurons}, {"over_latents", over_latents}, {"constants", constants}}}};
  };
  if (name == "pi-vae" || name == "ci-ivae-simulation") return objective(1, "sum", "sum", false);
  if (name == "ci-ivae-package") return objective(0.01, "mean", "mean", false);
  if (name == "emnist") return objective(0.001, "mean", "sum", false);
  if (name == "abcd") {
    json abcd = objective(0.01, "mean", "mean", false);
    abcd["objective"]["beta_warmup"] = 0.1;
    return abcd;
  }
  return objective(1, "sum", "sum", true);
}

std::optional<json> vae_preset(const std::string& name) {
  if (name == "ivae")
    return json::parse(R"({
      "objective": {"name": "ivae"},
      "encoder": {"kind": "separate-mlps", "sees_labels": true, "widths": [50, 50], "activation": "leaky-relu", "slope": 0.1},
      "prior": {"widths": [50, 50], "activation": "leaky-relu", "slope": 0.1},
      "decoder": {"widths": [50, 50], "activation": "leaky-relu", "slope": 0.1}
    })");
  if (name == "vae") return json{{"objective", {{"name", "encoder-elbo"}}}, {"prior", {{"kind", "standard-normal"}}}};
  if (name != "pi-vae" && name != "pi-vae-without-labels" && name != "conv-pi-vae") return std::nullopt;
  json model = json::parse(R"({
    "convention": "pi-vae",
    "objective": {"name": "ivae", "over_window": "sum"},
    "encoder": {"kind": "separate-mlps", "widths": [60, 60], "activation": "tanh"},
    "prior": {"kind": "shared-mlp", "widths": [20, 20], "activation": "tanh"},
    "decoder": {"kind": "gin"},
    "observation": {"kind": "poisson", "target": "centre-bin"},
    "log_variance": {"bound": "none"},
    "standardise_labels": false,
    "training": {"learning_rate": 0.0005, "epsilon": 1e-7, "clip_norm": 0, "initialisation": "glorot-uniform", "shuffle": false}
  })");
  if (name == "pi-vae-without-labels") model["prior"] = {{"kind", "global"}};
  if (name == "conv-pi-vae") {
    model["encoder"] = {{"kind", "temporal-convolution"}, {"channels", 32}, {"activation", "gelu-tanh"}};
    model["observation"]["target"] = "window";
    model["training"]["learning_rate"] = 0.00025;
  }
  return model;
}

}  // namespace idem
