// model.h - a model of the VAE family as configured.
#pragma once

#include <nlohmann/json.hpp>

#include "engine/families/vae/design.h"
#include "host/families/epoch_model.h"

namespace idem {

class VaeModel final : public EpochModel {
 public:
  // n_neurons and n_labels are the recording's: 0 here, as is flow.width where it follows from them; permutations are
  // empty.
  ModelDesign design;
  double beta = 1;

  const Family& family() const override;
  std::int32_t n_latents() const override { return design.n_latents; }
  bool sees_labels() const override { return design.sees_labels(); }
  std::string objective(bool is_joint) const override;
  std::string who_needs_labels() const override { return "the prior p(z|u) needs"; }
  std::vector<std::string> notes(const ModelConfig& model) const override;
  void check(const ModelConfig& model, const Subject& subject) const override;
  void check_joint(const ModelConfig&, const std::vector<Subject>&) const override {}
  std::unique_ptr<ModelFleet> make_fleet(const FleetSetting& setting,
                                         const std::vector<const PlannedRun*>& runs) const override;
};

// That of a model of this family.
const VaeModel& vae_of(const ModelConfig& model);

// Of model.convention: whether the reconstruction and the KL terms are sums or means over neurons and latents, whether
// terms without parameters are kept, and the usual weight of the KL terms; as a model section.
nlohmann::json convention_defaults(const std::string& name);

// Of model.preset, as a model section; nothing for those of other families.
std::optional<nlohmann::json> vae_preset(const std::string& name);

std::shared_ptr<const VaeModel> read_vae(const ModelSections& sections);

}  // namespace idem
