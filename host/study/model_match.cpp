#include "host/study/model_match.h"

#include <algorithm>
#include <cmath>
#include <map>
#include <numbers>
#include <optional>

#include <fmt/format.h>

#include "host/support/errors.h"
#include "host/support/one_line.h"

namespace idem {
namespace {

template <class Id>
std::string list_of(const std::vector<Id>& ids) {
  constexpr std::size_t most = 8;
  if (ids.empty()) return "none";
  std::string text;
  for (std::size_t i = 0; i < std::min(most, ids.size()); ++i)
    text += (i > 0 ? ", " : "") + one_line(fmt::format("{}", ids[i]));
  return ids.size() > most ? fmt::format("{} and {} more", text, ids.size() - most) : text;
}

template <class Id>
void require_the_same_units(std::vector<Id> of_model, std::vector<Id> of_recording, const std::string& model_name,
                            const std::string& subject) {
  std::vector<Id> missing, extra;
  std::sort(of_model.begin(), of_model.end());
  std::sort(of_recording.begin(), of_recording.end());
  std::set_difference(of_model.begin(), of_model.end(), of_recording.begin(), of_recording.end(),
                      std::back_inserter(missing));
  std::set_difference(of_recording.begin(), of_recording.end(), of_model.begin(), of_model.end(),
                      std::back_inserter(extra));
  if (missing.empty() && extra.empty()) return;
  throw DataError(
      fmt::format("{}: its units are not those that {} was trained on (missing: {}; extra: {}); a model serves its own "
                  "neurons alone: choose them "
                  "with recording.spikes.units or recording.counts.columns, or train on this recording",
                  subject, model_name, list_of(missing), list_of(extra)));
}

// Of each place of `order` the column that holds that unit. Ids that occur twice keep their order.
template <class Id>
std::vector<std::size_t> columns_in_order(const std::vector<Id>& ids, const std::vector<Id>& order) {
  std::multimap<Id, std::size_t> column_of;
  for (std::size_t column = 0; column < ids.size(); ++column) column_of.emplace(ids[column], column);
  std::vector<std::size_t> from;
  for (const auto& id : order) {
    const auto found = column_of.find(id);
    from.push_back(found->second);
    column_of.erase(found);
  }
  return from;
}

void reorder_neurons(Recording& recording, const std::vector<std::size_t>& from) {
  std::vector<float> counts;
  counts.reserve(recording.counts.size());
  for (std::int64_t time = 0; time < recording.n_times; ++time)
    for (const auto column : from) counts.push_back(recording.count(time, static_cast<std::int64_t>(column)));
  recording.counts = std::move(counts);
  const auto reorder = [&](auto& list) {
    if (list.empty()) return;
    auto ordered = list;
    for (std::size_t place = 0; place < from.size(); ++place) ordered[place] = list[from[place]];
    list = std::move(ordered);
  };
  reorder(recording.neuron_ids);
  reorder(recording.unit_names);
}

// Brings neurons into the model's order by their ids or names. Returns whether they were in another.
template <class Id>
bool bring_into_order(const std::vector<Id>& of_model, const std::vector<Id>& of_recording,
                      const std::string& model_name, Recording& recording) {
  require_the_same_units(of_model, of_recording, model_name, recording.subject);
  if (of_model == of_recording) return false;
  reorder_neurons(recording, columns_in_order(of_recording, of_model));
  return true;
}

// What one unit is in another: 1 m is 100 cm.
std::optional<double> conversion(const std::string& from, const std::string& to) {
  struct Unit {
    const char *name, *dimension;
    double size;
  };
  static constexpr Unit units[] = {{"m", "length", 1},
                                   {"cm", "length", 0.01},
                                   {"mm", "length", 0.001},
                                   {"s", "time", 1},
                                   {"ms", "time", 0.001},
                                   {"rad", "angle", 1},
                                   {"deg", "angle", std::numbers::pi / 180},
                                   {"degrees", "angle", std::numbers::pi / 180}};
  const auto find = [&](const std::string& name) {
    return std::find_if(std::begin(units), std::end(units), [&](const Unit& unit) { return name == unit.name; });
  };
  const auto *source = find(from), *target = find(to);
  if (source == std::end(units) || target == std::end(units) || std::string(source->dimension) != target->dimension)
    return std::nullopt;
  return source->size / target->size;
}

void match_label(const LabelIdentity& known, const std::string& model_name, const std::string& subject,
                 LabelColumn& label, std::vector<std::string>& said) {
  const std::string shown = one_line(label.name);
  const auto fail = [&](const std::string& of_model, const std::string& of_recording) {
    throw DataError(
        fmt::format("{}: label {} is {}, {} was trained on {}; describe it alike in recording.labels (or leave the "
                    "label out for label-free "
                    "latents alone)",
                    subject, shown, of_recording, model_name, of_model));
  };
  const auto in = [](const std::string& unit) {
    return unit.empty() ? std::string("without a unit") : "in " + one_line(unit);
  };
  if (label.kind != known.kind) fail(to_string(known.kind), to_string(label.kind));
  double factor = 1;
  if (label.unit != known.unit) {
    const auto found = conversion(label.unit, known.unit);
    if (found) {
      factor = *found;
      if (factor != 1)
        said.push_back(fmt::format("label {} converted from {} to the model's {}", shown, label.unit, known.unit));
    } else if (label.unit.empty() || known.unit.empty()) {
      said.push_back(fmt::format("warning: label {} is {}, the model's {}: they are taken to be the same", shown,
                                 in(label.unit), in(known.unit)));
    } else {
      fail(in(known.unit), in(label.unit));
    }
  }
  if (label.kind == LabelKind::circular) {
    if (!(std::abs(label.period * factor - known.period) <= 1e-6 * known.period))
      fail(fmt::format("of period {:g} {}", known.period, one_line(known.unit)),
           fmt::format("of period {:g} {}", label.period, one_line(label.unit)));
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
  model.unit_names = recording.unit_names;
  model.labels.emplace();
  for (const auto& name : model.preparation.labels) {
    const LabelColumn& label = seen.label(name);
    model.labels->push_back({.name = name, .kind = label.kind, .unit = label.unit, .period = label.period});
  }
}

Recording matched_to_model(const SavedModel& model, const std::string& model_name, Recording recording,
                           std::vector<std::string>& said) {
  const bool by_id = recording.has_unit_ids && !model.neuron_ids.empty(),
             by_name = !recording.unit_names.empty() && !model.unit_names.empty();
  const bool is_reordered =
      by_id     ? bring_into_order(model.neuron_ids, std::vector(recording.neuron_ids), model_name, recording)
      : by_name ? bring_into_order(model.unit_names, std::vector(recording.unit_names), model_name, recording)
                : false;
  if (recording.n_neurons != model.design->n_neurons())
    throw DataError(
        fmt::format("{}: has {} neurons, {} was trained on {}; a model serves the neurons it was trained on",
                    recording.subject, recording.n_neurons, model_name, model.design->n_neurons()));
  const bool has_units = recording.has_unit_ids || !recording.unit_names.empty();
  if (!model.labels) {
    said.push_back(
        fmt::format("warning: {} holds no unit ids and no units of labels, as an older idem wrote it: neurons and "
                    "labels are taken to be those "
                    "it was trained on, in the same order and units",
                    model_name));
  } else if (is_reordered) {
    said.push_back(fmt::format("the neurons of {} brought into the order of the model's", recording.subject));
  } else if (!by_id && !by_name) {
    said.push_back(
        has_units
            ? fmt::format("{} has no such unit ids: the neurons of {} are taken to be its own, in the same order",
                          model_name, recording.subject)
            : fmt::format(
                  "the counts of {} have no unit ids: their neurons are taken to be the model's, in the same order",
                  recording.subject));
  }
  if (!model.labels || model.design->label_use() == LabelUse::unused) return recording;
  for (const auto& known : *model.labels)
    for (auto& label : recording.labels)
      if (label.name == known.name) match_label(known, model_name, recording.subject, label, said);
  return recording;
}

}  // namespace idem
