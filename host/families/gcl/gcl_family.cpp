#include "host/families/gcl/gcl_family.h"

#include <cmath>

#include <fmt/format.h>

#include "engine/families/gcl/gcl_fleet.h"
#include "host/families/hidden_layers_json.h"

namespace idem {
namespace {

using nlohmann::json;

GclDesign complete_gcl_design(const ModelConfig& model, const Recording& recording, const LabelScaling& scaling) {
  GclDesign design = dynamic_cast<const GclModel&>(*model.own).design;
  design.n_neurons = recording.n_neurons;
  design.n_labels = static_cast<std::int32_t>(scaling.names.size());
  return design;
}

NamedParts gcl_named_parts(const GclLoss& loss) { return {{"loss", loss.loss}, {"accuracy", loss.accuracy}}; }

class StudyGclFleet final : public ModelFleet {
 public:
  StudyGclFleet(const GclModel& own, const FleetSetting& setting, const std::vector<const PlannedRun*>& runs)
      : device_(setting.device),
        runs_(runs),
        subject_(setting.subjects[runs.front()->subject]),
        model_(model_for(setting.model, subject_.recording)),
        prepared_(
            prepare(recording_for(model_, subject_.recording), model_.preparation, subject_.splits, setting.pool)),
        design_(complete_gcl_design(model_, subject_.recording, prepared_.scaling.front())),
        plan_(training_plan(own, model_.preparation, subject_)),
        members_(member_plans(model_, runs, prepared_)),
        fleet_(setting.device, design_, plan_, prepared_.data, members_) {}

  std::int64_t n_parameters() const override { return fleet_.parameters_per_member(); }
  std::vector<std::string> warnings() const override { return {}; }

  void train(RunLog& log, Progress& progress, const std::function<bool()>& is_interrupted) override {
    TrainingStage stage{.name = fmt::format("{} {}", subject_.recording.subject, model_.name),
                        .n = plan_.epochs,
                        .shown = {{"accuracy", {"accuracy"}}}};
    losses_ = train_by_epochs(fleet_, members_, std::move(stage), gcl_named_parts, log, progress, is_interrupted);
  }

  std::vector<std::string> doubts() const override { return falling_doubts(losses_, fleet_); }

