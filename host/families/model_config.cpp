#include "host/families/model_config.h"

#include <fmt/format.h>

#include "host/support/errors.h"
#include "host/support/numpy_random.h"
#include "kernels/common/to_size.h"

namespace idem {

void ModelConfig::fail(const std::string& key, const std::string& message) const {
  throw ConfigError(fmt::format("{}: model {}: {}: {}", source, name, key, message));
}

ModelConfig model_for(const ModelConfig& model, const Recording& recording) {
  ModelConfig result = model;
  if (!result.preparation.labels.empty() || !model.sees_labels()) return result;
  for (const auto& label : recording.labels) result.preparation.labels.push_back(label.name);
  if (result.preparation.labels.empty())
    throw ConfigError(
        fmt::format("{}: model.labels: {} has no labels, and {} at least one; describe what was measured "
                    "in recording.labels",
                    model.source, recording.subject, model.own->who_needs_labels()));
  return result;
}

Recording recording_for(const ModelConfig& model, const Recording& recording) {
  Recording seen = with_time(recording, model.preparation.labels);
  if (!model.shuffle_labels) return seen;
  const auto order = NumpyRandom(*model.shuffle_labels).permutation(seen.n_times);
  for (auto& label : seen.labels) {
    const std::vector<double> values = label.values;
    for (std::size_t bin = 0; bin < values.size(); ++bin) label.values[bin] = values[to_size(order[bin])];
  }
  return seen;
}

}  // namespace idem
