#include <algorithm>
#include <cmath>

#include <fmt/format.h>

#include "engine/ci_ivae.h"
#include "host/collapse.h"
#include "host/marginal_decoding.h"
#include "host/model_fleet.h"
#include "host/numpy_random.h"

namespace idem {
namespace {

using nlohmann::json;

// The model of a study for a recording.
ModelDesign complete_design(const ModelConfig& model, const Recording& recording, const LabelScaling& scaling) {
  ModelDesign design = model.design;
  design.n_neurons = recording.n_neurons;
  design.n_labels = static_cast<std::int32_t>(scaling.names.size());
  if (design.decoder_kind == DecoderKind::gin) {
    if (design.flow.width == 0) design.flow.width = std::max(30, design.n_outputs() / 4);
    for (std::size_t block = 0; block < design.flow.permutations.size(); ++block)
      design.flow.permutations[block] = NumpyRandom(static_cast<std::uint32_t>(block)).permutation(design.n_outputs());
  }
  return design;
}

bool all_finite(const LatentTable& table) {
  for (const auto* values : {&table.encoder_mean, &table.encoder_log_var, &table.posterior_mean, &table.posterior_log_var, &table.prior_mean,
                             &table.prior_log_var})
    if (!std::all_of(values->begin(), values->end(), [](float value) { return std::isfinite(value); })) return false;
  return true;
}

// A twentieth or more of all that the validation loss has ever come down, it came down in the last tenth of the epochs.
bool was_falling(const std::vector<double>& losses, const MemberResult& result) {
  const std::size_t n = losses.size(), before = n - 1 - std::max<std::size_t>(1, n / 10);
  if (n < 3 || result.best_epoch != static_cast<std::int32_t>(n)) return false;
  return losses[before] - losses.back() > 0.05 * (result.initial_valid_loss - losses.back());
}

class VaeFleet : public ModelFleet {
 public:
  VaeFleet(const FleetSetting& setting, const std::vector<const PlannedRun*>& runs)
      : setting_(setting),
        runs_(runs),
        subject_(setting.subjects[runs.front()->subject]),
        model_(model_for(setting.study, setting.study.models[runs.front()->model], subject_.recording)),
        prepared_(prepare(recording_for(model_, subject_.recording), model_.preparation, subject_.splits, setting.pool)),
        design_(complete_design(model_, subject_.recording, prepared_.scaling.front())),
        members_(member_plans(model_, runs, prepared_)),
        fleet_(setting.device, design_, training_plan(model_, subject_), prepared_.data, members_),
        losses_(members_.size()) {}

  std::vector<std::string> warnings() const override {
    if (design_.output != OutputMap::sigmoid || !(prepared_.targets_above_one > 0)) return {};
    return {fmt::format("decoder.output sigmoid stays below 1, but {:.2g} % of the target counts of {} are above it (largest {:g}): they cannot be "
                        "reached; \"auto\" can",
                        100 * prepared_.targets_above_one, subject_.recording.subject, prepared_.largest_target)};
  }

  void train(RunLog& log, Progress& progress, const std::function<bool()>& is_interrupted) override {
    progress.begin_stage(fmt::format("{} {}", subject_.recording.subject, model_.name), model_.training.epochs);
    fleet_.train([&](std::span<const EpochRecord> records) {
      for (std::size_t member = 0; member < records.size(); ++member) {
        if (records[member].is_running) log.epoch(members_[member].name, records[member]);
        losses_[member].push_back(records[member].valid.loss);
      }
      progress.epoch(records);
      return !is_interrupted();
    });
    progress.end_stage();
  }

  std::vector<std::string> doubts() const override {
    std::size_t n_falling = 0;
    for (std::size_t member = 0; member < members_.size(); ++member) {
      const MemberResult& result = fleet_.result(static_cast<std::int32_t>(member));
      n_falling += result.finished && was_falling(losses_[member], result);
    }
    if (n_falling == 0) return {};
    return {fmt::format("the validation loss of {} of {} runs was still falling when training ended: raise training.epochs", n_falling,
                        members_.size())};
  }