  TrainedRun result(std::size_t of) override {
    const auto member = static_cast<std::int32_t>(of);
    const MemberResult& result = fleet_.result(member);
    TrainedRun run;
    run.is_finished = result.finished;
    if (!result.finished) return run;
    run.training = training_entry(result, plan_, fleet_.parameters_per_member());
    const std::size_t split = runs_[of]->split;
    run.model = {.design = std::make_shared<GclSavedDesign>(design_),
                 .preparation = model_.preparation,
                 .scaling = prepared_.scaling[split],
                 .bin_width_s = subject_.recording.bin_width_s,
                 .provenance = {},
                 .parameters = fleet_.parameters(member)};
    LatentTable rows;
    if (!result.failed) rows = run.model.design->latents(device_, run.model.parameters, prepared_);
    run.fault = fault_of(result, rows.is_finite());
    if (!run.fault.empty()) return run;
    run.latents.encoder_mean = of_bins(rows.encoder_mean, design_.n_latents, prepared_.row_of_bin[split]);
    run.doubts = doubts_of(result, model_.shuffle_labels.has_value());
    if (result.best_valid_loss >= std::log(2.0) && !model_.shuffle_labels)
      run.doubts.push_back(
          fmt::format("on validation bins it tells true labels from shuffled ones no better than by "
                      "chance (loss {:.4g}, chance ln 2)",
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
  TrainingPlan plan_;
  std::vector<MemberPlan> members_;
  GclFleet fleet_;
  std::vector<std::vector<double>> losses_;  // on the validation bins, after each epoch
};

GclDesign gcl_from_json(const JsonFields& from, std::int64_t most) {
  return {.n_neurons = from.size("neurons", 1, most),
          .n_labels = from.size("label_features", 1, kMostWidth),
          .n_latents = from.size("latents", 1, kMostLatents),
          .features = hidden_from_json(from.fields("features")),
          .psi = hidden_from_json(from.fields("psi"))};
}

class GclFamily final : public Family {
 public:
  std::string name() const override { return "gcl"; }

  bool maximises(const std::string& objective) const override { return objective == "gcl"; }
  std::optional<json> preset(const std::string& preset) const override {
    if (preset != "gcl") return std::nullopt;
    return json{{"objective", {{"name", "gcl"}}}};
  }
  bool encodes_windows(const json&) const override { return false; }

  std::shared_ptr<const FamilyModel> read(const ModelSections& sections) const override {
    const ModelConfig& config = sections.config;
    auto gcl = std::make_shared<GclModel>();
    gcl->training = sections.plan;
    const TrainingPlan& plan = gcl->training;
    if (config.is_joint)
      config.fail("joint", "generalized contrastive learning has nothing that recordings could share; set it to false");
    if (sections.model.at("encoder").at("kind") != "mlp")
      config.fail("encoder.kind", "generalized contrastive learning has one network for its latents; use \"mlp\"");
    if (plan.batch < 2)
      config.fail("training.batch", "true labels are told from those of other bins of a batch; use 2 or more");
    if (!plan.shuffle)
      config.fail("training.shuffle",
                  "true labels are told from those of other bins: batches in order have like ones; "
                  "use true");
    if (plan.input_noise > 0 || plan.noisy_target)
      config.fail("training.input_noise", "is not of this objective; set it to 0 in this model's own training");
    gcl->design = {.n_latents = sections.model.at("latents"),
                   .features = hidden_from_section(sections.model.at("encoder")),
                   .psi = hidden_from_section(sections.model.at("prior"))};
    return gcl;
  }
  std::vector<UnreadKey> own_sections(const ModelConfig&) const override { return {}; }

  std::shared_ptr<const SavedDesign> read_design(const JsonFields& from, std::int64_t most) const override {
    return std::make_shared<GclSavedDesign>(gcl_from_json(from, most));
  }

  std::vector<LossPanelWords> loss_panels(const ReportedRun&) const override {
    return {{"loss (nats per pair)", {{"loss", "loss"}}}, {"told right (share)", {{"accuracy", "accuracy"}}}};
  }
  std::string loss_note(const std::vector<ReportedRun>&) const override {
    return "Generalized contrastive learning: nats per pair of a bin and labels, ln 2 (0.69) for one that guesses "
           "which "
           "labels are true; accuracy: the share told right.";
  }
  std::vector<std::string> sources(const std::vector<ReportedRun>&, const nlohmann::ordered_json&) const override {
    return {
        "Generalized contrastive learning: Hyvärinen, Sasaki, Turner. Nonlinear ICA using auxiliary variables and "
        "generalized contrastive learning. AISTATS 2019. arXiv 1805.08651"};
  }
  TrainingUnit unit() const override { return TrainingUnit::epoch; }
  double ranking_loss(const json& entry) const override { return kept_valid_loss(entry); }
};

}  // namespace

const Family& gcl_family() {
  static const GclFamily family;
  return family;
}

std::unique_ptr<ModelFleet> GclModel::make_fleet(const FleetSetting& setting,
                                                 const std::vector<const PlannedRun*>& runs) const {
  return std::make_unique<StudyGclFleet>(*this, setting, runs);
}

json GclSavedDesign::to_json() const {
  return {{"neurons", design.n_neurons},
          {"label_features", design.n_labels},
          {"latents", design.n_latents},
          {"features", hidden_to_json(design.features)},
          {"psi", hidden_to_json(design.psi)}};
}

ModelPlan GclSavedDesign::plan() const { return plan_latents(design); }

LatentTable GclSavedDesign::latents(Device& device, const NamedTensors& parameters,
                                    const PreparedData& prepared) const {
  LatentTable table;
  table.encoder_mean = gcl_latents(device, design, parameters, prepared.data);
  return table;
}

}  // namespace idem
