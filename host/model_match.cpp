#include "host/model_match.h"

#include <algorithm>
#include <cmath>
#include <map>
#include <numbers>
#include <optional>

#include <fmt/format.h>
#include <fmt/ranges.h>

#include "host/errors.h"
#include "host/one_line.h"
#include "host/recording_npz.h"

namespace idem {
namespace {

std::string list_of(const std::vector<std::int64_t>& ids) {
  constexpr std::ptrdiff_t most = 8;
  if (ids.empty()) return "none";
  const auto end = ids.begin() + std::min<std::ptrdiff_t>(most, static_cast<std::ptrdiff_t>(ids.size()));
  return fmt::format("{}{}", fmt::join(ids.begin(), end, ", "), end == ids.end() ? "" : fmt::format(" and {} more", ids.end() - end));
}

void require_the_same_units(const SavedModel& model, const std::string& model_name, const Recording& recording) {
  std::vector<std::int64_t> of_model = model.neuron_ids, of_recording = recording.neuron_ids, missing, extra;
  std::sort(of_model.begin(), of_model.end());
  std::sort(of_recording.begin(), of_recording.end());
  std::set_difference(of_model.begin(), of_model.end(), of_recording.begin(), of_recording.end(), std::back_inserter(missing));
  std::set_difference(of_recording.begin(), of_recording.end(), of_model.begin(), of_model.end(), std::back_inserter(extra));
  if (missing.empty() && extra.empty()) return;
  throw DataError(fmt::format("{}: its units are not those that {} was trained on (missing: {}; extra: {}); a model serves its own neurons alone: choose them "
                              "with recording.spikes.units or recording.counts.columns, or train on this recording",
                              recording.subject, model_name, list_of(missing), list_of(extra)));
}

void reorder_neurons(Recording& recording, const std::vector<std::int64_t>& order) {
  std::multimap<std::int64_t, std::size_t> column_of;
  for (std::size_t column = 0; column < recording.neuron_ids.size(); ++column) column_of.emplace(recording.neuron_ids[column], column);
  std::vector<std::size_t> from;
  for (const auto id : order) {
    const auto found = column_of.find(id);
    from.push_back(found->second);
    column_of.erase(found);
  }
  std::vector<float> counts;
  counts.reserve(recording.counts.size());
  for (std::int64_t time = 0; time < recording.n_times; ++time)
    for (const auto column : from) counts.push_back(recording.count(time, static_cast<std::int64_t>(column)));
  recording.counts = std::move(counts);
  recording.neuron_ids = order;
}

// What one unit is in another: 1 m is 100 cm.
std::optional<double> conversion(const std::string& from, const std::string& to) {
  struct Unit {
    const char *name, *dimension;
    double size;
  };
  static constexpr Unit units[] = {{"m", "length", 1},      {"cm", "length", 0.01},   {"mm", "length", 0.001},
                                   {"s", "time", 1},        {"ms", "time", 0.001},    {"rad", "angle", 1},
                                   {"deg", "angle", std::numbers::pi / 180}, {"degrees", "angle", std::numbers::pi / 180}};
  const auto find = [&](const std::string& name) {
    return std::find_if(std::begin(units), std::end(units), [&](const Unit& unit) { return name == unit.name; });
  };
  const auto *source = find(from), *target = find(to);
  if (source == std::end(units) || target == std::end(units) || std::string(source->dimension) != target->dimension) return std::nullopt;
  return source->size / target->size;
}

void match_label(const LabelIdentity& known, const std::string& model_name, const std::string& subject, LabelColumn& label, std::vector<std::string>& said) {
  const std::string shown = one_line(label.name);
  const auto fail = [&](const std::string& of_model, const std::string& of_recording) {
    throw DataError(fmt::format("{}: label {} is {}, {} was trained on {}; describe it alike in recording.labels (or leave the label out for label-free "
                                "latents alone)",
                                subject, shown, of_recording, model_name, of_model));
  };
  const auto in = [](const std::string& unit) { return unit.empty() ? std::string("without a unit") : "in " + one_line(unit); };
  if (label.kind != known.kind) fail(name_of(known.kind), name_of(label.kind));
  double factor = 1;
  if (label.unit != known.unit) {
    const auto found = conversion(label.unit, known.unit);
    if (found) {
      factor = *found;
      if (factor != 1) said.push_back(fmt::format("label {} converted from {} to the model's {}", shown, label.unit, known.unit));
    } else if (label.unit.empty() || known.unit.empty()) {
      said.push_back(fmt::format("warning: label {} is {}, the model's {}: they are taken to be the same", shown, in(label.unit), in(known.unit)));
    } else {
      fail(in(known.unit), in(label.unit));
    }
  }
  if (label.kind == LabelKind::circular) {
    if (!(std::abs(label.period * factor - known.period) <= 1e-6 * known.period))
      fail(fmt::format("of period {:g} {}", known.period, one_line(known.unit)), fmt::format("of period {:g} {}", label.period, one_line(label.unit)));
    label.period = known.period;
  }
  for (double& value : label.values) {
    value *= factor;
    if (label.kind == LabelKind::circular) value = wrap_to_period(value, label.period);
  }
  label.unit = known.unit;
}

}  // namespace

void remember_recording(SavedModel& model, const Recording& recording) {
  const Recording seen = with_time(recording, model.preparation.labels);
  if (recording.has_unit_ids) model.neuron_ids = recording.neuron_ids;
  model.labels.emplace();
  for (const auto& name : model.preparation.labels) {
    const LabelColumn& label = seen.label(name);
    model.labels->push_back({.name = name, .kind = label.kind, .unit = label.unit, .period = label.period});
  }
}

Recording matched_to_model(const SavedModel& model, const std::string& model_name, Recording recording, std::vector<std::string>& said) {
  if (recording.has_unit_ids && !model.neuron_ids.empty()) require_the_same_units(model, model_name, recording);
  if (recording.n_neurons != n_neurons_of(model))
    throw DataError(fmt::format("{}: has {} neurons, {} was trained on {}; a model serves the neurons it was trained on", recording.subject,
                                recording.n_neurons, model_name, n_neurons_of(model)));
  if (!model.labels) {
    said.push_back(fmt::format("warning: {} holds no unit ids and no units of labels, as an older idem wrote it: neurons and labels are taken to be those "
                               "it was trained on, in the same order and units",
                               model_name));
  } else if (!recording.has_unit_ids || model.neuron_ids.empty()) {
    said.push_back(recording.has_unit_ids
                       ? fmt::format("{} has no unit ids: the neurons of {} are taken to be its own, in the same order", model_name, recording.subject)
                       : fmt::format("the counts of {} have no unit ids: their neurons are taken to be the model's, in the same order",
                                     recording.subject));
  } else if (recording.neuron_ids != model.neuron_ids) {
    reorder_neurons(recording, model.neuron_ids);
    said.push_back(fmt::format("the neurons of {} brought into the order of the model's", recording.subject));
  }
  if (!model.labels || model.cebra || model.gcl || !model.design.sees_labels()) return recording;
  for (const auto& known : *model.labels)
    for (auto& label : recording.labels)
      if (label.name == known.name) match_label(known, model_name, recording.subject, label, said);
  return recording;
}

}  // namespace idem
