#include "engine/families/vae/design.h"

#include <algorithm>
#include <array>
#include <cmath>
#include <numbers>
#include <stdexcept>
#include <utility>

namespace idem {

namespace {
constexpr std::array<std::pair<Objective, const char*>, 5> kObjectives{{{Objective::encoder_elbo, "encoder-elbo"},
                                                                         {Objective::ivae, "ivae"},
                                                                         {Objective::ci_ivae_paper, "ci-ivae/paper"},
                                                                         {Objective::ci_ivae_published, "ci-ivae/published"},
                                                                         {Objective::ci_ivae_fixed, "ci-ivae/fixed"}}};
constexpr std::array<std::pair<EncoderKind, const char*>, 3> kEncoderKinds{
    {{EncoderKind::mlp, "mlp"}, {EncoderKind::separate_mlps, "separate-mlps"}, {EncoderKind::temporal_convolution, "temporal-convolution"}}};
constexpr std::array<std::pair<PriorKind, const char*>, 5> kPriorKinds{{{PriorKind::separate_mlps, "separate-mlps"},
                                                                     {PriorKind::shared_mlp, "shared-mlp"},
                                                                     {PriorKind::embedding, "embedding"},
                                                                     {PriorKind::standard_normal, "standard-normal"},
                                                                     {PriorKind::global, "global"}}};
constexpr std::array<std::pair<DecoderKind, const char*>, 2> kDecoderKinds{{{DecoderKind::mlp, "mlp"}, {DecoderKind::gin, "gin"}}};

template <class Enum, std::size_t N>
std::string name_in(const std::array<std::pair<Enum, const char*>, N>& names, Enum wanted, const std::string& what) {
  for (const auto& [value, name] : names)
    if (value == wanted) return name;
  throw std::invalid_argument("unknown " + what);
}

template <class Enum, std::size_t N>
Enum value_in(const std::array<std::pair<Enum, const char*>, N>& names, const std::string& wanted, const std::string& what) {
  std::string known;
  for (const auto& [value, name] : names) {
    if (wanted == name) return value;
    known += (known.empty() ? "" : ", ") + std::string(name);
  }
  throw std::invalid_argument("unknown " + what + " \"" + wanted + "\"; known: " + known);
}
}  // namespace

std::string to_string(Objective objective) { return name_in(kObjectives, objective, "objective"); }

Objective objective_from_string(const std::string& name) { return value_in(kObjectives, name, "objective"); }

std::string to_string(EncoderKind kind) { return name_in(kEncoderKinds, kind, "encoder"); }

EncoderKind encoder_kind_from_string(const std::string& name) { return value_in(kEncoderKinds, name, "encoder"); }

std::string to_string(PriorKind kind) { return name_in(kPriorKinds, kind, "prior"); }

PriorKind prior_kind_from_string(const std::string& name) { return value_in(kPriorKinds, name, "prior"); }

std::string to_string(DecoderKind kind) { return name_in(kDecoderKinds, kind, "decoder"); }

DecoderKind decoder_kind_from_string(const std::string& name) { return value_in(kDecoderKinds, name, "decoder"); }

double TrainingPlan::beta_factor_at(std::int32_t epoch) const {
  return beta_warmup > 0 ? std::min(1.0, (epoch + 1) / (beta_warmup * epochs)) : 1.0;
}

double LearningRateSchedule::at(std::int32_t epoch, std::int32_t n_epochs) const {
  if (epoch < warmup_epochs) return static_cast<double>(epoch + 1) / (warmup_epochs + 1);
  switch (kind) {
    case Kind::constant: return 1;
    case Kind::multi_step:
      return std::pow(factor, static_cast<double>(std::count_if(milestones.begin(), milestones.end(), [&](auto m) { return m <= epoch; })));
    case Kind::cosine: {
      const std::int32_t last = n_epochs - 1;
      const double progress = last > warmup_epochs ? static_cast<double>(epoch - warmup_epochs) / (last - warmup_epochs) : 1;
      return final_fraction + (1 - final_fraction) * 0.5 * (1 + std::cos(std::numbers::pi * progress));
    }
  }
  throw std::invalid_argument("unknown learning rate schedule");
}

}  // namespace idem
