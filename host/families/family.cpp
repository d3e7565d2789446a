#include "host/families/family.h"

namespace idem {

FleetCost cost_of_fleet(const ModelConfig& model, const std::vector<Subject>& subjects, const DecodingOptions& decoding,
                        const std::vector<const PlannedRun*>& runs, ThreadPool& pool) {
  FleetCost cost;
  cost.bytes = measure_memory([&](Device& device) {
    cost.n_parameters = model.own->make_fleet({model, subjects, decoding, device, pool}, runs)->n_parameters();
  });
  return cost;
}

void ModelSections::require_no_labels(const std::string& message) const {
  if (config.shuffle_labels || !model.at("labels").is_null())
    config.fail(config.shuffle_labels ? "shuffle_labels" : "labels", message);
}

}  // namespace idem
