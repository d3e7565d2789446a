#include "host/families/hidden_layers_json.h"

#include <stdexcept>
#include <string>

#include "host/support/named.h"

namespace idem {

using nlohmann::json;

HiddenLayers hidden_from_section(const json& section) {
  return {.widths = section.at("widths").get<std::vector<std::int32_t>>(),
          .activation = enum_from<Activation>(section.at("activation")),
          .slope = section.at("slope").get<double>()};
}

json hidden_to_json(const HiddenLayers& hidden) {
  return {{"widths", hidden.widths}, {"activation", to_string(hidden.activation)}, {"slope", hidden.slope}};
}

HiddenLayers hidden_from_json(const JsonFields& from) {
  HiddenLayers hidden{.widths = from.sizes("widths", 1, kMostWidth),
                      .activation = named<Activation, std::invalid_argument>(from.text("activation")),
                      .slope = from.number("slope", 0, 1)};
  constexpr std::int64_t kMostLayersOfFile = 1000;
  if (static_cast<std::int64_t>(hidden.widths.size()) > kMostLayersOfFile)
    throw std::invalid_argument(from.name_of("widths") + " has more than " + std::to_string(kMostLayersOfFile) +
                                " layers");
  return hidden;
}

}  // namespace idem
