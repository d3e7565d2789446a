#include "host/families/cebra/contrastive_data.h"

#include <algorithm>
#include <numeric>

#include <fmt/format.h>

#include "host/support/errors.h"
#include "host/families/cebra/cebra_family.h"
#include "host/support/utf8.h"
#include "kernels/common/to_size.h"

namespace idem {
namespace {

// Columns of the prepared labels by what they are of.
struct LabelColumns {
  std::vector<std::size_t> linear, circular, categorical;  // circular: sine and cosine of each label
  std::vector<std::int32_t> n_categories;                  // of each categorical label
};

LabelColumns label_columns(const ModelConfig& model, const Recording& recording) {
  LabelColumns columns;
  std::size_t column = 0;
  for (const auto& name : model.preparation.labels) {
    const LabelColumn& label = recording.label(name);
    const std::size_t n = label.kind == LabelKind::categorical ? label.categories.size()
                          : label.kind == LabelKind::circular  ? 2
                                                               : 1;
    if (label.kind == LabelKind::categorical) columns.n_categories.push_back(static_cast<std::int32_t>(n));
    auto& own = label.kind == LabelKind::categorical ? columns.categorical
                : label.kind == LabelKind::circular  ? columns.circular
                                                     : columns.linear;
    for (std::size_t i = 0; i < n; ++i) own.push_back(column++);
  }
  return columns;
}

// The weights to adapt from.
NamedTensors trunk_of(const CebraModel& cebra) {
  const SavedModel saved = read_model(path_of_text(cebra.adapt_from));
  const auto fail = [&](const std::string& what) {
    throw ConfigError(fmt::format("contrastive.adapt_from: {}: {}", cebra.adapt_from, what));
  };
  const auto* networks = dynamic_cast<const CebraSavedDesign*>(saved.design.get());
  if (!networks) fail("is no CEBRA model");
  const CebraDesign &from = networks->design, &to = cebra.design;
  const auto kind = [](const CebraDesign& design) {
    return fmt::format("{}{}", design.is_normalised ? "" : " that are not normalised",
                       design.similarity == Similarity::cosine ? "" : ", Euclidean");
  };
  if (from.window != to.window || from.width != to.width || from.n_features != to.n_features ||
      from.is_normalised != to.is_normalised || from.similarity != to.similarity)
    fail(fmt::format("has a window of {}, width {} and {} latents{}, this model {}, {} and {}{}; make them alike",
                     from.window, from.width, from.n_features, kind(from), to.window, to.width, to.n_features,
                     kind(to)));
  return saved.parameters;
}

}  // namespace

CebraData embedding_data(const PreparedData& prepared) {
  return {.n_rows = prepared.data.n_rows, .inputs = prepared.data.inputs, .segments = prepared.segments, .sets = {}};
}

ContrastiveData contrastive_data(const ModelConfig& model, const Recording& recording, const PreparedData& prepared,
                                 const std::vector<float>* true_labels) {
  const CebraModel& cebra = cebra_of(model);
  ContrastiveData result{.data = embedding_data(prepared), .plan = cebra.plan};
  LabelColumns columns = label_columns(model, recording);
  if (!cebra.by_class) {
    columns.linear.insert(columns.linear.end(), columns.categorical.begin(), columns.categorical.end());
    columns.categorical.clear();
    columns.n_categories.clear();
  }
  std::vector<std::size_t> measured = columns.linear;
  measured.insert(measured.end(), columns.circular.begin(), columns.circular.end());
  const bool by_distance =
      cebra.plan.positive == ContrastivePositive::time_delta || cebra.plan.positive == ContrastivePositive::delta;
  const auto fail = [&](const std::string& message) { throw ConfigError("contrastive.positives: " + message); };
  if (by_distance && measured.empty())
    fail("\"mixed\" needs a continuous or circular label beside the categorical one; use \"discrete\"");
  if (cebra.by_class && columns.categorical.empty())
    fail(fmt::format("\"{}\" needs a categorical label; use \"time-delta\"", by_distance ? "mixed" : "discrete"));
  if (cebra.by_class && !by_distance && !measured.empty())
    fail("\"discrete\" takes categorical labels alone; name them in model.labels, or use \"mixed\"");

  const auto n_columns = to_size(prepared.n_labels);
  result.plan.samples.n_labels = static_cast<std::int32_t>(measured.size());
  result.plan.samples.n_circular = static_cast<std::int32_t>(columns.circular.size() / 2);
  // Every combination of the labels' categories has its number, whether it occurs or not: recordings of a joint model
  // must agree.
  const auto class_of = [&](const std::vector<float>& labels, std::int32_t row) {
    std::int32_t number = 0;
    auto column = columns.categorical.begin();
    for (const auto n_categories : columns.n_categories) {
      std::int32_t category = 0;
      for (std::int32_t i = 0; i < n_categories; ++i)
        if (labels[to_size(row) * n_columns + *column++] > 0.5f) category = i;
      number = number * n_categories + category;
    }
    return number;
  };
  const auto set_of = [&](const std::vector<std::int32_t>& rows, const std::vector<float>& labels) {
    ContrastiveSet set;
    set.rows = rows;
    for (const auto row : rows) {
      const auto label = [&](std::size_t column) { return labels[to_size(row) * n_columns + column]; };
      set.segments.push_back(prepared.segments[to_size(row)]);
      for (const auto column : measured) set.labels.push_back(label(column));
      if (cebra.by_class) set.classes.push_back(class_of(labels, row));
    }
    return set;
  };
  const Split& rows = prepared.rows.front();
  if (cebra.fits_session) {
    std::vector<std::int32_t> all(to_size(recording.n_times));
    std::iota(all.begin(), all.end(),
              *std::min_element(prepared.row_of_bin.front().begin(), prepared.row_of_bin.front().end()));
    result.data.sets.push_back(set_of(all, prepared.data.labels));
  } else {
    result.data.sets.push_back(set_of(rows.train, prepared.data.labels));
  }
  if (!rows.valid.empty() && !cebra.fits_session)
    result.data.sets.push_back(set_of(rows.valid, true_labels ? *true_labels : prepared.data.labels));

  const ContrastiveSamples samples(result.plan.samples, result.data.sets);
  const bool needs_leads =
      result.plan.prior == ContrastivePrior::leads || result.plan.positive == ContrastivePositive::time_delta;
  if (needs_leads && samples.n_leads(0) == 0)
    throw ConfigError(
        fmt::format("contrastive.time_offset: no training bin of {} has another one {} bins later; lower it",
                    recording.subject, result.plan.samples.time_offset));
  result.can_validate = result.data.sets.size() > 1 && (!needs_leads || samples.n_leads(1) > 0);
  if (!result.can_validate) result.data.sets.resize(1);
  if (!cebra.adapt_from.empty()) result.plan.trunk = trunk_of(cebra);
  return result;
}

ContrastiveData joined_data(const std::vector<const ContrastiveData*>& recordings,
                            const std::vector<std::int32_t>& n_neurons) {
  const std::int32_t most = *std::max_element(n_neurons.begin(), n_neurons.end());
  ContrastiveData joined{.data = {}, .plan = recordings.front()->plan, .can_validate = true};
  joined.plan.n_sessions = static_cast<std::int32_t>(recordings.size());
  for (const auto* recording : recordings) joined.can_validate = joined.can_validate && recording->can_validate;
  std::int32_t n_segments = 0;
  for (std::size_t i = 0; i < recordings.size(); ++i) {
    const CebraData& data = recordings[i]->data;
    const auto first_row = static_cast<std::int32_t>(joined.data.n_rows);
    for (std::int64_t row = 0; row < data.n_rows; ++row) {
      const auto begin = data.inputs.begin() + row * n_neurons[i];
      joined.data.inputs.insert(joined.data.inputs.end(), begin, begin + n_neurons[i]);
      joined.data.inputs.resize(joined.data.inputs.size() + to_size(most - n_neurons[i]), 0);
      joined.data.segments.push_back(n_segments + data.segments[to_size(row)]);
    }
    joined.data.n_rows += data.n_rows;
    for (std::size_t set = 0; set < (joined.can_validate ? 2u : 1u); ++set) {
      joined.data.sets.push_back(data.sets[set]);
      for (auto& row : joined.data.sets.back().rows) row += first_row;
    }
    n_segments = *std::max_element(joined.data.segments.begin(), joined.data.segments.end()) + 1;
  }
  return joined;
}

}  // namespace idem
