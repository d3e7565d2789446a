#include "host/families/vae/saved_design.h"

#include <fmt/format.h>
#include <fmt/ranges.h>

#include "engine/families/vae/infer_latents.h"
#include "host/families/vae/design_json.h"
#include "host/families/vae/vae_family.h"

namespace idem {

const Family& VaeDesign::family() const { return vae_family(); }
nlohmann::json VaeDesign::to_json() const { return idem::to_json(design); }
bool VaeDesign::encodes_windows() const { return design.encoder_kind == EncoderKind::temporal_convolution; }
std::int32_t VaeDesign::window() const { return encodes_windows() || design.decodes_window ? design.window : 0; }

LabelUse VaeDesign::label_use() const {
  if (!design.sees_labels()) return LabelUse::unused;
  return design.encoder_sees_labels ? LabelUse::required : LabelUse::optional;
}

ModelPlan VaeDesign::plan() const { return plan_latents(design); }

LatentTable VaeDesign::latents(Device& device, const NamedTensors& parameters, const PreparedData& prepared) const {
  return infer_latents(device, design, parameters, prepared.data);
}

std::string VaeDesign::describe_latents(const std::vector<std::string>& missing) const {
  const std::string label_free = design.encoder_sees_labels ? "" : "encoder_mean, label-free; ";
  if (!design.sees_labels()) return label_free + "posterior_mean, the encoder times a prior of no label";
  if (missing.empty()) return label_free + "posterior_mean, with labels";
  return label_free + fmt::format("no posterior_mean: the recording lacks {}", fmt::join(missing, ", "));
}

}  // namespace idem
