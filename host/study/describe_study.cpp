#include "host/study/describe_study.h"

#include <fmt/format.h>

#include "host/study/study_runs.h"

namespace idem {
namespace {

std::string describe_subject(const Subject& subject) {
  const Recording& recording = subject.recording;
  std::string text = fmt::format("{}: {} bins of {:g} ms, {} neurons, {} segment{}\n", recording.subject,
                                 recording.n_times, 1000 * recording.bin_width_s, recording.n_neurons,
                                 recording.segments.size(), recording.segments.size() == 1 ? "" : "s");
  for (const auto& note : subject.notes) text += fmt::format("  {}\n", note);
  for (const auto& warning : subject.warnings) text += fmt::format("  warning: {}\n", warning);
  for (std::size_t split = 0; split < subject.splits.size(); ++split)
    text += fmt::format("  split {}: {} train, {} valid, {} test bins\n", subject.split_numbers[split],
                        subject.splits[split].train.size(), subject.splits[split].valid.size(),
                        subject.splits[split].test.size());
  return text;
}

std::string describe_cell(const StudyRuns& runs, StudyRuns::Cell cell, ThreadPool& pool) {
  const Study& study = runs.study();
  const ModelConfig& model = study.models[cell.model];
  const auto fleets = runs.fleets_of(cell, [](const PlannedRun&) { return true; });
  if (fleets.empty())
    return fmt::format("  model {}: together with {}\n", model.name, runs.subjects().front().recording.subject);
  const FleetCost cost = cost_of_fleet(model, runs.subjects(), study.decoding, fleets.front(), pool);
  // A preset may have its own.
  const double shared_rate = study.resolved.at("training").at("learning_rate");
  const std::string rate =
      model.learning_rate == shared_rate
          ? fmt::format("learning rate {:g}", model.learning_rate)
          : fmt::format("learning rate {:g} (the model's own; training has {:g})", model.learning_rate, shared_rate);
  const auto bytes = static_cast<double>(cost.bytes);
  const std::size_t n_runs = fleets.front().size();
  return fmt::format("  model {}: {}, {}, {} parameters each, {}, {}, {}, {:.3g} {}\n", model.name, model.objective(),
                     n_runs == 1 ? "1 run" : fmt::format("{} runs together", n_runs), cost.n_parameters,
                     model.own->length(), model.own->batch(), rate, bytes < 1e9 ? bytes / 1e6 : bytes / 1e9,
                     bytes < 1e9 ? "MB" : "GB");
}

}  // namespace

std::string describe_study(const Study& study) {
  const StudyRuns runs(study, load_subjects(study));
  const std::size_t n_runs = runs.all().size();
  std::string text =
      fmt::format("{}: {} run{}\n", study.resolved.at("name").get<std::string>(), n_runs, n_runs == 1 ? "" : "s");
  for (const auto& warning : study.warnings) text += fmt::format("  warning: {}\n", warning);
  ThreadPool pool(0);
  for (const auto cell : runs.cells()) {
    if (cell.model == 0) text += describe_subject(runs.subjects()[cell.subject]);
    text += describe_cell(runs, cell, pool);
  }
  return text;
}

}  // namespace idem
