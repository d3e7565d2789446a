#include "host/families/model_file.h"

#include <cstring>
#include <limits>
#include <map>
#include <tuple>

#include <fmt/format.h>
#include <unistd.h>
#include <zlib.h>

#include "host/families/families.h"
#include "host/families/old_model_file.h"
#include "host/formats/safetensors.h"
#include "host/support/errors.h"
#include "host/support/files.h"
#include "host/support/json_fields.h"
#include "host/support/named.h"
#include "host/support/one_line.h"
#include "kernels/common/to_size.h"

namespace idem {
namespace {

using nlohmann::json;

constexpr int kVersion = 3;

// What is optional in the header: the recording's own names.
void identity_to_json(const SavedModel& model, json& header) {
  if (!model.neuron_ids.empty()) header["neuron_ids"] = model.neuron_ids;
  if (!model.unit_names.empty()) header["unit_names"] = model.unit_names;
  if (!model.labels) return;
  header["labels"] = json::array();
  for (const auto& label : *model.labels)
    header["labels"].push_back(
        {{"name", label.name}, {"kind", to_string(label.kind)}, {"unit", label.unit}, {"period", label.period}});
}
void identity_from_json(const JsonFields& header, SavedModel& model) {
  constexpr std::int64_t largest = std::numeric_limits<std::int64_t>::max();
  if (header.has("neuron_ids")) {
    const json& ids = header.list("neuron_ids");
    if (ids.size() != to_size(model.design->n_neurons()))
      throw std::invalid_argument("neuron_ids has not one id for every neuron");
    for (std::size_t i = 0; i < ids.size(); ++i)
      model.neuron_ids.push_back(json_integer(ids[i], fmt::format("neuron_ids[{}]", i), -largest, largest));
  }
  if (header.has("unit_names")) {
    model.unit_names = header.texts("unit_names");
    if (model.unit_names.size() != to_size(model.design->n_neurons()))
      throw std::invalid_argument("unit_names has not one name for every neuron");
  }
  if (!header.has("labels")) return;
  model.labels.emplace();
  const json& labels = header.list("labels");
  for (std::size_t i = 0; i < labels.size(); ++i) {
    const JsonFields label(labels[i], fmt::format("labels[{}]", i));
    model.labels->push_back({.name = label.text("name"),
                             .kind = named<LabelKind>(label.text("kind")),
                             .unit = label.text("unit"),
                             .period = label.number("period", 0, std::numeric_limits<double>::max())});
  }
}

// Of the tensors' values, then the header.
std::string checksum(std::string_view values, std::string_view header) {
  uLong checksum = crc32_z(0, nullptr, 0);
  for (const auto part : {values, header})
    checksum = crc32_z(checksum, reinterpret_cast<const Bytef*>(part.data()), part.size());
  return fmt::format("{:08x}", checksum);
}

json list_of(const std::vector<SafetensorsEntry>& tensors) {
  json list = json::array();
  for (const auto& [name, shape] : tensors) list.push_back({{"name", name}, {"shape", shape}});
  return list;
}

// All of the header but its tensors; n_values: what they hold together.
SavedModel model_from_header(const JsonFields& header, std::int64_t n_values) {
  SavedModel model;
  const JsonFields design = header.fields("design");
  const std::string name = design.text_or("family", "vae");
  const Family* family = find_family(name);
  if (!family) throw std::invalid_argument("design.family \"" + one_line(name) + "\" is not known");
  model.design = family->read_design(design, n_values);

  model.bin_width_s =
      header.number("bin_width_s", std::numeric_limits<double>::min(), std::numeric_limits<double>::max());
  model.preparation = Preparation::from_json(header.at("preparation"));
  const std::int32_t window = model.preparation.left + model.preparation.right;
  if (model.preparation.windowed_input != model.design->encodes_windows())
    throw std::invalid_argument("preparation.input is not what the encoder sees");
  if (const std::int32_t of_design = model.design->window(); of_design > 0 && of_design != window)
    throw std::invalid_argument(
        fmt::format("preparation.windows are {} bins, the design's window {}", window, of_design));
  smoothing_taps(model.preparation, model.bin_width_s);  // refuses widths that no kernel has

  const JsonFields features = header.fields("label_features");
  constexpr double unbounded = std::numeric_limits<double>::infinity();
  model.scaling = {features.texts("names"), features.numbers("mean", -unbounded, unbounded),
                   features.numbers("scale", std::numeric_limits<double>::min(), unbounded)};
  const std::size_t n_features = model.scaling.names.size();
  if (model.scaling.mean.size() != n_features || model.scaling.scale.size() != n_features)
    throw std::invalid_argument("label_features has not one mean and one scale for every name");
  if (const auto n_labels = model.design->n_label_features(); n_labels && n_features != to_size(*n_labels))
    throw std::invalid_argument(
        fmt::format("label_features has {} names, the design {} label features", n_features, *n_labels));

  const JsonFields provenance = header.fields("provenance");
  provenance.boolean_or("shuffled_labels", false);
  model.provenance = provenance.object();
  identity_from_json(header, model);
  return model;
}

// The tensors that the design has. A design may ask for far more memory than its tensors take, of windows above all.
ParameterLayout plan_of(const SavedModel& model, std::size_t file_bytes) {
  const ModelPlan plan = model.design->plan();
  constexpr std::size_t allowed_per_byte = 4096;
  // A machine that could train the model can hold its latents.
  const auto always_allowed = std::max(std::size_t{8} << 30, to_size(std::max(0L, sysconf(_SC_PHYS_PAGES))) *
                                                                 to_size(std::max(0L, sysconf(_SC_PAGESIZE))));
  if (plan.bytes / allowed_per_byte > file_bytes && plan.bytes > always_allowed)
    throw std::invalid_argument(
        fmt::format("its latents would take {:.0f} GiB of memory", static_cast<double>(plan.bytes) / 0x1p30));
  return plan.layout;
}

NamedTensors tensors_of(const JsonFields& header, const ParameterLayout& layout, std::string_view values) {
  std::map<std::string, const TensorSlot*> slots;
  for (const auto& slot : layout.slots()) slots[slot.name] = &slot;
  const json& list = header.list("tensors");
  if (list.size() != slots.size())
    throw std::invalid_argument(fmt::format("lists {} tensors, the design has {}", list.size(), slots.size()));
  const auto n_wanted = static_cast<std::uint64_t>(layout.n_parameters());
  if (values.size() != n_wanted * sizeof(float))
    throw std::invalid_argument(
        fmt::format("holds {} bytes of tensors, the design has {} values of 4", values.size(), n_wanted));
  NamedTensors tensors;
  for (std::size_t i = 0; i < list.size(); ++i) {
    const JsonFields entry(list[i], fmt::format("tensors[{}]", i));
    const auto slot = slots.find(entry.text("name"));
    if (slot == slots.end())
      throw std::invalid_argument(
          fmt::format("tensor {} is listed twice or is none of the design's", one_line(entry.text("name"))));
    NamedTensor tensor{.shape = slot->second->shape(), .values = {}};
    if (entry.list("shape") != json(tensor.shape))
      throw std::invalid_argument(fmt::format("tensor {} has shape {}, the design's {}", slot->first,
                                              one_line(entry.at("shape").dump()), json(tensor.shape).dump()));
    std::vector<float> dense(to_size(slot->second->size()));
    std::memcpy(dense.data(), values.data(), dense.size() * sizeof(float));
    values.remove_prefix(dense.size() * sizeof(float));
    tensor.values.assign(dense.begin(), dense.end());
    tensors[slot->first] = std::move(tensor);
    slots.erase(slot);
  }
  return tensors;
}

}  // namespace

void write_model(const std::filesystem::path& path, const SavedModel& model) {
  json design = model.design->to_json();
  design["family"] = model.design->family().name();
  json header = {{"format_version", kVersion},
                 {"design", design},
                 {"preparation", model.preparation.to_json()},
                 {"label_features",
                  {{"names", model.scaling.names}, {"mean", model.scaling.mean}, {"scale", model.scaling.scale}}},
                 {"bin_width_s", model.bin_width_s},
                 {"provenance", model.provenance}};
  identity_to_json(model, header);
  Safetensors file;
  std::string values;
  for (const auto& [name, tensor] : model.parameters) {
    file.tensors.push_back({name, tensor.shape});
    const std::vector<float> dense(tensor.values.begin(), tensor.values.end());
    values.append(reinterpret_cast<const char*>(dense.data()), dense.size() * sizeof(float));
  }
  header["tensors"] = list_of(file.tensors);
  const std::string text = header.dump();
  file.metadata = {{"idem", text}, {"crc32", checksum(values, text)}};
  file.values = values;
  write_file_bytes(path, safetensors_bytes(file));
}

SavedModel read_model(const std::filesystem::path& path) {
  const std::string bytes = read_file_bytes(path);
  const auto fail = [&](const std::string& what) { return DataError(path.string() + ": " + what); };
  const bool is_old = begins_as_old_model(bytes);
  if (!is_old && !begins_as_safetensors(bytes))
    throw fail("is not a model of idem (model.safetensors of a run's folder)");
  Safetensors file;
  std::string_view text;
  try {
    if (is_old)
      std::tie(text, file.values) = parse_old_model(bytes);
    else
      file = parse_safetensors(bytes);
  } catch (const std::invalid_argument& error) {
    throw fail(error.what());
  }
  if (!is_old) {
    if (!file.metadata.count("idem"))
      throw fail("is a safetensors file, but no model of idem (model.safetensors of a run's folder)");
    text = file.metadata.at("idem");
    if (file.metadata["crc32"] != checksum(file.values, text))
      throw fail("is damaged (its checksum does not match); copy it again or train again");
  }

  json header;
  SavedModel model;
  const auto understand = [&](const auto& reading) {
    try {
      reading();
    } catch (const std::bad_alloc&) {
      throw;  // says nothing of the file
    } catch (const std::exception& error) {
      throw fail(fmt::format("cannot be understood ({}); train again", error.what()));
    }
  };
  std::int64_t version = kVersion;
  understand([&] {
    header = parse_json_text(text);
    if (!is_old)
      version = JsonFields(header, "").integer("format_version", kVersion, std::numeric_limits<std::int64_t>::max());
  });
  if (version > kVersion)
    throw fail(fmt::format("has format version {}, this program reads up to {}; use a newer idem", version, kVersion));
  understand([&] {
    const JsonFields fields(header, "");
    if (!is_old && fields.at("tensors") != list_of(file.tensors))
      throw std::invalid_argument("its list of tensors is not that of the safetensors header");
    model = model_from_header(fields, static_cast<std::int64_t>(file.values.size() / sizeof(float)));
    model.parameters = tensors_of(fields, plan_of(model, bytes.size()), file.values);
  });
  return model;
}

}  // namespace idem
