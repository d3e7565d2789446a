#include "host/contrastive_data.h"

#include <map>

#include <fmt/format.h>

#include "host/errors.h"

namespace idem {
namespace {

// Columns of the prepared labels by what they are of.
struct LabelColumns {
  std::vector<std::size_t> measured, categorical;
};

LabelColumns label_columns(const ModelConfig& model, const Recording& recording) {
  LabelColumns columns;
  std::size_t column = 0;
  for (const auto& name : model.preparation.labels) {
    const LabelColumn& label = recording.label(name);
    const std::size_t n = label.kind == LabelKind::categorical ? label.categories.size() : label.kind == LabelKind::circular ? 2 : 1;
    for (std::size_t i = 0; i < n; ++i) (label.kind == LabelKind::categorical ? columns.categorical : columns.measured).push_back(column++);
  }
  return columns;
}

}  // namespace

CebraData embedding_data(const PreparedData& prepared) {
  return {.n_rows = prepared.data.n_rows, .inputs = prepared.data.inputs, .segments = prepared.segments, .sets = {}};
}

ContrastiveData contrastive_data(const ModelConfig& model, const Recording& recording, const PreparedData& prepared) {
  const CebraModel& cebra = *model.cebra;
  ContrastiveData result{.data = embedding_data(prepared), .plan = cebra.plan};
  LabelColumns columns = label_columns(model, recording);
  if (!cebra.by_class) {
    columns.measured.insert(columns.measured.end(), columns.categorical.begin(), columns.categorical.end());
    columns.categorical.clear();
  }
  const bool by_distance = cebra.plan.positive == ContrastivePositive::time_delta || cebra.plan.positive == ContrastivePositive::delta;
  const auto fail = [&](const std::string& message) { throw ConfigError("contrastive.positives: " + message); };
  if (by_distance && columns.measured.empty())
    fail("\"mixed\" needs a continuous or circular label beside the categorical one; use \"discrete\"");
  if (cebra.by_class && columns.categorical.empty())
    fail(fmt::format("\"{}\" needs a categorical label; use \"time-delta\"", by_distance ? "mixed" : "discrete"));
  if (cebra.by_class && !by_distance && !columns.measured.empty())
    fail("\"discrete\" takes categorical labels alone; name them in model.labels, or use \"mixed\"");

  const auto n_columns = static_cast<std::size_t>(prepared.n_labels);
  result.plan.samples.n_labels = static_cast<std::int32_t>(columns.measured.size());
  std::map<std::vector<float>, std::int32_t> classes;
  const auto set_of = [&](const std::vector<std::int32_t>& rows) {
    ContrastiveSet set;
    set.rows = rows;
    for (const auto row : rows) {
      const auto label = [&](std::size_t column) { return prepared.data.labels[static_cast<std::size_t>(row) * n_columns + column]; };
      set.segments.push_back(prepared.segments[static_cast<std::size_t>(row)]);
      for (const auto column : columns.measured) set.labels.push_back(label(column));
      if (!cebra.by_class) continue;
      std::vector<float> values;
      for (const auto column : columns.categorical) values.push_back(label(column));
      set.classes.push_back(classes.emplace(values, static_cast<std::int32_t>(classes.size())).first->second);
    }
    return set;
  };
  const Split& rows = prepared.rows.front();
  result.data.sets.push_back(set_of(rows.train));
  if (!rows.valid.empty()) result.data.sets.push_back(set_of(rows.valid));

  const ContrastiveSamples samples(result.plan.samples, result.data.sets);
  const bool needs_leads = result.plan.prior == ContrastivePrior::leads || result.plan.positive == ContrastivePositive::time_delta;
  if (needs_leads && samples.n_leads(0) == 0)
    throw ConfigError(fmt::format("contrastive.time_offset: no training bin of {} has another one {} bins later; lower it", recording.subject,
                                  result.plan.samples.time_offset));
  result.can_validate = !rows.valid.empty() && (!needs_leads || samples.n_leads(1) > 0);
  if (!result.can_validate) result.data.sets.resize(1);
  return result;
}

}  // namespace idem
