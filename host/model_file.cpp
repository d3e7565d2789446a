#include "host/model_file.h"

#include <bit>
#include <cstring>

#include <fmt/format.h>
#include <zlib.h>

#include "host/errors.h"
#include "host/files.h"
#include "host/recording_npz.h"

namespace idem {
namespace {

using nlohmann::json;

static_assert(std::endian::native == std::endian::little, "model.idem is written as memory lies");

constexpr std::string_view kMagic("idem\r\n\x1a\n", 8);
constexpr std::uint32_t kVersion = 2, kFirstVersion = 1;  // the newest, and that of models which programs of version 1 understand
constexpr std::size_t kFixedBytes = 16, kCrcBytes = 4;

template <class Enum>
struct EnumName {
  Enum value;
  const char* name;
};
constexpr EnumName<Activation> kActivations[] = {{Activation::identity, "identity"},     {Activation::relu, "relu"},
                                                 {Activation::leaky_relu, "leaky-relu"}, {Activation::tanh, "tanh"},
                                                 {Activation::gelu_erf, "gelu"},         {Activation::gelu_tanh, "gelu-tanh"},
                                                 {Activation::sigmoid, "sigmoid"},       {Activation::softplus, "softplus"}};
constexpr EnumName<Observation> kObservations[] = {{Observation::squared_error, "squared-error"},
                                                   {Observation::gaussian_fixed, "gaussian"},
                                                   {Observation::gaussian_learned, "gaussian-learned"},
                                                   {Observation::poisson, "poisson"}};
constexpr EnumName<OutputMap> kOutputs[] = {
    {OutputMap::identity, "identity"}, {OutputMap::softplus, "softplus"}, {OutputMap::sigmoid, "sigmoid"}, {OutputMap::exponential, "exponential"}};
constexpr EnumName<LogVarBound> kBounds[] = {{LogVarBound::none, "none"}, {LogVarBound::smooth, "smooth"}};

template <class Enum, std::size_t N>
std::string name_of(const EnumName<Enum> (&names)[N], Enum value) {
  for (const auto& entry : names)
    if (entry.value == value) return entry.name;
  throw std::invalid_argument("model.idem has no name for this value");
}
template <class Enum, std::size_t N>
Enum value_of(const EnumName<Enum> (&names)[N], const std::string& name) {
  for (const auto& entry : names)
    if (name == entry.name) return entry.value;
  throw std::invalid_argument("\"" + name + "\" is not known");
}

json hidden_to_json(const HiddenLayers& hidden) {
  return {{"widths", hidden.widths}, {"activation", name_of(kActivations, hidden.activation)}, {"slope", hidden.slope}};
}
HiddenLayers hidden_from_json(const json& from) {
  return {.widths = from.at("widths").get<std::vector<std::int32_t>>(),
          .activation = value_of(kActivations, from.at("activation")),
          .slope = from.at("slope")};
}

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
void encoder_from_json(json from, ModelDesign& design) {
  design.encoder_kind = encoder_kind_from_string(from.value("kind", "mlp"));  // files older than the choice do not name it
  design.window = from.value("window", 1);
  if (design.encoder_kind == EncoderKind::temporal_convolution) {
    design.window = from.at("window");  // gives the depth: a file without it is damaged
    design.channels = from.at("channels");
    from["widths"] = json::array();
  }
  design.encoder_sees_labels = from.value("sees_labels", false);
  design.encoder = hidden_from_json(from);
}

// Files older than the choice of a prior's and a decoder's kind name neither.
json prior_to_json(const ModelDesign& design) {
  json prior = hidden_to_json(design.prior);
  prior["kind"] = to_string(design.prior_kind);
  return prior;
}
void prior_from_json(const json& from, ModelDesign& design) {
  design.prior_kind = prior_kind_from_string(from.value("kind", "separate-mlps"));
  design.prior = hidden_from_json(from);
}

json decoder_to_json(const ModelDesign& design) {
  json decoder = hidden_to_json(design.decoder);
  decoder["kind"] = to_string(design.decoder_kind);
  decoder["window"] = design.decodes_window;
  if (design.decoder_kind == DecoderKind::gin)
    decoder["flow"] = {{"width", design.flow.width}, {"tie_couplings", design.flow.tie_couplings}, {"permutations", design.flow.permutations}};
  return decoder;
}
void decoder_from_json(const json& from, ModelDesign& design) {
  design.decoder_kind = decoder_kind_from_string(from.value("kind", "mlp"));
  design.decoder = hidden_from_json(from);
  design.decodes_window = from.value("window", false);
  if (design.decoder_kind != DecoderKind::gin) return;
  const json& flow = from.at("flow");
  design.flow = {.width = flow.at("width"),
                 .tie_couplings = flow.at("tie_couplings"),
                 .permutations = flow.at("permutations").get<std::vector<std::vector<std::int32_t>>>()};
}

ModelDesign design_from_json(const json& from) {
  ModelDesign design;
  design.n_neurons = from.at("neurons");
  design.n_labels = from.at("label_features");
  design.n_latents = from.at("latents");
  encoder_from_json(from.at("encoder"), design);
  prior_from_json(from.at("prior"), design);
  decoder_from_json(from.at("decoder"), design);
  design.log_var_bound = value_of(kBounds, from.at("log_variance").at("bound"));
  design.log_var_low = from.at("log_variance").at("low");
  design.log_var_high = from.at("log_variance").at("high");
  design.observation = value_of(kObservations, from.at("observation"));
  design.output = value_of(kOutputs, from.at("output"));
  design.gaussian_variance = from.at("gaussian_variance");
  design.mean_over_window = from.value("mean_over_window", true);
  design.mean_over_neurons = from.at("mean_over_neurons");
  design.mean_over_latents = from.at("mean_over_latents");
  design.keep_constants = from.at("keep_constants");
  design.objective = objective_from_string(from.at("objective"));
  design.alphas = from.at("alphas").get<std::vector<double>>();
  design.n_samples = from.at("samples");
  design.common_random_numbers = from.at("common_random_numbers");
  return design;
}

constexpr EnumName<Similarity> kSimilarities[] = {{Similarity::cosine, "cosine"}, {Similarity::euclidean, "euclidean"}};

json cebra_to_json(const CebraDesign& design) {
  return {{"family", "cebra"},
          {"neurons", design.n_neurons},
          {"latents", design.n_features},
          {"window", design.window},
          {"width", design.width},
          {"normalised", design.is_normalised},
          {"similarity", name_of(kSimilarities, design.similarity)},
          {"learns_temperature", design.learns_temperature},
          {"smallest_temperature", design.smallest_temperature},
          {"behaviour_latents", design.n_behaviour_features}};
}
CebraDesign cebra_from_json(const json& from) {
  return {.n_neurons = from.at("neurons"),
          .n_features = from.at("latents"),
          .window = from.at("window"),
          .width = from.at("width"),
          .is_normalised = from.at("normalised"),
          .similarity = value_of(kSimilarities, from.at("similarity")),
          .learns_temperature = from.at("learns_temperature"),
          .smallest_temperature = from.at("smallest_temperature"),
          .n_behaviour_features = from.at("behaviour_latents")};
}

json gcl_to_json(const GclDesign& design) {
  return {{"family", "gcl"},
          {"neurons", design.n_neurons},
          {"label_features", design.n_labels},
          {"latents", design.n_latents},
          {"features", hidden_to_json(design.features)},
          {"psi", hidden_to_json(design.psi)}};
}
GclDesign gcl_from_json(const json& from) {
  return {.n_neurons = from.at("neurons"),
          .n_labels = from.at("label_features"),
          .n_latents = from.at("latents"),
          .features = hidden_from_json(from.at("features")),
          .psi = hidden_from_json(from.at("psi"))};
}

// What is optional in the header: the recording's own names.
void identity_to_json(const SavedModel& model, json& header) {
  if (!model.neuron_ids.empty()) header["neuron_ids"] = model.neuron_ids;
  if (!model.labels) return;
  header["labels"] = json::array();
  for (const auto& label : *model.labels)
    header["labels"].push_back({{"name", label.name}, {"kind", name_of(label.kind)}, {"unit", label.unit}, {"period", label.period}});
}
void identity_from_json(const json& header, SavedModel& model) {
  model.neuron_ids = header.value("neuron_ids", std::vector<std::int64_t>());
  if (!model.neuron_ids.empty() && model.neuron_ids.size() != static_cast<std::size_t>(n_neurons_of(model)))
    throw std::invalid_argument("there must be one unit id per neuron");
  if (!header.contains("labels")) return;
  model.labels.emplace();
  for (const auto& label : header.at("labels"))
    model.labels->push_back(
        {.name = label.at("name"), .kind = label_kind_of(label.at("kind")), .unit = label.at("unit"), .period = label.at("period")});
}

template <class T>
void append(std::string& bytes, T value) {
  bytes.append(reinterpret_cast<const char*>(&value), sizeof(value));
}
std::uint32_t uint32_at(const std::string& bytes, std::size_t offset) {
  std::uint32_t value;
  std::memcpy(&value, bytes.data() + offset, sizeof(value));
  return value;
}
std::uint32_t checksum(std::string_view bytes) {
  return static_cast<std::uint32_t>(crc32_z(0, reinterpret_cast<const Bytef*>(bytes.data()), bytes.size()));
}

}  // namespace

json design_to_json(const ModelDesign& design) {
  return {{"neurons", design.n_neurons},
          {"label_features", design.n_labels},
          {"latents", design.n_latents},
          {"encoder", encoder_to_json(design)},
          {"prior", prior_to_json(design)},
          {"decoder", decoder_to_json(design)},
          {"log_variance", {{"bound", name_of(kBounds, design.log_var_bound)}, {"low", design.log_var_low}, {"high", design.log_var_high}}},
          {"observation", name_of(kObservations, design.observation)},
          {"output", name_of(kOutputs, design.output)},
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

std::int32_t n_neurons_of(const SavedModel& model) {
  return model.cebra ? model.cebra->n_neurons : model.gcl ? model.gcl->n_neurons : model.design.n_neurons;
}

void write_model(const std::filesystem::path& path, const SavedModel& model) {
  json header = {{"design", model.cebra ? cebra_to_json(*model.cebra) : model.gcl ? gcl_to_json(*model.gcl) : design_to_json(model.design)},
                 {"preparation", model.preparation.to_json()},
                 {"label_features", {{"names", model.scaling.names}, {"mean", model.scaling.mean}, {"scale", model.scaling.scale}}},
                 {"bin_width_s", model.bin_width_s},
                 {"provenance", model.provenance},
                 {"tensors", json::array()}};
  identity_to_json(model, header);
  for (const auto& [name, tensor] : model.parameters) header["tensors"].push_back({{"name", name}, {"shape", tensor.shape}});
  const std::string text = header.dump();
  std::string bytes(kMagic);
  append(bytes, model.cebra || model.gcl || model.design.encoder_sees_labels ? kVersion : kFirstVersion);
  append(bytes, static_cast<std::uint32_t>(text.size()));
  bytes += text;
  for (const auto& [name, tensor] : model.parameters)
    for (const double value : tensor.values) append(bytes, static_cast<float>(value));
  append(bytes, checksum(bytes));
  write_file_bytes(path, bytes);
}

SavedModel read_model(const std::filesystem::path& path) {
  const std::string bytes = read_file_bytes(path);
  const auto fail = [&](const std::string& what) -> DataError { return DataError(path.string() + ": " + what); };
  if (bytes.size() < kFixedBytes + kCrcBytes || std::string_view(bytes).substr(0, kMagic.size()) != kMagic) {
    const bool cut_short = !bytes.empty() && kMagic.substr(0, bytes.size()) == std::string_view(bytes).substr(0, kMagic.size());
    throw fail(cut_short ? "is cut short; copy it again" : "is not a model of idem (model.idem of a run's folder)");
  }
  const std::uint32_t version = uint32_at(bytes, 8);
  if (version > kVersion) throw fail(fmt::format("has format version {}, this program reads up to {}; use a newer idem", version, kVersion));
  if (checksum(std::string_view(bytes).substr(0, bytes.size() - kCrcBytes)) != uint32_at(bytes, bytes.size() - kCrcBytes))
    throw fail("is cut short or damaged (its checksum does not match); copy it again or train again");
  const std::size_t header_bytes = uint32_at(bytes, 12);
  if (header_bytes > bytes.size() - kFixedBytes - kCrcBytes) throw fail("has a header longer than the file; train again");

  SavedModel model;
  try {
    const json header = json::parse(bytes.begin() + kFixedBytes, bytes.begin() + static_cast<std::ptrdiff_t>(kFixedBytes + header_bytes));
    const json& design = header.at("design");
    const std::string family = design.value("family", "vae");
    if (family == "cebra") model.cebra = cebra_from_json(design);
    else if (family == "gcl") model.gcl = gcl_from_json(design);
    else model.design = design_from_json(design);
    model.preparation = Preparation::from_json(header.at("preparation"));
    const json& features = header.at("label_features");
    model.scaling = {features.at("names").get<std::vector<std::string>>(), features.at("mean").get<std::vector<double>>(),
                     features.at("scale").get<std::vector<double>>()};
    model.bin_width_s = header.at("bin_width_s");
    model.provenance = header.at("provenance");
    identity_from_json(header, model);
    std::size_t offset = kFixedBytes + header_bytes;
    const std::size_t end = bytes.size() - kCrcBytes;
    for (const auto& entry : header.at("tensors")) {
      NamedTensor tensor;
      tensor.shape = entry.at("shape").get<std::vector<std::int64_t>>();
      std::size_t size = 1;
      for (const auto extent : tensor.shape) {
        if (extent < 0 || static_cast<std::size_t>(extent) > end / sizeof(float)) throw std::invalid_argument("a tensor has an impossible shape");
        size *= static_cast<std::size_t>(extent);
        if (size > (end - offset) / sizeof(float)) throw std::invalid_argument("a tensor reaches past the end");
      }
      std::vector<float> values(size);
      std::memcpy(values.data(), bytes.data() + offset, size * sizeof(float));
      tensor.values.assign(values.begin(), values.end());
      offset += size * sizeof(float);
      model.parameters[entry.at("name")] = std::move(tensor);
    }
    if (offset != end) throw std::invalid_argument("bytes are left over after the last tensor");
  } catch (const DataError&) {
    throw;
  } catch (const std::exception& error) {
    throw fail(fmt::format("cannot be understood ({}); train again", error.what()));
  }
  return model;
}

}  // namespace idem
