#include <algorithm>
#include <cmath>

#include <fmt/format.h>

#include "engine/families/gcl/gcl_fleet.h"
#include "host/families/family.h"

namespace idem {
namespace {

GclDesign complete_design(const ModelConfig& model, const Recording& recording, const LabelScaling& scaling) {
  GclDesign design = *model.gcl;
  design.n_neurons = recording.n_neurons;
  design.n_labels = static_cast<std::int32_t>(scaling.names.size());
  return design;
}

class StudyGclFleet : public ModelFleet {
 public:
  StudyGclFleet(const FleetSetting& setting, const std::vector<const PlannedRun*>& runs)
      : device_(setting.device),
        runs_(runs),
        subject_(setting.subjects[runs.front()->subject]),
        model_(model_for(setting.study, setting.study.models[runs.front()->model], subject_.recording)),
        prepared_(prepare(recording_for(model_, subject_.recording), model_.preparation, subject_.splits, setting.pool)),
        design_(complete_design(model_, subject_.recording, prepared_.scaling.front())),
        members_(member_plans(model_, runs, prepared_)),
        fleet_(setting.device, design_, training_plan(model_, subject_), prepared_.data, members_) {}

  std::vector<std::string> warnings() const override { return {}; }

  void train(RunLog& log, Progress& progress, const std::function<bool()>& is_interrupted) override {
    progress.begin_stage(fmt::format("{} {}", subject_.recording.subject, model_.name), model_.training.epochs);
    fleet_.train([&](std::span<const GclRecord> records) {
      for (std::size_t member = 0; member < records.size(); ++member)
        if (records[member].is_running) log.epoch(members_[member].name, records[member]);
      progress.epoch(records);
      return !is_interrupted();
    });
    progress.end_stage();
  }

  std::vector<std::string> doubts() const override { return {}; }

  TrainedRun result(std::size_t of) override {
    const auto member = static_cast<std::int32_t>(of);
    const MemberResult& result = fleet_.result(member);
    TrainedRun run;
    run.is_finished = result.finished;
    if (!result.finished) return run;
    run.training = {{"best_epoch", result.best_epoch},
                    {"kept_epoch", model_.training.keep_best ? result.best_epoch : result.epochs},
                    {"epochs", result.epochs},
                    {"best_valid_loss", result.best_valid_loss},
                    {"kept_valid_loss", result.kept_valid_loss},
                    {"initial_valid_loss", result.initial_valid_loss},
                    {"nonfinite_steps", result.nonfinite_steps},
                    {"parameters", fleet_.parameters_per_member()}};
    const std::size_t split = runs_[of]->split;
    run.model = {.cebra = {},
                 .gcl = design_,
                 .design = {},
                 .preparation = model_.preparation,
                 .scaling = prepared_.scaling[split],
                 .bin_width_s = subject_.recording.bin_width_s,
                 .provenance = {},
                 .parameters = fleet_.parameters(member)};
    const auto rows = result.failed ? std::vector<float>() : gcl_latents(device_, design_, run.model.parameters, prepared_.data);
    if (result.failed) run.fault = "its validation loss was never finite";
    else if (!std::all_of(rows.begin(), rows.end(), [](float value) { return std::isfinite(value); })) run.fault = "its latents are not finite";
    if (!run.fault.empty()) return run;
    run.latents.encoder_mean = of_bins(rows, design_.n_latents, prepared_.row_of_bin[split]);
    if (result.nonfinite_steps > 0)
      run.doubts.push_back(fmt::format("{} steps had a gradient that was not finite and were skipped; {}", result.nonfinite_steps, kStabilityRemedy));
    if (result.best_valid_loss >= std::log(2.0) && !model_.shuffle_labels)
      run.doubts.push_back(fmt::format("on validation bins it tells true labels from shuffled ones no better than by chance (loss {:.4g}, chance ln 2)",
                                       result.best_valid_loss));
    return run;
  }

 private:
  Device& device_;
  std::vector<const PlannedRun*> runs_;
  const Subject& subject_;
  ModelConfig model_;  // for the subject's recording
  PreparedData prepared_;
  GclDesign design_;
  std::vector<MemberPlan> members_;
  GclFleet fleet_;
};

}  // namespace

std::unique_ptr<ModelFleet> make_gcl_fleet(const FleetSetting& setting, const std::vector<const PlannedRun*>& runs) {
  return std::make_unique<StudyGclFleet>(setting, runs);
}

FleetCost cost_of_gcl_fleet(const Study& study, const std::vector<Subject>& subjects, const std::vector<const PlannedRun*>& runs, ThreadPool& pool) {
  const Subject& subject = subjects[runs.front()->subject];
  const ModelConfig model = model_for(study, study.models[runs.front()->model], subject.recording);
  const PreparedData prepared = prepare(recording_for(model, subject.recording), model.preparation, subject.splits, pool);
  FleetCost cost;
  cost.bytes = measure_memory([&](Device& device) {
    cost.n_parameters = GclFleet(device, complete_design(model, subject.recording, prepared.scaling.front()), training_plan(model, subject), prepared.data,
                                 member_plans(model, runs, prepared))
                            .parameters_per_member();
  });
  return cost;
}

}  // namespace idem
