#include <fmt/format.h>

#include "host/families/cebra/model.h"

namespace idem {
namespace {

using nlohmann::json;

// Reads one model section.
class Reader {
 public:
  explicit Reader(const ModelSections& sections)
      : config_(sections.config),
        model_(sections.model),
        training_(sections.training),
        from_(model_.at("contrastive")) {}

  std::shared_ptr<const CebraModel> read() {
    cebra_->temperature = from_.at("temperature");
    cebra_->delta_sd = from_.at("delta_sd").is_null() ? 0 : from_.at("delta_sd").get<double>();
    read_design();
    read_plan();
    read_positives();
    if (from_.at("hybrid")) read_hybrid();
    cebra_->fits_session = from_.at("fit") == "session";
    if (cebra_->fits_session && cebra_->plan.positive != ContrastivePositive::time)
      fail("contrastive.fit", "\"session\" would learn the labels of test bins; only positives by \"time\" see none");
    if (!from_.at("adapt_from").is_null()) cebra_->adapt_from = from_.at("adapt_from");
    if (!cebra_->adapt_from.empty() && cebra_->design.learns_temperature)
      fail("contrastive.learn_temperature", "an adapted model trains its first layer alone; drop one of the two");
    if (config_.is_joint) check_joint();
    check_full_batch_and_temperature();
    return cebra_;
  }

 private:
  void fail(const std::string& key, const std::string& message) const { config_.fail(key, message); }

  void read_design() {
    const Preparation& preparation = config_.preparation;
    CebraDesign& design = cebra_->design;
    design.n_features = model_.at("latents");
    design.window = preparation.left + preparation.right;
    design.width = from_.at("width");
    design.is_normalised = from_.at("normalise");
    design.similarity = enum_from<Similarity>(from_.at("similarity"));
    design.learns_temperature = from_.at("learn_temperature");
    design.smallest_temperature = from_.at("smallest_temperature");
    if (design.window == 2 || preparation.left != design.window / 2)
      fail("objective.name",
           fmt::format(
               "CEBRA's encoders see 1 bin, or 3 and more about the bin itself, windows.left + windows.right with "
               "left half of it (rounded down): not {} + {}; use 0 + 1, 2 + 3, 5 + 5 or 18 + 18, for example",
               preparation.left, preparation.right));
  }

  void read_plan() {
    CebraPlan& plan = cebra_->plan;
    plan.is_full_batch = from_.at("batch").is_null();
    if (!plan.is_full_batch) plan.batch = from_.at("batch");
    plan.steps = from_.at("steps");
    plan.steps_per_record = from_.at("steps_per_record");
    plan.samples = {.time_offset = from_.at("time_offset"),
                    .across_segments = config_.preparation.edges == EdgePolicy::clamped_concatenated};
    plan.adam = {.beta1 = training_.at("beta1"),
                 .beta2 = training_.at("beta2"),
                 .epsilon = training_.at("epsilon"),
                 .coupled_decay = training_.at("weight_decay"),
                 .decoupled_decay = training_.at("decoupled_weight_decay"),
                 .clip_norm = training_.at("clip_norm")};
    plan.initialisation = enum_from<Initialisation>(training_.at("initialisation"));
  }

  void read_positives() {
    CebraPlan& plan = cebra_->plan;
    const bool equal_classes = from_.at("equal_classes");
    cebra_->by_class = positives_ == "discrete" || positives_ == "mixed";
    plan.positive = positives_ == "time"       ? ContrastivePositive::time
                    : positives_ == "delta"    ? ContrastivePositive::delta
                    : positives_ == "discrete" ? ContrastivePositive::same_class
                                               : ContrastivePositive::time_delta;
    plan.prior = positives_ == "time"                                           ? ContrastivePrior::leads
                 : positives_ == "mixed" || (cebra_->by_class && equal_classes) ? ContrastivePrior::classes
                                                                                : ContrastivePrior::samples;
    if ((positives_ == "delta") != (cebra_->delta_sd > 0))
      fail("contrastive.delta_sd",
           positives_ == "delta"
               ? "positives by \"delta\" need the standard deviation of the labels' noise; give one above 0"
               : "belongs to positives by \"delta\"; drop it");
  }

  void read_hybrid() {
    CebraPlan& plan = cebra_->plan;
    CebraDesign& design = cebra_->design;
    if (plan.positive != ContrastivePositive::time_delta && plan.positive != ContrastivePositive::delta)
      fail("contrastive.hybrid",
           fmt::format("sets behaviour beside time, and positives by \"{}\" are not by behaviour alone; use "
                       "\"time-delta\" or \"delta\"",
                       positives_));
    if (cebra_->by_class) fail("contrastive.hybrid", "has no classes; use positives by \"time-delta\" or \"delta\"");
    design.n_behaviour_features = from_.at("behaviour_latents");
    if (design.n_behaviour_features > design.n_features)
      fail("contrastive.behaviour_latents", fmt::format("{} of {} latents; lower it or raise model.latents",
                                                        design.n_behaviour_features, design.n_features));
    plan.prior = ContrastivePrior::leads;
  }

  void check_joint() const {
    if (config_.preparation.standardise_labels)
      fail("standardise_labels",
           "would measure the labels of every recording by its own mean and deviation, and they "
           "meet by labels; set it to false");
    if (cebra_->plan.positive == ContrastivePositive::time || from_.at("hybrid") || positives_ == "mixed")
      fail("joint",
           "recordings meet by labels: it needs positives by \"time-delta\", \"delta\" or \"discrete\" and no "
           "hybrid");
    if (cebra_->plan.is_full_batch) fail("contrastive.batch", "a joint model draws its bins; give a number");
    if (from_.at("equal_classes"))
      fail("contrastive.equal_classes", "a joint model draws from every bin alike; drop it");
    if (!cebra_->adapt_from.empty())
      fail("contrastive.adapt_from",
           "adapts a model to one recording, and a joint one has several; drop one of the two");
  }

  void check_full_batch_and_temperature() const {
    if (cebra_->plan.is_full_batch && cebra_->plan.prior == ContrastivePrior::classes)
      fail("contrastive.batch", "a full batch takes every bin once, classes are drawn; give a number");
    const CebraDesign& design = cebra_->design;
    if (design.learns_temperature && design.smallest_temperature > cebra_->temperature)
      fail("contrastive.temperature",
           fmt::format("{} begins below smallest_temperature {}", cebra_->temperature, design.smallest_temperature));
  }

  const ModelConfig& config_;
  const json &model_, &training_, &from_;
  const std::string positives_ = from_.at("positives");
  std::shared_ptr<CebraModel> cebra_ = std::make_shared<CebraModel>();
};

}  // namespace

std::shared_ptr<const CebraModel> read_cebra(const ModelSections& sections) {
  auto cebra = Reader(sections).read();
  if (!cebra->sees_labels())
    sections.require_no_labels(
        "positives by \"time\" see no label; leave it out, or choose another "
        "contrastive.positives");
  return cebra;
}

}  // namespace idem
