// saved_design.h - a trained VAE's networks.
#pragma once

#include <utility>

#include "engine/families/vae/design.h"
#include "host/families/model_file.h"

namespace idem {

class VaeDesign final : public SavedDesign {
 public:
  explicit VaeDesign(ModelDesign of) : design(std::move(of)) {}
  const ModelDesign design;

  const Family& family() const override;
  nlohmann::json to_json() const override;
  std::int32_t n_neurons() const override { return design.n_neurons; }
  std::int32_t n_latents() const override { return design.n_latents; }
  std::int32_t window() const override;
  bool encodes_windows() const override;
  std::optional<std::int32_t> n_label_features() const override { return design.n_labels; }
  LabelUse label_use() const override;
  ModelPlan plan() const override;
  LatentTable latents(Device& device, const NamedTensors& parameters, const PreparedData& prepared) const override;
  std::string describe_latents(const std::vector<std::string>& missing) const override;
};

}  // namespace idem
