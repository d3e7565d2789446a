#include "host/evaluation/targets.h"

#include <algorithm>
#include <cmath>
#include <numbers>

#include "fmt/format.h"
#include "host/evaluation/scores.h"
#include "host/support/errors.h"
#include "kernels/common/to_size.h"

namespace idem {

namespace {

using nlohmann::json;

constexpr double kTurn = 2 * std::numbers::pi;

std::vector<Target> targets_of(const Recording& recording) {
  std::vector<Target> targets;
  int n_columns = 0;
  for (const auto& label : recording.labels) {
    const int columns = label.kind == LabelKind::continuous ? 1
                        : label.kind == LabelKind::circular ? 2
                                                            : static_cast<int>(label.categories.size());
    targets.push_back({&label, columns, n_columns});
    n_columns += columns;
  }
  return targets;
}

const LabelColumn* find_label(const Recording& recording, const std::string& name, bool categorical, const char* part) {
  if (name.empty()) {
    for (const auto& label : recording.labels)
      if ((label.kind == LabelKind::categorical) == categorical) return &label;
    return nullptr;
  }
  const LabelColumn& label = recording.label(name);
  if ((label.kind == LabelKind::categorical) != categorical)
    throw ConfigError(fmt::format("decoding: {} label \"{}\" is {}categorical: name a {} label", part, name,
                                  categorical ? "not " : "", categorical ? "categorical" : "continuous or circular"));
  return &label;
}

}  // namespace

double Target::value_from_columns(const double* columns) const {
  switch (label->kind) {
    case LabelKind::continuous: return columns[0];
    case LabelKind::circular: {
      const double turns = std::atan2(columns[0], columns[1]) / kTurn;
      const double value = (turns - std::floor(turns)) * label->period;
      return value < label->period ? value : 0;
    }
    case LabelKind::categorical: return static_cast<double>(std::max_element(columns, columns + n_columns) - columns);
  }
  return 0;
}

void Target::columns_from_value(double value, double* columns) const {
  switch (label->kind) {
    case LabelKind::continuous: columns[0] = value; break;
    case LabelKind::circular:
      columns[0] = std::sin(kTurn * value / label->period);
      columns[1] = std::cos(kTurn * value / label->period);
      break;
    case LabelKind::categorical:
      for (int category = 0; category < n_columns; ++category)
        columns[category] = static_cast<int>(value) == category ? 1 : 0;
      break;
  }
}

int column_count(const std::vector<Target>& targets) {
  return targets.empty() ? 0 : targets.back().first_column + targets.back().n_columns;
}

Labels::Labels(const Recording& r, const DecodingOptions& o)
    : recording(r),
      options(o),
      targets(targets_of(r)),
      position(position_label(r, o.position_label)),
      direction(direction_label(r, o.direction_label)) {}

std::vector<double> Labels::true_columns(std::span<const std::int32_t> rows) const {
  std::vector<double> values;
  for (const auto row : rows)
    for (const auto& target : targets) values.push_back(target.label->values[to_size(row)]);
  return columns_of(values);
}

std::vector<double> Labels::columns_of(const std::vector<double>& values) const {
  const auto n_columns = to_size(column_count(targets)), n_labels = targets.size();
  std::vector<double> columns(values.size() / n_labels * n_columns);
  for (std::size_t i = 0; i < values.size() / n_labels; ++i)
    for (std::size_t label = 0; label < n_labels; ++label)
      targets[label].columns_from_value(values[i * n_labels + label],
                                        columns.data() + i * n_columns + to_size(targets[label].first_column));
  return columns;
}

Problem::Problem(const Embedding& e, const Recording& r, const DecodingOptions& o, ThreadPool& p)
    : Labels(r, o), embedding(e), pool(p) {
  if (embedding.n_rows != recording.n_times ||
      embedding.values.size() != to_size(embedding.n_rows) * to_size(embedding.n_dims) || embedding.n_dims < 1)
    throw DataError(
        fmt::format("embedding: {} rows of {} values; the recording of {} has {} bins, one row is needed for each",
                    embedding.n_rows, embedding.n_dims, recording.subject, recording.n_times));
}

double distance_on_label(const LabelColumn& label, double a, double b) {
  return std::abs(label.kind == LabelKind::circular ? circular_difference(a, b, label.period) : a - b);
}

double centimetres_per_unit(const std::string& unit) {
  return unit == "m" ? 100 : unit == "cm" ? 1 : unit == "mm" ? 0.1 : 0;
}

PositionError position_error_of(const LabelColumn& position) {
  const double in_cm = centimetres_per_unit(position.unit);
  return in_cm > 0 ? PositionError{"position_error_cm", in_cm} : PositionError{"position_error", 1};
}

const LabelColumn* position_label(const Recording& recording, const std::string& name) {
  return find_label(recording, name, false, "position");
}

const LabelColumn* direction_label(const Recording& recording, const std::string& name) {
  return find_label(recording, name, true, "direction");
}

json decoded_labels(const Recording& recording, const DecodingOptions& options) {
  json result = json::object();
  if (const auto* position = position_label(recording, options.position_label))
    result["position"] = {{"name", position->name},
                          {"unit", centimetres_per_unit(position->unit) > 0 ? "cm" : position->unit}};
  if (const auto* direction = direction_label(recording, options.direction_label))
    result["direction"] = {{"name", direction->name}};
  for (const auto& label : recording.labels) {
    json& column = result["columns"][label.name] = {{"kind", to_string(label.kind)}, {"unit", label.unit}};
    if (label.kind == LabelKind::circular) column["period"] = label.period;
  }
  return result;
}

std::vector<std::int32_t> train_and_valid(const Split& split) {
  std::vector<std::int32_t> rows = split.train;
  rows.insert(rows.end(), split.valid.begin(), split.valid.end());
  return rows;
}

}  // namespace idem
