#include "host/config/read_model.h"

#include <algorithm>
#include <functional>

#include <fmt/format.h>

#include "host/config/schema.h"
#include "host/support/errors.h"

namespace idem {
namespace {

using nlohmann::json;

std::string model_name(const json& model) {
  if (!model.at("name").is_null()) return model.at("name");
  std::string name = model.at("preset") == "none" ? model.at("objective").at("name") : model.at("preset");
  std::replace(name.begin(), name.end(), '/', '-');
  return name;
}

HiddenLayers hidden_from(const json& section) {
  return {.widths = section.at("widths").get<std::vector<std::int32_t>>(),
          .activation = enum_from<Activation>(section.at("activation")),
          .slope = section.at("slope").get<double>()};
}

// "auto": what the observation asks for.
OutputMap output_from(const std::string& name, Observation observation) {
  if (name != "auto") return enum_from<OutputMap>(name);
  return observation == Observation::poisson ? OutputMap::softplus : OutputMap::identity;
}

std::vector<double> alpha_grid(Objective objective, double step, double fixed) {
  if (objective == Objective::encoder_elbo) return {1};
  if (objective == Objective::ivae) return {0};
  if (objective == Objective::ci_ivae_fixed) return {fixed};
  // The last step may be shorter. The published code leaves both ends out.
  const bool ends = objective == Objective::ci_ivae_paper;
  std::vector<double> alphas;
  if (ends) alphas.push_back(0);
  for (int i = 1; i * step < 1 - step * 1e-6; ++i) alphas.push_back(i * step);
  if (ends) alphas.push_back(1);
  return alphas;
}

TrainingPlan read_training(const json& training, const std::string& source) {
  TrainingPlan plan;
  plan.batch = training.at("batch");
  plan.epochs = training.at("epochs");
  plan.shuffle = training.at("shuffle");
  plan.adam_beta1 = training.at("beta1");
  plan.adam_beta2 = training.at("beta2");
  plan.adam_epsilon = training.at("epsilon");
  plan.coupled_decay = training.at("weight_decay");
  plan.decoupled_decay = training.at("decoupled_weight_decay");
  plan.clip_norm = training.at("clip_norm");
  plan.input_noise = training.at("input_noise");
  plan.noisy_target = training.at("noisy_target");
  plan.initialisation = enum_from<Initialisation>(training.at("initialisation"));
  const json& schedule = training.at("schedule");
  const std::string kind = schedule.at("kind");
  plan.schedule.kind = enum_from<ScheduleKind>(kind);
  plan.schedule.warmup_epochs = schedule.at("warmup_epochs");
  plan.schedule.milestones = schedule.at("milestones").get<std::vector<std::int32_t>>();
  plan.schedule.factor = schedule.at("factor");
  plan.schedule.final_fraction = schedule.at("final_fraction");
  plan.patience = training.at("patience");
  plan.keep_best = training.at("keep") == "best";
  if (kind == "multi-step" && plan.schedule.milestones.empty())
    throw ConfigError(source + ": training.schedule.milestones: a multi-step schedule without milestones never steps; list some or use \"constant\"");
  if (plan.schedule.warmup_epochs >= plan.epochs)
    throw ConfigError(fmt::format("{}: training.schedule.warmup_epochs: {} is not below training.epochs = {}", source, plan.schedule.warmup_epochs,
                                  plan.epochs));
  return plan;
}

constexpr const char *kInfoNce = "info-nce", *kGcl = "gcl";  // objectives that are no bound

// model.contrastive of a model that maximises InfoNCE.
CebraModel read_cebra(const json& model, const json& training, const Preparation& preparation, const std::function<void(std::string, std::string)>& fail) {
  const json& from = model.at("contrastive");
  CebraModel cebra;
  cebra.temperature = from.at("temperature");
  cebra.delta_sd = from.at("delta_sd").is_null() ? 0 : from.at("delta_sd").get<double>();

  CebraDesign& design = cebra.design;
  design.n_features = model.at("latents");
  design.window = preparation.left + preparation.right;
  design.width = from.at("width");
  design.is_normalised = from.at("normalise");
  design.similarity = enum_from<Similarity>(from.at("similarity"));
  design.learns_temperature = from.at("learn_temperature");
  design.smallest_temperature = from.at("smallest_temperature");
  if (design.window == 2 || preparation.left != design.window / 2)
    fail("objective.name", fmt::format("CEBRA's encoders see 1 bin, or 3 and more about the bin itself, windows.left + windows.right with left half of it "
                                       "(rounded down): not {} + {}; use 0 + 1, 2 + 3, 5 + 5 or 18 + 18, for example",
                                       preparation.left, preparation.right));

  CebraPlan& plan = cebra.plan;
  plan.is_full_batch = from.at("batch").is_null();
  if (!plan.is_full_batch) plan.batch = from.at("batch");
  plan.steps = from.at("steps");
  plan.steps_per_record = from.at("steps_per_record");
  plan.samples = {.time_offset = from.at("time_offset"), .across_segments = preparation.edges == EdgePolicy::clamped_concatenated};
  plan.adam = {.beta1 = training.at("beta1"),
               .beta2 = training.at("beta2"),
               .epsilon = training.at("epsilon"),
               .coupled_decay = training.at("weight_decay"),
               .decoupled_decay = training.at("decoupled_weight_decay"),
               .clip_norm = training.at("clip_norm")};
  plan.initialisation = enum_from<Initialisation>(training.at("initialisation"));
  const std::string positives = from.at("positives");
  cebra.by_class = positives == "discrete" || positives == "mixed";
  plan.positive = positives == "time"       ? ContrastivePositive::time
                  : positives == "delta"    ? ContrastivePositive::delta
                  : positives == "discrete" ? ContrastivePositive::same_class
                                            : ContrastivePositive::time_delta;
  plan.prior = positives == "time"                                                     ? ContrastivePrior::leads
               : positives == "mixed" || (cebra.by_class && from.at("equal_classes")) ? ContrastivePrior::classes
                                                                                       : ContrastivePrior::samples;
  if ((positives == "delta") != (cebra.delta_sd > 0))
    fail("contrastive.delta_sd", positives == "delta" ? "positives by \"delta\" need the standard deviation of the labels' noise; give one above 0"
                                                      : "belongs to positives by \"delta\"; drop it");
  if (from.at("hybrid")) {
    if (plan.positive != ContrastivePositive::time_delta && plan.positive != ContrastivePositive::delta)
      fail("contrastive.hybrid", fmt::format("sets behaviour beside time, and positives by \"{}\" are not by behaviour alone; use \"time-delta\" or "
                                             "\"delta\"",
                                             positives));
    if (cebra.by_class) fail("contrastive.hybrid", "has no classes; use positives by \"time-delta\" or \"delta\"");
    design.n_behaviour_features = from.at("behaviour_latents");
    if (design.n_behaviour_features > design.n_features)
      fail("contrastive.behaviour_latents",
           fmt::format("{} of {} latents; lower it or raise model.latents", design.n_behaviour_features, design.n_features));
    plan.prior = ContrastivePrior::leads;
  }
  cebra.fits_session = from.at("fit") == "session";
  if (cebra.fits_session && plan.positive != ContrastivePositive::time)
    fail("contrastive.fit", "\"session\" would learn the labels of test bins; only positives by \"time\" see none");
  if (!from.at("adapt_from").is_null()) cebra.adapt_from = from.at("adapt_from");
  if (!cebra.adapt_from.empty() && design.learns_temperature)
    fail("contrastive.learn_temperature", "an adapted model trains its first layer alone; drop one of the two");
  if (model.at("joint")) {
    if (preparation.standardise_labels)
      fail("standardise_labels", "would measure the labels of every recording by its own mean and deviation, and they meet by labels; set it to false");
    if (plan.positive == ContrastivePositive::time || from.at("hybrid") || positives == "mixed")
      fail("joint", "recordings meet by labels: it needs positives by \"time-delta\", \"delta\" or \"discrete\" and no hybrid");
    if (plan.is_full_batch) fail("contrastive.batch", "a joint model draws its bins; give a number");
    if (from.at("equal_classes")) fail("contrastive.equal_classes", "a joint model draws from every bin alike; drop it");
    if (!cebra.adapt_from.empty()) fail("contrastive.adapt_from", "adapts a model to one recording, and a joint one has several; drop one of the two");
  }
  if (plan.is_full_batch && plan.prior == ContrastivePrior::classes)
    fail("contrastive.batch", "a full batch takes every bin once, classes are drawn; give a number");
  if (design.learns_temperature && design.smallest_temperature > cebra.temperature)
    fail("contrastive.temperature", fmt::format("{} begins below smallest_temperature {}", cebra.temperature, design.smallest_temperature));
  return cebra;
}

}  // namespace

ModelConfig read_model(const json& model, const json& study, const std::string& source) {
  ModelConfig config;
  config.name = model_name(model);
  const auto fail = [&](const std::string& key, const std::string& message) {
    throw ConfigError(fmt::format("{}: model {}: {}: {}", source, config.name, key, message));
  };

  const auto require_no_labels = [&](const std::string& message) {
    if (config.shuffle_labels || !model.at("labels").is_null()) fail(config.shuffle_labels ? "shuffle_labels" : "labels", message);
  };

  json training = study.at("training");
  lay_over(training, model.value("training", json::object()));
  config.training = read_training(training, source);
  config.learning_rate = training.at("learning_rate");
  config.is_joint = model.at("joint");

  const bool is_cebra = model.at("objective").at("name") == kInfoNce, is_gcl = model.at("objective").at("name") == kGcl;
  const EncoderKind encoder_kind = enum_from<EncoderKind>(model.at("encoder").at("kind"));
  const bool windowed = encoder_kind == EncoderKind::temporal_convolution || is_cebra;
  Preparation& preparation = config.preparation;
  preparation = Preparation::from_json({{"windows", study.at("windows")},
                                        {"smoothing", study.at("smoothing")},
                                        {"input", windowed ? "window" : "smoothed"},
                                        {"transform", model.at("input").at("transform")},
                                        {"target", is_cebra || is_gcl ? json("centre-bin") : model.at("observation").at("target")},  // of what explains no count
                                        {"labels", model.at("labels")},
                                        {"standardise_labels", model.at("standardise_labels")}});

  config.shuffle_labels = model.at("shuffle_labels").is_null() ? std::nullopt : std::optional<std::uint32_t>(model.at("shuffle_labels"));
  if (is_cebra) {
    config.cebra = read_cebra(model, training, preparation, fail);
    if (!config.sees_labels()) require_no_labels("positives by \"time\" see no label; leave it out, or choose another contrastive.positives");
    return config;
  }

  if (is_gcl) {
    if (config.is_joint) fail("joint", "generalized contrastive learning has nothing that recordings could share; set it to false");
    if (encoder_kind != EncoderKind::mlp) fail("encoder.kind", "generalized contrastive learning has one network for its latents; use \"mlp\"");
    if (config.training.batch < 2) fail("training.batch", "true labels are told from those of other bins of a batch; use 2 or more");
    if (!config.training.shuffle) fail("training.shuffle", "true labels are told from those of other bins: batches in order have like ones; use true");
    if (config.training.input_noise > 0 || config.training.noisy_target) fail("training.input_noise", "is not of this objective; set it to 0 in this model's own training");
    config.gcl = GclDesign{.n_latents = model.at("latents"), .features = hidden_from(model.at("encoder")), .psi = hidden_from(model.at("prior"))};
    return config;
  }

  ModelDesign& design = config.design;
  design.n_latents = model.at("latents");
  design.encoder_kind = encoder_kind;
  design.encoder = hidden_from(model.at("encoder"));
  design.decodes_window = preparation.target == TargetKind::window;
  if (windowed || design.decodes_window) design.window = preparation.left + preparation.right;
  if (design.decodes_window && design.window < 2)
    fail("observation.target", "the window is one bin; widen windows.left + windows.right, or use the target \"centre-bin\"");
  if (windowed) {
    design.channels = model.at("encoder").at("channels");
    design.encoder.widths.clear();
    if (design.window < 3)
      fail("encoder.kind", fmt::format("a temporal convolution needs windows.left + windows.right of at least 3 bins, not {}", design.window));
  }
  design.prior_kind = enum_from<PriorKind>(model.at("prior").at("kind"));
  design.prior = hidden_from(model.at("prior"));
  if (!design.sees_labels())
    require_no_labels(fmt::format("a prior of kind \"{}\" sees no label; leave it out, or choose another prior.kind", to_string(design.prior_kind)));
  if (config.is_joint && !design.sees_labels())
    fail("joint", fmt::format("recordings share the label prior, and a prior of kind \"{}\" sees no label; choose another prior.kind, or set joint to "
                              "false",
                              to_string(design.prior_kind)));
  design.encoder_sees_labels = model.at("encoder").at("sees_labels");
  if (design.encoder_sees_labels) {
    const std::string objective = model.at("objective").at("name");
    if (windowed) fail("encoder.sees_labels", "a temporal convolution sees spikes alone; use encoder.kind \"mlp\" or \"separate-mlps\"");
    if (!design.sees_labels())
      fail("encoder.sees_labels", fmt::format("a prior of kind \"{}\" sees no label, and then the encoder cannot; choose another prior.kind",
                                              to_string(design.prior_kind)));
    if (objective != to_string(Objective::ivae))
      fail("encoder.sees_labels",
           fmt::format("leaves one posterior, that of objective.name \"ivae\", and \"{}\" needs another; choose \"ivae\"", objective));
  }
  design.decoder_kind = enum_from<DecoderKind>(model.at("decoder").at("kind"));
  design.decoder = hidden_from(model.at("decoder"));
  if (design.decoder_kind == DecoderKind::gin) {
    const json& width = model.at("decoder").at("flow_width");
    design.flow.width = width.is_null() ? 0 : width.get<std::int32_t>();
    design.flow.tie_couplings = model.at("decoder").at("tie_couplings");
    design.flow.permutations.resize(model.at("decoder").at("blocks"));
  }
  const json& log_variance = model.at("log_variance");
  design.log_var_bound = enum_from<LogVarBound>(log_variance.at("bound"));
  design.log_var_low = log_variance.at("low");
  design.log_var_high = log_variance.at("high");
  if (!(design.log_var_low < design.log_var_high)) fail("log_variance.low", "must be below log_variance.high");
  design.observation = enum_from<Observation>(model.at("observation").at("kind"));
  design.output = output_from(model.at("decoder").at("output"), design.observation);
  design.gaussian_variance = model.at("observation").at("variance");
  const json& objective = model.at("objective");
  design.objective = enum_from<Objective>(objective.at("name"));
  design.mean_over_neurons = objective.at("over_neurons") == "mean";
  design.mean_over_window = objective.at("over_window") == "mean";
  design.mean_over_latents = objective.at("over_latents") == "mean";
  design.keep_constants = objective.at("constants");
  design.alphas = alpha_grid(design.objective, objective.at("alpha_step"), objective.at("alpha"));
  design.n_samples = objective.at("samples");
  design.common_random_numbers = objective.at("common_random_numbers");
  config.beta = objective.at("beta");
  config.training.beta_warmup = objective.at("beta_warmup");

  const bool counts_spikes =
      preparation.smoothing == SmoothingKind::none || (preparation.smoothing == SmoothingKind::boxcar && !preparation.normalise);
  if (design.observation == Observation::poisson) {
    if (design.output == OutputMap::identity)
      fail("decoder.output", "identity can give a negative rate, which a Poisson count cannot have; use softplus (auto) or exponential");
    if (preparation.target == TargetKind::smoothed && !counts_spikes)
      fail("observation.target",
           "smoothed counts are not whole numbers, so they are not Poisson; use \"window-sum\" or \"centre-bin\", or a gaussian observation");
    if (config.training.noisy_target)
      fail("observation.kind",
           "noisy targets are not counts, so they are not Poisson; set training.noisy_target to false or use a gaussian observation");
  }
  if (config.training.noisy_target && preparation.target != TargetKind::smoothed)
    fail("observation.target", "training.noisy_target adds the input's noise to the target, so the target must be \"smoothed\" as the input is");
  if (config.training.noisy_target && windowed)
    fail("encoder.kind", "training.noisy_target gives the target the input's noise, and a temporal convolution's input is no smoothed count; use \"mlp\"");
  if (preparation.square_root && config.training.input_noise > 0)
    fail("input.transform", "training.input_noise is noise on each bin's count and cannot pass through a square root; set one of them to none or 0");
  return config;
}

void check_effects(const json& written, const ModelConfig& model, const std::string& source) {
  const json defaults = schema_defaults("model");
  const auto says = [&](const char* section) { return written.contains(section) && written.at(section) != defaults.value(section, json()); };
  const auto fail = [&](const std::string& key, const std::string& message) {
    throw ConfigError(fmt::format("{}: model {}: {}: {}", source, model.name, key, message));
  };
  if (!model.cebra && says("contrastive")) fail("contrastive", fmt::format("is of objective.name \"{}\" alone; choose it, or a preset of CEBRA", kInfoNce));
  if (model.is_vae()) return;
  for (const char* section : {"decoder", "observation", "log_variance", "convention"})
    if (says(section)) fail(section, fmt::format("a model that maximises {} explains no counts; drop it", model.objective()));
  if (!model.cebra) return;
  for (const char* section : {"encoder", "prior"})
    if (says(section)) fail(section, "CEBRA's encoder follows from the window and contrastive.width; drop it");
  if (written.contains("training"))
    for (const char* key : {"batch", "epochs", "shuffle", "schedule", "patience", "keep", "input_noise", "noisy_target"})
      if (written.at("training").contains(key)) fail(fmt::format("training.{}", key), "CEBRA trains by contrastive.steps and contrastive.batch; drop it");
}

}  // namespace idem
