#include "host/recording.h"

#include <cmath>
#include <numbers>

#include "host/errors.h"

namespace idem {

const LabelColumn& Recording::label(const std::string& name) const {
  std::string known;
  for (const auto& column : labels) {
    if (column.name == name) return column;
    known += (known.empty() ? "" : ", ") + column.name;
  }
  throw ConfigError("label \"" + name + "\" is not in the recording of " + subject + "; labels there: " + (known.empty() ? "none" : known));
}

LabelFeatures encode_labels(const Recording& recording, const std::vector<std::string>& label_names) {
  LabelFeatures features;
  std::vector<const LabelColumn*> columns;
  for (const auto& name : label_names) {
    columns.push_back(&recording.label(name));
    const auto& column = *columns.back();
    switch (column.kind) {
      case LabelKind::continuous: features.names.push_back(column.name); break;
      case LabelKind::circular:
        features.names.push_back(column.name + ".sin");
        features.names.push_back(column.name + ".cos");
        break;
      case LabelKind::categorical:
        for (const auto& category : column.categories) features.names.push_back(column.name + "=" + category);
        break;
    }
  }
  features.n_features = static_cast<std::int32_t>(features.names.size());
  features.values.reserve(static_cast<std::size_t>(recording.n_times) * features.names.size());
  for (std::int32_t time = 0; time < recording.n_times; ++time)
    for (const auto* column : columns) {
      const double value = column->values[static_cast<std::size_t>(time)];
      switch (column->kind) {
        case LabelKind::continuous: features.values.push_back(static_cast<float>(value)); break;
        case LabelKind::circular: {
          const double phase = 2 * std::numbers::pi * value / column->period;
          features.values.push_back(static_cast<float>(std::sin(phase)));
          features.values.push_back(static_cast<float>(std::cos(phase)));
          break;
        }
        case LabelKind::categorical:
          for (std::size_t category = 0; category < column->categories.size(); ++category)
            features.values.push_back(static_cast<std::size_t>(value) == category ? 1.0f : 0.0f);
          break;
      }
    }
  return features;
}

}  // namespace idem
