// model_file.h - model.safetensors: one trained model, with all it takes to apply it to a new recording;
// host/FORMATS.md says what is in it.
#pragma once

#include <filesystem>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include <nlohmann/json.hpp>

#include "engine/device/device.h"
#include "engine/networks/parameters.h"
#include "engine/training/latent_table.h"
#include "host/preparation/prepare.h"

namespace idem {

class Family;

// Whether a trained model's latents need labels: contrastive models' never do, an encoder that sees them does.
enum class LabelUse { unused, optional, required };

// The networks of a trained model, of one family.
class SavedDesign {
 public:
  virtual ~SavedDesign() = default;
  virtual const Family& family() const = 0;
  virtual nlohmann::json to_json() const = 0;
  virtual std::int32_t n_neurons() const = 0;
  virtual std::int32_t n_latents() const = 0;
  // Bins of the window that is taken bin by bin, by the encoder or by the decoder alone; 0: none is.
  virtual std::int32_t window() const = 0;
  virtual bool encodes_windows() const = 0;
  virtual std::optional<std::int32_t> n_label_features() const = 0;  // none: labels are no part of the networks
  virtual LabelUse label_use() const = 0;
  // The tensors, and the memory that latents take. Throws std::invalid_argument for impossible designs.
  virtual ModelPlan plan() const = 0;
  // Latents of every row; with those that need labels where `prepared` has them.
  virtual LatentTable latents(Device& device, const NamedTensors& parameters, const PreparedData& prepared) const = 0;
  // What arrays these are, for people. missing: labels of the model that the recording lacks.
  virtual std::string describe_latents(const std::vector<std::string>& missing) const = 0;
};

// A label as the recording described it that a model was trained on.
struct LabelIdentity {
  std::string name;
  LabelKind kind = LabelKind::continuous;
  std::string unit;
  double period = 0;  // circular
};

struct SavedModel {
  std::shared_ptr<const SavedDesign> design;
  Preparation preparation;
  LabelScaling scaling;
  double bin_width_s = 0;
  nlohmann::json provenance;
  NamedTensors parameters;
  std::vector<std::int64_t> neuron_ids = {};              // of the recording, one per neuron; empty: it had none
  std::vector<std::string> unit_names = {};               // likewise
  std::optional<std::vector<LabelIdentity>> labels = {};  // of preparation.labels; none: likewise
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

}  // namespace idem