  TrainedRun result(std::size_t of) override {
    const auto member = static_cast<std::int32_t>(of);
    const MemberResult& result = fleet_.result(member);
    TrainedRun run;
    run.is_finished = result.finished;
    if (!result.finished) return run;
    const LatentTable rows = result.failed ? LatentTable{} : fleet_.latents(member);
    if (result.failed) run.fault = "its validation loss was never finite";
    else if (!all_finite(rows)) run.fault = "its latents are not finite";
    run.training = {{"best_epoch", result.best_epoch},
                    {"kept_epoch", model_.training.keep_best ? result.best_epoch : result.epochs},
                    {"epochs", result.epochs},
                    {"initial_valid_loss", result.initial_valid_loss},
                    {"best_valid_loss", result.best_valid_loss},
                    {"kept_valid_loss", result.kept_valid_loss},
                    {"nonfinite_steps", result.nonfinite_steps},
                    {"parameters", fleet_.parameters_per_member()}};
    if (!run.fault.empty()) return run;
    run.doubts = doubts_of(result);
    const PlannedRun& planned = *runs_[of];
    const auto& row_of_bin = prepared_.row_of_bin[planned.split];
    for (const auto part : {&LatentTable::encoder_mean, &LatentTable::encoder_log_var, &LatentTable::posterior_mean, &LatentTable::posterior_log_var,
                            &LatentTable::prior_mean, &LatentTable::prior_log_var})
      run.latents.*part = of_bins(rows.*part, design_.n_latents, row_of_bin);
    run.model = {.cebra = {},
                 .gcl = {},
                 .design = design_,
                 .preparation = model_.preparation,
                 .scaling = prepared_.scaling[planned.split],
                 .bin_width_s = subject_.recording.bin_width_s,
                 .provenance = {},
                 .parameters = fleet_.parameters(member)};
    run.scores = scores_of(planned, run);
    return run;
  }

 private:
  static std::vector<std::string> doubts_of(const MemberResult& result) {
    std::vector<std::string> doubts;
    if (result.nonfinite_steps > 0)
      doubts.push_back(fmt::format("{} steps had a gradient that was not finite and were skipped (without training.clip_norm: by the parameters it "
                                   "hit); {}",
                                   result.nonfinite_steps, kStabilityRemedy));
    if (result.kept_valid_loss >= result.initial_valid_loss)
      doubts.push_back(fmt::format("its validation loss ({:.4g}) ended no lower than before training ({:.4g}): it learned nothing, or diverged; {}",
                                   result.kept_valid_loss, result.initial_valid_loss, kStabilityRemedy));
    else if (result.best_epoch == 1 && result.epochs > 1)
      doubts.push_back(fmt::format("no epoch after the first lowered its validation loss ({:.4g}); {}", result.best_valid_loss, kStabilityRemedy));
    return doubts;
  }

  // What the generative model alone says of labels, and how far the labels alone explain its latents.
  json scores_of(const PlannedRun& planned, const TrainedRun& run) const {
    json scores = json::object();
    const Recording& recording = subject_.recording;
    const Split& split = subject_.splits[planned.split];
    const DecodingOptions decoding = decoding_options(setting_.study);
    const json marginal = decode_by_marginal_likelihood(
        setting_.device, {design_, model_.preparation, run.model.scaling, run.model.parameters, planned.seed}, prepared_.data,
        prepared_.rows[planned.split], recording, split, decoding);
    if (!marginal.empty()) scores["metrics"]["marginal"] = marginal;
    const bool product = !design_.encoder_sees_labels;
    const LatentDistributions distributions{.n_rows = recording.n_times,
                                            .n_latents = design_.n_latents,
                                            .encoder_mean = product ? run.latents.encoder_mean : run.latents.posterior_mean,
                                            .encoder_log_var = product ? run.latents.encoder_log_var : run.latents.posterior_log_var,
                                            .prior_mean = run.latents.prior_mean,
                                            .prior_log_var = run.latents.prior_log_var,
                                            .is_product = product};
    const auto bins = label_bins(recording, decoding);
    for (const auto& [name, part] : {std::pair{"valid", &split.valid}, {"test", &split.test}})
      if (!part->empty()) scores["collapse"][name] = to_json(measure_collapse(distributions, *part, bins, planned.seed));
    return scores;
  }

  FleetSetting setting_;
  std::vector<const PlannedRun*> runs_;
  const Subject& subject_;
  ModelConfig model_;  // for the subject's recording
  PreparedData prepared_;
  ModelDesign design_;
  std::vector<MemberPlan> members_;
  Fleet fleet_;
  std::vector<std::vector<double>> losses_;  // on the validation bins, after each epoch
};

}  // namespace

std::unique_ptr<ModelFleet> make_vae_fleet(const FleetSetting& setting, const std::vector<const PlannedRun*>& runs) {
  return std::make_unique<VaeFleet>(setting, runs);
}

FleetCost cost_of_vae_fleet(const Study& study, const std::vector<Subject>& subjects, const std::vector<const PlannedRun*>& runs, ThreadPool& pool) {
  const Subject& subject = subjects[runs.front()->subject];
  const ModelConfig model = model_for(study, study.models[runs.front()->model], subject.recording);
  const PreparedData prepared = prepare(recording_for(model, subject.recording), model.preparation, subject.splits, pool);
  const ModelDesign design = complete_design(model, subject.recording, prepared.scaling.front());
  FleetCost cost;
  measure_memory([&](Device& device) {
    cost.n_parameters = CiIvae<float>(device, design, 1, 1, false, {model.beta}).parameters().layout().n_parameters();
  });
  cost.bytes = estimate_fleet_memory(design, training_plan(model, subject), prepared.data, member_plans(model, runs, prepared));
  return cost;
}

}  // namespace idem
