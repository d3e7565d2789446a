#include "host/families/vae/vae_family.h"

#include <algorithm>

#include <fmt/format.h>

#include "host/families/vae/bench.h"
#include "host/families/vae/design_json.h"
#include "host/families/vae/golden.h"
#include "host/families/vae/model.h"
#include "host/families/vae/saved_design.h"
#include "host/families/vae/words.h"

namespace idem {
namespace {

using nlohmann::json;

class VaeFamily final : public Family {
 public:
  std::string name() const override { return "vae"; }

  bool maximises(const std::string& objective) const override {
    return std::ranges::any_of(EnumNames<Objective>::all, [&](const auto& named) { return objective == named.name; });
  }
  std::optional<json> preset(const std::string& preset) const override { return vae_preset(preset); }
  json defaults(const json& chosen) const override {
    json section = convention_defaults(chosen.at("convention"));
    if (encodes_windows(chosen)) section["encoder"]["activation"] = to_string(Activation::gelu_tanh);
    return section;
  }
  bool explains_counts() const override { return true; }
  bool encodes_windows(const json& model) const override {
    return model.at("encoder").at("kind") == to_string(EncoderKind::temporal_convolution);
  }
  std::shared_ptr<const FamilyModel> read(const ModelSections& sections) const override { return read_vae(sections); }
  std::vector<UnreadKey> own_sections(const ModelConfig& of_another) const override {
    std::vector<UnreadKey> sections;
    if (of_another.own->family().explains_counts()) return sections;  // shares them
    for (const char* section : {"decoder", "observation", "log_variance", "convention"})
      sections.push_back(
          {section, fmt::format("a model that maximises {} explains no counts; drop it", of_another.objective())});
    return sections;
  }

  std::shared_ptr<const SavedDesign> read_design(const JsonFields& from, std::int64_t most) const override {
    return std::make_shared<VaeDesign>(vae_design_from_json(from, most));
  }

  std::vector<LossPanelWords> loss_panels(const ReportedRun& run) const override { return vae_loss_panels(run); }
  std::string loss_note(const std::vector<ReportedRun>& runs) const override { return vae_loss_note(runs); }
  std::vector<std::string> sources(const std::vector<ReportedRun>& runs,
                                   const nlohmann::ordered_json& config) const override {
    return vae_sources(runs, config);
  }
  TrainingUnit unit() const override { return TrainingUnit::epoch; }
  double ranking_loss(const json& entry) const override { return kept_valid_loss(entry); }

  std::vector<CaseKind> golden_cases() const override { return vae_golden_cases(); }
  std::vector<StepBench> step_benches() const override { return vae_step_benches(); }
};

}  // namespace

const Family& vae_family() {
  static const VaeFamily family;
  return family;
}

}  // namespace idem
