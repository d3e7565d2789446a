#include "host/families/vae/model.h"

#include <fmt/format.h>
#include <fmt/ranges.h>

#include "host/families/vae/vae_family.h"

namespace idem {

const Family& VaeModel::family() const { return vae_family(); }

const VaeModel& vae_of(const ModelConfig& model) { return dynamic_cast<const VaeModel&>(*model.own); }

std::string VaeModel::objective(bool is_joint) const {
  return to_string(design.objective) + (is_joint ? ", one label prior for all animals" : "");
}

std::vector<std::string> VaeModel::notes(const ModelConfig& model) const {
  if (!sees_labels())
    return {fmt::format(
        "model {} sees no label: what its files call posterior is its encoder times a prior of no label", model.name)};
  if (design.encoder_sees_labels)
    return {fmt::format("model {} has no label-free latents: its encoder sees the labels", model.name)};
  return {};
}

void VaeModel::check(const ModelConfig& model, const Subject& subject) const {
  const Recording& recording = subject.recording;
  const auto& labels = model.preparation.labels;
  if (design.prior_kind == PriorKind::embedding &&
      (labels.size() != 1 || with_time(recording, labels).label(labels.front()).kind != LabelKind::categorical))
    model.fail("prior.kind", fmt::format("an embedding is of one categorical label, not of [{}]; name one in "
                                         "model.labels or use \"shared-mlp\"",
                                         fmt::join(labels, ", ")));
  const std::int32_t n_outputs = recording.n_neurons * (design.decodes_window ? design.window : 1);
  if (design.decoder_kind == DecoderKind::gin && n_outputs <= design.n_latents)
    model.fail("decoder.kind", fmt::format("gin needs more outputs than latents, not {} of {}; lower model.latents or "
                                           "use \"mlp\"",
                                           n_outputs, design.n_latents));
  if (design.observation == Observation::poisson) require_whole_counts(recording);
}

}  // namespace idem
