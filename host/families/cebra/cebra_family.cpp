#include "host/families/cebra/cebra_family.h"

#include <algorithm>
#include <limits>

#include "engine/families/cebra/embed_recording.h"
#include "host/families/cebra/bench.h"
#include "host/families/cebra/contrastive_data.h"
#include "host/families/cebra/golden.h"
#include "host/families/cebra/model.h"
#include "host/families/hidden_layers_json.h"
#include "host/support/named.h"

namespace idem {
namespace {

using nlohmann::json;

CebraDesign cebra_from_json(const JsonFields& from, std::int64_t most) {
  CebraDesign design{
      .n_neurons = from.size("neurons", 1, most),
      .n_features = from.size("latents", 1, kMostLatents),
      .window = from.size("window", 1, std::min(kMostWindow, most)),
      .width = from.size("width", 1, kMostWidth),
      .is_normalised = from.boolean("normalised"),
      .similarity = named<Similarity, std::invalid_argument>(from.text("similarity")),
      .learns_temperature = from.boolean("learns_temperature"),
      .smallest_temperature = from.number("smallest_temperature", 0, std::numeric_limits<double>::infinity())};
  design.n_behaviour_features = from.size("behaviour_latents", 0, design.n_features);
  return design;
}

class CebraFamily final : public Family {
 public:
  std::string name() const override { return "cebra"; }

  bool maximises(const std::string& objective) const override { return objective == "info-nce"; }
  std::optional<json> preset(const std::string& preset) const override {
    if (!preset.starts_with("cebra-")) return std::nullopt;
    json cebra = json::parse(R"({
      "latents": 3,
      "objective": {"name": "info-nce"},
      "standardise_labels": false,
      "training": {"learning_rate": 0.0003, "clip_norm": 0}
    })");
    if (preset == "cebra-time") cebra["contrastive"] = {{"positives", "time"}};
    if (preset == "cebra-hybrid") cebra["contrastive"] = {{"hybrid", true}};
    return cebra;
  }
  bool encodes_windows(const json&) const override { return true; }
  std::shared_ptr<const FamilyModel> read(const ModelSections& sections) const override { return read_cebra(sections); }
  std::vector<UnreadKey> own_sections(const ModelConfig&) const override {
    return {{"contrastive", "is of objective.name \"info-nce\" alone; choose it, or a preset of CEBRA"}};
  }
  std::vector<UnreadKey> unread() const override {
    std::vector<UnreadKey> keys;
    for (const char* section : {"encoder", "prior"})
      keys.push_back({section, "CEBRA's encoder follows from the window and contrastive.width; drop it"});
    for (const char* key :
         {"batch", "epochs", "shuffle", "schedule", "patience", "keep", "input_noise", "noisy_target"})
      keys.push_back(
          {std::string("training.") + key, "CEBRA trains by contrastive.steps and contrastive.batch; drop it"});
    return keys;
  }

  std::vector<std::string> file_keys() const override { return {"contrastive.adapt_from"}; }

  std::shared_ptr<const SavedDesign> read_design(const JsonFields& from, std::int64_t most) const override {
    return std::make_shared<CebraSavedDesign>(cebra_from_json(from, most));
  }

  std::vector<LossPanelWords> loss_panels(const ReportedRun&) const override {
    using enum LossPanelWords::Role;
    return {{"InfoNCE (nats)", {{"loss", "loss", single}}},
            {"its parts (nats)", {{"alignment", "alignment", label_free}, {"uniformity", "uniformity", with_labels}}},
            {"parts by behaviour (nats)",
             {{"behaviour_alignment", "alignment", label_free}, {"behaviour_uniformity", "uniformity", with_labels}}}};
  }
  std::string loss_note(const std::vector<ReportedRun>&) const override {
    return "CEBRA: InfoNCE is its alignment and uniformity together, in nats; an embedding that tells nothing has the "
           "logarithm of the number of negatives. The hybrid's loss is the sum of two, in time and by behaviour.";
  }
  std::vector<std::string> sources(const std::vector<ReportedRun>&, const nlohmann::ordered_json&) const override {
    return {
        "InfoNCE: van den Oord, Li, Vinyals. Representation learning with contrastive predictive coding. 2018. arXiv "
        "1807.03748",
        "CEBRA: Schneider, Lee, Mathis 2023, as of the protocol below. CEBRA's authors have filed a patent "
        "application, WO2023143843A1: judge for yourself whether that concerns you"};
  }
  TrainingUnit unit() const override { return TrainingUnit::step; }
  // The training loss at the last step, as a model need not validate.
  double ranking_loss(const json& entry) const override {
    const auto number = [](const json& value) {
      return value.is_number() ? value.get<double>() : std::numeric_limits<double>::quiet_NaN();
    };
    const json& train = entry.at("fit").at("train");
    return number(train.at("info_nce")) +
           (train.contains("behaviour") ? number(train.at("behaviour").at("info_nce")) : 0);
  }

  std::vector<CaseKind> golden_cases() const override { return cebra_golden_cases(); }
  std::vector<StepBench> step_benches() const override { return cebra_step_benches(); }
};

}  // namespace

const Family& cebra_family() {
  static const CebraFamily family;
  return family;
}

json CebraSavedDesign::to_json() const {
  return {{"neurons", design.n_neurons},
          {"latents", design.n_features},
          {"window", design.window},
          {"width", design.width},
          {"normalised", design.is_normalised},
          {"similarity", to_string(design.similarity)},
          {"learns_temperature", design.learns_temperature},
          {"smallest_temperature", design.smallest_temperature},
          {"behaviour_latents", design.n_behaviour_features}};
}

ModelPlan CebraSavedDesign::plan() const { return plan_latents(design); }

LatentTable CebraSavedDesign::latents(Device& device, const NamedTensors& parameters,
                                      const PreparedData& prepared) const {
  LatentTable table;
  table.encoder_mean = embed_recording(device, design, parameters, embedding_data(prepared));
  return table;
}

}  // namespace idem
