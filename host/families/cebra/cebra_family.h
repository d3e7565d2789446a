// cebra_family.h - CEBRA (Schneider, Lee & Mathis 2023, Nature 617): embeddings by InfoNCE, with positives by time, by
// labels or both (engine/families/cebra).
#pragma once

#include "engine/families/cebra/cebra.h"
#include "host/families/family.h"

namespace idem {

const Family& cebra_family();

class CebraSavedDesign final : public SavedDesign {
 public:
  explicit CebraSavedDesign(const CebraDesign& of) : design(of) {}
  const CebraDesign design;

  const Family& family() const override { return cebra_family(); }
  nlohmann::json to_json() const override;
  std::int32_t n_neurons() const override { return design.n_neurons; }
  std::int32_t n_latents() const override { return design.n_features; }
  std::int32_t window() const override { return design.window; }
  bool encodes_windows() const override { return true; }
  std::optional<std::int32_t> n_label_features() const override { return std::nullopt; }
  LabelUse label_use() const override { return LabelUse::unused; }
  ModelPlan plan() const override;
  LatentTable latents(Device& device, const NamedTensors& parameters, const PreparedData& prepared) const override;
  std::string describe_latents(const std::vector<std::string>&) const override {
    return "encoder_mean, the embedding, label-free";
  }
};

}  // namespace idem
