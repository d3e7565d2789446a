#include "engine/families/vae/design.h"

#include <array>
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

}  // namespace idem
