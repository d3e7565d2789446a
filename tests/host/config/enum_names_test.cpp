#include "kernels/common/enum_names.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <nlohmann/json.hpp>
#include <set>

#include "engine/device/products.h"
#include "engine/families/vae/design.h"
#include "engine/training/training_plan.h"
#include "host/config/schema.h"
#include "host/families/families.h"
#include "host/preparation/preparation.h"
#include "host/recordings/recording.h"
#include "host/support/named.h"
#include "kernels/contrastive/contrastive.h"
#include "tests/support/error_message.h"

namespace idem {
namespace {

using Names = std::set<std::string>;

template <class Enum>
Names names_of() {
  Names names;
  for (const auto& entry : EnumNames<Enum>::all) names.insert(entry.name);
  return names;
}

// What a configuration may ask for at a place of the schema, but for what is no value of the enum.
Names allowed(const std::string& place, const Names& others = {}) {
  Names names;
  const auto schema = nlohmann::json::parse(schema_text());
  for (const std::string name : schema.at(nlohmann::json::json_pointer(place)).at("enum"))
    if (!others.count(name)) names.insert(name);
  return names;
}

template <class Enum>
void expect_names_of_their_own() {
  EXPECT_EQ(names_of<Enum>().size(), std::size(EnumNames<Enum>::all)) << EnumNames<Enum>::what;
  for (const auto& entry : EnumNames<Enum>::all) {
    EXPECT_EQ(to_string(entry.value), entry.name);
    EXPECT_EQ(enum_from<Enum>(entry.name), entry.value);
  }
  EXPECT_MESSAGE(std::invalid_argument, enum_from<Enum>("no such name"),
                 std::string("known: ") + EnumNames<Enum>::all[0].name);
}

TEST(EnumNames, EveryValueHasANameOfItsOwn) {
  expect_names_of_their_own<Activation>();
  expect_names_of_their_own<ConvolutionMethod>();
  expect_names_of_their_own<DecoderKind>();
  expect_names_of_their_own<EdgeMode>();
  expect_names_of_their_own<EdgePolicy>();
  expect_names_of_their_own<EncoderKind>();
  expect_names_of_their_own<Initialisation>();
  expect_names_of_their_own<LabelKind>();
  expect_names_of_their_own<LogVarBound>();
  expect_names_of_their_own<Objective>();
  expect_names_of_their_own<Observation>();
  expect_names_of_their_own<OutputMap>();
  expect_names_of_their_own<PriorKind>();
  expect_names_of_their_own<ProductPrecision>();
  expect_names_of_their_own<ScheduleKind>();
  expect_names_of_their_own<Similarity>();
  expect_names_of_their_own<SmoothingKind>();
  expect_names_of_their_own<TargetKind>();
}

TEST(EnumNames, AreThoseThatTheSchemaAllows) {
  const std::string model = "/definitions/model/properties/", training = "/definitions/training/properties/";
  EXPECT_EQ(allowed("/properties/windows/properties/edges"), names_of<EdgePolicy>());
  EXPECT_EQ(allowed("/properties/smoothing/properties/kind"), names_of<SmoothingKind>());
  EXPECT_EQ(allowed("/properties/smoothing/properties/edges"), names_of<EdgeMode>());
  EXPECT_EQ(allowed("/definitions/recording/properties/labels/items/properties/kind"), names_of<LabelKind>());
  EXPECT_EQ(allowed(model + "encoder/properties/kind"), names_of<EncoderKind>());
  EXPECT_EQ(allowed(model + "prior/properties/kind"), names_of<PriorKind>());
  EXPECT_EQ(allowed(model + "decoder/properties/kind"), names_of<DecoderKind>());
  EXPECT_EQ(allowed(model + "decoder/properties/output", {"auto"}), names_of<OutputMap>());
  EXPECT_EQ(allowed(model + "observation/properties/kind"), names_of<Observation>());
  EXPECT_EQ(allowed(model + "observation/properties/target"), names_of<TargetKind>());
  Names of_others;  // objectives that are no bound
  for (const auto& name : allowed(model + "objective/properties/name"))
    if (family_of_objective(name).name() != "vae") of_others.insert(name);
  EXPECT_EQ(allowed(model + "objective/properties/name", of_others), names_of<Objective>());
  EXPECT_EQ(allowed(model + "contrastive/properties/similarity"), names_of<Similarity>());
  EXPECT_EQ(allowed(model + "log_variance/properties/bound"), names_of<LogVarBound>());
  EXPECT_EQ(allowed(training + "initialisation"), names_of<Initialisation>());
  EXPECT_EQ(allowed(training + "schedule/properties/kind"), names_of<ScheduleKind>());
  // Of layers between others; a last one alone is linear or a rate's.
  Names hidden = names_of<Activation>();
  hidden.erase("identity"), hidden.erase("sigmoid");
  EXPECT_EQ(allowed("/definitions/activation"), hidden);
}

TEST(EnumNames, ATextFromAFileIsShownInOneLine) {
  EXPECT_MESSAGE(ConfigError, named<LabelKind>("a\nb"),
                 "unknown label kind \"a?b\"; known: continuous, circular, categorical");
}

TEST(Families, EveryObjectiveAndPresetOfTheSchemaIsOfOne) {
  const auto count = [](const auto& is_of) { return std::ranges::count_if(families(), is_of); };
  for (const auto& name : allowed("/definitions/model/properties/objective/properties/name"))
    EXPECT_EQ(count([&](const Family* family) { return family->maximises(name); }), 1) << name;
  for (const auto& name : allowed("/definitions/model/properties/preset", {"none"}))
    EXPECT_EQ(count([&](const Family* family) { return family->preset(name).has_value(); }), 1) << name;
  Names names;
  for (const auto* family : families()) {
    EXPECT_TRUE(names.insert(family->name()).second) << family->name();
    EXPECT_EQ(find_family(family->name()), family);
  }
  EXPECT_EQ(find_family("unheard-of"), nullptr);
}

}  // namespace
}  // namespace idem
