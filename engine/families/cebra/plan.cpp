#include "engine/families/cebra/plan.h"

#include <set>
#include <stdexcept>

#include "kernels/common/to_size.h"

namespace idem {

void check_data(const CebraDesign& design, const CebraData& data) {
  if (data.n_rows < 1 || data.segments.size() != to_size(data.n_rows) ||
      data.inputs.size() != to_size(data.n_rows) * to_size(design.n_neurons))
    throw std::invalid_argument("inputs and segments must have one row per row of the data");
}

void check(const CebraPlan& plan, const CebraDesign& design, const CebraData& data,
           const std::vector<CebraMemberPlan>& members) {
  check_data(design, data);
  if (members.empty()) throw std::invalid_argument("a fleet needs at least one member");
  if (plan.batch < 1 || plan.steps < 1 || plan.steps_per_record < 1 || plan.valid_batches < 1 ||
      plan.kept_valid_batches < 1)
    throw std::invalid_argument(
        "batch, steps, steps_per_record, valid_batches and kept_valid_batches must be at least 1");
  if (plan.trunk && design.learns_temperature) throw std::invalid_argument("a kept trunk learns no temperature");
  if (plan.n_sessions > 1) {
    if (members.size() % to_size(plan.n_sessions) != 0)
      throw std::invalid_argument("every group needs a member for each session");
    if (plan.is_full_batch || design.n_behaviour_features > 0 || plan.prior != ContrastivePrior::samples ||
        plan.positive == ContrastivePositive::time)
      throw std::invalid_argument(
          "sessions are joined by labels: a number of draws, the prior `samples`, no positives in time");
    const auto n_classes = [&](std::size_t member) {
      const auto& classes = data.sets.at(to_size(members[member].train_set)).classes;
      return std::set<std::int32_t>(classes.begin(), classes.end()).size();
    };
    for (std::size_t member = 0; member < members.size(); ++member)
      if (n_classes(member) != n_classes(0))
        throw std::invalid_argument(members[member].name + ": its samples have not all classes of the other sessions");
    if (plan.positive != ContrastivePositive::same_class && n_classes(0) > 0)
      throw std::invalid_argument("labels of sessions are searched without classes");
  }
  if (plan.is_full_batch && plan.prior == ContrastivePrior::classes)
    throw std::invalid_argument("a full batch draws no classes");
  const bool needs_leads = plan.prior == ContrastivePrior::leads || plan.positive == ContrastivePositive::time;
  if ((design.n_behaviour_features > 0 || plan.positive == ContrastivePositive::time) &&
      plan.prior != ContrastivePrior::leads)
    throw std::invalid_argument(
        "positives in time are drawn for samples that have one time_offset later: the prior `leads`");
  const bool by_labels =
      plan.positive == ContrastivePositive::time_delta || plan.positive == ContrastivePositive::delta;
  if (by_labels && plan.samples.n_labels < 1) throw std::invalid_argument("positives by labels need labels");
  const bool by_classes = plan.positive == ContrastivePositive::same_class || plan.prior == ContrastivePrior::classes;
  if (design.n_behaviour_features > 0 && plan.positive == ContrastivePositive::time)
    throw std::invalid_argument("the hybrid's behaviour needs positives by labels");
  for (const auto& set : data.sets)
    for (const auto row : set.rows)
      if (row < 0 || row >= data.n_rows)
        throw std::invalid_argument("row " + std::to_string(row) + " of a set is outside the data");
  const ContrastiveSamples samples(plan.samples, data.sets);
  const auto n_sets = static_cast<std::int32_t>(data.sets.size());
  for (const auto& member : members) {
    if (member.train_set < 0 || member.train_set >= n_sets || member.valid_set >= n_sets)
      throw std::invalid_argument(member.name + ": there is no such set");
    if (plan.positive == ContrastivePositive::delta && !(member.delta_sd > 0))
      throw std::invalid_argument(
          member.name + ": positives by `delta` need a delta_sd above 0, or every sample is its own positive");
    if (by_classes && data.sets[to_size(member.train_set)].classes.empty())
      throw std::invalid_argument(member.name + ": its samples have no classes to draw from");
    for (const auto set : {member.train_set, member.valid_set})
      if (set >= 0 && (needs_leads || plan.positive == ContrastivePositive::time_delta) && samples.n_leads(set) == 0)
        throw std::invalid_argument(member.name + ": no sample has another one time_offset (" +
                                    std::to_string(plan.samples.time_offset) + " bins) later");
  }
}

}  // namespace idem
