// model_file.h - model.safetensors: one trained model, with all it takes to apply it to a new recording;
// host/FORMATS.md says what is in it.
#pragma once

#include <filesystem>
#include <optional>

#include <nlohmann/json.hpp>

#include "engine/networks/parameters.h"
#include "host/families/vae/design_json.h"
#include "host/preparation/prepare.h"

namespace idem {

// A label as the recording described it that a model was trained on.
struct LabelIdentity {
  std::string name;
  LabelKind kind = LabelKind::continuous;
  std::string unit;
  double period = 0;  // circular
};

struct SavedModel {
  std::optional<CebraDesign> cebra;  // one of the two, else `design`
  std::optional<GclDesign> gcl;
  ModelDesign design;
  Preparation preparation;
  LabelScaling scaling;
  double bin_width_s = 0;
  nlohmann::json provenance;
  NamedTensors parameters;
  std::vector<std::int64_t> neuron_ids = {};                // of the recording, one per neuron; empty: it had none
  std::vector<std::string> unit_names = {};                 // likewise
  std::optional<std::vector<LabelIdentity>> labels = {};    // of preparation.labels; none: likewise
};

inline constexpr const char* kModelFile = "model.safetensors";
inline constexpr const char* kOldModelFile = "model.idem";  // in folders of runs of 0.1.0

// Through a temporary name, so that no reader sees half a file. Throws DataError.
void write_model(const std::filesystem::path& path, const SavedModel& model);

// Of every format version. Throws DataError for a file that is missing, cut short, damaged, of another kind or of a
// newer version, saying which; also for one whose checksum is right but whose header is not what such a model's can be:
// every value is of its kind and range, the tensors are those of the design with their shapes, and scaling and
// preparation fit it, before memory is taken for any of them.
SavedModel read_model(const std::filesystem::path& path);

std::int32_t n_neurons_of(const SavedModel& model);

}  // namespace idem
