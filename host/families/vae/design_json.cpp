#include "host/families/vae/design_json.h"

#include <algorithm>
#include <limits>
#include <stdexcept>

#include "host/families/hidden_layers_json.h"
#include "host/support/named.h"

namespace idem {
namespace {

using nlohmann::json;

// The largest sizes that a configuration may ask for (configs/idem.schema.json).
constexpr std::int64_t kMostSamples = 4096, kMostAlphas = 1001;

json encoder_to_json(const ModelDesign& design) {
  json encoder = hidden_to_json(design.encoder);
  encoder["kind"] = to_string(design.encoder_kind);
  if (design.encoder_sees_labels) encoder["sees_labels"] = true;
  if (design.window > 1) encoder["window"] = design.window;  // of an mlp: that its decoder explains
  if (design.encoder_kind != EncoderKind::temporal_convolution) return encoder;
  encoder.erase("widths");
  encoder["channels"] = design.channels;
  return encoder;
}
void encoder_from_json(const JsonFields& from, ModelDesign& design, std::int64_t most) {
  design.encoder_kind = named<EncoderKind, std::invalid_argument>(
      from.text_or("kind", "mlp"));  // files older than the choice do not name it
  design.encoder_sees_labels = from.boolean_or("sees_labels", false);
  design.window = from.object().contains("window") ? from.size("window", 1, std::min(kMostWindow, most)) : 1;
  if (design.encoder_kind != EncoderKind::temporal_convolution) {
    design.encoder = hidden_from_json(from);
    return;
  }
  design.window = from.size("window", 3, std::min(kMostWindow, most));  // gives the depth: a file without it is damaged
  design.channels = from.size("channels", 1, kMostWidth);
  design.encoder = {.widths = {},
                    .activation = named<Activation, std::invalid_argument>(from.text("activation")),
                    .slope = from.number("slope", 0, 1)};
}

// Files older than the choice of a prior's and a decoder's kind name neither.
json prior_to_json(const ModelDesign& design) {
  json prior = hidden_to_json(design.prior);
  prior["kind"] = to_string(design.prior_kind);
  return prior;
}
void prior_from_json(const JsonFields& from, ModelDesign& design) {
  design.prior_kind = named<PriorKind, std::invalid_argument>(from.text_or("kind", "separate-mlps"));
  design.prior = hidden_from_json(from);
}

json decoder_to_json(const ModelDesign& design) {
  json decoder = hidden_to_json(design.decoder);
  decoder["kind"] = to_string(design.decoder_kind);
  decoder["window"] = design.decodes_window;
  if (design.decoder_kind == DecoderKind::gin)
    decoder["flow"] = {{"width", design.flow.width},
                       {"tie_couplings", design.flow.tie_couplings},
                       {"permutations", design.flow.permutations}};
  return decoder;
}
void decoder_from_json(const JsonFields& from, ModelDesign& design, std::int64_t most) {
  design.decoder_kind = named<DecoderKind, std::invalid_argument>(from.text_or("kind", "mlp"));
  design.decoder = hidden_from_json(from);
  design.decodes_window = from.boolean_or("window", false);
  if (design.decoder_kind != DecoderKind::gin) return;
  const JsonFields flow = from.fields("flow");
  design.flow = {
      .width = flow.size("width", 1, kMostWidth), .tie_couplings = flow.boolean("tie_couplings"), .permutations = {}};
  for (const auto& permutation : flow.list("permutations")) {
    const std::string name = flow.name_of("permutations") + "[" + std::to_string(design.flow.permutations.size()) + "]";
    design.flow.permutations.push_back(json_sizes(permutation, name, 0, most));
  }
}

}  // namespace

json to_json(const ModelDesign& design) {
  return {{"neurons", design.n_neurons},
          {"label_features", design.n_labels},
          {"latents", design.n_latents},
          {"encoder", encoder_to_json(design)},
          {"prior", prior_to_json(design)},
          {"decoder", decoder_to_json(design)},
          {"log_variance",
           {{"bound", to_string(design.log_var_bound)}, {"low", design.log_var_low}, {"high", design.log_var_high}}},
          {"observation", to_string(design.observation)},
          {"output", to_string(design.output)},
          {"gaussian_variance", design.gaussian_variance},
          {"mean_over_window", design.mean_over_window},
          {"mean_over_neurons", design.mean_over_neurons},
          {"mean_over_latents", design.mean_over_latents},
          {"keep_constants", design.keep_constants},
          {"objective", to_string(design.objective)},
          {"alphas", design.alphas},
          {"samples", design.n_samples},
          {"common_random_numbers", design.common_random_numbers}};
}

ModelDesign vae_design_from_json(const JsonFields& from, std::int64_t most) {
  ModelDesign design;
  design.n_neurons = from.size("neurons", 1, most);
  design.n_labels = from.size("label_features", 0, kMostWidth);
  design.n_latents = from.size("latents", 1, kMostLatents);
  encoder_from_json(from.fields("encoder"), design, most);
  prior_from_json(from.fields("prior"), design);
  decoder_from_json(from.fields("decoder"), design, most);
  if (design.decodes_window && std::int64_t{design.n_neurons} * design.window > most)
    throw std::invalid_argument("a window of " + std::to_string(design.window) +
                                " bins is more than the file's tensors hold");
  constexpr double unbounded = std::numeric_limits<double>::infinity();
  const JsonFields log_variance = from.fields("log_variance");
  design.log_var_bound = named<LogVarBound, std::invalid_argument>(log_variance.text("bound"));
  design.log_var_low = log_variance.number("low", -unbounded, unbounded);
  design.log_var_high = log_variance.number("high", design.log_var_low, unbounded);
  design.observation = named<Observation, std::invalid_argument>(from.text("observation"));
  design.output = named<OutputMap, std::invalid_argument>(from.text("output"));
  design.gaussian_variance = from.number("gaussian_variance", 0, unbounded);
  design.mean_over_window = from.boolean_or("mean_over_window", true);
  design.mean_over_neurons = from.boolean("mean_over_neurons");
  design.mean_over_latents = from.boolean("mean_over_latents");
  design.keep_constants = from.boolean("keep_constants");
  design.objective = named<Objective, std::invalid_argument>(from.text("objective"));
  design.alphas = from.numbers("alphas", 0, 1);
  if (static_cast<std::int64_t>(design.alphas.size()) > kMostAlphas)
    throw std::invalid_argument(from.name_of("alphas") + " are too many");
  design.n_samples = from.size("samples", 1, kMostSamples);
  design.common_random_numbers = from.boolean("common_random_numbers");
  return design;
}

}  // namespace idem
