#include <fmt/format.h>

#include "host/families/hidden_layers_json.h"
#include "host/families/vae/model.h"

namespace idem {
namespace {

using nlohmann::json;

// "auto": what the observation asks for.
OutputMap output_from(const std::string& name, Observation observation) {
  if (name != "auto") return enum_from<OutputMap>(name);
  return observation == Observation::poisson ? OutputMap::softplus : OutputMap::identity;
}

void read_window(const ModelSections& sections, ModelDesign& design) {
  const Preparation& preparation = sections.config.preparation;
  const bool windowed = preparation.windowed_input;
  design.decodes_window = preparation.target == TargetKind::window;
  if (windowed || design.decodes_window) design.window = preparation.left + preparation.right;
  if (design.decodes_window && design.window < 2)
    sections.config.fail("observation.target",
                         "the window is one bin; widen windows.left + windows.right, or use the "
                         "target \"centre-bin\"");
  if (windowed && design.window < 3)
    sections.config.fail("encoder.kind", fmt::format("a temporal convolution needs windows.left + windows.right of at "
                                                     "least 3 bins, not {}",
                                                     design.window));
}

void read_prior(const ModelSections& sections, ModelDesign& design) {
  const json& prior = sections.model.at("prior");
  design.prior_kind = enum_from<PriorKind>(prior.at("kind"));
  design.prior = hidden_from_section(prior);
  if (design.sees_labels()) return;
  const std::string sees_none = fmt::format("a prior of kind \"{}\" sees no label", to_string(design.prior_kind));
  sections.require_no_labels(sees_none + "; leave it out, or choose another prior.kind");
  if (sections.config.is_joint)
    sections.config.fail("joint", fmt::format("recordings share the label prior, and {}; choose another prior.kind, or "
                                              "set joint to false",
                                              sees_none));
}

// After the prior.
void read_encoder(const ModelSections& sections, ModelDesign& design) {
  const json& encoder = sections.model.at("encoder");
  design.encoder_kind = enum_from<EncoderKind>(encoder.at("kind"));
  design.encoder = hidden_from_section(encoder);
  const bool windowed = sections.config.preparation.windowed_input;
  if (windowed) {
    design.channels = encoder.at("channels");
    design.encoder.widths.clear();
  }
  design.encoder_sees_labels = encoder.at("sees_labels");
  if (!design.encoder_sees_labels) return;
  const std::string objective = sections.model.at("objective").at("name");
  const auto fail = [&](const std::string& message) { sections.config.fail("encoder.sees_labels", message); };
  if (windowed) fail("a temporal convolution sees spikes alone; use encoder.kind \"mlp\" or \"separate-mlps\"");
  if (!design.sees_labels())
    fail(fmt::format("a prior of kind \"{}\" sees no label, and then the encoder cannot; choose another prior.kind",
                     to_string(design.prior_kind)));
  if (objective != to_string(Objective::ivae))
    fail(fmt::format("leaves one posterior, that of objective.name \"ivae\", and \"{}\" needs another; choose \"ivae\"",
                     objective));
}

void read_decoder(const ModelSections& sections, ModelDesign& design) {
  const json& decoder = sections.model.at("decoder");
  design.decoder_kind = enum_from<DecoderKind>(decoder.at("kind"));
  design.decoder = hidden_from_section(decoder);
  if (design.decoder_kind == DecoderKind::gin) {
    const json& width = decoder.at("flow_width");
    design.flow.width = width.is_null() ? 0 : width.get<std::int32_t>();
    design.flow.tie_couplings = decoder.at("tie_couplings");
    design.flow.permutations.resize(decoder.at("blocks"));
  }
  const json& observation = sections.model.at("observation");
  design.observation = enum_from<Observation>(observation.at("kind"));
  design.gaussian_variance = observation.at("variance");
  design.output = output_from(decoder.at("output"), design.observation);
}

void read_objective(const ModelSections& sections, VaeModel& model) {
  ModelDesign& design = model.design;
  const json& log_variance = sections.model.at("log_variance");
  design.log_var_bound = enum_from<LogVarBound>(log_variance.at("bound"));
  design.log_var_low = log_variance.at("low");
  design.log_var_high = log_variance.at("high");
  if (!(design.log_var_low < design.log_var_high))
    sections.config.fail("log_variance.low", "must be below log_variance.high");
  const json& objective = sections.model.at("objective");
  design.objective = enum_from<Objective>(objective.at("name"));
  design.mean_over_neurons = objective.at("over_neurons") == "mean";
  design.mean_over_window = objective.at("over_window") == "mean";
  design.mean_over_latents = objective.at("over_latents") == "mean";
  design.keep_constants = objective.at("constants");
  design.alphas = alpha_grid(design.objective, objective.at("alpha_step"), objective.at("alpha"));
  design.n_samples = objective.at("samples");
  design.common_random_numbers = objective.at("common_random_numbers");
  model.beta = objective.at("beta");
  model.training.beta_warmup = objective.at("beta_warmup");
}

// What observation, target and noise ask of each other.
void check_observation(const ModelConfig& config, const VaeModel& model) {
  const Preparation& preparation = config.preparation;
  const bool counts_spikes = preparation.smoothing == SmoothingKind::none ||
                             (preparation.smoothing == SmoothingKind::boxcar && !preparation.normalise);
  const bool noisy = model.training.noisy_target;
  if (model.design.observation == Observation::poisson) {
    if (model.design.output == OutputMap::identity)
      config.fail("decoder.output",
                  "identity can give a negative rate, which a Poisson count cannot have; use softplus "
                  "(auto) or exponential");
    if (preparation.target == TargetKind::smoothed && !counts_spikes)
      config.fail("observation.target",
                  "smoothed counts are not whole numbers, so they are not Poisson; use "
                  "\"window-sum\" or \"centre-bin\", or a gaussian observation");
    if (noisy)
      config.fail("observation.kind",
                  "noisy targets are not counts, so they are not Poisson; set "
                  "training.noisy_target to false or use a gaussian observation");
  }
  if (noisy && preparation.target != TargetKind::smoothed)
    config.fail("observation.target",
                "training.noisy_target adds the input's noise to the target, so the target must be "
                "\"smoothed\" as the input is");
  if (noisy && preparation.windowed_input)
    config.fail("encoder.kind",
                "training.noisy_target gives the target the input's noise, and a temporal convolution's "
                "input is no smoothed count; use \"mlp\"");
  if (preparation.square_root && model.training.input_noise > 0)
    config.fail("input.transform",
                "training.input_noise is noise on each bin's count and cannot pass through a square "
                "root; set one of them to none or 0");
}

}  // namespace

std::shared_ptr<const VaeModel> read_vae(const ModelSections& sections) {
  auto model = std::make_shared<VaeModel>();
  model->training = sections.plan;
  model->design.n_latents = sections.model.at("latents");
  read_window(sections, model->design);
  read_prior(sections, model->design);
  read_encoder(sections, model->design);
  read_decoder(sections, model->design);
  read_objective(sections, *model);
  check_observation(sections.config, *model);
  return model;
}

}  // namespace idem
