#include "host/config/study.h"

#include <algorithm>
#include <charconv>
#include <cmath>
#include <fstream>
#include <functional>
#include <set>
#include <sstream>

#include <fmt/format.h>

#include "host/config/schema.h"
#include "host/support/errors.h"
#include "host/support/one_line.h"
#include "host/config/shadowed_overrides.h"
#include "host/support/utf8.h"

namespace idem {
namespace {

using nlohmann::json;

// The conventions of published programs: whether the reconstruction and the KL terms are sums or means over neurons and latents, whether terms
// without parameters are kept, and the usual weight of the KL terms.
json convention_defaults(const std::string& name) {
  const auto objective = [](double beta, const char* over_neurons, const char* over_latents, bool constants) {
    return json{{"objective", {{"beta", beta}, {"over_neurons", over_neurons}, {"over_latents", over_latents}, {"constants", constants}}}};
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

// What published models chose, as a model section.
json preset_model(const std::string& name) {
  if (name == "none") return json::object();
  if (name == "ivae")
    return json::parse(R"({
      "objective": {"name": "ivae"},
      "encoder": {"kind": "separate-mlps", "sees_labels": true, "widths": [50, 50], "activation": "leaky-relu", "slope": 0.1},
      "prior": {"widths": [50, 50], "activation": "leaky-relu", "slope": 0.1},
      "decoder": {"widths": [50, 50], "activation": "leaky-relu", "slope": 0.1}
    })");
  if (name == "gcl") return {{"objective", {{"name", "gcl"}}}};
  if (name == "vae") return {{"objective", {{"name", "encoder-elbo"}}}, {"prior", {{"kind", "standard-normal"}}}};
  if (name.starts_with("cebra-")) {
    json cebra = json::parse(R"({
      "latents": 3,
      "objective": {"name": "info-nce"},
      "standardise_labels": false,
      "training": {"learning_rate": 0.0003, "clip_norm": 0}
    })");
    if (name == "cebra-time") cebra["contrastive"] = {{"positives", "time"}};
    if (name == "cebra-hybrid") cebra["contrastive"] = {{"hybrid", true}};
    return cebra;
  }
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

// The values that `complete` has at the keys of `keys`.
json at_keys_of(const json& keys, const json& complete) {
  if (!keys.is_object()) return complete;
  json result = json::object();
  for (const auto& [key, value] : keys.items()) result[key] = at_keys_of(value, complete.at(key));
  return result;
}

// What `full` says differently from `base`, such that laying it over base gives full, which has all keys of base.
json difference(const json& base, const json& full) {
  json result = json::object();
  for (const auto& [key, value] : full.items()) {
    const bool is_new = !base.contains(key);
    if (!is_new && value == base.at(key)) continue;
    result[key] = value.is_object() && !is_new ? difference(base.at(key), value) : value;
  }
  return result;
}

std::string model_name(const json& model) {
  if (!model.at("name").is_null()) return model.at("name");
  std::string name = model.at("preset") == "none" ? model.at("objective").at("name") : model.at("preset");
  std::replace(name.begin(), name.end(), '/', '-');
  return name;
}

// A file name, or an object that holds one, as recording.counts does; anything else is left alone.
void make_path_absolute(json& source, const std::filesystem::path& folder) {
  if (source.is_string())
    source = text_of_path(std::filesystem::absolute(folder / path_of_text(source.get<std::string>())).lexically_normal());
  else if (source.is_object() && source.contains("file"))
    make_path_absolute(source["file"], folder);
}

// Preset and defaults under what the user wrote.
json complete_model(json written, const std::filesystem::path& folder) {
  if (written.contains("contrastive") && written.at("contrastive").contains("adapt_from"))
    make_path_absolute(written["contrastive"]["adapt_from"], folder);
  json model = schema_defaults("model"), chosen = preset_model(written.value("preset", "none"));
  lay_over(chosen, written);
  lay_over(model, convention_defaults(chosen.value("convention", model.at("convention").get<std::string>())));
  if (chosen.contains("encoder") && chosen.at("encoder").value("kind", "") == to_string(EncoderKind::temporal_convolution))
    lay_over(model, {{"encoder", {{"activation", "gelu-tanh"}}}});
  lay_over(model, chosen);
  return model;
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

void make_paths_absolute(json& recording, const std::filesystem::path& folder) {
  const auto apply = [&](json& section, std::initializer_list<const char*> keys) {
    for (const char* key : keys)
      if (section.contains(key)) make_path_absolute(section[key], folder);
  };
  apply(recording, {"file", "counts", "times", "gaps", "trials"});
  if (recording.contains("spikes")) apply(recording["spikes"], {"times", "ids"});
  if (recording.contains("labels"))
    for (auto& label : recording["labels"]) apply(label, {"file", "times"});
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

void check_splits(const json& splits, const std::string& source) {
  if (splits.at("kind") == "time" || splits.at("kind") == "auto") {
    double sum = 0;
    for (const auto& fraction : splits.at("fractions")) sum += fraction.get<double>();
    if (!(sum <= 1 + 1e-9)) throw ConfigError(fmt::format("{}: splits.fractions: add up to {:g}, more than 1", source, sum));
    if (splits.at("fractions")[0] == json(0)) throw ConfigError(source + ": splits.fractions: nothing is left to train");
  }
  if (splits.at("kind") == "ranges") {
    if (splits.at("ranges").at("train").empty()) throw ConfigError(source + ": splits.ranges.train: is empty, so there is nothing to train");
  }
}

void check_smoothing(const json& smoothing, const std::string& source) {
  const std::string kind = smoothing.at("kind");
  const bool gaussian = kind == "gaussian" || kind == "causal-half-gaussian";
  const int widths = !smoothing.at("sigma_bins").is_null() + !smoothing.at("sigma_ms").is_null();
  if (gaussian && widths != 1)
    throw ConfigError(
        fmt::format("{}: smoothing.sigma_bins: a {} needs one width, sigma_bins or sigma_ms; {} given", source, kind, widths == 0 ? "none" : "both"));
  if (!gaussian && widths != 0)
    throw ConfigError(fmt::format("{}: smoothing.sigma_{}: a {} has no sigma; drop it or use \"gaussian\"", source,
                                  smoothing.at("sigma_bins").is_null() ? "ms" : "bins", kind == "none" ? "smoothing of none" : kind));
  if (!gaussian && smoothing.at("edges") != "window")
    throw ConfigError(fmt::format("{}: smoothing.edges: {} belongs to the Gaussians; a {} follows windows.edges, \"window\"", source,
                                  smoothing.at("edges").dump(), kind));
  if (kind == "causal-half-gaussian" && smoothing.at("edges") == "window")
    throw ConfigError(
        source +
        ": smoothing.edges: a window that is shifted inside its segment would look ahead of a causal filter; use \"nearest\" or \"constant\"");
  if (gaussian && smoothing.at("normalise") == json(false))
    throw ConfigError(source + ": smoothing.normalise: the Gaussians are always normalised; leave it out");
}

json read_config(const std::string& path) {
  std::error_code ignored;
  if (std::filesystem::is_directory(path, ignored)) throw ConfigError(path + ": is a folder; name a configuration file (configs/*.json)");
  std::ifstream file(path, std::ios::binary);
  const std::string text{std::istreambuf_iterator<char>(file), {}};
  if (!file) throw ConfigError(path + ": cannot be read; is it a configuration file (configs/*.json)?");
  if (text.empty()) throw ConfigError(path + ": is empty; a configuration is a JSON object, { ... }");
  if (!looks_like_json(path))
    throw ConfigError(fmt::format("{0}: is no configuration (a JSON object, as configs/*.json); a recording is given beside one: CONFIG.json "
                                  "--recording {0}",
                                  path));
  return parse_json(text, path);
}

// The recording section of a configuration, or one that names the file.
json recording_section(const std::string& path) {
  if (!looks_like_json(path)) return {{"file", text_of_path(std::filesystem::absolute(path))}};
  json config = read_config(path);
  if (!config.is_object() || !config.contains("recording"))
    throw ConfigError(path + ": recording: missing; --recording takes a recording file or a configuration with this section");
  json& section = config["recording"];
  const auto folder = std::filesystem::path(path).parent_path();
  if (section.is_object()) make_paths_absolute(section, folder);
  if (section.is_array())
    for (auto& recording : section)
      if (recording.is_object()) make_paths_absolute(recording, folder);
  return section;
}

// What a model itself says that its objective does not look at. `written`: its own keys, of which those that only repeat a default pass.
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

}  // namespace

std::string ModelConfig::objective() const {
  if (gcl) return "generalized contrastive learning";
  if (!cebra) return to_string(design.objective) + (is_joint ? ", one label prior for all animals" : "");
  using Positive = ContrastivePositive;
  const char* positives = cebra->plan.positive == Positive::time         ? "time"
                          : cebra->plan.positive == Positive::delta      ? "delta"
                          : cebra->plan.positive == Positive::same_class ? "discrete"
                          : cebra->by_class                              ? "mixed"
                                                                         : "time-delta";
  return fmt::format("InfoNCE ({}), positives by {}{}{}", cebra->design.similarity == Similarity::cosine ? "cosine" : "Euclidean", positives,
                     cebra->design.n_behaviour_features > 0 ? " and time" : "",
                     is_joint                       ? ", one space for all animals"
                     : !cebra->adapt_from.empty()   ? ", first layer alone (adapted)"
                     : cebra->fits_session          ? ", every bin of the session"
                                                    : "");
}

json parse_json(const std::string& text, const std::string& source) {
  const auto place = [&](std::size_t byte) {
    const std::size_t end = std::min(byte > 0 ? byte - 1 : 0, text.size());
    const auto line = 1 + std::count(text.begin(), text.begin() + static_cast<std::ptrdiff_t>(end), '\n');
    const std::size_t start = text.rfind('\n', end == 0 ? 0 : end - 1);
    const std::size_t column = end - (start == std::string::npos || end == 0 ? 0 : start + 1) + 1;
    return fmt::format("{}:{}:{}", source, line, column);
  };
  if (text.starts_with("\xFF\xFE") || text.starts_with("\xFE\xFF")) throw ConfigError(place(1) + ": is UTF-16 text; save the file as UTF-8");
  if (const std::size_t at = find_invalid_utf8(text); at != std::string::npos)
    throw ConfigError(fmt::format("{}: is not UTF-8 (the byte 0x{:02X}); save the file as UTF-8 (if that byte belongs to a file's name, write "
                                  "\\\\x{:02X})",
                                  place(at + 1), static_cast<unsigned char>(text[at]), static_cast<unsigned char>(text[at])));
  struct Level {
    std::string key;  // of an object: the one being read
    std::set<std::string> keys;
  };
  std::vector<Level> levels;
  std::string repeated;
  const auto watch = [&](int, json::parse_event_t event, json& value) {
    if (event == json::parse_event_t::object_start) levels.emplace_back();
    if (event == json::parse_event_t::object_end) levels.pop_back();
    if (event == json::parse_event_t::key) {
      levels.back().key = value.get<std::string>();
      if (!levels.back().keys.insert(levels.back().key).second) repeated = levels.back().key;
    }
    return true;
  };
  json parsed;
  try {
    parsed = json::parse(text, watch);
  } catch (const json::parse_error& error) {
    // "[json.exception.parse_error.101] parse error at line 3, column 5: syntax error ...": the place is said already.
    std::string what = error.what();
    const auto colon = what.find(": ");
    if (colon != std::string::npos) what = what.substr(colon + 2);
    throw ConfigError(place(error.byte) + ": not JSON: " + what);
  } catch (const json::out_of_range&) {
    std::string key;
    for (const auto& level : levels) key += (key.empty() ? "" : ".") + level.key;
    throw ConfigError(fmt::format("{}: {}: holds a number beyond 1.8e308, which no number of this program is; lower it", source, key.empty() ? "?" : key));
  }
  if (!repeated.empty()) throw ConfigError(fmt::format("{}: {}: given twice in the same object; keep one", source, repeated));
  return parsed;
}

void apply_override(json& config, const std::string& assignment, const std::string& source) {
  if (const std::size_t at = find_invalid_utf8(assignment); at != std::string::npos)
    throw ConfigError(fmt::format("--set {}: is not UTF-8; write it as UTF-8 (if the byte shown as \\x{:02X} belongs to a file's name, write it so)",
                                  one_line(text_of_path(assignment)), static_cast<unsigned char>(assignment[at])));
  const auto equals = assignment.find('=');
  if (equals == std::string::npos || equals == 0)
    throw ConfigError(fmt::format("--set {}: is not KEY=VALUE, as in --set training.epochs=20", assignment));
  const std::string path = assignment.substr(0, equals), text = assignment.substr(equals + 1);
  json value = json::parse(text, nullptr, false);
  if (value.is_discarded()) value = text;

  json* node = &config;
  std::stringstream keys(path);
  std::string key;
  while (std::getline(keys, key, '.')) {
    if (node->is_array()) {
      std::size_t index = 0;
      const auto parsed = std::from_chars(key.data(), key.data() + key.size(), index);
      if (parsed.ec != std::errc() || parsed.ptr != key.data() + key.size() || index >= node->size())
        throw ConfigError(fmt::format("{}: --set {}: \"{}\" is not an item of a list of {} (they count from 0)", source, path, key, node->size()));
      node = &(*node)[index];
    } else {
      if (!node->is_object() && !node->is_null())
        throw ConfigError(fmt::format("{}: --set {}: what holds \"{}\" is {}, not an object", source, path, key, node->dump()));
      node = &(*node)[key];
    }
  }
  *node = std::move(value);
}

Study resolve_study(json config, const std::string& source, const std::filesystem::path& folder) {
  check_against_schema(config, source);
  Study study;
  study.source = source;

  json complete = schema_defaults();
  lay_over(complete, config);
  const json written_base = config.value("model", json::object());
  const json base = complete_model(written_base, folder);
  complete["model"] = base;
  complete["models"] = json::array();
  std::vector<json> models;
  for (const auto& partial : config.value("models", json::array())) {
    json written = written_base;
    lay_over(written, partial);
    if (!partial.contains("name")) written["name"] = nullptr;  // or all would be called as the base
    models.push_back(complete_model(written, folder));
    if (base.contains("training")) {  // also where only the base's preset has training of its own
      json training = at_keys_of(base.at("training"), complete.at("training"));
      lay_over(training, models.back().value("training", json::object()));
      models.back()["training"] = std::move(training);
    }
    json changes = difference(base, models.back());
    if (!models.back().at("name").is_null()) changes["name"] = models.back().at("name");
    complete["models"].push_back(std::move(changes));
  }
  if (models.empty()) models.push_back(base);

  json& recordings = complete.at("recording");
  if (!recordings.is_array()) {
    make_paths_absolute(recordings, folder);
    study.recordings = {recordings};
  } else {
    for (auto& recording : recordings) make_paths_absolute(recording, folder);
    study.recordings = recordings.get<std::vector<json>>();
  }

  check_splits(complete.at("splits"), source);
  check_smoothing(complete.at("smoothing"), source);
  if (complete.at("smoothing").at("normalise").is_null())
    complete["smoothing"]["normalise"] = complete.at("smoothing").at("kind") != "boxcar" && complete.at("smoothing").at("kind") != "none";
  study.splits = complete.at("splits");
  study.evaluation = complete.at("evaluation");
  study.seeds = complete.at("seeds").get<std::vector<std::uint64_t>>();
  std::set<std::string> names;
  const json written_models = config.value("models", json::array());
  for (std::size_t i = 0; i < models.size(); ++i) {
    study.models.push_back(read_model(models[i], complete, source));
    check_effects(written_models.empty() ? written_base : written_models[i], study.models.back(), source);
    if (!names.insert(study.models.back().name).second)
      throw ConfigError(fmt::format("{}: models: two are called \"{}\"; give each its own name", source, study.models.back().name));
  }
  complete["$schema"] = fmt::format("./{}", kSchemaFile);  // lies beside the configuration that a run writes
  study.resolved = std::move(complete);
  return study;
}

bool looks_like_json(const std::string& path) {
  std::ifstream file(path, std::ios::binary);
  char first = 0;
  return std::filesystem::path(path).extension() == ".json" || (file >> first && first == '{');
}

Study load_study(const std::string& path, const std::vector<std::string>& overrides, const std::string& recording) {
  json config = read_config(path);
  if (!recording.empty() && config.is_object()) config["recording"] = recording_section(recording);
  const std::filesystem::path folder = std::filesystem::path(path).parent_path();
  json changed = config;
  for (const auto& assignment : overrides) apply_override(changed, assignment, path);
  Study study = resolve_study(changed, path, folder);
  std::vector<std::string> names;
  for (const auto& model : study.models) names.push_back(model.name);
  for (std::size_t i = 0; i < overrides.size(); ++i) {
    json without = config;
    for (std::size_t other = 0; other < overrides.size(); ++other)
      if (other != i) apply_override(without, overrides[other], path);
    try {
      for (auto& sentence : shadowed_by_models(overrides[i], resolve_study(without, path, folder).resolved, study.resolved, names))
        study.warnings.push_back(std::move(sentence));
    } catch (const ConfigError&) {
      continue;  // without it there is no study: it changes something
    }
  }
  return study;
}

}  // namespace idem
