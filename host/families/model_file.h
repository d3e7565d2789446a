// model_file.h - model.idem: one trained model, with all it takes to apply it to a new recording.
//
// Layout, little endian throughout:
//   offset      bytes     what
//   0           8         "idem\r\n\x1a\n": text-mode transfers and truncation at a text end show up at once
//   8           4         format version, uint32 (this program writes 1, and 2 for what a program of version 1 does not know:
//                         a CEBRA or GCL model, an encoder that sees labels)
//   12          4         length H of the header, uint32
//   16          H         header, JSON in UTF-8
//   16 + H      ...       the tensors' values, float32, dense and row-major, in the header's order without gaps
//   end - 4     4         CRC-32 (zlib's) of everything before
// Header: "design" (ModelDesign, or with "family": "cebra" CebraDesign, "gcl" GclDesign), "preparation" (windows, smoothing, labels; see
// prepare.h), "label_features" (names, mean, scale), "bin_width_s", "provenance" (program version, device, study, subject, seed, split, what training gave) and
// "tensors": [{"name", "shape"}]. Optional, so that transform knows the recording again: "neuron_ids" (one whole number per neuron; not where
// the recording had none), "unit_names" (likewise) and "labels" [{"name", "kind", "unit", "period"}]. The same training gives the same bytes: nothing in the file says when it was written.
// Version rule: a program reads its own version and all before; a change of meaning of any key raises the version.
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

// Through a temporary name, so that no reader sees half a file. Throws DataError.
void write_model(const std::filesystem::path& path, const SavedModel& model);

// Throws DataError for a file that is missing, cut short, damaged, of another kind or of a newer version, saying which; also for one whose checksum is
// right but whose header is not what such a model's can be: every value is of its kind and range, the tensors are those of the design with their shapes,
// and scaling and preparation fit it, before memory is taken for any of them.
SavedModel read_model(const std::filesystem::path& path);

std::int32_t n_neurons_of(const SavedModel& model);

}  // namespace idem
