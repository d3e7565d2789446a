// model.h - a CEBRA model as configured: it learns by comparing bins and not by explaining counts.
#pragma once

#include <string>

#include "engine/families/cebra/plan.h"
#include "host/families/family.h"

namespace idem {

class CebraModel final : public FamilyModel {
 public:
  CebraDesign design;         // n_neurons is the recording's: 0 here
  CebraPlan plan;             // samples.n_labels follows from the labels: 0 here
  bool by_class = false;      // positives share the categorical labels
  bool fits_session = false;  // every bin trains, those of the validation and test parts too (no label is seen)
  std::string adapt_from;     // a model file whose layers but the first are kept; empty: none
  double temperature = 1, delta_sd = 0;

  const Family& family() const override;
  std::int32_t n_latents() const override { return design.n_features; }
  bool sees_labels() const override { return plan.positive != ContrastivePositive::time; }
  std::string objective(bool is_joint) const override;
  std::string who_needs_labels() const override { return "CEBRA's positives by behaviour need"; }
  std::string length() const override;
  std::string batch() const override;
  double n_trained_bins(std::size_t n_train) const override;
  bool trains_splits_apart() const override { return true; }
  std::vector<std::string> notes(const ModelConfig& model) const override;
  std::vector<std::string> warnings(std::size_t n_train) const override;
  void check(const ModelConfig& model, const Subject& subject) const override;
  void check_joint(const ModelConfig& model, const std::vector<Subject>& subjects) const override;
  std::unique_ptr<ModelFleet> make_fleet(const FleetSetting& setting,
                                         const std::vector<const PlannedRun*>& runs) const override;
};

// That of a model of this family.
const CebraModel& cebra_of(const ModelConfig& model);

std::shared_ptr<const CebraModel> read_cebra(const ModelSections& sections);

}  // namespace idem
