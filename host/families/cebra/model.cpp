#include "host/families/cebra/model.h"

#include <set>

#include <fmt/format.h>
#include <fmt/ranges.h>

#include "host/families/cebra/cebra_family.h"
#include "host/families/cebra/contrastive_data.h"
#include "host/support/errors.h"

namespace idem {
namespace {

// What positives are drawn from in one split of a recording; no count is looked at.
ContrastiveData samples_of(const ModelConfig& model, const Recording& seen, const Split& split) {
  ThreadPool pool(1);
  const PreparedParts parts{.labels = model.sees_labels(), .counts = false};
  return contrastive_data(model, seen, prepare(seen, model.preparation, {split}, pool, {}, parts));
}

// The classes of each part of each split that are not those of another.
std::set<std::set<std::int32_t>> classes_of(const ModelConfig& model, const Subject& subject) {
  const Recording seen = recording_for(model, subject.recording);
  std::set<std::set<std::int32_t>> classes;
  for (const auto& split : subject.splits)
    for (const auto& set : samples_of(model, seen, split).data.sets)
      classes.insert(std::set<std::int32_t>(set.classes.begin(), set.classes.end()));
  return classes;
}

}  // namespace

const Family& CebraModel::family() const { return cebra_family(); }

const CebraModel& cebra_of(const ModelConfig& model) { return dynamic_cast<const CebraModel&>(*model.own); }

std::string CebraModel::objective(bool is_joint) const {
  using Positive = ContrastivePositive;
  const char* positives = plan.positive == Positive::time         ? "time"
                          : plan.positive == Positive::delta      ? "delta"
                          : plan.positive == Positive::same_class ? "discrete"
                          : by_class                              ? "mixed"
                                                                  : "time-delta";
  return fmt::format("InfoNCE ({}), positives by {}{}{}",
                     design.similarity == Similarity::cosine ? "cosine" : "Euclidean", positives,
                     design.n_behaviour_features > 0 ? " and time" : "",
                     is_joint              ? ", one space for all animals"
                     : !adapt_from.empty() ? ", first layer alone (adapted)"
                     : fits_session        ? ", every bin of the session"
                                           : "");
}

std::string CebraModel::length() const { return fmt::format("{} steps", plan.steps); }

std::string CebraModel::batch() const {
  return plan.is_full_batch ? "every bin in each step" : fmt::format("batch {}", plan.batch);
}

double CebraModel::n_trained_bins(std::size_t n_train) const {
  return static_cast<double>(plan.steps) * (plan.is_full_batch ? static_cast<double>(n_train) : plan.batch);
}

std::vector<std::string> CebraModel::notes(const ModelConfig& model) const {
  if (!fits_session) return {};
  return {
      fmt::format("model {} was fitted on every bin of the session: it has seen the activity of the test bins, "
                  "though no label (contrastive.fit)",
                  model.name)};
}

std::vector<std::string> CebraModel::warnings(std::size_t n_train) const {
  constexpr std::size_t large_full_batch = 30000;
  if (!plan.is_full_batch || n_train <= large_full_batch) return {};
  return {
      fmt::format("contrastive.batch null compares {} bins with as many in each of {} steps: give a number to take "
                  "less",
                  n_train, plan.steps)};
}

// Positives have something to be drawn from in every split.
void CebraModel::check(const ModelConfig& model, const Subject& subject) const {
  const Recording seen = recording_for(model, subject.recording);
  try {
    for (const auto& split : subject.splits) samples_of(model, seen, split);
  } catch (const ConfigError& error) {  // names the key
    throw ConfigError(fmt::format("{}: model {}: {}", model.source, model.name, error.what()));
  }
}

void CebraModel::check_joint(const ModelConfig& model, const std::vector<Subject>& subjects) const {
  if (!by_class) return;
  const auto of = [&](const Subject& subject) { return classes_of(model_for(model, subject.recording), subject); };
  const auto first = of(subjects.front());
  for (const auto& subject : subjects)
    if (const auto own = of(subject); own != first || own.size() > 1)
      model.fail("joint",
                 fmt::format("not every part of every split of {} and {} has the same categories of [{}]; choose "
                             "other splits, or labels that all have",
                             subject.recording.subject, subjects.front().recording.subject,
                             fmt::join(model_for(model, subject.recording).preparation.labels, ", ")));
}

}  // namespace idem
