// gcl_family.h - generalized contrastive learning (Hyvärinen, Sasaki & Turner 2019): latents by which true labels are
// told from those of other bins (engine/families/gcl).
#pragma once

#include "engine/families/gcl/gcl.h"
#include "host/families/epoch_model.h"

namespace idem {

const Family& gcl_family();

class GclModel final : public EpochModel {
 public:
  GclDesign design;  // n_neurons and n_labels are the recording's: 0 here

  const Family& family() const override { return gcl_family(); }
  std::int32_t n_latents() const override { return design.n_latents; }
  bool sees_labels() const override { return true; }
  std::string objective(bool) const override { return "generalized contrastive learning"; }
  std::string who_needs_labels() const override { return "contrastive learning needs"; }
  std::vector<std::string> notes(const ModelConfig&) const override { return {}; }
  void check(const ModelConfig&, const Subject&) const override {}
  void check_joint(const ModelConfig&, const std::vector<Subject>&) const override {}
  std::unique_ptr<ModelFleet> make_fleet(const FleetSetting& setting,
                                         const std::vector<const PlannedRun*>& runs) const override;
};

class GclSavedDesign final : public SavedDesign {
 public:
  explicit GclSavedDesign(GclDesign of) : design(std::move(of)) {}
  const GclDesign design;

  const Family& family() const override { return gcl_family(); }
  nlohmann::json to_json() const override;
  std::int32_t n_neurons() const override { return design.n_neurons; }
  std::int32_t n_latents() const override { return design.n_latents; }
  std::int32_t window() const override { return 0; }
  bool encodes_windows() const override { return false; }
  std::optional<std::int32_t> n_label_features() const override { return design.n_labels; }
  LabelUse label_use() const override { return LabelUse::unused; }
  ModelPlan plan() const override;
  LatentTable latents(Device& device, const NamedTensors& parameters, const PreparedData& prepared) const override;
  std::string describe_latents(const std::vector<std::string>&) const override { return "encoder_mean, label-free"; }
};

}  // namespace idem
